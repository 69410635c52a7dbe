//! The right-hand side of an alias and the lines of `.forward` and `:include:` files. aliases(5).
//!
//! Elements are separated by commas, or by white space between words; `@`, `.`, `:`, `%` and `!` join what
//! stands around them. Quotes keep what they enclose together, a backslash keeps one character,
//! `(…)` is a comment, `Name <address>` is the address, `name: a, b;` a group. Never fails: what is
//! no address is one that nobody has.

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A mail address without quotes, domain perhaps missing.
    Address(String),
    /// `|command`.
    Command(String),
    /// `/file` or `/maildir/`.
    File(String),
    /// `:include:/file`.
    Include(String),
}

/// The destinations of an alias, in order.
pub(crate) fn parse(text: &str) -> Vec<Token> {
    let lexemes = lexemes(text);
    let mut list = Elements::default();
    let mut at = 0;
    while let Some(lexeme) = lexemes.get(at) {
        at += 1;
        let rest = lexemes.get(at..).unwrap_or_default();
        match lexeme {
            Lexeme::Unit(text) => list.unit(text),
            Lexeme::Mark(',' | ';') => {
                list.flush();
                list.phrase = list.out.len();
            }
            Lexeme::Mark('<') if rest.contains(&Lexeme::Mark('>')) => {
                // What stood before was the name of a person.
                list.forget_phrase();
                let inside = rest.iter().take_while(|l| **l != Lexeme::Mark('>'));
                let mut route: Option<String> = None;
                for lexeme in inside {
                    at += 1;
                    let route = route.get_or_insert_default();
                    match lexeme {
                        Lexeme::Unit(text) => route.push_str(text),
                        Lexeme::Mark(c) => route.push(*c),
                    }
                }
                list.out.extend(route);
            }
            Lexeme::Mark('>') => {
                list.flush();
                list.phrase = list.out.len();
            }
            Lexeme::Mark(':') if list.is_name() && rest.contains(&Lexeme::Mark(';')) => list.forget_phrase(),
            Lexeme::Mark(c) => list.join(*c),
        }
    }
    list.flush();
    list.out.into_iter().map(destination).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Lexeme {
    /// An atom, what was between quotes, or a domain literal.
    Unit(String),
    /// A character with a meaning.
    Mark(char),
}

fn lexemes(text: &str) -> Vec<Lexeme> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let mut unit = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => unit.extend(chars.next()),
                        _ => unit.push(c),
                    }
                }
                out.push(Lexeme::Unit(unit));
            }
            '(' => {
                let mut depth = 1;
                while depth > 0 {
                    match chars.next() {
                        None => break,
                        Some('\\') => drop(chars.next()),
                        Some('(') => depth += 1,
                        Some(')') => depth -= 1,
                        Some(_) => {}
                    }
                }
            }
            '[' => {
                let mut unit = String::from('[');
                for c in chars.by_ref() {
                    unit.push(c);
                    if c == ']' {
                        break;
                    }
                }
                out.push(Lexeme::Unit(unit));
            }
            c if c.is_whitespace() => {}
            c if MARKS.contains(c) => out.push(Lexeme::Mark(c)),
            c => {
                let mut unit = String::new();
                let mut next = Some(c);
                while let Some(c) = next {
                    match c {
                        '\\' => unit.extend(chars.next()),
                        c => unit.push(c),
                    }
                    let goes_on =
                        |c: &char| !c.is_whitespace() && !MARKS.contains(*c) && !"\"([".contains(*c);
                    next = chars.next_if(goes_on);
                }
                out.push(Lexeme::Unit(unit));
            }
        }
    }
    out
}

const MARKS: &str = "@.,;:<>)]%!";

/// The destinations of a file's text: each line like an alias, lines that begin with `#` apart.
/// A line longer than `limit` bytes is cut into several.
pub(crate) fn parse_lines(text: &[u8], limit: usize) -> Vec<Token> {
    let mut out = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        for part in line.chunks(limit.max(1)) {
            if part.first() != Some(&b'#') {
                out.extend(parse(&String::from_utf8_lossy(part)));
            }
        }
    }
    out
}

/// A destination as a part of the delivery handed it over (`forward::words`).
pub(crate) fn parse_one(words: &str) -> Option<Token> {
    let mut chars = words.chars();
    let kind = chars.next()?;
    let text = chars.as_str().to_string();
    Some(match kind {
        '@' => Token::Address(text),
        '|' => Token::Command(text),
        '/' => Token::File(text),
        ':' => Token::Include(text),
        _ => return None,
    })
}

/// Elements as they come together.
#[derive(Default)]
struct Elements {
    out: Vec<String>,
    /// How many there were at the last separator: what came since may be the name of a person.
    phrase: usize,
    open: Option<String>,
    /// A mark came last; the next unit belongs to it.
    joined: bool,
}

impl Elements {
    fn unit(&mut self, text: &str) {
        match &mut self.open {
            // `| command`, without quotes.
            Some(open) if self.joined || open == "|" => open.push_str(text),
            _ => {
                self.flush();
                self.open = Some(text.to_string());
            }
        }
        self.joined = false;
    }

    fn join(&mut self, mark: char) {
        self.open.get_or_insert_default().push(mark);
        self.joined = true;
    }

