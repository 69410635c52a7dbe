//! Connecting with TLS.
//!
//! So far nobody is authenticated (levels may and encrypt): every certificate is taken. A level that
//! does authenticate adds a verifier of its own beside [`Unauthenticated`] and a variant to [`Wish`];
//! sessions are kept apart by [`Wish::session`], which must name the policy.

use super::certificate::{Certificate, Key};
pub use super::roots::Authorities;
use super::sessions::Sessions;
use super::verifier::Unauthenticated;
use super::{Failure, Protocols, SEEN, Seen, Summary, Trust, provider};
use crate::Stream;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;

/// Larger chains and replies of servers are refused by the library; what is buffered for one
/// connection stays below this.
const BUFFER: usize = 64 * 1024;

/// What a connection should be like.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Whose sessions may be resumed: service, destination and policy.
    pub session: &'a str,
    /// The name to ask the server for (SNI); Postfix tells none unless told to.
    pub server_name: Option<&'a str>,
    /// The protocol versions allowed.
    pub protocols: Protocols,
    /// Find out whether the server's chain verifies, for the log.
    pub judge: bool,
    /// How long it may take.
    pub limit: Duration,
}

/// Makes encrypted connections. Cheap to make; what is large is read when first needed.
pub struct Connector {
    authorities: Authorities,
    read: OnceCell<Vec<String>>,
    verifier: Arc<Unauthenticated>,
    sessions: Arc<Sessions>,
    configs: Mutex<Vec<(Protocols, Arc<ClientConfig>)>>,
}

impl Connector {
    /// A connector that judges by these authorities.
    pub fn new(authorities: Authorities) -> Connector {
        Connector {
            authorities,
            read: OnceCell::new(),
            verifier: Arc::new(Unauthenticated::new()),
            sessions: Arc::default(),
            configs: Mutex::default(),
        }
    }

    /// Reads the authorities, once; what could not be read is returned the first time.
    async fn authorities(&self) -> Vec<String> {
        let mut first = Vec::new();
        let read = async {
            let authorities = self.authorities.clone();
            let loaded = tokio::task::spawn_blocking(move || authorities.load()).await;
            let (anchors, trouble) = loaded.unwrap_or_default();
            let _ = self.verifier.anchors.set(anchors);
            first = trouble;
            Vec::new()
        };
        self.read.get_or_init(|| read).await;
        first
    }

    fn config(&self, protocols: Protocols) -> Result<Arc<ClientConfig>, Failure> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = configs.iter().find(|(p, _)| *p == protocols) {
            return Ok(config.clone());
        }
        let versions = protocols.versions();
        if versions.is_empty() {
            return Err(Failure::Unusable("no protocol version is allowed that there is".into()));
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)
            .map_err(|e| Failure::Unusable(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_no_client_auth();
        let config = Arc::new(config);
        configs.push((protocols, config.clone()));
        Ok(config)
    }

    /// Makes `io` an encrypted connection.
    pub async fn connect<IO>(&self, io: IO, wish: &Wish<'_>) -> Result<Connected<IO>, Failure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let trouble = match wish.judge && !self.authorities.is_empty() {
            true => self.authorities().await,
            false => Vec::new(),
        };
        let own = self.sessions.of(wish.session);
        let mut config = ClientConfig::clone(&*self.config(wish.protocols)?);
        config.resumption = Resumption::store(own.clone());
        let name = wish.server_name.and_then(|n| ServerName::try_from(n.to_string()).ok());
        // An address is never told to the server.
        let name = name.unwrap_or_else(|| ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let handshake = async {
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let connecting = connector.connect_with(name, io, |c| c.set_buffer_limit(Some(BUFFER)));
            let done = tokio::time::timeout(wish.limit, connecting).await;
            let stream = done.map_err(|_| Failure::Timeout)?.map_err(Failure::from)?;
            Ok::<_, Failure>((stream, SEEN.with(|seen| seen.take())))
        };
        let (stream, seen) = SEEN.scope(RefCell::new(Seen::default()), handshake).await?;
        let state = stream.get_ref().1;
        let trusted = match &seen.trust {
            Some(finding) => {
                own.set_trusted(finding.trusted);
                finding.trusted
            }
            None => own.trusted(),
        };
        let trust = if trusted { Trust::Trusted } else { Trust::Untrusted };
        let der = state.peer_certificates().and_then(<[_]>::first);
        let certificate = der.and_then(|der| Certificate::read(der));
        let key: Option<&Key> = certificate.as_ref().map(|c| &c.key);
        let mut summary = Summary::new(state, &seen, trust, key);
        if let (Some(certificate), Some(der)) = (&certificate, der) {
            summary.show(certificate, der);
        }
        Ok(Connected { stream: Stream::Tls(Box::new(stream.into())), summary, trouble })
    }
}

/// An encrypted connection to a server.
#[derive(Debug)]
pub struct Connected<IO> {
    /// The connection.
    pub stream: Stream<IO>,
    /// What was negotiated.
    pub summary: Summary,
    /// What of `smtp_tls_CAfile` and its like could not be read: told once.
    pub trouble: Vec<String>,
}
