//! Tests of `headers`.

use super::*;
use proptest::prelude::*;

fn plan() -> Plan {
    Plan {
        rewrite: Some(Context::Local),
        complete: true,
        sender: Address::from_internal("jose@josedomingo.org"),
        full_name: None,
        obsolete_from: false,
        myhostname: "mail2.josedomingo.org".into(),
        id: "ID".into(),
        date: DateTime::new(1_795_187_936, 0, "UTC"),
        stamp: "S".into(),
        undisclosed: String::new(),
        drop: ["bcc", "content-length", "resent-bcc", "return-path"].map(String::from).into(),
        hopcount_limit: 50,
        size_limit: 1000,
        token_limit: 1000,
        detect_8bit: true,
        mailbox_line: true,
    }
}

fn run(plan: Plan, pieces: &[&[u8]]) -> (String, Vec<Note>) {
    let mut rewrite = |address: &Address, _: Place| match address.domain() {
        Some(_) => address.clone(),
        None => Address::new(address.local(), Some("josedomingo.org")),
    };
    let (mut headers, mut out, mut notes) = (Headers::new(plan, None), Vec::new(), Vec::new());
    for piece in pieces {
        let rest = headers.feed(piece, &mut rewrite, &mut out);
        out.extend_from_slice(rest);
        notes.extend(headers.notes());
    }
    headers.finish(&mut rewrite, &mut out);
    notes.extend(headers.notes());
    (String::from_utf8_lossy(&out).into_owned(), notes)
}

/// `%` stands for the three fields that are added to a message without any.
fn check_with(plan: Plan, input: &str, expected: &str) {
    let input = input.replace('\n', "\r\n");
    let added = "Message-Id: <S.ID@mail2.josedomingo.org>\nDate: Fri, 20 Nov 2026 15:18:56 +0000 (UTC)\nFrom: jose@josedomingo.org\n";
    let expected = expected.replace('%', added);
    assert_eq!(run(plan, &[input.as_bytes()]).0.replace("\r\n", "\n"), expected, "{input:?}");
}

fn check(input: &str, expected: &str) {
    check_with(plan(), input, expected);
}

#[test]
fn a_mailbox_line_beyond_the_limit_is_the_same_however_it_is_cut() {
    let long = "x".repeat(60);
    let quotes = ">".repeat(1000);
    for (text, expected) in [
        (
            format!("From {long}\r\nFrom y\r\nS: z\r\n\r\nx"),
            format!("X-Mailbox-Line: From {}\r\n%\r\nFrom y\r\nS: z\r\n\r\nx", &long[..29]),
        ),
        (format!("{quotes}From y\r\nS: z\r\n\r\nx"), format!("%\r\n{quotes}From y\r\nS: z\r\n\r\nx")),
    ] {
        for step in [1, 2, 3, 49, 50, 51, 52, 63, 999, 1000, 1001, 1002, 5000] {
            let plan = Plan { size_limit: 50, complete: false, ..plan() };
            let (got, _) = run(plan, &text.as_bytes().chunks(step).collect::<Vec<_>>());
            assert_eq!(got, expected.replace("%\r\n", "\r\n"), "in pieces of {step}");
        }
    }
}