    fn flush(&mut self) {
        self.out.extend(self.open.take());
        self.joined = false;
    }

    fn forget_phrase(&mut self) {
        self.flush();
        self.out.truncate(self.phrase);
    }

    /// Whether what came last can be the name of a group.
    fn is_name(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.starts_with([':', '@']))
    }
}

fn destination(text: String) -> Token {
    let include = text.get(..9).is_some_and(|h| h.eq_ignore_ascii_case(":include:"));
    if let Some(command) = text.strip_prefix('|') {
        Token::Command(command.trim_start().to_string())
    } else if text.starts_with('/') {
        Token::File(text)
    } else if include {
        Token::Include(text.get(9..).unwrap_or_default().trim_start().to_string())
    } else {
        Token::Address(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[&str]) {
        let shown: Vec<String> = parse(text)
            .into_iter()
            .map(|t| match t {
                Token::Address(a) => a,
                Token::Command(c) => format!("!{c}"),
                Token::File(f) => format!("f{f}"),
                Token::Include(i) => format!("i{i}"),
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn elements() {
        check("jose, usuario", &["jose", "usuario"]);
        check("jose,,usuario,", &["jose", "usuario"]);
        check("\"|exit 67\"", &["!exit 67"]);
        check("|/usr/bin/vacation jose", &["!/usr/bin/vacation", "jose"]);
        check("\"|sh -c \\\"a, b\\\"\"", &["!sh -c \"a, b\""]);
        check("/var/x, /home/x/Maildir/", &["f/var/x", "f/home/x/Maildir/"]);
        check("\"/tmp/a b\"", &["f/tmp/a b"]);
        check(":include:/srv/list, :INCLUDE: /b", &["i/srv/list", "i/b"]);
        check("\\usuario, alumno", &["usuario", "alumno"]);
        check("usuario (a comment), \"ana\" <alumno>", &["usuario", "alumno"]);
        check("Ana <ana@x.org>, \"a b\"@x.org", &["ana@x.org", "a b@x.org"]);
        // Each of these was asked of Postfix 3.7.
        check("a b  c, d", &["a", "b", "c", "d"]);
        check("\"Dos Dos\" <a> b", &["a", "b"]);
        check("a <b>", &["b"]);
        check("<a> <b>", &["a", "b"]);
        check("<a>, b c <d>", &["a", "d"]);
        check("a<b>c", &["b", "c"]);
        check("<>", &[]);
        check("\"\"", &[""]);
        check("a@x . org b", &["a@x.org", "b"]);
        check("a @x.org", &["a@x.org"]);
        check("a\\ b c", &["a b", "c"]);
        check("a (x) b", &["a", "b"]);
        check("a;b", &["a", "b"]);
        check("grupo: a, b;", &["a", "b"]);
        check("a, b: c; d", &["a", "c", "d"]);
        check("grupo:;", &[]);
        check("a:b,c", &["a:b", "c"]);
        check("\"a\"b", &["a", "b"]);
        check("a\"b c\"d", &["a", "b c", "d"]);
        check("a[x]b", &["a", "[x]", "b"]);
        check("a@[127.0.0.1]", &["a@[127.0.0.1]"]);
        check("a@[127.0.0.1].org", &["a@[127.0.0.1].org"]);
        check("@x.org:a@y.org", &["@x.org:a@y.org"]);
        check("@x.org,@y.org:a@z.org", &["@x.org", "@y.org:a@z.org"]);
        check(".a. b..c", &[".a.b..c"]);
        check("| exit 0 , a", &["!exit", "0", "a"]);
        check("\"  |exit 0\"", &["  |exit 0"]);
        check("<|exit 0>", &["!exit0"]);
        check("|cat>/dev/null", &["!cat", "f/dev/null"]);
        check("/dev/null x", &["f/dev/null", "x"]);
        check(":include: /a.b", &["i/a.b"]);
        check("a)x, a]x, <a", &["a)x", "a]x", "<a"]);
        check("a>x", &["a", "x"]);
        check("\"a", &["a"]);
        check("<a b@x>", &["ab@x"]);
        check(",", &[]);
        check("a % b, a ! b, a%[x]", &["a%b", "a!b", "a%[x]"]);
        check("(only (a) comment)", &[]);
        check("", &[]);
    }

    #[test]
    fn files_skip_comments_and_cut_long_lines() {
        let tokens = parse_lines(b"# no\njose\n\nana, luis\n", 2048);
        assert_eq!(tokens.len(), 3);
        assert_eq!(parse_lines(b"aaaa", 2), [Token::Address("aa".into()), Token::Address("aa".into())]);
    }

    proptest! {
        #[test]
        fn anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0..50usize) {
            for token in parse_lines(&bytes, limit) {
                let Token::Address(a) = token else { continue };
                prop_assert!(!a.starts_with('/') && !a.starts_with('|'));
            }
        }

        #[test]
        fn quoted_commands_read_back(command in "[ -~]{1,40}") {
            let quoted = command.replace('\\', "\\\\").replace('"', "\\\"");
            let read = parse(&format!("\"|{quoted}\", jose"));
            prop_assert_eq!(read, [Token::Command(command.trim_start().into()), Token::Address("jose".into())]);
        }
    }
}
