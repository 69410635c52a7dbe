//! Names of hosts and relay hosts as people type them, and what is wrong with them in words.

use std::net::IpAddr;

/// Whether `text` is a host name. RFC 1035 2.3.1, with RFC 1123 2.1's leading digits
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{text:?} is no host name: {what}"));
    if text.is_empty() {
        return Err("the name is empty".into());
    }
    if text.len() > 253 {
        return wrong("it is longer than 253 characters");
    }
    if text.parse::<IpAddr>().is_ok() {
        return wrong("it is an address");
    }
    for label in text.split('.') {
        if label.is_empty() {
            return wrong("there is nothing between two dots, or at an end");
        }
        if label.len() > 63 {
            return wrong("a part of it is longer than 63 characters");
        }
        if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return match odd {
                c if c.is_whitespace() => wrong("it contains white space"),
                c if !c.is_ascii() => wrong("write names with other letters in their ASCII form, xn--..."),
                c => wrong(&format!(
                    "it contains {c:?}; only letters, digits, hyphens and dots may stand there"
                )),
            };
        }
        if label.starts_with('-') || label.ends_with('-') {
            return wrong("a part of it begins or ends with a hyphen");
        }
    }
    if text.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit())) {
        return wrong("its last part is a number, as in an address");
    }
    Ok(())
}

/// A host that mail is handed to: `host`, `[host]`, `host:port`, `[host]:port`, `[192.0.2.1]`,
/// `[2001:db8::1]:587`. Without brackets the MX records of the name decide where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelayHost {
    /// The name or address.
    pub(super) host: String,
    /// Whether it stands in brackets: no MX lookup.
    pub(super) brackets: bool,
    /// The port, a number or a name of /etc/services.
    pub(super) port: Option<String>,
}

impl RelayHost {
    /// Reads it; the error says what is wrong.
    pub(super) fn read(text: &str) -> Result<RelayHost, String> {
        let wrong = |what: &str| format!("{text:?} is no relay host: {what}");
        let example = "write a name such as mail.example.net, or [mail.example.net]:587";
        if text.is_empty() {
            return Err(format!("the relay host is empty; {example}"));
        }
        if text.contains(char::is_whitespace) {
            return Err(wrong(&format!("it contains white space; {example}")));
        }
        let (inner, rest, brackets) = match text.strip_prefix('[') {
            Some(after) => {
                let (inner, rest) =
                    after.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
                (inner, rest, true)
            }
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => {
                    return Err(wrong("an IPv6 address stands in brackets, as [2001:db8::1]:587"));
                }
                Some((host, port)) => {
                    (host, text.get(text.len() - port.len() - 1..).unwrap_or_default(), false)
                }
                None => (text, "", false),
            },
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port_of(port).map_err(|what| wrong(&what))?),
            None if rest.is_empty() => None,
            None => return Err(wrong(&format!("{rest:?} behind the bracket; only :port may stand there"))),
        };
        let literal = bare(inner).parse::<IpAddr>().is_ok();
        if literal && !brackets {
            return Err(wrong(&format!("an address stands in brackets: [{inner}]")));
        }
        if !literal {
            host_name(inner).map_err(|what| format!("{what}; {example}"))?;
        }
        Ok(RelayHost { host: inner.to_string(), brackets, port })
    }

    /// The name or address, without the mark of IPv6.
    pub(super) fn bare_host(&self) -> &str {
        bare(&self.host)
    }

    /// The port as a number, `default` when none is written.
    pub(super) fn port_number(&self, default: u16) -> u16 {
        let Some(port) = &self.port else { return default };
        sys::services::port(port).unwrap_or(default)
    }
}

impl std::fmt::Display for RelayHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.brackets {
            true => write!(f, "[{}]", self.host)?,
            false => write!(f, "{}", self.host)?,
        }
        self.port.as_ref().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn bare(text: &str) -> &str {
    match text.split_at_checked(5) {
        Some((mark, rest)) if mark.eq_ignore_ascii_case("ipv6:") => rest,
        _ => text,
    }
}

fn port_of(text: &str) -> Result<String, String> {
    let number = text.chars().all(|c| c.is_ascii_digit()) && !text.is_empty();
    match number {
        true if text.parse::<u16>().is_ok_and(|n| n > 0) => Ok(text.to_string()),
        true => Err(format!("the port {text} is not between 1 and 65535")),
        false if sys::services::port(text).is_some_and(|p| p > 0) => Ok(text.to_string()),
        false => Err(format!("{text:?} is no port; write a number such as 25, 465 or 587")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names() {
        for good in ["a", "horus.example.org", "3com.example", "xn--bcher-kva.example", "a-b.c", "A.B"] {
            assert_eq!(host_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "empty"),
            ("a b", "white space"),
            ("a..b", "nothing between two dots"),
            ("a.", "at an end"),
            ("-a.b", "hyphen"),
            ("a_b.c", "'_'"),
            ("b\u{fc}cher.example", "xn--"),
            ("192.0.2.1", "address"),
            ("a.1", "number"),
            ("a\nb", "white space"),
        ] {
            assert!(host_name(bad).unwrap_err().contains(why), "{bad}: {}", host_name(bad).unwrap_err());
        }
        assert!(host_name(&format!("{}.a", "x".repeat(64))).is_err());
        assert!(host_name(&"x.".repeat(127)).is_err());
    }

    #[test]
    fn relay_hosts() {
        let read = |text: &str| RelayHost::read(text).map(|r| (r.host, r.brackets, r.port));
        let ok = |h: &str, b, p: Option<&str>| Ok((h.to_string(), b, p.map(str::to_string)));
        assert_eq!(read("mail.example.net"), ok("mail.example.net", false, None));
        assert_eq!(read("mail.example.net:587"), ok("mail.example.net", false, Some("587")));
        assert_eq!(read("[mail.example.net]:submission"), ok("mail.example.net", true, Some("submission")));
        assert_eq!(read("[192.0.2.1]"), ok("192.0.2.1", true, None));
        assert_eq!(read("[2001:db8::1]:25"), ok("2001:db8::1", true, Some("25")));
        assert_eq!(read("[ipv6:2001:db8::1]"), ok("ipv6:2001:db8::1", true, None));
        for bad in [
            "",
            "a b",
            "[a",
            "[a]b",
            "[a]:",
            "a:",
            "a:0",
            "a:70000",
            "a:nosuchport",
            "192.0.2.1",
            "2001:db8::1",
            "a,b",
            "smtp:[a]",
            "[a]:25 junk",
            "a:25:26",
            "user@a",
            "[]",
            "a\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(read("2001:db8::1").unwrap_err().contains("brackets"));
        assert!(read("[a.example] junk").unwrap_err().contains("white space"));
        assert_eq!(RelayHost::read("[a]:submissions").unwrap().port_number(25), 465);
        assert_eq!(RelayHost::read("a").unwrap().port_number(25), 25);
    }

    proptest! {
        /// What is read is printed as it was written.
        #[test]
        fn relay_hosts_come_back(text in "\\[?[a-c:.0-9-]{0,12}\\]?(:[0-9a-z]{0,6})?") {
            if let Ok(read) = RelayHost::read(&text) {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
