//! What is read from certificates besides their verification: names and the kind of key, for the log;
//! and PEM files. DER is walked only as far as needed, RFC 5280 4.1; every length is checked.

use rustls::pki_types::pem::{self, PemObject, SectionKind as Kind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::io::{self, Read};

/// The kind of a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// RSA, with the bits of its modulus.
    Rsa(usize),
    /// On an elliptic curve, with OpenSSL's name of it.
    Ecdsa(&'static str),
    /// Ed25519.
    Ed25519,
    /// Anything else.
    Other,
}

/// A certificate's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Common name of the subject, or nothing.
    pub subject: String,
    /// Common name of the issuer, else its organization, or nothing.
    pub issuer: String,
    /// What kind of key it is for.
    pub key: Key,
    /// DNS names of the subject, as they stand.
    pub names: Vec<String>,
    /// SubjectPublicKeyInfo, in DER.
    pub spki: Vec<u8>,
    /// The subject's name, in DER, without its header.
    pub subject_der: Vec<u8>,
    /// The issuer's.
    pub issuer_der: Vec<u8>,
    /// From and until when it is valid, in seconds since 1970.
    pub validity: (u64, u64),
    /// It may sign others: basicConstraints say so, or it is too old to have any.
    pub authority: bool,
}

impl Certificate {
    /// Reads a certificate; `None` when it is none.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (SEQUENCE, whole, _) = element(der)? else { return None };
        let (SEQUENCE, mut rest, _) = element(whole)? else { return None };
        let versioned = rest.first() == Some(&0xa0);
        if versioned {
            rest = element(rest)?.2; // version
        }
        for _ in 0..2 {
            rest = element(rest)?.2; // serial number, signature algorithm
        }
        let (SEQUENCE, issuer, rest) = element(rest)? else { return None };
        let (SEQUENCE, validity, rest) = element(rest)? else { return None };
        let (SEQUENCE, subject, rest) = element(rest)? else { return None };
        let (SEQUENCE, spki, after) = element(rest)? else { return None };
        let (kind, from, later) = element(validity)?;
        let from = moment(kind, from)?;
        let (kind, until, _) = element(later)?;
        Some(Certificate {
            subject: common_name(subject).unwrap_or_default(),
            issuer: common_name(issuer).or_else(|| last_of(issuer, &ORGANIZATION)).unwrap_or_default(),
            key: key(spki).unwrap_or(Key::Other),
            spki: rest.get(..rest.len() - after.len())?.to_vec(),
            names: names(after).into_iter().take(MOST_NAMES).collect(),
            subject_der: subject.to_vec(),
            issuer_der: issuer.to_vec(),
            validity: (from, moment(kind, until)?),
            authority: !versioned || may_sign(after),
        })
    }
}

impl Certificate {
    /// It says that it signed itself.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    /// The issuer on one line, as OpenSSL writes it: `/C=DE/O=Somebody/CN=CA`.
    pub fn issuer_line(&self) -> String {
        on_one_line(&self.issuer_der)
    }

    /// The subject on one line.
    pub fn subject_line(&self) -> String {
        on_one_line(&self.subject_der)
    }
}

/// Whether this is a public key in DER: an algorithm, and bits.
pub fn is_key(der: &[u8]) -> bool {
    let parts = || {
        let (SEQUENCE, parts, []) = element(der)? else { return None };
        let (SEQUENCE, _, rest) = element(parts)? else { return None };
        let (0x03, _, []) = element(rest)? else { return None };
        Some(())
    };
    parts().is_some()
}

/// What is inside of the outermost header.
pub(super) fn content(der: &[u8]) -> Option<&[u8]> {
    element(der).map(|(_, content, _)| content)
}

/// More names than this nobody needs to look at.
const MOST_NAMES: usize = 1024;

const SEQUENCE: u8 = 0x30;

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Whether the extensions among what follows the key say that this is an authority. RFC 5280 4.2.1.9
fn may_sign(rest: &[u8]) -> bool {
    let constraints = extension(rest, &[0x55, 0x1d, 0x13]).and_then(element);
    let first = constraints.and_then(|(_, fields, _)| element(fields));
    matches!(first, Some((0x01, [yes], _)) if *yes != 0)
}

