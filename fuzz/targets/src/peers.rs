//! Programs beside the mail system, and those who log in.

use crate::{first, pieces, text};
use login::cyrus::sasldb::Sasldb;
use login::cyrus::{saslauthd, service_file};
use login::dovecot::wire;
use login::hash::Hash;
use login::users::file::{self, Users};
use proto::milter::{Decoder, Event, Machine, Offer, Sent};
use sasl::Mechanism;
use sasl::client::{Client, Credentials, Place};
use sasl::scram::{self, Stored};
use sasl::server::{Kept, Server, Step};
use std::num::NonZeroU32;

const EVENTS: [Event; 10] = [
    Event::Connect,
    Event::Helo,
    Event::Mail,
    Event::Rcpt,
    Event::Data,
    Event::Unknown,
    Event::Header,
    Event::EndOfHeader,
    Event::Body,
    Event::EndOfMessage,
];

/// A mail filter: its packets, the same however they are cut, and what the machine makes of them.
pub fn milter(bytes: &[u8]) {
    let (step, bytes) = first(bytes);
    let run = |step: u8| {
        let Some(offer) = Offer::of(&["6".to_string()]) else { return Vec::new() };
        let mut machine = Machine::new(offer, Default::default());
        let (mut decoder, mut out, mut seen) = (Decoder::default(), Vec::new(), Vec::new());
        let mut agreed = false;
        'all: for piece in pieces(bytes, step) {
            decoder.feed(piece);
            loop {
                let packet = match decoder.next_packet() {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    Err(fault) => {
                        seen.push(fault.to_string());
                        break 'all;
                    }
                };
                if !agreed {
                    agreed = machine.agree(&packet).is_ok();
                    seen.push(agreed.to_string());
                    continue;
                }
                let event = EVENTS[packet.data.len() % EVENTS.len()];
                if machine.tell(event, std::iter::empty(), &[b"x"], &mut out) == Sent::Await {
                    let answer = machine.answer(&packet);
                    seen.push(format!("{answer:?}"));
                    if answer.is_err() {
                        machine.fail();
                    }
                }
                machine.abort(&mut out);
                assert!(out.len() < 1 << 16);
                out.clear();
            }
        }
        machine.quit(&mut out);
        seen
    };
    assert_eq!(run(step.max(1)), run(0));
}

/// A policy service's answer.
pub fn policy(bytes: &[u8]) {
    let (step, answer) = first(bytes);
    smtpd::fuzz::policy(answer, usize::from(step));
}

/// A filter before the queue, which is spoken to as to a mail server.
pub fn proxy_filter(bytes: &[u8]) {
    smtpd::fuzz::filter(bytes);
}

/// What a Dovecot says of logins: the same lines however they are cut.
pub fn dovecot(bytes: &[u8]) {
    let (step, bytes) = first(bytes);
    let lines = |step: u8| {
        let (mut lines, mut all) = (wire::Lines::default(), Vec::new());
        for piece in pieces(bytes, step) {
            lines.add(piece);
            while let Ok(Some(line)) = lines.next_line() {
                all.push(format!("{:?}", wire::read(&line)));
            }
        }
        all
    };
    // A line that is too long ends the connection; where, depends on the cut.
    if bytes.len() <= wire::LONGEST {
        assert_eq!(lines(step.max(1)), lines(0));
    }
}

/// Files and answers behind logins without Dovecot: a file of users keeps its other rows when one comes or
/// goes.
pub fn login_files(bytes: &[u8]) {
    let _ = Sasldb::read(bytes);
    let _ = saslauthd::answer(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = service_file::read(text);
    let _ = Hash::read(text);
    let users = Users::read(text);
    // With the row for unknown names there is nothing to be hashed.
    let text = format!("{text}\n(unknown):x\n");
    if let Some(without) = file::with(&text, "ana", None) {
        let left = Users::read(&without);
        assert!(left.get("ana").is_none());
        assert!(users.names().into_iter().filter(|n| *n != "ana").all(|n| left.get(n).is_some()));
    }
}

/// Challenges of a server, and responses of a client, of every mechanism: who knows no secret proves nothing, and
/// a login that ended does not go on.
pub fn sasl(data: &[u8]) {
    for mechanism in Mechanism::ALL {
        let who = Credentials { user: "user".into(), secret: "secret".into() };
        let place = Place { host: "mx", port: 25 };
        let Ok(mut client) = Client::new(mechanism, who, place, "nonce".into()) else { return };
        for challenge in data.split(|b| *b == b'\n') {
            let _ = client.respond(challenge);
        }
        assert!(!mechanism.name().starts_with("SCRAM") || client.succeed(None).is_err());
        let Some(mut server) = Server::new(mechanism, "mx", "nonce".into()) else { continue };
        for response in data.split(|b| *b == b'\n') {
            match server.respond(response) {
                Ok(Step::Know(_)) if mechanism == Mechanism::CramMd5 => {
                    let known = server.known(Kept::Secret("a secret that nobody guesses".into()));
                    assert!(!matches!(known, Ok(Step::Done { .. })), "logged in without the secret");
                }
                Ok(Step::Know(_)) => {
                    let (iterations, hash) = (NonZeroU32::MIN, scram::Hash::Sha256);
                    let stored =
                        Stored::new(hash, &"a secret that nobody guesses".into(), b"salt", iterations);
                    let _ = server.known(Kept::Stored(stored));
                }
                Ok(Step::Done { .. }) => panic!("nobody knows the secret"),
                _ => {}
            }
        }
    }
    let decoded = sasl::decode(&text(data));
    if let Some(decoded) = decoded {
        assert_eq!(sasl::decode(&sasl::encode(&decoded)), Some(decoded));
    }
}
