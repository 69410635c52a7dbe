//! Names and addresses, asked of the name servers in `/etc/resolv.conf`.
//!
//! A [`Resolver`] is a stub: it trusts what a recursive server says, but no more than was asked. What
//! it remembers is exactly the question it put, never an extra record of an answer, for as long as
//! the answer allows, within bounds. Questions that are the same and open at the same time are put
//! once. Nothing is opened, read or allocated before the first question.
//!
//! `secure` is the server's word (the AD bit): whoever acts on it must know that the way to the
//! server is safe, as `smtp_dns_support_level = dnssec` asks of the administrator.
//!
//! Tests build a resolver with [`Resolver::of_zone`]: it answers from a text, by the same code, without
//! sockets. [`serve`] is a name server for such a text.

mod cache;
mod exchange;
#[cfg(test)]
mod hostile;
mod name;
mod read;
pub mod serve;
pub mod servers;
#[cfg(test)]
mod tests;
mod wire;
pub mod zone;

pub use name::{ascii, reversed, valid};
pub use zone::Zone;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// The name of an address.
    Ptr,
    /// Text.
    Txt,
    /// Name servers.
    Ns,
    /// Certificate associations, RFC 6698.
    Tlsa,
    /// What an alias stands for; it is not followed.
    Cname,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Mx => "MX",
            Kind::Ptr => "PTR",
            Kind::Txt => "TXT",
            Kind::Ns => "NS",
            Kind::Tlsa => "TLSA",
            Kind::Cname => "CNAME",
        })
    }
}

/// A mail exchanger. The null MX of RFC 7505 has an empty host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// The lower is tried first.
    pub preference: u16,
    /// Its name, without a dot at the end.
    pub host: String,
}

/// A TLSA record as it stands, RFC 6698 2.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// 0 to 3: PKIX-TA, PKIX-EE, DANE-TA, DANE-EE.
    pub usage: u8,
    /// The certificate (0) or its key (1).
    pub selector: u8,
    /// In full (0), SHA-256 (1), SHA-512 (2).
    pub matching: u8,
    /// What is compared.
    pub data: Vec<u8>,
}

/// What a name has of the kind asked for; at least one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// In the order of the answer, at most [`MOST_RECORDS`].
    pub records: Vec<T>,
    /// The name that has them, after aliases.
    pub canonical: String,
    /// The name server vouches for it (DNSSEC).
    pub secure: bool,
    /// What was wrong with records, whether they were left out or not; for the log.
    pub warnings: Vec<String>,
}

/// The most records of an answer that count, and the most addresses of a destination.
pub const MOST_RECORDS: usize = 100;

/// Of one destination: a hostile zone names a hundred hosts in zones that do not answer.
const HOSTS_AT_A_TIME: usize = 8;
const HOSTS_TIME: Duration = Duration::from_secs(45);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such name.
    NotFound,
    /// The name exists, but has nothing of this kind.
    NoData,
    /// It could not be found out; the reason, or nothing when the name server had none either.
    Temporary(String),
    /// There is an answer, but none of its records makes sense; what is wrong, for the log.
    Invalid(Vec<String>),
    /// What came cannot be read at all.
    Garbage,
    /// What was asked for cannot be a name.
    BadName,
}

impl Failure {
    /// In the words that the log and the sender see.
    pub fn words(&self, name: &str, kind: Kind) -> String {
        let error = |why: &str| {
            format!("Host or domain name not found. Name service error for name={name} type={kind}: {why}")
        };
        match self {
            Failure::NotFound => error("Host not found"),
            Failure::NoData => error("Host found but no data record of requested type"),
            Failure::Temporary(why) if why.is_empty() => error("Host not found, try again"),
            Failure::Temporary(why) => error(&format!("Host not found, try again ({why})")),
            Failure::Invalid(_) | Failure::Garbage => {
                format!(
                    "Name service error for name={name} type={kind}: Malformed or unexpected name server reply"
                )
            }
            Failure::BadName => format!("Name service error for {name}: invalid host or domain name"),
        }
    }

    /// Whether asking again later may help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Failure::Temporary(_) | Failure::Garbage)
    }
}

/// Which names without enough dots are completed from resolv.conf: never, unless asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// `res_defnames`: a name without any dot gets the local domain.
    pub defnames: bool,
    /// `res_dnsrch`: the list of `search` is gone through.
    pub dnsrch: bool,
}

