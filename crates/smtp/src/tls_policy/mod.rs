//! Whether and how sessions are encrypted, and what servers must prove: the levels of
//! `smtp_tls_security_level`, policies for destinations, STARTTLS or the handshake at once, and what is
//! said about it. RFC 3207, RFC 7672.
//!
//! ```text
//! rule    what the administrator demands for a destination       (tables; no network)
//! policy  what that means for one host of it                     (TLSA records, published policies)
//! decide, ask, encrypt                                           (the session)
//! ```
//!
//! A policy that cannot be found out makes mail wait; nothing that fails ever lowers a level.

pub mod dane;
mod level;
mod probe;
mod rule;
mod settings;

pub use level::Level;
pub use rule::{Rule, Unclear};

use crate::events::*;
use crate::report::{Kind, Ledger, Outcome};
use crate::session::{Endpoint, Peer, Session};
use crate::sts::{self, Means, Mode, Sts};
use crate::words;
use net::dns::Resolver;
use net::tls::ciphers::Ciphers;
use net::tls::client::{Connector, Roots, Wish};
use net::tls::dane::{usable, written};
use net::tls::digest::{Digest, bytes_of};
use net::tls::proof::{Fault, Judgement, Manner, Proof};
use net::tls::server::Say;
use net::tls::{Failure, Protocols, Trust};
use proto::smtp::client::Stage;
use proto::status::{Code, Status};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tables::Maps;

/// What a client service obeys of encryption.
pub struct Tls {
    level: Level,
    policy_maps: Maps,
    per_site: Maps,
    loglevel: i64,
    limit: Duration,
    note_offer: bool,
    /// The handshake comes first, as on port 465.
    pub wrapped: bool,
    reuse: bool,
    /// `smtp_tls_block_early_mail_reply`.
    pub block_early: bool,
    server_name: String,
    protocols: Vec<String>,
    mandatory_protocols: Vec<String>,
    grade: String,
    mandatory_grade: String,
    excluded: Vec<String>,
    mandatory_excluded: Vec<String>,
    verify_match: Vec<String>,
    secure_match: Vec<String>,
    fingerprints: Vec<String>,
    digest: Digest,
    /// Of TLSA records, the strongest first.
    digests: Vec<Digest>,
    manner: Manner,
    /// `smtp_tls_trust_anchor_file`.
    anchors: Option<Arc<Roots>>,
    known_anchors: Mutex<Vec<(Vec<PathBuf>, Arc<Roots>)>>,
    insecure_mx: Level,
    force: bool,
    /// What name servers vouch for is believed.
    dnssec: bool,
    probe: probe::Probe,
    /// Published policies, when they are obeyed.
    published: Option<Published>,
    ledger: Arc<Ledger>,
    /// Over IPv4, over IPv6.
    families: (bool, bool),
    service: &'static str,
    /// From this age of a message on, `may` does without after a handshake that failed.
    patience: Duration,
    connector: Connector,
    /// What the administrator should know.
    pub doubts: Vec<String>,
}

/// Policies that domains publish.
struct Published {
    sts: Arc<Sts>,
    /// Towards their web servers, which are not shown who we are.
    connector: Connector,
    /// Who vouches for exchangers and web servers then.
    roots: Arc<Roots>,
}

/// The way to a host.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The next hop as it is written.
    pub destination: &'a str,
    /// The domain or host that it names.
    pub domain: &'a str,
    /// The name that the domain is an alias of.
    pub domain_alias: Option<&'a str>,
    /// The next hop is a host, whatever MX records it may have.
    pub bracketed: bool,
    /// MX records led to the host.
    pub by_mx: bool,
    /// They are vouched for, or there was nothing to look up.
    pub mx_secure: bool,
    /// The host's address is vouched for.
    pub secure: bool,
    /// The name that the host is an alias of.
    pub host_alias: Option<&'a str>,
    /// The port.
    pub port: u16,
}

impl<'a> Way<'a> {
    /// To a socket of this machine.
    pub fn local(destination: &'a str) -> Way<'a> {
        Way {
            destination,
            domain: destination,
            domain_alias: None,
            bracketed: true,
            by_mx: false,
            mx_secure: true,
            secure: false,
            host_alias: None,
            port: 0,
        }
    }
}

/// Nobody listens in on a socket in the file system.
const LOCAL: &str =
    "smtp_connect_local: opportunistic TLS encryption is not appropriate for unix-domain destinations.";

/// What holds for one host.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How much encryption.
    pub level: Level,
    /// What the server must prove.
    pub proof: Proof,
    protocols: Result<Protocols, String>,
    ciphers: Result<Ciphers, String>,
    server_name: Option<String>,
    anchors: Option<Arc<Roots>>,
    /// An encrypted connection may be used again.
    pub reuse: bool,
    /// What is to be said when it comes to a handshake.
    warnings: Vec<String>,
    /// The domain of the next hop.
    domain: String,
    /// What is to be proved is only looked at.
    observe: bool,
    /// Our own certificates cannot be used, so nothing is encrypted.
    unable: bool,
    /// The kind of policy that the domain publishes, to be counted.
    published: Option<Kind>,
}

