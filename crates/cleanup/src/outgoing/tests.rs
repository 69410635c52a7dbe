//! Tests of what leaves: asked of a real smtp(8).

use super::*;
use std::path::Path;

fn outgoing(settings: &str) -> Outgoing {
    let text = format!(
        "myhostname = mail2.josedomingo.org\nmyorigin = josedomingo.org\nmydestination = josedomingo.org, localhost\n\
         recipient_delimiter = +\n{settings}"
    );
    let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
    let types = Types::builder().build();
    let rewriter = Arc::new(Rewriter::open(&config, &types, &[]).unwrap());
    Outgoing::load(&config, &types, rewriter, Protocol::Smtp).unwrap()
}

fn send(rules: &Outgoing, seven_bits: bool, text: &str) -> Result<(String, usize), Box<Status>> {
    let text = text.replace('|', "\r\n");
    let Some(mut message) = rules.message(seven_bits) else { return Ok((text.replace("\r\n", "|"), 0)) };
    let mut out = Vec::new();
    for piece in text.as_bytes().chunks(7) {
        message.feed(piece, &mut out);
    }
    message.finish(&mut out)?;
    Ok((String::from_utf8_lossy(&out).replace("\r\n", "|"), message.findings().len()))
}

const GENERIC: &str = "smtp_generic_maps = inline:{ {jose@josedomingo.org = pepe@isp.net} {alumno = al@isp.net} \
    {@local.lan = @isp.net} {usuario@josedomingo.org=us@isp.net, x@y.z} }\n";

#[test]
fn generic_addresses() {
    let rules = outgoing(GENERIC);
    for (given, expected) in [
        ("jose@josedomingo.org", "pepe@isp.net"),
        ("jose+bar@josedomingo.org", "pepe@isp.net"),
        ("alumno+q@localhost", "al@isp.net"),
        ("a@local.lan", "a@isp.net"),
        ("usuario@josedomingo.org", "us@isp.net"),
        ("x@remote.org", "x@remote.org"),
        ("", ""),
    ] {
        assert_eq!(rules.address(&Address::from_internal(given)).unwrap().internal(), expected);
    }
    let (text, _) = send(
        &rules,
        false,
        "From: Jose <jose@josedomingo.org>|To: alumno+x@josedomingo.org, a@local.lan, q@x.org|X-Foo: jose@josedomingo.org|\
         Content-Type: message/rfc822||From: jose@josedomingo.org||x|",
    )
    .unwrap();
    assert_eq!(
        text,
        "From: Jose <pepe@isp.net>|To: al@isp.net, a@isp.net, q@x.org|X-Foo: jose@josedomingo.org|\
         Content-Type: message/rfc822||From: jose@josedomingo.org||x|"
    );
}

#[test]
fn checks_then_generic_then_seven_bits() {
    let rules = outgoing(&format!(
        "{GENERIC}smtp_header_checks = inline:{{ {{X-Old: 1 = REPLACE From: jose@josedomingo.org}} {{X: 1 = STRIP}} }}\n"
    ));
    let (text, found) = send(&rules, true, "X-Old: 1|X: 1|Content-Transfer-Encoding: 8bit||\u{f1}|").unwrap();
    assert_eq!(
        (text.as_str(), found),
        ("From: pepe@isp.net|Content-Transfer-Encoding: quoted-printable||=C3=B1|", 2)
    );
}

#[test]
fn nothing_to_do() {
    assert!(outgoing("").message(false).is_none());
    assert!(outgoing("").message(true).is_some());
    assert!(outgoing("disable_mime_output_conversion = yes\n").message(true).is_none());
}

#[test]
fn what_must_not_be_sent() {
    let failed = send(&outgoing("smtp_body_checks = fail:x\n"), false, "S: 1||x|").unwrap_err();
    assert_eq!(failed.code, Code(4, 3, 0));
    let failed = send(&outgoing("smtp_generic_maps = fail:x\n"), false, "From: a@b||x|").unwrap_err();
    assert_eq!(failed.code, Code(4, 3, 0));
    assert!(outgoing("smtp_generic_maps = fail:x\n").address(&Address::from_internal("a@b")).is_err());
    let deep =
        (0..4).map(|n| format!("Content-Type: multipart/x; boundary=b{n}||--b{n}|")).collect::<String>()
            + "|x|";
    let failed = send(&outgoing("mime_nesting_limit = 1\n"), true, &deep).unwrap_err();
    assert_eq!((failed.code, failed.text.as_str()), (Code(5, 6, 0), "MIME nesting exceeds safety limit"));
}
