//! The resolver against zones, in memory and over sockets.

use super::serve::Server;
use super::servers::Settings;
use super::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;

const ZONE: &str = r#"
example.org MX 10 mail.example.org 300
example.org MX 20 backup.example.org
example.org TXT "v=spf1 mx" " -all"
example.org NS ns.example.org
example.org SOA 30
mail.example.org A 192.0.2.1
mail.example.org AAAA 2001:db8::1
192.0.2.1 PTR mail.example.org
2001:db8::1 PTR mail.example.org
www.example.org CNAME mail.example.org
far.example.org CNAME elsewhere.example.net
elsewhere.example.net A 192.0.2.7
loop.example.org CNAME pool.example.org
pool.example.org CNAME loop.example.org
dangling.example.org CNAME nothing.example.org
null.example.org MX 0 .
broken.example.org * !servfail
refused.example.org * !refused
garbage.example.org * !garbage
garbage.example.org A 192.0.2.1
silent.example.org * !silence
old.example.org A 192.0.2.3
old.example.org * !formerr
secure.example.org A 192.0.2.4
secure.example.org A !secure
long.example.org A 192.0.2.5
long.example.org A !truncate
bad.example.org MX 10 -x-.example.org
bad.example.org MX 20 mail.example.org
worse.example.org MX 10 -x-.example.org
number.example.org MX 10 192.0.2.9
*.wild.example.org A 192.0.2.6
_25._tcp.mail.example.org TLSA 3 1 1 0aff
señor.example A 192.0.2.8
"#;

fn zone() -> Zone {
    Zone::parse(ZONE).unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn quick(servers: Vec<SocketAddr>) -> Resolver {
    let timeout = Duration::from_millis(500);
    Resolver::of_settings(Settings { servers, timeout, attempts: 1, ..Settings::default() })
}

async fn check(r: &Resolver) {
    let mx = r.mx("Example.org.").await.unwrap();
    let hosts: Vec<_> = mx.records.iter().map(|m| (m.preference, m.host.as_str())).collect();
    assert_eq!(hosts, [(10, "mail.example.org"), (20, "backup.example.org")]);
    assert_eq!((mx.canonical.as_str(), mx.secure), ("example.org", false));
    assert_eq!(r.a("mail.example.org").await.unwrap().records, [Ipv4Addr::new(192, 0, 2, 1)]);
    let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    assert_eq!(r.aaaa("mail.example.org").await.unwrap().records, [v6]);
    assert_eq!(r.addresses("mail.example.org", true).await.unwrap().records, [IpAddr::V6(v6)]);
    assert_eq!(r.ptr([192, 0, 2, 1].into()).await.unwrap().records, ["mail.example.org"]);
    assert_eq!(r.ptr(v6.into()).await.unwrap().records, ["mail.example.org"]);
    assert_eq!(r.txt("example.org").await.unwrap().records, ["v=spf1 mx -all"]);
    assert_eq!(r.ns("example.org").await.unwrap().records, ["ns.example.org"]);
    let tlsa = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0x0a, 0xff] };
    assert_eq!(r.tlsa("_25._tcp.mail.example.org").await.unwrap().records, [tlsa]);
    let www = r.a("www.example.org").await.unwrap();
    assert_eq!((www.records.len(), www.canonical.as_str()), (1, "mail.example.org"));
    assert_eq!(r.a("far.example.org").await.unwrap().canonical, "elsewhere.example.net");
    assert_eq!(r.mx("null.example.org").await.unwrap().records, [Mx { preference: 0, host: String::new() }]);
    assert_eq!(r.a("old.example.org").await.unwrap().records, [Ipv4Addr::new(192, 0, 2, 3)]);
    assert!(r.a("secure.example.org").await.unwrap().secure);
    assert_eq!(r.a("long.example.org").await.unwrap().records, [Ipv4Addr::new(192, 0, 2, 5)]);
    assert_eq!(r.a("x.y.wild.example.org").await.unwrap().canonical, "x.y.wild.example.org");
    assert_eq!(r.a("señor.example").await.unwrap().canonical, "xn--seor-hqa.example");

    let bad = r.mx("bad.example.org").await.unwrap();
    assert_eq!(bad.records.len(), 1);
    let warnings = [
        "valid_hostname: misplaced hyphen: -x-.example.org",
        "malformed domain name in resource data of MX record for bad.example.org: -x-.example.org",
    ];
    assert_eq!(bad.warnings, warnings);
    assert!(matches!(r.mx("worse.example.org").await, Err(Failure::Invalid(w)) if w.len() == 2));
    let number = r.mx("number.example.org").await.unwrap();
    assert_eq!(number.records[0].host, "192.0.2.9");
    let warning = "numeric domain name in resource data of MX record for number.example.org: 192.0.2.9";
    assert_eq!(number.warnings, [warning]);

    assert_eq!(r.a("nothing.example.org").await, Err(Failure::NotFound));
    assert_eq!(r.a("dangling.example.org").await, Err(Failure::NotFound));
    assert_eq!(r.a("example.org").await, Err(Failure::NoData));
    assert_eq!(r.a("wild.example.org").await, Err(Failure::NoData), "an empty name above others");
    assert_eq!(r.a("not a name").await, Err(Failure::BadName));
    assert_eq!(r.a("broken.example.org").await, Err(Failure::Temporary(String::new())));
    assert_eq!(
        r.a("loop.example.org").await,
        Err(Failure::Temporary("Name server loop for loop.example.org".into()))
    );
    assert_eq!(r.a("garbage.example.org").await, Err(Failure::Garbage));
    let refused = r.a("refused.example.org").await.unwrap_err();
    assert!(matches!(&refused, Failure::Temporary(why) if why.ends_with("REFUSED")), "{refused:?}");
}

