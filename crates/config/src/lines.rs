//! Physical lines joined into logical ones, as main.cf, master.cf and text tables have them.

/// One logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// The number of its first physical line, from 1.
    pub line: usize,
    /// Its text; continued lines keep the white space they begin with.
    pub text: String,
}

/// Joins continued lines. Empty lines and comments vanish wherever they stand, inside a continued
/// value too. A line that begins with white space and continues nothing is a logical line of its
/// own; the reader of the file complains about it.
pub fn logical(text: &str) -> Vec<Logical> {
    let mut out: Vec<Logical> = Vec::new();
    for (at, physical) in text.split('\n').enumerate() {
        let Some(first) = physical.trim_start_matches(is_space).chars().next() else { continue };
        if first == '#' {
            continue;
        }
        match out.last_mut() {
            Some(last) if physical.starts_with(is_space) => last.text.push_str(physical),
            _ => out.push(Logical { line: at + 1, text: physical.to_string() }),
        }
    }
    for logical in &mut out {
        let keep = logical.text.trim_end_matches(is_space).len();
        logical.text.truncate(keep);
    }
    out
}

/// White space as isspace(3) has it in the C locale.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

/// Splits `name = value`. The error is what is missing.
pub fn name_value(text: &str) -> Result<(&str, &str), &'static str> {
    let text = text.trim_matches(is_space);
    let end = text.find(|c| c == '=' || is_space(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err("missing attribute name");
    }
    match rest.trim_start_matches(is_space).strip_prefix('=') {
        Some(value) => Ok((name, value.trim_matches(is_space))),
        None => Err("missing '=' after attribute name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_and_comments() {
        let got = logical("a = x\r\n# c\n\n  y\n   # d\n\tz   \nb=1");
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].line, got[0].text.as_str()), (1, "a = x\r  y\tz"));
        assert_eq!((got[1].line, got[1].text.as_str()), (7, "b=1"));
        assert_eq!(logical("\n x = 1\n")[0], Logical { line: 2, text: " x = 1".into() });
    }

    #[test]
    fn names_and_values() {
        assert_eq!(name_value("a=b"), Ok(("a", "b")));
        assert_eq!(name_value(" a = b = c "), Ok(("a", "b = c")));
        assert_eq!(name_value("a ="), Ok(("a", "")));
        assert!(name_value("= b").is_err());
        assert!(name_value("a b = c").is_err());
        assert!(name_value("a").is_err());
    }
}
