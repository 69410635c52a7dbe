//! The authorities that certificates are verified against: `smtp_tls_CAfile`, `smtp_tls_CApath`, and
//! with `tls_append_default_CA` the system's.

use super::certificate::{self, Certificate, Item, read_pem};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

/// Where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// A file of certificates.
    pub file: Option<PathBuf>,
    /// A directory of them, each named by its hash as OpenSSL does.
    pub path: Option<PathBuf>,
    /// The system's, too.
    pub system: bool,
    /// Files of certificates and public keys that are each trusted as they are, authority or not
    /// (`tafile`); then nothing else counts.
    pub only: Vec<PathBuf>,
}

/// What was read of them.
#[derive(Debug, Default)]
pub struct Anchors {
    /// Names with keys.
    pub list: Vec<TrustAnchor<'static>>,
    /// Keys in DER, whatever their owners are called.
    pub keys: Vec<Vec<u8>>,
}

impl Anchors {
    /// None.
    pub const NONE: &'static Anchors = &Anchors { list: Vec::new(), keys: Vec::new() };
}

/// Authorities that are read when they are first needed, and once.
#[derive(Debug, Default)]
pub struct Roots {
    authorities: Authorities,
    read: OnceCell<Anchors>,
}

impl Roots {
    /// Of these.
    pub fn of(authorities: Authorities) -> Roots {
        Roots { authorities, read: OnceCell::new() }
    }

    /// None are named: no chain can verify.
    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    /// What they are; what could not be read is told to who asks first.
    pub async fn anchors(&self) -> (&Anchors, Vec<String>) {
        let mut first = Vec::new();
        let read = async {
            let authorities = self.authorities.clone();
            let loaded = tokio::task::spawn_blocking(move || authorities.load()).await;
            let (anchors, trouble) = loaded.unwrap_or_default();
            first = trouble;
            anchors
        };
        let anchors = self.read.get_or_init(|| read).await;
        (anchors, first)
    }
}

/// More authorities are not read: nobody has them.
const MOST: usize = 4096;

impl Authorities {
    /// Reads them all; what could not be read is said in words.
    pub(super) fn load(&self) -> (Anchors, Vec<String>) {
        if !self.only.is_empty() {
            return self.load_only();
        }
        let (mut found, mut trouble): (Vec<CertificateDer<'static>>, Vec<String>) = Default::default();
        let mut read = |path: &PathBuf| match File::open(path).and_then(read_pem) {
            Ok(items) => found.extend(items.into_iter().filter_map(|item| match item {
                Item::Certificate(der) => Some(der),
                Item::Key(_) => None,
            })),
            Err(e) => trouble.push(format!("{}: {}", path.display(), crate::plain(&e))),
        };
        if let Some(file) = &self.file {
            read(file);
        }
        if let Some(directory) = &self.path {
            match std::fs::read_dir(directory) {
                Ok(entries) => {
                    let hashed = |name: &str| {
                        let (hash, number) = name.split_once('.').unwrap_or_default();
                        hash.len() == 8
                            && hash.bytes().all(|b| b.is_ascii_hexdigit())
                            && number.parse::<u16>().is_ok()
                    };
                    let named = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(hashed));
                    named.take(MOST).for_each(|e| read(&e.path()));
                }
                Err(e) => trouble.push(format!("{}: {}", directory.display(), crate::plain(&e))),
            }
        }
        if self.system {
            let system = rustls_native_certs::load_native_certs();
            found.extend(system.certs);
        }
        let mut anchors: Vec<TrustAnchor<'static>> = Vec::new();
        for der in found.iter().take(MOST) {
            // One that is no authority verifies nothing, not even itself, as for OpenSSL.
            if !Certificate::read(der).is_some_and(|c| c.authority) {
                continue;
            }
            // One that the library cannot read verifies nothing either.
            if let Ok(anchor) = webpki::anchor_from_trusted_cert(der) {
                anchors.push(anchor.to_owned());
            }
        }
        anchors.sort_by(|a, b| {
            (&*a.subject, &*a.subject_public_key_info).cmp(&(&*b.subject, &*b.subject_public_key_info))
        });
        anchors.dedup_by(|a, b| {
            a.subject == b.subject && a.subject_public_key_info == b.subject_public_key_info
        });
        (Anchors { list: anchors, keys: Vec::new() }, trouble)
    }

    fn load_only(&self) -> (Anchors, Vec<String>) {
        let (mut anchors, mut trouble) = (Anchors::default(), Vec::new());
        for path in &self.only {
            if let Err(e) = anchors.add(path) {
                trouble.push(format!("{}: {}", path.display(), crate::plain(&e)));
            }
        }
        (anchors, trouble)
    }

    /// None are named: no chain can verify.
    pub fn is_empty(&self) -> bool {
        *self == Authorities::default()
    }
}

/// No file of authorities that are trusted as they are is larger.
const LARGEST: u64 = 1 << 20;

impl Anchors {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let mut text = Vec::new();
        File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
        let before = self.list.len() + self.keys.len();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
            let (kind, der) = section.map_err(|e| io::Error::other(e.to_string()))?;
            match kind {
                SectionKind::Certificate => {
                    let der = CertificateDer::from(der);
                    let anchor = webpki::anchor_from_trusted_cert(&der);
                    self.list.push(anchor.map_err(|e| io::Error::other(format!("{e:?}")))?.to_owned());
                }
                SectionKind::PublicKey if certificate::is_key(&der) => self.keys.push(der),
                _ => {}
            }
        }
        match self.list.len() + self.keys.len() > before {
            true => Ok(()),
            false => Err(io::Error::other("it holds neither certificates nor public keys in PEM format")),
        }
    }
}
