//! The header rewriter of cleanup: any content in any pieces; the body stays as it is.
#![no_main]

use cleanup::headers::{Headers, Plan};
use libfuzzer_sys::fuzz_target;
use proto::Address;
use proto::date::DateTime;

fn plan(kind: u8) -> Plan {
    Plan {
        rewrite: Some(cleanup::Context::Local),
        complete: kind & 1 != 0,
        sender: Address::new("jose", Some("example.org")),
        full_name: (kind & 2 != 0).then(|| "J. \"x\" (y)".to_string()),
        obsolete_from: kind & 4 != 0,
        myhostname: "h.example.org".into(),
        id: "ABC".into(),
        date: DateTime::new(1_795_187_936, 0, "UTC"),
        stamp: "20261121000000".into(),
        undisclosed: "To: undisclosed-recipients:;".into(),
        drop: vec!["bcc".into(), "content-length".into()],
        hopcount_limit: 50,
        size_limit: 300,
        token_limit: 50,
        detect_8bit: true,
        mailbox_line: kind & 8 != 0,
    }
}

fn run(kind: u8, bytes: &[u8], step: usize) -> Vec<u8> {
    let (mut headers, mut out) = (Headers::new(plan(kind), None), Vec::new());
    let mut rewrite = |a: &Address, _| match a.domain() {
        None if !a.is_null() => Address::new(a.local(), Some("example.org")),
        _ => a.clone(),
    };
    for piece in bytes.chunks(step.max(1)) {
        match headers.in_body() {
            true => out.extend_from_slice(piece),
            false => headers.feed(piece, &mut rewrite, &mut out),
        }
    }
    if !headers.in_body() {
        headers.finish(&mut rewrite, &mut out);
    }
    out
}

fuzz_target!(|input: (u8, u8, &str, &[u8])| {
    let (kind, step, head, body) = input;
    let mut bytes = head.replace('\r', "").replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    let out = run(kind, &bytes, usize::from(step));
    assert_eq!(out, run(kind, &bytes, bytes.len()));
    assert!(out.ends_with(body));
});
