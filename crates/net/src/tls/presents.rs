//! The certificates that we show to servers that ask for one.

use super::keys::{Identity, Own};
use super::note;
use super::reader::{Opener, Reader, Trouble};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Ours, of several kinds.
#[derive(Debug)]
pub(super) struct Presents(Vec<Own>);

impl Presents {
    /// Reads them.
    pub fn load(identities: &[Identity], open: &Opener) -> Result<Presents, Trouble> {
        let mut reader = Reader::new(open);
        let mut all = Vec::new();
        for identity in identities {
            all.extend(identity.read(&mut reader)?);
        }
        Ok(Presents(all))
    }
}

impl ResolvesClientCert for Presents {
    /// As OpenSSL: whatever authorities the server names, it is shown ours.
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let (own, scheme) = self.0.iter().find_map(|own| {
            let signer = own.certified().key.choose_scheme(schemes)?;
            Some((own, signer.scheme()))
        })?;
        note(|seen| seen.guest_scheme = Some(scheme));
        Some(own.certified().clone())
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}
