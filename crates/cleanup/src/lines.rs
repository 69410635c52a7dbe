//! Line ends and forbidden characters of content. Pure.
//!
//! Whatever comes in, lines leave ended by CRLF and nothing else of that kind is in them: a
//! carriage return or line feed that ends no line becomes a space (RFC 5321 2.3.8), as
//! `cleanup_replace_stray_cr_lf` says.

use memchr::{memchr_iter, memchr2};

/// So many carriage returns in a row may belong to a line end; of more, the first ones are text.
/// What is held back must not grow with what a stranger sends.
const MOST_HELD: usize = 256;

/// What to do with characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A lone carriage return becomes a space.
    pub replace_stray: bool,
    /// Removed (`message_strip_characters`).
    pub strip: Vec<u8>,
    /// Refused (`message_reject_characters`).
    pub reject: Vec<u8>,
}

/// Takes content in pieces cut anywhere.
#[derive(Clone, Debug)]
pub struct Lines {
    rules: Rules,
    /// Carriage returns seen that may belong to a line end.
    held: usize,
    /// Something was given out since the last line end.
    unfinished: bool,
    forbidden: bool,
    eight_bit: bool,
}

impl Lines {
    /// For one message.
    pub fn new(rules: Rules) -> Lines {
        Lines { rules, held: 0, unfinished: false, forbidden: false, eight_bit: false }
    }

    /// A byte of `reject` was seen.
    pub fn forbidden(&self) -> bool {
        self.forbidden
    }

    /// A byte above 127 was seen.
    pub fn eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// The piece with its lines ended by CRLF: itself where it is in order, as from SMTP it nearly always
    /// is, and nothing is copied; else made in `room`.
    pub fn clean<'a>(&mut self, bytes: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        let Rules { strip, reject, .. } = &self.rules;
        if self.held > 0 || !strip.is_empty() || !reject.is_empty() || !is_clean(bytes) {
            room.clear();
            self.feed(bytes, room);
            return room;
        }
        if let Some(last) = bytes.last() {
            self.unfinished = *last != b'\n';
            self.eight_bit |= !bytes.is_ascii();
        }
        bytes
    }

    /// Appends the piece to `out`, its lines ended by CRLF.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        out.reserve(bytes.len() + 2);
        while !bytes.is_empty() {
            let at = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
            if at > 0 {
                self.release(out);
                self.plain(&bytes[..at], out);
            }
            match bytes.get(at) {
                Some(b'\n') => {
                    // All carriage returns before a line feed belong to the line end.
                    self.held = 0;
                    self.unfinished = false;
                    out.extend_from_slice(b"\r\n");
                }
                Some(_) => {
                    if self.held == MOST_HELD {
                        self.release(out);
                    }
                    self.held += 1;
                    self.unfinished = true;
                }
                None => return,
            }
            bytes = &bytes[at + 1..];
        }
    }

    /// The content is complete: ends its last line.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.unfinished {
            self.held = 0;
            self.unfinished = false;
            out.extend_from_slice(b"\r\n");
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        let stray = if self.rules.replace_stray { b' ' } else { b'\r' };
        out.extend(std::iter::repeat_n(stray, self.held));
        self.held = 0;
        self.unfinished = true;
    }

    fn plain(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.eight_bit |= !bytes.is_ascii();
        let Rules { strip, reject, .. } = &self.rules;
        self.forbidden |= !reject.is_empty() && bytes.iter().any(|b| reject.contains(b));
        if strip.is_empty() {
            out.extend_from_slice(bytes);
        } else {
            out.extend(bytes.iter().filter(|b| !strip.contains(b)));
        }
    }
}

/// Carriage returns and line feeds stand together everywhere.
fn is_clean(bytes: &[u8]) -> bool {
    let mut line_ends = 0;
    for at in memchr_iter(b'\n', bytes) {
        if at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\r') {
            return false;
        }
        line_ends += 1;
    }
    memchr_iter(b'\r', bytes).count() == line_ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::value::unescape;
    use proptest::prelude::*;

    fn run(pieces: &[&[u8]], rules: Rules) -> (Vec<u8>, Lines) {
        let (mut lines, mut out) = (Lines::new(rules), Vec::new());
        for piece in pieces {
            lines.feed(piece, &mut out);
        }
        lines.finish(&mut out);
        (out, lines)
    }

    fn stray() -> Rules {
        Rules { replace_stray: true, ..Rules::default() }
    }

    #[test]
    fn line_ends_become_crlf() {
        for (text, expected) in [
            ("a\nb\r\nc", "a\r\nb\r\nc\r\n"),
            ("a\r\r\n", "a\r\n"),
            ("li\rne\n", "li ne\r\n"),
            ("\r", "\r\n"),
            ("", ""),
            ("\n\n", "\r\n\r\n"),
            ("a\r\rb", "a  b\r\n"),
        ] {
            assert_eq!(String::from_utf8(run(&[text.as_bytes()], stray()).0).unwrap(), expected, "{text:?}");
        }
        assert_eq!(run(&[b"a\rb\n"], Rules::default()).0, b"a\rb\r\n");
    }

    #[test]
    fn characters_are_stripped_or_noticed() {
        let rules = Rules { strip: unescape("\\0"), reject: unescape("\\001\\a"), replace_stray: true };
        assert_eq!(rules.reject, [1, 7]);
        let (out, lines) = run(&[b"a\0b\n"], rules.clone());
        assert_eq!((out.as_slice(), lines.forbidden(), lines.eight_bit()), (&b"ab\r\n"[..], false, false));
        let (_, lines) = run(&[b"a\x01\xff\n"], rules);
        assert!(lines.forbidden() && lines.eight_bit());
        assert_eq!(unescape("x\\\\\\n\\101"), b"x\\\nA");
    }

    #[test]
    fn endless_carriage_returns_are_not_hoarded() {
        let (mut lines, mut out) = (Lines::new(stray()), Vec::new());
        for _ in 0..1000 {
            out.clear();
            lines.feed(&[b'\r'; 1000], &mut out);
            assert!(out.len() <= 1000 + MOST_HELD && lines.held <= MOST_HELD);
        }
        out.clear();
        lines.feed(b"x\n", &mut out);
        assert!(out.len() <= MOST_HELD + 3, "{}", out.len());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(text in "([ab\r\n]|\r\n){0,40}", cut in 0usize..80) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = run(&[bytes], stray()).0;
            prop_assert_eq!(&run(&[&bytes[..cut], &bytes[cut..]], stray()).0, &whole);
            // It is the same by way of what need not be copied.
            let (mut lines, mut room, mut out) = (Lines::new(stray()), Vec::new(), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                out.extend_from_slice(lines.clean(piece, &mut room));
            }
            lines.finish(&mut out);
            prop_assert_eq!(&out, &whole);
            // Nothing but whole CRLFs is left.
            let rest = String::from_utf8(whole).unwrap().replace("\r\n", "");
            prop_assert!(!rest.contains(['\r', '\n']));
        }
    }
}
