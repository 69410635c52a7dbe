//! The types of parameters. Each reads its value from expanded text.

use crate::Problem;
use crate::lines::is_space;
use std::time::Duration;

/// A type that a parameter may have.
pub trait Value: Sized {
    /// The type's name in `valija check` and the manual.
    const TYPE: &'static str;
    /// Whether `$name` is expanded before [`Value::read`] sees the text.
    const EXPANDED: bool = true;
    /// Reads the text of parameter `name`.
    fn read(name: &str, text: &str) -> Result<Self, Problem>;
}

/// `yes` or `no`.
pub type Bool = bool;
/// A number without unit.
pub type Count = i64;
/// A time with unit `s m h d w`; the default unit stands in the declared default.
pub type Time = Duration;
/// Text, expanded.
pub type Text = String;

/// Text whose `$name`s are expanded later, when the parameter is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verbatim(pub String);

/// A list separated by commas or white space; `{…}` groups. Elements keep `type:name` and `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl Value for bool {
    const TYPE: &'static str = "boolean";
    fn read(name: &str, text: &str) -> Result<bool, Problem> {
        match text {
            t if t.eq_ignore_ascii_case("yes") => Ok(true),
            t if t.eq_ignore_ascii_case("no") => Ok(false),
            _ => Err(Problem::of(name, format!("bad boolean value {text:?}"), "write yes or no")),
        }
    }
}

impl Value for i64 {
    const TYPE: &'static str = "number";
    fn read(name: &str, text: &str) -> Result<i64, Problem> {
        text.trim()
            .parse()
            .map_err(|_| Problem::of(name, format!("bad numerical value {text:?}"), "write a whole number"))
    }
}

impl Value for String {
    const TYPE: &'static str = "text";
    fn read(_: &str, text: &str) -> Result<String, Problem> {
        Ok(text.to_string())
    }
}

impl Value for Verbatim {
    const TYPE: &'static str = "text";
    const EXPANDED: bool = false;
    fn read(_: &str, text: &str) -> Result<Verbatim, Problem> {
        Ok(Verbatim(text.to_string()))
    }
}

impl Value for List {
    const TYPE: &'static str = "list";
    fn read(_: &str, text: &str) -> Result<List, Problem> {
        Ok(List(split_list(text)))
    }
}

/// The elements of a list: separated by commas or white space; what stands in `{…}` stays together,
/// braces and all.
pub fn split_list(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut element = String::new();
    let mut depth = 0usize;
    for c in text.chars() {
        if depth == 0 && (c == ',' || is_space(c)) {
            if !element.is_empty() {
                out.push(std::mem::take(&mut element));
            }
            continue;
        }
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        element.push(c);
    }
    if !element.is_empty() {
        out.push(element);
    }
    out
}

/// The inside of an element written as `{ … }`, without the white space at its ends.
pub fn in_braces(element: &str) -> Option<&str> {
    Some(element.strip_prefix('{')?.strip_suffix('}')?.trim_matches(is_space))
}

/// How deep files may name files.
const FILE_DEPTH: usize = 16;

/// Replaces `/file` and `!/file` elements of a list of patterns (mynetworks, mydestination …) by
/// what the files hold: elements separated as in main.cf, one line or many, lines with `#` first
/// are comments. `!` before a file turns each of its elements round. A file that cannot be read is
/// a problem, and its element is left out: whoever uses the list decides whether that is fatal.
pub fn expand_files(list: &List) -> (Vec<String>, Vec<Problem>) {
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    list.0.iter().for_each(|element| from_element(element, false, 0, &mut out, &mut problems));
    (out, problems)
}

fn from_element(
    element: &str,
    turned: bool,
    depth: usize,
    out: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) {
    let pattern = element.trim_start_matches('!');
    let turned = turned ^ ((element.len() - pattern.len()) % 2 == 1);
    if !pattern.starts_with('/') {
        out.push(format!("{}{pattern}", if turned { "!" } else { "" }));
        return;
    }
    let mut fail = |what: String, remedy: &str| {
        problems.push(Problem { place: None, name: None, what, remedy: remedy.into() });
    };
    if depth >= FILE_DEPTH {
        return fail(format!("{pattern}: files name files too deep"), "remove the file that names itself");
    }
    match std::fs::read(pattern) {
        Ok(bytes) => {
            for line in String::from_utf8_lossy(&bytes).lines() {
                if line.trim_start_matches(is_space).starts_with('#') {
                    continue;
                }
                for inner in split_list(line) {
                    from_element(&inner, turned, depth + 1, out, problems);
                }
            }
        }
        Err(e) => fail(
            format!("open file {pattern}: {}", crate::main_cf::sys_text(&e)),
            "create the file, or remove it from the list",
        ),
    }
}

