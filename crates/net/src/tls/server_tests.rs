//! The server's side: clients' certificates, names, tickets, files that change, clients that misbehave.

use super::client::Authorities;
use super::server::{Accepted, Acceptor, Ciphers, Digest, Guests, Identity, Say, Setup, StandIn};
use super::{Failure, Protocols, Summary, Trust};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const LONG: Duration = Duration::from_secs(20);

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("valija-server-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.0.join(name), text).unwrap();
        self.0.join(name)
    }

    fn chain(&self, name: &str, host: &str) -> Identity {
        Identity::Chains(vec![self.write(name, &pem(host))])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Key and certificate of a host.
fn pem(host: &str) -> String {
    let made = rcgen::generate_simple_self_signed(vec![host.to_string()]).unwrap();
    format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem())
}

fn load(setup: Setup) -> Acceptor {
    Acceptor::load(&setup, Arc::new(|p: &Path| File::open(p))).map_err(|t| format!("{t:?}")).unwrap().0
}

/// An authority, and what it signs.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Ca {
    fn new(name: &str) -> Ca {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parts = CertificateParams::new(vec![]).unwrap();
        parts.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parts.distinguished_name.push(DnType::CommonName, name);
        let pem = parts.self_signed(&key).unwrap().pem();
        Ca { issuer: Issuer::new(parts, key), pem }
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parts = CertificateParams::new(vec![]).unwrap();
        parts.distinguished_name = rcgen::DistinguishedName::new();
        parts.distinguished_name.push(DnType::CommonName, name);
        change(&mut parts);
        let certificate = parts.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        super::provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client(shown: Option<Shown>, protocols: Protocols) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&protocols.versions())
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    Arc::new(match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// What the server says of a client, and the name in the server's certificate.
async fn meet(
    acceptor: &Acceptor,
    config: Arc<ClientConfig>,
    name: &str,
) -> (Accepted<DuplexStream>, String) {
    let (here, there) = duplex(1 << 16);
    let name = ServerName::try_from(name.to_string()).unwrap();
    let client = async {
        let mut stream = tokio_rustls::TlsConnector::from(config).connect(name, here).await.ok()?;
        // Tickets come with the first bytes.
        stream.read_exact(&mut [0; 3]).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        super::certificate::Certificate::read(chain.first()?)?.names.first().cloned()
    };
    let server = async {
        let mut accepted = acceptor.accept(there, LONG).await;
        if let Ok((stream, _)) = &mut accepted.outcome {
            let _ = stream.write_all(b"220").await;
            let _ = stream.flush().await;
        }
        accepted
    };
    let (shown, accepted) = tokio::join!(client, server);
    (accepted, shown.unwrap_or_default())
}

fn summary(accepted: &Accepted<DuplexStream>) -> &Summary {
    &accepted.outcome.as_ref().unwrap().1
}

const OLD: Protocols = Protocols { tls12: true, tls13: false };

#[test]
fn certificates_of_clients() {
    let folder = Folder::new();
    let (ca, other) = (Ca::new("CA"), Ca::new("Other CA"));
    let file = Some(folder.write("ca.pem", &ca.pem));
    let guests =
        |depth| Guests { authorities: Authorities { file: file.clone(), ..Default::default() }, depth };
    let setup = |depth| Setup {
        identities: vec![folder.chain("own.pem", "mx.example.org")],
        guests: Some(guests(depth)),
        digest: Digest::Sha1,
        ..Setup::default()
    };
    let acceptor = load(setup(9));
    run(async {
        for protocols in [Protocols::ALL, OLD] {
            let config = client(Some(ca.sign("jose", |_| {})), protocols);
            for resumed in [false, true] {
                let (accepted, _) = meet(&acceptor, config.clone(), "mx.example.org").await;
                let summary = summary(&accepted);
                assert_eq!((summary.trust, summary.resumed), (Trust::Trusted, resumed));
                let peer = summary.trusted_peer().unwrap();
                assert_eq!((peer.subject.as_str(), peer.issuer.as_str()), ("jose", "CA"));
                assert_eq!((peer.fingerprint.len(), peer.key_fingerprint.len()), (59, 59));
                let new = protocols.tls13;
                assert_eq!(summary.client_signature.is_some(), new);
                assert_eq!(summary.client_digest, (new && !resumed).then_some("SHA256"));
                assert_eq!(summary.received().len(), if new { 3 } else { 1 });
                assert_eq!(accepted.untrusted, None);
            }
        }
        let why = async |shown: Shown| {
            let (accepted, _) = meet(&acceptor, client(Some(shown), Protocols::ALL), "a.example").await;
            assert_eq!(summary(&accepted).trust, Trust::Untrusted);
            assert!(summary(&accepted).peer.is_some() && summary(&accepted).trusted_peer().is_none());
            accepted.untrusted.unwrap()
        };
        let of = "certificate verification failed for {client}: ";
        assert!(
            why(other.sign("x", |_| {}))
                .await
                .ends_with("untrusted issuer /O=rcgen self signed cert/CN=Other CA")
                || why(other.sign("x", |_| {})).await.contains("untrusted issuer ")
        );
        let old = ca.sign("x", |p| p.not_after = rcgen::date_time_ymd(2020, 1, 1));
        assert_eq!(why(old).await, format!("client {of}certificate has expired"));
        let early = ca.sign("x", |p| p.not_before = rcgen::date_time_ymd(2090, 1, 1));
        assert_eq!(why(early).await, format!("client {of}certificate not yet valid"));
        let server = ca.sign("x", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert_eq!(why(server).await, format!("{of}not designated for use as a client certificate"));
        let (accepted, _) = meet(&acceptor, client(None, Protocols::ALL), "a.example").await;
        assert_eq!((summary(&accepted).trust, &accepted.untrusted), (Trust::Anonymous, &None));
        let shallow = load(setup(0));
        let config = client(Some(ca.sign("jose", |_| {})), Protocols::ALL);
        let (accepted, _) = meet(&shallow, config, "a.example").await;
        assert!(accepted.untrusted.unwrap().ends_with("certificate chain longer than limit(0)"));
    });
    let missing = Authorities { file: Some("/nonexistent/ca.pem".into()), ..Default::default() };
    let setup = Setup { guests: Some(Guests { authorities: missing, depth: 9 }), ..setup(9) };
    let trouble = Acceptor::load(&setup, Arc::new(|p: &Path| File::open(p))).err().unwrap();
    assert!(matches!(&trouble[0], Say::Info(w) if w.starts_with("cannot load Certification Authority data")));
}

#[test]
fn names() {
    let folder = Folder::new();
    let (one, two) =
        (folder.write("one.pem", &pem("one.example")), folder.write("two.pem", &pem("two.example")));
    let coded = {
        let text = std::fs::read(&two).unwrap();
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let code = |chunk: &[u8]| -> String {
            let bits = chunk.iter().chain([&0, &0]).take(3).fold(0u32, |n, b| n << 8 | u32::from(*b));
            (0..=chunk.len()).map(|i| char::from(digits[(bits >> (18 - 6 * i) & 63) as usize])).collect()
        };
        text.chunks(3).map(code).collect::<String>()
    };
    let (path, key_only) =
        (one.display().to_string(), folder.write("key.pem", pem("x").split_once("-----BEGIN C").unwrap().0));
    let look_up = move |name: &str| {
        Ok(Some(match name {
            "one.example" => format!("{path}, "),
            ".below.example" => coded.clone(),
            "gone.example" => "/nonexistent/x.pem".to_string(),
            "bad.example" => key_only.display().to_string(),
            "broken.example" => return Err("table: cannot be read".into()),
            _ => return Ok(None),
        }))
    };
    let acceptor = load(Setup {
        identities: vec![folder.chain("own.pem", "mx.example.org")],
        names: Some(Arc::new(look_up)),
        ..Setup::default()
    });
    run(async {
        let ask = async |name: &str| meet(&acceptor, client(None, Protocols::ALL), name).await;
        for (name, shown, known) in [
            ("one.example", "one.example", true),
            ("ONE.Example", "one.example", true),
            ("a.b.below.example", "two.example", true),
            ("below.example", "mx.example.org", false),
            ("x.one.example", "mx.example.org", false),
            ("10.1.2.3", "mx.example.org", false),
            ("gone.example", "mx.example.org", false),
        ] {
            let (accepted, got) = ask(name).await;
            assert_eq!(got, shown, "{name}");
            assert_eq!(
                summary(&accepted).name.as_deref(),
                known.then_some(name.to_ascii_lowercase().as_str())
            );
            assert_eq!(accepted.unmatched.is_some(), !known && name != "10.1.2.3", "{name}");
        }
        let (bad, _) = ask("bad.example").await;
        assert!(matches!(bad.outcome, Err(Failure::Handshake(_))));
        assert!(
            bad.says
                .contains(&Say::Warning("No certs for key at index 1 in SNI data for bad.example".into()))
        );
        let (broken, _) = ask("broken.example").await;
        assert!(broken.outcome.is_err());
        assert!(broken.says.contains(&Say::Warning("TLS SNI broken.example: table: cannot be read".into())));
        std::fs::write(&one, pem("renewed.example")).unwrap();
        assert_eq!(ask("one.example").await.1, "renewed.example");
        std::fs::remove_file(&one).unwrap();
        assert_eq!(ask("one.example").await.1, "renewed.example");
    });
}

#[test]
fn certificates_that_change() {
    let folder = Folder::new();
    let setup = Setup { identities: vec![folder.chain("own.pem", "old.example")], ..Setup::default() };
    let acceptor = load(setup);
    run(async {
        let config = client(None, Protocols::ALL);
        let ask = async || meet(&acceptor, config.clone(), "mx.example").await;
        let (accepted, shown) = ask().await;
        assert_eq!((shown.as_str(), accepted.says.len()), ("old.example", 0));
        folder.write("own.pem", &pem("new.example"));
        let (accepted, shown) = meet(&acceptor, client(None, Protocols::ALL), "mx.example").await;
        assert_eq!(shown, "new.example");
        assert!(
            matches!(&accepted.says[..], [Say::Info(w)] if w.starts_with("certificates and keys changed"))
        );
        // Sessions that began before go on.
        assert!(summary(&ask().await.0).resumed);
        // Half of a new one, twice: said once.
        let half = pem("half.example");
        folder.write("own.pem", &half[..half.len() / 2]);
        let (accepted, shown) = meet(&acceptor, client(None, Protocols::ALL), "mx.example").await;
        assert_eq!(shown, "new.example");
        let last = accepted.says.last().unwrap();
        assert!(matches!(last, Say::Warning(w) if w.contains("the former stay")), "{:?}", accepted.says);
        assert!(!format!("{:?}", accepted.says).contains("disabling"));
        assert_eq!(ask().await.0.says, []);
        folder.write("own.pem", &pem("whole.example"));
        assert_eq!(meet(&acceptor, client(None, Protocols::ALL), "mx.example").await.1, "whole.example");
        std::fs::remove_file(folder.0.join("own.pem")).unwrap();
        assert_eq!(meet(&acceptor, client(None, Protocols::ALL), "mx.example").await.1, "whole.example");
    });
}

#[test]
fn a_stand_in_is_made_and_kept() {
    let folder = Folder::new();
    let setup = |host: &str| Setup {
        stand_in: Some(StandIn { host: host.into(), directory: folder.0.clone() }),
        ..Setup::default()
    };
    let open = |setup: Setup| Acceptor::load(&setup, Arc::new(|p: &Path| File::open(p)));
    let said = |says: &[Say]| match says {
        [Say::Warning(line)] => line.clone(),
        other => panic!("{other:?}"),
    };
    let (acceptor, says) = open(setup("mx.example.org")).ok().unwrap();
    assert!(said(&says).contains("made a self-signed one for mx.example.org"));
    let path = folder.0.join("smtpd_self_signed.pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read(&path).unwrap();
    run(async {
        assert_eq!(meet(&acceptor, client(None, OLD), "mx.example.org").await.1, "mx.example.org");
    });
    assert!(said(&open(setup("mx.example.org")).ok().unwrap().1).contains("using the self-signed one"));
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert!(said(&open(setup("other.example")).ok().unwrap().1).contains("made a self-signed one for other"));
    std::fs::write(&path, "garbage").unwrap();
    assert!(said(&open(setup("other.example")).ok().unwrap().1).contains("made"));
    let nowhere = Setup {
        stand_in: Some(StandIn { host: "a.example".into(), directory: "/nonexistent".into() }),
        ..Setup::default()
    };
    let trouble = open(nowhere).err().unwrap();
    assert!(
        matches!(&trouble[..], [Say::Warning(_), Say::Library(why)] if why == "No such file or directory")
    );
}

#[test]
fn tickets_and_ciphers() {
    let folder = Folder::new();
    let identities = || vec![folder.chain("own.pem", "mx.example.org")];
    let unforgetting = load(Setup { identities: identities(), ..Setup::default() });
    let forgetting = load(Setup { identities: identities(), tickets: None, ..Setup::default() });
    let aes128 = load(Setup {
        identities: identities(),
        ciphers: Ciphers::default().excluding(["AES256", "CHACHA20"]),
        ..Setup::default()
    });
    run(async {
        for protocols in [Protocols::ALL, OLD] {
            for (acceptor, resumed) in [(&unforgetting, true), (&forgetting, false)] {
                let config = client(None, protocols);
                for again in [false, true] {
                    let (accepted, _) = meet(acceptor, config.clone(), "mx.example").await;
                    assert_eq!(summary(&accepted).resumed, again && resumed, "{protocols:?}");
                }
            }
        }
        let (accepted, _) = meet(&aes128, client(None, OLD), "mx.example").await;
        assert_eq!(summary(&accepted).cipher, "ECDHE-ECDSA-AES128-GCM-SHA256");
        let (accepted, _) = meet(&aes128, client(None, Protocols::ALL), "mx.example").await;
        assert_eq!(summary(&accepted).cipher, "TLS_AES_256_GCM_SHA384");
    });
    // Without a suite there is no TLS 1.2 either.
    let none = |protocols| Setup {
        identities: identities(),
        ciphers: Ciphers::default().excluding(["ALL"]),
        protocols,
        ..Setup::default()
    };
    assert!(Acceptor::load(&none(OLD), Arc::new(|p: &Path| File::open(p))).is_err());
    load(none(Protocols::ALL));
}

/// What the server makes of a client that says this, and goes or stays.
async fn hears(acceptor: &Acceptor, bytes: &[u8], stays: bool, limit: Duration) -> Failure {
    let (mut here, there) = duplex(1 << 20);
    here.write_all(bytes).await.unwrap();
    let _stays = stays.then_some(here);
    acceptor.accept(there, limit).await.outcome.err().unwrap()
}

#[test]
fn clients_that_misbehave() {
    let folder = Folder::new();
    let identities = vec![folder.chain("own.pem", "mx.example.org")];
    let acceptor = load(Setup { identities, ..Setup::default() });
    run(async {
        let soon = Duration::from_millis(5);
        assert!(matches!(hears(&acceptor, b"", false, LONG).await, Failure::Lost));
        assert!(matches!(hears(&acceptor, b"", true, soon).await, Failure::Timeout));
        // Half a record.
        assert!(matches!(hears(&acceptor, &[22, 3, 1, 1, 0, 1], true, soon).await, Failure::Timeout));
        assert!(matches!(hears(&acceptor, &[22, 3, 1, 1, 0, 1], false, LONG).await, Failure::Lost));
        let words = |failure: Failure| match failure {
            Failure::Handshake(words) => words,
            other => panic!("{other:?}"),
        };
        let plain = words(hears(&acceptor, b"EHLO client.example.org\r\n", true, LONG).await);
        assert!(plain.starts_with("error:0A00010B:SSL routines::wrong version number: "), "{plain}");
        // A record larger than any may be, and one after another of a handshake without end.
        words(hears(&acceptor, &[22, 3, 1, 255, 255, 1, 0, 0, 0], true, LONG).await);
        let endless = [&[22, 3, 1, 64, 0, 1, 255, 255, 255][..], &[0; 16_380]].concat();
        let endless = [endless.clone(), [&[22, 3, 1, 64, 0][..], &[0; 16_384]].concat().repeat(10)].concat();
        words(hears(&acceptor, &endless, true, LONG).await);
        // TLS 1.0 and nothing newer.
        let hello = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
        let message = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
        let record = [&[22, 3, 1, 0, message.len() as u8][..], &message].concat();
        let old = words(hears(&acceptor, &record, true, LONG).await);
        assert!(old.starts_with("error:0A000102:SSL routines::unsupported protocol: "), "{old}");
    });
}
