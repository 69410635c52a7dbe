//! Certificates that clients show: each that its owner can prove to have is taken, and noted whether
//! its chain verifies. What is made of that is not decided here.

use super::certificate::Certificate;
use super::roots::Authorities;
use super::{note, provider};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// How clients' certificates are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guests {
    /// Who may vouch for them.
    pub authorities: Authorities,
    /// How many certificates may lie above a client's own.
    pub depth: u64,
}

/// Judges them.
#[derive(Debug)]
pub(super) struct Judge {
    anchors: Vec<TrustAnchor<'static>>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    depth: u64,
}

impl Judge {
    /// Reads the authorities; an error is the file, and why it cannot be read.
    pub(super) fn new(guests: &Guests) -> Result<Judge, String> {
        let (anchors, trouble) = guests.authorities.load();
        let file = guests.authorities.file.as_ref().map(|f| format!("{}: ", f.display()));
        let fatal = |t: &String| file.as_ref().is_some_and(|f| t.starts_with(f.as_str()));
        if let Some(why) = trouble.into_iter().find(fatal) {
            return Err(why);
        }
        // Those of the directory are not named, as in Postfix: there are many.
        let named = Authorities { file: guests.authorities.file.clone(), ..Authorities::default() };
        let hints = named.load().0.list;
        Ok(Judge {
            hints: hints.iter().map(|a| DistinguishedName::in_sequence(&a.subject)).collect(),
            anchors: anchors.list,
            algorithms: provider().signature_verification_algorithms,
            depth: guests.depth,
        })
    }

    /// Whether a chain verifies; an error is why not, in Postfix's words.
    pub(super) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), String> {
        let certificate = Certificate::read(leaf);
        let verified = webpki::EndEntityCert::try_from(leaf).and_then(|entity| {
            let usage = webpki::KeyUsage::client_auth();
            let path = entity.verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                others,
                now,
                usage,
                None,
                None,
            )?;
            Ok(path.intermediate_certificates().count() as u64 + 1)
        });
        let of_client = |what: &str| format!("certificate verification failed for {{client}}: {what}");
        match verified {
            Ok(above) if above <= self.depth => Ok(()),
            Ok(_) => Err(of_client(&format!("certificate chain longer than limit({})", self.depth))),
            Err(webpki::Error::CertExpired { .. }) => {
                Err(format!("client {}", of_client("certificate has expired")))
            }
            Err(webpki::Error::CertNotValidYet { .. }) => {
                Err(format!("client {}", of_client("certificate not yet valid")))
            }
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => {
                Err(of_client("not designated for use as a client certificate"))
            }
            Err(other) => Err(of_client(&match (certificate, other) {
                (Some(c), _) if c.is_self_issued() => "self-signed certificate".to_string(),
                (Some(c), webpki::Error::UnknownIssuer) => {
                    format!("untrusted issuer {}", self.missing(&c, others))
                }
                (_, other) => other.to_string(),
            })),
        }
    }

    /// The first issuer, from the client's certificate upwards, that is not there.
    fn missing(&self, leaf: &Certificate, others: &[CertificateDer<'_>]) -> String {
        let others: Vec<Certificate> = others.iter().filter_map(|der| Certificate::read(der)).collect();
        let mut at = leaf;
        for _ in 0..others.len() {
            match others.iter().find(|c| c.subject_der == at.issuer_der) {
                Some(next) if !next.is_self_issued() => at = next,
                _ => break,
            }
        }
        at.issuer_line()
    }
}

impl ClientCertVerifier for Judge {
    fn client_auth_mandatory(&self) -> bool {
        // Who shows none is told so in SMTP.
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judged = self.judge(leaf, others, now);
        note(|seen| seen.guest = Some(judged));
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note(|seen| seen.guest_scheme = Some(signed.scheme));
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note(|seen| seen.guest_scheme = Some(signed.scheme));
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