impl Tls {
    /// What connections to a host have in common under the administrator's rules; nothing when it
    /// cannot be said.
    pub fn name(&self, destination: &str, host: &str) -> Option<String> {
        let rule = self.rule(destination, host, &mut Vec::new()).ok()?;
        // What a host proved for one destination is not proved for another; nor need it have been proved.
        Some(match rule.level.authenticates() || self.published.is_some() {
            true => format!("{} for {destination}", rule.key),
            false => rule.key,
        })
    }

    /// What holds for a host; or why it cannot be used.
    pub async fn policy(
        &self,
        way: &Way<'_>,
        peer: &Peer,
        resolver: &Resolver,
        voice: &events::Source,
    ) -> Result<Policy, Box<Status>> {
        let mut warnings = Vec::new();
        let mut policy = match self.rule(way.destination, &peer.host, &mut warnings) {
            Ok(rule) => self.for_host(rule, way, peer, resolver, &mut warnings).await,
            Err(Unclear) => Err(UNUSABLE.to_string()),
        };
        if let Ok(policy) = &mut policy
            && policy.level != Level::None
            && let Err(trouble) = self.connector.prepare().await
        {
            policy.unable = true;
            warnings.extend(trouble.into_iter().map(|said| match said {
                Say::Info(what) | Say::Warning(what) => what,
                Say::Library(what) => format!("TLS library problem: {what}"),
            }));
        }
        if let Err(why) = &policy {
            warnings.push(format!("TLS policy lookup for {}/{}: {why}", way.destination, peer.host));
        }
        for what in warnings {
            voice.say(&Doubt { what });
        }
        policy.map_err(|why| Box::new(Status::new(Code(4, 7, 5), why)))
    }

    async fn for_host(
        &self,
        rule: Rule,
        way: &Way<'_>,
        peer: &Peer,
        resolver: &Resolver,
        warnings: &mut Vec<String>,
    ) -> Result<Policy, String> {
        let domain = way.domain.trim_end_matches('.').to_string();
        let server_name = match rule.server_name.as_str() {
            "" => None,
            "hostname" => Some(peer.host.clone()),
            "nexthop" => Some(domain.clone()),
            name => Some(name.to_string()),
        };
        let mut policy = Policy {
            level: rule.level,
            proof: Proof::Nothing,
            protocols: rule.protocols,
            ciphers: rule.ciphers,
            server_name: server_name.filter(|n| !n.is_empty()),
            anchors: rule.anchors,
            reuse: rule.reuse,
            warnings: Vec::new(),
            domain,
            observe: false,
            unable: false,
            published: None,
        };
        match rule.level {
            Level::May if matches!(peer.endpoint, Endpoint::Unix(_)) => {
                policy.level = Level::None;
                warnings.push(LOCAL.to_string());
            }
            Level::None | Level::May | Level::Encrypt => {}
            Level::Fingerprint => self.fingerprint(&mut policy, &rule.matching, peer),
            Level::Verify | Level::Secure => {
                policy.proof = Proof::Names(names(&rule.matching, &policy.domain, peer))
            }
            Level::Dane | Level::DaneOnly | Level::HalfDane => {
                self.dane(&mut policy, way, peer, resolver, warnings).await?;
            }
        }
        // DANE first, RFC 8461 2; and what the administrator wrote for the destination.
        if !rule.from_table && !policy.proof.is_wanted() && policy.level != Level::None && !way.bracketed {
            self.published(&mut policy, peer, resolver, warnings).await?;
        }
        Ok(policy)
    }

    /// The fingerprints that can be compared; with none nothing is proved.
    fn fingerprint(&self, policy: &mut Policy, listed: &[String], peer: &Peer) {
        let mut known = Vec::new();
        for text in listed {
            match bytes_of(text).filter(|b| b.len() == self.digest.length()) {
                Some(bytes) => known.push(bytes),
                // As Postfix puts it, which makes a record of each.
                None => policy.warnings.extend([1, 0].map(|selector| {
                    let shown: String = text.chars().filter(|c| c.is_ascii_hexdigit()).take(128).collect();
                    format!(
                        "{}: unusable TLSA RR: 3 {selector} 255 {}",
                        peer.relay,
                        shown.to_ascii_uppercase()
                    )
                })),
            }
        }
        if known.is_empty() {
            policy.warnings.push(format!("{}: all fingerprints unusable", peer.relay));
        }
        policy.proof = Proof::Fingerprints(self.digest, known);
    }