/// What Postfix 3.7 made of these on this host's behalf.
#[test]
fn as_postfix_completes_them() {
    check("Subject: x\n\nx\n", "Subject: x\n%\nx\n");
    check("\nSubject: x\n\nx\n", "%\nSubject: x\n\nx\n");
    check(" hola\nFrom: x\n\nx\n", "%\n hola\nFrom: x\n\nx\n");
    check("hola que\nSubject: x\n\nx\n", "%\nhola que\nSubject: x\n\nx\n");
    check("Subject: y\nhola\nA: b\n", "Subject: y\n%\nhola\nA: b\n");
    check("Subject: x\n", "Subject: x\n%");
    check("", "%");
    check(
        "From jose Fri\n>From x\nS: x\n\nx\n",
        "X-Mailbox-Line: From jose Fri\nX-Mailbox-Line: >From x\nS: x\n%\nx\n",
    );
    check("X: b\0c\nZ : w\n\nx\n", "X: b\nZ: w\n%\nx\n");
    check("Bcc: h\nReturn-Path: rp\ncontent-length: 3\n\nx\n", "%\nx\n");
    check("Message-ID: <a@b>\nDate:\nFrom:\nTo:\n\nx\n", "Message-ID: <a@b>\nDate:\nFrom:\nTo:\n\nx\n");
    check(
        "Resent-From: me\nFrom: x\n\nx\n",
        "Resent-From: me@josedomingo.org\nFrom: x@josedomingo.org\nResent-Message-Id: <S.ID@mail2.josedomingo.org>\nResent-Date: Fri, 20 Nov 2026 15:18:56 +0000 (UTC)\n\nx\n",
    );
    check(
        "Resent-Message-ID: <a@b>\nSubject: s\n\nx\n",
        "Resent-Message-ID: <a@b>\nSubject: s\nResent-Date: Fri, 20 Nov 2026 15:18:56 +0000 (UTC)\nResent-From: jose@josedomingo.org\n\nx\n",
    );
    check(
        "To: a\nErrors-To: e1\nX-To: xt\nDelivered-To: dt\n\n",
        "To: a@josedomingo.org\nErrors-To: e1@josedomingo.org\nX-To: xt\nDelivered-To: dt\n%\n",
    );
}

#[test]
fn from_is_made_of_the_full_name() {
    let from = |full_name: Option<&str>, sender: &str, obsolete_from: bool| {
        let full_name = full_name.map(str::to_string);
        let sender = Address::from_internal(sender);
        from_value(&Plan { full_name, sender, obsolete_from, ..plan() })
    };
    assert_eq!(from(Some("Jose Domingo"), "jose@x", false), "Jose Domingo <jose@x>");
    assert_eq!(from(Some("Jo \"x\" (D), a@b"), "jose@x", false), "\"Jo \\\"x\\\" (D), a@b\" <jose@x>");
    assert_eq!(from(Some("Jose"), "jose@x", true), "jose@x (Jose)");
    assert_eq!(from(None, "jose@x", false), "jose@x");
    assert_eq!(from(Some("Jose"), "", false), "MAILER-DAEMON");
}

#[test]
fn a_stranger_is_left_alone() {
    let stranger = || Plan { rewrite: None, complete: false, ..plan() };
    check_with(stranger(), "To: a\n\nx\n", "To: a\n\nx\n");
    check_with(stranger(), "x\n", "\nx\n");
    let notes = run(stranger(), &[b"To: a\r\n\r\nx\r\n"]).1;
    assert_eq!(notes, [Note::MessageId("<>".into())]);
    let undisclosed = Plan { undisclosed: "To: undisclosed-recipients:;".into(), ..stranger() };
    check_with(undisclosed.clone(), "A: b\n\n", "A: b\nTo: undisclosed-recipients:;\n\n");
    check_with(undisclosed, "Cc: b\n\n", "Cc: b\n\n");
}

#[test]
fn notes() {
    let of = |text: &str| run(plan(), &[text.as_bytes()]).1;
    let id = |s: &str| Note::MessageId(s.into());
    assert_eq!(of("Message-ID: <a@b>\r\nMessage-ID:   <c@d> (x)\r\n\r\n"), [id("<a@b>"), id("<c@d> (x)")]);
    assert_eq!(of("Message-Id: \r\n\r\n"), [id("")]);
    assert_eq!(of("\r\n"), [id("<S.ID@mail2.josedomingo.org>")]);
    assert_eq!(of("Content-Transfer-Encoding: 8bit\r\nMessage-Id: <x>\r\n\r\n"), [Note::EightBit, id("<x>")]);
    assert_eq!(of(&"Received: x\r\n".repeat(49))[0], Note::TooManyHops);
    assert!(!of(&"Received: x\r\n".repeat(48)).contains(&Note::TooManyHops));
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(
        text in "(>?From x\r\n)?((To|A|Received|Resent-To|Message-Id): ?[a-z@, ]{0,9}(\r\n [a-z]{0,3})?\r\n|[a-z ]{0,4}\r\n){0,5}",
        cuts in prop::collection::vec(0usize..120, 0..8),
    ) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(run(plan(), &pieces), run(plan(), &[bytes]));
    }
}
