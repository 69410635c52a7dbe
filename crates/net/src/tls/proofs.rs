//! Who a server proves to be, in real handshakes: names, authorities, fingerprints, TLSA records, and
//! what sessions that go on are worth.

use super::certificate::Certificate;
use super::client::{Authorities, Connected, Connector, Roots, Wish};
use super::digest::Digest;
use super::proof::{Fault, Manner, Proof};
use super::{Failure, Protocols, Trust, dane, names};
use crate::dns::Tlsa;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const LONG: Duration = Duration::from_secs(20);

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Somebody who signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let made = match above {
        None => params.self_signed(&key),
        Some(above) => params.signed_by(&key, &above.issuer),
    };
    let made = made.unwrap();
    Authority { der: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) }
}

/// What a server shows, and its key.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

enum Time {
    Now,
    Past,
    Future,
}

fn leaf(names: &[&str], by: Option<&Authority>, with: &[&Authority], time: Time) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "common.example");
    let year = |from, until| (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
    (params.not_before, params.not_after) = match time {
        Time::Now => year(2000, 2200),
        Time::Past => year(2000, 2001),
        Time::Future => year(2190, 2200),
    };
    let made = match by {
        None => params.self_signed(&key),
        Some(by) => params.signed_by(&key, &by.issuer),
    };
    let mut chain = vec![made.unwrap().der().clone()];
    chain.extend(with.iter().map(|a| a.der.clone()));
    Shown { chain, key: key.serialize_der() }
}

/// A server that shows what it is told to, whatever that is.
fn acceptor(shown: &Shown) -> tokio_rustls::TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.clone()));
    let mut config = rustls::ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(shown.chain.clone(), key)
        .unwrap();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    Arc::new(config).into()
}

async fn meet(
    acceptor: &tokio_rustls::TlsAcceptor,
    connector: &Connector,
    wish: &Wish<'_>,
) -> Result<Connected<DuplexStream>, Failure> {
    let (here, there) = duplex(1 << 16);
    let client = async {
        let mut connected = connector.connect(here, wish).await?;
        // So that tickets come.
        let _ = connected.stream.read_exact(&mut [0; 1]).await;
        Ok(connected)
    };
    let server = async {
        if let Ok(mut stream) = acceptor.accept(there).await {
            let _ = stream.write_all(b"x").await;
            let _ = stream.flush().await;
        }
    };
    tokio::join!(client, server).0
}

/// One handshake of its own.
fn judged(shown: &Shown, proof: &Proof, roots: Option<&Roots>) -> (Trust, Option<Fault>) {
    run(async {
        let connector = Connector::new(Authorities::default());
        let wish = Wish { proof, roots, judge: true, ..Wish::new("x", LONG) };
        let connected = meet(&acceptor(shown), &connector, &wish).await.unwrap();
        assert_eq!(connected.judgement.proved, connected.summary.trust == Trust::Verified);
        (connected.summary.trust, connected.judgement.fault)
    })
}

/// A file that is gone when this is.
struct Kept(PathBuf);

