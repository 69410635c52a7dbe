//! `regexp:`: POSIX regular expressions, translated for the `regex` crate, which cannot be made
//! slow by hostile text. What differs: of several ways to match, POSIX takes the longest and this
//! engine the first, which shows only in what `$1` holds; and there are no back-references (`\1`).

use crate::pattern::{self, Engine, Groups, Matcher};
use crate::types::Options;
use crate::{Table, TableError, Types};
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

const ENGINE: Engine = Engine { kind: "regexp", flags: "imx", compile };

/// Opens a table of POSIX patterns.
pub fn open(types: &Types, name: &str, rest: &str, options: Options) -> Result<Arc<dyn Table>, TableError> {
    pattern::open(types, name, rest, options, ENGINE)
}

struct Posix(Regex);

impl Matcher for Posix {
    fn groups(&self) -> usize {
        self.0.captures_len().saturating_sub(1)
    }
    fn find(&self, text: &str) -> Result<Option<Groups>, String> {
        if self.groups() == 0 {
            return Ok(self.0.find(text).map(|m| vec![Some((m.start(), m.end()))]));
        }
        let spans = |c: regex::Captures| c.iter().map(|g| g.map(|g| (g.start(), g.end()))).collect();
        Ok(self.0.captures(text).map(spans))
    }
}

/// Flags toggle; `i` and `x` are on from the start.
fn compile(pattern: &str, flags: &str) -> Result<Box<dyn Matcher>, String> {
    let toggled = |flag: char| flags.chars().filter(|f| *f == flag).count() % 2 == 1;
    let multi = toggled('m');
    let text = translate(pattern, !toggled('x'), multi, !toggled('i'))?;
    let built = RegexBuilder::new(&text)
        .case_insensitive(!toggled('i'))
        .multi_line(multi)
        .dot_matches_new_line(!multi)
        .size_limit(1 << 23)
        .build();
    match built {
        Ok(regex) => Ok(Box::new(Posix(regex))),
        Err(regex::Error::CompiledTooBig(_)) => Err("Regular expression too big".into()),
        Err(_) => Err(format!("invalid regular expression \"{pattern}\"")),
    }
}

struct Translation {
    out: String,
    /// Where the last thing that a repetition applies to begins in `out`.
    atom: Option<usize>,
    /// It has been repeated already.
    repeated: bool,
    groups: Vec<usize>,
}

impl Translation {
    fn atom(&mut self, text: &str) {
        self.atom = Some(self.out.len());
        self.repeated = false;
        self.out.push_str(text);
    }

    fn literal(&mut self, c: char) {
        let mut buffer = [0; 4];
        let text = regex::escape(c.encode_utf8(&mut buffer));
        self.atom(&text);
    }

    /// `a**` and `a*?` repeat the repetition in POSIX; elsewhere the second means something else.
    fn repeat(&mut self, text: &str) -> Result<(), String> {
        let Some(at) = self.atom else { return Err("Invalid preceding regular expression".into()) };
        if self.repeated {
            self.out.insert_str(at, "(?:");
            self.out.push(')');
        }
        self.repeated = true;
        self.out.push_str(text);
        Ok(())
    }

    fn open(&mut self) {
        self.groups.push(self.out.len());
        self.out.push('(');
        self.atom = None;
    }

    fn close(&mut self) -> bool {
        let Some(at) = self.groups.pop() else { return false };
        self.out.push(')');
        self.atom = Some(at);
        self.repeated = false;
        true
    }

    fn bare(&mut self, text: &str) {
        self.out.push_str(text);
        self.atom = None;
    }
}

