//! Routes through zones: what Postfix 3.7 did with the same zone and next hop stands as the expectation.

use super::*;
use net::dns::Zone;

const ZONE: &str = "
closed.test       A      10.77.9.9
nodata.test       TXT    hola
serv.test         *      !servfail
mxserv.test       A      10.77.9.9
mxserv.test       MX     !servfail
refused.test      *      !refused
garb.test         *      !garbage
null.test         MX     0 .
null.test         A      10.77.9.9
nullfirst.test    MX     0 .
nullfirst.test    MX     10 closed.test
nulllast.test     MX     10 closed.test
nulllast.test     MX     20 .
badmx.test        MX     10 -bad-.test
badmx.test        A      10.77.9.9
badone.test       MX     10 -bad-.test
badone.test       MX     20 closed.test
number.test       MX     10 10.77.9.9
noaddr.test       MX     10 nodata.test
servaddr.test     MX     10 serv.test
mixed.test        MX     10 nodata.test
mixed.test        MX     20 serv.test
mixed2.test       MX     10 serv.test
mixed2.test       MX     20 nothing.test
partly.test       MX     10 serv.test
partly.test       MX     20 closed.test
aserv.test        TXT    hola
aserv.test        A      !servfail
aaaaserv.test     TXT    hola
aaaaserv.test     AAAA   !servfail
aonly.test        A      10.77.9.9
aonly.test        AAAA   !servfail
alias.test        CNAME  closed.test
mxalias.test      MX     10 alias.test
loop.test         CNAME  loop2.test
loop2.test        CNAME  loop.test
dangling.test     CNAME  nothing.test
mail.mail1.org    A      10.77.1.10
we.test           MX     10 mail.mail1.org
backup.test       MX     10 closed.test
backup.test       MX     20 mail.mail1.org
equal.test        MX     10 closed.test
equal.test        MX     10 mail.mail1.org
lost.test         MX     10 nothing.test
lost.test         MX     20 mail.mail1.org
host.test         A      10.77.1.10
zero.test         A      0.0.0.0
mapped.test       AAAA   ::ffff:10.77.1.10
under_score.test  A      10.77.9.9
six.test          AAAA   fd00:77::9
señor.test        MX     10 buzón.señor.test
buzón.señor.test  A      10.77.9.9
both.test         A      10.77.9.9
both.test         AAAA   fd00:77::9
";

const NOT_FOUND: &str = "Host or domain name not found. Name service error for name=";

fn own(text: &[&str]) -> Arc<[IpAddr]> {
    text.iter().map(|a| a.parse().unwrap()).collect()
}

fn standard() -> Settings {
    Settings { own: own(&["127.0.0.1", "10.77.1.10", "::1"]), ..Settings::default() }
}

fn run(next: &str, settings: &Settings) -> Result<Route, Box<NoRoute>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let port = if settings.protocol == Protocol::Lmtp { 24 } else { 25 };
    let Ok(Target::Inet(hop)) = parse(next, settings.protocol, port) else { panic!("{next}") };
    let resolver = Resolver::of_zone(Zone::parse(ZONE).unwrap());
    runtime.block_on(find(&hop, settings, &resolver, &mut Random::seeded(7))).map_err(Box::new)
}

/// Hops as `host[address]:port`, or the status; then the warnings.
fn with(next: &str, settings: &Settings) -> String {
    let (mut text, warnings) = match run(next, settings) {
        Ok(route) => {
            let hop = |h: &Hop| format!("{}[{}]:{}", h.host, h.address.ip(), h.address.port());
            (route.hops.iter().map(hop).collect::<Vec<_>>().join(" "), route.warnings)
        }
        Err(none) => {
            let loops = if none.loops { " (loop)" } else { "" };
            (format!("{} {}{loops}", none.status.code, none.status.text), none.warnings)
        }
    };
    for warning in warnings {
        text = format!("{text} / {warning}");
    }
    text.replace(NOT_FOUND, "NOT FOUND ")
}

fn plain(next: &str) -> String {
    with(next, &standard())
}

