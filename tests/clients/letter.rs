//! The letter that every program sends, and what must be found when it is read back.

use crate::host::{Logins, NAME, RECIPIENT, SENDER};
use valija_tests::log::Line;
use valija_tests::scenario::Placed;
use valija_tests::world::{PATIENCE, World};

/// Text that is easily damaged on the way: dots and "From" at the beginning of lines, characters of several bytes.
pub const TEXT: &str = "\
Grüße aus dem Büro, čau, 你好.
.
..zwei Punkte, und dann
.einer
From the start of a line
  a line with spaces before and a tab\tin it
A long line: lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua.
Ende €
";

/// Where its parts lie in the world.
pub const TEXT_PATH: &str = "/srv/letter/text";
/// The attachment: every byte there is, many times.
pub const ATTACHMENT_PATH: &str = "/srv/letter/data";
const READER: &str = "/srv/letter/read.py";

/// The letter's files.
pub fn files() -> Vec<Placed> {
    let place =
        |path: &str, content: &[u8]| Placed { path: path.into(), content: content.into(), executable: false };
    vec![
        place(TEXT_PATH, TEXT.as_bytes()),
        place(ATTACHMENT_PATH, &attachment()),
        place(READER, include_bytes!("read.py")),
    ]
}

/// 50,000 bytes that no program can take for text.
fn attachment() -> Vec<u8> {
    let mut state = 1u32;
    (0..50_000u32)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// A letter that was sent, as it was found.
pub struct Found {
    /// Its headers, each on one line, and what the reader says of its contents.
    pub text: String,
    /// The line of the log that says who sent it.
    pub client: String,
}

impl Found {
    /// Whether this line is there; one that ends in `*` need only begin so.
    pub fn has(&self, wanted: &str) -> bool {
        self.text.lines().any(|line| match wanted.strip_suffix('*') {
            Some(start) => line.starts_with(start),
            None => line == wanted,
        })
    }
}

/// Waits until the letter with this subject was delivered and reads it: by IMAP where there is Dovecot. Its text and its
/// attachment (`-` for none) are compared with these files. `log` are the lines that were there before it was sent.
pub fn read_back(
    world: &World,
    logins: Logins,
    subject: &str,
    (text, attachment): (&str, &str),
    log: usize,
) -> Result<Found, String> {
    world.log.wait("the letter to be delivered", PATIENCE, |lines| {
        lines.iter().skip(log).any(|line| line.text.contains("status=sent"))
    })?;
    let (user, password) = RECIPIENT;
    let (reader, from) = match logins {
        Logins::Dovecot => (SENDER.0, format!("imap {NAME} {user} '{password}'")), // anyone who knows the password
        Logins::Own => (user, format!("maildir /home/{user}/Maildir")),
    };
    let output =
        world.run(reader, &format!("/usr/bin/python3 {READER} {from} '{subject}' {text} {attachment}"))?;
    if output.status != 0 {
        return Err(format!("reading back: {}", output.text));
    }
    let lines = world.log.lines();
    let client = lines.iter().skip(log).find(|line| is_client(line)).map(Line::shown);
    Ok(Found { text: output.text, client: client.ok_or("the log does not say who sent it")? })
}

fn is_client(line: &Line) -> bool {
    line.tag.ends_with("/smtpd")
        && line.queue_id().is_some_and(|id| line.text[id.len()..].starts_with(": client="))
}

/// What must be true of every letter sent with a login over TLS; `service` is its tag in the log.
pub fn problems(found: &Found, service: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let (user, _) = SENDER;
    for wanted in ["= the text is the same", &format!("Return-Path: <{user}@mail1.org>"), "Received: from *"]
    {
        if !found.has(wanted) {
            problems.push(format!("read back, it has no {wanted:?}:\n{}", found.text));
        }
    }
    if let Some(line) = found.text.lines().find(|line| line.starts_with("= the attachment differs")) {
        problems.push(line.to_string());
    }
    let received = found.text.lines().find(|line| line.starts_with("Received: ")).unwrap_or_default();
    for part in [
        "(using TLSv1.3 with cipher ",
        "(Authenticated sender: alumno)",
        " by mail.mail1.org (Postfix) with ESMTPSA id ",
    ] {
        if !received.contains(part) {
            problems.push(format!("its Received has no {part:?}: {received}"));
        }
    }
    if !found.client.starts_with(&format!("{service}: "))
        || !found.client.ends_with(&format!(", sasl_username={user}"))
    {
        problems.push(format!("the log does not say who logged in at {service}: {}", found.client));
    }
    problems
}
