//! Restrictions that ask name servers: each expectation is what Postfix 3.7 said to the same zone.

use super::*;

fn try_it(settings: &str, helo: &str, sender: &str, rcpt: &str) -> (String, Vec<String>) {
    let text = format!("EHLO {helo}\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{rcpt}>\r\nQUIT\r\n");
    let settings = format!("{settings}\nlocal_recipient_maps =\n");
    let (replies, log) = run(world(&settings).say(STRANGER, &text));
    let log = log.into_iter().filter(|l| l.starts_with("warning: ")).map(|l| l.replacen("warning: ", "", 1));
    (replies[2].clone(), log.collect())
}

const OK: &str = "250 2.1.5 Ok";

fn sender(settings: &str, address: &str) -> (String, Vec<String>) {
    try_it(&format!("smtpd_sender_restrictions = {settings}"), "pc.good.test", address, "u@example.org")
}

#[test]
fn unknown_sender_domains() {
    let not_found = |a: &str| format!("450 4.1.8 <{a}>: Sender address rejected: Domain not found");
    for good in [
        "a@good.test",
        "a@aonly.test",
        "a@v6only.test",
        "a@badmx.test",
        "a@mxonly.test",
        "a@mxtemp.test",
        "a@[10.1.1.1]",
        "a@example.org",
        "",
    ] {
        assert_eq!(sender("reject_unknown_sender_domain", good).0, OK, "{good}");
    }
    for bad in ["a@nodata.test", "a@nowhere.test", "a@temp.test", "a@bad_name.test"] {
        assert_eq!(sender("reject_unknown_sender_domain", bad).0, not_found(bad), "{bad}");
    }
    assert_eq!(
        sender("reject_unknown_sender_domain", "a@nullmx.test").0,
        "550 5.7.27 <a@nullmx.test>: Sender address rejected: Domain nullmx.test does not accept mail (nullMX)"
    );
    let strict = "reject_unknown_sender_domain\nunknown_address_reject_code = 554";
    let gone = "554 5.1.8 <a@nowhere.test>: Sender address rejected: Domain not found";
    assert_eq!(sender(strict, "a@nowhere.test").0, gone);
    assert_eq!(sender(strict, "a@temp.test").0, not_found("a@temp.test"));
}

#[test]
fn unknown_recipient_domains() {
    let settings = "smtpd_recipient_restrictions = reject_unknown_recipient_domain\n\
                    smtpd_relay_restrictions = reject_unauth_destination\n\
                    relay_domains = good.test nowhere.test nullmx.test";
    let ask = |rcpt: &str| try_it(settings, "pc", "a@good.test", rcpt).0;
    assert_eq!(ask("a@good.test"), OK);
    assert_eq!(
        ask("a@nowhere.test"),
        "450 4.1.2 <a@nowhere.test>: Recipient address rejected: Domain not found"
    );
    assert_eq!(
        ask("a@nullmx.test"),
        "556 5.1.10 <a@nullmx.test>: Recipient address rejected: Domain nullmx.test does not accept mail (nullMX)"
    );
}

#[test]
fn unknown_helo_names() {
    let ask = |helo: &str| {
        try_it("smtpd_helo_restrictions = reject_unknown_helo_hostname", helo, "a@good.test", "u@example.org")
            .0
    };
    for good in ["good.test", "aonly.test", "v6only.test", "badmx.test", "nullmx.test", "[10.1.1.1]"] {
        assert_eq!(ask(good), OK, "{good}");
    }
    for bad in ["nowhere.test", "nodata.test", "temp.test", "foo?bar"] {
        let helo = bad.replace('?', " ");
        assert_eq!(ask(&helo), format!("450 4.7.1 <{bad}>: Helo command rejected: Host not found"));
    }
    assert_eq!(ask("[10.1.1"), "501 5.5.2 <[10.1.1>: Helo command rejected: invalid ip address");
}

