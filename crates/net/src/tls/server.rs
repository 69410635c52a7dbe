//! Being connected to with TLS.

use super::certificate::{Certificate, Item, Key, read_pem};
use super::{Failure, Protocols, SEEN, Seen, Summary, Trust, note, provider};
use crate::Stream;
use rustls::crypto::aws_lc_rs::{Ticketer, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// What is buffered for one connection stays below this.
const BUFFER: usize = 64 * 1024;

/// Where a server's certificates and keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A certificate with its chain, and its key; both may be in one file.
    Pair {
        /// What the certificate is called in messages: `RSA`, `ECDSA`.
        kind: &'static str,
        /// Certificates.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Files with keys, each followed by its certificate and chain.
    Chains(Vec<PathBuf>),
}

/// What is wrong with certificates or keys: words for the log, with the file and the remedy.
pub type Trouble = String;

/// Accepts encrypted connections.
pub struct Acceptor(tokio_rustls::TlsAcceptor);

impl Acceptor {
    /// Reads certificates and keys. `open` opens files, also those that only root may read.
    pub fn load(
        identities: &[Identity],
        protocols: Protocols,
        open: &dyn Fn(&Path) -> io::Result<File>,
    ) -> Result<Acceptor, Trouble> {
        let mut all = Vec::new();
        for identity in identities {
            match identity {
                Identity::Pair { kind, certificate, key } => all.push(pair(kind, certificate, key, open)?),
                Identity::Chains(files) => all.extend(chains(files, open)?),
            }
        }
        if all.is_empty() {
            return Err("no certificate is configured: set smtpd_tls_cert_file and smtpd_tls_key_file".into());
        }
        let versions = protocols.versions();
        if versions.is_empty() {
            return Err("smtpd_tls_protocols allows neither TLSv1.2 nor TLSv1.3: allow one".into());
        }
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Keys(all)));
        // Tickets carry the sessions; nothing is kept here.
        config.ticketer = Ticketer::new().map_err(|e| e.to_string())?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Acceptor(Arc::new(config).into()))
    }

    /// Makes `io` an encrypted connection, within `limit`.
    pub async fn accept<IO>(&self, io: IO, limit: Duration) -> Result<(Stream<IO>, Summary), Failure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            let accepting = self.0.accept_with(io, |c| c.set_buffer_limit(Some(BUFFER)));
            let done = tokio::time::timeout(limit, accepting).await;
            let stream = done.map_err(|_| Failure::Timeout)?.map_err(Failure::from)?;
            Ok::<_, Failure>((stream, SEEN.with(|seen| seen.take())))
        };
        let (stream, seen) = SEEN.scope(RefCell::new(Seen::default()), handshake).await?;
        let summary = Summary::new(stream.get_ref().1, &seen, Trust::Anonymous, seen.key.as_ref());
        Ok((Stream::Tls(Box::new(stream.into())), summary))
    }
}

fn pair(
    kind: &str,
    certificate: &Path,
    key: &Path,
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<Own, Trouble> {
    let what = |what: &str, path: &Path, why: &str| {
        format!("cannot get {kind} {what} from file \"{}\": {why}: disabling TLS support", path.display())
    };
    let items = open(certificate).and_then(read_pem);
    let items = items.map_err(|e| what("certificate", certificate, &reason(&e)))?;
    let chain = certificates(items);
    if chain.is_empty() {
        return Err(what("certificate", certificate, "it holds no certificate in PEM format"));
    }
    let items = open(key).and_then(read_pem).map_err(|e| what("private key", key, &reason(&e)))?;
    let key_der = items.into_iter().find_map(|item| if let Item::Key(k) = item { Some(k) } else { None });
    let missing = "it holds no unencrypted private key in PEM format";
    let der = key_der.ok_or_else(|| what("private key", key, missing))?;
    Own::new(chain, &der).map_err(|why| what("private key", key, &why))
}

fn chains(files: &[PathBuf], open: &dyn Fn(&Path) -> io::Result<File>) -> Result<Vec<Own>, Trouble> {
    let (mut all, mut current): (Vec<Own>, Option<(PathBuf, PrivateKeyDer<'static>)>) = (Vec::new(), None);
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    let fault = |path: &Path, why: &str| {
        format!("error loading chain from {}: {why}: disabling TLS support", path.display())
    };
    let mut finish = |current: &mut Option<(PathBuf, PrivateKeyDer<'static>)>,
                      chain: &mut Vec<CertificateDer<'static>>|
     -> Result<(), Trouble> {
        let Some((path, key)) = current.take() else { return Ok(()) };
        if chain.is_empty() {
            return Err(fault(&path, "no certificate follows the key"));
        }
        all.push(Own::new(std::mem::take(chain), &key).map_err(|why| fault(&path, &why))?);
        Ok(())
    };
    for path in files {
        for item in open(path).and_then(read_pem).map_err(|e| fault(path, &reason(&e)))? {
            match item {
                Item::Key(key) => {
                    finish(&mut current, &mut chain)?;
                    current = Some((path.clone(), key));
                }
                Item::Certificate(_) if current.is_none() => {
                    return Err(fault(path, "a certificate comes before its key; put the key first"));
                }
                Item::Certificate(der) => chain.push(der),
            }
        }
    }
    finish(&mut current, &mut chain)?;
    Ok(all)
}

fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::PermissionDenied => {
            "Permission denied; root must own it and every directory above it, and nobody else may write there".into()
        }
        _ => crate::plain(e),
    }
}

fn certificates(items: Vec<Item>) -> Vec<CertificateDer<'static>> {
    let certificates = items.into_iter().filter_map(|item| match item {
        Item::Certificate(der) => Some(der),
        Item::Key(_) => None,
    });
    certificates.collect()
}

/// A key with its certificates.
#[derive(Debug)]
struct Own {
    certified: Arc<CertifiedKey>,
}

impl Own {
    fn new(chain: Vec<CertificateDer<'static>>, der: &PrivateKeyDer<'_>) -> Result<Own, String> {
        let unusable =
            |e: rustls::Error| format!("the key cannot be used ({e}); RSA keys need 2048 to 8192 bits");
        let inner = any_supported_type(der).map_err(unusable)?;
        let kind = chain.first().and_then(|c| Certificate::read(c)).map_or(Key::Other, |c| c.key);
        let certified = CertifiedKey::new(chain, Arc::new(Noting { inner, kind }));
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err("key and certificate do not belong together".into()),
        }
        Ok(Own { certified: Arc::new(certified) })
    }
}

/// A key that notes how it signs.
#[derive(Debug)]
struct Noting {
    inner: Arc<dyn SigningKey>,
    kind: Key,
}

impl SigningKey for Noting {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        // The client's order counts, as for OpenSSL's servers.
        let signer = offered.iter().find_map(|s| self.inner.choose_scheme(std::slice::from_ref(s)))?;
        note(|seen| (seen.scheme, seen.key) = (Some(signer.scheme()), Some(self.kind.clone())));
        Some(signer)
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.inner.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.algorithm()
    }
}

/// The keys of a server. The client's favourite signature decides which is used.
#[derive(Debug)]
struct Keys(Vec<Own>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |scheme: &SignatureScheme| {
            self.0.iter().find(|own| own.certified.key.choose_scheme(std::slice::from_ref(scheme)).is_some())
        };
        let own = hello.signature_schemes().iter().find_map(fits).or(self.0.first())?;
        Some(own.certified.clone())
    }
}
