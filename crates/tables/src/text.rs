//! The text of a table: logical lines, and the two grammars of rows.
//!
//! `postmap` grammar: `key value`. `postalias` grammar:
//! `name: value, …`. Both: a line that begins with white space continues the one before, lines
//! that are empty or begin with `#` are ignored. The words of faults are Postfix's, because
//! administrators search for them.

use std::fmt;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// `key value`: postmap(1).
    Map,
    /// `name: value, value`: aliases(5).
    Alias,
    /// Whichever most rows are written in. Postfix need not ask: its compiled files are the same
    /// for both; here a text may be named as alias table and as ordinary one.
    #[default]
    Auto,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As written, without quotes; not folded.
    pub key: String,
    /// Without surrounding white space; of an alias row with its commas set anew.
    pub value: String,
    /// The line where it begins.
    pub line: usize,
    /// The line where it ends, which messages name.
    pub last: usize,
}

/// Something wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line that messages name; none when Postfix names none.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// The row was skipped; false for mere hints.
    pub skipped: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, ", line {line}: {}", self.what),
            None => write!(f, ": {}", self.what),
        }
    }
}

/// The rows of a text, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Rows in order; keys may repeat.
    pub rows: Vec<Row>,
    /// Faults in order.
    pub faults: Vec<Fault>,
}

/// A line with its continuations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// Its bytes, without line ends.
    pub text: Vec<u8>,
    /// Where it begins.
    pub first: usize,
    /// Where it ends.
    pub last: usize,
}

/// Joins continued lines, and drops empty lines and comments, also amid continuations.
pub fn logical_lines(bytes: &[u8]) -> (Vec<Logical>, Vec<Fault>) {
    let (mut out, mut faults): (Vec<Logical>, Vec<Fault>) = (Vec::new(), Vec::new());
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let start = line.iter().position(|b| !b.is_ascii_whitespace());
        match start.and_then(|s| line.get(s)) {
            None | Some(b'#') => continue,
            _ => {}
        }
        match out.last_mut() {
            Some(last) if start > Some(0) => {
                last.text.extend_from_slice(line);
                last.last = i + 1;
            }
            None if start > Some(0) => faults.push(Fault {
                line: None,
                what: format!("logical line must not start with whitespace: \"{}\"", shown(line)),
                skipped: true,
            }),
            _ => out.push(Logical { text: line.to_vec(), first: i + 1, last: i + 1 }),
        }
    }
    (out, faults)
}

/// The files that the values of rows name, as those of `tls_server_sni_maps` do.
pub fn files_in_values(bytes: &[u8]) -> Vec<String> {
    let (lines, _) = logical_lines(bytes);
    let rows = lines.iter().filter_map(|line| map_row(std::str::from_utf8(&line.text).ok()?).ok());
    let mut files = Vec::new();
    for (_, value) in rows {
        let words = value.split([',', ' ', '\t']).filter(|w| w.starts_with('/'));
        files.extend(words.map(String::from));
    }
    files
}

/// Reads a whole text.
pub fn parse(bytes: &[u8], grammar: Grammar) -> Parsed {
    let (lines, faults) = logical_lines(bytes);
    let mut parsed = Parsed { rows: Vec::with_capacity(lines.len()), faults };
    let grammar = match grammar {
        Grammar::Auto => guess(&lines),
        known => known,
    };
    for line in lines {
        let Ok(text) = std::str::from_utf8(&line.text) else {
            let what = format!("non-UTF-8 input \"{}\" -- ignoring this line", shown(&line.text));
            parsed.faults.push(Fault { line: Some(line.last), what, skipped: true });
            continue;
        };
        let row = match grammar {
            Grammar::Alias => alias_row(text),
            _ => map_row(text),
        };
        match row {
            Ok((key, value)) => {
                if grammar != Grammar::Alias && key.ends_with(':') {
                    let what = "record is in \"key: value\" format; is this an alias file?".to_string();
                    parsed.faults.push(Fault { line: Some(line.last), what, skipped: false });
                }
                parsed.rows.push(Row { key, value, line: line.first, last: line.last });
            }
            Err(what) => parsed.faults.push(Fault { line: Some(line.last), what, skipped: true }),
        }
    }
    parsed
}

