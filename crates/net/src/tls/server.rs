//! Being connected to with TLS.
//!
//! An [`Acceptor`] has one configuration of the library for its whole life; what changes in it
//! (certificates that were renewed, keys of tickets) is behind it. `chooser` finds the certificate, `guests` judges those of
//! clients; what they find is noted in [`SEEN`] and told by [`Accepted`].

use super::certificate::Certificate;
use super::chooser::Chooser;
pub use super::chooser::LookUp;
pub use super::ciphers::Ciphers;
pub use super::digest::Digest;
pub use super::guests::Guests;
use super::guests::Judge;
pub use super::keys::Identity;
pub use super::reader::{Opener, Say, Trouble};
pub use super::stand_in::StandIn;
use super::{Failure, Protocols, SEEN, Seen, Summary, Trust};
use crate::Stream;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::ticketer::TicketRotator;
use rustls::{HandshakeKind, ServerConfig};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// What is buffered for one connection stays below this.
const BUFFER: usize = 64 * 1024;

/// How long tickets live at least, as in Postfix, and at most, RFC 8446 4.6.1; in seconds.
const SHORTEST: u32 = 120;
const LONGEST: u32 = 7 * 86_400;

/// What a server's side is like.
pub struct Setup {
    /// Its certificates.
    pub identities: Vec<Identity>,
    /// What it makes for itself where it has none.
    pub stand_in: Option<StandIn>,
    /// Certificates for names that clients ask for.
    pub names: Option<Arc<LookUp>>,
    /// Protocol versions.
    pub protocols: Protocols,
    /// Cipher suites.
    pub ciphers: Ciphers,
    /// Clients are asked for certificates.
    pub guests: Option<Guests>,
    /// How their fingerprints are made.
    pub digest: Digest,
    /// How long a session can be taken up again; `None` for never.
    pub tickets: Option<Duration>,
    /// The server's order of cipher suites counts, and not the client's.
    pub prefers: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            identities: Vec::new(),
            stand_in: None,
            names: None,
            protocols: Protocols::ALL,
            ciphers: Ciphers::default(),
            guests: None,
            digest: Digest::Sha256,
            tickets: Some(Duration::from_secs(3600)),
            prefers: false,
        }
    }
}

/// Accepts encrypted connections.
pub struct Acceptor {
    tls: tokio_rustls::TlsAcceptor,
    judge: Option<Arc<Judge>>,
    digest: Digest,
}

/// A connection, or why there is none.
pub struct Accepted<IO> {
    /// The connection, and what was negotiated.
    pub outcome: Result<(Stream<IO>, Summary), Failure>,
    /// A name that the client asked for and there is no certificate for.
    pub unmatched: Option<String>,
    /// Why the client's chain does not verify; `{client}` stands for the client.
    pub untrusted: Option<String>,
    /// Further lines for the log.
    pub says: Vec<Say>,
}

impl Acceptor {
    /// Reads certificates and keys. `open` opens files, also those that only root may read.
    pub fn load(setup: &Setup, open: Arc<Opener>) -> Result<(Acceptor, Vec<Say>), Trouble> {
        let provider = setup.ciphers.provider();
        let old = provider.cipher_suites.iter().any(|s| s.tls13().is_none());
        let protocols = Protocols { tls12: setup.protocols.tls12 && old, ..setup.protocols };
        let versions = protocols.versions();
        let warn = |line: &str| vec![Say::Warning(format!("{line}: disabling TLS support"))];
        if versions.is_empty() {
            return Err(warn("neither TLSv1.2 nor TLSv1.3 is allowed, and there is no other"));
        }
        let (chooser, says) =
            Chooser::load(&setup.identities, setup.stand_in.as_ref(), setup.names.clone(), open)?;
        let judge = match &setup.guests {
            Some(guests) => Some(Arc::new(Judge::new(guests).map_err(|why| {
                let file = guests.authorities.file.as_ref().map(|f| f.display().to_string());
                let file = file.unwrap_or_default();
                let line = format!("cannot load Certification Authority data, CAfile=\"{file}\"");
                vec![Say::Info(format!("{line}: disabling TLS support")), Say::Library(why)]
            })?)),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
        let builder = builder.map_err(|e| warn(&e.to_string()))?;
        let builder = match judge.clone() {
            Some(judge) => builder.with_client_cert_verifier(judge),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(chooser));
        // Tickets carry the sessions; nothing is kept here.
        config.ignore_client_order = setup.prefers;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match setup.tickets {
            Some(life) => {
                config.ticketer = tickets(life).map_err(|e| warn(&e))?;
                config.send_tls13_tickets = 1;
            }
            None => config.send_tls13_tickets = 0,
        }
        let acceptor = Acceptor { tls: Arc::new(config).into(), judge, digest: setup.digest };
        Ok((acceptor, says))
    }

    /// Makes `io` an encrypted connection, within `limit`.
    pub async fn accept<IO>(&self, io: IO, limit: Duration) -> Accepted<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            let accepting = self.tls.accept_with(io, |c| c.set_buffer_limit(Some(BUFFER)));
            let done = tokio::time::timeout(limit, accepting).await;
            let done = done.map_err(|_| Failure::Timeout).and_then(|done| done.map_err(failure));
            (done, SEEN.with(|seen| seen.take()))
        };
        let (done, mut seen) = SEEN.scope(RefCell::new(Seen::default()), handshake).await;
        let outcome = done.map(|stream| {
            let summary = self.summary(stream.get_ref().1, &mut seen);
            (Stream::Tls(Box::new(stream.into())), summary)
        });
        Accepted {
            outcome,
            unmatched: seen.unmatched,
            untrusted: seen.guest.and_then(Result::err),
            says: seen.says,
        }
    }

    fn summary(&self, state: &rustls::ServerConnection, seen: &mut Seen) -> Summary {
        let chain = state.peer_certificates().unwrap_or_default();
        let shown = chain.split_first().and_then(|(der, rest)| Some((der, rest, Certificate::read(der)?)));
        // A session that goes on shows the certificate it began with: is it still good?
        if let (None, Some(judge), Some((der, rest, _))) = (&seen.guest, &self.judge, &shown) {
            seen.guest = Some(judge.judge(der, rest, UnixTime::now()));
        }
        let trust = match (&shown, &seen.guest) {
            (None, _) => Trust::Anonymous,
            (Some(_), Some(Ok(()))) => Trust::Trusted,
            (Some(_), _) => Trust::Untrusted,
        };
        let key = seen.key.clone();
        let mut summary = Summary::new(state, seen, trust, key.as_ref());
        if let Some((der, _, certificate)) = &shown {
            summary.show_by(certificate, der, self.digest);
            let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
            summary.show_signature(&certificate.key, seen.guest_scheme.filter(|_| !resumed));
        }
        summary.name = seen.name.take();
        summary
    }
}

