//! What comes over the network and is not SMTP.

use crate::{first, text, two};
use net::dns::{Kind, Zone, meaning_of};
use net::proxy::{Families, Step, read};
use net::tls::certificate::{Certificate, is_key, read_pem};

/// Answers of name servers, and questions to ours.
pub fn dns_answer(bytes: &[u8]) {
    let (zone, packet) = two(bytes);
    let packet = if packet.is_empty() { bytes } else { packet };
    for kind in [Kind::A, Kind::Aaaa, Kind::Mx, Kind::Txt, Kind::Ptr, Kind::Ns, Kind::Tlsa, Kind::Cname] {
        // A few hundred bytes must not become megabytes: names that point at names.
        if let Some(meaning) = meaning_of(packet, "mail.example.org", kind) {
            assert!(meaning.len() <= 2000 + 400 * packet.len(), "{} of {}", meaning.len(), packet.len());
        }
    }
    if let Ok(zone) = Zone::parse(&text(zone))
        && let Some(answer) = zone.respond(packet, false)
    {
        assert!(answer.len() <= 4096);
    }
}

/// PROXY headers come to an end, within their bounds; what is understood are two ends of families that are allowed.
pub fn proxy_header(bytes: &[u8]) {
    let (kind, bytes) = first(bytes);
    let families = Families { v4: kind & 1 == 0, v6: kind & 2 == 0 };
    let mut taken = 0;
    while let Step::More(more) = read(&bytes[..taken], families) {
        assert!(more > 0 && taken + more <= 600);
        taken += more;
        if taken > bytes.len() {
            return;
        }
    }
    if let Step::Done(Some(ends)) = read(&bytes[..taken], families) {
        // A client of IPv4 may come as an address that IPv6 has for it.
        assert!(families.v6 || families.v4 && ends.client.is_ipv4() && ends.server.is_ipv4());
        assert!([ends.client.ip(), ends.server.ip()].iter().all(|ip| *ip == ip.to_canonical()));
    }
}

/// Certificates and files of them.
pub fn certificate(bytes: &[u8]) {
    if let Some(certificate) = Certificate::read(bytes) {
        let _ = (certificate.subject_line(), certificate.issuer_line(), certificate.is_self_issued());
        assert!(certificate.subject.chars().count() <= 255);
    }
    let _ = is_key(bytes);
    let _ = read_pem(bytes);
}

/// TLSA records: what counts is among what came, and says something.
pub fn tlsa(bytes: &[u8]) {
    use net::dns::Tlsa;
    use net::tls::dane::{is_about, usable, written};
    use net::tls::digest::Digest;
    let (der, records) = two(bytes);
    let records: Vec<Tlsa> = records
        .split(|b| *b == b'\n')
        .filter_map(|line| match line {
            [usage, selector, matching, data @ ..] => Some(Tlsa {
                usage: usage % 5,
                selector: selector % 3,
                matching: matching % 4,
                data: data.to_vec(),
            }),
            _ => None,
        })
        .collect();
    let found = usable(&records, &[Digest::Sha512, Digest::Sha256]);
    assert!(found.records.iter().all(|r| records.contains(r) && matches!(r.usage, 2 | 3)));
    assert!(found.records.len() + found.foreign.len() + found.broken.len() <= records.len());
    records.iter().for_each(|r| assert!(written(r).len() < 200));
    if let Some(certificate) = Certificate::read(der) {
        for record in &found.records {
            let _ = is_about(record, der, &certificate);
        }
    }
}

/// A web server's answer.
pub fn web_page(bytes: &[u8]) {
    net::fuzz::page(bytes);
}

/// MTA-STS: the record in the DNS, the policy, and the file that keeps it.
pub fn mta_sts(bytes: &[u8]) {
    smtp::fuzz::sts(&text(bytes));
}
