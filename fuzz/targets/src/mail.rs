//! Messages: addresses, headers, bodies.

use crate::{first, pieces, text, two};
use cleanup::headers::{Headers, Plan};
use cleanup::lines::{Lines, Rules};
use proto::Address;
use proto::address::parse;
use proto::date::DateTime;
use proto::header::{Part, Scanner};
use proto::mime::Limits;
use proto::mime::downgrade::{Downgrade, whole};

/// Addresses as clients write them: what is read and shown reads back the same.
pub fn address(bytes: &[u8]) {
    let (kind, rest) = first(bytes);
    let text = text(rest);
    let (strict, utf8) = (kind & 1 != 0, kind & 2 != 0);
    if let Ok(address) = parse::envelope(&text, parse::Rules { strict, utf8 }) {
        let again = parse::envelope(&format!("<{address}>"), parse::Rules { strict: false, utf8 });
        assert_eq!(again, Ok(address.clone()));
    }
    let internal = Address::from_internal(&text);
    assert_eq!(Address::from_internal(&internal.internal()), internal);
}

/// Addresses in header fields: rewriting to the same changes nothing, and what was rewritten is understood again.
pub fn address_list(value: &[u8]) {
    use cleanup::address_list::{addresses, rewrite};
    let mut same = |a: &Address| a.clone();
    let _ = rewrite("To", value, 1000, &mut same);
    let before = addresses(value);
    let mut longer = |a: &Address| match a.domain() {
        None if !a.is_null() => Address::new(a.local(), Some("example.org")),
        _ => a.clone(),
    };
    if let Some(new) = rewrite("To", value, usize::MAX, &mut longer) {
        let after = addresses(&new);
        let expected: Vec<Address> = before.iter().map(longer).collect();
        assert_eq!(after, expected, "{}", text(&new));
        // No line of it begins a field of its own, or ends the header.
        for line in new.split(|b| *b == b'\n').skip(1) {
            assert!(line.starts_with(b"\t") || line.starts_with(b" "), "{}", text(&new));
        }
    }
}

/// The header scanner: nothing of the body lost, no field beyond its limit; and without limits the same as where all is
/// in memory.
pub fn header(bytes: &[u8]) {
    let (step, bytes) = first(bytes);
    let run = |step: u8, limit: usize| {
        let mut scanner = Scanner::new(limit);
        let (mut ended, mut fields, mut body) = (0, Vec::new(), Vec::new());
        let mut tell = |part: Part<'_>| match part {
            Part::Field(field) => {
                assert!(field.raw().len() <= limit && ended == 0);
                fields.push(field.raw().to_vec());
            }
            Part::EndOfHeader { .. } => ended += 1,
            Part::Body(piece) => body.extend_from_slice(piece),
        };
        for piece in pieces(bytes, step) {
            scanner.feed(piece, &mut tell);
        }
        scanner.finish(&mut tell);
        assert_eq!(ended, 1);
        assert!(bytes.ends_with(&body), "{}", text(&body));
        (fields, body)
    };
    for limit in [100, 7, usize::from(step) + 1] {
        assert_eq!(run(step.max(1), limit), run(0, limit), "{limit}");
    }
    let (fields, at) = proto::header::split(bytes);
    // Of CR CR LF at the end of a field the scanner keeps no CR, and `split` one: open, `docs/fuzzing.md`.
    let ended =
        |raw: &[u8]| text(raw).replace("\r\n", "\n").replace('\n', "\r\n").trim_end_matches('\r').to_string();
    let fields: Vec<String> = fields.iter().map(|f| ended(f.raw())).collect();
    let (scanned, body) = run(step.max(1), usize::MAX / 2);
    let scanned: Vec<String> = scanned.iter().map(|f| ended(f)).collect();
    assert_eq!((scanned, text(&body)), (fields, text(&bytes[at..])));
}

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
        size_limit: if kind & 16 != 0 { 40 } else { 300 },
        token_limit: if kind & 32 != 0 { 3 } else { 50 },
        detect_8bit: true,
        mailbox_line: kind & 8 != 0,
    }
}

