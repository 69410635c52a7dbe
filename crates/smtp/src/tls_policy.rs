//! Whether and how sessions are encrypted: the level of `smtp_tls_security_level`, STARTTLS or the
//! handshake at once, and what is said about it. RFC 3207.
//!
//! Levels that authenticate the server are not there yet. `dane` encrypts where it can, as `may` does;
//! what demands a proof (verify, secure, fingerprint, dane-only) is answered as a server that has none:
//! mail waits, for sending it without would be worse.

use crate::events::*;
use crate::route::Protocol;
use crate::session::{Peer, Session};
use crate::words;
use config::params::qmgr::Qmgr;
use config::params::tls::{LmtpTls, SmtpTls, Tls as Common};
use config::{Config, Problem};
use net::tls::client::{Authorities, Connector, Wish};
use net::tls::{Failure, Protocols};
use proto::smtp::client::Stage;
use proto::status::{Code, Status};
use std::path::PathBuf;
use std::time::Duration;

/// How much encryption is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// None.
    None,
    /// If the server offers it.
    May,
    /// Always.
    Encrypt,
    /// A level that authenticates, which nothing satisfies yet.
    Proof(&'static str),
}

/// What a client service obeys of encryption.
pub struct Tls {
    /// How much of it.
    pub level: Level,
    loglevel: i64,
    limit: Duration,
    note_offer: bool,
    /// The handshake comes first, as on port 465.
    pub wrapped: bool,
    /// Encrypted connections may be used again.
    pub reuse: bool,
    server_name: String,
    protocols: Protocols,
    service: &'static str,
    /// From this age of a message on, `may` does without after a handshake that failed.
    patience: Duration,
    connector: Connector,
    /// What the administrator should know.
    pub doubts: Vec<String>,
}

macro_rules! read {
    ($p:expr, $($field:ident = $name:ident),*) => { ($($p.$name().clone(),)*) };
}

