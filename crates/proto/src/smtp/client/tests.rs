//! The client's machines against tables, and against servers that say anything.

use super::*;
use crate::Address;
use crate::status::Code;
use proptest::prelude::*;

fn answers(bytes: &[u8], cut: usize, strict: bool) -> Result<Vec<Answer>, Garbage> {
    let (mut replies, mut all) = (Replies::default(), Vec::new());
    for piece in bytes.chunks(cut.max(1)) {
        replies.receive(piece);
        while let Some(answer) = replies.next_answer(strict, false)? {
            all.push(answer);
        }
    }
    Ok(all)
}

fn answer(text: &str) -> Answer {
    answers(format!("{text}\r\n").as_bytes(), 4096, true).unwrap().remove(0)
}

#[test]
fn answers_and_their_codes() {
    let all =
        answers(b"550-5.1.1 <c>: nobody\r\n550 5.1.1 by this name\r\n250\n354 \r\n450 5.1.1 x\r\n", 3, true)
            .unwrap();
    assert_eq!(all[0].one_line(), "550-5.1.1 <c>: nobody 550 5.1.1 by this name");
    assert_eq!((all[0].code, all[0].enhanced), (550, Some(Code(5, 1, 1))));
    assert_eq!((all[1].text.as_str(), all[1].enhanced), ("250", Some(Code(2, 0, 0))));
    assert_eq!((all[2].code, all[2].enhanced), (354, None));
    assert_eq!(all[3].enhanced, Some(Code(4, 0, 0)), "a code of another class is not believed");
    assert_eq!(answer("250 \0ok\u{7}").text, "250 ?ok?");
}

#[test]
fn what_is_no_answer() {
    let said = b"what do you mean\r\n25x ok\r\n2500 ok\r\n250 fine\r\n";
    assert_eq!(answers(said, 7, false).unwrap().len(), 1, "passed over while one command waits");
    assert_eq!(answers(said, 7, true), Err(Garbage::NoReply("what do you mean".into())));
    let endless = b"250-and on\r\n".repeat(10_000);
    assert_eq!(answers(&endless, 1000, true), Err(Garbage::Endless));
    assert_eq!(answers(&vec![b'2'; 1 << 20], 1000, false), Err(Garbage::Endless));
}

#[test]
fn what_a_server_can_do() {
    let mut replies = Replies::default();
    replies.receive(
        b"250-mx.example hello\r\n250-PIPELINING\r\n250-SIZE x\r\n250-AUTH=LOGIN\r\n250-auth plain LOGIN\r\n\
          250-\r\n250-XFORWARD NAME addr\r\n250 8BITMIME\r\n",
    );
    let said = replies.next_answer(false, true).unwrap().unwrap();
    let f = Features::extended(&said, &Keywords::new(["8bitmime", "silent-discard"]));
    assert_eq!((f.name.as_str(), f.pipelining, f.eight_bit, f.size), ("mx.example", true, false, Some(0)));
    assert_eq!((f.bad_size.as_deref(), f.auth), (Some("x"), vec!["LOGIN".to_string(), "PLAIN".to_string()]));
    assert_eq!(f.xforward, ["NAME", "ADDR"]);
    assert_eq!(Keywords::new(["silent-discard", "size"]).told(), None);
    assert_eq!(Keywords::new(["dsn", "size"]).told().as_deref(), Some("SIZE DSN"));
}

