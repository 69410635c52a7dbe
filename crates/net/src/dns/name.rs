//! Host names: which can be, IDN, and the names of addresses.

use std::net::IpAddr;

/// Whether it can be the name of a host or domain: labels of letters, digits, `-` (not at either
/// end) and `_`, not digits and dots only. `*.` may come first. No dot at the end.
pub fn valid(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && proto::address::parse::is_host_name(rest, false)
}

/// A name as it is asked for: A-labels (RFC 5890 2.3.2.1), no dot at the end. `None` for what cannot
/// be a name.
pub fn ascii(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let ascii = match name.is_ascii() {
        true => name.to_ascii_lowercase(),
        false if name.len() <= 1024 => idna::domain_to_ascii(name).ok()?,
        false => return None,
    };
    valid(&ascii).then_some(ascii)
}

/// The name below which the names of an address stand. RFC 1035 3.5, RFC 3596 2.5.
pub fn reversed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(a) => {
            let mut name = String::with_capacity(72);
            for byte in a.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a.b", "mail-1.example.org", "_25._tcp.mx.example.org", "*.a.b", "1.2.a", "xn--a"] {
            assert!(valid(good), "{good}");
        }
        let long = "a".repeat(64);
        let longer = format!("{}a", "abcdefghi.".repeat(26));
        for bad in [
            "", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "1.2.3.4", "12", "a b", "a\0", "ñ", &long,
            &longer,
        ] {
            assert!(!valid(bad), "{bad}");
        }
    }

    #[test]
    fn as_asked() {
        assert_eq!(ascii("Example.ORG.").as_deref(), Some("example.org"));
        assert_eq!(ascii("señor.es").as_deref(), Some("xn--seor-hqa.es"));
        assert_eq!(ascii("a..b"), None);
        assert_eq!(ascii("*.a.b").as_deref(), Some("*.a.b"));
        assert_eq!(ascii(&"ñ".repeat(600)), None);
    }

    #[test]
    fn of_addresses() {
        assert_eq!(reversed([192, 0, 2, 1].into()), "1.2.0.192.in-addr.arpa");
        assert_eq!(reversed("::ffff:192.0.2.1".parse().unwrap()), "1.2.0.192.in-addr.arpa");
        assert_eq!(
            reversed("2001:db8::567:89ab".parse().unwrap()),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
