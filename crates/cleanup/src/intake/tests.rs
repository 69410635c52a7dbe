//! Tests of `intake`.

use super::*;
use queue::store::Body;
use queue::{MemoryStore, block_on};

/// Completes with `example.org`, and knows one alias.
struct Plain;

impl Rewriting for Plain {
    fn complete(&self, address: &Address, context: &Context) -> Address {
        let domain = match context {
            Context::Local => "example.org".to_string(),
            Context::Remote(domain) => domain.clone(),
        };
        if address.is_null() || address.domain().is_some() {
            return address.clone();
        }
        Address::new(address.local(), Some(domain))
    }
    fn canonical(&self, address: Address, _: Place) -> Result<Address, String> {
        if address.local() == "broken" { Err("hash:/etc/postfix/canonical".into()) } else { Ok(address) }
    }
    fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        Ok(match recipient.local() {
            "both" => vec![
                Address::from_internal("a@example.org"),
                Address::from_internal("b@example.org"),
                Address::from_internal("A@example.org"),
            ],
            _ => vec![recipient.clone()],
        })
    }
}

pub(crate) fn intake(settings: &str) -> Intake<MemoryStore> {
    let text = format!("myhostname = mx.example.org\n{settings}");
    let config = Config::from_text(std::path::Path::new("/nowhere"), &text).unwrap();
    let door = Door::load(&config, &Types::builder().build(), Arc::new(Plain)).unwrap();
    Intake::new(Arc::new(MemoryStore::default()), door, BTreeMap::new())
}

/// The only message of the queue.
pub(crate) fn text_of(store: &MemoryStore) -> (Arc<Envelope>, String) {
    let leased = block_on(store.lease(10));
    assert_eq!(leased.len(), 1);
    let Ok(Body::Memory(bytes)) = block_on(store.body(leased[0].id)) else { panic!("no body") };
    (leased[0].envelope.clone(), String::from_utf8_lossy(&bytes).into_owned())
}

fn origin(source: Source) -> Origin {
    let mut origin = Origin::new(source, Address::from_internal("jose"), 1_795_187_936_000_000);
    origin.client.name = "localhost".into();
    origin.client.address = "127.0.0.1".into();
    origin.client.helo = "vostro".into();
    origin.client.protocol = "ESMTP".into();
    origin
}

fn local() -> Origin {
    origin(Source::Smtp { local_rewrite: true })
}

fn send(
    settings: &str,
    origin: Origin,
    to: &[&str],
    content: &[&[u8]],
) -> Result<(Arc<Envelope>, String), Refused> {
    let intake = intake(settings);
    let mut message = intake.begin(origin);
    for to in to {
        message.recipient(Address::from_internal(to), None, Notify::default());
    }
    block_on(async {
        for piece in content {
            message.write(piece).await;
        }
        message.finish().await
    })?;
    Ok(text_of(intake.store()))
}

#[test]
fn a_local_message_is_completed() {
    let log = events::memory();
    let (envelope, text) = send("", local(), &["usuario"], &[b"subject: x\r\n\r\nhola\r\n"]).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "Received: from vostro (localhost [127.0.0.1])");
    assert!(lines[1].starts_with("\tby mx.example.org (Postfix) with ESMTP id "));
    assert!(lines[2].starts_with("\tfor <usuario>; "));
    assert_eq!(lines[3], "subject: x");
    assert!(lines[4].starts_with("Message-Id: <2") && lines[4].ends_with("@mx.example.org>"));
    assert!(lines[5].starts_with("Date: Fri, 20 Nov 2026 "));
    assert_eq!(&lines[6..], ["From: jose@example.org", "", "hola", ""]);
    assert_eq!(envelope.sender.internal(), "jose@example.org");
    assert_eq!(envelope.recipients[0].dsn_orcpt.as_deref(), Some("rfc822;usuario"));
    assert_eq!(envelope.recipients[0].original, "usuario");
    // Every line here is shorter than 128 bytes: each counts two bytes for its end, as CRLF does.
    assert_eq!(envelope.size, text.len() as u64);
    assert_eq!(envelope.encoding, Encoding::Unknown);
    assert_eq!(log.take().len(), 1);
}

