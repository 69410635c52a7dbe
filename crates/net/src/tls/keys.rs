//! A server's certificates with their keys: read from files, chosen by what the client can verify.

use super::certificate::{Certificate, Item, Key, read_pem};
use super::note;
use super::reader::{Reader, Say, Trouble};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

impl Identity {
    pub(super) fn read(&self, reader: &mut Reader<'_>) -> Result<Vec<Own>, Trouble> {
        match self {
            Identity::Pair { kind, certificate, key } => {
                pair(kind, certificate, key, reader).map(|own| vec![own])
            }
            Identity::Chains(files) => chains(files, reader),
        }
    }
}

/// Why a key cannot be used.
enum Fault {
    /// It is of another kind than the certificate's.
    OtherKind,
    /// Words.
    Because(String),
}

fn pair(kind: &str, certificate: &Path, key: &Path, reader: &mut Reader<'_>) -> Result<Own, Trouble> {
    let what = |what: &str, path: &Path, why: String| {
        let line =
            format!("cannot get {kind} {what} from file \"{}\": disabling TLS support", path.display());
        vec![Say::Warning(line), Say::Library(why)]
    };
    let items = reader.open(certificate).and_then(read_pem);
    let items = items.map_err(|e| what("certificate", certificate, reason(&e)))?;
    let chain = certificates(items);
    if chain.is_empty() {
        return Err(what("certificate", certificate, "no certificate in PEM format is in the file".into()));
    }
    let items = reader.open(key).and_then(read_pem);
    let items = items.map_err(|e| what("private key", key, reason(&e)))?;
    let missing = "no private key in PEM format is in the file";
    let der = items.into_iter().find_map(|item| if let Item::Key(k) = item { Some(k) } else { None });
    let der = der.ok_or_else(|| what("private key", key, missing.into()))?;
    Own::new(chain, &der).map_err(|fault| match fault {
        Fault::Because(why) => what("private key", key, why),
        Fault::OtherKind => vec![Say::Warning(format!(
            "{kind} private key in {} does not match public key in {}: disabling TLS support",
            key.display(),
            certificate.display()
        ))],
    })
}

fn chains(files: &[PathBuf], reader: &mut Reader<'_>) -> Result<Vec<Own>, Trouble> {
    let mut items = Vec::new();
    for path in files {
        let read = match reader.open(path) {
            Ok(file) => read_pem(file).map_err(|e| {
                vec![Say::Warning(format!("error loading chain from {}: {}", path.display(), reason(&e)))]
            }),
            Err(e) => {
                let line = format!("error opening chain file: {}: {}", path.display(), reason(&e));
                Err(vec![Say::Warning(line)])
            }
        };
        let read = read.map_err(|trouble| disabled(trouble, files))?;
        if read.is_empty() {
            let line = format!("No PEM data in {}", path.display());
            return Err(disabled(vec![Say::Warning(line)], files));
        }
        items.extend(read.into_iter().map(|item| (path.as_path(), item)));
    }
    in_order(items).map_err(|trouble| disabled(trouble, files))
}

fn disabled(mut trouble: Trouble, files: &[PathBuf]) -> Trouble {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    trouble.push(Say::Warning(format!(
        "error loading private keys and certificates from: {}: disabling TLS support",
        names.join(", ")
    )));
    trouble
}

/// Keys, each followed by its certificate and chain.
pub(super) fn in_order(items: Vec<(&Path, Item)>) -> Result<Vec<Own>, Trouble> {
    let (mut all, mut chain) = (Vec::new(), Vec::new());
    let mut current: Option<(&Path, usize, PrivateKeyDer<'static>)> = None;
    let warn = |line: String| vec![Say::Warning(line)];
    let mut finish = |current: Option<(&Path, usize, PrivateKeyDer<'static>)>,
                      chain: &mut Vec<CertificateDer<'static>>|
     -> Result<(), Trouble> {
        let Some((path, index, key)) = current else { return Ok(()) };
        if chain.is_empty() {
            return Err(warn(format!("No certs for key at index {index} in {}", path.display())));
        }
        let own = Own::new(std::mem::take(chain), &key).map_err(|fault| {
            let why = match fault {
                Fault::OtherKind => "key and certificate do not belong together".to_string(),
                Fault::Because(why) => why,
            };
            warn(format!("error loading chain from {}: {why}", path.display()))
        })?;
        all.push(own);
        Ok(())
    };
    for (place, (path, item)) in items.into_iter().enumerate() {
        match item {
            Item::Key(key) => {
                finish(current.take(), &mut chain)?;
                current = Some((path, place + 1, key));
            }
            Item::Certificate(_) if current.is_none() => {
                return Err(warn(format!("error loading chain from {}: key not first", path.display())));
            }
            Item::Certificate(der) => chain.push(der),
        }
    }
    finish(current, &mut chain)?;
    Ok(all)
}

fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
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
pub(super) struct Own {
    certified: Arc<CertifiedKey>,
}

impl Own {
    fn new(chain: Vec<CertificateDer<'static>>, der: &PrivateKeyDer<'_>) -> Result<Own, Fault> {
        let unusable = |e: rustls::Error| {
            Fault::Because(format!("the key cannot be used ({e}); RSA keys need 2048 to 8192 bits"))
        };
        let inner = any_supported_type(der).map_err(unusable)?;
        let Some(leaf) = chain.first().and_then(|c| Certificate::read(c)) else {
            return Err(Fault::Because("the certificate cannot be read".into()));
        };
        let fits = match leaf.key {
            Key::Rsa(_) => inner.algorithm() == SignatureAlgorithm::RSA,
            Key::Ecdsa(_) => inner.algorithm() == SignatureAlgorithm::ECDSA,
            Key::Ed25519 => inner.algorithm() == SignatureAlgorithm::ED25519,
            Key::Other => true,
        };
        if !fits {
            return Err(Fault::OtherKind);
        }
        let certified = CertifiedKey::new(chain, Arc::new(Noting { inner, kind: leaf.key }));
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(Fault::Because("key and certificate do not belong together".into())),
        }
        Ok(Own { certified: Arc::new(certified) })
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The certificate itself.
    pub(super) fn leaf(&self) -> Option<Certificate> {
        self.certified.cert.first().and_then(|c| Certificate::read(c))
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

/// Keys of a server for one name. The client's favourite signature decides which is used.
#[derive(Debug)]
pub(super) struct Keys(pub(super) Vec<Own>);

impl Keys {
    pub(super) fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |scheme: &SignatureScheme| {
            self.0.iter().find(|own| own.certified.key.choose_scheme(std::slice::from_ref(scheme)).is_some())
        };
        let own = hello.signature_schemes().iter().find_map(fits).or(self.0.first())?;
        Some(own.certified.clone())
    }
}
