//! Connecting with TLS.
//!
//! Who is at the other end is judged after the handshake ([`Connected::judgement`]) by what the caller
//! wishes to have proved ([`Wish::proof`]); it is the caller who then goes on, or does not. Sessions are
//! kept apart by [`Wish::session`], which must name the policy.

use super::certificate::{Certificate, Key};
use super::ciphers::Ciphers;
use super::keys::Identity;
use super::presents::Presents;
use super::proof::{Judgement, Manner, Proof, judge};
use super::reader::{Opener, Trouble};
pub use super::roots::{Anchors, Authorities, Roots};
use super::sessions::Sessions;
use super::verifier::Signatures;
use super::{Failure, Protocols, SEEN, Seen, Summary, Trust};
use crate::Stream;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;

/// Configurations of the library that are kept.
const MOST_CONFIGS: usize = 32;
/// Larger chains and replies of servers are refused by the library; what is buffered for one
/// connection stays below this.
const BUFFER: usize = 64 * 1024;

/// What a connection should be like.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Whose sessions may be resumed: service, destination and policy. What differs in any of the
    /// fields below, or in who must be proved to be there, must differ in it.
    pub session: &'a str,
    /// The name to ask the server for (SNI); Postfix tells none unless told to.
    pub server_name: Option<&'a str>,
    /// The protocol versions allowed.
    pub protocols: Protocols,
    /// The ciphers allowed.
    pub ciphers: Ciphers,
    /// What the server must prove.
    pub proof: &'a Proof,
    /// By which authorities, where not by the connector's.
    pub roots: Option<&'a Roots>,
    /// How that is judged.
    pub manner: Manner,
    /// Look whether it is proved, but take a signature that cannot be checked, as if nothing was to be
    /// proved: for policies that are only tested.
    pub observe: bool,
    /// Find out whether the server's chain verifies though nothing is to be proved, for the log.
    pub judge: bool,
    /// How long it may take.
    pub limit: Duration,
}

impl<'a> Wish<'a> {
    /// A connection to nobody in particular.
    pub fn new(session: &'a str, limit: Duration) -> Wish<'a> {
        Wish {
            session,
            server_name: None,
            protocols: Protocols::ALL,
            ciphers: Ciphers::default(),
            proof: &Proof::Nothing,
            roots: None,
            manner: Manner::default(),
            observe: false,
            judge: false,
            limit,
        }
    }
}

/// What connections with one configuration of the library have in common.
type Common = (Protocols, Ciphers, bool);

/// Makes encrypted connections. Cheap to make; what is large is read when first needed.
pub struct Connector {
    roots: Roots,
    /// Not so strict, and strict.
    verifiers: [Arc<Signatures>; 2],
    sessions: Arc<Sessions>,
    /// What we show to servers that ask, and how its files are opened.
    identities: Vec<Identity>,
    open: Option<Arc<Opener>>,
    own: OnceCell<Option<Arc<Presents>>>,
    configs: Mutex<Vec<(Common, Arc<ClientConfig>)>>,
}

impl Connector {
    /// A connector that judges by these authorities.
    pub fn new(authorities: Authorities) -> Connector {
        Connector {
            roots: Roots::of(authorities),
            verifiers: [false, true].map(|strict| Arc::new(Signatures::new(strict))),
            sessions: Arc::default(),
            identities: Vec::new(),
            open: None,
            own: OnceCell::new(),
            configs: Mutex::default(),
        }
    }

    /// One that shows these certificates to servers that ask for one.
    pub fn showing(self, identities: Vec<Identity>, open: Arc<Opener>) -> Connector {
        Connector { identities, open: Some(open), ..self }
    }

    /// Reads our certificates, once. Where they cannot be used nothing is encrypted: then an error,
    /// whose lines are for who hears it first.
    pub async fn prepare(&self) -> Result<(), Trouble> {
        let Some(open) = self.open.clone().filter(|_| !self.identities.is_empty()) else { return Ok(()) };
        let mut first = Vec::new();
        let read = async {
            let identities = self.identities.clone();
            let loaded = tokio::task::spawn_blocking(move || Presents::load(&identities, &*open)).await;
            match loaded {
                Ok(Ok(presents)) => Some(Arc::new(presents)),
                Ok(Err(trouble)) => {
                    first = trouble;
                    None
                }
                Err(_) => None,
            }
        };
        match self.own.get_or_init(|| read).await {
            Some(_) => Ok(()),
            None => Err(first),
        }
    }

