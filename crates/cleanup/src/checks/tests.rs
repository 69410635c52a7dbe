//! Tests of checks: what a real cleanup did with the same messages.

use super::*;
use proptest::prelude::*;
use proto::header::{Part, Scanner};
use std::sync::Arc;

fn manner(side: Side) -> Manner {
    Manner {
        side,
        limits: Limits::default(),
        body_limit: 100,
        line_limit: 20,
        flat: false,
        strict: Strict::default(),
    }
}

fn checks(tables: [&str; 4], manner: Manner) -> Arc<Checks> {
    let lists = tables.map(|t| List(tables::split_list(t)));
    let [a, b, c, d] = &lists;
    Arc::new(Checks::open(&Types::builder().build(), RECEIVING, [a, b, c, d], manner))
}

/// What is left of a message, and what was found.
fn run(checks: &Arc<Checks>, pieces: &[&[u8]]) -> (String, Vec<Finding>) {
    let (mut inspection, mut scanner) = (Inspection::new(checks.clone()), Scanner::new(1000));
    let (mut out, mut in_body) = (Vec::new(), false);
    for piece in pieces.iter().map(Some).chain([None]) {
        let mut tell = |part: Part<'_>| match part {
            Part::Field(field) => {
                let edit = inspection.field(&field);
                inspection::write(edit, field.raw(), &mut out);
            }
            Part::EndOfHeader { .. } => {
                in_body = inspection.end_of_header();
                out.extend_from_slice(b"\r\n");
            }
            Part::Body(bytes) if in_body => inspection.body(bytes, &mut out),
            Part::Body(bytes) => out.extend_from_slice(bytes),
        };
        match piece {
            Some(piece) => scanner.feed(piece, &mut tell),
            None => scanner.finish(&mut tell),
        }
    }
    if in_body {
        inspection.finish(&mut out);
    }
    (String::from_utf8_lossy(&out).replace("\r\n", "|"), inspection.findings())
}

fn words(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|f| match f {
            Finding::Log { action, class, content, text } => format!("{action}: {class} {content}: {text}"),
            Finding::Mime { fault, content } => format!("{}: {content}", fault.text()),
            Finding::Warning(text) => format!("warning {text}"),
            Finding::Unanswered { map, .. } => format!("unanswered {map}"),
            other => format!("{other:?}"),
        })
        .collect()
}

fn check(tables: [&str; 4], message: &str, left: &str, found: &[&str]) {
    let checks = checks(tables, manner(Side::In));
    let message = message.replace('|', "\r\n");
    let (out, findings) = run(&checks, &[message.as_bytes()]);
    assert_eq!((out.as_str(), words(&findings)), (left, found.iter().map(|f| f.to_string()).collect()));
}

#[test]
fn headers() {
    let rows = "regexp:{{/^subject: rej/ REJECT no}, {/^subject: repl/ REPLACE To: x}, {/^X-m: a.*b/ WARN multi}, {/^pre/ PREPEND A: b}, {/^gone/ IGNORE}, {/^odd/ PREPEND none}, {/^pass/ PASS}}";
    let table = [rows, "", "", ""];
    check(
        table,
        "Subject: rej|Subject: rej2||b|",
        "Subject: rej|Subject: rej2||b|",
        &["reject: header Subject: rej: 5.7.1 no", "Reject(\"5.7.1 no\")"],
    );
    check(table, "Subject: repl|S: 1||", "To: x|S: 1||", &["replace: header Subject: repl: To: x"]);
    check(table, "X-m: a| b||", "X-m: a| b||", &["warning: header X-m: a? b: multi"]);
    check(table, "Pre: 1||", "A: b|Pre: 1||", &["prepend: header Pre: 1: A: b"]);
    check(table, "Gone: 1||gone|", "|gone|", &[]);
    check(
        table,
        "Odd: 1||",
        "Odd: 1||",
        &[
            "warning bad PREPEND header text \"none\" in header_checks map -- need \"headername: headervalue\"",
        ],
    );
    check(table, "Pass: 1|Subject: rej||", "Pass: 1|Subject: rej||", &["pass: header Pass: 1: "]);
}

#[test]
fn parts_and_enclosed_messages() {
    let table =
        ["regexp:{{/./ WARN h}}", "regexp:{{/./ WARN m}}", "regexp:{{/./ WARN n}}", "regexp:{{/./ WARN b}}"];
    let message = "S: 1|Content-Type: multipart/x; boundary=b||pre||--b|X: 1|Content-Type: message/rfc822||N: 1|MIME-Version: 1.0||t|--b--|";
    check(
        table,
        message,
        message,
        &[
            "warning: header S: 1: h",
            "warning: header Content-Type: multipart/x; boundary=b: m",
            "warning: body pre: b",
            "warning: body --b: b",
            "warning: header X: 1: m",
            "warning: header Content-Type: message/rfc822: m",
            "warning: header N: 1: n",
            "warning: header MIME-Version: 1.0: m",
            "warning: body t: b",
            "warning: body --b--: b",
        ],
    );
    let mut flat = manner(Side::In);
    flat.flat = true;
    let (_, found) = run(&checks(table, flat), &[message.replace('|', "\r\n").as_bytes()]);
    assert_eq!(words(&found).len(), 11);
}