#[test]
fn answers_of_the_name_server() {
    for (next, expected) in [
        ("closed.test", "closed.test[10.77.9.9]:25"),
        ("nothing.test", "5.4.4 NOT FOUND nothing.test type=AAAA: Host not found"),
        (
            "nodata.test",
            "5.4.4 NOT FOUND nodata.test type=AAAA: Host found but no data record of requested type",
        ),
        ("serv.test", "4.4.3 NOT FOUND serv.test type=MX: Host not found, try again"),
        ("mxserv.test", "4.4.3 NOT FOUND mxserv.test type=MX: Host not found, try again"),
        ("aserv.test", "4.4.3 NOT FOUND aserv.test type=A: Host not found, try again"),
        ("aaaaserv.test", "4.4.3 NOT FOUND aaaaserv.test type=AAAA: Host not found, try again"),
        ("aonly.test", "aonly.test[10.77.9.9]:25"),
        (
            "garb.test",
            "4.4.3 Name service error for name=garb.test type=MX: Malformed or unexpected name server reply",
        ),
        ("null.test", "5.1.0 Domain null.test does not accept mail (nullMX)"),
        ("nullfirst.test", "5.1.0 Domain nullfirst.test does not accept mail (nullMX)"),
        ("nulllast.test", "5.1.0 Domain nulllast.test does not accept mail (nullMX)"),
        (
            "badmx.test",
            "5.4.4 Name service error for name=badmx.test type=MX: Malformed or unexpected name server reply / \
             valid_hostname: misplaced hyphen: -bad-.test / malformed domain name in resource data of MX record for badmx.test: -bad-.test",
        ),
        (
            "badone.test",
            "closed.test[10.77.9.9]:25 / valid_hostname: misplaced hyphen: -bad-.test / malformed domain name in resource data of MX record for badone.test: \
             -bad-.test",
        ),
        (
            "number.test",
            "10.77.9.9[10.77.9.9]:25 / numeric domain name in resource data of MX record for number.test: 10.77.9.9",
        ),
        (
            "noaddr.test",
            "5.4.4 NOT FOUND nodata.test type=AAAA: Host found but no data record of requested type / \
             no MX host for noaddr.test has a valid address record",
        ),
        (
            "servaddr.test",
            "4.4.3 NOT FOUND serv.test type=AAAA: Host not found, try again / \
             no MX host for servaddr.test has a valid address record",
        ),
        (
            "mixed.test",
            "4.4.3 NOT FOUND serv.test type=AAAA: Host not found, try again / \
             no MX host for mixed.test has a valid address record",
        ),
        (
            "mixed2.test",
            "4.4.4 NOT FOUND nothing.test type=AAAA: Host not found / \
             no MX host for mixed2.test has a valid address record",
        ),
        ("partly.test", "closed.test[10.77.9.9]:25"),
        ("alias.test", "alias.test[10.77.9.9]:25"),
        ("mxalias.test", "alias.test[10.77.9.9]:25"),
        ("dangling.test", "5.4.4 NOT FOUND dangling.test type=AAAA: Host not found"),
        ("under_score.test", "under_score.test[10.77.9.9]:25"),
        ("six.test", "six.test[fd00:77::9]:25"),
        ("10.77.9.9", "10.77.9.9[10.77.9.9]:25"),
        ("[10.77.9.9]", "10.77.9.9[10.77.9.9]:25"),
        ("[ipv6:fd00:77::9]:2525", "fd00:77::9[fd00:77::9]:2525"),
        ("[null.test]", "null.test[10.77.9.9]:25"),
        ("closed.test.", "closed.test[10.77.9.9]:25"),
        ("señor.test", "xn--buzn-sqa.xn--seor-hqa.test[10.77.9.9]:25"),
        ("[buzón.señor.test]", "xn--buzn-sqa.xn--seor-hqa.test[10.77.9.9]:25"),
        ("niño.test", "5.4.4 NOT FOUND xn--nio-8ma.test type=AAAA: Host not found"),
        // Postfix bounces; a loop says nothing about whether the name exists.
        (
            "loop.test",
            "4.4.3 NOT FOUND loop.test type=MX: Host not found, try again (Name server loop for loop.test)",
        ),
    ] {
        assert_eq!(plain(next), expected, "{next}");
    }
    assert!(
        plain("refused.test")
            .starts_with("4.4.3 NOT FOUND refused.test type=MX: Host not found, try again (")
    );
}