impl Tls {
    /// Reads it. `config` has the settings of the service's line.
    pub fn load(config: &Config, protocol: Protocol) -> Result<Tls, Vec<Problem>> {
        let (prefix, values) = match protocol {
            Protocol::Smtp => {
                let p = SmtpTls::load(config)?;
                let values = read!(
                    p,
                    level = smtp_tls_security_level,
                    use_tls = smtp_use_tls,
                    enforce = smtp_enforce_tls,
                    limit = smtp_starttls_timeout,
                    loglevel = smtp_tls_loglevel,
                    file = smtp_tls_ca_file,
                    path = smtp_tls_ca_path,
                    protocols = smtp_tls_protocols,
                    mandatory = smtp_tls_mandatory_protocols,
                    server_name = smtp_tls_servername
                );
                let flags = read!(
                    p,
                    note = smtp_tls_note_starttls_offer,
                    wrapped = smtp_tls_wrappermode,
                    reuse = smtp_tls_connection_reuse
                );
                ("smtp", (values, flags))
            }
            Protocol::Lmtp => {
                let p = LmtpTls::load(config)?;
                let values = read!(
                    p,
                    level = lmtp_tls_security_level,
                    use_tls = lmtp_use_tls,
                    enforce = lmtp_enforce_tls,
                    limit = lmtp_starttls_timeout,
                    loglevel = lmtp_tls_loglevel,
                    file = lmtp_tls_ca_file,
                    path = lmtp_tls_ca_path,
                    protocols = lmtp_tls_protocols,
                    mandatory = lmtp_tls_mandatory_protocols,
                    server_name = lmtp_tls_servername
                );
                let flags = read!(
                    p,
                    note = lmtp_tls_note_starttls_offer,
                    wrapped = lmtp_tls_wrappermode,
                    reuse = lmtp_tls_connection_reuse
                );
                ("lmtp", (values, flags))
            }
        };
        let (
            (level, use_tls, enforce, limit, loglevel, file, path, voluntary, mandatory, server_name),
            flags,
        ) = values;
        let (note_offer, wrapped, reuse) = flags;
        let bad = |suffix: &str, what: String, remedy: &str| {
            let name = format!("{prefix}_tls_{suffix}");
            vec![config.placed(&name, Problem::of(&name, what, remedy))]
        };
        let mut doubts = Vec::new();
        if level.eq_ignore_ascii_case("dane") {
            doubts.push(format!(
                "{prefix}_tls_security_level: dane is taken as may: TLSA records are not looked up by this version"
            ));
        }
        // The old way to say encrypt says verify, unless names do not count.
        let named = config
            .get(&format!("{prefix}_tls_enforce_peername"))
            .is_ok_and(|t| t.eq_ignore_ascii_case("yes"));
        let mut level = match level.to_ascii_lowercase().as_str() {
            "" if enforce && named => Level::Proof("verify"),
            "" if enforce => Level::Encrypt,
            "" if use_tls => Level::May,
            "" | "none" => Level::None,
            "may" | "dane" => Level::May,
            "encrypt" => Level::Encrypt,
            "dane-only" => Level::Proof("dane-only"),
            "fingerprint" => Level::Proof("fingerprint"),
            "verify" => Level::Proof("verify"),
            "secure" => Level::Proof("secure"),
            other => {
                return Err(bad(
                    "security_level",
                    format!("bad value {other:?}"),
                    "write none, may or encrypt",
                ));
            }
        };
        // Its rows may demand more than the level, and what they demand must not be left undone.
        for table in ["tls_policy_maps", "tls_per_site"].map(|suffix| format!("{prefix}_{suffix}")) {
            if config.get(&table).is_ok_and(|text| !text.trim().is_empty()) {
                level = level.max(Level::Encrypt);
                doubts.push(format!(
                    "{table} is not read by this version: all mail goes out encrypted, or waits"
                ));
            }
        }
        let (suffix, words) =
            if level == Level::May { ("protocols", voluntary) } else { ("mandatory_protocols", mandatory) };
        let protocols = Protocols::parse(&words.0).map_err(|word| {
            bad(suffix, format!("unknown protocol {word:?}"), "write >=TLSv1.2, or names such as TLSv1.3")
        })?;
        let named = |text: String| Some(PathBuf::from(text)).filter(|p| !p.as_os_str().is_empty());
        let (file, path) = (named(file), named(path));
        // As for OpenSSL: nothing that is set means nothing that is trusted, unless all of the system's is.
        let system = *Common::load(config)?.tls_append_default_ca();
        let connector = Connector::new(Authorities { file, path, system });
        let patience = *Qmgr::load(config)?.minimal_backoff_time();
        let service = prefix;
        Ok(Tls {
            level,
            loglevel,
            limit,
            note_offer,
            wrapped,
            reuse,
            server_name,
            protocols,
            service,
            patience,
            connector,
            doubts,
        })
    }

    /// After a handshake that failed, a message of this age may go without encryption.
    pub fn may_do_without(&self, age: Duration) -> bool {
        self.level == Level::May && !self.wrapped && age >= self.patience
    }

    /// What connections have in common.
    pub fn name(&self) -> String {
        format!("{:?}", self.level)
    }