#[test]
fn in_memory() {
    run(async {
        let r = Resolver::of_zone(zone());
        check(&r).await;
        assert!(r.a("silent.example.org").await.unwrap_err().is_temporary());
    });
}

#[test]
fn over_sockets() {
    run(async {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = Server::start(address.parse().unwrap(), zone()).await else {
                assert!(address.starts_with('['), "this machine has no IPv4");
                continue;
            };
            let resolver = Resolver::of_servers(vec![server.address()]);
            check(&resolver).await;
            check(&resolver).await;
        }
    });
}

#[test]
fn a_server_that_is_silent_or_absent() {
    run(async {
        let server = Server::start("127.0.0.1:0".parse().unwrap(), zone()).await.unwrap();
        let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = nobody.local_addr().unwrap();
        let why = |f: Failure| if let Failure::Temporary(why) = f { why } else { panic!("{f:?}") };

        let r = quick(vec![silent]);
        let got = why(r.a("mail.example.org").await.unwrap_err());
        assert_eq!(got, format!("no answer from name server {silent}"));

        let r = quick(vec![silent, server.address()]);
        assert!(r.a("mail.example.org").await.is_ok());
        let mut buffer = [0; 512];
        while nobody.try_recv(&mut buffer).is_ok() {}
        assert!(r.a("old.example.org").await.is_ok());
        assert!(nobody.try_recv(&mut buffer).is_err(), "the silent one is asked last now");
        let got = why(r.a("silent.example.org").await.unwrap_err());
        assert!(got.starts_with("no answer from name server"), "{got}");

        drop(nobody);
        let got = why(quick(vec![silent]).a("mail.example.org").await.unwrap_err());
        assert_eq!(got, format!("name server {silent}: Connection refused"));
    });
}

#[test]
fn remembered_as_long_as_allowed() {
    run(async {
        let text = "a.b A 192.0.2.1 100\nbrief.b A 192.0.2.1 0\nb SOA 50\nc.d AAAA ::1\n";
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Zone::parse(text).unwrap()).await.unwrap();
        let r = Resolver::of_servers(vec![server.address()]);
        for (name, questions) in [
            ("a.b", 1),
            ("A.B.", 1),
            ("brief.b", 2),
            ("brief.b", 3),
            ("no.b", 4),
            ("no.b", 4),
            ("x.d", 5),
            ("x.d", 6),
        ] {
            let _ = r.a(name).await;
            assert_eq!(server.questions(), questions, "{name}");
        }
        server.replace(Zone::default());
        assert!(r.clone().a("a.b").await.is_ok());
        assert_eq!(r.aaaa("a.b").await, Err(Failure::NotFound), "another kind is another question");
    });
}

#[test]
fn the_same_question_is_put_once() {
    run(async {
        let zone = Zone::parse("a.b A 192.0.2.1 0").unwrap();
        let server = Server::start("127.0.0.1:0".parse().unwrap(), zone).await.unwrap();
        let r = Resolver::of_servers(vec![server.address()]);
        let all = futures_util::future::join_all((0..50).map(|_| r.a("a.b"))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(server.questions(), 1);
        // Who asked first does not matter to the others.
        let (first, second) = (r.a("a.b"), r.a("a.b"));
        let mut first = Box::pin(first);
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        assert!(second.await.is_ok());
    });
}

#[test]
fn completed_names() {
    run(async {
        let zone = Zone::parse("mail.one.example A 192.0.2.1\nweb.two.example A 192.0.2.2\n").unwrap();
        let server = Server::start("127.0.0.1:0".parse().unwrap(), zone).await.unwrap();
        let search = vec!["one.example".to_string(), "two.example".to_string()];
        let settings = Settings { servers: vec![server.address()], search, ..Settings::default() };
        let plain = Resolver::of_settings(settings);
        let defnames = plain.completing(Completion { defnames: true, dnsrch: false });
        let dnsrch = plain.completing(Completion { defnames: false, dnsrch: true });
        for (resolver, name, found) in [
            (&plain, "mail", false),
            (&defnames, "mail", true),
            (&defnames, "mail.", false),
            (&defnames, "web", false),
            (&dnsrch, "web", true),
            (&dnsrch, "web.two", false),
            (&dnsrch, "web.two.example", true),
        ] {
            assert_eq!(resolver.a(name).await.is_ok(), found, "{name}");
        }
    });
}

#[test]
fn words_for_the_log() {
    let of = |f: Failure| f.words("a.b", Kind::Mx);
    let start = "Host or domain name not found. Name service error for name=a.b type=MX: ";
    assert_eq!(of(Failure::NotFound), format!("{start}Host not found"));
    assert_eq!(of(Failure::Temporary(String::new())), format!("{start}Host not found, try again"));
    assert_eq!(of(Failure::Temporary("why".into())), format!("{start}Host not found, try again (why)"));
    assert_eq!(of(Failure::BadName), "Name service error for a.b: invalid host or domain name");
}