    /// What the domain published (MTA-STS). RFC 8461 5
    async fn published(
        &self,
        policy: &mut Policy,
        peer: &Peer,
        resolver: &Resolver,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let Some(Published { sts, connector, roots }) = &self.published else { return Ok(()) };
        let means = Means { resolver, connector, roots, families: self.families };
        let found = Box::pin(sts.find(&policy.domain, means)).await;
        if let Some(failure) = &found.failure {
            warnings.push(format!("MTA-STS policy of {}: {failure}", policy.domain));
            let outcome = match failure {
                sts::Failure::Certificate(_) => Outcome::StsWebpkiInvalid,
                sts::Failure::Fetch(_) => Outcome::StsPolicyFetchError,
                sts::Failure::Invalid(_) => Outcome::StsPolicyInvalid,
            };
            self.ledger.count(Kind::Sts, &policy.domain, "", outcome);
        }
        let Some(published) = found.policy.filter(|p| p.mode != Mode::None) else { return Ok(()) };
        policy.published = Some(Kind::Sts);
        let named = published.names(&peer.host);
        if !named {
            self.count(policy, peer, Outcome::ValidationFailure);
        }
        if published.mode == Mode::Enforce {
            if !named {
                return Err(format!(
                    "the MTA-STS policy of {} does not name host {}",
                    policy.domain, peer.host
                ));
            }
            policy.level = Level::Verify;
        } else if !named {
            policy.published = None;
            return Ok(());
        }
        policy.observe = published.mode == Mode::Testing;
        policy.proof = Proof::Names(vec![peer.host.clone()]);
        policy.server_name = Some(peer.host.clone());
        policy.anchors = Some(roots.clone());
        Ok(())
    }

    fn count(&self, policy: &Policy, peer: &Peer, outcome: Outcome) {
        if let Some(kind) = policy.published {
            self.ledger.count(kind, &policy.domain, &peer.host, outcome);
        }
    }

    /// RFC 7672 2.2
    async fn dane(
        &self,
        policy: &mut Policy,
        way: &Way<'_>,
        peer: &Peer,
        resolver: &Resolver,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let only = policy.level == Level::DaneOnly;
        if !self.dnssec {
            warnings.push(format!(
                "{}: {} configured with dnssec lookups disabled",
                way.destination, policy.level
            ));
            if only {
                return Err(UNUSABLE.into());
            }
            policy.level = Level::May;
            return Ok(());
        }
        let vouched = way.secure || way.by_mx && way.mx_secure;
        warnings.extend(self.probe.heard(vouched, resolver).await);
        if way.by_mx && !way.mx_secure {
            if only {
                return Err("non DNSSEC destination".into());
            }
            policy.level = self.insecure_mx;
            if policy.level != Level::HalfDane {
                return Ok(());
            }
        }
        let host =
            dane::Host { name: &peer.host, canonical: way.host_alias, secure: way.secure, port: way.port };
        let found = dane::find(resolver, host, self.force).await.map_err(|dane::Unknown(why)| {
            warnings.push(format!("DANE TLSA lookup problem: {why}"));
            self.ledger.count(Kind::Tlsa, &policy.domain, &peer.host, Outcome::DnssecInvalid);
            format!("TLSA lookup error for {}:{}", peer.host, way.port)
        })?;
        let Some(found) = found else {
            if only {
                return Err("no TLSA records found".into());
            }
            policy.level = Level::May;
            return Ok(());
        };
        policy.published = Some(Kind::Tlsa);
        let sorted = usable(&found.records, &self.digests);
        if sorted.records.is_empty() {
            self.count(policy, peer, Outcome::TlsaInvalid);
        }
        for record in &sorted.foreign {
            warnings.push(format!(
                "_{}._tcp.{} unsupported TLSA certificate usage: {}",
                way.port,
                found.base,
                written(record)
            ));
        }
        if sorted.foreign.len() == found.records.len() && only {
            return Err("no usable TLSA records found".into());
        }
        for record in &sorted.broken {
            policy.warnings.push(format!("{}: unusable TLSA RR: {}", peer.relay, written(record)));
        }
        policy.server_name = Some(found.base.clone());
        if sorted.records.is_empty() && !only {
            // RFC 7672 2.2: encrypted, but nobody is asked to prove anything.
            let what = "all TLSA records unusable, fallback to unauthenticated TLS";
            policy.warnings.push(format!("{}: {what}", peer.relay));
            return Ok(());
        }
        if sorted.records.is_empty() {
            policy.warnings.push(format!("{}: all TLSA records unusable", peer.relay));
        }
        // RFC 7672 3.2.3
        let mut names = vec![found.base, peer.host.clone()];
        if way.mx_secure {
            names.push(policy.domain.clone());
            names.extend(way.domain_alias.map(String::from));
        }
        policy.proof = Proof::Dane(sorted.records, names);
        Ok(())
    }

