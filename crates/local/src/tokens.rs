//! The right-hand side of an alias and the lines of `.forward` and `:include:` files. aliases(5).
//!
//! Elements are separated by commas. Quotes keep what they enclose together, a backslash keeps one
//! character, `(…)` is a comment, `Name <address>` is the address. Never fails: what is no address
//! is one that nobody has.

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
    let mut out = Vec::new();
    let mut element = Element::default();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => std::mem::take(&mut element).finish(&mut out),
            '"' => {
                element.space();
                element.seen = true;
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => element.text.extend(chars.next()),
                        _ => element.text.push(c),
                    }
                }
            }
            '\\' => {
                element.space();
                element.text.extend(chars.next());
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
                element.gap = true;
            }
            // What stood before was the name of a person.
            '<' if !element.routed => element = Element { routed: true, ..Element::default() },
            '>' if element.routed => element.closed = true,
            c if c.is_whitespace() => element.gap = true,
            c => {
                element.space();
                element.text.push(c);
            }
        }
    }
    element.finish(&mut out);
    out
}

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

#[derive(Default)]
struct Element {
    text: String,
    /// White space or a comment came since the last character.
    gap: bool,
    /// A quoted part was there, perhaps an empty one.
    seen: bool,
    routed: bool,
    closed: bool,
}

impl Element {
    fn space(&mut self) {
        if self.closed {
            return;
        }
        if std::mem::take(&mut self.gap) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    fn finish(self, out: &mut Vec<Token>) {
        let text = self.text;
        if text.is_empty() && !self.seen {
            return;
        }
        let include = text.get(..9).is_some_and(|h| h.eq_ignore_ascii_case(":include:"));
        out.push(if let Some(command) = text.strip_prefix('|') {
            Token::Command(command.trim_start().to_string())
        } else if text.starts_with('/') {
            Token::File(text)
        } else if include {
            Token::Include(text.get(9..).unwrap_or_default().trim_start().to_string())
        } else {
            Token::Address(text)
        });
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
        check("|/usr/bin/vacation jose", &["!/usr/bin/vacation jose"]);
        check("\"|sh -c \\\"a, b\\\"\"", &["!sh -c \"a, b\""]);
        check("/var/x, /home/x/Maildir/", &["f/var/x", "f/home/x/Maildir/"]);
        check("\"/tmp/a b\"", &["f/tmp/a b"]);
        check(":include:/srv/list, :INCLUDE: /b", &["i/srv/list", "i/b"]);
        check("\\usuario, alumno", &["usuario", "alumno"]);
        check("usuario (a comment), \"ana\" <alumno>", &["usuario", "alumno"]);
        check("Ana <ana@x.org>, \"a b\"@x.org", &["ana@x.org", "a b@x.org"]);
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
