//! The session machine: dialogues, cuts of the input, limits.

use super::*;
use crate::smtp::data::BareNewline;
use proptest::prelude::*;

/// Plays a driver that takes everything but unknown users.
pub(crate) fn play(session: &mut Session, log: &mut Vec<String>, content: &mut Vec<u8>) {
    loop {
        let decision = match session.next_event() {
            None => return,
            Some(Event::Content(bytes)) => {
                content.extend_from_slice(bytes);
                continue;
            }
            Some(Event::Rcpt(rcpt)) if rcpt.recipient.local().starts_with("no") => {
                let text = format!(
                    "5.1.1 <{}>: Recipient address rejected: User unknown",
                    rcpt.recipient.internal()
                );
                Decision::Reply(Reply::new(550, text))
            }
            Some(Event::EndOfMessage { chunked, size }) => {
                log.push(format!("message of {} bytes", content.len()));
                content.clear();
                let bytes = if chunked { format!(" {size} bytes") } else { String::new() };
                Decision::Reply(Reply::new(250, format!("2.0.0 Ok:{bytes} queued as 1")))
            }
            Some(Event::Etrn(domain)) => {
                Decision::Reply(Reply::new(459, format!("<{domain}>: service unavailable")))
            }
            Some(Event::Xclient(_)) => Decision::Reply(Reply::new(220, "mx.example.org ESMTP")),
            Some(event) if event.wants_answer() => Decision::Accept,
            Some(event) => {
                log.push(format!("{event:?}"));
                if event == Event::Abort {
                    content.clear();
                }
                continue;
            }
        };
        session.answer(decision);
    }
}

fn settings() -> Settings {
    Settings { hostname: "mx.example.org".into(), ..Settings::default() }
}

/// Output, log and counts for input in pieces.
fn run(settings: Settings, pieces: &[&[u8]]) -> (String, Vec<String>, String) {
    let mut session = Session::new(settings);
    let (mut log, mut content) = (Vec::new(), Vec::new());
    for piece in pieces {
        session.receive(piece);
        play(&mut session, &mut log, &mut content);
    }
    (String::from_utf8_lossy(session.output()).into_owned(), log, session.counts())
}

#[test]
fn counts_are_in_postfix_order() {
    let text = b"EHLO a\r\nNOOP\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@b>\r\nRCPT TO:<b@b>\r\nDATA\r\n.\r\nFOO\r\nQUIT\r\n";
    let (_, log, counts) = run(settings(), &[text]);
    assert_eq!(counts, "ehlo=1 mail=1 rcpt=1/2 data=1 noop=1 quit=1 unknown=0/1 commands=6/8");
    assert!(log.contains(&"Close(Quit)".to_string()), "{log:?}");
    assert_eq!(run(settings(), &[]).2, "commands=0/0");
}

#[test]
fn soft_bounce_makes_refusals_temporary() {
    let soft = Settings { soft_bounce: true, ..settings() };
    assert_eq!(
        run(soft, &[b"FOO\r\nEHLO\r\n"]).0,
        "400 4.5.2 Error: command not recognized\r\n401 Syntax: EHLO hostname\r\n"
    );
}

#[test]
fn limits() {
    let many = |n: usize, line: &str| line.repeat(n).into_bytes();
    let (out, log, _) = run(Settings { hard_error_limit: 3, ..settings() }, &[&many(9, "FOO\r\n")]);
    assert_eq!(out.matches("500 5.5.2").count(), 3);
    assert!(out.ends_with("421 4.7.0 mx.example.org Error: too many errors\r\n"), "{out}");
    assert_eq!(log, ["Close(TooManyErrors)"]);

    let junk = Settings { junk_limit: 2, hard_error_limit: 2, ..settings() };
    let (out, ..) = run(junk, &[&many(9, "RSET\r\n")]);
    assert_eq!(out.matches("250").count(), 4, "{out}");

    let text = [many(1, "MAIL FROM:<a@b>\r\n"), many(9, "RCPT TO:<b@b>\r\n")].concat();
    let few =
        Settings { recipient_limit: 2, recipient_overshoot_limit: 3, hard_error_limit: 2, ..settings() };
    let (out, ..) = run(few, &[&text]);
    assert_eq!(out.matches("452 4.5.3 Error: too many recipients").count(), 5, "{out}");
    assert!(out.contains("421 4.7.0"));
}

