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
    clients: Mutex<HashMap<(String, IpAddr), Entry>>,
}

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
        // Clients without connections are forgotten once their time unit is over.
        if clients.len() > 1000 && clients.len().is_power_of_two() {
            clients.retain(|_, e| e.open > 0 || now.saturating_duration_since(e.since) < self.unit);
        }
        let entry = clients.entry((service.to_string(), client)).or_insert(Entry {
            open: 0,
            since: now,
            rates: [0; 5],
        });
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
}
