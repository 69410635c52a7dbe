//! Verification of servers. At levels that authenticate nobody every certificate is taken, and only
//! noted whether its chain verifies, for the log. Nothing depends on the certificate
//! there, so a signature that the library cannot check (an RSA key of 1024 bits) is taken too.

use super::certificate::Certificate;
use super::{note, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::sync::OnceLock;

/// Whether a chain verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub trusted: bool,
}

/// The verifier of all connections that authenticate nobody.
#[derive(Debug)]
pub(super) struct Unauthenticated {
    /// Read before the first handshake that wants to know.
    pub anchors: OnceLock<Vec<TrustAnchor<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Unauthenticated {
    pub fn new() -> Unauthenticated {
        let algorithms = provider().signature_verification_algorithms;
        Unauthenticated { anchors: OnceLock::new(), algorithms }
    }

    fn judge(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let anchors = self.anchors.get().map_or(&[][..], Vec::as_slice);
        if anchors.is_empty() {
            return false;
        }
        // One that is itself among the authorities, such as a self-signed one that was copied there.
        let itself = Certificate::read(leaf).is_some_and(|c| {
            let (from, until) = c.validity;
            (from..=until).contains(&now.as_secs())
                && anchors.iter().any(|a| {
                    *a.subject == *c.subject_der.as_slice() && c.spki.ends_with(&a.subject_public_key_info)
                })
        });
        let chains = || {
            let leaf = webpki::EndEntityCert::try_from(leaf).ok()?;
            let usage = webpki::KeyUsage::server_auth();
            leaf.verify_for_usage(self.algorithms.all, anchors, others, now, usage, None, None).ok()?;
            Some(())
        };
        itself || chains().is_some()
    }

    /// An unchecked signature proves nothing: the chain is anybody's.
    fn signed(&self, scheme: SignatureScheme, checked: Result<HandshakeSignatureValid, Error>) {
        note(|seen| {
            seen.scheme = Some(scheme);
            if checked.is_err() {
                seen.trust = Some(Finding { trusted: false });
            }
        });
    }
}

/// The order in which OpenSSL's clients prefer signatures.
const OPENSSL: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

impl ServerCertVerifier for Unauthenticated {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trusted = self.judge(leaf, others, now);
        note(|seen| seen.trust = Some(Finding { trusted }));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(signed.scheme, verify_tls12_signature(message, certificate, signed, &self.algorithms));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(signed.scheme, verify_tls13_signature(message, certificate, signed, &self.algorithms));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut all = self.algorithms.supported_schemes();
        // Servers that follow the client's order should choose as they do for OpenSSL's clients.
        all.sort_by_key(|scheme| OPENSSL.iter().position(|s| s == scheme).unwrap_or(OPENSSL.len()));
        // Old servers have nothing else for TLS 1.2.
        all.extend([SignatureScheme::RSA_PKCS1_SHA1, SignatureScheme::ECDSA_SHA1_Legacy]);
        all
    }
}