#[test]
fn unknown_clients() {
    let ask =
        |r: &str| try_it(&format!("smtpd_client_restrictions = {r}"), "pc", "a@good.test", "u@example.org").0;
    assert_eq!(
        ask("reject_unknown_client_hostname"),
        "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.9]"
    );
    assert_eq!(
        ask("reject_unknown_reverse_client_hostname\nunknown_client_reject_code = 550"),
        "550 5.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.9]"
    );
}

#[test]
fn lists_of_addresses() {
    let ask =
        |r: &str| try_it(&format!("smtpd_client_restrictions = {r}"), "pc", "a@good.test", "u@example.org");
    let blocked = "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using rbl.test; \
                   Listed because of spam";
    for listed in ["rbl.test", "rbl.test=127.0.0.2", "rbl.test=127.0.0.[1..4]"] {
        assert_eq!(ask(&format!("reject_rbl_client {listed}")).0, blocked, "{listed}");
    }
    for not in ["rbl.test=127.0.0.3", "rbl.test=127.0.0.[1;3;5..9]", "nolist.test", "nodata.test"] {
        assert_eq!(ask(&format!("reject_rbl_client {not}")).0, OK, "{not}");
    }
    assert_eq!(
        ask("reject_rbl_client rbl3.test").0,
        "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using rbl3.test"
    );
    assert_eq!(ask("warn_if_reject reject_rbl_client rbl.test").0, OK);
    assert_eq!(ask("permit_dnswl_client wl.test, reject_rbl_client rbl.test").0, OK);
    assert_eq!(
        ask("permit_dnswl_client rbltemp.test, reject_rbl_client rbl.test").0,
        "450 4.7.1 <192.0.2.9>: Client host rejected: Service unavailable"
    );
    let (reply, log) = ask("reject_rbl_client rbltemp.test");
    let trouble = "9.2.0.192.rbltemp.test: RBL lookup error: Host or domain name not found. Name service \
                   error for name=9.2.0.192.rbltemp.test type=A: Host not found, try again";
    assert_eq!(reply, OK);
    assert!(log.iter().any(|l| l.starts_with(trouble)), "{log:?}");
    let (reply, log) = ask("reject_rbl_client");
    assert_eq!((reply.as_str(), log.len()), (OK, 1));
    assert_eq!(log[0], "restriction reject_rbl_client requires domain name argument");
    assert_eq!(ask("reject_rbl_client rbl.test=127.0.0").0, "451 4.3.5 Server configuration error");
    assert_eq!(ask("reject_rbl_client reject").0, "451 4.3.5 Server configuration error");
    let (reply, log) = ask("reject_maps_rbl\nmaps_rbl_domains = nolist.test rbl.test");
    assert_eq!(reply, blocked);
    assert!(log[0].contains("\"reject_maps_rbl\" will be removed"), "{log:?}");
}

#[test]
fn lists_of_domains() {
    let bad = |class: &str, what: &str| {
        format!("554 5.7.1 Service unavailable; {class} [{what}] blocked using rhsbl.test; bad domain")
    };
    assert_eq!(
        sender("reject_rhsbl_sender rhsbl.test", "a@good.test").0,
        bad("Sender address", "a@good.test")
    );
    assert_eq!(sender("reject_rhsbl_sender rhsbl.test", "a@x.good.test").0, OK);
    assert_eq!(sender("reject_rhsbl_sender rbltemp.test", "a@good.test").0, OK);
    let helo = "smtpd_helo_restrictions = reject_rhsbl_helo rhsbl.test";
    assert_eq!(try_it(helo, "good.test", "", "u@example.org").0, bad("Helo command", "good.test"));
    assert_eq!(try_it(helo, "[10.1.1.1]", "", "u@example.org").0, OK);
}