/// Alias grammar when more rows have a key that ends in a colon than not. What follows the colon of
/// `[host]:587 user:password` is a port, and part of the key.
fn guess(lines: &[Logical]) -> Grammar {
    let alias = lines.iter().filter(|l| {
        let text = l.text.trim_ascii();
        let end = match text.strip_prefix(b"\"") {
            Some(rest) => rest.iter().position(|b| *b == b'"').map_or(text.len(), |p| p + 2),
            None => text.iter().position(|b| b.is_ascii_whitespace() || *b == b':').unwrap_or(text.len()),
        };
        let Some(after) = text.get(end..).and_then(|t| t.trim_ascii_start().strip_prefix(b":")) else {
            return false;
        };
        let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
        let port =
            digits > 0 && after.get(digits..).is_some_and(|t| t.first().is_some_and(u8::is_ascii_whitespace));
        !port && !matches!(text.first(), Some(b':' | b'['))
    });
    if alias.count() * 2 > lines.len() { Grammar::Alias } else { Grammar::Map }
}

/// `key value`. A key may have white space within double quotes, which stay part of it.
pub fn map_row(text: &str) -> Result<(String, String), String> {
    let (mut quoted, mut escaped, mut end) = (false, false, text.len());
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted && c.is_ascii_whitespace() => {
                end = i;
                break;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(format!("unbalanced '\"' in '{text}' -- ignoring this line"));
    }
    let (key, value) = text.split_at_checked(end).unwrap_or((text, ""));
    let value = value.trim_matches(|c: char| c.is_ascii_whitespace());
    if key.is_empty() || value.is_empty() {
        return Err("expected format: key whitespace value".into());
    }
    Ok((key.to_string(), value.to_string()))
}

/// `name: value, value`.
pub fn alias_row(text: &str) -> Result<(String, String), String> {
    let need = || "need name:value pair".to_string();
    let (mut quoted, mut escaped, mut colon) = (false, false, None);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ':' if !quoted => {
                colon = Some(i);
                break;
            }
            _ => {}
        }
    }
    let (name, value) = colon.and_then(|i| text.split_at_checked(i)).ok_or_else(need)?;
    let value = alias_value(value.strip_prefix(':').unwrap_or(value));
    if name.trim().is_empty() || value.is_empty() {
        return Err(need());
    }
    let (mut key, mut quoted, mut escaped, mut bare_at) = (String::new(), false, false, false);
    let mut after_quote = false;
    for c in name.trim().chars() {
        match c {
            _ if escaped => {
                escaped = false;
                key.push(c);
            }
            '\\' => escaped = true,
            '"' => {
                quoted = !quoted;
                after_quote = !quoted;
                continue;
            }
            c if !quoted && c.is_ascii_whitespace() => {
                if !key.ends_with(' ') {
                    key.push(' ');
                }
            }
            c => {
                if after_quote && !quoted {
                    key.push(' ');
                }
                bare_at |= c == '@' && !quoted;
                key.push(c);
            }
        }
        after_quote = false;
    }
    if bare_at { Err("name must be local".into()) } else { Ok((key, value)) }
}

/// The right side with one space after each comma and between words; quotes, comments and routes
/// in angle brackets are left alone.
fn alias_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped, mut depth, mut angle) = (false, false, 0usize, false);
    for c in text.trim_matches(|c: char| c.is_ascii_whitespace()).chars() {
        if escaped {
            escaped = false;
            out.push(c);
        } else if c == '\\' {
            escaped = true;
            if quoted || depth > 0 {
                out.push(c);
            }
        } else if quoted {
            quoted = c != '"';
            out.push(c);
        } else if depth > 0 {
            depth = match c {
                '(' => depth + 1,
                ')' => depth - 1,
                _ => depth,
            };
            out.push(c);
        } else if angle {
            angle = c != '>';
            out.push(c);
        } else if c == ',' {
            if out.ends_with(' ') && !out.ends_with(", ") {
                out.pop();
            }
            out.push_str(", ");
        } else if c.is_ascii_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            quoted = c == '"';
            depth = usize::from(c == '(');
            angle = c == '<';
            out.push(c);
        }
    }
    out
}

/// Bytes of a text in a message: what is no UTF-8 is shown as `?`.
pub fn shown(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '?' }).collect(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_rows_name() {
        let text =
            b"# /no\na.org /etc/a.pem, /etc/b.pem\n\n.b.org\t/etc/c.pem\n  /etc/d.pem\nc.org x/y LS0t\n";
        assert_eq!(files_in_values(text), ["/etc/a.pem", "/etc/b.pem", "/etc/c.pem", "/etc/d.pem"]);
    }

    #[test]
    fn a_port_does_not_make_an_alias_table() {
        let keys = |text: &str| -> Vec<String> {
            parse(text.as_bytes(), Grammar::Auto).rows.into_iter().map(|r| r.key).collect()
        };
        assert_eq!(keys("[smtp.example.org]:587 user:password\n"), ["[smtp.example.org]:587"]);
        assert_eq!(keys("smtp.example.org:587 user:password\n"), ["smtp.example.org:587"]);
        assert_eq!(keys("root: jose\nftp:nobody\n"), ["root", "ftp"]);
    }
}