/// A POSIX pattern (extended, or basic with GNU's additions) in the syntax of `regex`.
fn translate(pattern: &str, extended: bool, multi: bool, caseless: bool) -> Result<String, String> {
    let mut t = Translation { out: String::new(), atom: None, repeated: false, groups: Vec::new() };
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let at_start = t.out.is_empty() || t.out.ends_with(['(', '|']);
        rest = rest.get(c.len_utf8()..).unwrap_or("");
        let (escaped, c) = match c {
            '\\' => {
                let Some(next) = rest.chars().next() else { return Err("Trailing backslash".into()) };
                rest = rest.get(next.len_utf8()..).unwrap_or("");
                (true, next)
            }
            c => (false, c),
        };
        // In extended syntax an operator stands bare, in basic syntax behind a backslash.
        let operator = escaped != extended;
        match c {
            '(' if operator => t.open(),
            ')' if operator => {
                if !t.close() {
                    if !extended {
                        return Err("Unmatched ( or \\(".into());
                    }
                    t.literal(')');
                }
            }
            '|' if operator => t.bare("|"),
            '{' if operator => {
                let close = if extended { "}" } else { "\\}" };
                if t.atom.is_none() {
                    return Err("Invalid preceding regular expression".into());
                }
                let (range, tail) = rest.split_once(close).ok_or("Unmatched \\{")?;
                if !is_range(range) {
                    return Err("Invalid content of \\{\\}".into());
                }
                t.repeat(&if range.starts_with(',') {
                    format!("{{0{range}}}")
                } else {
                    format!("{{{range}}}")
                })?;
                rest = tail;
            }
            '+' | '?' if operator => match t.atom {
                None if at_start && !extended => t.literal(c),
                _ => t.repeat(if c == '+' { "+" } else { "?" })?,
            },
            '*' if !escaped => match t.atom {
                None if !extended && (at_start || t.out.ends_with('^')) => t.literal('*'),
                _ => t.repeat("*")?,
            },
            '.' if !escaped => t.atom("."),
            '[' if !escaped => {
                let (class, tail) = class(rest, multi)?;
                t.atom(&class);
                rest = tail;
            }
            '^' if !escaped && (extended || at_start) => t.bare("^"),
            '$' if !escaped && (extended || rest.is_empty() || rest.starts_with("\\)")) => t.bare("$"),
            '<' if escaped => t.bare("\\b{start}"),
            '>' if escaped => t.bare("\\b{end}"),
            'b' | 'B' if escaped => t.bare(if c == 'b' { "\\b" } else { "\\B" }),
            'w' | 'W' | 's' | 'S' if escaped => t.atom(&format!("\\{c}")),
            '`' if escaped => t.bare("\\A"),
            '\'' if escaped => t.bare("\\z"),
            '1'..='9' if escaped => {
                return Err(format!("back-reference \\{c} is not supported here: use a pcre: table"));
            }
            // The C library compares in upper case and forgets to raise an escaped letter, so that `\\d`
            // matches nothing at all unless case counts. Tables that rely on it must not change.
            'a'..='z' if escaped && caseless => t.atom("[a&&b]"),
            c => t.literal(c),
        }
    }
    if t.groups.is_empty() { Ok(t.out) } else { Err("Unmatched ( or \\(".into()) }
}

fn is_range(text: &str) -> bool {
    let mut parts = text.splitn(2, ',');
    let digits = |p: &str| p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit());
    let first = parts.next().unwrap_or("");
    let second = parts.next();
    digits(first) && second.is_none_or(digits) && !(first.is_empty() && second.is_none())
}

/// A bracket expression, from behind its `[`.
fn class(text: &str, multi: bool) -> Result<(String, &str), String> {
    const UNMATCHED: &str = "Unmatched [, [^, [:, [., or [=";
    let mut out = String::from("[");
    let mut rest = text;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        // With REG_NEWLINE a list that excludes does not match a line end.
        out.push_str(if multi { "\\n" } else { "" });
        rest = tail;
    }
    let mut first = true;
    loop {
        let c = rest.chars().next().ok_or(UNMATCHED)?;
        rest = rest.get(c.len_utf8()..).unwrap_or("");
        match c {
            ']' if !first => break,
            '[' if rest.starts_with([':', '.', '=']) => {
                let kind = rest.chars().next().unwrap_or(':');
                let end = format!("{kind}]");
                let (name, tail) = rest.get(1..).and_then(|r| r.split_once(end.as_str())).ok_or(UNMATCHED)?;
                if kind == ':' {
                    const NAMES: [&str; 12] = [
                        "alpha", "digit", "alnum", "upper", "lower", "space", "blank", "punct", "print",
                        "graph", "cntrl", "xdigit",
                    ];
                    if !NAMES.contains(&name) {
                        return Err("Invalid character class name".into());
                    }
                    out.push_str(&format!("[:{name}:]"));
                } else {
                    let mut chars = name.chars();
                    match (chars.next(), chars.next()) {
                        (Some(one), None) => escape_into(&mut out, one),
                        _ => return Err("Invalid collation character".into()),
                    }
                }
                rest = tail;
            }
            '-' if !first && !rest.starts_with(']') && !out.ends_with(":]") => out.push('-'),
            c => escape_into(&mut out, c),
        }
        first = false;
    }
    out.push(']');
    Ok((out, rest))
}