impl Kept {
    fn of(text: &str) -> Kept {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("valija-proof-{}-{}.pem", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Kept(path)
    }

    fn roots(&self) -> Roots {
        Roots::of(Authorities { file: Some(self.0.clone()), ..Authorities::default() })
    }

    fn only(&self) -> Roots {
        Roots::of(Authorities { only: vec![self.0.clone()], ..Authorities::default() })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn wanted(names: &[&str]) -> Proof {
    Proof::Names(names.iter().map(|n| n.to_string()).collect())
}

#[test]
fn names_under_an_authority() {
    let root = authority("Root", None);
    let between = authority("Between", Some(&root));
    let file = Kept::of(&root.pem);
    let roots = file.roots();
    let of = |shown: &Shown, names: &[&str]| judged(shown, &wanted(names), Some(&roots));
    let good = leaf(&["mail.example.org"], Some(&root), &[], Time::Now);
    assert_eq!(of(&good, &["other.org", "MAIL.example.org"]), (Trust::Verified, None));
    assert_eq!(of(&good, &[".example.org"]), (Trust::Verified, None));
    assert_eq!(of(&good, &["example.org"]), (Trust::Untrusted, Some(Fault::Names)));
    assert_eq!(of(&good, &["common.example"]), (Trust::Untrusted, Some(Fault::Names)), "the CN beside names");
    assert_eq!(of(&good, &[]), (Trust::Untrusted, Some(Fault::Names)));
    let nameless = leaf(&[], Some(&root), &[], Time::Now);
    assert_eq!(of(&nameless, &["common.example"]), (Trust::Verified, None));
    let chained = leaf(&["mail.example.org"], Some(&between), &[&between], Time::Now);
    assert_eq!(of(&chained, &["mail.example.org"]), (Trust::Verified, None));
    let incomplete = leaf(&["mail.example.org"], Some(&between), &[], Time::Now);
    let unknown = Fault::UnknownIssuer("/CN=Between".into());
    let (_, fault) = of(&incomplete, &["mail.example.org"]);
    assert!(
        matches!(&fault, Some(Fault::UnknownIssuer(who)) if who.ends_with("/CN=Between")),
        "{fault:?} {unknown:?}"
    );
    let expired = leaf(&["mail.example.org"], Some(&root), &[], Time::Past);
    assert_eq!(of(&expired, &["mail.example.org"]), (Trust::Untrusted, Some(Fault::Expired)));
    assert_eq!(of(&expired, &["a.org"]), (Trust::Untrusted, Some(Fault::Names)), "names before dates");
    let early = leaf(&["mail.example.org"], Some(&root), &[], Time::Future);
    assert_eq!(of(&early, &["mail.example.org"]), (Trust::Untrusted, Some(Fault::NotYetValid)));
    let own = leaf(&["mail.example.org"], None, &[], Time::Now);
    assert_eq!(of(&own, &["mail.example.org"]), (Trust::Untrusted, Some(Fault::SelfSigned)));
    let own = leaf(&["mail.example.org"], None, &[], Time::Past);
    assert_eq!(of(&own, &["mail.example.org"]), (Trust::Untrusted, Some(Fault::SelfSigned)));
    // Somebody with the name of the authority, and another key.
    let impostor = authority("Root", None);
    let forged = leaf(&["mail.example.org"], Some(&impostor), &[&impostor], Time::Now);
    assert!(matches!(of(&forged, &["mail.example.org"]), (Trust::Untrusted, Some(_))));
    // One that may not sign, has.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.org".to_string()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "No authority");
    let made = params.signed_by(&key, &root.issuer).unwrap();
    let no_authority =
        Authority { der: made.der().clone(), pem: made.pem(), issuer: Issuer::new(params, key) };
    let abused = leaf(&["mail.example.org"], Some(&no_authority), &[&no_authority], Time::Now);
    assert!(matches!(of(&abused, &["mail.example.org"]), (Trust::Untrusted, Some(_))));
    // Nobody is trusted where nobody is named.
    let none = Roots::default();
    assert_eq!(judged(&good, &wanted(&["mail.example.org"]), Some(&none)).0, Trust::Untrusted);
    // Nothing is to be proved.
    assert_eq!(judged(&good, &Proof::Nothing, Some(&roots)), (Trust::Trusted, None));
    assert_eq!(judged(&expired, &Proof::Nothing, Some(&roots)), (Trust::Untrusted, Some(Fault::Expired)));
}

#[test]
fn long_chains_and_wildcards() {
    let root = authority("Root", None);
    let one = authority("One", Some(&root));
    let two = authority("Two", Some(&one));
    let file = Kept::of(&root.pem);
    let roots = file.roots();
    let shown = leaf(&["*.example.org"], Some(&two), &[&two, &one], Time::Now);
    let of = |name: &str, depth: usize, many_labels: bool| {
        run(async {
            let proof = wanted(&[name]);
            let manner = Manner { names: names::Manner { many_labels }, depth };
            let connector = Connector::new(Authorities::default());
            let wish = Wish { proof: &proof, roots: Some(&roots), manner, ..Wish::new("x", LONG) };
            meet(&acceptor(&shown), &connector, &wish).await.unwrap().judgement.fault
        })
    };
    assert_eq!(of("mail.example.org", 9, false), None);
    assert_eq!(of("mail.example.org", 2, false), None);
    assert_eq!(of("mail.example.org", 1, false), Some(Fault::TooLong(1)));
    assert_eq!(of("a.mail.example.org", 9, false), Some(Fault::Names));
    assert_eq!(of("a.mail.example.org", 9, true), None);
}

#[test]
fn trust_anchor_files() {
    let root = authority("Root", None);
    let between = authority("Between", Some(&root));
    let shown = leaf(&["mail.example.org"], Some(&between), &[], Time::Now);
    let proof = wanted(&["mail.example.org"]);
    // The issuer itself, though it is no root; its key alone.
    let issuer = Kept::of(&between.pem);
    assert_eq!(judged(&shown, &proof, Some(&issuer.only())), (Trust::Verified, None));
    let spki = Certificate::read(&between.der).unwrap().spki;
    let key = Kept::of(&pem("PUBLIC KEY", &spki));
    assert_eq!(judged(&shown, &proof, Some(&key.only())), (Trust::Verified, None));
    let other = authority("Between", None);
    let spki = Certificate::read(&other.der).unwrap().spki;
    let key = Kept::of(&pem("PUBLIC KEY", &spki));
    assert_eq!(judged(&shown, &proof, Some(&key.only())).0, Trust::Untrusted);
    let nothing = Kept::of("nothing\n");
    run(async {
        let roots = nothing.only();
        let (anchors, trouble) = roots.anchors().await;
        assert!(anchors.list.is_empty() && trouble[0].contains("neither certificates nor public keys"));
    });
}

fn pem(kind: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {kind}-----\n");
    for chunk in der.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i > chunk.len() { '=' } else { digit });
        }
    }
    text + &format!("\n-----END {kind}-----\n")
}

