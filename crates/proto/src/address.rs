//! A mail address as the queue keeps it. Reading what clients write is in [`parse`].

pub mod complete;
pub mod parse;

use std::fmt;

/// An envelope address. `local` is kept without quotes (Postfix's "internal" form), `domain` as
/// written. The null sender `<>` has an empty local part and no domain. RFC 5321 4.1.2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    local: String,
    domain: Option<String>,
}

impl Address {
    /// The null sender.
    pub fn null() -> Address {
        Address::default()
    }

    /// From an unquoted local part and an optional domain.
    pub fn new(local: impl Into<String>, domain: Option<impl Into<String>>) -> Address {
        Address { local: local.into(), domain: domain.map(Into::into) }
    }

    /// From the internal form: the last `@` separates the domain; nothing is unquoted.
    pub fn from_internal(text: &str) -> Address {
        match text.rsplit_once('@') {
            Some((local, domain)) => Address::new(local, Some(domain)),
            None => Address::new(text, None::<String>),
        }
    }

    /// True for `<>`.
    pub fn is_null(&self) -> bool {
        self.local.is_empty() && self.domain.is_none()
    }

    /// The local part, without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain as written, an address literal with its brackets.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The internal form `local@domain`, without quotes: the key of table lookups.
    pub fn internal(&self) -> String {
        match &self.domain {
            Some(d) => format!("{}@{}", self.local, d),
            None => self.local.clone(),
        }
    }
}

/// The external form of RFC 5321: a local part that is no dot-string is quoted.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) || (self.local.is_empty() && self.domain.is_none()) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') || c.is_ascii_control() {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        match &self.domain {
            Some(d) => write!(f, "@{d}"),
            None => Ok(()),
        }
    }
}

/// RFC 5321 4.1.2 Dot-string, with RFC 6531 3.3's letters beyond ASCII.
fn is_dot_string(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_form_quotes_what_is_no_dot_string() {
        for (internal, external) in [
            ("jose@example.org", "jose@example.org"),
            ("a b@example.org", "\"a b\"@example.org"),
            ("a..b@example.org", "\"a..b\"@example.org"),
            ("a\"b@example.org", "\"a\\\"b\"@example.org"),
            ("a@b@example.org", "\"a@b\"@example.org"),
            ("jose", "jose"),
            ("", ""),
            ("josé@example.org", "josé@example.org"),
        ] {
            assert_eq!(Address::from_internal(internal).to_string(), external);
        }
    }
}
