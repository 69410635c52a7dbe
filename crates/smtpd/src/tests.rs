//! Whole sessions over a pipe, into a queue in memory.

use crate::limits::Limits;
use crate::restrictions::facts::Wanted;
use crate::{Parts, Peer, Service, serve};
use cleanup::{Door, Intake};
use config::Config;
use net::dns::{Resolver, Zone};
use proto::Address;
use queue::memory::MemoryStore;
use rewrite::Rewriter;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tables::Types;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const MAIN: &str = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmyorigin = example.org\n\
    mydestination = $myhostname, example.org, localhost\nmynetworks = 127.0.0.0/8\n\
    local_recipient_maps = inline:{usuario=1,jose=1}\nrecipient_delimiter = +\n\
    smtpd_peername_lookup = no\nsmtpd_error_sleep_time = 0\n";

struct World {
    store: MemoryStore,
    service: Arc<Service<Intake<MemoryStore>>>,
}

/// The rewriter, and name servers that answer from a text.
struct Faked(Arc<Rewriter>, Resolver);

impl crate::World for Faked {
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

    fn look_up<'a>(&'a self, wanted: &'a Wanted) -> crate::world::Looking<'a> {
        Box::pin(crate::world::ask(&self.1, wanted))
    }
}

const ZONE: &str = include_str!("tests/zone");

fn world(settings: &str) -> World {
    let config = Config::from_text(std::path::Path::new("/nowhere"), &format!("{MAIN}{settings}")).unwrap();
    let types = Types::for_config(&config).build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).unwrap());
    let door = Door::load(&config, &types, rewriter.clone()).unwrap();
    let store = MemoryStore::new();
    let parts = Parts {
        backend: Intake::new(Arc::new(store.clone()), door, BTreeMap::new()),
        world: Arc::new(Faked(rewriter, Resolver::of_zone(Zone::parse(ZONE).unwrap()))),
        types,
        limits: Arc::new(Limits::new(Duration::from_secs(60))),
        logins: Arc::default(),
        chroot: false,
        name: "smtp".into(),
        own_addresses: HashSet::from([IpAddr::from([127, 0, 0, 1])]),
    };
    World { store, service: Arc::new(Service::load(&config, parts).unwrap()) }
}

const HERE: [u8; 4] = [127, 0, 0, 1];
const STRANGER: [u8; 4] = [192, 0, 2, 9];

impl World {
    fn connect(&self, from: [u8; 4]) -> (DuplexStream, impl Future<Output = ()> + Send + 'static) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let peer = Peer { ip: Some(from.into()), port: 4711, here: None };
        (client, serve(server, peer, self.service.clone()))
    }

