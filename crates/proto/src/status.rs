//! What became of a recipient, in words and numbers a sender can be told. RFC 3463.

use std::fmt;
use std::sync::Arc;

/// An enhanced status code such as `5.1.1`. RFC 3463 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u8, pub u16, pub u16);

impl Code {
    /// Reads `5.1.1`; the class must be 2, 4 or 5.
    pub fn parse(text: &str) -> Option<Code> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let mut number = || {
            let part = parts.next()?;
            (!part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse::<u16>().ok())
                .flatten()
        };
        let (subject, detail) = (number()?, number()?);
        parts.next().is_none().then_some(Code(class, subject, detail))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A status of one recipient: the code, one line of text, and what the other side said, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// RFC 3463 code; its class says delivered (2), deferred (4) or failed (5).
    pub code: Code,
    /// What the log shows in parentheses and the bounce shows to the sender.
    pub text: String,
    /// `Remote-MTA` and `Diagnostic-Code` when another host decided. RFC 3464 2.3.
    /// Shared, for a status goes through many hands.
    pub remote: Option<Arc<Remote>>,
}

/// The other side of a failed delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Type and name, such as `dns` and `mx.example.org`.
    pub mta: Option<(String, String)>,
    /// Type and text, such as `smtp` and `550 5.1.1 <a@b>: User unknown`.
    pub diagnostic: (String, String),
}

impl Remote {
    /// What a status takes.
    pub fn of(mta: Option<(String, String)>, diagnostic: (String, String)) -> Arc<Remote> {
        Arc::new(Remote { mta, diagnostic })
    }
}

impl Status {
    /// A status without a remote side.
    pub fn new(code: Code, text: impl Into<String>) -> Status {
        Status { code, text: text.into(), remote: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        assert_eq!(Code::parse("5.1.1"), Some(Code(5, 1, 1)));
        assert_eq!(Code::parse("2.0.0").map(|c| c.to_string()).as_deref(), Some("2.0.0"));
        for bad in ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.1.x", "5..1", "5.1.1234", "+5.1.1"] {
            assert_eq!(Code::parse(bad), None, "{bad}");
        }
    }
}
