//! What a server must prove, and whether its certificates do. The handshake goes through whatever they
//! are (its signature is checked, see `verifier`); then they are judged here, before anything is said.
//!
//! A session that was resumed is judged by the certificates that it began with, anew: so what was
//! trusted then and is not any more, is not trusted now, and no memory of a judgement can be mixed up.

use super::certificate::Certificate;
use super::digest::Digest;
use super::roots::Anchors;
use super::{dane, names, provider};
use crate::dns::Tlsa;
use rustls::pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use std::fmt;

/// What must be proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    #[default]
    Nothing,
    /// A trusted authority says that it has one of these names (`.example.com`: any name below it).
    Names(Vec<String>),
    /// The certificate, or its key, has one of these digests.
    Fingerprints(Digest, Vec<Vec<u8>>),
    /// These records, which are believed, are about the certificate or an authority of it; where an
    /// authority is meant it must have one of these names. RFC 7672 3
    Dane(Vec<Tlsa>, Vec<String>),
}

impl Proof {
    /// Something is to be proved.
    pub fn is_wanted(&self) -> bool {
        *self != Proof::Nothing
    }
}

/// How it is judged, whatever is to be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How names are compared.
    pub names: names::Manner,
    /// The most authorities between the server and one that is trusted (`smtp_tls_scert_verifydepth`).
    pub depth: usize,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { names: names::Manner::default(), depth: 9 }
    }
}

/// What certificates prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// They can be believed: the chain leads to a trusted authority, or they are the ones expected.
    pub trusted: bool,
    /// What was to be proved, is.
    pub proved: bool,
    /// Why not, as far as it was found out.
    pub fault: Option<Fault>,
}

/// What is wrong with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There are none.
    Missing,
    /// It is signed by itself, and not known.
    SelfSigned,
    /// Nothing is known of the authority at the end of the chain.
    UnknownIssuer(String),
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// The chain is longer than allowed.
    TooLong(usize),
    /// It is not for servers.
    Purpose,
    /// It must not be used by who does not understand all of it.
    CriticalExtension,
    /// It has none of the names.
    Names,
    /// No record, or no fingerprint, is about it.
    NoMatch,
    /// Anything else, in words.
    Other(String),
}

/// In the words of Postfix's log, after the name of the server.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("no certificate"),
            Fault::SelfSigned => f.write_str("self-signed certificate"),
            Fault::UnknownIssuer(issuer) => write!(f, "untrusted issuer {issuer}"),
            Fault::Expired => f.write_str("certificate has expired"),
            Fault::NotYetValid => f.write_str("certificate not yet valid"),
            Fault::TooLong(limit) => write!(f, "certificate chain longer than limit({limit})"),
            Fault::Purpose => f.write_str("not designated for use as a server certificate"),
            Fault::CriticalExtension => f.write_str("num=34:unhandled critical extension"),
            Fault::Names => f.write_str("num=62:hostname mismatch"),
            Fault::NoMatch => f.write_str("num=65:no matching DANE TLSA records"),
            Fault::Other(what) => write!(f, "num=1:{what}"),
        }
    }
}

impl Fault {
    fn nothing_to_compare() -> Fault {
        Fault::Other("unspecified certificate verification error".into())
    }

    /// The line of the log says that it was the server's own certificate.
    pub fn is_of_server(&self) -> bool {
        !matches!(
            self,
            Fault::Missing | Fault::SelfSigned | Fault::UnknownIssuer(_) | Fault::Purpose | Fault::TooLong(_)
        )
    }
}