fn rewritten(kind: u8, bytes: &[u8], step: u8) -> Vec<u8> {
    let (mut headers, mut out) = (Headers::new(plan(kind), None), Vec::new());
    let mut rewrite = |a: &Address, _| match a.domain() {
        None if !a.is_null() => Address::new(a.local(), Some("example.org")),
        _ => a.clone(),
    };
    for piece in pieces(bytes, step) {
        match headers.in_body() {
            true => out.extend_from_slice(piece),
            false => {
                let rest = headers.feed(piece, &mut rewrite, &mut out);
                out.extend_from_slice(rest);
            }
        }
    }
    if !headers.in_body() {
        headers.finish(&mut rewrite, &mut out);
    }
    out
}

/// The header rewriter of cleanup: any content in any pieces; the body stays as it is.
pub fn headers(bytes: &[u8]) {
    let (kind, rest) = first(bytes);
    let (step, rest) = first(rest);
    let (head, body) = two(rest);
    let mut bytes = text(head).replace('\r', "").replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    let out = rewritten(kind, &bytes, step.max(1));
    assert_eq!(text(&out), text(&rewritten(kind, &bytes, 0)));
    assert!(out.ends_with(body));
    // No field that is changed or added ends the header: what was body is body, all else is fields.
    let (fields, at) = proto::header::split(&bytes);
    let short = |f: &proto::header::Field<'_>| f.raw().len() < 40;
    if kind & 8 == 0 && fields.iter().all(short) {
        let (left, begins) = proto::header::split(&out);
        assert_eq!(text(&out[begins..]), text(&bytes[at..]), "{}", text(&out));
        if kind & 1 != 0 {
            let resent = left.iter().any(|f| f.name().to_ascii_lowercase().starts_with("resent-"));
            let wanted = match resent {
                true => ["resent-from", "resent-date", "resent-message-id"],
                false => ["from", "date", "message-id"],
            };
            assert!(wanted.iter().all(|name| left.iter().any(|f| f.is(name))), "{}", text(&out));
        }
        assert!(!left.iter().any(|f| f.is("bcc")), "{}", text(&out));
    }
}

/// The MIME scanner and the conversion to seven bits: the same for any cut, nothing lost; what was converted needs no
/// conversion, and is not much longer.
pub fn mime(bytes: &[u8]) {
    let (step, bytes) = first(bytes);
    for limits in
        [Limits { nesting: 4, boundary: 8, header: 200 }, Limits { nesting: 0, boundary: 3, header: 30 }]
    {
        let (mut downgrade, mut out) = (Downgrade::new(limits), Vec::new());
        for piece in pieces(bytes, step.max(1)) {
            downgrade.feed(piece, &mut out);
        }
        let ended = downgrade.finish(&mut out);
        // Three for one, a line end of one byte becomes two, and each part may get a field.
        assert!(out.len() <= bytes.len() * 12 + 200, "{}", text(&out));
        match whole(bytes, limits) {
            Ok(all) => assert_eq!((ended, text(&all)), (Ok(()), text(&out))),
            Err(fault) => assert_eq!(ended, Err(fault)),
        }
    }
    let lines = text(bytes).replace('\r', "").replace('\n', "\r\n").into_bytes();
    if lines.ends_with(b"\r\n") {
        let told = retold(&lines, step);
        assert_eq!(text(&told), text(&lines));
    }
}