#[test]
fn long_lines_are_cut() {
    let (out, ..) = run(settings(), &[b"NOOP\r\0\r\nNOOP\0x\r\n"]);
    assert!(out.ends_with("250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"), "{out}");
    let text = [b"NOOP ".as_slice(), &[b'x'; 5000], b"\r\nNOOP\r\n"].concat();
    for pieces in [vec![&text[..]], text.chunks(7).collect(), text.chunks(2047).collect()] {
        let (out, log, _) = run(settings(), &pieces);
        assert_eq!(out, "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
        assert_eq!(
            log.iter()
                .filter(|l| l.contains("LongLine { limit: 2048, text: \"NOOP xxxxxxxxxxxxxxxxxxxxxxxxx\" }"))
                .count(),
            1,
            "{log:?}"
        );
    }
}

#[test]
fn pipelining_is_noted_once_or_forbidden() {
    let (out, log, _) = run(settings(), &[b"EHLO a\r\nMAIL FROM:<a@b>\r\nNOOP\r\nNOOP\r\n"]);
    assert_eq!(
        log,
        [r#"Notice(Pipelining { after: "EHLO", text: "MAIL FROM:<a@b>\\r\\nNOOP\\r\\nNOOP\\r\\n" })"#]
    );
    assert!(out.ends_with("250 2.0.0 Ok\r\n"));
    let strict = Settings { forbid_unauth_pipelining: true, ..settings() };
    let (out, log, _) = run(strict, &[b"DATA\r\nMAIL FROM:<a@b>\r\n"]);
    assert_eq!(out, "554 5.5.0 Error: SMTP protocol synchronization\r\n");
    assert_eq!(log.last().unwrap(), "Close(Ended)");
    let group = b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n";
    assert_eq!(run(settings(), &[b"EHLO a\r\n", group, b".\r\n"]).1, ["message of 0 bytes"]);
}

#[test]
fn bare_newlines() {
    let head = b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@b>\r\nDATA\r\n";
    let smuggled = b"x\n.\nMAIL FROM:<c@b>\r\n.\r\n";
    let (_, log, _) = run(settings(), &[head, smuggled]);
    assert_eq!(log.last().unwrap(), "message of 20 bytes");
    let reject = Settings { bare_newline: BareNewline::Reject, ..settings() };
    let (out, log, _) = run(reject, &[head, smuggled]);
    assert!(out.ends_with("550 5.5.2 mx.example.org Error: bare <LF> received\r\n"), "{out}");
    assert_eq!(log[log.len() - 2..], ["Notice(BareNewline)", "Abort"]);
    let allow = Settings { bare_newline: BareNewline::Allow, ..settings() };
    assert!(run(allow, &[head, smuggled]).1.contains(&"message of 3 bytes".to_string()));
}

#[test]
fn a_refused_size_holds_until_rset() {
    let text = b"EHLO a\r\nMAIL FROM:<a@b> SIZE=99\r\nRSET\r\nMAIL FROM:<a@b>\r\n";
    let sizes = |bytes: &[u8]| {
        let mut session = Session::new(settings());
        session.receive(bytes);
        let mut sizes = Vec::new();
        while let Some(event) = session.next_event() {
            let waits = event.wants_answer();
            let decision = match event {
                Event::Mail(mail) => {
                    sizes.push(mail.size);
                    Decision::Reply(Reply::new(552, "5.3.4 too big"))
                }
                _ => Decision::Accept,
            };
            if waits {
                session.answer(decision);
            }
        }
        sizes
    };
    assert_eq!(sizes(text), [99, 0]);
    assert_eq!(sizes(b"EHLO a\r\nMAIL FROM:<a@b> SIZE=99\r\nMAIL FROM:<a@b>\r\n"), [99, 99]);
}

#[test]
fn place_tells_what_was_under_way() {
    let mut session = Session::new(settings());
    assert_eq!(session.place(), "CONNECT");
    session.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<b@b>\r\nDATA\r\nab\r\ncdef\r\n");
    play(&mut session, &mut Vec::new(), &mut Vec::new());
    assert_eq!(session.place(), "DATA (10 bytes)");
    session.receive(b".\r\n");
    play(&mut session, &mut Vec::new(), &mut Vec::new());
    assert_eq!(session.place(), "END-OF-MESSAGE");
}

const WORDS: &[&str] = &[
    "EHLO a\r\n",
    "HELO a\r\n",
    "MAIL FROM:<a@b>\r\n",
    "RCPT TO:<b@b>\r\n",
    "RCPT TO:<no@b>\r\n",
    "DATA\r\n",
    "x\r\n",
    "..y\n",
    ".\r\n",
    "BDAT 5\r\n",
    "BDAT 3 LAST\r\n",
    "BDAT 0\r\n",
    "abc",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY a\r\n",
    "ETRN a.b\r\n",
    "XCLIENT NAME=a\r\n",
    "é\r\n",
    "\n",
];

proptest! {
    /// Early input is noted, and depends on the cuts; nothing else may.
    #[test]
    fn any_cut_gives_the_same(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..25),
        cuts in prop::collection::vec(0usize..200, 0..10),
    ) {
        let input = words.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
        let open = || Settings { xclient: true, ..settings() };
        let told = |(out, log, counts): (String, Vec<String>, String)| {
            (out, log.into_iter().filter(|l| !l.contains("Pipelining")).collect::<Vec<_>>(), counts)
        };
        prop_assert_eq!(told(run(open(), &pieces)), told(run(open(), &[&input])));
    }

    #[test]
    fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
        run(settings(), &[&input]);
    }
}

