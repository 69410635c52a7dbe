//! Tests of `notice`.

use super::super::template::Templates;
use super::*;
use proto::status::{Code, Remote};

const MAIL: &str =
    "Received: by mail2.josedomingo.org (Postfix, from userid 1001)\r\n\tid Q1; D\r\nTo: x\r\n\r\nhola\r\n";

fn reported(to: &str, original: &str, code: Code, text: &str) -> Reported {
    Reported {
        to: Address::from_internal(to),
        original: original.into(),
        orcpt: Some(format!("rfc822;{original}")),
        status: Status::new(code, text),
        action: Action::Delivered,
    }
}

fn text(
    kind: Kind,
    postmaster: bool,
    envelope: &Envelope,
    recipients: &[Reported],
    returned: Returned,
) -> String {
    let date = DateTime::new(1_795_187_936, 0, "UTC");
    let until = DateTime::new(1_795_187_936 + 86_400, 0, "UTC");
    let template = Templates::built_in().get(kind);
    let config = config::Config::from_text(
        std::path::Path::new("/nowhere"),
        "myhostname = mail2.josedomingo.org\ndelay_warning_time = 1h\n",
    )
    .unwrap();
    let introduction = template.expanded(&config).unwrap();
    let sender = envelope.sender.to_string();
    let notice = Notice {
        kind,
        postmaster,
        template: &template,
        introduction: &introduction,
        myhostname: "mail2.josedomingo.org",
        id: "Q1",
        envelope,
        sender: &sender,
        arrival: &date,
        until: (kind == Kind::Delay).then_some(&until),
        date: &date,
        seconds: 1_795_187_936,
        to: if postmaster { "postmaster" } else { &sender },
        recipients,
        returned,
    };
    let (head, tail) = notice.frame();
    let content = MAIL.as_bytes();
    let part = if returned == Returned::Whole { content } else { &content[..headers_end(content)] };
    let whole = [&head[..], part, &tail[..]].concat();
    String::from_utf8(whole).unwrap().replace("\r\n", "\n")
}

fn envelope() -> Envelope {
    Envelope { sender: Address::from_internal("jose@josedomingo.org"), ..Envelope::default() }
}

#[test]
fn an_unknown_user_as_in_the_golden_sheet() {
    let r = [reported("noexiste@josedomingo.org", "noexiste", Code(5, 1, 1), "unknown user: \"noexiste\"")];
    let expected = r#"Date: Fri, 20 Nov 2026 15:18:56 +0000 (UTC)
From: Mail Delivery System <MAILER-DAEMON>
Subject: Undelivered Mail Returned to Sender
To: jose@josedomingo.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="Q1.1795187936/mail2.josedomingo.org"
Content-Transfer-Encoding: 8bit

This is a MIME-encapsulated message.

--Q1.1795187936/mail2.josedomingo.org
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mail2.josedomingo.org.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system

<noexiste@josedomingo.org> (expanded from <noexiste>): unknown user: "noexiste"

--Q1.1795187936/mail2.josedomingo.org
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mail2.josedomingo.org
X-Postfix-Queue-ID: Q1
X-Postfix-Sender: rfc822; jose@josedomingo.org
Arrival-Date: Fri, 20 Nov 2026 15:18:56 +0000 (UTC)

Final-Recipient: rfc822; noexiste@josedomingo.org
Original-Recipient: rfc822;noexiste
Action: failed
Status: 5.1.1
Diagnostic-Code: X-Postfix; unknown user: "noexiste"

--Q1.1795187936/mail2.josedomingo.org
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Return-Path: <jose@josedomingo.org>
Received: by mail2.josedomingo.org (Postfix, from userid 1001)
	id Q1; D
To: x

hola

--Q1.1795187936/mail2.josedomingo.org--
"#;
    assert_eq!(text(Kind::Failure, false, &envelope(), &r, Returned::Whole), expected);
}

#[test]
fn delays_success_and_copies_for_the_postmaster() {
    let r = [reported("x@ret.example", "x@ret.example", Code(4, 3, 0), "mail transport unavailable")];
    let t = text(Kind::Delay, false, &envelope(), &r, Returned::Headers);
    assert!(t.contains("Subject: Delayed Mail (still being retried)\n"));
    assert!(t.contains(
        "Action: delayed\nStatus: 4.3.0\nDiagnostic-Code: X-Postfix; mail transport unavailable\n\
         Will-Retry-Until: Sat, 21 Nov 2026 15:18:56 +0000 (UTC)\n\n--"
    ));
    assert!(
        t.contains("Content-Description: Undelivered Message Headers\nContent-Type: text/rfc822-headers\n")
    );
    assert!(t.ends_with("To: x\n\n--Q1.1795187936/mail2.josedomingo.org--\n"));
    let t = text(Kind::Success, false, &envelope(), &r, Returned::Headers);
    assert!(t.contains("Subject: Successful Mail Delivery Report\n") && t.contains("Action: delivered\n"));
    assert!(t.contains("Content-Description: Message Headers\n"));
    let t = text(Kind::Failure, true, &envelope(), &r, Returned::Headers);
    assert!(t.contains(
        "Subject: Postmaster Copy: Undelivered Mail\nTo: postmaster\nAuto-Submitted: auto-generated\n"
    ));
    assert!(
        t.contains("Content-Transfer-Encoding: 8bit\n\n\n<x@ret.example>: mail transport unavailable\n\n--")
    );
}

#[test]
fn other_hosts_envelope_ids_and_utf8() {
    let mut r = reported("ñandú@err.example", "ñandú@err.example", Code(5, 1, 1), "host mx said: 550 no");
    r.status.remote =
        Some(Remote::of(Some(("dns".into(), "mx.fake.org".into())), ("smtp".into(), "550 no".into())));
    let e = Envelope { smtputf8: true, dsn_envid: Some("abc+2Bdef+0Ax".into()), ..envelope() };
    let t = text(Kind::Failure, false, &e, &[r], Returned::Whole);
    assert!(t.contains(
        "Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit\n\nReporting"
    ));
    assert!(t.contains("Original-Envelope-Id: abc+def?x\n"));
    assert!(t.contains("Final-Recipient: utf-8; ñandú@err.example\nOriginal-Recipient: rfc822;ñandú@"));
    assert!(t.contains("Remote-MTA: dns; mx.fake.org\nDiagnostic-Code: smtp; 550 no\n"));
    assert!(t.contains("Content-Type: message/global\n"));
}

#[test]
fn nothing_of_an_envelope_begins_a_line() {
    let mut r = reported("a\r\nAction: delivered@x.org", "b\r\n\r\nc", Code(5, 1, 1), "no\r\n\r\n--");
    r.status.remote =
        Some(Remote::of(Some(("dns".into(), "mx\r\nX: y".into())), ("smtp".into(), "550 no\r\nX: y".into())));
    let t = text(Kind::Failure, false, &envelope(), &[r], Returned::Whole);
    for evil in ["\nAction: delivered", "\nX: y", "\nc", "\r"] {
        assert!(!t.contains(evil), "{evil:?} in {t}");
    }
}

#[test]
fn where_headers_end() {
    assert_eq!(headers_end(b"A: b\r\n\r\nx"), 6);
    assert_eq!(headers_end(b"\r\nx"), 0);
    assert_eq!(headers_end(b"A: b\r\n"), 6);
    assert_eq!(unxtext("a+2Bb+zz+4"), "a+b+zz+4");
}