/// Judges the certificates that a server showed, its own first.
pub fn judge(
    proof: &Proof,
    chain: &[CertificateDer<'_>],
    anchors: &Anchors,
    manner: Manner,
    now: UnixTime,
) -> Judgement {
    let Some((der, others)) = chain.split_first() else {
        return Judgement { fault: Some(Fault::Missing), ..Judgement::default() };
    };
    let Some(own) = Certificate::read(der) else {
        let fault = Some(Fault::Other("the certificate cannot be read".into()));
        return Judgement { fault, ..Judgement::default() };
    };
    let shown = Shown { der, own: &own, others, now, depth: manner.depth };
    let found = match proof {
        Proof::Nothing => shown.chain_to(anchors),
        Proof::Names(wanted) => shown.named(shown.chain_to(anchors), wanted, manner),
        // There was something, but nothing that could be compared.
        Proof::Fingerprints(_, known) if known.is_empty() => Err(Fault::nothing_to_compare()),
        Proof::Dane(records, _) if records.is_empty() => Err(Fault::nothing_to_compare()),
        Proof::Fingerprints(digest, known) => {
            let (certificate, key) = (digest.of(der), digest.of(&own.spki));
            match known.iter().any(|k| *k == certificate || *k == key) {
                true => Ok(()),
                false => Err(Fault::NoMatch),
            }
        }
        Proof::Dane(records, wanted) => shown.associated(records, wanted, manner),
    };
    Judgement { trusted: found.is_ok(), proved: found.is_ok() && proof.is_wanted(), fault: found.err() }
}

/// What a server showed.
struct Shown<'a> {
    der: &'a CertificateDer<'a>,
    own: &'a Certificate,
    others: &'a [CertificateDer<'a>],
    now: UnixTime,
    depth: usize,
}