/// Runs commands through a machine; every question is answered with a yes, a handshake as `good` says.
fn talk_with_starttls(settings: Settings, groups: &[&str], good: bool) -> (String, String) {
    let mut session = Session::new(settings);
    let mut said = String::new();
    for group in groups {
        session.receive(group.as_bytes());
        while let Some(event) = session.next_event() {
            if event.wants_answer() {
                session.answer(Decision::Accept);
            }
        }
        said.push_str(&String::from_utf8_lossy(session.output()));
        session.sent();
        if session.wants_handshake() {
            session.encrypted(good);
        }
    }
    (said, session.counts())
}

#[test]
fn starttls_begins_a_fresh_session() {
    let settings = || Settings { starttls: Starttls::Offered, ..Settings::default() };
    let groups = [
        "EHLO x\r\nMAIL FROM:<a@example.org>\r\nSTARTTLS\r\nRCPT TO:<b@example.org>\r\n",
        "RCPT TO:<b@example.org>\r\n",
        "STARTTLS\r\nSTARTTLS now\r\n",
        "EHLO x\r\nQUIT\r\n",
    ];
    let (said, counts) = talk_with_starttls(settings(), &groups, true);
    let (before, after) = said.split_once("220 2.0.0 Ready to start TLS\r\n").unwrap();
    assert!(before.contains("250-ETRN\r\n250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n"));
    // The RCPT that came with STARTTLS is not answered, and the MAIL before it is forgotten.
    let expected = "503 5.5.1 Error: need MAIL command\r\n554 5.5.1 Error: TLS already active\r\n\
                    501 5.5.4 Syntax: STARTTLS\r\n250-localhost\r\n";
    assert!(after.starts_with(expected), "{after}");
    assert!(!after.contains("250-STARTTLS"));
    assert_eq!(counts, "ehlo=2 starttls=1/3 mail=1 rcpt=0/1 quit=1 commands=5/8");

    // Who greeted in the clear has not greeted.
    let strict = Settings { helo_required: true, ..settings() };
    let (said, _) = talk_with_starttls(strict, &["EHLO x\r\nSTARTTLS\r\n", "MAIL FROM:<>\r\n"], true);
    let (_, after) = said.split_once("220 2.0.0 Ready to start TLS\r\n").unwrap();
    assert!(after.starts_with("503 5.5.1 Error: send HELO/EHLO first\r\n"), "{after}");

    let (said, counts) = talk_with_starttls(settings(), &["STARTTLS\r\n", "EHLO x\r\n"], false);
    assert_eq!(
        (said.as_str(), counts.as_str()),
        ("220 2.0.0 Ready to start TLS\r\n", "starttls=0/1 commands=0/1")
    );
}

#[test]
fn starttls_where_it_is_absent_broken_or_required() {
    let of = |starttls, encrypted_only, text: &str| {
        let settings = Settings { starttls, encrypted_only, ..Settings::default() };
        talk_with_starttls(settings, &[text], true).0
    };
    assert_eq!(of(Starttls::Absent, false, "STARTTLS\r\n"), "502 5.5.1 Error: command not implemented\r\n");
    let broken = of(Starttls::Broken, false, "EHLO x\r\nSTARTTLS\r\n");
    assert!(broken.contains("250-STARTTLS"));
    assert!(broken.ends_with("454 4.7.0 TLS not available due to local problem\r\n"));
    let first = "530 5.7.0 Must issue a STARTTLS command first\r\n";
    for verb in ["MAIL FROM:<>", "RCPT TO:<a>", "DATA", "BDAT 3 LAST", "RSET", "VRFY x", "ETRN x"] {
        assert_eq!(of(Starttls::Offered, true, &format!("{verb}\r\n")), first, "{verb}");
    }
    for verb in ["NOOP", "HELO x", "QUIT", "STARTTLS"] {
        assert!(of(Starttls::Offered, true, &format!("{verb}\r\n")).starts_with('2'), "{verb}");
    }
    let mut settings = Settings { starttls: Starttls::Offered, ..Settings::default() };
    assert!(settings.extensions.discard("STARTTLS"));
    let (said, _) = talk_with_starttls(settings, &["EHLO x\r\nSTARTTLS\r\n"], true);
    assert!(!said.contains("250-STARTTLS") && said.ends_with("502 5.5.1 Error: command not implemented\r\n"));
}
