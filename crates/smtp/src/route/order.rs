//! In which order the addresses of a destination are tried. RFC 5321 5.1.

use net::dns::MOST_RECORDS;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// An address of a host, and the preference of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The host's name as the MX record has it, or the next hop.
    pub host: String,
    /// The name that has the address, where that is an alias.
    pub canonical: Option<String>,
    /// Where it is.
    pub address: IpAddr,
    /// The lower is tried first.
    pub preference: u16,
    /// The name server vouches for the address.
    pub secure: bool,
}

/// `smtp_address_preference`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// None.
    #[default]
    Any,
    /// Of one preference, IPv4 first.
    Ipv4,
    /// Of one preference, IPv6 first.
    Ipv6,
}

/// What the order depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `smtp_address_preference`.
    pub preference: Preference,
    /// `smtp_randomize_addresses`.
    pub randomize: bool,
    /// `smtp_balance_inet_protocols`.
    pub balance: bool,
    /// `smtp_mx_address_limit`; 0 means none.
    pub limit: usize,
}

/// Sorts, and leaves out what will not be tried.
pub fn arrange(mut found: Vec<Found>, rules: Rules, random: &mut Random) -> Vec<Found> {
    if rules.randomize {
        random.shuffle(&mut found);
    }
    found.sort_by_key(|f| {
        let second = match rules.preference {
            Preference::Any => false,
            Preference::Ipv4 => f.address.is_ipv6(),
            Preference::Ipv6 => f.address.is_ipv4(),
        };
        (f.preference, second)
    });
    found.truncate(MOST_RECORDS);
    let limit = if rules.limit == 0 { MOST_RECORDS } else { rules.limit };
    if rules.balance {
        balance(&mut found, limit);
    }
    found.truncate(limit);
    found
}

/// So that hosts with many addresses of one family do not crowd out the other. The family that is
/// tried first has the odd place.
fn balance(found: &mut Vec<Found>, limit: usize) {
    let v4 = found.iter().filter(|f| f.address.is_ipv4()).count();
    let v6 = found.len() - v4;
    if v4 == 0 || v6 == 0 || v4 + v6 <= limit {
        return;
    }
    let half = match found.first().is_some_and(|f| f.address.is_ipv4()) {
        true => limit.div_ceil(2),
        false => limit / 2,
    };
    let (keep4, keep6) = match () {
        () if v4 <= half => (v4, limit - v4),
        () if v6 <= limit - half => (limit - v6, v6),
        () => (half, limit - half),
    };
    let (mut seen4, mut seen6) = (0, 0);
    found.retain(|f| {
        let (seen, keep) = if f.address.is_ipv4() { (&mut seen4, keep4) } else { (&mut seen6, keep6) };
        *seen += 1;
        *seen <= keep
    });
}

/// Which addresses remain when some are our own: those of a better preference than ours. `None`
/// when we are not among them.
pub fn before_us(found: &[Found], own: impl Fn(IpAddr) -> bool) -> Option<Vec<Found>> {
    let ours = found.iter().filter(|f| own(f.address)).map(|f| f.preference).min()?;
    Some(found.iter().filter(|f| f.preference < ours).cloned().collect())
}

