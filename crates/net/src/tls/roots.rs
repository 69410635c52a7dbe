//! The authorities that certificates are verified against: `smtp_tls_CAfile`, `smtp_tls_CApath`, and
//! with `tls_append_default_CA` the system's.

use super::certificate::{Certificate, Item, read_pem};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use std::fs::File;
use std::path::PathBuf;

/// Where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// A file of certificates.
    pub file: Option<PathBuf>,
    /// A directory of them, each named by its hash as OpenSSL does.
    pub path: Option<PathBuf>,
    /// The system's, too.
    pub system: bool,
}

/// More authorities are not read: nobody has them.
const MOST: usize = 4096;

impl Authorities {
    /// Reads them all; what could not be read is said in words.
    pub(super) fn load(&self) -> (Vec<TrustAnchor<'static>>, Vec<String>) {
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
        (anchors, trouble)
    }

    /// None are named: no chain can verify.
    pub fn is_empty(&self) -> bool {
        *self == Authorities::default()
    }
}