#[test]
fn replies_of_lists() {
    let ask = |more: &str| {
        let settings = format!("smtpd_client_restrictions = reject_rbl_client {more}");
        try_it(&settings, "pc", "a@good.test", "u@example.org")
    };
    let template = "rbl.test\ndefault_rbl_reply = $rbl_code Gone $client $client_address $helo_name $sender \
                    $sender_domain $recipient_name $rbl_class $rbl_domain ${rbl_reason?yes}${rbl_txt:no}";
    assert_eq!(
        ask(template).0,
        "554 5.7.1 Gone unknown[192.0.2.9] 192.0.2.9 pc a@good.test good.test u Client host rbl.test yes"
    );
    let (reply, log) = ask("rbl.test\ndefault_rbl_reply = Hello");
    assert_eq!(reply, "450 4.7.1 Service unavailable");
    assert_eq!(log, ["rbl response code configuration error: Hello"]);
    let (reply, log) = ask("rbl.test\ndefault_rbl_reply = 550 5.9.9 Hello $nosuch");
    assert_eq!(reply, "451 4.3.5 Server configuration error");
    assert_eq!(log, ["unknown macro name \"nosuch\" in expansion request"]);
    assert_eq!(ask("rbl3.test\nrbl_reply_maps = inline:{{rbl3.test=521 go}}").0, "521 5.7.1 go");
    // A list is a stranger, too.
    assert_eq!(
        ask("bad.test").0,
        "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using bad.test; $rbl_code <b>   "
    );
}

#[test]
fn servers_of_a_domain() {
    let mx = "check_sender_mx_access inline:{ {mx.good.test=REJECT by name} {nohost.test=REJECT nh} \
              {aonly.test=REJECT self} {127.0.0.1=REJECT loop} }";
    let no = |a: &str, why: &str| format!("554 5.7.1 <{a}>: Sender address rejected: {why}");
    for (address, why) in [
        ("a@good.test", "by name"),
        ("a@multi.test", "by name"),
        ("a@badmx.test", "nh"),
        ("a@aonly.test", "self"),
        ("a@[127.0.0.1]", "loop"),
    ] {
        assert_eq!(sender(mx, address).0, no(address, why));
    }
    for (address, words) in [
        (
            "a@nowhere.test",
            "Unable to look up MX host nowhere.test for Sender address a@nowhere.test: Name or service not known",
        ),
        ("a@temp.test", "Unable to look up MX host for temp.test: Host not found, try again"),
        (
            "a@mxtemp.test",
            "Unable to look up MX host mx.temp.test for Sender address a@mxtemp.test: Temporary failure in name resolution",
        ),
        (
            "a@nodata.test",
            "Unable to look up MX host nodata.test for Sender address a@nodata.test: No address associated with hostname",
        ),
    ] {
        assert_eq!(sender(mx, address), (OK.to_string(), vec![words.to_string()]));
    }
    assert_eq!(sender(mx, "a@nullmx.test"), (OK.to_string(), vec![]));
    let net = "check_sender_mx_access inline:{{10.1=REJECT net}}";
    assert_eq!(sender(net, "a@good.test").0, no("a@good.test", "net"));
    let ns = "check_sender_ns_access inline:{{10.1.1.53=REJECT nsaddr}}";
    for address in ["a@good.test", "a@sub.good.test", "a@x.y.nsd.test"] {
        assert_eq!(sender(ns, address).0, no(address, "nsaddr"));
    }
    let a = "check_sender_a_access inline:{{10.1.1.2=REJECT addr} {10.1.1.1=OK}}";
    assert_eq!(sender(a, "a@aonly.test").0, no("a@aonly.test", "addr"));
    let (reply, log) = sender(a, "a@good.test");
    assert_eq!(reply, "451 4.3.5 Server configuration error");
    assert_eq!(log[0], "restriction check_sender_a_access returns OK for a@good.test");
    let helo = "smtpd_helo_restrictions = check_helo_ns_access inline:{{10.1.1.53=REJECT nn}}";
    assert_eq!(
        try_it(helo, "sub.good.test", "", "u@example.org").0,
        "554 5.7.1 <sub.good.test>: Helo command rejected: nn"
    );
}

