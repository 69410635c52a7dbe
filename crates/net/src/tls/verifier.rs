//! Signatures of servers. Whatever certificate a server shows is taken; what it proves is judged after
//! the handshake (`proof`). Here is only checked that the server has the key of the certificate.
//!
//! Where nothing is to be proved a signature that the library cannot check (an RSA key of 1024 bits) is
//! taken, too: nothing depends on the certificate there. Then nothing it shows is called trusted, and
//! the session is not remembered.

use super::certificate::{Certificate, Key};
use super::{note, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// The library checks nothing that a shorter key signed.
const LEAST_RSA: usize = 2048;

/// The verifier of connections; `strict` where something is to be proved.
#[derive(Debug)]
pub(super) struct Signatures {
    strict: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Signatures {
    pub fn new(strict: bool) -> Signatures {
        Signatures { strict, algorithms: provider().signature_verification_algorithms }
    }

    fn signed(
        &self,
        scheme: SignatureScheme,
        certificate: &CertificateDer<'_>,
        checked: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        note(|seen| {
            seen.scheme = Some(scheme);
            seen.unproved |= checked.is_err();
        });
        match checked {
            Err(_) if !self.strict => Ok(HandshakeSignatureValid::assertion()),
            Err(why) => match Certificate::read(certificate).map(|own| own.key) {
                Some(Key::Rsa(bits)) if bits < LEAST_RSA => Err(Error::General(format!(
                    "the server's RSA key of {bits} bits is too short to prove anything: {LEAST_RSA} are needed"
                ))),
                _ => Err(why),
            },
            checked => checked,
        }
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

impl ServerCertVerifier for Signatures {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = verify_tls12_signature(message, certificate, signed, &self.algorithms);
        self.signed(signed.scheme, certificate, checked)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = verify_tls13_signature(message, certificate, signed, &self.algorithms);
        // A certificate may be older than what the library reads; its key is a key all the same.
        let checked = checked.or_else(|why| match Certificate::read(certificate) {
            Some(own) => {
                let key = SubjectPublicKeyInfoDer::from(own.spki);
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            None => Err(why),
        });
        self.signed(signed.scheme, certificate, checked)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut all = self.algorithms.supported_schemes();
        // Servers that follow the client's order should choose as they do for OpenSSL's clients.
        all.sort_by_key(|scheme| OPENSSL.iter().position(|s| s == scheme).unwrap_or(OPENSSL.len()));
        if !self.strict {
            // Old servers have nothing else for TLS 1.2.
            all.extend([SignatureScheme::RSA_PKCS1_SHA1, SignatureScheme::ECDSA_SHA1_Legacy]);
        }
        all
    }
}