#[test]
fn mail_that_would_come_back() {
    for (next, expected) in [
        ("we.test", "5.4.6 mail for we.test loops back to myself (loop)"),
        ("equal.test", "5.4.6 mail for equal.test loops back to myself (loop)"),
        ("backup.test", "closed.test[10.77.9.9]:25"),
        ("lost.test", "4.4.4 unable to find primary relay for lost.test"),
        ("host.test", "5.4.6 mail for host.test loops back to myself (loop)"),
        ("[10.77.1.10]", "5.4.6 mail for 10.77.1.10 loops back to myself (loop)"),
        ("[10.77.1.10]:25", "5.4.6 mail for 10.77.1.10 loops back to myself (loop)"),
        ("zero.test", "5.4.6 mail for zero.test loops back to myself (loop)"),
        ("mapped.test", "5.4.6 mail for mapped.test loops back to myself (loop)"),
        ("[::]", "5.4.6 mail for :: loops back to myself (loop)"),
        ("we.test:26", "mail.mail1.org[10.77.1.10]:26"),
        ("host.test:587", "host.test[10.77.1.10]:587"),
    ] {
        assert_eq!(plain(next), expected, "{next}");
    }
    assert!(run("backup.test", &standard()).unwrap().we_are_mx);
    assert!(!run("closed.test", &standard()).unwrap().we_are_mx);
}

#[test]
fn settings_of_look_ups() {
    let s = standard();
    let v4 = Settings { ipv6: false, ..s.clone() };
    let got = with("six.test", &v4);
    assert_eq!(got, "5.4.4 NOT FOUND six.test type=A: Host found but no data record of requested type");
    let got = with("[ipv6:fd00:77::9]", &v4);
    assert_eq!(got, "5.4.4 Name service error for fd00:77::9: invalid host or domain name");

    let ignoring = Settings { ignore_mx_lookup_error: true, ..s.clone() };
    assert_eq!(with("mxserv.test", &ignoring), "mxserv.test[10.77.9.9]:25");
    assert!(with("badmx.test", &ignoring).starts_with("badmx.test[10.77.9.9]:25 / valid_hostname: "));
    let got = with("serv.test", &ignoring);
    assert_eq!(got, "4.4.3 NOT FOUND serv.test type=AAAA: Host not found, try again");
    assert!(with("null.test", &ignoring).starts_with("5.1.0 "));

    let defer = Settings { defer_if_no_mx_address_found: true, ..s.clone() };
    assert!(with("noaddr.test", &defer).starts_with("4.4.4 NOT FOUND nodata.test type=AAAA: "));

    let lmtp = Settings { protocol: Protocol::Lmtp, ..s.clone() };
    assert!(with("inet:backup.test", &lmtp).starts_with("5.4.4 NOT FOUND backup.test type=AAAA: "));
    assert_eq!(with("inet:closed.test", &lmtp), "closed.test[10.77.9.9]:24");

    let six = Rules { preference: Preference::Ipv6, ..s.rules };
    let got = with("both.test", &Settings { rules: six, ..s.clone() });
    assert_eq!(got, "both.test[fd00:77::9]:25 both.test[10.77.9.9]:25");
}

#[test]
fn looked_up_by_the_system() {
    let native = Settings { dns: false, lookup_dns: false, lookup_native: true, ..standard() };
    let both = Settings { lookup_native: true, ..standard() };
    for settings in [&native, &both] {
        assert!(with("localhost:26", settings).contains("[127.0.0.1]:26"));
        let got = with("[no-such-host.invalid]", settings);
        assert!(got.contains(" unable to look up host no-such-host.invalid: "), "{got}");
    }
    assert_eq!(with("closed.test", &both), "closed.test[10.77.9.9]:25");
    assert!(with("[serv.test]", &both).starts_with("4.4.3 NOT FOUND serv.test"), "not looked up elsewhere");
}
