//! Tests of the scanner.

use super::*;
use crate::header;
use proptest::prelude::*;

/// What is told of a message, in one line; faults last, as their moment depends on the cuts.
fn scan(pieces: &[&[u8]], limits: Limits, eight_bit: bool) -> String {
    scan_with(pieces, limits.header, limits, eight_bit)
}

/// With another limit for the primary header.
fn scan_with(pieces: &[&[u8]], primary: usize, limits: Limits, eight_bit: bool) -> String {
    let mut header = header::Scanner::new(primary);
    let mut scanner = Scanner::new(limits, eight_bit);
    let (mut out, mut faults) = (Vec::<u8>::new(), String::new());
    // A long boundary line comes in pieces.
    let mut in_boundary = false;
    for piece in pieces.iter().map(Some).chain([None]) {
        let mut tell = |part: Part<'_>| match part {
            Part::Field(place, f) => {
                let mark = if place == Place::Mime { "m" } else { "n" };
                out.extend_from_slice(format!("[{mark} {}]", String::from_utf8_lossy(f.raw())).as_bytes());
            }
            Part::EndOfHeader { blank, .. } => out.extend_from_slice(if blank { b"/" } else { b"!" }),
            Part::Boundary(line) => {
                if !std::mem::replace(&mut in_boundary, !line.ends_with(b"\n")) {
                    out.push(b'<');
                }
                out.extend(line.iter().map(|b| if *b == b'\n' { b'>' } else { *b }).filter(|b| *b != b'\r'));
            }
            Part::Text(bytes) => out.extend(bytes.iter().filter(|b| **b != b'\r').map(|b| match b {
                b'\n' => b'|',
                b => *b,
            })),
            Part::Fault(fault, _) => faults.push_str(&format!("{{{fault:?}}}")),
        };
        let mut each = |part: header::Part<'_>| match part {
            header::Part::Field(f) => scanner.primary(&f, &mut tell),
            header::Part::EndOfHeader { .. } => {
                scanner.end_of_primary(&mut tell);
            }
            header::Part::Body(bytes) => scanner.feed(bytes, &mut tell),
        };
        match piece {
            Some(piece) => header.feed(piece, &mut each),
            None => {
                header.finish(&mut each);
                scanner.finish(&mut tell);
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned() + &faults
}

fn check(text: &str, expected: &str) {
    let text = text.replace('|', "\r\n");
    assert_eq!(scan(&[text.as_bytes()], Limits::default(), true), expected, "{text}");
    let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(scan(&single, Limits::default(), true), expected, "byte by byte: {text}");
}

#[test]
fn structures() {
    check("S: x||a|--b|c|", "a|--b|c|");
    check(
        "Content-Type: multipart/mixed; boundary=b||pre|--b|A: 1| 2||t-|-x|--b|B: 1||u|--b--|post|--b|",
        "pre|<--b>[m A: 1\r\n 2]/t-|-x|<--b>[m B: 1]/u|<--b-->post|--b|",
    );
    // A part without a header, and one whose header no empty line ends.
    check(
        "Content-Type: multipart/x; boundary=b||--b||t|--b|no header|--b--|",
        "<--b>/t|<--b>!no header|<--b-->",
    );
    // The next boundary ends a header, too.
    check("Content-Type: multipart/x; boundary=b||--b|A: 1|--b|B: 2||t", "<--b>[m A: 1]!<--b>[m B: 2]/t");
    // Enclosed messages, and multiparts in them.
    check("Content-Type: message/rfc822||S: n||t|", "[n S: n]/t|");
    check(
        "Content-Type: multipart/x; boundary=b||--b|Content-Type: message/rfc822||S: n|Content-Type: multipart/x; boundary=c||--c||t|--c--|e|--b--|",
        "<--b>[m Content-Type: message/rfc822]/[n S: n][n Content-Type: multipart/x; boundary=c]/<--c>/t|<--c-->e|<--b-->",
    );
    check("Content-Type: multipart/digest; boundary=b||--b||S: n||t|--b--|", "<--b>/[n S: n]/t|<--b-->");
    // The outer boundary closes what is open within.
    check(
        "Content-Type: multipart/x; boundary=b||--b|Content-Type: multipart/x; boundary=c||--c||t|--b||u|",
        "<--b>[m Content-Type: multipart/x; boundary=c]/<--c>/t|<--b>/u|",
    );
    check("Content-Type: multipart/x; boundary=b||--b|A: 1", "<--b>[m A: 1]!");
    check("Content-Type: multipart/x||--b||t|", "--b||t|");
}

#[test]
fn faults_are_told_once() {
    check("S: \u{f1}|T: \u{f1}||\u{f1}|", "\u{f1}|{EightBitHeader}{EightBitBody}");
    check("Content-Transfer-Encoding: 8bit||\u{f1}|", "\u{f1}|");
    check(
        "Content-Transfer-Encoding: base64|Content-Type: multipart/x; boundary=b||--b||t|",
        "<--b>/t|{EncodingDomain}",
    );
    let level = |n: usize| format!("Content-Type: multipart/x; boundary=b{n}\r\n\r\n--b{n}\r\n");
    let deep = |n: usize| (0..n).map(level).collect::<String>() + "\r\nt";
    let limits = Limits { nesting: 1, boundary: 2, header: 60 };
    assert!(!scan(&[deep(3).as_bytes()], limits, false).contains("Nesting"));
    assert!(scan(&[deep(4).as_bytes()], limits, false).ends_with("--b3||t{Nesting}"));
    let long = format!(
        "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nA: {}\r\nB: 1\r\n\r\nt",
        "x".repeat(100)
    );
    let told = scan(&[long.as_bytes()], limits, false);
    assert_eq!(told, format!("<--b>[m A: {}][m B: 1]/t{{LongHeader}}", "x".repeat(57)));
}

#[test]
fn long_lines_are_the_same_however_they_are_cut() {
    let limits = Limits { nesting: 3, boundary: 8, header: 20 };
    for (lines, expected) in [
        // What follows a boundary on its line belongs to it, and is no header of the part.
        ("--b and so much more|A: 1||t|", "<--b and so much more>[m A: 1]/t|"),
        ("--b-- and so much more|A: 1||t|", "<--b-- and so much more>A: 1||t|"),
        ("--b and so much more", "<--b and so much more!"),
        // A name beyond the limit ends a header; what follows it on its line is no line of its own.
        ("--b|A-name-as-long-as-this: 1|B: 2|", "<--b>!A-name-as-long-as-this: 1|B: 2|"),
        ("--b|twenty-four-bytes-here--b|t|", "<--b>!twenty-four-bytes-here--b|t|"),
        ("--b|--bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb|t|", "<--b>!<--bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb>!t|"),
        ("--b|--xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx|t|", "<--b>!--xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx|t|"),
        ("--b|--xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "<--b>!--xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        // Of a field beyond the limit the next one is not to blame, nor does it grow by empty lines.
        ("--b|A: 23456789012345678901234|B: 2||t|", "<--b>[m A: 23456789012345678][m B: 2]/t|{LongHeader}"),
        ("--b|A: 234567890123| | | | | |B: 2||t|", "<--b>[m A: 234567890123\r\n ][m B: 2]/t|{LongHeader}"),
    ] {
        let mut text = b"Content-Type: multipart/x; boundary=b\r\n\r\n".to_vec();
        let primary = text.len();
        text.extend_from_slice(lines.replace('|', "\r\n").as_bytes());
        for step in 1..=text.len() {
            let pieces: Vec<&[u8]> =
                [&text[..primary]].into_iter().chain(text[primary..].chunks(step)).collect();
            let told = scan_with(&pieces, 1000, limits, true);
            assert_eq!(told, expected, "in pieces of {step}: {lines}");
        }
    }
}

#[test]
fn nothing_is_hoarded() {
    let mut scanner = Scanner::new(Limits::default(), false);
    let field = header::Field::new(b"Content-Type: multipart/x; boundary=b").unwrap();
    scanner.primary(&field, &mut |_| {});
    scanner.end_of_primary(&mut |_| {});
    let mut most = 0;
    for _ in 0..1000 {
        scanner.feed(&[b'-'; 1000], &mut |_| {});
        most = most.max(scanner.line.len());
    }
    assert!(most < 4000, "{most}");
    scanner.feed(b"\r\n--b\r\nA: ", &mut |_| {});
    for _ in 0..1000 {
        scanner.feed(&[b'x'; 1000], &mut |_| {});
        most = most.max(scanner.line.len() + scanner.field.len());
    }
    assert!(most < 2 * 102_400, "{most}");
    scanner.feed(b"\r\n", &mut |_| {});
    scanner.feed(&b" \r\n".repeat(100_000), &mut |_| {});
    assert!(scanner.field.len() <= 102_400, "{}", scanner.field.len());
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(
        lines in prop::collection::vec(prop::sample::select(vec![
            "--b", "--b--", "--c", "--c--", "--bc", "", "text", "-", "--", "A: 1", " folded",
            "Content-Type: multipart/x; boundary=c", "Content-Type: message/rfc822",
            "Content-Type: multipart/digest; boundary=b", "Content-Transfer-Encoding: 8bit", "\u{f1}",
        ]), 0..30),
        cuts in prop::collection::vec(0usize..400, 0..6),
        least in any::<bool>(),
    ) {
        let text = format!("Content-Type: multipart/x; boundary=b\r\n\r\n{}", lines.join("\r\n"));
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let (boundary, header) = if least { (1, 3) } else { (10, 1000) };
        let limits = Limits { nesting: 3, boundary, header };
        prop_assert_eq!(scan_with(&pieces, 1000, limits, true), scan_with(&[bytes], 1000, limits, true));
    }
}
