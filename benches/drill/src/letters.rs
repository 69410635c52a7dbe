//! The letters: recipients, size and content of each follow from its number, so any change to it shows.

use crate::rng::Rng;

/// Where a letter arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The sink, which takes it at once. Three recipients, so that one letter may have several there.
    Far(u8),
    /// The sink, which takes it at the second attempt.
    Late,
    /// A command that a user's `.forward` names; it notes when it began and ended.
    Command,
    /// A user's Maildir.
    Maildir,
    /// A user's mailbox in mbox format.
    Mbox,
}

impl Place {
    /// All.
    pub const ALL: [Place; 7] = [
        Place::Far(0),
        Place::Far(1),
        Place::Far(2),
        Place::Late,
        Place::Command,
        Place::Maildir,
        Place::Mbox,
    ];

    /// The address that leads there.
    pub fn address(self) -> &'static str {
        match self {
            Place::Far(0) => "far0@sink.test",
            Place::Far(1) => "far1@sink.test",
            Place::Far(_) => "far2@sink.test",
            Place::Late => "late@sink.test",
            Place::Command => "drillcommand@local.test",
            Place::Maildir => "drillmaildir@local.test",
            Place::Mbox => "drillmbox@local.test",
        }
    }

    /// The place of an address.
    pub fn of(address: &str) -> Option<Place> {
        Place::ALL.into_iter().find(|p| p.address().eq_ignore_ascii_case(address))
    }

    /// Whether whoever takes it there knows when that began and ended.
    pub fn is_timed(self) -> bool {
        !matches!(self, Place::Maildir | Place::Mbox)
    }
}

/// Whom a letter goes to.
pub fn recipients(number: u64) -> &'static [Place] {
    use Place::{Command, Far, Late, Maildir, Mbox};
    match number % 16 {
        0..6 => &[Far(0)],
        6 | 7 => &[Far(0), Far(1), Far(2)],
        8 => &[Far(1), Late],
        9 => &[Late],
        10 => &[Maildir],
        11 => &[Mbox],
        12 => &[Command],
        13 => &[Far(0), Maildir, Mbox],
        14 => &[Far(2), Command],
        _ => &[Far(1), Far(2), Late, Maildir, Mbox, Command],
    }
}

/// The sender, who is known by the number.
pub fn sender(number: u64) -> String {
    format!("drill-{number}@drill.test")
}

/// The number of a sender.
pub fn of_sender(address: &str) -> Option<u64> {
    address.strip_prefix("drill-")?.strip_suffix("@drill.test")?.parse().ok()
}

const LINE: &[u8] = b"Hear me, for I will speak of excellent things; and the opening of my lips.";

/// The lines of a letter, each with the number and its own; some begin with dots.
pub fn body(number: u64) -> Vec<u8> {
    let mut rng = Rng(number);
    let size = match rng.below(20) {
        _ if number % 97 == 96 => 1_200_000, // a file of its own in the queue
        0..12 => 10_240,
        12..16 => rng.below(2_000) as usize,
        16..18 => 3_000 + rng.below(20_000) as usize,
        _ => 60_000,
    };
    let mut text = Vec::with_capacity(size + 200);
    let mut line = 0u64;
    while text.len() < size {
        if line % 17 == 3 {
            text.push(b'.');
        }
        text.extend_from_slice(format!("{number}/{line} ").as_bytes());
        text.extend_from_slice(&LINE[..LINE.len() - (rng.next() % 30) as usize]);
        text.extend_from_slice(b"\r\n");
        line += 1;
    }
    text
}

/// What is sent after DATA, up to and with the final dot.
pub fn content(number: u64) -> Vec<u8> {
    let mut text =
        format!("From: <{}>\r\nTo: drill:;\r\nSubject: drill {number}\r\n\r\n", sender(number)).into_bytes();
    for line in body(number).split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            text.push(b'.');
        }
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b".\r\n");
    text
}

/// The number of a letter as it arrived (with either kind of line ends), and whether it is whole.
pub fn read(message: &[u8]) -> Result<u64, String> {
    let plain: Vec<u8> = message.iter().copied().filter(|b| *b != b'\r').collect();
    let end = plain.windows(2).position(|w| w == b"\n\n").ok_or("a message without content")?;
    let head = String::from_utf8_lossy(&plain[..end]).into_owned();
    let number =
        head.lines().find_map(|l| l.strip_prefix("Subject: drill ")).and_then(|n| n.trim().parse().ok());
    let number: u64 = number.ok_or_else(|| format!("nobody sent this: {head:?}"))?;
    let wanted: Vec<u8> = body(number).into_iter().filter(|b| *b != b'\r').collect();
    let got = &plain[end + 2..];
    // A mailbox adds an empty line.
    if got == wanted || got.strip_suffix(b"\n").is_some_and(|g| g == wanted) {
        return Ok(number);
    }
    let same = got.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
    Err(format!(
        "letter {number} is not whole: {} bytes instead of {}, the same up to {same}",
        got.len(),
        wanted.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_known_by_its_content_and_any_change_shows() {
        for number in (0..40).chain([96]) {
            let sent = content(number);
            let mut plain = Vec::new();
            for line in sent.strip_suffix(b".\r\n").unwrap().split_inclusive(|b| *b == b'\n') {
                plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            assert_eq!(read(&plain), Ok(number));
            let shorter = &plain[..plain.len() - 1];
            if shorter.ends_with(b"\r") && !body(number).is_empty() {
                assert!(read(shorter).is_err(), "{number}");
                let at = plain.len() - 3;
                plain[at] ^= 1;
                assert!(read(&plain).is_err(), "{number}");
            }
            assert_eq!(of_sender(&sender(number)), Some(number));
            assert!(!recipients(number).is_empty());
        }
        assert!(read(b"Subject: hello\n\nworld\n").is_err());
        assert!(Place::ALL.iter().all(|p| Place::of(p.address()) == Some(*p)));
    }
}