/// Asks name servers. Cheap to clone; clones share what was learnt.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<cache::Shared>,
    completion: Completion,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("completion", &self.completion).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks the servers of `/etc/resolv.conf`. Each such resolver has a limited number of questions open
    /// at a time: what strangers can make us ask (the names of clients) should not share one with what
    /// our own mail needs.
    pub fn system() -> Resolver {
        Resolver::of_file(Path::new("/etc/resolv.conf"))
    }

    /// Asks the servers of another file in the format of resolv.conf(5).
    pub fn of_file(path: &Path) -> Resolver {
        Resolver::of(exchange::Source::File(servers::Live::new(path)))
    }

    /// Asks these servers: each once more after a silence of five seconds.
    pub fn of_servers(servers: Vec<SocketAddr>) -> Resolver {
        Resolver::of_settings(servers::Settings { servers, ..servers::Settings::default() })
    }

    /// Asks as told.
    pub fn of_settings(settings: servers::Settings) -> Resolver {
        Resolver::of(exchange::Source::Given(Arc::new(settings)))
    }

    /// Answers from a zone, without sockets.
    pub fn of_zone(zone: Zone) -> Resolver {
        Resolver::of(exchange::Source::Zone(zone))
    }

    fn of(source: exchange::Source) -> Resolver {
        Resolver { shared: Arc::new(cache::Shared::new(source)), completion: Completion::default() }
    }

    /// The same resolver, completing names.
    pub fn completing(&self, completion: Completion) -> Resolver {
        Resolver { shared: self.shared.clone(), completion }
    }

    /// IPv4 addresses.
    pub async fn a(&self, name: &str) -> Result<Answer<Ipv4Addr>, Failure> {
        self.typed(name, Kind::A, |r| if let Record::A(a) = r { Some(*a) } else { None }).await
    }

    /// IPv6 addresses.
    pub async fn aaaa(&self, name: &str) -> Result<Answer<Ipv6Addr>, Failure> {
        self.typed(name, Kind::Aaaa, |r| if let Record::Aaaa(a) = r { Some(*a) } else { None }).await
    }

    /// Mail exchangers, in the order of the answer. A null MX comes as a host without name.
    pub async fn mx(&self, name: &str) -> Result<Answer<Mx>, Failure> {
        self.typed(name, Kind::Mx, |r| if let Record::Mx(m) = r { Some(m.clone()) } else { None }).await
    }

    /// The names of an address, unverified.
    pub async fn ptr(&self, address: IpAddr) -> Result<Answer<String>, Failure> {
        self.typed(&reversed(address), Kind::Ptr, named).await
    }

    /// Text; the strings of a record joined, control characters replaced by `?`.
    pub async fn txt(&self, name: &str) -> Result<Answer<String>, Failure> {
        self.typed(name, Kind::Txt, |r| if let Record::Txt(t) = r { Some(t.clone()) } else { None }).await
    }

    /// Name servers.
    pub async fn ns(&self, name: &str) -> Result<Answer<String>, Failure> {
        self.typed(name, Kind::Ns, named).await
    }

    /// Certificate associations.
    pub async fn tlsa(&self, name: &str) -> Result<Answer<Tlsa>, Failure> {
        self.typed(name, Kind::Tlsa, |r| if let Record::Tlsa(t) = r { Some(t.clone()) } else { None }).await
    }

    /// The name that an alias stands for.
    pub async fn cname(&self, name: &str) -> Result<Answer<String>, Failure> {
        self.typed(name, Kind::Cname, named).await
    }

    /// Addresses of one family, as [`IpAddr`].
    pub async fn addresses(&self, name: &str, v6: bool) -> Result<Answer<IpAddr>, Failure> {
        let kind = if v6 { Kind::Aaaa } else { Kind::A };
        self.typed(name, kind, |r| match r {
            Record::A(a) => Some(IpAddr::V4(*a)),
            Record::Aaaa(a) => Some(IpAddr::V6(*a)),
            _ => None,
        })
        .await
    }

    /// The addresses of several hosts, some at a time, in the order of the names. For each name: IPv4
    /// if wanted, then IPv6 if wanted. What is not known when the time is over was not found out.
    pub async fn hosts(
        &self,
        names: &[&str],
        v4: bool,
        v6: bool,
    ) -> Vec<Vec<(Kind, Result<Answer<IpAddr>, Failure>)>> {
        let families: Vec<bool> = [(v4, false), (v6, true)].iter().filter(|f| f.0).map(|f| f.1).collect();
        let deadline = tokio::time::Instant::now() + HOSTS_TIME;
        let one = async |name: &str, v6: bool| {
            let found = tokio::time::timeout_at(deadline, self.addresses(name, v6)).await;
            let late = || Err(Failure::Temporary("name servers are too slow".into()));
            (if v6 { Kind::Aaaa } else { Kind::A }, found.unwrap_or_else(|_| late()))
        };
        // Collected, because the compiler cannot see that a closure held across an await is `Send`.
        let all: Vec<_> =
            names.iter().map(|name| join_all(families.iter().map(|v6| one(name, *v6)))).collect();
        stream::iter(all).buffered(HOSTS_AT_A_TIME).collect().await
    }

    async fn typed<T>(
        &self,
        name: &str,
        kind: Kind,
        pick: impl Fn(&Record) -> Option<T>,
    ) -> Result<Answer<T>, Failure> {
        let reply = self.shared.find(name, kind, self.completion).await?;
        Ok(Answer {
            records: reply.records.iter().filter_map(pick).collect(),
            canonical: reply.canonical.clone(),
            secure: reply.secure,
            warnings: reply.warnings.clone(),
        })
    }
}

/// Reads bytes as the answer to a question with number 0, as the fuzzer does; what they mean, in words.
pub fn meaning_of(bytes: &[u8], name: &str, kind: Kind) -> Option<String> {
    let name = wire::name(name)?;
    match wire::answer(bytes, 0, &name, wire::record_type(kind)) {
        wire::Reply::Answer(message) => Some(format!("{:?}", read::meaning(&message, &name, kind))),
        wire::Reply::Foreign | wire::Reply::Garbage => None,
    }
}

fn named(record: &Record) -> Option<String> {
    match record {
        Record::Name(n) => Some(n.clone()),
        _ => None,
    }
}

/// A record, without its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(Mx),
    /// Of PTR and NS.
    Name(String),
    Txt(String),
    Tlsa(Tlsa),
}

/// What is remembered of a positive answer.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    records: Vec<Record>,
    canonical: String,
    secure: bool,
    warnings: Vec<String>,
}