    /// After a handshake that failed, a message of this age may go without encryption.
    pub fn may_do_without(&self, policy: &Policy, age: Duration) -> bool {
        policy.level == Level::May && !self.wrapped && age >= self.patience
    }

    /// What the server's offer means at this level: `true` for STARTTLS.
    pub fn decide(
        &self,
        policy: &Policy,
        session: &Session,
        plain: bool,
        voice: &events::Source,
    ) -> Result<bool, Box<Status>> {
        let offered = session.features.starttls;
        if session.is_encrypted() {
            return Ok(false);
        }
        if !offered {
            self.count(policy, &session.peer, Outcome::StarttlsNotSupported);
        }
        if policy.level.is_mandatory() && !offered {
            let text = format!("TLS is required, but was not offered by host {}", session.peer.label);
            return Err(Box::new(Status::new(Code(4, 7, 4), text)));
        }
        if policy.level.is_mandatory() && policy.unable {
            let text = "TLS is required, but our TLS engine is unavailable";
            return Err(Box::new(Status::new(Code(4, 7, 5), text)));
        }
        if policy.level != Level::None && offered && !plain && !policy.unable {
            return Ok(true);
        }
        if self.note_offer && offered {
            voice.say(&StarttlsOffered { host: session.peer.host.clone() });
        }
        Ok(false)
    }

    /// Says STARTTLS; `false` when the server does not want after all, and that is no reason to stop.
    pub async fn ask(&self, policy: &Policy, session: &mut Session) -> Result<bool, Status> {
        let asked = tokio::time::timeout(self.limit, session.command("STARTTLS", Stage::Starttls)).await;
        let asked = asked.unwrap_or(Err(crate::session::Trouble::TimedOut));
        let answer = asked.map_err(|t| words::broken(&session.peer, Stage::Starttls, &t))?;
        if answer.is_positive() {
            return Ok(true);
        }
        self.count(policy, &session.peer, Outcome::StarttlsNotSupported);
        if !policy.level.is_mandatory() {
            session.features.starttls = false;
            return Ok(false);
        }
        let (label, said) = (&session.peer.label, answer.one_line());
        let text = format!("TLS is required, but host {label} refused to start TLS: {said}");
        Err(words::by_server(&session.peer, &answer, text))
    }

