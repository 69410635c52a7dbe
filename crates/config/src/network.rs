//! Address patterns of `mynetworks` and its like: `192.0.2.0/24`, `[2001:db8::]/32`, `127.0.0.1`.

use std::net::{IpAddr, Ipv4Addr};

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// The length of its prefix.
    pub bits: u8,
}

impl Network {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn read(text: &str) -> Result<Network, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let inner = match address.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or("the bracket is not closed")?,
            None => address,
        };
        let parsed: IpAddr = inner.parse().map_err(|_| format!("{inner:?} is no address"))?;
        let most = if parsed.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(b) => b.parse().ok().filter(|n| *n <= most).ok_or(format!("bad prefix length {b:?}"))?,
        };
        let network = Network { address: parsed, bits };
        if network.masked() != parsed {
            return Err(format!("host bits are set; the network is {}/{bits}", network.masked()));
        }
        Ok(network)
    }

    fn masked(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(a) & mask).into())
            }
        }
    }

    /// The same as an IPv4 network when it is one in IPv6 clothes (`::ffff:0:0/96`).
    fn plain(self) -> Network {
        match self.address {
            IpAddr::V6(a) if self.bits >= 96 => match a.to_ipv4_mapped() {
                Some(v4) => Network { address: v4.into(), bits: self.bits - 96 },
                None => self,
            },
            _ => self,
        }
    }

    /// How much of the public internet it takes in, as a share of a billion of its family; private and
    /// local networks count nothing.
    pub fn share(self) -> u64 {
        let network = self.plain();
        let private = match network.address {
            IpAddr::V4(a) => {
                (network.bits >= 8 && (a.octets()[0] == 10 || a.is_loopback()))
                    || (network.bits >= 12 && a.is_private())
                    || (network.bits >= 10 && a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64)
                    || (network.bits >= 16 && a.is_link_local())
            }
            // Unique local, link local, loopback; everything else may be public.
            IpAddr::V6(a) => {
                let first = a.segments()[0];
                (network.bits >= 7 && first & 0xfe00 == 0xfc00)
                    || (network.bits >= 10 && first & 0xffc0 == 0xfe80)
                    || (network.bits >= 16 && first == 0)
            }
        };
        if private { 0 } else { 1_000_000_000u64.checked_shr(u32::from(network.bits)).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for good in
            ["127.0.0.0/8", "[::1]/128", "::1", "[2001:db8::]/32", "192.0.2.1", "[::ffff:127.0.0.0]/104"]
        {
            assert!(Network::read(good).is_ok(), "{good}");
        }
        for bad in
            ["[::z1]", "localhost", "127.0.0.1/8", "10.0.0.0/33", "[::1", "10.0.0.0/", "<b>", "0/0", "1.2.3"]
        {
            assert!(Network::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_of_the_world() {
        let share = |t: &str| Network::read(t).unwrap().share();
        assert_eq!(share("0.0.0.0/0"), 1_000_000_000);
        assert_eq!(share("[::]/0"), 1_000_000_000);
        assert_eq!(share("128.0.0.0/1"), 500_000_000);
        assert_eq!(share("[::ffff:0.0.0.0]/96"), 1_000_000_000);
        for none in ["10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "[fd00::]/8", "[fe80::]/10", "[::1]/128"]
        {
            assert_eq!(share(none), 0, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f:./\\[\\]z]{0,24}") {
            if let Ok(network) = Network::read(&text) {
                network.share();
            }
        }
    }
}
