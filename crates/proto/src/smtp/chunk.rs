//! BDAT: content in chunks of announced size. RFC 3030.

use super::data::{BareNewline, Receiver, Step};

/// `BDAT size [LAST]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bdat {
    /// Bytes that follow the command.
    pub size: u64,
    /// The message is complete after them.
    pub last: bool,
}

/// Reads the arguments of BDAT; `None` when they are malformed.
pub fn arguments(text: &str) -> Option<Bdat> {
    let mut words = text.split_ascii_whitespace();
    let size = words.next().filter(|w| w.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Bdat { size, last })
}

/// The chunks of one message. Lines may span chunks.
#[derive(Debug)]
pub struct Chunks {
    lines: Receiver,
    /// Bytes of the present chunk that are still to come.
    left: u64,
    /// Bytes announced for this message so far.
    announced: u64,
}

impl Chunks {
    /// None yet.
    pub fn new(newline: BareNewline) -> Chunks {
        Chunks { lines: Receiver::chunks(newline), left: 0, announced: 0 }
    }

    /// The next chunk begins.
    pub fn begin(&mut self, size: u64) {
        self.left = size;
        self.announced = self.announced.saturating_add(size);
    }

    /// Bytes announced so far.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Bytes handed out so far.
    pub fn size(&self) -> u64 {
        self.lines.size()
    }

    /// A bare LF was seen.
    pub fn saw_bare_newline(&self) -> bool {
        self.lines.saw_bare_newline()
    }

    /// As [`Receiver::next`]; [`Step::End`] when the present chunk is complete.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        if self.left == 0 {
            return (0, Step::End);
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let (used, step) = self.lines.next(&input[..room]);
        self.left -= used as u64;
        match step {
            Step::More if self.left == 0 => (used, Step::End),
            step => (used, step),
        }
    }

    /// The last chunk is complete: ends an unfinished line.
    pub fn finish(&mut self) -> &'static [u8] {
        self.lines.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bdat_takes() {
        for (text, expected) in [
            ("10", Some(Bdat { size: 10, last: false })),
            ("0 last", Some(Bdat { size: 0, last: true })),
            ("", None),
            ("x", None),
            ("-1", None),
            ("+1", None),
            ("10 FOO", None),
            ("10 LAST LAST", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(arguments(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_span_chunks() {
        let (mut chunks, mut out) = (Chunks::new(BareNewline::Normalize), Vec::new());
        for chunk in [&b"a\r\nb"[..], b"c\r", b"\n.\r\nd\ne"] {
            chunks.begin(chunk.len() as u64);
            let mut input = [chunk, b"RSET"].concat();
            loop {
                let (used, step) = chunks.next(&input);
                match step {
                    Step::Text(text) | Step::Added(text) => out.extend_from_slice(text),
                    Step::End => {
                        input.drain(..used);
                        break;
                    }
                    Step::More => panic!("input was whole"),
                }
                input.drain(..used);
            }
            assert_eq!(input, b"RSET");
        }
        out.extend_from_slice(chunks.finish());
        assert_eq!(out, b"a\r\nbc\r\n.\r\nd\r\ne\r\n");
        assert_eq!((chunks.size(), chunks.announced()), (out.len() as u64, 13));
    }
}
