//! From a next hop to the addresses that are tried, in their order. RFC 5321 5.1.
//!
//! What is looked up, what follows from it and in which words it is told is as Postfix does it, with
//! one exception: where Postfix takes a doubtful answer for a final one, mail waits (see
//! [`Search::failed`]).

mod last_word;
mod nexthop;
mod order;
#[cfg(test)]
mod tests;

pub use last_word::{Circumstances, LastWord, last_word};
pub use nexthop::{NextHop, Protocol, Target, list, parse};
pub use order::{Found, Preference, Random, Rules, arrange, before_us};

use net::dns::{Failure, Kind, Resolver};
use proto::status::{Code, Status};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What finding a route depends on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// MX records are for SMTP only.
    pub protocol: Protocol,
    /// `inet_protocols` has IPv4.
    pub ipv4: bool,
    /// `inet_protocols` has IPv6.
    pub ipv6: bool,
    /// `smtp_dns_support_level` is not `disabled`.
    pub dns: bool,
    /// `smtp_host_lookup` has `dns`, and DNS is not disabled.
    pub lookup_dns: bool,
    /// `smtp_host_lookup` has `native`, or DNS is disabled.
    pub lookup_native: bool,
    /// Order and number of addresses.
    pub rules: Rules,
    /// `ignore_mx_lookup_error`.
    pub ignore_mx_lookup_error: bool,
    /// `smtp_defer_if_no_mx_address_found`.
    pub defer_if_no_mx_address_found: bool,
    /// This host: `inet_interfaces` and `proxy_interfaces`.
    pub own: Arc<[IpAddr]>,
}

impl Default for Settings {
    /// What Postfix does when nothing is said.
    fn default() -> Settings {
        Settings {
            protocol: Protocol::Smtp,
            ipv4: true,
            ipv6: true,
            dns: true,
            lookup_dns: true,
            lookup_native: false,
            rules: Rules { preference: Preference::Any, randomize: true, balance: true, limit: 5 },
            ignore_mx_lookup_error: false,
            defer_if_no_mx_address_found: false,
            own: Arc::new([]),
        }
    }
}

/// One address to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The host's name, for the log and for its certificate; an address where there is no name.
    pub host: String,
    /// The name that has the address, where that is an alias.
    pub canonical: Option<String>,
    /// Where to connect.
    pub address: SocketAddr,
    /// Of its MX record; 0 without one.
    pub preference: u16,
    /// Its preference is the best of the destination.
    pub best: bool,
    /// The name server vouches for the way from the host to the address.
    pub secure: bool,
}

/// The addresses of a destination, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// In the order in which they are tried.
    pub hops: Vec<Hop>,
    /// They come from MX records.
    pub by_mx: bool,
    /// The name that has the MX records, where the next hop is an alias.
    pub canonical: Option<String>,
    /// The name server vouches for the MX records (or there was nothing to look up).
    pub secure: bool,
    /// We are a backup MX of the destination: no other place may be tried after these.
    pub we_are_mx: bool,
    /// For the log.
    pub warnings: Vec<String>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoute {
    /// For the recipients.
    pub status: Status,
    /// Mail for the destination ends here: no other place may be tried, and `best_mx_transport` gets it.
    pub loops: bool,
    /// For the log.
    pub warnings: Vec<String>,
}

/// Finds the addresses of a next hop.
pub async fn find(
    hop: &NextHop,
    settings: &Settings,
    resolver: &Resolver,
    random: &mut Random,
) -> Result<Route, NoRoute> {
    let mut search = Search { settings, resolver, why: None, warnings: Vec::new() };
    let by_mx = settings.protocol == Protocol::Smtp && settings.dns && !hop.bracketed;
    let looked = match by_mx {
        true => search.domain(hop, random).await,
        false => search.host(hop, random).await,
    };
    match looked {
        Ok(looked) => {
            let best = looked.found.first().map(|f| f.preference);
            let hops = looked.found.into_iter().map(|f| Hop {
                host: f.host,
                canonical: f.canonical,
                address: SocketAddr::new(f.address, hop.port),
                preference: f.preference,
                best: Some(f.preference) == best,
                secure: f.secure,
            });
            Ok(Route {
                hops: hops.collect(),
                by_mx: looked.by_mx,
                canonical: looked.canonical,
                secure: looked.secure,
                we_are_mx: looked.we_are_mx,
                warnings: search.warnings,
            })
        }
        Err(Stop { status, loops }) => Err(NoRoute { status, loops, warnings: search.warnings }),
    }
}

struct Search<'a> {
    settings: &'a Settings,
    resolver: &'a Resolver,
    /// The status so far; once it is temporary it stays so.
    why: Option<Status>,
    warnings: Vec<String>,
}

