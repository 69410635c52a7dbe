//! Next hops as they are written: in `relayhost`, transport tables, and recipients' domains.

use proto::status::{Code, Status};
use std::fmt;
use std::path::PathBuf;

/// A place to deliver to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A socket on this machine (LMTP only), as written; a relative path is below the queue directory.
    Unix(PathBuf),
    /// A domain or host.
    Inet(NextHop),
}

/// A domain or host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// A name or an address, without brackets and without `ipv6:`.
    pub host: String,
    /// It stood in brackets: this host itself, whatever MX records it may have.
    pub bracketed: bool,
    /// The port.
    pub port: u16,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bracketed {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The protocol that is spoken, as far as finding the other side depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Mail exchangers are looked for.
    Smtp,
    /// Hosts only; `inet:` and `unix:` are understood.
    Lmtp,
}

/// The places of a list: they are separated by commas or white space.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ', '\t', '\r', '\n']).filter(|t| !t.is_empty())
}

/// Reads one place. `port` holds where none is written. The error is the fault of the configuration,
/// and so temporary.
pub fn parse(text: &str, protocol: Protocol, port: u16) -> Result<Target, Box<Status>> {
    let rest = match protocol {
        Protocol::Smtp => text,
        Protocol::Lmtp => match text.strip_prefix("unix:") {
            Some(path) if path.is_empty() || path.contains('\0') => {
                return Err(wrong("missing socket name", text));
            }
            Some(path) => return Ok(Target::Unix(path.into())),
            None => text.strip_prefix("inet:").unwrap_or(text),
        },
    };
    let (host, service, bracketed) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or_else(|| wrong("missing \"]\"", text))?;
            match after {
                "" => (host, "", true),
                _ => match after.strip_prefix(':') {
                    Some(service) => (host, service, true),
                    None => return Err(wrong("garbage after \"]\"", text)),
                },
            }
        }
        None => {
            let (host, service) = rest.split_once(':').unwrap_or((rest, ""));
            (host, service, false)
        }
    };
    if host.is_empty() {
        return Err(wrong("missing host name", text));
    }
    let host = address_text(host).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let named = proto::address::parse::is_host_name(host, true);
    if !named && host.parse::<std::net::IpAddr>().is_err() {
        return Err(wrong("valid hostname or network address required", text));
    }
    let port = match service {
        "" => port,
        _ => match sys::services::port(service) {
            Some(port) if port != 0 => port,
            _ => return Err(wrong("unknown service", text)),
        },
    };
    Ok(Target::Inet(NextHop { host: host.to_string(), bracketed, port }))
}

/// The address after `ipv6:`.
fn address_text(host: &str) -> Option<&str> {
    let (tag, address) = host.split_at_checked(5)?;
    (tag.eq_ignore_ascii_case("ipv6:") && address.parse::<std::net::Ipv6Addr>().is_ok()).then_some(address)
}

fn wrong(what: &str, text: &str) -> Box<Status> {
    Box::new(Status::new(Code(4, 3, 5), format!("{what} in server description: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inet(text: &str, protocol: Protocol) -> Option<(String, bool, u16)> {
        match parse(text, protocol, 25) {
            Ok(Target::Inet(hop)) => Some((hop.host, hop.bracketed, hop.port)),
            _ => None,
        }
    }

    #[test]
    fn as_written() {
        for (text, host, bracketed, port) in [
            ("example.org", "example.org", false, 25),
            ("example.org.", "example.org", false, 25),
            ("example.org:", "example.org", false, 25),
            ("example.org:2525", "example.org", false, 2525),
            ("example.org:submission", "example.org", false, 587),
            ("[mail.example.org]", "mail.example.org", true, 25),
            ("[mail.example.org]:587", "mail.example.org", true, 587),
            ("[192.0.2.1]", "192.0.2.1", true, 25),
            ("192.0.2.1", "192.0.2.1", false, 25),
            ("[IPv6:2001:db8::1]:2525", "2001:db8::1", true, 2525),
            ("[ipv6:2001:db8::1]", "2001:db8::1", true, 25),
            ("[2001:db8::1]", "2001:db8::1", true, 25),
            ("señor.example", "señor.example", false, 25),
        ] {
            assert_eq!(inet(text, Protocol::Smtp), Some((host.into(), bracketed, port)), "{text}");
        }
        assert_eq!(inet("inet:a.b:24", Protocol::Lmtp), Some(("a.b".into(), false, 24)));
        assert_eq!(inet("a.b", Protocol::Lmtp), Some(("a.b".into(), false, 25)));
        let unix = parse("unix:/run/dovecot/lmtp", Protocol::Lmtp, 24);
        assert_eq!(unix, Ok(Target::Unix("/run/dovecot/lmtp".into())));
        assert_eq!(parse("unix:private/x", Protocol::Lmtp, 24), Ok(Target::Unix("private/x".into())));
    }

    #[test]
    fn mistakes() {
        for text in [
            "",
            ":25",
            "[",
            "[]",
            "[a.b",
            "[a.b]x",
            "[a.b]25",
            "a b",
            "a..b",
            "-a.b",
            "a.b:no-such",
            "a.b:0",
            "a.b:70000",
            "[ipv6:x]",
            "2001:db8::1",
            "unix:/x",
        ] {
            let got = parse(text, Protocol::Smtp, 25).map_err(|s| (s.code, s.text));
            let Err((Code(4, 3, 5), words)) = got else { panic!("{text}: {got:?}") };
            assert!(words.ends_with(&format!("in server description: {text}")), "{words}");
        }
        assert!(parse("unix:", Protocol::Lmtp, 24).is_err());
    }

    #[test]
    fn lists() {
        assert_eq!(list(" [a]:1, b\t[c] ,,").collect::<Vec<_>>(), ["[a]:1", "b", "[c]"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9:.\\[\\]ñ/-]{0,20}") {
            for protocol in [Protocol::Smtp, Protocol::Lmtp] {
                if let Ok(Target::Inet(hop)) = parse(&text, protocol, 25) {
                    prop_assert_eq!(parse(&hop.to_string(), Protocol::Smtp, 1).is_ok(), !hop.host.contains("::") || hop.bracketed);
                }
            }
        }
    }
}
