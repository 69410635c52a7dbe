//! Blocks of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address block such as `192.168.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

impl Net {
    /// Reads `address`, `address/bits`, with or without brackets around the address or around the
    /// whole. The words of errors are Postfix's.
    pub fn parse(text: &str) -> Result<Net, String> {
        let bad = || format!("bad address pattern: \"{text}\"");
        let whole = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let (address, bits) = match whole.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (whole, None),
        };
        let address = address.strip_prefix('[').map_or(Some(address), |t| t.strip_suffix(']'));
        let address = address.and_then(address_of).ok_or_else(bad)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => max,
            Some(b) if !b.is_empty() && b.len() <= 3 && b.bytes().all(|c| c.is_ascii_digit()) => b
                .parse::<u8>()
                .ok()
                .filter(|n| *n <= max)
                .ok_or_else(|| format!("bad mask length in \"{text}\""))?,
            Some(_) => return Err(format!("bad mask length in \"{text}\"")),
        };
        let net = Net { address: masked(address, bits), bits };
        if net.address != address {
            return Err(format!(
                "non-null host address bits in \"{text}\", perhaps you should use \"{net}\" instead"
            ));
        }
        Ok(net)
    }

    /// Whether `address` is in the block. An IPv4 address that came as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }

    /// The first address of the block.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// An address as clients and tables write it: without brackets, an IPv4 octet with a leading zero
/// is octal as in Postfix, `IPv6:` before an IPv6 address is allowed.
pub fn address_of(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    let six = text.get(..5).filter(|p| p.eq_ignore_ascii_case("ipv6:")).map_or(text, |_| &text[5..]);
    if let Ok(address) = six.parse::<Ipv6Addr>() {
        return Some(address.into());
    }
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

fn octet(text: &str) -> Option<u8> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    u8::from_str_radix(text, if text.starts_with('0') { 8 } else { 10 }).ok()
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            Ipv4Addr::from(u32::from(a) & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(a) & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        for (net, address, inside) in [
            ("10.0.0.0/8", "10.3.4.5", true),
            ("10.0.0.0/8", "11.3.4.5", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("[::1]/128", "::1", true),
            ("[fe80::]/10", "fe80::1", true),
            ("[::1/128]", "::1", true),
            ("::/0", "2001:db8::1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("010.0.0.0/8", "8.1.1.1", true),
            ("1.2.3.4", "1.2.3.4", true),
        ] {
            assert_eq!(
                Net::parse(net).unwrap().contains(address.parse().unwrap()),
                inside,
                "{net} {address}"
            );
        }
        assert_eq!(
            Net::parse("10.1.0.0/8").unwrap_err(),
            "non-null host address bits in \"10.1.0.0/8\", perhaps you should use \"10.0.0.0/8\" instead"
        );
        assert_eq!(Net::parse("1.2.3.4/33").unwrap_err(), "bad mask length in \"1.2.3.4/33\"");
        for bad in ["300.1.1.1", "10.2", "foo", "", "[::z1]", "[::1", "::1]/128", "1.2.3.4/", "1.2.3.4/+8"] {
            assert!(Net::parse(bad).is_err(), "{bad}");
        }
    }
}