#[test]
fn bodies() {
    let rows = "regexp:{{/^rep/ REPLACE new}, {/^gone/ STRIP why}, {/^x*END/ WARN}, {/^rej/ REJECT}, {/^dis/ DISCARD}}";
    let table = ["", "", "", rows];
    check(
        table,
        "S: rep||rep|gone|rep ",
        "S: rep||new|new",
        &["replace: body rep: new", "strip: body gone: why", "replace: body rep : new"],
    );
    // In pieces of the line limit; a line is not asked for beyond body_checks_size_limit.
    let x20 = "x".repeat(20);
    check(
        table,
        &format!("|{x20}END|{x20}{x20}xxEND|"),
        &format!("|{x20}END|{x20}{x20}xxEND|"),
        &["warning: body END: ", "warning: body xxEND: "],
    );
    check(
        table,
        &format!("|{}|rej|", format!("{x20}|").repeat(6)),
        &format!("|{}|rej|", format!("{x20}|").repeat(6)),
        &[],
    );
    check(table, "|dis|rej|", "|dis|rej|", &["discard: body dis: ", "Discard"]);
}

#[test]
fn a_table_that_cannot_answer() {
    check(["fail:x", "", "", ""], "S: 1|T: 2||", "S: 1|T: 2||", &["unanswered header_checks"]);
}

#[test]
fn less_on_the_way_out() {
    let rows = "regexp:{{/rej/ REJECT x}, {/strip/ STRIP}}";
    let checks = checks(["", "", "", rows], manner(Side::Out));
    let (out, found) = run(&checks, &[b"S: 1\r\n\r\nrej\r\nstrip\r\n"]);
    assert_eq!(
        (out.as_str(), words(&found)),
        (
            "S: 1||rej|",
            vec![
                "warning unsupported command in body_checks map: REJECT x".into(),
                "strip: body strip: ".into()
            ]
        )
    );
}

#[test]
fn strict() {
    let mut manner = manner(Side::In);
    manner.strict = Strict { headers: true, body: true, domain: true };
    let checks = checks(["", "", "", ""], manner);
    let of = |text: &str| words(&run(&checks, &[text.replace('|', "\r\n").as_bytes()]).1).join(" ");
    assert_eq!(
        of("S: \u{f1}||x|"),
        "improper use of 8-bit data in message header: S: \u{f1} Reject(\"5.6.0 improper use of 8-bit data in message header\")"
    );
    assert_eq!(
        of("S: x||x|l\u{f1}|"),
        "improper use of 8-bit data in message body: l\u{f1} Reject(\"5.6.0 improper use of 8-bit data in message body\")"
    );
    assert_eq!(of("Content-Transfer-Encoding: 8bit||\u{f1}|"), "");
    assert!(
        of("Content-Type: multipart/x; boundary=b|Content-Transfer-Encoding: base64||--b|")
            .starts_with("invalid message/* or multipart/* encoding domain: base64 ")
    );
}

#[test]
fn bytes_as_keys_and_in_the_log() {
    assert_eq!(key(b"S: \xf1\r\n b"), "S: \u{f1}\n b");
    assert_eq!(key("S: \u{f1}".as_bytes()), "S: \u{f1}");
    assert_eq!(shown(b"S: \xf1\r\n\tb\x01"), "S: ???b?");
    assert_eq!(shown("x\u{f1}".as_bytes()), "x\u{f1}");
    assert_eq!(shown(&[b'x'; 300]).len(), 200);
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(lines in prop::collection::vec(prop::sample::select(vec![
        "--b", "--b--", "", "repl", "gone", "pre", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "A: 1", "Content-Type: message/rfc822",
    ]), 0..20), cuts in prop::collection::vec(0usize..300, 0..5)) {
        let rows = "regexp:{{/^repl/ REPLACE A: new}, {/^gone/ IGNORE}, {/^pre/ PREPEND A: before}}";
        let checks = checks([rows, rows, rows, rows], manner(Side::In));
        let text = format!("Content-Type: multipart/x; boundary=b\r\n\r\n{}", lines.join("\r\n"));
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(run(&checks, &pieces), run(&checks, &[bytes]));
    }
}
