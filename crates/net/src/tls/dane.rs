//! Certificate associations: which TLSA records count, and what they say of a chain. RFC 6698, RFC 7671.
//!
//! Only usages 2 (DANE-TA) and 3 (DANE-EE) are for mail, RFC 7672 3.1. Where to look for records, and
//! whether they can be believed, is decided by who asks for them.

use super::certificate::Certificate;
use super::digest::Digest;
use crate::dns::Tlsa;

/// What of a set of records counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// These are compared.
    pub records: Vec<Tlsa>,
    /// Usages that are not for mail: 0 and 1, and whatever has no meaning.
    pub foreign: Vec<Tlsa>,
    /// Records that say nothing that could be compared.
    pub broken: Vec<Tlsa>,
}

/// Sorts records out. `digests`: those that are known, the strongest first (`tls_dane_digests`); of
/// each usage and selector only the strongest counts, so that a weak one cannot be used to get around
/// it. RFC 7671 9.
pub fn usable(records: &[Tlsa], digests: &[Digest]) -> Usable {
    let mut out = Usable::default();
    for record in records {
        match (record.usage, makes_sense(record, digests)) {
            (2 | 3, true) => out.records.push(record.clone()),
            (2 | 3, false) => out.broken.push(record.clone()),
            _ => out.foreign.push(record.clone()),
        }
    }
    // In the order in which Postfix tells of them.
    out.broken.sort_by_key(|r| (std::cmp::Reverse((r.usage, r.selector)), r.matching));
    let rank = |r: &Tlsa| digest(r.matching).and_then(|d| digests.iter().position(|known| *known == d));
    let all = out.records.clone();
    out.records.retain(|r| {
        let rivals = all.iter().filter(|o| (o.usage, o.selector) == (r.usage, r.selector));
        let strongest = rivals.filter_map(rank).min();
        // What is compared in full needs no digest.
        r.matching == 0 || rank(r) == strongest
    });
    out
}

fn digest(matching: u8) -> Option<Digest> {
    match matching {
        1 => Some(Digest::Sha256),
        2 => Some(Digest::Sha512),
        _ => None,
    }
}

fn makes_sense(record: &Tlsa, digests: &[Digest]) -> bool {
    match (record.selector, record.matching) {
        (0, 0) => Certificate::read(&record.data).is_some(),
        (1, 0) => super::certificate::is_key(&record.data),
        (0 | 1, matching) => {
            digest(matching).is_some_and(|d| digests.contains(&d) && record.data.len() == d.length())
        }
        _ => false,
    }
}

/// Whether the record is about this certificate.
pub fn is_about(record: &Tlsa, der: &[u8], certificate: &Certificate) -> bool {
    let subject = match record.selector {
        0 => der,
        1 => certificate.spki.as_slice(),
        _ => return false,
    };
    match (record.matching, digest(record.matching)) {
        (0, _) => subject == record.data,
        (_, Some(digest)) => digest.of(subject) == record.data,
        _ => false,
    }
}

/// As zone files write it.
pub fn written(record: &Tlsa) -> String {
    let hex: String = record.data.iter().take(64).map(|b| format!("{b:02X}")).collect();
    let more = if record.data.len() > 64 { "..." } else { "" };
    format!("{} {} {} {hex}{more}", record.usage, record.selector, record.matching)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, length: usize) -> Tlsa {
        Tlsa { usage, selector, matching, data: vec![7; length] }
    }

    const BOTH: [Digest; 2] = [Digest::Sha512, Digest::Sha256];

    #[test]
    fn what_counts() {
        let of = |records: &[Tlsa], digests: &[Digest]| {
            let u = usable(records, digests);
            (u.records.len(), u.foreign.len(), u.broken.len())
        };
        assert_eq!(of(&[record(3, 1, 1, 32), record(2, 0, 2, 64)], &BOTH), (2, 0, 0));
        assert_eq!(of(&[record(0, 1, 1, 32), record(1, 0, 1, 32), record(4, 0, 1, 32)], &BOTH), (0, 3, 0));
        let broken = [
            record(3, 1, 1, 31),
            record(3, 1, 1, 0),
            record(3, 2, 1, 32),
            record(3, 255, 255, 0),
            record(3, 1, 3, 32),
            record(2, 0, 0, 5),
            record(2, 1, 0, 40),
        ];
        assert_eq!(of(&broken, &BOTH), (0, 0, broken.len()));
        assert_eq!(of(&[record(3, 1, 2, 64)], &[Digest::Sha256]), (0, 0, 1), "an unknown digest");
    }

    #[test]
    fn the_strongest_digest_counts() {
        let all = [record(3, 1, 1, 32), record(3, 1, 2, 64), record(3, 0, 1, 32), record(2, 1, 1, 32)];
        let left = |digests: &[Digest]| -> Vec<(u8, u8, u8)> {
            usable(&all, digests).records.iter().map(|r| (r.usage, r.selector, r.matching)).collect()
        };
        assert_eq!(left(&BOTH), [(3, 1, 2), (3, 0, 1), (2, 1, 1)]);
        assert_eq!(left(&[Digest::Sha256, Digest::Sha512]), [(3, 1, 1), (3, 0, 1), (2, 1, 1)]);
        assert_eq!(left(&[Digest::Sha256]), [(3, 1, 1), (3, 0, 1), (2, 1, 1)]);
    }

    #[test]
    fn in_full_and_by_digest() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let der = rcgen::CertificateParams::new(vec!["a.example".to_string()]).unwrap();
        let der = der.self_signed(&key).unwrap().der().to_vec();
        let certificate = Certificate::read(&der).unwrap();
        for (selector, bytes) in [(0, der.clone()), (1, certificate.spki.clone())] {
            for (matching, data) in
                [(0, bytes.clone()), (1, Digest::Sha256.of(&bytes)), (2, Digest::Sha512.of(&bytes))]
            {
                let mut record = Tlsa { usage: 3, selector, matching, data };
                assert_eq!(usable(std::slice::from_ref(&record), &BOTH).records.len(), 1);
                assert!(is_about(&record, &der, &certificate), "{selector} {matching}");
                *record.data.last_mut().unwrap() ^= 1;
                assert!(!is_about(&record, &der, &certificate), "{selector} {matching}, damaged");
            }
        }
        assert!(!is_about(&record(3, 1, 9, 32), &der, &certificate));
    }
}
