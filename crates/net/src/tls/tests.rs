//! Handshakes between both sides, with keys of several kinds and with peers that misbehave.

use super::client::{Authorities, Connector, Wish};
use super::server::{Acceptor, Identity, Say, Setup, Trouble};
use super::{Failure, Protocols, Summary, Trust};
use crate::Stream;
use rustls::NamedGroup;
use rustls::client::ClientSessionStore;
use rustls::pki_types::ServerName;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const LONG: Duration = Duration::from_secs(20);

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A directory with a certificate and its key.
struct Site {
    directory: PathBuf,
}

impl Site {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("valija-tls-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let ca_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["mail.example.org".to_string()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join("ca.pem"), ca_pem).unwrap();
        std::fs::write(directory.join("cert.pem"), leaf.pem()).unwrap();
        std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
        let both = format!("{}{}", key.serialize_pem(), leaf.pem());
        std::fs::write(directory.join("chain.pem"), both).unwrap();
        Site { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn pair(&self) -> Identity {
        Identity::Pair { kind: "RSA", certificate: self.file("cert.pem"), key: self.file("key.pem") }
    }

    fn acceptor(&self, protocols: Protocols) -> Acceptor {
        let setup = Setup { identities: vec![self.pair()], protocols, ..Setup::default() };
        Acceptor::load(&setup, Arc::new(|p| File::open(p))).unwrap().0
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn wish(protocols: Protocols) -> Wish<'static> {
    Wish { protocols, judge: true, ..Wish::new("smtp test", LONG) }
}

/// Both sides of one connection; some bytes are sent each way.
async fn meet(acceptor: &Acceptor, connector: &Connector, protocols: Protocols) -> (Summary, Summary) {
    let (here, there) = duplex(1 << 16);
    let client = async {
        let mut connected = connector.connect(here, &wish(protocols)).await.unwrap();
        assert!(connected.stream.is_encrypted() && connected.trouble.is_empty());
        connected.stream.write_all(b"EHLO x\r\n").await.unwrap();
        let mut answer = [0; 5];
        connected.stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"250 x");
        connected.summary
    };
    let server = async {
        let (mut stream, summary) = acceptor.accept(there, LONG).await.outcome.unwrap();
        let mut said = [0; 8];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(b"250 x").await.unwrap();
        stream.flush().await.unwrap();
        summary
    };
    tokio::join!(client, server)
}

#[test]
fn the_words_of_a_connection() {
    run(async {
        let site = Site::new(&rcgen::PKCS_RSA_SHA256);
        let none = || Connector::new(Authorities::default());
        let (client, server) = meet(&site.acceptor(Protocols::ALL), &none(), Protocols::ALL).await;
        let words = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 \
                     server-signature RSA-PSS (2048 bits) server-digest SHA256";
        assert_eq!((client.to_string().as_str(), server.to_string().as_str()), (words, words));
        assert_eq!((client.trust, server.trust), (Trust::Untrusted, Trust::Anonymous));
        assert_eq!(
            server.received(),
            [
                "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)",
                " key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)",
            ]
        );
        let old = Protocols { tls12: true, tls13: false };
        let (client, server) = meet(&site.acceptor(Protocols::ALL), &none(), old).await;
        assert_eq!(client.to_string(), "TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)");
        assert_eq!(
            server.received(),
            ["(using TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits))"]
        );
        let curve = Site::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (client, _) = meet(&curve.acceptor(Protocols::ALL), &none(), Protocols::ALL).await;
        assert!(client.to_string().ends_with("server-signature ECDSA (prime256v1) server-digest SHA256"));
    });
}

#[test]
fn a_chain_that_verifies_and_a_session_that_goes_on() {
    run(async {
        let site = Site::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let acceptor = site.acceptor(Protocols::ALL);
        for protocols in [Protocols::ALL, Protocols { tls12: true, tls13: false }] {
            let file = Some(site.file("ca.pem"));
            let connector = Connector::new(Authorities { file, ..Authorities::default() });
            let (first, _) = meet(&acceptor, &connector, protocols).await;
            assert_eq!((first.trust, first.resumed), (Trust::Trusted, false));
            let peer = first.peer.unwrap();
            assert_eq!((peer.issuer.as_str(), peer.fingerprint.len()), ("Test CA", 95));
            let (again, server) = meet(&acceptor, &connector, protocols).await;
            assert_eq!((again.trust, again.resumed, server.resumed), (Trust::Trusted, true, true));
            assert_eq!(again.digest, None, "nothing was signed");
            // Another destination, or another policy, does not use it.
            let (here, there) = duplex(1 << 16);
            let other = Wish { session: "another", ..wish(protocols) };
            let (connected, _) = tokio::join!(connector.connect(here, &other), acceptor.accept(there, LONG));
            assert!(!connected.unwrap().summary.resumed);
        }
        // A certificate among them that is no authority verifies nothing, not even itself.
        let file = Some(site.file("cert.pem"));
        let connector = Connector::new(Authorities { file, ..Authorities::default() });
        assert_eq!(meet(&acceptor, &connector, Protocols::ALL).await.0.trust, Trust::Untrusted);
        let other = Site::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let file = Some(other.file("ca.pem"));
        let connector = Connector::new(Authorities { file, ..Authorities::default() });
        assert_eq!(meet(&acceptor, &connector, Protocols::ALL).await.0.trust, Trust::Untrusted);
    });
}

#[test]
fn authorities_that_cannot_be_read_are_told_once() {
    run(async {
        let site = Site::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let acceptor = site.acceptor(Protocols::ALL);
        let file = Some(PathBuf::from("/nonexistent/ca.pem"));
        let connector = Connector::new(Authorities { file, ..Authorities::default() });
        let mut told = Vec::new();
        for _ in 0..2 {
            let (here, there) = duplex(1 << 16);
            let wish = wish(Protocols::ALL);
            let (connected, _) = tokio::join!(connector.connect(here, &wish), acceptor.accept(there, LONG));
            told.push(connected.unwrap().trouble);
        }
        assert_eq!(told, [vec!["/nonexistent/ca.pem: No such file or directory".to_string()], vec![]]);
    });
}

async fn connect_to(text: &[u8], close: bool, limit: Duration) -> Failure {
    let connector = Connector::new(Authorities::default());
    let (here, mut there) = duplex(1 << 16);
    there.write_all(text).await.unwrap();
    let _open = (!close).then_some(there);
    connector.connect(here, &Wish { limit, ..wish(Protocols::ALL) }).await.err().unwrap()
}

#[test]
fn peers_that_misbehave() {
    run(async {
        assert!(matches!(connect_to(b"", true, LONG).await, Failure::Lost));
        assert!(matches!(connect_to(b"", false, Duration::from_millis(5)).await, Failure::Timeout));
        let garbage = connect_to(b"250 this is no TLS\r\n", false, LONG).await;
        assert!(matches!(garbage, Failure::Handshake(_)), "{garbage:?}");

        let site = Site::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let acceptor = site.acceptor(Protocols { tls12: false, tls13: true });
        let (here, there): (DuplexStream, DuplexStream) = duplex(1 << 16);
        let connector = Connector::new(Authorities::default());
        let wish = wish(Protocols { tls12: true, tls13: false });
        let client = async move { connector.connect(here, &wish).await.map(|_| ()) };
        let (client, server) = tokio::join!(client, acceptor.accept(there, LONG));
        assert!(matches!(client, Err(Failure::Handshake(_))));
        assert!(matches!(server.outcome, Err(Failure::Handshake(_))));
    });
}

#[test]
fn certificates_and_keys_that_cannot_be_used() {
    let (site, other) = (Site::new(&rcgen::PKCS_ED25519), Site::new(&rcgen::PKCS_ED25519));
    let load = |identity: Identity| -> Trouble {
        let setup = Setup { identities: vec![identity], ..Setup::default() };
        Acceptor::load(&setup, Arc::new(|p| File::open(p))).err().unwrap_or_default()
    };
    let pair = |certificate: PathBuf, key: PathBuf| Identity::Pair { kind: "RSA", certificate, key };
    let warning = |trouble: &Trouble, text: &str| {
        assert!(trouble.iter().any(|s| *s == Say::Warning(text.to_string())), "{trouble:#?} has no {text}");
    };
    let library = |trouble: Trouble, text: &str| {
        let has = |s: &Say| matches!(s, Say::Library(what) if what.contains(text));
        assert!(trouble.iter().any(has), "{trouble:#?} has no {text}");
    };
    assert_eq!(load(site.pair()), []);
    assert_eq!(load(Identity::Chains(vec![site.file("chain.pem"), other.file("chain.pem")])), []);
    let missing = load(pair("/nonexistent/x.pem".into(), site.file("key.pem")));
    warning(&missing, "cannot get RSA certificate from file \"/nonexistent/x.pem\": disabling TLS support");
    library(missing, "No such file or directory");
    library(load(pair(site.file("key.pem"), site.file("key.pem"))), "no certificate in PEM");
    library(load(pair(site.file("cert.pem"), site.file("cert.pem"))), "no private key in PEM");
    library(load(pair(site.file("cert.pem"), other.file("key.pem"))), "do not belong together");
    let rsa = Site::new(&rcgen::PKCS_RSA_SHA256);
    let (cert, key) = (site.file("cert.pem"), rsa.file("key.pem"));
    let words = format!(
        "RSA private key in {} does not match public key in {}: disabling TLS support",
        key.display(),
        cert.display()
    );
    warning(&load(pair(cert, key)), &words);
    let chain = |name: &str, words: &str| {
        let file = site.file(name);
        let trouble = load(Identity::Chains(vec![file.clone()]));
        warning(&trouble, &words.replace("FILE", &file.display().to_string()));
        let last = "error loading private keys and certificates from: FILE: disabling TLS support";
        warning(&trouble, &last.replace("FILE", &file.display().to_string()));
    };
    std::fs::write(site.file("empty.pem"), "").unwrap();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(site.file("password.pem"), encrypted).unwrap();
    chain("cert.pem", "error loading chain from FILE: key not first");
    chain("key.pem", "No certs for key at index 1 in FILE");
    chain("empty.pem", "No PEM data in FILE");
    chain("missing.pem", "error opening chain file: FILE: No such file or directory");
    library(load(pair(site.file("cert.pem"), site.file("password.pem"))), "openssl pkey");
    warning(&load(Identity::Chains(vec![])), "No server certs available. TLS won't be enabled");
}

#[test]
fn protocol_words() {
    let parse = |text: &str| {
        let words: Vec<String> = text.split([' ', ',']).filter(|w| !w.is_empty()).map(String::from).collect();
        Protocols::parse(&words).map(|p| (p.tls12, p.tls13))
    };
    assert_eq!(parse(""), Ok((true, true)));
    assert_eq!(parse(">=TLSv1"), Ok((true, true)));
    assert_eq!(parse(">=TLSv1.3"), Ok((false, true)));
    assert_eq!(parse("<=TLSv1.2"), Ok((true, false)));
    assert_eq!(parse("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"), Ok((true, true)));
    assert_eq!(parse("!SSLv2,!SSLv3,!TLSv1.3"), Ok((true, false)));
    assert_eq!(parse("TLSv1.2"), Ok((true, false)));
    assert_eq!(parse("TLSv1 TLSv1.1"), Ok((false, false)));
    assert_eq!(parse(">=0304"), Ok((false, true)));
    assert_eq!(parse("TLSv9"), Err("TLSv9".into()));
    assert_eq!(parse("!!TLSv1"), Err("!!TLSv1".into()));
    assert_eq!(parse("=TLSv1"), Err("=TLSv1".into()));
}

#[test]
fn sessions_are_bounded() {
    let sessions = std::sync::Arc::new(super::sessions::Sessions::default());
    for n in 0..2000 {
        let own = sessions.of(&format!("smtp:{n}"));
        own.set_kx_hint(ServerName::try_from("a.example").unwrap(), NamedGroup::X25519);
    }
    assert_eq!(sessions.len(), 512);
    let hint = |key: &str| sessions.of(key).kx_hint(&ServerName::try_from("a.example").unwrap());
    assert_eq!((hint("smtp:1999"), hint("smtp:0")), (Some(NamedGroup::X25519), None));
}

#[test]
fn a_plain_stream_is_not_encrypted() {
    run(async {
        let (here, mut there) = duplex(64);
        let mut stream = Stream::Plain(here);
        assert!(!stream.is_encrypted());
        stream.write_all(b"QUIT").await.unwrap();
        let mut said = [0; 4];
        there.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"QUIT");
    });
}