#[test]
fn fingerprints() {
    let shown = leaf(&["whatever.org"], None, &[], Time::Past);
    let own = Certificate::read(&shown.chain[0]).unwrap();
    for digest in [Digest::Md5, Digest::Sha1, Digest::Sha256, Digest::Sha512] {
        for good in [digest.of(&shown.chain[0]), digest.of(&own.spki)] {
            let proof = Proof::Fingerprints(digest, vec![vec![1, 2], good]);
            assert_eq!(judged(&shown, &proof, None), (Trust::Verified, None));
        }
    }
    let other = Proof::Fingerprints(Digest::Sha256, vec![Digest::Sha512.of(&own.spki), vec![]]);
    assert_eq!(judged(&shown, &other, None), (Trust::Untrusted, Some(Fault::NoMatch)));
    let none = Proof::Fingerprints(Digest::Sha256, vec![]);
    assert!(matches!(judged(&shown, &none, None), (Trust::Untrusted, Some(Fault::Other(_)))));
    let none = Proof::Dane(vec![], vec![]);
    assert!(matches!(judged(&shown, &none, None), (Trust::Untrusted, Some(Fault::Other(_)))));
}

fn tlsa(usage: u8, selector: u8, matching: u8, der: &[u8]) -> Tlsa {
    let spki = Certificate::read(der).unwrap().spki;
    let bytes = if selector == 0 { der } else { &spki };
    let data = match matching {
        0 => bytes.to_vec(),
        1 => Digest::Sha256.of(bytes),
        _ => Digest::Sha512.of(bytes),
    };
    Tlsa { usage, selector, matching, data }
}

/// What records prove, after those that do not count are left out.
fn associated(shown: &Shown, records: &[Tlsa], names: &[&str]) -> (Trust, Option<Fault>) {
    let usable = dane::usable(records, &[Digest::Sha512, Digest::Sha256]);
    let proof = Proof::Dane(usable.records, names.iter().map(|n| n.to_string()).collect());
    judged(shown, &proof, None)
}