/// The DNS names among what follows the key. RFC 5280 4.2.1.6
fn names(rest: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let all = extension(rest, &[0x55, 0x1d, 0x11]).and_then(element);
    let Some((SEQUENCE, mut names, _)) = all else { return found };
    while let Some((tag, name, after)) = element(names) {
        names = after;
        if tag == 0x82 {
            found.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    found
}

/// The value of an extension among what follows the key.
fn extension<'a>(mut rest: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    while let Some((tag, content, after)) = element(rest) {
        rest = after;
        if tag != 0xa3 {
            continue;
        }
        let (SEQUENCE, mut extensions, _) = element(content)? else { return None };
        while let Some((_, extension, after)) = element(extensions) {
            extensions = after;
            let Some((_, kind, mut value)) = element(extension) else { continue };
            if kind != wanted {
                continue;
            }
            if let Some((0x01, _, after)) = element(value) {
                value = after; // critical
            }
            return element(value).map(|(_, octets, _)| octets);
        }
    }
    None
}

/// A distinguished name as OpenSSL writes it on one line.
fn on_one_line(mut name: &[u8]) -> String {
    let mut line = String::new();
    while let Some((_, set, rest)) = element(name) {
        name = rest;
        let Some((_, pair, _)) = element(set) else { break };
        let Some((_, kind, value)) = element(pair) else { break };
        let Some((tag, value, _)) = element(value) else { break };
        let short = match kind {
            [0x55, 0x04, 0x03] => "CN",
            [0x55, 0x04, 0x05] => "serialNumber",
            [0x55, 0x04, 0x06] => "C",
            [0x55, 0x04, 0x07] => "L",
            [0x55, 0x04, 0x08] => "ST",
            [0x55, 0x04, 0x0a] => "O",
            [0x55, 0x04, 0x0b] => "OU",
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 0x19] => "DC",
            _ => "?",
        };
        line.push_str(&format!("/{short}={}", text(tag, value)));
    }
    line
}

/// A text of a name, shortened, without control characters.
fn text(tag: u8, text: &[u8]) -> String {
    let text = match tag {
        // BMPString
        0x1e => {
            let units: Vec<u16> = text.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(text).into_owned(),
    };
    text.chars().take(255).map(|c| if c.is_control() { '?' } else { c }).collect()
}

const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];

/// The last common name in a distinguished name.
fn common_name(name: &[u8]) -> Option<String> {
    last_of(name, &COMMON_NAME)
}

/// The last part of this kind in a distinguished name.
fn last_of(mut name: &[u8], wanted: &[u8]) -> Option<String> {
    let mut found = None;
    while !name.is_empty() {
        let (_, set, rest) = element(name)?;
        name = rest;
        let (_, pair, _) = element(set)?;
        let (_, kind, value) = element(pair)?;
        if kind == wanted {
            let (tag, value, _) = element(value)?;
            found = Some(text(tag, value));
        }
    }
    found
}

fn key(spki: &[u8]) -> Option<Key> {
    let (_, algorithm, rest) = element(spki)?;
    let (_, bits, _) = element(rest)?;
    let (_, oid, parameters) = element(algorithm)?;
    Some(match oid {
        // rsaEncryption, id-RSASSA-PSS
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1 | 10] => {
            let (_, pair, _) = element(bits.get(1..)?)?;
            let (_, modulus, _) = element(pair)?;
            let start = modulus.iter().position(|b| *b != 0)?;
            let significant = modulus.get(start..)?;
            Key::Rsa(significant.len() * 8 - significant.first()?.leading_zeros() as usize)
        }
        // id-ecPublicKey
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => match element(parameters)?.1 {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => Key::Ecdsa("prime256v1"),
            [0x2b, 0x81, 0x04, 0, 0x22] => Key::Ecdsa("secp384r1"),
            [0x2b, 0x81, 0x04, 0, 0x23] => Key::Ecdsa("secp521r1"),
            _ => Key::Other,
        },
        [0x2b, 0x65, 0x70] => Key::Ed25519,
        _ => Key::Other,
    })
}