/// Why a handshake failed: OpenSSL's words, which those who look for them know, and the library's.
fn failure(e: std::io::Error) -> Failure {
    let known = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).and_then(openssl);
    match (known, Failure::from(e)) {
        (Some(words), Failure::Handshake(why)) => Failure::Handshake(format!("error:{words}: {why}")),
        (_, failure) => failure,
    }
}

fn openssl(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, Error, InvalidMessage, PeerIncompatible as Peer};
    Some(match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "0A00010B:SSL routines::wrong version number",
        Error::PeerIncompatible(
            Peer::SignatureAlgorithmsExtensionRequired
            | Peer::Tls12NotOffered
            | Peer::Tls12NotOfferedOrEnabled
            | Peer::SupportedVersionsExtensionRequired
            | Peer::ServerDoesNotSupportTls12Or13,
        ) => "0A000102:SSL routines::unsupported protocol",
        Error::PeerIncompatible(
            Peer::NoCipherSuitesInCommon | Peer::NoKxGroupsInCommon | Peer::NoSignatureSchemesInCommon,
        ) => "0A0000C1:SSL routines::no shared cipher",
        Error::AlertReceived(Alert::UnknownCA) => "0A000418:SSL routines::tlsv1 alert unknown ca",
        Error::AlertReceived(Alert::BadCertificate) => "0A000412:SSL routines::sslv3 alert bad certificate",
        Error::AlertReceived(Alert::CertificateExpired) => {
            "0A000415:SSL routines::sslv3 alert certificate expired"
        }
        Error::AlertReceived(Alert::CertificateUnknown) => {
            "0A000416:SSL routines::sslv3 alert certificate unknown"
        }
        Error::AlertReceived(Alert::HandshakeFailure) => {
            "0A000410:SSL routines::sslv3 alert handshake failure"
        }
        Error::AlertReceived(Alert::ProtocolVersion) => "0A00042E:SSL routines::tlsv1 alert protocol version",
        _ => return None,
    })
}

/// Makes tickets; the key that encrypts them changes once in `life`, and the one before it still opens its own.
fn tickets(life: Duration) -> Result<Arc<dyn ProducesTickets>, String> {
    #[derive(Debug)]
    struct Key(Arc<dyn ProducesTickets>);
    impl ProducesTickets for Key {
        fn enabled(&self) -> bool {
            self.0.enabled()
        }
        fn lifetime(&self) -> u32 {
            self.0.lifetime()
        }
        fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
            self.0.encrypt(plain)
        }
        fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
            self.0.decrypt(ticket)
        }
    }
    let life = u32::try_from(life.as_secs()).unwrap_or(u32::MAX).clamp(SHORTEST, LONGEST);
    let made = TicketRotator::new(life, || match Ticketer::new() {
        Ok(key) => Ok(Box::new(Key(key))),
        Err(_) => Err(GetRandomFailed),
    });
    made.map(|rotator| Arc::new(rotator) as Arc<dyn ProducesTickets>).map_err(|e| e.to_string())
}