impl Shown<'_> {
    fn is_in_time(&self, certificate: &Certificate) -> Result<(), Fault> {
        let (from, until) = certificate.validity;
        match self.now.as_secs() {
            now if now < from => Err(Fault::NotYetValid),
            now if now > until => Err(Fault::Expired),
            _ => Ok(()),
        }
    }

    fn chain_to(&self, anchors: &Anchors) -> Result<(), Fault> {
        // One that is itself among the authorities, such as a self-signed one that was copied there.
        let itself = anchors.list.iter().any(|a| {
            *a.subject == *self.own.subject_der && is_key(&self.own.spki, &a.subject_public_key_info)
        });
        if itself {
            return self.is_in_time(self.own);
        }
        let mut all: Vec<TrustAnchor<'_>> = anchors.list.clone();
        all.extend(anchors.keys.iter().flat_map(|key| self.anchors_by_key(key)));
        self.chain(&all)
    }

    /// A key alone is an authority whatever it is called: it may have signed any of those shown.
    fn anchors_by_key(&self, spki: &[u8]) -> Vec<TrustAnchor<'static>> {
        // The library wants what is inside of the outer header.
        let Some(inner) = super::certificate::content(spki) else { return Vec::new() };
        let anchor = |issuer: Vec<u8>| TrustAnchor {
            subject: Der::from(issuer),
            subject_public_key_info: Der::from(inner.to_vec()),
            name_constraints: None,
        };
        let mut issuers = vec![self.own.issuer_der.clone()];
        issuers.extend(self.others.iter().filter_map(|d| Certificate::read(d)).map(|c| c.issuer_der));
        issuers.dedup();
        issuers.truncate(MOST_SHOWN);
        issuers.into_iter().map(anchor).collect()
    }

    fn chain(&self, anchors: &[TrustAnchor<'_>]) -> Result<(), Fault> {
        let at = |time: UnixTime| {
            let leaf = webpki::EndEntityCert::try_from(self.der).map_err(|e| self.fault(&e))?;
            let algorithms = provider().signature_verification_algorithms.all;
            let usage = webpki::KeyUsage::server_auth();
            let path = leaf
                .verify_for_usage(algorithms, anchors, self.others, time, usage, None, None)
                .map_err(|e| self.fault(&e))?;
            match path.intermediate_certificates().count() > self.depth {
                true => Err(Fault::TooLong(self.depth)),
                false => Ok(()),
            }
        };
        match at(self.now) {
            // Whose it is, is asked first: an expired one of an unknown authority is unknown.
            Err(late @ (Fault::Expired | Fault::NotYetValid)) => {
                let (from, until) = self.own.validity;
                let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(from.midpoint(until)));
                match at(then) {
                    Err(unknown @ (Fault::SelfSigned | Fault::UnknownIssuer(_))) => Err(unknown),
                    _ => Err(late),
                }
            }
            other => other,
        }
    }

    fn fault(&self, error: &webpki::Error) -> Fault {
        match error {
            webpki::Error::CertExpired { .. } => Fault::Expired,
            webpki::Error::CertNotValidYet { .. } => Fault::NotYetValid,
            webpki::Error::RequiredEkuNotFoundContext(_) => Fault::Purpose,
            webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity => self.unknown(),
            webpki::Error::UnsupportedCriticalExtension => Fault::CriticalExtension,
            webpki::Error::UnsupportedCertVersion if self.own.is_self_issued() => Fault::SelfSigned,
            other => Fault::Other(format!("{other:?}")),
        }
    }

    /// Who the last issuer is of whom nothing is known.
    fn unknown(&self) -> Fault {
        if self.own.is_self_issued() {
            return Fault::SelfSigned;
        }
        let others: Vec<Certificate> =
            self.others.iter().take(MOST_SHOWN).filter_map(|d| Certificate::read(d)).collect();
        let mut last = self.own;
        for _ in 0..MOST_SHOWN {
            match others.iter().find(|c| c.subject_der == last.issuer_der) {
                Some(issuer) if !issuer.is_self_issued() => last = issuer,
                _ => break,
            }
        }
        Fault::UnknownIssuer(last.issuer_line())
    }

    /// Adds the question of names. It comes before that of time, as with OpenSSL.
    fn named(&self, chain: Result<(), Fault>, wanted: &[String], manner: Manner) -> Result<(), Fault> {
        match chain {
            Err(unknown @ (Fault::SelfSigned | Fault::UnknownIssuer(_))) => Err(unknown),
            _ if !names::fit(self.own, wanted, manner.names) => Err(Fault::Names),
            other => other,
        }
    }

    /// RFC 7672 3.1: DANE-EE minds neither names nor time; DANE-TA minds both.
    fn associated(&self, records: &[Tlsa], wanted: &[String], manner: Manner) -> Result<(), Fault> {
        if records.iter().any(|r| r.usage == 3 && dane::is_about(r, self.der, self.own)) {
            return Ok(());
        }
        let mut why = Fault::NoMatch;
        let shown: Vec<(&CertificateDer<'_>, Certificate)> = self
            .others
            .iter()
            .take(MOST_SHOWN)
            .filter_map(|der| Certificate::read(der).map(|c| (der, c)))
            .collect();
        for record in records.iter().filter(|r| r.usage == 2) {
            // RFC 7671 5.2.1, 5.2.2: what a record holds in full need not be shown.
            let found = match (record.selector, record.matching) {
                (1, 0) => self.chain(&self.anchors_by_key(&record.data)),
                (0, 0) => self.chain_under(&record.data.clone().into()),
                _ => match shown.iter().find(|(der, c)| dane::is_about(record, der, c)) {
                    Some((der, _)) => self.chain_under(der),
                    None => continue,
                },
            };
            match self.named(found, wanted, manner) {
                Ok(()) => return Ok(()),
                Err(Fault::SelfSigned | Fault::UnknownIssuer(_)) => {}
                Err(other) => why = other,
            }
        }
        Err(why)
    }

    /// The chain leads to this certificate, which is in time itself.
    fn chain_under(&self, authority: &CertificateDer<'_>) -> Result<(), Fault> {
        let certificate = Certificate::read(authority).ok_or(Fault::NoMatch)?;
        let anchor = webpki::anchor_from_trusted_cert(authority).map_err(|e| self.fault(&e))?;
        self.chain(std::slice::from_ref(&anchor))?;
        self.is_in_time(&certificate)
    }
}

/// Whether this whole key is the one that an authority is kept with, which is without its outer header. Byte by byte: a
/// longer key that ends alike is another one.
fn is_key(whole: &[u8], kept: &[u8]) -> bool {
    super::certificate::content(whole) == Some(kept)
}

/// Nobody needs more certificates to show whose theirs is.
const MOST_SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn a_key_that_ends_as_another_is_another() {
        let kept = [0x30, 0x01, 0x05, 0x03, 0x02, 0x00, 0x09];
        let whole = |inner: &[u8]| [&[0x30, u8::try_from(inner.len()).unwrap()], inner].concat();
        assert!(is_key(&whole(&kept), &kept));
        for longer in
            [whole(&[&[0x05, 0x00], &kept[..]].concat()), whole(&whole(&kept)), kept.to_vec(), Vec::new()]
        {
            assert!(!is_key(&longer, &kept), "{longer:?}");
        }
        assert!(!is_key(&whole(&kept), &kept[1..]) && !is_key(&whole(&kept), &[]));
    }
}