#[test]
fn backup_mail_hosts() {
    let ask = |more: &str, rcpt: &str| {
        let relay = "smtpd_relay_restrictions = permit_mx_backup, reject_unauth_destination";
        try_it(&format!("{relay}\n{more}"), "pc", "a@good.test", rcpt).0
    };
    let denied = |a: &str| format!("554 5.7.1 <{a}>: Relay access denied");
    for (address, good) in [
        ("a@backup.test", false),
        ("a@prim.test", true),
        ("a@primus.test", false),
        ("a@good.test", false),
        ("a@nowhere.test", false),
        ("a@nullmx.test", false),
        ("a@example.org", true),
        ("a%x.test@prim.test", false),
    ] {
        let expected = if good { OK.to_string() } else { denied(address) };
        assert_eq!(ask("", address), expected);
    }
    assert_eq!(
        ask("", "a@temp.test"),
        "450 4.4.4 <a@temp.test>: Recipient address rejected: Unable to look up mail exchanger information: \
         Host not found, try again"
    );
    assert_eq!(
        ask("", "a@mxtemp.test"),
        "450 4.4.4 <a@mxtemp.test>: Recipient address rejected: Unable to look up mail exchanger host \
         mx.temp.test: Temporary failure in name resolution"
    );
    assert_eq!(ask("permit_mx_backup_networks = 10.1.1.0/24", "a@prim.test"), OK);
    assert_eq!(ask("permit_mx_backup_networks = 10.9.0.0/24", "a@prim.test"), denied("a@prim.test"));
}

/// `smtpd_delay_reject = no`: what is to be deferred is so when a recipient is given.
#[test]
fn deferred_until_a_recipient_is_given() {
    let world = world(
        "smtpd_delay_reject = no\nsmtpd_helo_restrictions = reject_unknown_helo_hostname\n\
         smtpd_sender_restrictions = reject_unknown_sender_domain\n",
    );
    let text = "EHLO nowhere.test\r\nHELO temp.test\r\nMAIL FROM:<a@temp.test>\r\n\
                RCPT TO:<usuario@example.org>\r\nQUIT\r\n";
    let (replies, log) = run(world.say(STRANGER, text));
    assert_eq!(
        replies[..4],
        [
            "450 4.7.1 <nowhere.test>: Helo command rejected: Host not found",
            "250 mx.example.org",
            "250 2.1.0 Ok",
            "450 4.7.1 <temp.test>: Helo command rejected: Host not found",
        ]
    );
    assert!(log[1].ends_with("Host not found; proto=SMTP helo=<nowhere.test>"), "{log:?}");
    assert!(log[2].contains("reject: RCPT from unknown[192.0.2.9]: 450 4.7.1 <temp.test>"), "{log:?}");
}

/// Where no name server answers, nobody is refused for good, and the log says why.
#[test]
fn no_name_server() {
    struct Deaf(Arc<Rewriter>);
    impl crate::World for Deaf {
        fn resolve(&self, address: &Address) -> Result<crate::world::Resolved, crate::world::Trouble> {
            crate::World::resolve(&*self.0, address)
        }

        fn existence(&self, address: &Address) -> Result<rewrite::Existence, crate::world::Trouble> {
            crate::World::existence(&*self.0, address)
        }

        fn owners(
            &self,
            maps: &tables::Maps,
            sender: &Address,
        ) -> Result<Option<tables::Hit>, crate::world::Trouble> {
            crate::World::owners(&*self.0, maps, sender)
        }

        fn look_up<'a>(&'a self, _: &'a Wanted) -> crate::world::Looking<'a> {
            Box::pin(std::future::pending())
        }
    }
    let settings = "smtpd_sender_restrictions = reject_rbl_client rbl.test, reject_unknown_sender_domain\n";
    let config = Config::from_text(std::path::Path::new("/nowhere"), &format!("{MAIN}{settings}")).unwrap();
    let types = Types::for_config(&config).build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).unwrap());
    let store = MemoryStore::new();
    let parts = Parts {
        backend: Intake::new(
            Arc::new(store.clone()),
            Door::load(&config, &types, rewriter.clone()).unwrap(),
            BTreeMap::new(),
        ),
        world: Arc::new(Deaf(rewriter)),
        types,
        limits: Arc::new(Limits::new(Duration::from_secs(60))),
        logins: Arc::default(),
        chroot: false,
        name: "smtp".into(),
        own_addresses: HashSet::new(),
    };
    let world = World { store, service: Arc::new(Service::load(&config, parts).unwrap()) };
    let text = "EHLO pc\r\nMAIL FROM:<a@good.test>\r\nRCPT TO:<usuario@example.org>\r\nQUIT\r\n";
    let started = std::time::Instant::now();
    let (replies, log) = run(world.say(STRANGER, text));
    assert!(started.elapsed() < Duration::from_secs(20), "time is simulated");
    assert_eq!(replies[2], "450 4.1.8 <a@good.test>: Sender address rejected: Domain not found");
    for words in ["RBL lookup error", "name=good.test type=MX: Host not found, try again (no answer in time)"]
    {
        assert!(log.iter().any(|l| l.contains(words)), "{words}: {log:?}");
    }
}