    /// The handshake. `Ok` is a session that may be used; what was to be proved, was.
    pub async fn encrypt(
        &self,
        policy: &Policy,
        session: Session,
        voice: &events::Source,
    ) -> Result<Session, Unencrypted> {
        let peer = session.peer.clone();
        let relay = peer.relay.clone();
        if self.loglevel >= 2 {
            voice.say(&SettingUpTls { relay: relay.clone() });
        }
        for what in &policy.warnings {
            voice.say(&Doubt { what: what.clone() });
        }
        let failed =
            || Unencrypted::Handshake(Status::new(Code(4, 7, 5), "Cannot start TLS: handshake failure"));
        let (protocols, ciphers) = match (&policy.protocols, &policy.ciphers) {
            (Ok(protocols), Ok(ciphers)) => (*protocols, *ciphers),
            (Err(list), _) => {
                voice.say(&Doubt {
                    what: format!("{relay}: Invalid TLS protocol list \"{list}\": aborting TLS session"),
                });
                return Err(failed());
            }
            (_, Err(grade)) => {
                voice.say(&Doubt { what: format!("{relay}: invalid cipher grade: \"{grade}\"") });
                return Err(failed());
            }
        };
        let key = self.session_key(policy, &relay);
        let wish = Wish {
            server_name: policy.server_name.as_deref(),
            protocols,
            ciphers,
            proof: &policy.proof,
            roots: policy.anchors.as_deref(),
            manner: self.manner,
            observe: policy.observe,
            judge: self.loglevel >= 1,
            ..Wish::new(&key, self.limit)
        };
        let mut judgement = None;
        let changed = session.exchange(async |stream| match stream {
            net::Stream::Plain(io) => {
                let connected = Box::pin(self.connector.connect(io, &wish)).await?;
                for what in connected.trouble {
                    voice.say(&Doubt { what: format!("cannot load Certification Authority data, {what}") });
                }
                let mut summary = connected.summary;
                let only_trusted = policy.level == Level::HalfDane || policy.observe;
                if only_trusted && summary.trust == Trust::Verified {
                    summary.trust = Trust::Trusted;
                }
                if let Some(seen) = summary.peer.as_ref().filter(|_| self.loglevel >= 2) {
                    let (subject, issuer) = (seen.subject.clone(), seen.issuer.clone());
                    let (fingerprint, key) = (seen.fingerprint.clone(), seen.key_fingerprint.clone());
                    voice.say(&PeerCertificate { relay: relay.clone(), subject, issuer, fingerprint, key });
                }
                if self.loglevel >= 1 {
                    if let Some(fault) =
                        connected.judgement.fault.as_ref().filter(|_| policy.level.authenticates())
                    {
                        let whose = if fault.is_of_server() { "server " } else { "" };
                        voice.say(&Unverified { whose, relay: relay.clone(), why: fault.to_string() });
                    }
                    let (trust, relay) = (summary.trust, relay.clone());
                    voice.say(&TlsEstablished { trust, relay, summary: summary.to_string() });
                }
                judgement = Some(connected.judgement);
                Ok(connected.stream)
            }
            encrypted => Ok::<_, Failure>(encrypted),
        });
        let session = changed.await.map_err(|failure| {
            let what = match &failure {
                Failure::Timeout | Failure::Lost => failure.to_string(),
                Failure::Handshake(_) | Failure::Unusable(_) => "-1".into(),
            };
            self.count(policy, &peer, Outcome::ValidationFailure);
            voice.say(&TlsFailed { relay: peer.relay.clone(), what });
            if let Failure::Handshake(what) | Failure::Unusable(what) = failure {
                voice.say(&TlsLibrary { what });
            }
            failed()
        })?;
        let proved = judgement.as_ref().is_some_and(|j| j.proved);
        self.count(policy, &peer, outcome(judgement.as_ref(), proved || !policy.proof.is_wanted()));
        match policy.proof.is_wanted() && !proved && !policy.observe {
            true => {
                let status = Status::new(Code(4, 7, 5), "Server certificate not verified");
                Err(Unencrypted::Unverified(Box::new(session), status))
            }
            false => Ok(session),
        }
    }

    /// Sessions go on only under the very same demands.
    fn session_key(&self, policy: &Policy, relay: &str) -> String {
        let demands = format!(
            "{} {} {:?} {:?} {:?} {:?} {:?}",
            policy.level,
            policy.observe,
            policy.proof,
            policy.protocols,
            policy.ciphers,
            policy.server_name,
            policy.anchors.as_ref().map(Arc::as_ptr)
        );
        format!("{}&{}&{relay}&{}", self.service, policy.domain, Digest::Sha256.shown(demands.as_bytes()))
    }
}

/// Why there is no session that may be used.
pub enum Unencrypted {
    /// The handshake failed.
    Handshake(Status),
    /// It did not, but the server did not prove what it had to. The session can be closed in good form,
    /// and that is all.
    Unverified(Box<Session>, Status),
}

/// As reports call it. RFC 8460 4.3
fn outcome(judgement: Option<&Judgement>, good: bool) -> Outcome {
    match judgement.and_then(|j| j.fault.as_ref()) {
        _ if good => Outcome::Success,
        Some(Fault::Names) => Outcome::CertificateHostMismatch,
        Some(Fault::Expired | Fault::NotYetValid) => Outcome::CertificateExpired,
        Some(Fault::SelfSigned | Fault::UnknownIssuer(_)) => Outcome::CertificateNotTrusted,
        _ => Outcome::ValidationFailure,
    }
}

const UNUSABLE: &str = "client TLS configuration problem";

/// The names to match, of `smtp_tls_secure_cert_match` and its like.
fn names(listed: &[String], domain: &str, peer: &Peer) -> Vec<String> {
    let one = |word: &String| match word.to_ascii_lowercase().as_str() {
        "hostname" => peer.host.clone(),
        "nexthop" => domain.to_string(),
        "dot-nexthop" => format!(".{domain}"),
        _ => word.clone(),
    };
    listed.iter().map(one).collect()
}

/// A row of a policy table, as the fuzz targets have it.
#[cfg(any(fuzzing, feature = "fuzz"))]
pub fn fuzz(text: &str) {
    for line in text.lines() {
        rule::row_of(line);
    }
    let _ = probe::Probe::read(text);
}
