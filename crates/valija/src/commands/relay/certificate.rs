//! TLS with the relay host: the session is set up whatever the certificate is, and the certificate is
//! judged beside it, so that the administrator hears exactly what is wrong with it. Mail delivery at the
//! level encrypt verifies nobody (as Postfix's), so this is the moment when somebody looks.

use super::advice::Trouble;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::{Arc, Mutex};

/// What a certificate is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Name, chain and dates are right.
    Verified,
    /// What is wrong, and what to do about it.
    Doubtful(String, String),
}

/// The authorities that this host trusts, and those of `smtp_tls_CAfile`. Without any, no certificate
/// can be verified.
pub(super) fn authorities(file: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Ok(own) = CertificateDer::pem_file_iter(file) {
        roots.add_parsable_certificates(own.flatten());
    }
    roots
}

/// Keeps the judgement and lets the handshake go on.
#[derive(Debug)]
struct Witness {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
    name: String,
    seen: Mutex<Option<Judgement>>,
}

/// A TLS client for one session, and where its judgement will be.
pub(super) struct Client {
    pub(super) config: Arc<ClientConfig>,
    witness: Arc<Witness>,
}

impl Client {
    /// A client that verifies `name` against `roots`.
    pub(super) fn new(roots: Arc<RootCertStore>, name: &str) -> Result<Client, Trouble> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().ok();
        let witness = Arc::new(Witness {
            inner,
            provider: provider.clone(),
            name: name.to_string(),
            seen: Mutex::new(None),
        });
        let fail = |e: Error| Trouble::new("TLS", e.to_string(), "report this as a fault of valija");
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(fail)?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        Ok(Client { config: Arc::new(config), witness })
    }

    /// What the certificate was worth; only after the handshake.
    pub(super) fn judgement(&self) -> Judgement {
        let seen = self.witness.seen.lock().map(|s| s.clone()).unwrap_or_default();
        seen.unwrap_or_else(|| Judgement::Doubtful("the server showed no certificate".into(), String::new()))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = match &self.inner {
            None => Judgement::Doubtful(
                "this host trusts no certificate authority".into(),
                "install the package ca-certificates".into(),
            ),
            Some(inner) => {
                match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(_) => Judgement::Verified,
                    Err(error) => doubt(&error, end_entity, &self.name),
                }
            }
        };
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Some(judged);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong in words, with the remedy.
fn doubt(error: &Error, end_entity: &CertificateDer<'_>, name: &str) -> Judgement {
    let parsed = webpki::EndEntityCert::try_from(end_entity).ok();
    let own = parsed.as_ref().is_some_and(|c| c.issuer() == c.subject());
    let of = |what: String, remedy: &str| Judgement::Doubtful(what, remedy.to_string());
    match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => of(
                "the certificate has expired".into(),
                "the server's operator must renew it; look at this host's clock too",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                of("the certificate is not valid yet".into(), "look at this host's clock")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                // A server may show any number of names.
                let names: Vec<String> = parsed
                    .iter()
                    .flat_map(|c| c.valid_dns_names())
                    .take(10)
                    .map(|n| n.chars().filter(|c| !c.is_control()).take(255).collect())
                    .collect();
                match names.is_empty() {
                    true => of(
                        format!("the certificate is not for {name}; it has no names at all"),
                        "ask the server's operator for a certificate with its name",
                    ),
                    false => of(
                        format!("the certificate is not for {name} but for {}", names.join(", ")),
                        "write the relay host with a name that the certificate has",
                    ),
                }
            }
            _ if own => of(
                "the certificate is signed by itself, so that anybody could have made it".into(),
                "ask the server's operator for a certificate of a known authority; or add this one to \
                 /usr/local/share/ca-certificates and run update-ca-certificates",
            ),
            CertificateError::UnknownIssuer => of(
                "the certificate comes from an authority that this host does not know, or the server \
                 leaves out an intermediate certificate"
                    .into(),
                "add the authority to /usr/local/share/ca-certificates and run update-ca-certificates; or \
                 the server's operator must send the whole chain",
            ),
            CertificateError::Revoked => of("the certificate was revoked".into(), "do not use this server"),
            other => of(format!("the certificate is not acceptable: {other:?}"), "ask the server's operator"),
        },
        other => of(format!("the certificate is not acceptable: {other}"), "ask the server's operator"),
    }
}
