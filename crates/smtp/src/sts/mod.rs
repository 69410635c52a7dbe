//! Policies that domains publish for mail to them (MTA-STS). RFC 8461.
//!
//! A TXT record says that there is a policy and which; the policy is fetched from the domain's own web
//! server, whose certificate must be good, and holds for as long as it says, in memory and on disk:
//! whoever can make a look-up or a fetch fail gains nothing where a policy is known. Where none is known
//! a failure means that there is none (RFC 8461 5), and it is not tried again for a while.

mod store;
mod text;

pub use text::{Mode, Policy, announced};

use net::dns::{Failure as DnsFailure, Resolver};
use net::https;
use net::tls::client::{Connector, Roots};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use store::Store;

/// RFC 8461 3.3
const LARGEST: usize = 64 * 1024;
const LIMIT: Duration = Duration::from_secs(60);
/// After a fetch that failed. RFC 8461 3.3
const PAUSE: Duration = Duration::from_secs(300);
/// A policy that is known is fetched anew after this time, so that it does not run out.
const RENEWED: u64 = 86_400;
/// Domains in memory.
const MOST: usize = 4096;

/// A policy that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    id: String,
    /// In seconds since 1970.
    fetched: u64,
    policy: Policy,
}

impl Held {
    fn holds(&self, now: u64) -> bool {
        // A clock that was set back does not make it hold for longer.
        now.abs_diff(self.fetched) < self.policy.max_age
    }
}

/// What came of a look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The policy that holds.
    pub policy: Option<Policy>,
    /// What failed on the way, for the log and for reports.
    pub failure: Option<Failure>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The web server does not prove who it is.
    Certificate(String),
    /// The policy could not be fetched.
    Fetch(String),
    /// What was fetched is no policy.
    Invalid(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Certificate(why) => write!(f, "the web server's certificate: {why}"),
            Failure::Fetch(why) => write!(f, "cannot be fetched: {why}"),
            Failure::Invalid(why) => write!(f, "makes no sense: {why}"),
        }
    }
}

/// What is known of one domain.
#[derive(Default)]
struct Known {
    read: bool,
    held: Option<Held>,
    /// When, and for which id, a fetch failed.
    failed: Option<(Instant, String)>,
}

/// All policies. Nothing is read or kept before the first domain is asked for.
pub struct Sts {
    store: Option<Arc<Store>>,
    domains: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Known>>>>,
    /// The port of web servers.
    port: u16,
}

/// By what policies are fetched.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Names.
    pub resolver: &'a Resolver,
    /// Encryption.
    pub connector: &'a Connector,
    /// Who vouches for web servers.
    pub roots: &'a Roots,
    /// Over IPv4, over IPv6.
    pub families: (bool, bool),
}

