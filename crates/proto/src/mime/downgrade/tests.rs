//! Tests of the conversion. What Postfix makes of messages is in `proto/tests/mime`.

use super::*;
use proptest::prelude::*;

fn check(text: &str, expected: &str) {
    let got = whole(text.replace('|', "\r\n").as_bytes(), Limits::default()).unwrap();
    assert_eq!(String::from_utf8_lossy(&got).replace("\r\n", "|"), expected, "{text}");
}

#[test]
fn entities_become_quoted_printable() {
    check("A: 1||ñ|", "A: 1||ñ|");
    check(
        "Content-Transfer-Encoding: 8bit|A: 1||ñ = x |\t|",
        "A: 1|Content-Transfer-Encoding: quoted-printable||=C3=B1 =3D x=20|=09|",
    );
    check("Content-Transfer-Encoding: base64||bXV5|", "Content-Transfer-Encoding: base64||bXV5|");
    check(
        "Content-Transfer-Encoding: 8bit|Content-Type: multipart/x; boundary=b||ñ|--b|Content-Transfer-Encoding: 8bit||ñ|--b||7 =|--b--|ñ|",
        "Content-Type: multipart/x; boundary=b|Content-Transfer-Encoding: 7bit||ñ|--b|Content-Transfer-Encoding: quoted-printable||=C3=B1|--b||7 =|--b--|ñ|",
    );
}

#[test]
fn lines_are_broken() {
    let head = "Content-Transfer-Encoding: 8bit||";
    let shown = "Content-Transfer-Encoding: quoted-printable||";
    check(&format!("{head}{}|", "x".repeat(73)), &format!("{shown}{}|", "x".repeat(73)));
    check(&format!("{head}{}|", "x".repeat(74)), &format!("{shown}{}=|x|", "x".repeat(73)));
    check(&format!("{head}{} |", "x".repeat(72)), &format!("{shown}{}=20|", "x".repeat(72)));
    check(&format!("{head}{} |", "x".repeat(73)), &format!("{shown}{}=|=20|", "x".repeat(73)));
}

proptest! {
    #[test]
    fn what_comes_out_decodes_to_what_went_in(body in prop::collection::vec(prop::sample::select(&b"ab= \t\r\n-\xc3\x00"[..]), 0..200), cut in 0usize..260) {
        let body: Vec<u8> = [&body[..], b"\r\n"].concat();
        let message = [&b"Content-Transfer-Encoding: 8bit\r\n\r\n"[..], &body].concat();
        let out = whole(&message, Limits::default()).unwrap();
        let mut cutted = Vec::new();
        let mut downgrade = Downgrade::new(Limits::default());
        let cut = cut.min(message.len());
        downgrade.feed(&message[..cut], &mut cutted);
        downgrade.feed(&message[cut..], &mut cutted);
        downgrade.finish(&mut cutted).unwrap();
        prop_assert_eq!(&cutted, &out);
        let at = out.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let encoded = &out[at..];
        prop_assert!(encoded.is_ascii());
        let mut decoded = Vec::new();
        for line in encoded.split_inclusive(|b| *b == b'\n') {
            prop_assert!(line.len() <= 78);
            let mut line = line.strip_suffix(b"\r\n").unwrap();
            let soft = line.ends_with(b"=");
            if soft {
                line = &line[..line.len() - 1];
            }
            prop_assert!(!line.ends_with(b" ") || soft);
            let mut i = 0;
            while i < line.len() {
                if line[i] == b'=' {
                    decoded.push(u8::from_str_radix(std::str::from_utf8(&line[i + 1..i + 3]).unwrap(), 16).unwrap());
                    i += 3;
                } else {
                    decoded.push(line[i]);
                    i += 1;
                }
            }
            if !soft {
                decoded.extend_from_slice(b"\r\n");
            }
        }
        // A bare line feed is a line end, too.
        let mut want = Vec::new();
        for (i, b) in body.iter().enumerate() {
            if *b == b'\n' && (i == 0 || body[i - 1] != b'\r') {
                want.push(b'\r');
            }
            want.push(*b);
        }
        prop_assert_eq!(decoded, want);
    }

    #[test]
    fn seven_bits_stay_as_they_are(lines in prop::collection::vec(prop::sample::select(vec!["--b", "--b--", "", "t", "A: 1", "Content-Type: message/rfc822"]), 0..20)) {
        let text = format!("Content-Type: multipart/x; boundary=b\r\n\r\n{}\r\n", lines.join("\r\n"));
        let out = whole(text.as_bytes(), Limits::default()).unwrap();
        // Only an empty line that a header lacked may be new.
        let (a, b) = (text.replace("\r\n", ""), String::from_utf8(out).unwrap().replace("\r\n", ""));
        prop_assert_eq!(a, b);
    }
}
