//! How often a login may be tried: by address, and by the name that is tried. Asked before a secret
//! is looked at, so that guessing is refused before it costs anything. Time comes in as an argument.
//!
//! Only what fails counts: a [`Ticket`] that is dropped without [`Ticket::succeeded`] is a failure,
//! and while it is out it counts as one, so that many tries at once are as limited as many in turn.
//!
//! Whoever logged in lately from the same place is counted apart: strangers who guess a password, or who
//! share an address, lock nobody out.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many failures are borne within the time unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Failures of one address (of IPv6: of one network of 64 bits) per unit. 0: no limit.
    pub of_address: u32,
    /// Failures for one name per unit, from anywhere. 0: no limit.
    pub of_user: u32,
    /// The time unit.
    pub unit: Duration,
}

/// How many names and addresses are remembered; with more, those whose time is over are forgotten,
/// and if that does not help, the oldest ones.
const MOST: usize = 50_000;

/// Failures of late, of all listeners; kept across reloads.
#[derive(Debug, Default)]
pub struct Attempts {
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    /// By a keyed hash: what strangers choose neither fills memory nor picks its place.
    by: HashMap<u64, Entry>,
    seed: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Instant,
    failed: u32,
}

/// A try that may go on.
#[derive(Debug)]
#[must_use = "dropping it counts as a failure"]
pub struct Ticket {
    attempts: Arc<Attempts>,
    keys: [Option<u64>; 2],
    failed: bool,
}

impl Attempts {
    /// Whether `user` may be tried from `address`. `None`: too many failed; answer 454 and look at
    /// nothing.
    pub fn begin(
        self: &Arc<Attempts>,
        rates: Rates,
        address: Option<IpAddr>,
        user: &str,
        now: Instant,
    ) -> Option<Ticket> {
        let by_address = address.filter(|_| rates.of_address > 0).map(network);
        let by_user = (rates.of_user > 0).then(|| user.to_lowercase());
        self.count(rates, now, |failures| {
            [
                by_address.map(|a| (failures.key(&("address", a)), rates.of_address)),
                by_user.map(|u| (failures.key(&("user", u)), rates.of_user)),
            ]
        })
    }

    /// The same for one who logged in lately from this address: only what failed for both together counts.
    pub fn begin_familiar(
        self: &Arc<Attempts>,
        rates: Rates,
        address: Option<IpAddr>,
        user: &str,
        now: Instant,
    ) -> Option<Ticket> {
        let limit = if rates.of_user > 0 { rates.of_user } else { rates.of_address };
        let both = (address.map(network), user.to_lowercase());
        self.count(rates, now, |failures| [(limit > 0).then(|| (failures.key(&("both", both)), limit)), None])
    }

    fn count(
        self: &Arc<Attempts>,
        rates: Rates,
        now: Instant,
        keys: impl FnOnce(&Failures) -> [Option<(u64, u32)>; 2],
    ) -> Option<Ticket> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(&failures);
        if keys.iter().flatten().any(|(key, limit)| failures.of(*key, rates.unit, now) >= *limit) {
            return None;
        }
        failures.make_room(rates.unit, now);
        let keys = keys.map(|key| key.map(|(key, _)| key));
        for key in keys.into_iter().flatten() {
            failures.add(key, rates.unit, now);
        }
        Some(Ticket { attempts: self.clone(), keys, failed: true })
    }
}

impl Ticket {
    /// The password was right, or nobody could tell: this try does not count.
    pub fn succeeded(mut self) {
        self.failed = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.failed {
            return;
        }
        let mut failures = self.attempts.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.keys.into_iter().flatten() {
            if let Some(entry) = failures.by.get_mut(&key) {
                entry.failed = entry.failed.saturating_sub(1);
            }
        }
    }
}

impl Failures {
    fn key(&self, what: &impl Hash) -> u64 {
        self.seed.hash_one(what)
    }

    fn of(&self, key: u64, unit: Duration, now: Instant) -> u32 {
        let entry = self.by.get(&key).filter(|e| now.saturating_duration_since(e.since) < unit);
        entry.map_or(0, |e| e.failed)
    }

    fn add(&mut self, key: u64, unit: Duration, now: Instant) {
        let entry = self.by.entry(key).or_insert(Entry { since: now, failed: 0 });
        if now.saturating_duration_since(entry.since) >= unit {
            *entry = Entry { since: now, failed: 0 };
        }
        entry.failed = entry.failed.saturating_add(1);
    }

    fn make_room(&mut self, unit: Duration, now: Instant) {
        if self.by.len() < MOST {
            return;
        }
        self.by.retain(|_, e| e.failed > 0 && now.saturating_duration_since(e.since) < unit);
        if self.by.len() >= MOST {
            let mut ages: Vec<Instant> = self.by.values().map(|e| e.since).collect();
            let middle = ages.len() / 2;
            let oldest = *ages.select_nth_unstable(middle).1;
            self.by.retain(|_, e| e.since > oldest);
        }
    }
}

/// One subscriber of IPv6 has at least a whole network of addresses.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { of_address: 3, of_user: 5, unit: Duration::from_secs(60) };

    fn ip(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn failures_count_and_are_forgotten() {
        let (attempts, start) = (Arc::new(Attempts::default()), Instant::now());
        for _ in 0..3 {
            drop(attempts.begin(RATES, ip(1), "ana", start).unwrap());
        }
        assert!(attempts.begin(RATES, ip(1), "berta", start).is_none(), "the address");
        for _ in 0..2 {
            drop(attempts.begin(RATES, ip(2), "ANA", start).unwrap());
        }
        assert!(attempts.begin(RATES, ip(3), "ana", start).is_none(), "the name, from anywhere");
        assert!(attempts.begin(RATES, ip(3), "berta", start).is_some());
        assert!(attempts.begin(RATES, ip(1), "ana", start + RATES.unit).is_some());
    }

    #[test]
    fn success_does_not_count_and_tries_at_once_do() {
        let (attempts, now) = (Arc::new(Attempts::default()), Instant::now());
        for _ in 0..100 {
            attempts.begin(RATES, ip(1), "ana", now).unwrap().succeeded();
        }
        let out: Vec<_> = (0..3).map(|_| attempts.begin(RATES, ip(1), "ana", now).unwrap()).collect();
        assert!(attempts.begin(RATES, ip(1), "ana", now).is_none());
        out.into_iter().for_each(Ticket::succeeded);
        assert!(attempts.begin(RATES, ip(1), "ana", now).is_some());
        let none = Rates { of_address: 0, of_user: 0, ..RATES };
        assert!((0..100).all(|_| attempts.begin(none, ip(1), "ana", now).is_some()));
    }

    #[test]
    fn networks_of_ipv6() {
        let (attempts, now) = (Arc::new(Attempts::default()), Instant::now());
        for n in 0..3u8 {
            let ip: IpAddr = format!("2001:db8::{n}").parse().unwrap();
            drop(attempts.begin(RATES, Some(ip), &format!("u{n}"), now).unwrap());
        }
        assert!(attempts.begin(RATES, "2001:db8::ffff".parse().ok(), "x", now).is_none());
        assert!(attempts.begin(RATES, "2001:db8:0:1::1".parse().ok(), "x", now).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, start) = (Arc::new(Attempts::default()), Instant::now());
        for n in 0..120_000u32 {
            let at = start + Duration::from_micros(u64::from(n));
            drop(attempts.begin(RATES, Some(IpAddr::from(n.to_be_bytes())), &n.to_string(), at));
        }
        assert!(attempts.failures.lock().unwrap().by.len() <= MOST + 2);
    }
}
