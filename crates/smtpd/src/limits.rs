//! How much one client may do: connections at a time, and connections, messages, recipients, logins and
//! new TLS sessions per time unit. What anvil(8) does for Postfix, in memory. Time comes in as an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections made.
    Connections,
    /// Messages begun.
    Messages,
    /// Recipients given.
    Recipients,
    /// Logins tried.
    Logins,
    /// New TLS sessions.
    Handshakes,
}

#[derive(Debug)]
struct Entry {
    open: u64,
    since: Instant,
    rates: [u64; 5],
}

/// Counters of all clients of all listeners, by service and address.
#[derive(Debug)]
pub struct Limits {
    unit: Duration,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    all: HashMap<(String, IpAddr), Entry>,
    /// When those without connections were last forgotten.
    swept: Option<Instant>,
}

/// So many clients are counted without looking who can be forgotten.
const FEW: usize = 1000;
/// More that have no connection are not counted at a time: whoever has a network of addresses could fill the memory.
const MOST: usize = 100_000;

impl Limits {
    /// Rates are counted over `unit`.
    pub fn new(unit: Duration) -> Limits {
        Limits { unit, clients: Mutex::default() }
    }

    /// As `anvil_rate_time_unit` says, or over a minute where that cannot be read.
    pub fn of(config: &config::Config) -> Limits {
        let unit = config::params::smtpd::Smtpd::load(config).map(|p| *p.anvil_rate_time_unit());
        Limits::new(unit.unwrap_or(Duration::from_secs(60)).max(Duration::from_secs(1)))
    }

    /// A connection begins: how many are open, and how many were made in this time unit.
    pub fn connect(&self, service: &str, client: IpAddr, now: Instant) -> (u64, u64) {
        self.with(service, client, now, |entry| {
            entry.open += 1;
            entry.rates[0] += 1;
            (entry.open, entry.rates[0])
        })
    }

    /// One more message or recipient: how many in this time unit.
    pub fn count(&self, kind: Kind, service: &str, client: IpAddr, now: Instant) -> u64 {
        self.with(service, client, now, |entry| {
            let rate = &mut entry.rates[kind as usize];
            *rate += 1;
            *rate
        })
    }

    /// A connection that was counted is over.
    pub fn disconnect(&self, service: &str, client: IpAddr, now: Instant) {
        self.with(service, client, now, |entry| entry.open = entry.open.saturating_sub(1));
    }

    fn with<T>(&self, service: &str, client: IpAddr, now: Instant, act: impl FnOnce(&mut Entry) -> T) -> T {
        let mut clients = self.clients.lock().unwrap_or_else(|e| e.into_inner());
        let Clients { all, swept } = &mut *clients;
        // Clients without connections are forgotten once their time unit is over.
        let due = swept.is_none_or(|at| now.saturating_duration_since(at) >= self.unit);
        if all.len() > FEW && due {
            *swept = Some(now);
            all.retain(|_, e| e.open > 0 || now.saturating_duration_since(e.since) < self.unit);
        }
        if all.len() > MOST {
            all.retain(|_, e| e.open > 0);
        }
        // What a rush took is given back.
        if all.capacity() > 4 * FEW && all.len() < all.capacity() / 8 {
            all.shrink_to(FEW);
        }
        let entry =
            all.entry((service.to_string(), client)).or_insert(Entry { open: 0, since: now, rates: [0; 5] });
        if now.saturating_duration_since(entry.since) >= self.unit {
            (entry.since, entry.rates) = (now, [0; 5]);
        }
        act(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_forgets() {
        let (limits, a, start) =
            (Limits::new(Duration::from_secs(60)), IpAddr::from([192, 0, 2, 1]), Instant::now());
        assert_eq!(limits.connect("smtp", a, start), (1, 1));
        assert_eq!(limits.connect("smtp", a, start), (2, 2));
        limits.disconnect("smtp", a, start);
        assert_eq!(limits.connect("smtp", a, start), (2, 3));
        assert_eq!(limits.connect("submission", a, start), (1, 1));
        assert_eq!(limits.count(Kind::Messages, "smtp", a, start), 1);
        assert_eq!(limits.count(Kind::Recipients, "smtp", a, start), 1);
        assert_eq!(limits.count(Kind::Recipients, "smtp", a, start), 2);
        let later = start + Duration::from_secs(61);
        assert_eq!(limits.count(Kind::Recipients, "smtp", a, later), 1);
        assert_eq!(limits.connect("smtp", a, later), (3, 1));
    }

    #[test]
    fn a_rush_of_addresses_leaves_nothing() {
        let (limits, start) = (Limits::new(Duration::from_secs(60)), Instant::now());
        let ip = |n: u32| IpAddr::from(std::net::Ipv6Addr::from(u128::from(n) | 0xfd << 120));
        limits.connect("smtp", ip(1), start);
        for n in 2..250_000 {
            limits.connect("smtp", ip(n), start);
            limits.disconnect("smtp", ip(n), start);
            assert!(limits.clients.lock().unwrap().all.len() <= MOST + 1);
        }
        for n in 0..3 {
            limits.count(Kind::Messages, "smtp", ip(n), start + Duration::from_secs(70));
        }
        let clients = limits.clients.lock().unwrap();
        assert!(clients.all.len() <= 4 && clients.all.capacity() < 8 * FEW, "{}", clients.all.capacity());
        assert_eq!(clients.all[&("smtp".to_string(), ip(1))].open, 1);
    }
}
