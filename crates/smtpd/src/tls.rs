//! Encryption of sessions: what a listener offers, and STARTTLS itself. RFC 3207.

use crate::backend::Backend;
use crate::events::*;
use crate::session::Session;
use config::params::tls::SmtpdTls;
use config::{Config, Problem};
use net::Stream;
use net::tls::server::{Acceptor, Identity};
use net::tls::{Failure, Protocols, Summary};
use proto::smtp::server::{Settings, Starttls};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use tables::Types;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a listener uses encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    None,
    May,
    Encrypt,
}

/// What a listener obeys of it.
pub(crate) struct Tls {
    level: Level,
    pub(crate) loglevel: i64,
    pub(crate) received_header: bool,
    limit: Duration,
    protocols: Protocols,
    identities: Vec<Identity>,
    types: Types,
    /// Certificates and keys, read when the first client comes.
    acceptor: OnceLock<Option<Acceptor>>,
}

impl Tls {
    pub(crate) fn load(config: &Config, types: &Types, source: &events::Source) -> Result<Tls, Vec<Problem>> {
        let p = SmtpdTls::load(config)?;
        let level = match p.smtpd_tls_security_level().to_ascii_lowercase().as_str() {
            "" if *p.smtpd_enforce_tls() => Level::Encrypt,
            "" if *p.smtpd_use_tls() => Level::May,
            "" | "none" => Level::None,
            "may" => Level::May,
            "encrypt" => Level::Encrypt,
            other @ ("dane" | "dane-only" | "fingerprint" | "verify" | "secure") => {
                source.say(&ClientLevel { level: other.into() });
                Level::Encrypt
            }
            other => {
                let name = "smtpd_tls_security_level";
                let problem = Problem::of(name, format!("bad value {other:?}"), "write none, may or encrypt");
                return Err(vec![config.placed(name, problem)]);
            }
        };
        let (name, words) = match level {
            Level::Encrypt => ("smtpd_tls_mandatory_protocols", p.smtpd_tls_mandatory_protocols()),
            _ => ("smtpd_tls_protocols", p.smtpd_tls_protocols()),
        };
        let protocols = Protocols::parse(&words.0).map_err(|word| {
            let remedy = "write >=TLSv1.2, or names such as TLSv1.3, with ! before those not wanted";
            vec![config.placed(name, Problem::of(name, format!("unknown protocol {word:?}"), remedy))]
        })?;
        Ok(Tls {
            level,
            loglevel: *p.smtpd_tls_loglevel(),
            received_header: *p.smtpd_tls_received_header(),
            limit: *p.smtpd_starttls_timeout(),
            protocols,
            identities: identities(&p),
            types: types.clone(),
            acceptor: OnceLock::new(),
        })
    }

    /// Reads certificates and keys, the first time; why they cannot be used is said then.
    fn acceptor(&self, source: &events::Source) -> Option<&Acceptor> {
        let load = || {
            let open = |path: &std::path::Path| self.types.open_file(path);
            Acceptor::load(&self.identities, self.protocols, &open)
                .map_err(|what| source.say(&NoTls { what }))
                .ok()
        };
        self.acceptor.get_or_init(load).as_ref()
    }

    /// Clients may encrypt.
    pub(crate) fn is_possible(&self) -> bool {
        self.level != Level::None
    }

    /// Clients must encrypt.
    pub(crate) fn is_required(&self) -> bool {
        self.level == Level::Encrypt
    }

    /// Tells the machine what to offer.
    pub(crate) fn offer(&self, settings: &mut Settings, source: &events::Source) {
        settings.encrypted_only = self.level == Level::Encrypt;
        settings.starttls = match self.level {
            Level::None => Starttls::Absent,
            _ if self.acceptor(source).is_some() => Starttls::Offered,
            _ => Starttls::Broken,
        };
    }
}

fn identities(p: &SmtpdTls) -> Vec<Identity> {
    let files = &p.smtpd_tls_chain_files().0;
    if !files.is_empty() {
        return vec![Identity::Chains(files.iter().map(PathBuf::from).collect())];
    }
    let pairs = [
        ("RSA", p.smtpd_tls_cert_file(), p.smtpd_tls_key_file()),
        ("ECDSA", p.smtpd_tls_eccert_file(), p.smtpd_tls_eckey_file()),
    ];
    let named = pairs.into_iter().filter(|(_, certificate, _)| !matches!(certificate.as_str(), "" | "none"));
    named
        .map(|(kind, certificate, key)| Identity::Pair {
            kind,
            certificate: certificate.into(),
            key: key.into(),
        })
        .collect()
}

impl<B: Backend> Session<B> {
    /// The handshake after STARTTLS; `None` when it failed, and with it the session.
    pub(crate) async fn encrypt<IO>(&mut self, io: IO) -> Option<Stream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let service = self.service.clone();
        let (tls, client) = (&service.tls, self.label.clone());
        let acceptor = tls.acceptor(&self.source)?;
        if tls.loglevel >= 2 {
            self.source.say(&SettingUpTls { client: client.clone() });
        }
        // Apart from the session, which is small while it waits for commands.
        match Box::pin(acceptor.accept(io, tls.limit)).await {
            Ok((stream, summary)) => {
                self.encrypted(summary);
                Some(stream)
            }
            Err(failure) => {
                self.tell_failure(client, &failure);
                None
            }
        }
    }

    /// Nothing of what the client said before counts (RFC 3207 4.2).
    fn encrypted(&mut self, summary: Summary) {
        if self.service.tls.loglevel >= 1 {
            let (client, trust) = (self.label.clone(), summary.trust);
            self.source.say(&TlsEstablished { trust, client, summary: summary.to_string() });
        }
        (self.helo, self.extended, self.pipelined, self.login) = (None, false, false, None);
        self.mechanisms = None;
        self.forget();
        self.tls = Some(Box::new(summary));
    }

    fn tell_failure(&self, client: String, failure: &Failure) {
        let what = match failure {
            Failure::Timeout | Failure::Lost => failure.to_string(),
            Failure::Handshake(_) | Failure::Unusable(_) => "-1".into(),
        };
        self.source.say(&TlsFailed { client, what });
        if let Failure::Handshake(what) | Failure::Unusable(what) = failure {
            self.source.say(&TlsLibrary { what: what.clone() });
        }
    }

    /// The lines about encryption in a Received header.
    pub(crate) fn tls_received(&self) -> Vec<String> {
        let Some(summary) = self.tls.as_ref().filter(|_| self.service.tls.received_header) else {
            return Vec::new();
        };
        let mut lines = summary.received();
        lines.push("(No client certificate requested)".into());
        lines
    }
}