    /// The name that the server is asked for.
    fn name_for<'a>(&'a self, peer: &'a Peer, nexthop: &'a str) -> Option<&'a str> {
        match self.server_name.as_str() {
            "" => None,
            "hostname" => Some(peer.host.as_str()),
            "nexthop" => nexthop.trim_start_matches('[').split([']', ':']).next(),
            name => Some(name),
        }
        .filter(|n| !n.is_empty())
    }

    /// What the server's offer means at this level: `true` for STARTTLS.
    pub fn decide(
        &self,
        session: &Session,
        plain: bool,
        voice: &events::Source,
    ) -> Result<bool, Box<Status>> {
        let label = &session.peer.label;
        let required = |code: Code| {
            Box::new(Status::new(code, format!("TLS is required, but was not offered by host {label}")))
        };
        match self.level {
            Level::Proof(level) => {
                let text = format!(
                    "TLS level {level} needs a proof of the server's identity, which this version cannot check"
                );
                Err(Box::new(Status::new(Code(4, 7, 5), text)))
            }
            _ if session.is_encrypted() => Ok(false),
            Level::Encrypt if !session.features.starttls => Err(required(Code(4, 7, 4))),
            Level::May | Level::Encrypt if session.features.starttls && !plain => Ok(true),
            _ => {
                if self.note_offer && session.features.starttls {
                    voice.say(&StarttlsOffered { host: session.peer.host.clone() });
                }
                Ok(false)
            }
        }
    }

    /// Says STARTTLS; `false` when the server does not want after all, and that is no reason to stop.
    pub async fn ask(&self, session: &mut Session) -> Result<bool, Status> {
        let asked = tokio::time::timeout(self.limit, session.command("STARTTLS", Stage::Starttls)).await;
        let asked = asked.unwrap_or(Err(crate::session::Trouble::TimedOut));
        let answer = asked.map_err(|t| words::broken(&session.peer, Stage::Starttls, &t))?;
        if answer.is_positive() {
            return Ok(true);
        }
        if self.level == Level::May {
            session.features.starttls = false;
            return Ok(false);
        }
        let (label, said) = (&session.peer.label, answer.one_line());
        let text = format!("TLS is required, but host {label} refused to start TLS: {said}");
        Err(words::by_server(&session.peer, &answer, text))
    }

    /// The handshake.
    pub async fn encrypt(
        &self,
        session: Session,
        nexthop: &str,
        voice: &events::Source,
    ) -> Result<Session, Status> {
        let peer = session.peer.clone();
        let relay = peer.relay.clone();
        if self.loglevel >= 2 {
            voice.say(&SettingUpTls { relay: relay.clone() });
        }
        let key = format!("{}&{nexthop}&{relay}&{}&{:?}", self.service, self.server_name, self.level);
        let wish = Wish {
            session: &key,
            server_name: self.name_for(&peer, nexthop),
            protocols: self.protocols,
            judge: self.loglevel >= 1,
            limit: self.limit,
        };
        let changed = session.exchange(async |stream| match stream {
            net::Stream::Plain(io) => {
                let connected = Box::pin(self.connector.connect(io, &wish)).await?;
                for what in connected.trouble {
                    voice.say(&Doubt { what: format!("cannot load Certification Authority data, {what}") });
                }
                let summary = connected.summary;
                if let Some(seen) = summary.peer.as_ref().filter(|_| self.loglevel >= 2) {
                    let (subject, issuer) = (seen.subject.clone(), seen.issuer.clone());
                    let (fingerprint, key) = (seen.fingerprint.clone(), seen.key_fingerprint.clone());
                    voice.say(&PeerCertificate { relay: relay.clone(), subject, issuer, fingerprint, key });
                }
                if self.loglevel >= 1 {
                    let (trust, relay) = (summary.trust, relay.clone());
                    voice.say(&TlsEstablished { trust, relay, summary: summary.to_string() });
                }
                Ok(connected.stream)
            }
            encrypted => Ok::<_, Failure>(encrypted),
        });
        changed.await.map_err(|failure| {
            let what = match &failure {
                Failure::Timeout | Failure::Lost => failure.to_string(),
                Failure::Handshake(_) | Failure::Unusable(_) => "-1".into(),
            };
            voice.say(&TlsFailed { relay: peer.relay.clone(), what });
            if let Failure::Handshake(what) | Failure::Unusable(what) = failure {
                voice.say(&TlsLibrary { what });
            }
            Status::new(Code(4, 7, 5), "Cannot start TLS: handshake failure")
        })
    }
}