fn escape_into(out: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(pattern: &str, flags: &str, text: &str) -> Option<Vec<String>> {
        let matcher = compile(pattern, flags).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        let groups = matcher.find(text).unwrap()?;
        let text_of = |g: &Option<(usize, usize)>| g.map_or("-".into(), |(a, b)| text[a..b].to_string());
        Some(groups.iter().skip(1).map(text_of).collect())
    }

    #[test]
    fn posix_patterns() {
        for (pattern, flags, text, groups) in [
            ("^a(b)c$", "", "ABC", Some(vec!["B"])),
            ("^a(b)c$", "i", "ABC", None),
            ("[%!@].*[%!@]", "", "a%b@c", Some(vec![])),
            ("[]x]", "", "]", Some(vec![])),
            ("[^]x]", "", "]", None),
            ("[\\d]", "", "\\", Some(vec![])),
            ("[[:digit:].-]+$", "", "1-2.3", Some(vec![])),
            ("[a&&b~~-]", "", "&", Some(vec![])),
            ("[a[]", "", "[", Some(vec![])),
            ("\\d", "", "5", None),
            ("\\d", "", "d", None),
            ("\\d", "i", "d", Some(vec![])),
            ("\\D", "", "d", Some(vec![])),
            ("foo\\.org", "", "foo.org", Some(vec![])),
            ("p\\/q", "", "p/q", Some(vec![])),
            ("\\<word\\>", "", "a word.", Some(vec![])),
            ("\\<word\\>", "", "swords", None),
            ("a*?b", "", "aab", Some(vec![])),
            ("x{2}", "", "xx", Some(vec![])),
            ("x{,2}y", "", "y", Some(vec![])),
            ("a}", "", "a}", Some(vec![])),
            ("a.b", "", "a\nb", Some(vec![])),
            ("a.b", "m", "a\nb", None),
            ("^b", "m", "a\nb", Some(vec![])),
            ("^b", "", "a\nb", None),
            ("\\(a\\)+", "x", "a+", Some(vec!["a"])),
            ("(a)", "x", "(a)", Some(vec![])),
            ("(x)?b", "", "b", Some(vec!["-"])),
            ("a|b", "", "b", Some(vec![])),
            ("*a", "x", "*a", Some(vec![])),
            ("", "", "x", Some(vec![])),
            ("#x ", "", "a#x b", Some(vec![])),
        ] {
            let want = groups.map(|g| g.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(captures(pattern, flags, text), want, "{pattern:?} {flags} {text:?}");
        }
        for bad in [
            "(a",
            "{a}",
            "*a",
            "a{b}",
            "a{2",
            "|{2}",
            "(a",
            "[a",
            "(?i)a",
            "+a",
            "(a)\\1",
            "a\\",
            "[[:foo:]]",
            "[[:alpha:]",
            "[z-a]",
        ] {
            assert!(compile(bad, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_are_named_as_postfix_names_them() {
        let text = "{{/^a(b)c$/  x$1y${1}}, {/foo/i  case}, {!/bar/ notbar}, {bad}, {/un(closed/ v}, \
            {/bar$/z flag}, {/n/ $2}, {endif}, {/if /x}}";
        let said = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = said.clone();
        let types = Types::builder().notices(move |n| heard.lock().unwrap().push(n.text.clone())).build();
        let table = types.open(&format!("regexp:{text}")).unwrap();
        let faults: Vec<_> =
            said.lock().unwrap().iter().map(|l| l.split(", line ").last().unwrap().to_string()).collect();
        assert_eq!(
            faults,
            [
                "1: non-numeric replacement index \"1y\"",
                "1: bad replacement syntax: skipping this rule",
                "4: ignoring unrecognized request",
                "5: Unmatched ( or \\(",
                "6: unknown regexp option \"z\": skipping this rule",
                "7: out of range replacement index \"2\": skipping this rule",
                "8: ignoring ENDIF without matching IF",
                "9: no replacement text: using empty string",
            ]
        );
        assert_eq!(table.lookup("FOO").unwrap().unwrap().value, "notbar");
    }

    #[test]
    fn conditions_and_substitution() {
        let types = Types::builder().build();
        let table = types
            .open("regexp:{{if /bar/}, {/barx/ inner}, {if !/q/}, {/bary/x bary}, {endif}, {endif}, {/^(.*)-out@(.*)$/ Use $(1)@${2} $$ now $2}}")
            .unwrap();
        for (key, value) in [
            ("xbarx", Some("inner")),
            ("bary", Some("bary")),
            ("baryq", None),
            ("l-out@d", Some("Use l@d $ now d")),
        ] {
            let hit = table.lookup(key).unwrap();
            assert_eq!(hit.map(|h| h.value).as_deref(), value, "{key}");
        }
        assert_eq!(table.lookup("l-out@d").unwrap().unwrap().place.1, Some(7));
    }
}