/// The unit that a time without one has: the last letter of the declared default.
pub(crate) fn default_unit(default: &str) -> char {
    let last = default.chars().last().unwrap_or('s').to_ascii_lowercase();
    // `$other` ends in a letter of a name.
    let unit = matches!(last, 's' | 'm' | 'h' | 'd' | 'w');
    let number = default.chars().rev().nth(1).is_some_and(|c| c.is_ascii_digit() || c == '}');
    if unit && number { last } else { 's' }
}

impl Value for Duration {
    const TYPE: &'static str = "time";
    fn read(name: &str, text: &str) -> Result<Duration, Problem> {
        let bad = || {
            let what = format!("bad time value {text:?}");
            Problem::of(name, what, "write a whole number and a unit: s, m, h, d or w")
        };
        let text_ = text.trim();
        let split = text_.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_.len());
        let (number, unit) = text_.split_at(split);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = match unit {
            "" | "s" | "S" => 1,
            "m" | "M" => 60,
            "h" | "H" => 3_600,
            "d" | "D" => 86_400,
            "w" | "W" => 604_800,
            _ => return Err(bad()),
        };
        let seconds = number.checked_mul(unit).filter(|s| *s <= i32::MAX as u64).ok_or_else(bad)?;
        Ok(Duration::from_secs(seconds))
    }
}

/// Reads C escapes (`\n`, `\177`, `\\`), as `message_strip_characters` and `eol=` of pipe have them.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(b'a') => out.push(7),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'v') => out.push(11),
            Some(first @ b'0'..=b'7') => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    match bytes.peek() {
                        Some(d @ b'0'..=b'7') => value = value * 8 + u32::from(*d - b'0'),
                        _ => break,
                    }
                    bytes.next();
                }
                out.push(value as u8);
            }
            Some(other) => out.push(other),
            None => out.push(b'\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_keep_groups() {
        assert_eq!(split_list("a, b\tc,,d "), ["a", "b", "c", "d"]);
        assert_eq!(
            split_list("inline:{a=b, c=d} { inet:h:1, timeout=3s }"),
            ["inline:{a=b, c=d}", "{ inet:h:1, timeout=3s }"]
        );
        assert_eq!(in_braces("{ inet:h:1, x=y }"), Some("inet:h:1, x=y"));
        assert_eq!(in_braces("inet:h"), None);
    }

    #[test]
    fn files_in_lists() {
        let dir = std::env::temp_dir().join(format!("valija-lists-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (a, b) = (dir.join("a"), dir.join("b"));
        std::fs::write(&a, format!("10.0.0.0/8 !10.1.0.0/16\n # c\n{}\n", b.display())).unwrap();
        std::fs::write(&b, format!("192.0.2.1,{}", b.display())).unwrap();
        let list = List(vec![format!("!{}", a.display()), "!x".into(), "!!y".into(), "/no/such".into()]);
        let (elements, problems) = expand_files(&list);
        assert_eq!(elements[..3], ["!10.0.0.0/8", "10.1.0.0/16", "!192.0.2.1"]);
        assert_eq!(elements[elements.len() - 2..], ["!x", "y"]);
        assert_eq!(problems.len(), 2);
        assert!(problems[1].what.starts_with("open file /no/such: No such file"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn times() {
        let read = |t: &str| Duration::read("x", t).map(|d| d.as_secs()).ok();
        assert_eq!(read("5d"), Some(432_000));
        assert_eq!(read("1W"), Some(604_800));
        for bad in ["", "d", "5 d", "-1s", "5x", "5dd", "99999999999d", "40000d"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_element_is_empty(text in "[a{}, \t!/]{0,40}") {
            prop_assert!(split_list(&text).iter().all(|e| !e.is_empty()));
        }
    }
}