#[test]
fn greetings() {
    let manner = |change: fn(&mut Manner)| {
        let mut manner = Manner { name: "me".into(), always_ehlo: true, skip_5xx: true, ..Manner::default() };
        change(&mut manner);
        Handshake::new(manner)
    };
    let play = |mut handshake: Handshake, lines: &[&str]| {
        let mut last = Step::Say(String::new());
        for line in lines {
            last = handshake.answer(answer(line));
        }
        match last {
            Step::Say(line) => line.trim_end().to_string(),
            Step::Ready(f) => format!("ready {}", f.extended),
            Step::Refused(a) => format!("refused {:?}", a.enhanced),
        }
    };
    let plain: fn(&mut Manner) = |_| {};
    assert_eq!(play(manner(plain), &["220 mx ESMTP"]), "EHLO me");
    assert_eq!(play(manner(plain), &["220 mx", "502 what"]), "HELO me");
    assert_eq!(play(manner(plain), &["220 mx", "421 busy"]), "refused Some(Code(4, 0, 0))");
    assert_eq!(play(manner(plain), &["220 mx", "500 what", "250 mx"]), "ready false");
    assert_eq!(play(manner(plain), &["220 mx", "500 what", "550 5.7.1 no"]), "refused Some(Code(5, 7, 1))");
    assert_eq!(play(manner(plain), &["554 5.7.1 no"]), "refused Some(Code(4, 7, 1))");
    assert_eq!(play(manner(|m| m.skip_5xx = false), &["554 5.7.1 no"]), "refused Some(Code(5, 7, 1))");
    assert_eq!(play(manner(|m| m.always_ehlo = false), &["220 mx SMTP"]), "HELO me");
    assert_eq!(play(manner(|m| m.always_ehlo = false), &["220 mx esmtp"]), "EHLO me");
    assert_eq!(play(manner(|m| m.never_ehlo = true), &["220 mx ESMTP"]), "HELO me");
    assert_eq!(play(manner(|m| m.lmtp = true), &["220 mx", "250 mx"]), "ready true");
    assert_eq!(play(manner(|m| m.lmtp = true), &["220 mx", "500 what"]), "refused Some(Code(5, 0, 0))");
}

/// A server that answers each command by `says`; gives what it got, and the fates.
fn transact(
    recipients: &[&str],
    features: &Features,
    lmtp: bool,
    mut says: impl FnMut(Stage) -> Answer,
) -> (String, Vec<Fate>) {
    let rcpts: Vec<Rcpt> =
        recipients.iter().map(|r| Rcpt { address: Address::from_internal(r), ..Rcpt::default() }).collect();
    let mail = Mail { sender: Address::from_internal("s@x"), size: 7, eight_bit: true, ..Mail::default() };
    let mut transaction = Transaction::new(&mail, &rcpts, features, lmtp);
    let (mut wire, mut out) = (String::new(), Vec::new());
    for _ in 0..1000 {
        let want = transaction.next(&mut out);
        if !out.is_empty() {
            wire.push_str(&String::from_utf8(std::mem::take(&mut out)).unwrap().replace("\r\n", "|"));
            wire.push(' ');
        }
        match want {
            Want::Done => return (wire.trim_end().to_string(), transaction.into_fates()),
            Want::Content => {
                transaction.content_ends();
                wire.push_str("(content) ");
            }
            Want::Answer(stage) => transaction.answer(says(stage), &mut out),
        }
    }
    panic!("no end");
}

fn usual(stage: Stage) -> Answer {
    answer(if stage == Stage::Data { "354 go" } else { "250 2.0.0 ok" })
}