    fn config(&self, common: Common) -> Result<Arc<ClientConfig>, Failure> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = configs.iter().find(|(c, _)| *c == common) {
            return Ok(config.clone());
        }
        let (protocols, ciphers, strict) = common;
        let versions = protocols.versions();
        if versions.is_empty() {
            return Err(Failure::Unusable("no protocol version is allowed that there is".into()));
        }
        let [lax, exact] = &self.verifiers;
        let verifier = if strict { exact } else { lax };
        let builder = ClientConfig::builder_with_provider(ciphers.provider())
            .with_protocol_versions(&versions)
            .map_err(|e| Failure::Unusable(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let config = Arc::new(match self.own.get().and_then(Option::as_ref) {
            Some(own) => builder.with_client_cert_resolver(own.clone()),
            None => builder.with_no_client_auth(),
        });
        if configs.len() >= MOST_CONFIGS {
            configs.remove(0);
        }
        configs.push((common, config.clone()));
        Ok(config)
    }

    /// Makes `io` an encrypted connection.
    pub async fn connect<IO>(&self, io: IO, wish: &Wish<'_>) -> Result<Connected<IO>, Failure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if self.prepare().await.is_err() {
            return Err(Failure::Unusable("our own certificates cannot be used".into()));
        }
        let roots = wish.roots.unwrap_or(&self.roots);
        let judged_by_roots = match wish.proof {
            Proof::Nothing => wish.judge,
            Proof::Names(_) => true,
            Proof::Fingerprints(..) | Proof::Dane(..) => false,
        };
        let (anchors, trouble) = match judged_by_roots && !roots.is_empty() {
            true => roots.anchors().await,
            false => (Anchors::NONE, Vec::new()),
        };
        let own = self.sessions.of(wish.session);
        let mut config = ClientConfig::clone(&*self.config((
            wish.protocols,
            wish.ciphers,
            wish.proof.is_wanted() && !wish.observe,
        ))?);
        config.resumption = Resumption::store(own.clone());
        let name = wish.server_name.and_then(|n| ServerName::try_from(n.to_string()).ok());
        // An address is never told to the server.
        let name = name.unwrap_or_else(|| ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let handshake = async {
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let connecting = connector.connect_with(name, io, |c| c.set_buffer_limit(Some(BUFFER)));
            let done = tokio::time::timeout(wish.limit, connecting).await;
            let stream = done.map_err(|_| Failure::Timeout)?.map_err(reason)?;
            Ok::<_, Failure>((stream, SEEN.with(|seen| seen.take())))
        };
        let (stream, seen) = SEEN.scope(RefCell::new(Seen::default()), handshake).await?;
        let state = stream.get_ref().1;
        let chain = state.peer_certificates().unwrap_or_default();
        if seen.unproved {
            own.close();
        }
        let mut judgement = match wish.judge || wish.proof.is_wanted() {
            true => judge(wish.proof, chain, anchors, wish.manner, UnixTime::now()),
            false => Judgement::default(),
        };
        judgement.proved &= !seen.unproved;
        let trust = match () {
            () if chain.is_empty() => Trust::Anonymous,
            () if judgement.proved => Trust::Verified,
            () if judgement.trusted && !wish.proof.is_wanted() && !seen.unproved => Trust::Trusted,
            () => Trust::Untrusted,
        };
        let der = chain.first();
        let certificate = der.and_then(|der| Certificate::read(der));
        let key: Option<&Key> = certificate.as_ref().map(|c| &c.key);
        let mut summary = Summary::new(state, &seen, trust, key);
        if let Some(own) = &seen.key {
            summary.show_signature(own, seen.guest_scheme);
        }
        if let (Some(certificate), Some(der)) = (&certificate, der) {
            summary.show(certificate, der);
        }
        let chain = chain.to_vec();
        Ok(Connected {
            stream: Stream::Tls(Box::new(stream.into())),
            summary,
            judgement,
            signed: !seen.unproved,
            chain,
            trouble,
        })
    }
}

/// Why a handshake failed, with what the library does not say: what of ours the server has no use for.
fn reason(error: std::io::Error) -> Failure {
    let lacking = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
            "neither TLS 1.2 nor TLS 1.3 will do"
        }
        Some(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
            "nothing in common; TLS 1.2 and 1.3 with ECDHE and AEAD ciphers were offered"
        }
        Some(rustls::Error::General(what)) => return Failure::Handshake(what.clone()),
        _ => return Failure::from(error),
    };
    match Failure::from(error) {
        Failure::Handshake(why) => Failure::Handshake(format!("{why} ({lacking})")),
        other => other,
    }
}

/// An encrypted connection to a server.
#[derive(Debug)]
pub struct Connected<IO> {
    /// The connection.
    pub stream: Stream<IO>,
    /// What was negotiated.
    pub summary: Summary,
    /// What the server's certificates prove. **Nothing may be said on the connection before this was
    /// looked at, where a proof was wished for.**
    pub judgement: Judgement,
    /// The server has the key of its certificate. Where nothing is to be proved this may be unknown.
    pub signed: bool,
    /// The certificates, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What of `smtp_tls_CAfile` and its like could not be read: told once.
    pub trouble: Vec<String>,
}