struct Looked {
    found: Vec<Found>,
    by_mx: bool,
    canonical: Option<String>,
    secure: bool,
    we_are_mx: bool,
}

struct Stop {
    status: Status,
    loops: bool,
}

impl Stop {
    fn because(status: Status) -> Stop {
        Stop { status, loops: false }
    }

    fn looping(host: &str) -> Stop {
        let status = Status::new(Code(5, 4, 6), format!("mail for {host} loops back to myself"));
        Stop { status, loops: true }
    }
}

/// Looked up by the system at a time; each takes a thread.
static NATIVE: Semaphore = Semaphore::const_new(16);

impl Search<'_> {
    /// Through the mail exchangers of a domain, or the domain as a host when it has none.
    async fn domain(&mut self, hop: &NextHop, random: &mut Random) -> Result<Looked, Stop> {
        let name = &*asked(&hop.host);
        let answer = match self.resolver.mx(name).await {
            Ok(answer) => answer,
            Err(Failure::NotFound | Failure::NoData | Failure::BadName) => {
                return self.host(hop, random).await;
            }
            Err(failure) => {
                if let Failure::Invalid(warnings) = &failure {
                    self.warnings.extend(warnings.iter().cloned());
                }
                let status = self.failed(name, Kind::Mx, &failure);
                if self.settings.ignore_mx_lookup_error {
                    // Whoever can make the look-up fail must not choose the host for good.
                    let looked = self.host(hop, random).await?;
                    return Ok(Looked { secure: false, ..looked });
                }
                return Err(Stop::because(status));
            }
        };
        self.warnings.extend(answer.warnings);
        if answer.records.iter().any(|m| m.host.is_empty()) {
            let text = format!("Domain {name} does not accept mail (nullMX)");
            return Err(Stop::because(Status::new(Code(5, 1, 0), text)));
        }
        let mut exchangers = answer.records;
        exchangers.sort_by_key(|m| m.preference);
        let best = exchangers.first().map(|m| m.preference);
        let hosts: Vec<(&str, u16)> = exchangers.iter().map(|m| (m.host.as_str(), m.preference)).collect();
        let mut found = self.addresses(&hosts).await;
        let Some(first) = found.first().map(|f| f.preference) else {
            self.warnings.push(format!("no MX host for {} has a valid address record", hop.host));
            let mut status = self.why.take().unwrap_or_else(|| not_found(name));
            if self.settings.defer_if_no_mx_address_found {
                status.code.0 = 4;
            }
            return Err(Stop::because(status));
        };
        let mut we_are_mx = false;
        if hop.port == 25
            && let Some(better) = before_us(&found, |a| self.is_own(a))
        {
            we_are_mx = true;
            if better.is_empty() && best != Some(first) {
                let text = format!("unable to find primary relay for {}", hop.host);
                return Err(Stop::because(Status::new(Code(4, 4, 4), text)));
            }
            if better.is_empty() {
                return Err(Stop::looping(&hop.host));
            }
            found = better;
        }
        let found = arrange(found, self.settings.rules, random);
        let canonical = alias(name, &answer.canonical);
        Ok(Looked { found, by_mx: true, canonical, secure: answer.secure, we_are_mx })
    }

    /// The addresses of one host.
    async fn host(&mut self, hop: &NextHop, random: &mut Random) -> Result<Looked, Stop> {
        let name = &*asked(&hop.host);
        let found = self.addresses(&[(name, 0)]).await;
        if found.is_empty() {
            return Err(Stop::because(self.why.take().unwrap_or_else(|| not_found(name))));
        }
        if hop.port == 25 && found.iter().any(|f| self.is_own(f.address)) {
            return Err(Stop::looping(&hop.host));
        }
        let found = arrange(found, self.settings.rules, random);
        Ok(Looked { found, by_mx: false, canonical: None, secure: true, we_are_mx: false })
    }

    /// A connection to no address in particular ends here, too.
    fn is_own(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_unspecified() || self.settings.own.contains(&address)
    }

    /// The addresses of hosts in the order given. What fails is remembered in `why`.
    async fn addresses(&mut self, hosts: &[(&str, u16)]) -> Vec<Found> {
        let Settings { ipv4, ipv6, lookup_dns, lookup_native, .. } = *self.settings;
        let names: Vec<&str> = hosts.iter().map(|(h, _)| *h).filter(|h| literal(h).is_none()).collect();
        let mut answers = match lookup_dns {
            true => self.resolver.hosts(&names, ipv4, ipv6).await.into_iter(),
            false => Vec::new().into_iter(),
        };
        let mut all = Vec::new();
        for &(host, preference) in hosts {
            let found = |address: IpAddr, canonical: Option<String>, secure: bool| {
                let host = host.to_string();
                Found { host, canonical, address, preference, secure }
            };
            if let Some(address) = literal(host) {
                let family = if address.is_ipv4() { ipv4 } else { ipv6 };
                if family {
                    all.push(found(address, None, true));
                } else if lookup_dns {
                    // It is no name, and as an address it is not for us.
                    self.failed(host, Kind::A, &Failure::BadName);
                } else {
                    self.fail(not_found(host));
                }
                continue;
            }
            let before = all.len();
            let (mut absent, mut worst) = (!lookup_dns, None);
            for (kind, result) in answers.next().unwrap_or_default() {
                match result {
                    Ok(answer) => {
                        let (canonical, secure) = (alias(host, &answer.canonical), answer.secure);
                        all.extend(answer.records.into_iter().map(|a| found(a, canonical.clone(), secure)));
                    }
                    Err(failure) => {
                        absent |= matches!(failure, Failure::NotFound | Failure::NoData | Failure::BadName);
                        // A failure that may pass says more than the absence of the other family.
                        if worst.as_ref().is_none_or(|(_, f): &(Kind, Failure)| !f.is_temporary())
                            || failure.is_temporary()
                        {
                            worst = Some((kind, failure));
                        }
                    }
                }
            }
            if all.len() > before {
                continue;
            }
            let temporary = worst.as_ref().is_some_and(|(_, f)| f.is_temporary());
            if let Some((kind, failure)) = &worst {
                self.failed(host, *kind, failure);
            }
            if lookup_native && absent && !temporary {
                all.extend(self.native(host).await.into_iter().map(|a| found(a, None, false)));
            }
        }
        all
    }

    /// By `/etc/hosts` and whatever else the system asks.
    async fn native(&mut self, host: &str) -> Vec<IpAddr> {
        let name = match net::dns::ascii(host) {
            Some(name) => name,
            None => host.to_string(),
        };
        let Ok(_place) = NATIVE.acquire().await else { return Vec::new() };
        let looked = tokio::task::spawn_blocking(move || sys::names::addresses_of(&name)).await;
        let (addresses, failure) = match looked {
            Ok(Ok(addresses)) => (addresses, None),
            Ok(Err(failure)) => (Vec::new(), Some(failure)),
            Err(_) => (Vec::new(), None),
        };
        let (ipv4, ipv6) = (self.settings.ipv4, self.settings.ipv6);
        let usable: Vec<IpAddr> =
            addresses.into_iter().filter(|a| if a.is_ipv4() { ipv4 } else { ipv6 }).collect();
        if let Some(failure) = failure {
            let detail = if failure.absent { (4, 4) } else { (3, 0) };
            let class = if failure.temporary { 4 } else { 5 };
            let text = format!("unable to look up host {host}: {}", failure.words);
            self.fail(Status::new(Code(class, detail.0, detail.1), text));
        } else if usable.is_empty() {
            self.fail(not_found(host));
        }
        usable
    }

    /// Notes that DNS has no answer. Postfix bounces (5.4.3) when a name server refuses the question,
    /// and when one family of addresses is absent while nothing is known of the other; here both wait,
    /// because neither says that the host does not exist.
    fn failed(&mut self, name: &str, kind: Kind, failure: &Failure) -> Status {
        let code = match failure {
            Failure::Temporary(_) | Failure::Garbage => Code(4, 4, 3),
            Failure::NotFound | Failure::NoData | Failure::BadName | Failure::Invalid(_) => Code(5, 4, 4),
        };
        self.fail(Status::new(code, failure.words(name, kind)))
    }

    /// The text is of the last failure, but what was temporary stays temporary.
    fn fail(&mut self, mut status: Status) -> Status {
        if self.why.as_ref().is_some_and(|w| w.code.0 == 4) {
            status.code.0 = 4;
        }
        self.why = Some(status.clone());
        status
    }
}

fn not_found(host: &str) -> Status {
    Status::new(Code(5, 4, 4), format!("{host}: host not found"))
}

/// A name as it is asked for, and as it is told from there on.
fn asked(host: &str) -> Cow<'_, str> {
    match host.is_ascii() {
        true => host.strip_suffix('.').unwrap_or(host).into(),
        false => net::dns::ascii(host).map_or(host.into(), Cow::from),
    }
}

/// The name at the end of an alias.
fn alias(name: &str, canonical: &str) -> Option<String> {
    let plain = |n: &str| n.trim_end_matches('.').to_ascii_lowercase();
    (plain(name) != plain(canonical) && !canonical.is_empty()).then(|| canonical.to_string())
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}
