//! The right-hand sides of checks: what a row orders.

use proto::header;

/// Where the mail is when it is inspected. On its way out less can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// By cleanup(8).
    In,
    /// By smtp(8).
    Out,
}

/// What a row orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it there, too.
    Bcc(String),
    /// Take it and forget it; text for the log.
    Discard(String),
    /// Nothing.
    Dunno,
    /// Send it through `transport:nexthop`.
    Filter(String),
    /// Keep it; text for the log.
    Hold(String),
    /// Leave the line out.
    Ignore,
    /// Log.
    Info(String),
    /// Inspect nothing more of this message.
    Pass(String),
    /// A line before this one.
    Prepend(String),
    /// Send it there instead.
    Redirect(String),
    /// Refuse the message: enhanced code and text.
    Reject(String),
    /// A line in place of this one.
    Replace(String),
    /// Leave the line out and log.
    Strip(String),
    /// Log as a warning.
    Warn(String),
}

impl Action {
    /// Reads the value of a row of `map`. `header`: the line is a header field. An error is Postfix's
    /// warning; the line then passes.
    pub fn parse(value: &str, map: &str, header: bool, side: Side) -> Result<Action, String> {
        let value = value.trim();
        let (word, text) = value.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((value, ""));
        let text = text.trim_start().to_string();
        let line = |text: String| -> Result<String, String> {
            let word = word.to_ascii_uppercase();
            if text.is_empty() {
                Err(format!("{word} action without text in {map} map"))
            } else if header && header::name_len(text.as_bytes()).is_none() {
                Err(format!(
                    "bad {word} header text \"{text}\" in {map} map -- need \"headername: headervalue\""
                ))
            } else {
                Ok(text)
            }
        };
        let word_is = |name: &str| word.eq_ignore_ascii_case(name);
        let action = match () {
            () if word_is("DUNNO") || word_is("OK") => Action::Dunno,
            () if word_is("IGNORE") => Action::Ignore,
            () if word_is("STRIP") => Action::Strip(text),
            () if word_is("WARN") => Action::Warn(text),
            () if word_is("INFO") => Action::Info(text),
            () if word_is("PREPEND") => Action::Prepend(line(text)?),
            () if word_is("REPLACE") => Action::Replace(line(text)?),
            () if side == Side::Out => return Err(format!("unsupported command in {map} map: {value}")),
            () if word_is("REJECT") => Action::Reject(with_code(&text)),
            () if word_is("DISCARD") => Action::Discard(text),
            () if word_is("HOLD") => Action::Hold(text),
            () if word_is("PASS") => Action::Pass(text),
            () if word_is("FILTER") && text.is_empty() => {
                return Err(format!("missing FILTER command argument in {map} map"));
            }
            () if word_is("FILTER") && !text.contains(':') => {
                return Err(format!("bad FILTER command {text} in {map} -- need transport:destination"));
            }
            () if word_is("FILTER") => Action::Filter(text),
            () if word_is("REDIRECT") && !text.contains('@') => {
                return Err(format!("bad REDIRECT target \"{text}\" in {map} map -- need user@domain"));
            }
            () if word_is("REDIRECT") => Action::Redirect(text),
            () if word_is("BCC") && !text.contains('@') => {
                return Err(format!("bad BCC address \"{text}\" in {map} map -- need user@domain"));
            }
            () if word_is("BCC") => Action::Bcc(text),
            () => return Err(format!("unknown command in {map} map: {value}")),
        };
        Ok(action)
    }
}

/// The text of a REJECT with its enhanced code, 5.7.1 unless it names one.
fn with_code(text: &str) -> String {
    let text = if text.is_empty() { "message content rejected" } else { text };
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match proto::status::Code::parse(first) {
        Some(code) if code.0 != 2 && !rest.trim().is_empty() => format!("{first} {}", rest.trim_start()),
        Some(code) if code.0 != 2 => format!("{first} message content rejected"),
        _ => format!("5.7.1 {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let of = |value: &str| Action::parse(value, "header_checks", true, Side::In);
        for (value, expected) in [
            ("reject", Action::Reject("5.7.1 message content rejected".into())),
            ("REJECT no $1", Action::Reject("5.7.1 no $1".into())),
            ("REJECT 5.2.3 with code", Action::Reject("5.2.3 with code".into())),
            ("REJECT 4.7.1 later", Action::Reject("4.7.1 later".into())),
            ("REJECT 2.0.0 odd", Action::Reject("5.7.1 2.0.0 odd".into())),
            ("warn", Action::Warn(String::new())),
            ("WARN  some text ", Action::Warn("some text".into())),
            ("OK", Action::Dunno),
            ("PREPEND X: y", Action::Prepend("X: y".into())),
            ("FILTER a:b", Action::Filter("a:b".into())),
            ("BCC a@b", Action::Bcc("a@b".into())),
        ] {
            assert_eq!(of(value), Ok(expected), "{value}");
        }
        for (value, expected) in [
            ("FILTER", "missing FILTER command argument in header_checks map"),
            ("FILTER x", "bad FILTER command x in header_checks -- need transport:destination"),
            ("REDIRECT x", "bad REDIRECT target \"x\" in header_checks map -- need user@domain"),
            ("BCC", "bad BCC address \"\" in header_checks map -- need user@domain"),
            ("PREPEND", "PREPEND action without text in header_checks map"),
            (
                "REPLACE no header",
                "bad REPLACE header text \"no header\" in header_checks map -- need \"headername: headervalue\"",
            ),
            ("FOOBAR x", "unknown command in header_checks map: FOOBAR x"),
        ] {
            assert_eq!(of(value), Err(expected.to_string()), "{value}");
        }
        let body = Action::parse("REPLACE no header", "body_checks", false, Side::In);
        assert_eq!(body, Ok(Action::Replace("no header".into())));
        for value in ["REJECT x", "DISCARD", "HOLD", "PASS", "BCC a@b", "FILTER a:b", "REDIRECT a@b", "X"] {
            let of = Action::parse(value, "smtp_body_checks", false, Side::Out);
            assert_eq!(of, Err(format!("unsupported command in smtp_body_checks map: {value}")));
        }
    }
}