/// Nothing is lost between the parts of which the scanners tell: put together they are the message, but for the empty
/// line that was not there.
fn retold(message: &[u8], step: u8) -> Vec<u8> {
    use proto::mime;
    let limits = Limits { nesting: 100, boundary: 2048, header: 102_400 };
    let (mut header, mut body) = (Scanner::new(102_400), mime::Scanner::new(limits, true));
    let mut out = Vec::new();
    let part = |part: mime::Part<'_>, out: &mut Vec<u8>| match part {
        mime::Part::Field(_, field) => {
            out.extend_from_slice(field.raw());
            out.extend_from_slice(b"\r\n");
        }
        mime::Part::EndOfHeader { blank: true, .. } => out.extend_from_slice(b"\r\n"),
        mime::Part::EndOfHeader { .. } | mime::Part::Fault(..) => {}
        mime::Part::Boundary(bytes) | mime::Part::Text(bytes) => out.extend_from_slice(bytes),
    };
    let mut tell = |told: Part<'_>| match told {
        Part::Field(field) => {
            body.primary(&field, &mut |_| {});
            out.extend_from_slice(field.raw());
            out.extend_from_slice(b"\r\n");
        }
        Part::EndOfHeader { blank } => {
            body.end_of_primary(&mut |_| {});
            if blank {
                out.extend_from_slice(b"\r\n");
            }
        }
        Part::Body(bytes) => body.feed(bytes, &mut |p| part(p, &mut out)),
    };
    for piece in pieces(message, step) {
        header.feed(piece, &mut tell);
    }
    header.finish(&mut tell);
    body.finish(&mut |p| part(p, &mut out));
    out
}

/// What cleanup makes of lines: the same for any cut.
pub fn body_lines(bytes: &[u8]) {
    let (kind, rest) = first(bytes);
    let (step, bytes) = first(rest);
    let run = |step: u8| {
        let rules = Rules {
            replace_stray: kind & 4 != 0,
            strip: if kind & 1 != 0 { vec![0] } else { Vec::new() },
            reject: if kind & 2 != 0 { vec![1] } else { Vec::new() },
        };
        let (mut lines, mut out) = (Lines::new(rules), Vec::new());
        for piece in pieces(bytes, step) {
            lines.feed(piece, &mut out);
        }
        lines.finish(&mut out);
        (out, lines.forbidden(), lines.eight_bit())
    };
    assert_eq!(run(step.max(1)), run(0));
}

/// A message that filters change: whatever they say, its header stays one, and of its body nothing is lost.
pub fn milter_content(bytes: &[u8]) {
    use milter::content::Content;
    use proto::milter::Edit;
    let (step, rest) = first(bytes);
    let (message, edits) = two(rest);
    let mut content = Content::new(&std::env::temp_dir());
    pieces(message, step).for_each(|piece| content.feed(piece));
    content.finish();
    for edit in edits.split(|b| *b == b'%').take(50) {
        let (what, rest) = first(edit);
        let (number, rest) = first(rest);
        let mut halves = rest.splitn(2, |b| *b == b':');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        let (at, name, value) = (u32::from(number % 10), name.to_vec(), value.to_vec());
        if name.is_empty() || name.iter().any(|b| b.is_ascii_control() || *b == b':' || *b == b' ') {
            continue;
        }
        let edit = match what % 3 {
            0 => Edit::Add { name, value },
            1 => Edit::Insert { at, name, value },
            _ => Edit::Change { at, name, value },
        };
        content.change_header(&edit, number >= 128);
    }
    let header = content.header();
    let end = header.windows(4).position(|w| w == b"\r\n\r\n");
    assert!(end.is_none_or(|at| at + 4 == header.len()), "{}", text(&header));
    let (mut piece, mut body) = (Vec::new(), Vec::new());
    while content.read_body(body.len() as u64, 100, &mut piece).is_ok() && !piece.is_empty() {
        body.extend_from_slice(&piece);
    }
    assert!(message.ends_with(&body), "{}", text(&body));
}

/// Content that is quoted in a notice: where its header ends, and ORCPT.
pub fn notice(bytes: &[u8]) {
    let end = qmgr::bounce::notice::headers_end(bytes);
    assert!(end <= bytes.len());
    let _ = qmgr::bounce::notice::unxtext(&text(bytes));
    let _ = proto::smtp::command::xtext(&text(bytes));
    let encoded = proto::smtp::client::xtext(&text(bytes));
    assert!(proto::smtp::command::is_xtext(&encoded), "{encoded}");
}