#[test]
fn transactions() {
    let plain = Features { eight_bit: true, size: Some(0), ..Features::default() };
    let piped = Features { pipelining: true, ..plain.clone() };
    let (wire, fates) = transact(&["a@x", "b c@x"], &plain, false, usual);
    assert_eq!(
        wire,
        "MAIL FROM:<s@x> SIZE=7 BODY=8BITMIME| RCPT TO:<a@x>| RCPT TO:<\"b c\"@x>| DATA| (content)"
    );
    assert!(fates.iter().all(|f| matches!(f, Fate::Sent(_))));
    let (wire, _) = transact(&["a@x"], &piped, false, usual);
    assert_eq!(wire, "MAIL FROM:<s@x> SIZE=7 BODY=8BITMIME|RCPT TO:<a@x>|DATA| (content)");

    // Nobody is left: DATA is not said, or its content is empty.
    let refuse = |stage| match stage {
        Stage::Rcpt(_) => answer("550 5.1.1 no"),
        stage => usual(stage),
    };
    let (wire, fates) = transact(&["a@x"], &plain, false, refuse);
    assert!(wire.ends_with("RCPT TO:<a@x>| RSET|"), "{wire}");
    assert!(matches!(&fates[..], [Fate::Refused(Stage::Rcpt(0), _)]));
    let (wire, _) = transact(&["a@x"], &piped, false, refuse);
    assert!(wire.ends_with("DATA| .| RSET|"), "{wire}");

    // A full mailbox, said of one recipient.
    let full = |stage| if stage == Stage::Rcpt(0) { answer("552 5.2.2 full") } else { usual(stage) };
    let (_, fates) = transact(&["a@x", "b@x"], &plain, false, full);
    assert!(matches!(&fates[0], Fate::Refused(_, a) if a.code == 552 && a.refusal() == Code(5, 2, 2)));
    assert!(matches!(&fates[1], Fate::Sent(_)));

    // LMTP: an answer for each that was accepted.
    let each = |stage| match stage {
        Stage::Rcpt(1) => answer("550 no"),
        Stage::Dot(2) => answer("452 4.2.2 full"),
        stage => usual(stage),
    };
    let (_, fates) = transact(&["a@x", "b@x", "c@x"], &piped, true, each);
    let refused = |f: &Fate| matches!(f, Fate::Refused(..));
    assert_eq!(fates.iter().map(refused).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn no_address_adds_a_command() {
    let (wire, _) = transact(&["a@x>\r\nRCPT TO:<evil@y"], &Features::default(), false, usual);
    assert!(!wire.contains("|RCPT TO:<evil"), "{wire}");
}

proptest! {
    #[test]
    fn how_answers_are_cut_makes_no_difference(bytes in "[245][05]{2}[- ][a-z. \r\n\u{e9}0-9]{0,60}(\r\n250 x\r\n)?", cut in 1usize..9) {
        for strict in [true, false] {
            prop_assert_eq!(answers(bytes.as_bytes(), cut, strict), answers(bytes.as_bytes(), 4096, strict));
        }
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..9) {
        prop_assert_eq!(answers(&bytes, cut, false), answers(&bytes, 4096, false));
    }

    /// What is written, read as a server reads it, is the content again.
    #[test]
    fn content_arrives_as_it_was(
        lines in proptest::collection::vec("[.a\r]{0,9}", 0..12), cut in 1usize..7, limit in 0usize..6,
    ) {
        let content: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
        let mut stuffer = Stuffer::new(limit);
        let mut wire = Vec::new();
        for piece in content.as_bytes().chunks(cut) {
            let mut parts = Vec::new();
            stuffer.feed(piece, &mut parts);
            wire.extend(parts.concat());
        }
        let broke = stuffer.broke_a_line();
        let mut parts = Vec::new();
        stuffer.finish(&mut parts);
        wire.extend(parts.concat());
        let text = String::from_utf8(wire).unwrap();
        let body = text.strip_suffix(".\r\n").expect("ends with a dot");
        prop_assert!(body.is_empty() || body.ends_with("\r\n"));
        let mut got = String::new();
        for line in body.split_inclusive("\r\n") {
            prop_assert!(line != ".\r\n", "an early end");
            got.push_str(line.strip_prefix('.').unwrap_or(line));
            if limit != 0 && !lines.iter().any(|l| l.contains('\r')) {
                prop_assert!(line.trim_end_matches("\r\n").len() <= limit.max(2) + 1);
            }
        }
        if broke {
            prop_assert_eq!(got.replace("\r\n ", ""), content);
        } else {
            prop_assert_eq!(got, content);
        }
    }

    /// Whatever a server answers, each recipient ends with one result, and none is called sent that
    /// the server did not take after the content.
    #[test]
    fn any_server_gives_each_recipient_a_fate(
        codes in proptest::collection::vec(prop_oneof![Just(250), Just(354), Just(421), Just(450), Just(550), Just(100)], 40),
        count in 1usize..5, pipelining: bool, lmtp: bool,
    ) {
        let features = Features { pipelining, ..Features::default() };
        let names: Vec<String> = (0..count).map(|n| format!("r{n}@x")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut said, mut taken) = (codes.into_iter(), 0);
        let (wire, fates) = transact(&names, &features, lmtp, |stage| {
            let code = said.next().unwrap_or(550);
            if matches!(stage, Stage::Dot(_)) && code == 250 {
                taken += 1;
            }
            answer(&format!("{code} x"))
        });
        let sent = fates.iter().filter(|f| matches!(f, Fate::Sent(_))).count();
        let content = wire.contains("(content)");
        prop_assert!(fates.iter().all(|f| matches!(f, Fate::Sent(_) | Fate::Refused(..))), "{fates:?} {wire}");
        prop_assert!(sent == 0 || content && taken > 0);
        if lmtp && content {
            prop_assert_eq!(sent, taken);
        }
    }
}
