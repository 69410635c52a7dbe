//! Address extensions: `user+extension`. postconf(5) recipient_delimiter

/// Where names are not split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter {
    /// `recipient_delimiter`: any of these characters.
    pub characters: String,
    /// `owner_request_special`.
    pub owner_request_special: bool,
    /// `double_bounce_sender`.
    pub double_bounce: String,
}

impl Delimiter {
    /// The name and the extension of a local part, and the delimiter found; `None` when there is
    /// no extension, or the name is one that has none.
    pub fn split<'a>(&self, local: &'a str) -> Option<(&'a str, char, &'a str)> {
        if self.characters.is_empty() {
            return None;
        }
        // Names of the mail system itself are never split.
        let special = ["postmaster", "mailer-daemon", self.double_bounce.as_str()];
        if special.iter().any(|s| s.eq_ignore_ascii_case(local)) {
            return None;
        }
        if self.characters.contains('-') && self.owner_request_special {
            let lower = local.to_ascii_lowercase();
            if lower.starts_with("owner-") || lower.ends_with("-request") {
                return None;
            }
        }
        let at = local.find(|c| self.characters.contains(c))?;
        let (name, rest) = local.split_at(at);
        let delimiter = rest.chars().next()?;
        // A name that begins with a delimiter, or is nothing but delimiters, is a name.
        (!name.is_empty()).then(|| (name, delimiter, &rest[delimiter.len_utf8()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_first_delimiter() {
        let of = |characters: &str, local: &str| {
            let d = Delimiter {
                characters: characters.into(),
                owner_request_special: true,
                double_bounce: "double-bounce".into(),
            };
            d.split(local).map(|(n, c, e)| format!("{n} {c} {e}"))
        };
        assert_eq!(of("+", "jose+lista").as_deref(), Some("jose + lista"));
        assert_eq!(of("+", "alumno+x+y").as_deref(), Some("alumno + x+y"));
        assert_eq!(of("-+", "a-b+c").as_deref(), Some("a - b+c"));
        assert_eq!(of("+", "jose+").as_deref(), Some("jose + "));
        for whole in ["jose", "+x", ""] {
            assert_eq!(of("+", whole), None);
        }
        for whole in ["owner-list", "list-request", "mailer-daemon", "double-bounce"] {
            assert_eq!(of("-", whole), None, "{whole}");
        }
        assert_eq!(of("", "a+b"), None);
    }
}
