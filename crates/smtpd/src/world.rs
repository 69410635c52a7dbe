//! What the server asks about addresses. `rewrite` answers; tests with a few lines of their own.

use crate::restrictions::facts::{self, Answer, Kind, Lack, Record, Wanted, Why};
use crate::verify::Verified;
use net::dns::{Failure, Resolver};
use proto::Address;
use rewrite::{Class, Existence, Rewriter};
use std::future::Future;
use std::pin::Pin;
use tables::{Hit, Maps};

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its class.
    pub class: Class,
    /// The local part routes further (`user@elsewhere@here`, `user%elsewhere@here`).
    pub routed: bool,
    /// Its domain once completed; a literal in brackets.
    pub domain: String,
}

/// Where mail for an address would go, as filters are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A service of master.cf.
    pub transport: String,
    /// Its next hop.
    pub nexthop: String,
    /// The address once completed, as it is written in an envelope; lower case, as in Postfix.
    pub address: String,
}

/// Why an address could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is no valid address.
    Invalid,
    /// A table could not answer: words for the administrator.
    Unavailable(String),
}

/// An answer that takes time.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// The same of an address.
pub type Verifying<'a> = Pin<Box<dyn Future<Output = Verified> + Send + 'a>>;

/// Answers about addresses. They come from files and memory, at once; only name servers take time.
pub trait World: Send + Sync + 'static {
    /// What `address` means once completed.
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble>;

    /// Where mail for `address` would go; nothing when nobody can tell.
    fn route(&self, address: &Address) -> Option<Route> {
        let _ = address;
        None
    }

    /// Whether `address` exists, as far as tables tell.
    fn existence(&self, address: &Address) -> Result<Existence, Trouble>;

    /// What `maps` have for a sender address, completed: the users who own it.
    fn owners(&self, maps: &Maps, sender: &Address) -> Result<Option<Hit>, Trouble>;

    /// Asks name servers. By default there are none.
    fn look_up<'a>(&'a self, wanted: &'a Wanted) -> Looking<'a> {
        Box::pin(std::future::ready(facts::not_now(wanted, "no name server is asked")))
    }

    /// Finds out whether mail could be delivered to `address`. By default nobody can tell.
    fn verify<'a>(&'a self, address: &'a Address) -> Verifying<'a> {
        let _ = address;
        Box::pin(std::future::ready(Verified::in_progress()))
    }

    /// ETRN: begins to deliver what waits for `domain`; false when `fast_flush_domains` does not
    /// list it.
    fn flush(&self, domain: &str) -> bool {
        let _ = domain;
        false
    }
}

impl World for Rewriter {
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble> {
        let resolved = routed(self, address)?;
        let domain = resolved.recipient.domain().unwrap_or_default().to_string();
        Ok(Resolved { class: resolved.class, routed: resolved.routed, domain })
    }

    fn route(&self, address: &Address) -> Option<Route> {
        let resolved = match address.is_null() {
            // A bounce comes from here.
            true => {
                self.resolve(&self.complete_local(&Address::from_internal("MAILER-DAEMON")), &Address::null())
            }
            false => self.resolve(&self.complete_local(address), &Address::null()),
        };
        let resolved = resolved.ok()?;
        let written = if address.is_null() { String::new() } else { resolved.recipient.to_string() };
        let address = written.to_lowercase();
        Some(Route { transport: resolved.transport, nexthop: resolved.nexthop, address })
    }

    fn existence(&self, address: &Address) -> Result<Existence, Trouble> {
        existence(self, self, address)
    }

    fn owners(&self, maps: &Maps, sender: &Address) -> Result<Option<Hit>, Trouble> {
        let found = self.find(maps, &self.complete_local(sender), true);
        found.map(|f| f.map(|(hit, _)| hit)).map_err(Trouble::Unavailable)
    }
}

/// Whether `address` exists by the tables of `lister`, a service's own, in the class that `main`
/// puts it into: as in Postfix, an `-o` setting of smtpd changes the former but not the latter.
pub fn existence(main: &Rewriter, lister: &Rewriter, address: &Address) -> Result<Existence, Trouble> {
    lister.exists(&routed(main, address)?).map_err(Trouble::Unavailable)
}

fn routed(rewriter: &Rewriter, address: &Address) -> Result<rewrite::Resolved, Trouble> {
    let complete = rewriter.complete_local(address);
    let resolved = rewriter.resolve(&complete, &Address::null());
    let resolved = resolved.map_err(|e| Trouble::Unavailable(e.to_string()))?;
    if resolved.bad.is_some() { Err(Trouble::Invalid) } else { Ok(resolved) }
}

/// How much of an answer counts: a session keeps what it was told.
const MOST_RECORDS: usize = 50;
/// How much of a text.
const LONGEST_TEXT: usize = 2000;

/// A text as Postfix shows it: what is not ASCII becomes blanks.
fn shown(text: &str) -> String {
    let plain = |b: u8| if b.is_ascii_graphic() { char::from(b) } else { ' ' };
    text.bytes().take(LONGEST_TEXT).map(plain).collect()
}

/// Asks name servers for what a restriction wants to know.
pub async fn ask(resolver: &Resolver, wanted: &Wanted) -> Answer {
    let name = wanted.name.as_str();
    let (kind, found) = match wanted.kind {
        Kind::A | Kind::Aaaa => {
            let v6 = wanted.kind == Kind::Aaaa;
            let kind = if v6 { net::dns::Kind::Aaaa } else { net::dns::Kind::A };
            let found = resolver.addresses(name, v6).await;
            (kind, found.map(|a| a.records.into_iter().map(Record::Address).collect()))
        }
        Kind::Mx => {
            let found = resolver.mx(name).await;
            let record = |mx: net::dns::Mx| Record::Mx(mx.preference, mx.host);
            (net::dns::Kind::Mx, found.map(|a| a.records.into_iter().map(record).collect()))
        }
        Kind::Ns => {
            let found = resolver.ns(name).await;
            (net::dns::Kind::Ns, found.map(|a| a.records.into_iter().map(Record::Name).collect()))
        }
        Kind::Txt => {
            let found = resolver.txt(name).await;
            (
                net::dns::Kind::Txt,
                found.map(|a| a.records.into_iter().take(1).map(|t| Record::Text(shown(&t))).collect()),
            )
        }
    };
    let found = found.map(|mut records: Vec<Record>| {
        records.truncate(MOST_RECORDS);
        records
    });
    found.map_err(|failure: Failure| {
        let why = match &failure {
            Failure::NotFound => Why::NoName,
            Failure::NoData => Why::NoData,
            Failure::Temporary(_) | Failure::Garbage => Why::NotNow,
            Failure::Invalid(_) | Failure::BadName => Why::Nonsense,
        };
        let unreachable = matches!(&failure, Failure::Temporary(reason) if !reason.is_empty());
        Lack { why, words: failure.words(name, kind), unreachable }
    })
}