#[test]
fn a_stranger_is_left_alone() {
    let log = events::memory();
    let (_, text) =
        send("", origin(Source::Smtp { local_rewrite: false }), &["a", "b"], &[b"To: x\r\n\r\n\xc3\xb1\r\n"])
            .unwrap();
    assert!(text.ends_with("\r\nTo: x\r\n\r\nñ\r\n"), "{text}");
    assert!(!text.contains("\tfor <"));
    assert!(log.take()[0].ends_with(": message-id=<>"));
    let (_, text) = send(
        "remote_header_rewrite_domain = domain.invalid\nalways_add_missing_headers = yes\n",
        origin(Source::Smtp { local_rewrite: false }),
        &["a"],
        &[b"To: x\r\n\r\n"],
    )
    .unwrap();
    assert!(text.contains("\r\nTo: x@domain.invalid\r\nMessage-Id: "), "{text}");
}

#[test]
fn aliases_expand_and_repetitions_go() {
    let (envelope, _) = send("", local(), &["both", "c", "c"], &[b""]).unwrap();
    let all: Vec<String> = envelope.recipients.iter().map(|r| r.address.internal()).collect();
    assert_eq!(all, ["a@example.org", "b@example.org", "c@example.org"]);
    assert!(envelope.recipients.iter().take(2).all(|r| r.original == "both"));
    let mut filtered = local();
    filtered.overrides = vec!["no_address_mappings".into()];
    let (envelope, _) = send("", filtered, &["both"], &[b""]).unwrap();
    assert_eq!(envelope.recipients[0].address.internal(), "both@example.org");
}

#[test]
fn faults_are_refused_or_bounced() {
    let big = [vec![b'x'; 1000], b"\r\n".to_vec()].concat();
    let refused = send("message_size_limit = 600\n", local(), &["a"], &[&big, &big]).unwrap_err();
    assert_eq!((refused.code, refused.text.as_str()), (552, "5.3.4 Error: message file too big"));
    let (envelope, text) =
        send("message_size_limit = 600\n", origin(Source::Pickup { uid: 1 }), &["a"], &[&big, &big]).unwrap();
    assert_eq!(envelope.filter.as_deref(), Some("error:5.3.4 message file too big"));
    assert!(text.len() < 1500 && text.ends_with("\r\n"));
    let hops = b"Received: x\r\n".repeat(49);
    let refused = send("", local(), &["a"], &[&hops]).unwrap_err();
    assert_eq!((refused.code, refused.text.as_str()), (554, "5.4.0 Error: too many hops"));
    assert!(send("", local(), &["a"], &[&hops[13..]]).is_ok());
    let (envelope, _) = send("", origin(Source::Internal), &["a"], &[&hops]).unwrap();
    assert_eq!(envelope.filter.as_deref(), Some("error:5.4.0 too many hops"));
    let refused =
        send("message_reject_characters = \\0\n", local(), &["a"], &[b"S: x\r\n\r\n\0"]).unwrap_err();
    assert_eq!(refused.code, 550);
    assert_eq!(send("", local(), &["broken"], &[b""]).unwrap_err().code, 451);
}

#[test]
fn another_cleanup_service_has_its_own_settings() {
    let config = Config::from_text(std::path::Path::new("/nowhere"), "message_size_limit = 10\n").unwrap();
    let small = Door::load(&config, &Types::builder().build(), Arc::new(Plain)).unwrap();
    let config = Config::from_text(std::path::Path::new("/nowhere"), "").unwrap();
    let usual = Door::load(&config, &Types::builder().build(), Arc::new(Plain)).unwrap();
    let intake =
        Intake::new(Arc::new(MemoryStore::default()), usual, BTreeMap::from([("small".to_string(), small)]));
    let mut origin = local();
    origin.service = "small".into();
    let mut message = intake.begin(origin);
    block_on(message.write(b"hola\r\n"));
    assert_eq!(block_on(message.finish()).unwrap_err().code, 552);
}