/// Numbers that need not be secret. SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begun by chance.
    pub fn new() -> Random {
        // A new hasher has new random keys from the operating system.
        Random(RandomState::new().hash_one(0u8))
    }

    /// Always the same numbers.
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// `10a`: preference 10, IPv4; `20B`: IPv6.
    fn found(text: &str) -> Vec<Found> {
        let one = |word: &str| {
            let (preference, letter) = word.split_at(word.len() - 1);
            let byte = letter.as_bytes()[0];
            let address = match byte.is_ascii_lowercase() {
                true => Ipv4Addr::new(192, 0, 2, byte).into(),
                false => Ipv6Addr::from(u128::from(byte)).into(),
            };
            Found {
                host: letter.into(),
                canonical: None,
                address,
                preference: preference.parse().unwrap(),
                secure: false,
            }
        };
        text.split_whitespace().map(one).collect()
    }

    fn text(found: &[Found]) -> String {
        let words: Vec<String> = found.iter().map(|f| format!("{}{}", f.preference, f.host)).collect();
        words.join(" ")
    }

    const PLAIN: Rules = Rules { preference: Preference::Any, randomize: false, balance: true, limit: 5 };

    #[test]
    fn preferences_and_families() {
        let of = |list: &str, rules: Rules| text(&arrange(found(list), rules, &mut Random::seeded(1)));
        let v4 = Rules { preference: Preference::Ipv4, ..PLAIN };
        let v6 = Rules { preference: Preference::Ipv6, ..PLAIN };
        assert_eq!(of("20a 10b 10C 5D", PLAIN), "5D 10b 10C 20a");
        assert_eq!(of("10A 10b 5C 5d 10e", v4), "5d 5C 10b 10e 10A");
        assert_eq!(of("10a 10B 5c 5D", v6), "5D 5c 10B 10a");
        assert_eq!(of("", PLAIN), "");
    }

    #[test]
    fn not_one_family_only() {
        let of = |list: &str, rules: Rules| text(&arrange(found(list), rules, &mut Random::seeded(1)));
        let many6 = "1A 1B 1C 1D 1E 1F 2a 2b 2c";
        assert_eq!(of(many6, PLAIN), "1A 1B 1C 2a 2b");
        assert_eq!(of(many6, Rules { balance: false, ..PLAIN }), "1A 1B 1C 1D 1E");
        assert_eq!(of("1A 1B 1C 1D 1E 1F 2a", PLAIN), "1A 1B 1C 1D 2a");
        assert_eq!(of("1a 1b 1c 1d 1e 1f 2A", PLAIN), "1a 1b 1c 1d 2A");
        assert_eq!(of(many6, Rules { limit: 0, ..PLAIN }), many6);
        // What Postfix 3.7 tried of such lists.
        let many4 = "1a 1b 1c 1d 1e 1f 2A 2B 2C";
        let mixed = "1a 1b 1c 1A 1B 1C";
        let v4 = Rules { preference: Preference::Ipv4, ..PLAIN };
        let v6 = Rules { preference: Preference::Ipv6, ..PLAIN };
        for rules in [PLAIN, v4, v6] {
            assert_eq!(of(many6, rules), "1A 1B 1C 2a 2b");
            assert_eq!(of(many4, rules), "1a 1b 1c 2A 2B");
            assert_eq!(of(many4, Rules { limit: 4, ..rules }), "1a 1b 2A 2B");
        }
        assert_eq!(of(mixed, v4), "1a 1b 1c 1A 1B");
        assert_eq!(of(mixed, v6), "1A 1B 1C 1a 1b");
        assert_eq!(of(mixed, Rules { limit: 1, ..PLAIN }), "1a");
        assert_eq!(of(mixed, Rules { limit: 0, ..PLAIN }), mixed);
    }

    #[test]
    fn we_are_among_them() {
        let own = |a: IpAddr| a == Ipv4Addr::new(192, 0, 2, b'u');
        let of = |list: &str| before_us(&found(list), own).map(|f| text(&f));
        assert_eq!(of("10a 20u 30c"), Some("10a".into()));
        assert_eq!(of("10a 10u 10c"), Some("".into()));
        assert_eq!(of("20u 10u 5a"), Some("5a".into()));
        assert_eq!(of("10a 20b"), None);
    }

    proptest! {
        #[test]
        fn nothing_is_invented_and_order_holds(
            list in proptest::collection::vec((0u16..4, any::<bool>(), any::<u8>()), 0..30),
            limit in 0usize..8, randomize: bool, balance: bool, seed: u64, preference in 0..3,
        ) {
            let all: Vec<Found> = list.iter().map(|&(preference, v6, n)| {
                let address = if v6 { Ipv6Addr::from(u128::from(n)).into() } else { Ipv4Addr::from(u32::from(n)).into() };
                Found { host: n.to_string(), canonical: None, address, preference, secure: false }
            }).collect();
            let preference = [Preference::Any, Preference::Ipv4, Preference::Ipv6][preference as usize];
            let got = arrange(all.clone(), Rules { preference, randomize, balance, limit }, &mut Random::seeded(seed));
            let expected = if limit == 0 { all.len() } else { limit.min(all.len()) };
            prop_assert_eq!(got.len(), expected);
            prop_assert!(got.windows(2).all(|w| w[0].preference <= w[1].preference));
            let count = |l: &[Found], f: &Found| l.iter().filter(|g| *g == f).count();
            prop_assert!(got.iter().all(|f| count(&got, f) <= count(&all, f)));
            let both = |l: &[Found]| l.iter().any(|f| f.address.is_ipv4()) && l.iter().any(|f| f.address.is_ipv6());
            prop_assert!(!balance || limit == 1 || !both(&all) || both(&got));
        }
    }
}