impl Sts {
    /// The ones kept below this directory: they outlive reloads.
    pub fn of(directory: &Path) -> Arc<Sts> {
        static ALL: LazyLock<Mutex<HashMap<PathBuf, Arc<Sts>>>> = LazyLock::new(Mutex::default);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Sts::new(directory.to_path_buf()));
        all.entry(directory.to_path_buf()).or_insert_with(new).clone()
    }

    /// Kept below this directory.
    pub fn new(directory: PathBuf) -> Sts {
        Sts { store: Some(Arc::new(Store::new(directory))), domains: Mutex::default(), port: 443 }
    }

    /// Kept nowhere.
    pub fn forgetful() -> Sts {
        Sts { store: None, domains: Mutex::default(), port: 443 }
    }

    /// With web servers at another port, for tests.
    pub fn at_port(self, port: u16) -> Sts {
        Sts { port, ..self }
    }

    /// The policy of a domain.
    pub async fn find(&self, domain: &str, means: Means<'_>) -> Found {
        let Some(domain) = net::dns::ascii(domain).filter(|d| net::dns::valid(d)) else {
            return Found::default();
        };
        let known = self.known(&domain);
        // The next one who asks for the domain waits, and is served from what was found.
        let mut known = known.lock().await;
        if !std::mem::replace(&mut known.read, true)
            && let Some(store) = self.store.clone()
        {
            let name = domain.clone();
            known.held = tokio::task::spawn_blocking(move || store.read(&name)).await.ok().flatten();
        }
        let now = now();
        known.held = known.held.take().filter(|h| h.holds(now));
        let holding = known.held.as_ref().map(|h| h.policy.clone());
        let records = match means.resolver.txt(&format!("_mta-sts.{domain}")).await {
            Ok(answer) => answer.records,
            Err(DnsFailure::NotFound | DnsFailure::NoData) => Vec::new(),
            // What is known holds; else there is none, as far as one can see.
            Err(_) => return Found { policy: holding, failure: None },
        };
        let Some(id) = announced(records.iter().map(String::as_str)) else {
            return Found { policy: holding, failure: None };
        };
        let current = known.held.as_ref().is_some_and(|h| h.id == id && now.abs_diff(h.fetched) < RENEWED);
        let paused = known.failed.as_ref().is_some_and(|(when, of)| *of == id && when.elapsed() < PAUSE);
        if current || paused {
            return Found { policy: holding, failure: None };
        }
        match self.fetch(&domain, means).await {
            Ok((policy, text)) => {
                if let Some(store) = self.store.clone() {
                    let fetched_id = id.clone();
                    let write = move || store.write(&domain, &fetched_id, now, &text);
                    // Without a copy on disk it holds until the next start.
                    let _ = tokio::task::spawn_blocking(write).await;
                }
                known.failed = None;
                known.held = Some(Held { id, fetched: now, policy: policy.clone() });
                Found { policy: Some(policy), failure: None }
            }
            Err(failure) => {
                known.failed = Some((Instant::now(), id));
                Found { policy: holding, failure: Some(failure) }
            }
        }
    }

    async fn fetch(&self, domain: &str, means: Means<'_>) -> Result<(Policy, String), Failure> {
        let host = format!("mta-sts.{domain}");
        let request = https::Request {
            host: &host,
            path: "/.well-known/mta-sts.txt",
            port: self.port,
            families: means.families,
            most: LARGEST,
            limit: LIMIT,
        };
        let page = https::get(request, means.resolver, means.connector, means.roots).await;
        let page = page.map_err(|failure| match failure {
            https::Failure::Certificate(why) => Failure::Certificate(why),
            https::Failure::Other(why) => Failure::Fetch(why),
        })?;
        // RFC 8461 3.3: nothing but 200, no redirects.
        if page.status != 200 {
            return Err(Failure::Fetch(format!("the web server says {}", page.status)));
        }
        if page.content_type != "text/plain" {
            return Err(Failure::Invalid(format!("its type is {:?}, not text/plain", page.content_type)));
        }
        let text = String::from_utf8(page.body).map_err(|_| Failure::Invalid("it is no text".into()))?;
        let policy = Policy::read(&text).map_err(Failure::Invalid)?;
        Ok((policy, text))
    }

    fn known(&self, domain: &str) -> Arc<tokio::sync::Mutex<Known>> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = domains.get(domain) {
            return known.clone();
        }
        if domains.len() >= MOST {
            // What holds is on disk; what is being asked for is in the hands of who asks.
            domains.clear();
        }
        domains.entry(domain.to_string()).or_default().clone()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// A record, a policy and a file, as the fuzz targets have them.
#[cfg(any(fuzzing, feature = "fuzz"))]
pub fn fuzz(text: &str) {
    if let Some(id) = text::announced(text.lines()) {
        assert!((1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
    if let Ok(policy) = text::Policy::read(text) {
        assert!(policy.mx.len() <= 200 && policy.max_age <= 31_557_600);
        assert!(policy.mx.iter().all(|mx| mx.contains('*') || policy.names(mx)));
    }
    let _ = store::held(text);
}

#[cfg(test)]
mod tests;