#[test]
fn dane_for_the_server_itself() {
    for time in [Time::Now, Time::Past, Time::Future] {
        let shown = leaf(&["another.name"], None, &[], time);
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let record = tlsa(3, selector, matching, &shown.chain[0]);
                let found = associated(&shown, &[record], &["mail.example.org"]);
                assert_eq!(found, (Trust::Verified, None), "3 {selector} {matching}");
            }
        }
    }
    let (shown, other) = (
        leaf(&["mail.example.org"], None, &[], Time::Now),
        leaf(&["mail.example.org"], None, &[], Time::Now),
    );
    let wrong = tlsa(3, 1, 1, &other.chain[0]);
    assert_eq!(associated(&shown, &[wrong], &["mail.example.org"]), (Trust::Untrusted, Some(Fault::NoMatch)));
    // A certificate that is only shown beside the server's own proves nothing for usage 3.
    let mixed = Shown { chain: vec![shown.chain[0].clone(), other.chain[0].clone()], key: shown.key.clone() };
    let record = tlsa(3, 1, 1, &other.chain[0]);
    assert_eq!(associated(&mixed, &[record], &["mail.example.org"]).0, Trust::Untrusted);
    // The usages of the web are not for mail, even if they fit. RFC 7672 3.1.3
    for usage in [0, 1, 4, 255] {
        let record = tlsa(usage, 1, 1, &shown.chain[0]);
        assert_eq!(associated(&shown, &[record], &["mail.example.org"]).0, Trust::Untrusted, "{usage}");
    }
}

#[test]
fn dane_for_an_authority() {
    let root = authority("Root", None);
    let between = authority("Between", Some(&root));
    let shown = leaf(&["mail.example.org"], Some(&between), &[&between, &root], Time::Now);
    for authority in [&between, &root] {
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let record = tlsa(2, selector, matching, &authority.der);
                let found = associated(&shown, std::slice::from_ref(&record), &["mail.example.org"]);
                assert_eq!(found, (Trust::Verified, None), "2 {selector} {matching}");
                let found = associated(&shown, &[record], &["example.org"]);
                assert_eq!(found, (Trust::Untrusted, Some(Fault::Names)), "2 {selector} {matching}");
            }
        }
    }
    // Not shown: by digest it cannot be found, in full it can. RFC 7671 5.2.2
    let short = leaf(&["mail.example.org"], Some(&between), &[], Time::Now);
    let by_digest = tlsa(2, 0, 1, &between.der);
    assert_eq!(associated(&short, &[by_digest], &["mail.example.org"]).1, Some(Fault::NoMatch));
    for selector in [0, 1] {
        let in_full = tlsa(2, selector, 0, &between.der);
        assert_eq!(associated(&short, &[in_full], &["mail.example.org"]).0, Trust::Verified, "{selector}");
    }
    // Its time counts here, and so does who signed.
    let expired = leaf(&["mail.example.org"], Some(&between), &[&between], Time::Past);
    let record = tlsa(2, 0, 1, &between.der);
    assert_eq!(
        associated(&expired, std::slice::from_ref(&record), &["mail.example.org"]).1,
        Some(Fault::Expired)
    );
    let stranger = leaf(&["mail.example.org"], None, &[&between], Time::Now);
    assert_eq!(
        associated(&stranger, std::slice::from_ref(&record), &["mail.example.org"]).0,
        Trust::Untrusted
    );
    // The server's own certificate is no authority.
    let own = tlsa(2, 0, 1, &shown.chain[0]);
    assert_eq!(associated(&shown, &[own], &["mail.example.org"]).0, Trust::Untrusted);
    // A good record beside bad ones.
    let other = authority("Other", None);
    let records = [tlsa(2, 1, 1, &other.der), tlsa(3, 1, 1, &other.der), record];
    assert_eq!(associated(&shown, &records, &["mail.example.org"]), (Trust::Verified, None));
}