/// A list without mercy for strangers is not hidden by names that the probe happens to lack.
#[test]
fn open_relays_are_seen_behind_names() {
    let danger = |settings: &str| world(settings).service.relays_for_strangers();
    let open = "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = reject_unknown_sender_domain, \
                reject_unknown_client_hostname, reject_rbl_client rbl.test, permit\n";
    assert!(danger(open).is_some());
    let closed = "smtpd_relay_restrictions = permit_dnswl_client wl.test, permit_mx_backup, \
                  reject_unauth_destination\n";
    assert_eq!(danger(closed), None);
}

#[test]
fn results_of_tables_that_are_restrictions() {
    let ask = |result: &str| {
        let rows = format!("inline:{{{{192.0.2.9={result}}}}}");
        let more =
            "smtpd_restriction_classes = round\nround = check_client_access inline:{{192.0.2.9=round}}";
        let settings = format!("smtpd_client_restrictions = check_client_access {rows}\n{more}");
        try_it(&settings, "pc", "a@nowhere.test", "u@example.org")
    };
    assert!(ask("reject_rbl_client rbl.test").0.starts_with("554 5.7.1 Service unavailable; Client host"));
    assert_eq!(ask("warn_if_reject reject_rbl_client rbl.test").0, OK);
    assert_eq!(ask("permit_dnswl_client wl.test, reject").0, OK);
    assert_eq!(
        ask("reject_unknown_sender_domain").0,
        "450 4.1.8 <a@nowhere.test>: Sender address rejected: Domain not found"
    );
    let (reply, log) = ask("round");
    assert_eq!(reply, "451 4.3.5 Server configuration error");
    assert!(log.iter().any(|l| l.contains("lead to each other without end")), "{log:?}");
}

/// Mail for others is not to be had by writing their address into ours.
#[test]
fn odd_addresses_of_relay_domains() {
    let ask = |rcpt: &str| {
        let settings = "smtpd_relay_restrictions = reject_unauth_destination\nrelay_domains = relay.test";
        let text = format!("EHLO pc\r\nMAIL FROM:<>\r\nRCPT TO:{rcpt}\r\nQUIT\r\n");
        run(world(&format!("{settings}\n")).say(STRANGER, &text)).0[2].clone()
    };
    for good in ["<u@relay.test>", "<u@sub.relay.test>", "<u@RELAY.test>"] {
        assert_eq!(ask(good), OK, "{good}");
    }
    for bad in [
        "<u@other.test>",
        "<u%other.test@relay.test>",
        "<other.test!u@relay.test>",
        "<\"u@other.test\"@relay.test>",
        "<@relay.test:u@other.test>",
        "<u@other.test@relay.test>",
        "<u@relay.test.other.test>",
        "<u@norelay.test>",
        "<u@[192.0.2.77]>",
        "<u%other.test@example.org>",
        "<\"u@other.test\"@example.org>",
        "<@other.test,@relay.test:u@other.test>",
    ] {
        let reply = ask(bad);
        assert!(reply.ends_with("Relay access denied") || reply.starts_with("501 5.1.3"), "{bad}: {reply}");
    }
}