/// UTCTime or GeneralizedTime. RFC 5280 4.1.2.5
fn moment(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |part: &[u8]| part.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (0x17, 12) => {
            let (year, rest) = digits.split_at(2);
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (0x18, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let part = |i: usize| number(rest.get(i * 2..i * 2 + 2).unwrap_or(b"0"));
    let (month, day) = (part(0).clamp(1, 12), part(1).clamp(1, 31));
    // Days since 1970, by years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1).checked_sub(719_468);
    // Whatever ended before 1970 is over.
    Some(days.unwrap_or(0) * 86_400 + part(2) * 3600 + part(3) * 60 + part(4))
}

/// A certificate's or key's digest by SHA-256, as Postfix writes fingerprints.
pub fn fingerprint(bytes: &[u8]) -> String {
    super::digest::Digest::Sha256.shown(bytes)
}

/// No file with certificates and keys is larger.
const LARGEST: u64 = 1 << 22;

/// What a PEM file holds, in its order.
pub enum Item {
    /// A certificate.
    Certificate(CertificateDer<'static>),
    /// A private key.
    Key(PrivateKeyDer<'static>),
}

/// Reads the certificates and keys of a PEM file; other sections are passed over.
pub fn read_pem(mut file: impl Read) -> io::Result<Vec<Item>> {
    let mut text = Vec::new();
    (&mut file).take(LARGEST).read_to_end(&mut text)?;
    let has = |words: &[u8]| text.windows(words.len()).any(|w| w == words);
    if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(io::Error::other("the key has a password; take it off: openssl pkey -in OLD -out NEW"));
    }
    let mut items = Vec::new();
    for section in <(Kind, Vec<u8>)>::pem_slice_iter(&text) {
        let (kind, der) = section.map_err(|e| {
            io::Error::other(match e {
                pem::Error::MissingSectionEnd { .. } => "a PEM section has no end",
                pem::Error::Base64Decode(_) => "a PEM section is no base64",
                _ => "it is not in PEM format",
            })
        })?;
        match kind {
            Kind::Certificate => items.push(Item::Certificate(der.into())),
            Kind::PrivateKey => items.push(Item::Key(PrivateKeyDer::Pkcs8(der.into()))),
            Kind::RsaPrivateKey => items.push(Item::Key(PrivateKeyDer::Pkcs1(der.into()))),
            Kind::EcPrivateKey => items.push(Item::Key(PrivateKeyDer::Sec1(der.into()))),
            _ => {}
        }
    }
    Ok(items)
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Item::Certificate(_) => "Certificate",
            Item::Key(_) => "Key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_certificates() {
        let of = |algorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["mail.example.org".to_string()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, "mail.example.org");
            params.not_before = rcgen::date_time_ymd(2024, 2, 29);
            params.not_after = rcgen::date_time_ymd(2050, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            Certificate::read(certificate.der()).unwrap()
        };
        let p256 = of(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!((p256.subject.as_str(), p256.issuer.as_str()), ("mail.example.org", "mail.example.org"));
        assert_eq!(p256.validity, (1_709_164_800, 2_524_608_000));
        assert_eq!(p256.key, Key::Ecdsa("prime256v1"));
        assert!(!p256.authority && p256.is_self_issued());
        assert_eq!(p256.names, ["mail.example.org"]);
        assert!(p256.issuer_line().ends_with("/CN=mail.example.org"), "{}", p256.issuer_line());
        assert!(is_key(&p256.spki) && !is_key(&p256.spki[1..]) && !is_key(b""));
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert!(Certificate::read(params.self_signed(&key).unwrap().der()).unwrap().authority);
        assert_eq!(of(&rcgen::PKCS_ECDSA_P384_SHA384).key, Key::Ecdsa("secp384r1"));
        assert_eq!(of(&rcgen::PKCS_ED25519).key, Key::Ed25519);
    }

    #[test]
    fn moments() {
        assert_eq!(moment(0x17, b"700101000000Z"), Some(0));
        assert_eq!(moment(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(moment(0x18, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(moment(0x18, b"00000101000000Z"), None);
        assert_eq!(moment(0x18, b"18000101000000Z"), Some(0));
        assert_eq!(moment(0x17, b"7001010000Z"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Certificate::read(&bytes);
            let _ = read_pem(&bytes[..]);
            let _ = is_key(&bytes);
            let _ = on_one_line(&bytes);
            let _ = names(&bytes);
        }

        #[test]
        fn a_damaged_certificate_is_survived(at in 0usize..500, byte: u8) {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            let params = rcgen::CertificateParams::new(vec!["a.example".to_string()]).unwrap();
            let mut der = params.self_signed(&key).unwrap().der().to_vec();
            let at = at % der.len();
            der[at] = byte;
            let _ = Certificate::read(&der);
            der.truncate(at);
            let _ = Certificate::read(&der);
        }
    }
}