#[test]
fn a_server_without_the_key_of_its_certificate() {
    let (real, thief) = (
        leaf(&["mail.example.org"], None, &[], Time::Now),
        leaf(&["mail.example.org"], None, &[], Time::Now),
    );
    let record = tlsa(3, 1, 1, &real.chain[0]);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(thief.key.clone()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let stolen = rustls::sign::CertifiedKey::new(real.chain.clone(), key);
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let config = rustls::ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(versions.as_slice())
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen.clone())));
        let acceptor: tokio_rustls::TlsAcceptor = Arc::new(config).into();
        run(async {
            let connector = Connector::new(Authorities::default());
            let proof = Proof::Dane(vec![record.clone()], vec![]);
            let wish = Wish { proof: &proof, ..Wish::new("x", LONG) };
            let failed = meet(&acceptor, &connector, &wish).await;
            assert!(matches!(failed, Err(Failure::Handshake(_))), "the signature is another's");
            // Where nothing is to be proved mail goes; nothing is called trusted, nothing remembered.
            let file = Kept::of(&pem("CERTIFICATE", &real.chain[0]));
            let roots = file.only();
            let wish = Wish { judge: true, roots: Some(&roots), ..Wish::new("y", LONG) };
            for _ in 0..2 {
                let connected = meet(&acceptor, &connector, &wish).await.unwrap();
                assert_eq!((connected.summary.trust, connected.summary.resumed), (Trust::Untrusted, false));
            }
        });
    }
}

#[test]
fn a_session_that_goes_on_is_judged_anew() {
    let root = authority("Root", None);
    let file = Kept::of(&root.pem);
    let roots = file.roots();
    let shown = leaf(&["mail.example.org"], Some(&root), &[], Time::Now);
    let acceptor = acceptor(&shown);
    for protocols in [Protocols::ALL, Protocols { tls12: true, tls13: false }] {
        run(async {
            let connector = Connector::new(Authorities::default());
            let ask = async |session: &str, proof: &Proof, roots: Option<&Roots>| {
                let wish = Wish { proof, roots, protocols, judge: true, ..Wish::new(session, LONG) };
                let connected = meet(&acceptor, &connector, &wish).await.unwrap();
                (connected.summary.resumed, connected.summary.trust)
            };
            let good = wanted(&["mail.example.org"]);
            assert_eq!(ask("a", &good, Some(&roots)).await, (false, Trust::Verified));
            assert_eq!(ask("a", &good, Some(&roots)).await, (true, Trust::Verified));
            // Under one key with another policy (which must not happen): still nothing is taken for proved.
            assert_eq!(ask("a", &wanted(&["other.org"]), Some(&roots)).await, (true, Trust::Untrusted));
            let nobody = Roots::default();
            assert_eq!(ask("a", &good, Some(&nobody)).await, (true, Trust::Untrusted));
            let records = Proof::Dane(vec![tlsa(3, 1, 1, &root.der)], vec![]);
            assert_eq!(ask("a", &records, None).await, (true, Trust::Untrusted));
            // Under another key there is nothing to resume.
            assert_eq!(ask("b", &good, Some(&roots)).await, (false, Trust::Verified));
            // What began without a proof is not used for one: its signature may not have been checked.
            assert_eq!(ask("c", &Proof::Nothing, Some(&roots)).await, (false, Trust::Trusted));
            assert_eq!(ask("c", &good, Some(&roots)).await, (false, Trust::Verified));
        });
    }
}

#[test]
fn absurd_chains() {
    let root = authority("Root", None);
    let file = Kept::of(&root.pem);
    let roots = file.roots();
    let good = leaf(&["mail.example.org"], Some(&root), &[], Time::Now);
    let garbage = CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 1, 2, 3]);
    let mut all = vec![good.chain[0].clone()];
    all.extend(std::iter::repeat_n(garbage, 50));
    all.extend(std::iter::repeat_n(root.der.clone(), 20));
    let shown = Shown { chain: all, key: good.key };
    assert_eq!(judged(&shown, &wanted(&["mail.example.org"]), Some(&roots)), (Trust::Verified, None));
    let absurd: Vec<Tlsa> = (0..100u8)
        .map(|n| Tlsa { usage: n % 5, selector: n % 3, matching: n % 4, data: vec![n; 64] })
        .collect();
    assert_eq!(associated(&shown, &absurd, &["mail.example.org"]).0, Trust::Untrusted);
}