    /// Sends everything at once, then closes; replies without the greeting, and the log.
    async fn say(&self, from: [u8; 4], text: &str) -> (Vec<String>, Vec<String>) {
        let log = events::memory();
        let (mut client, session) = self.connect(from);
        let talk = async move {
            client.write_all(text.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut out = String::new();
            client.read_to_string(&mut out).await.unwrap();
            out
        };
        let (out, ()) = tokio::join!(talk, session);
        let replies = out.lines().skip(1).filter(|l| !l.starts_with("250-")).map(str::to_string).collect();
        let lines = log.take().into_iter().map(|l| l.split_once("]: ").unwrap().1.to_string());
        (replies, lines.filter(|l| !l.starts_with("improper")).collect())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// Every word counts but queue ids.
fn mask(lines: &[String]) -> Vec<String> {
    let id = |w: &str| proto::QueueId::parse(w.trim_end_matches(':')).is_some() && w.len() >= 10;
    let words =
        |l: &String| l.split(' ').map(|w| if id(w) { "<QID>" } else { w }).collect::<Vec<_>>().join(" ");
    lines.iter().map(words).collect()
}

#[test]
fn a_message_is_taken() {
    let world = world("");
    let text = "HELO mx\r\nMAIL FROM:<jose@example.org>\r\nRCPT TO:<usuario@example.org>\r\nDATA\r\n\
                subject: Prueba\r\n\r\n..hola\r\n.\r\nQUIT\r\n";
    let (replies, log) = run(world.say(HERE, text));
    assert_eq!(
        mask(&replies),
        [
            "250 mx.example.org",
            "250 2.1.0 Ok",
            "250 2.1.5 Ok",
            "354 End data with <CR><LF>.<CR><LF>",
            "250 2.0.0 Ok: queued as <QID>",
            "221 2.0.0 Bye"
        ]
    );
    let log = mask(&log);
    assert_eq!(log[0], "connect from unknown[127.0.0.1]");
    assert_eq!(log[1], "<QID> client=unknown[127.0.0.1]");
    assert!(log[2].starts_with("<QID> message-id=<"), "{log:?}");
    assert_eq!(log[3], "disconnect from unknown[127.0.0.1] helo=1 mail=1 rcpt=1 data=1 quit=1 commands=5");
    use queue::Store;
    let leased = run(world.store.lease(10));
    assert_eq!(leased[0].envelope.sender.to_string(), "jose@example.org");
    assert_eq!(leased[0].envelope.client.protocol, "SMTP");
    let Ok(queue::store::Body::Memory(body)) = run(world.store.body(leased[0].id)) else { panic!() };
    assert!(String::from_utf8_lossy(&body).ends_with("\r\n\r\n.hola\r\n"));
}

#[test]
fn refusals_are_those_of_postfix() {
    let world = world("");
    let text = "EHLO pc\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<foo@bar.org>\r\n\
                RCPT TO:<usuario+x@example.org>\r\nRCPT TO:<\"no body\"@example.org>\r\nRSET\r\n\
                MAIL FROM:<a@b.org> SIZE=20000000\r\nVRFY foo@bar.org\r\nETRN bar.org\r\nQUIT\r\n";
    let (replies, log) = run(world.say(STRANGER, text));
    assert_eq!(
        replies[1..],
        [
            "250 2.1.0 Ok",
            "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown in local recipient table",
            "454 4.7.1 <foo@bar.org>: Relay access denied",
            "250 2.1.5 Ok",
            "550 5.1.1 <no body@example.org>: Recipient address rejected: User unknown in local recipient table",
            "250 2.0.0 Ok",
            "552 5.3.4 Message size exceeds fixed limit",
            "454 4.7.1 <foo@bar.org>: Relay access denied",
            "459 <bar.org>: service unavailable",
            "221 2.0.0 Bye"
        ]
    );
    assert_eq!(
        mask(&log)[1..],
        [
            "NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 550 5.1.1 <nobody@example.org>: Recipient address \
             rejected: User unknown in local recipient table; from=<a@b.org> to=<nobody@example.org> proto=ESMTP \
             helo=<pc>",
            "NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 454 4.7.1 <foo@bar.org>: Relay access denied; \
             from=<a@b.org> to=<foo@bar.org> proto=ESMTP helo=<pc>",
            "<QID> client=unknown[192.0.2.9]",
            "<QID> reject: RCPT from unknown[192.0.2.9]: 550 5.1.1 <no body@example.org>: Recipient address \
             rejected: User unknown in local recipient table; from=<a@b.org> to=<\"no body\"@example.org> \
             proto=ESMTP helo=<pc>",
            "NOQUEUE: reject: MAIL from unknown[192.0.2.9]: 552 5.3.4 Message size exceeds fixed limit; \
             from=<a@b.org> proto=ESMTP helo=<pc>",
            "NOQUEUE: reject: VRFY from unknown[192.0.2.9]: 454 4.7.1 <foo@bar.org>: Relay access denied; \
             to=<foo@bar.org> proto=ESMTP helo=<pc>",
            "warning: reject: ETRN bar.org... from unknown[192.0.2.9]",
            "disconnect from unknown[192.0.2.9] ehlo=1 mail=1/2 rcpt=1/4 rset=1 vrfy=0/1 etrn=0/1 quit=1 \
             commands=5/11"
        ]
    );
}

#[test]
fn restriction_lists() {
    let mail = |rcpt: &str| format!("HELO pc\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<{rcpt}>\r\n");
    let check = |settings: &str, from: [u8; 4], rcpt: &str, expected: &str| {
        let (replies, log) = run(world(settings).say(from, &mail(rcpt)));
        assert_eq!(replies[2], expected, "{settings}");
        log
    };
    let ok = "250 2.1.5 Ok";
    check("", HERE, "foo@bar.org", ok);
    check(
        "smtpd_relay_restrictions = permit_mynetworks reject_unauth_destination\n",
        STRANGER,
        "foo@bar.org",
        "554 5.7.1 <foo@bar.org>: Relay access denied",
    );
    check("smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit\n", STRANGER, "foo@bar.org", ok);
    check(
        "smtpd_client_restrictions = check_client_access inline:{192.0.2=REJECT}\n",
        STRANGER,
        "usuario@example.org",
        "554 5.7.1 <unknown[192.0.2.9]>: Client host rejected: Access denied",
    );
    check(
        "smtpd_helo_restrictions = reject_non_fqdn_hostname\n",
        STRANGER,
        "usuario@example.org",
        "504 5.5.2 <pc>: Helo command rejected: need fully-qualified hostname",
    );
    check(
        "smtpd_sender_restrictions = check_sender_access inline:{{b.org=550 5.7.9 go away}}\n",
        STRANGER,
        "usuario@example.org",
        "550 5.7.9 <a@b.org>: Sender address rejected: go away",
    );
    check(
        "smtpd_restriction_classes = strict\nstrict = reject\n\
         smtpd_recipient_restrictions = check_recipient_access inline:{usuario@example.org=strict}\n",
        STRANGER,
        "usuario@example.org",
        "554 5.7.1 <usuario@example.org>: Recipient address rejected: Access denied",
    );
    let log =
        check("smtpd_recipient_restrictions = warn_if_reject reject\n", STRANGER, "usuario@example.org", ok);
    assert!(
        log[1].starts_with("NOQUEUE: reject_warning: RCPT from unknown[192.0.2.9]: 554 5.7.1"),
        "{log:?}"
    );
    let log = check(
        "smtpd_recipient_restrictions = reject_everything\n",
        STRANGER,
        "usuario@example.org",
        "451 4.3.5 Server configuration error",
    );
    assert_eq!(log[1], "warning: unknown smtpd restriction: \"reject_everything\"");
    check(
        "smtpd_recipient_restrictions = defer_if_permit permit\n",
        STRANGER,
        "usuario@example.org",
        "450 4.7.1 <usuario@example.org>: Recipient address rejected: Try again later",
    );
    check("smtpd_reject_unlisted_recipient = no\n", STRANGER, "nobody@example.org", ok);
    let unchecked = "receive_override_options = no_milters,no_unknown_recipient_checks\n";
    check(unchecked, STRANGER, "nobody@example.org", ok);
    check(
        "show_user_unknown_table_name = no\nunknown_local_recipient_reject_code = 450\n",
        STRANGER,
        "nobody@example.org",
        "450 4.1.1 <nobody@example.org>: Recipient address rejected: User unknown",
    );
    check(
        "",
        STRANGER,
        "foo%bar.org@example.org",
        "454 4.7.1 <foo%bar.org@example.org>: Relay access denied",
    );
}

#[test]
fn reject_before_delay() {
    let world = world("smtpd_delay_reject = no\nsmtpd_client_restrictions = reject\n");
    let log = events::memory();
    let (mut client, session) = world.connect(STRANGER);
    let talk = async move {
        client.write_all(b"HELO x\r\nQUIT\r\n").await.unwrap();
        let mut out = String::new();
        client.read_to_string(&mut out).await.unwrap();
        out
    };
    let out = run(async { tokio::join!(talk, session).0 });
    let denied = "554 5.7.1 <unknown[192.0.2.9]>: Client host rejected: Access denied";
    assert_eq!(
        out,
        format!("{denied}\r\n503 5.7.0 Error: access denied for unknown[192.0.2.9]\r\n221 2.0.0 Bye\r\n")
    );
    let expected = format!("NOQUEUE: reject: CONNECT from unknown[192.0.2.9]: {denied}; proto=SMTP");
    assert!(log.take()[1].ends_with(&expected));
}

#[test]
fn limits_of_clients() {
    let world = world(
        "smtpd_client_connection_rate_limit = 2\nsmtpd_client_message_rate_limit = 1\n\
         smtpd_client_recipient_rate_limit = 1\n",
    );
    let text = "MAIL FROM:<>\r\nRCPT TO:<usuario@example.org>\r\nRCPT TO:<jose@example.org>\r\nRSET\r\nMAIL FROM:<>\r\n";
    let (replies, log) = run(world.say(STRANGER, text));
    assert_eq!(replies[2], "450 4.7.1 Error: too many recipients from 192.0.2.9");
    assert_eq!(replies[4], "450 4.7.1 Error: too much mail from 192.0.2.9");
    assert!(
        log.contains(
            &"warning: Recipient address rate limit exceeded: 2 from unknown[192.0.2.9] for service smtp"
                .to_string()
        )
    );
    assert!(
        log.iter().any(|l| l.starts_with("lost connection after MAIL from unknown[192.0.2.9]")),
        "{log:?}"
    );
    run(world.say(STRANGER, ""));
    let (_, log) = run(world.say(STRANGER, ""));
    assert_eq!(log[1], "warning: Connection rate limit exceeded: 3 from unknown[192.0.2.9] for service smtp");
    assert!(run(world.say(HERE, text)).0.iter().all(|r| r.starts_with("250")));
}

#[test]
fn who_is_turned_away_changes_no_count() {
    use sys::board::{self, Peer::Host};
    let (world, now) = (world(""), std::time::Instant::now());
    let ip = IpAddr::from([192, 0, 2, 66]);
    let _ = board::adopt(&board::create().unwrap());
    for _ in 0..2 {
        board::died_of(Host(ip), sys::time::now_micros() / 1_000_000);
    }
    // Others of the same address came before.
    assert_eq!(world.service.limits.connect("smtp", ip, now).0, 1);
    let (replies, log) = run(world.say([192, 0, 2, 66], "EHLO pc\r\n"));
    assert!(replies.is_empty() && log[1].contains("is turned away for"), "{replies:?} {log:?}");
    assert_eq!(world.service.limits.connect("smtp", ip, now).0, 2);
}

#[test]
fn tables_of_clients_to_rewrite_for_hold_addresses() {
    let world = world("local_header_rewrite_clients = check_address_map inline:{pc.example=1,192.0.2.9=1}\n");
    let client = |name: &str, address: &str| crate::client::Client {
        name: name.into(),
        address: address.into(),
        ..Default::default()
    };
    let source = events::Source::new("postfix", "smtpd", 1);
    let rewrites =
        |name, address| world.service.rewrites_headers_of(&client(name, address), (None, false), &source);
    assert!(rewrites("unknown", "192.0.2.9"));
    assert!(!rewrites("pc.example", "192.0.2.10"));
}

#[test]
fn silence_ends_the_session() {
    let world = world("");
    let log = events::memory();
    let (mut client, session) = world.connect(STRANGER);
    let talk = async move {
        client.write_all(b"NOOP\r\nDATA").await.unwrap();
        let mut out = String::new();
        client.read_to_string(&mut out).await.unwrap();
        out
    };
    let out = run(async { tokio::join!(talk, session).0 });
    assert!(out.ends_with("421 4.4.2 mx.example.org Error: timeout exceeded\r\n"), "{out}");
    let lines = log.take();
    assert!(lines.iter().any(|l| l.ends_with(" timeout after NOOP from unknown[192.0.2.9]")), "{lines:?}");
}

#[test]
fn xclient_and_xforward() {
    let world =
        world("smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_authorized_xforward_hosts = 127.0.0.1\n");
    let text = "XCLIENT NAME=pc.example.net ADDR=192.0.2.9\r\nXCLIENT NAME=x\r\nEHLO pc\r\n\
                XFORWARD NAME=mua ADDR=192.0.2.77 IDENT=4F\r\nMAIL FROM:<>\r\nRCPT TO:<foo@bar.org>\r\n\
                RCPT TO:<usuario@example.org>\r\nQUIT\r\n";
    let (replies, log) = run(world.say(HERE, text));
    assert_eq!(replies[0], "220 mx.example.org ESMTP Postfix");
    assert_eq!(replies[1], "550 5.7.0 Error: insufficient authorization");
    assert_eq!(replies[5], "454 4.7.1 <foo@bar.org>: Relay access denied");
    let log = mask(&log);
    assert_eq!(
        log[2],
        "<QID> client=pc.example.net[192.0.2.9], orig_queue_id=4F, orig_client=mua[192.0.2.77]"
    );
    assert!(
        log[3].starts_with("disconnect from pc.example.net[192.0.2.9] ehlo=1 xclient=0/2 xforward=1"),
        "{log:?}"
    );
}

#[test]
fn logins_count_for_whom_a_proxy_names() {
    let world = world(
        "smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_client_event_limit_exceptions =\n\
         smtpd_client_auth_rate_limit = 1\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = valija\n\
         smtpd_sasl_security_options = noanonymous\nsmtpd_sasl_path = inline:{ana={PLAIN}geheim}\n",
    );
    let last = |n: u8| {
        let text = format!("XCLIENT ADDR=192.0.2.{n}\r\nAUTH PLAIN AGFuYQBmYWxzY2g=\r\nQUIT\r\n");
        run_blocking(world.say(HERE, &text)).0[1][..3].to_string()
    };
    assert_eq!([last(9), last(9), last(10)], ["535", "450", "535"]);
}

/// With workers, for logins.
fn run_blocking<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn open_relays_are_seen() {
    let danger = |settings: &str| world(settings).service.relays_for_strangers();
    assert_eq!(danger(""), None);
    assert_eq!(danger("mynetworks = 203.0.113.0/24 10.0.0.0/8\n"), None);
    let why = danger("mynetworks = 0.0.0.0/0\n").unwrap();
    assert!(why.contains("smtpd_relay_restrictions: permit_mynetworks (mynetworks: 0.0.0.0/0)"), "{why}");
    assert!(danger("mynetworks = [::]/0\n").is_some());
    assert!(danger("mynetworks = 128.0.0.0/1\n").is_some());
    assert!(danger("smtpd_relay_restrictions =\n").unwrap().contains("refuse nobody"));
    assert_eq!(
        danger("smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = reject_unauth_destination\n"),
        None
    );
}

mod auth;
mod dns;
mod memory;
mod policy;
mod proxy;
mod starttls;

#[test]
fn a_session_can_be_spawned() {
    let world = world("");
    let (client, session) = world.connect(HERE);
    // With its 2 KiB of buffer: the promise is 16 KiB for a session that waits.
    let size = std::mem::size_of_val(&session);
    assert!(size < 12 * 1024, "{size}");
    drop(client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::spawn(session).await.unwrap() });
}