#[test]
fn checks_are_obeyed() {
    let log = events::memory();
    let rules = "header_checks = inline:{ {Subject: no = REJECT 5.2.3 fuera}, {Subject: later = REJECT 4.7.1 luego}, \
        {Subject: gone = DISCARD}, {Subject: copy = BCC c@x.org}, {Subject: move = REDIRECT r@x.org}, \
        {Subject: via = FILTER a:b} }\nalways_bcc = all\n";
    let of = |source: Source, subject: &str| {
        let text = format!("Subject: {subject}\r\n\r\nx\r\n");
        send(rules, origin(source), &["u"], &[text.as_bytes()])
    };
    let smtp = || Source::Smtp { local_rewrite: false };
    let refused = of(smtp(), "no").unwrap_err();
    assert_eq!((refused.code, refused.text.as_str()), (550, "5.2.3 fuera"));
    assert!(log.take()[0].ends_with(
        ": reject: header Subject: no from localhost[127.0.0.1]; from=<jose@example.org> to=<u@example.org> proto=ESMTP helo=<vostro>: 5.2.3 fuera"
    ));
    assert_eq!(of(smtp(), "later").unwrap_err().code, 451);
    let pickup = || Source::Pickup { uid: 1 };
    assert_eq!(of(pickup(), "later").unwrap_err().code, 451);
    assert_eq!(of(pickup(), "no").unwrap().0.filter.as_deref(), Some("error:5.2.3 fuera"));
    assert!(
        log.take()
            .iter()
            .any(|l| l.contains("reject: header Subject: no from local; from=<jose@example.org>"))
    );
    let to = |subject: &str| {
        let (envelope, _) = of(smtp(), subject).unwrap();
        let all: Vec<String> = envelope.recipients.iter().map(|r| r.address.internal()).collect();
        (all.join(" "), envelope.filter.clone())
    };
    assert_eq!(to("x"), ("u@example.org all@example.org".into(), None));
    assert_eq!(to("copy").0, "u@example.org all@example.org c@x.org");
    assert_eq!(to("move").0, "r@x.org");
    assert_eq!(to("via").1.as_deref(), Some("a:b"));
    // What was made here is not inspected, nor copied.
    let (envelope, _) = of(Source::Internal, "no").unwrap();
    assert_eq!((envelope.filter.clone(), envelope.recipients.len()), (None, 1));
    let mut filtered = origin(smtp());
    filtered.overrides = vec!["no_header_body_checks".into()];
    assert!(send(rules, filtered, &["u"], &[b"Subject: no\r\n\r\n"]).is_ok());
    // Accepted, but nowhere: the next message is the only one.
    let intake = intake(rules);
    for subject in ["gone", "kept"] {
        let mut message = intake.begin(origin(smtp()));
        message.recipient(Address::from_internal("u"), None, Notify::default());
        block_on(message.write(format!("Subject: {subject}\r\n\r\nx\r\n").as_bytes()));
        assert!(block_on(message.finish()).is_ok());
    }
    assert!(text_of(intake.store()).1.contains("Subject: kept"));
}

#[test]
fn control_characters_of_an_envelope_stay_outside() {
    let intake = intake("");
    let mut origin = local();
    origin.sender = Address::from_internal("a\nX-Evil: yes@example.org");
    origin.full_name = Some("Name\r\n.\r\nMAIL FROM:<>".into());
    let mut message = intake.begin(origin);
    message.recipient(Address::from_internal("b\r\nBcc: c"), None, Notify::default());
    block_on(message.write(b"Subject: x\n\nhola\n"));
    block_on(message.finish()).unwrap();
    let (envelope, text) = text_of(intake.store());
    assert_eq!(envelope.sender.internal(), "a?X-Evil: yes@example.org");
    assert_eq!(envelope.recipients[0].address.internal(), "b??Bcc: c@example.org");
    assert!(!envelope.recipients[0].original.contains(char::is_control));
    assert!(!text.contains("\nX-Evil") && !text.contains("\n.") && text.contains("Name??.??MAIL"), "{text}");
}
