//! Fetching and keeping policies, with a web server of our own that does what it is told.

use super::*;
use net::dns::Zone;
use net::tls::client::Authorities;
use net::tls::server::{Acceptor, Identity, Setup};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A directory, gone when this is.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("valija-sts-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Page = Arc<Mutex<String>>;

/// A web server with this name; returns its port, what it says, and how often it was asked.
async fn web(place: &Path, name: &str) -> (u16, Page, Arc<AtomicU32>) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(place.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf =
        rcgen::CertificateParams::new(vec![name.to_string()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(place.join("web.pem"), format!("{}{}", key.serialize_pem(), leaf.pem())).unwrap();
    let chains = Identity::Chains(vec![place.join("web.pem")]);
    let setup = Setup { identities: vec![chains], ..Setup::default() };
    let acceptor = Acceptor::load(&setup, Arc::new(|p: &Path| File::open(p))).unwrap().0;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (page, asked): (Page, Arc<AtomicU32>) = Default::default();
    let (says, count) = (page.clone(), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let accepted = acceptor.accept(stream, Duration::from_secs(5)).await;
            let Ok((mut stream, _)) = accepted.outcome else { continue };
            let mut buffer = [0; 2000];
            let _ = stream.read(&mut buffer).await;
            let text = says.lock().unwrap().clone();
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, page, asked)
}

fn page(mode: &str, age: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nversion: STSv1\nmode: {mode}\nmx: mx.a.org\nmax_age: {age}\n"
    )
}

fn zone(id: &str) -> Zone {
    Zone::parse(&format!("mta-sts.a.org A 127.0.0.1 1\n_mta-sts.a.org TXT \"v=STSv1; id={id}\" 0\n")).unwrap()
}

struct Host {
    connector: Connector,
    roots: Roots,
}

impl Host {
    fn new(place: &Path) -> Host {
        let file = Some(place.join("ca.pem"));
        let roots = Roots::of(Authorities { file, ..Authorities::default() });
        Host { connector: Connector::new(Authorities::default()), roots }
    }

    async fn ask(&self, sts: &Sts, zone: Zone) -> (Option<Mode>, Option<Failure>) {
        let resolver = Resolver::of_zone(zone);
        let means = Means {
            resolver: &resolver,
            connector: &self.connector,
            roots: &self.roots,
            families: (true, false),
        };
        let found = sts.find("A.org", means).await;
        (found.policy.map(|p| p.mode), found.failure)
    }
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_survives_a_restart() {
    let place = Place::new();
    let (port, says, asked) = web(&place.0, "mta-sts.a.org").await;
    let host = Host::new(&place.0);
    let sts = Sts::new(place.0.join("sts")).at_port(port);
    *says.lock().unwrap() = page("enforce", 1000);
    let none = Zone::parse("").unwrap();
    assert_eq!(host.ask(&sts, none.clone()).await, (None, None));
    assert_eq!(host.ask(&sts, zone("1")).await, (Some(Mode::Enforce), None));
    assert_eq!(host.ask(&sts, zone("1")).await, (Some(Mode::Enforce), None));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Whoever can hide the record, or break the look-up, gains nothing.
    let broken = Zone::parse("_mta-sts.a.org TXT !servfail\n").unwrap();
    for zone in [none.clone(), broken.clone()] {
        assert_eq!(host.ask(&sts, zone).await, (Some(Mode::Enforce), None));
    }
    // Another start, another policy, and one that cannot be fetched.
    let again = Sts::new(place.0.join("sts")).at_port(port);
    assert_eq!(host.ask(&again, broken).await, (Some(Mode::Enforce), None));
    *says.lock().unwrap() = page("testing", 1000);
    assert_eq!(host.ask(&again, zone("2")).await, (Some(Mode::Testing), None));
    *says.lock().unwrap() = "HTTP/1.1 500 No\r\n\r\n".into();
    let (mode, failure) = host.ask(&again, zone("3")).await;
    assert_eq!(mode, Some(Mode::Testing), "what is known holds");
    assert!(matches!(failure, Some(Failure::Fetch(_))));
    let before = asked.load(Ordering::Relaxed);
    assert_eq!(host.ask(&again, zone("3")).await, (Some(Mode::Testing), None));
    assert_eq!(asked.load(Ordering::Relaxed), before, "not again at once");
}

#[tokio::test]
async fn what_is_no_policy_is_none() {
    let place = Place::new();
    let (port, says, _) = web(&place.0, "mta-sts.a.org").await;
    let host = Host::new(&place.0);
    let good = page("enforce", 1000);
    let cases = [
        good.replace("200 OK", "301 Moved\r\nLocation: https://mta-sts.a.org/x"),
        good.replace("text/plain", "text/html"),
        good.replace("STSv1", "STSv9"),
        good.replace("mode: enforce", "mode: enforce\nmx: ../../x"),
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{}", "x".repeat(LARGEST + 1)),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nversion: STSv1".into(),
        String::new(),
        good.replace("version", "\u{fffd}version"),
    ];
    for case in cases {
        *says.lock().unwrap() = case.clone();
        let sts = Sts::new(place.0.join("none")).at_port(port);
        let (mode, failure) = host.ask(&sts, zone("1")).await;
        assert!(mode.is_none() && failure.is_some(), "{}", case.chars().take(300).collect::<String>());
    }
    assert!(!place.0.join("none").exists(), "nothing was kept");
    // The web server is somebody else.
    *says.lock().unwrap() = good;
    let other = Host { roots: Roots::default(), connector: Connector::new(Authorities::default()) };
    let sts = Sts::new(place.0.join("none")).at_port(port);
    let (mode, failure) = other.ask(&sts, zone("1")).await;
    assert!(mode.is_none() && matches!(failure, Some(Failure::Certificate(_))), "{failure:?}");
}

#[tokio::test]
async fn a_web_server_with_another_name() {
    let place = Place::new();
    let (port, says, _) = web(&place.0, "www.a.org").await;
    *says.lock().unwrap() = page("enforce", 1000);
    let host = Host::new(&place.0);
    let (mode, failure) = host.ask(&Sts::new(place.0.join("x")).at_port(port), zone("1")).await;
    assert!(mode.is_none() && matches!(failure, Some(Failure::Certificate(_))), "{failure:?}");
}

#[test]
fn what_is_on_disk_is_not_believed_blindly() {
    let place = Place::new();
    let store = Store::new(place.0.clone());
    let text = "version: STSv1\nmode: enforce\nmx: mx.a.org\nmax_age: 100\n";
    store.write("a.org", "7", 1000, text).unwrap();
    let held = store.read("a.org").unwrap();
    assert_eq!((held.id.as_str(), held.fetched), ("7", 1000));
    assert!(held.holds(1099) && !held.holds(1100) && held.holds(950) && !held.holds(800));
    for name in ["../a.org", "a/b.org", "*.org", "", ".", "b.org"] {
        store.write(name, "7", 1000, "nonsense").unwrap();
        assert_eq!(store.read(name), None, "{name}");
    }
    assert!(std::fs::read_dir(&place.0).unwrap().flatten().all(|e| e.path().extension().is_some()));
    std::fs::write(place.0.join("c.org.policy"), [0xff; 100]).unwrap();
    assert_eq!(store.read("c.org"), None);
}
