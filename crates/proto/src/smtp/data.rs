//! Message content as DATA brings it: dots unstuffed, every line ended by CRLF, and the end found.
//!
//! Pieces are slices of the input wherever the input is as it should be, so nothing is copied.
//! What ends the content is decided here alone: for a stranger nothing but CRLF.CRLF
//! (`smtpd_forbid_bare_newline`), or the flaw known as SMTP smuggling is back.

use memchr::memchr;

/// What ends a line, and the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// `no`: a bare LF ends a line, and LF.LF the content.
    Allow,
    /// `yes`, `normalize`: a bare LF ends a line, but only CRLF.CRLF the content.
    #[default]
    Normalize,
    /// `note`: the same, and it is said in the log.
    Note,
    /// `reject`: a bare LF ends the session.
    Reject,
}

/// Finds lines and the end of the content in input cut anywhere.
#[derive(Debug)]
pub struct Receiver {
    newline: BareNewline,
    /// Dots are stuffed and a lone one ends the content (DATA); else the caller knows the end.
    dots: bool,
    /// At the first byte of a line.
    at_start: bool,
    /// The line began with a dot, which was dropped.
    dot: bool,
    /// Bytes of this line were handed out.
    has_text: bool,
    /// CRs seen and not handed out: they may end the line.
    held: usize,
    /// The line before this one ended with CRLF.
    after_crlf: bool,
    /// A bare LF was seen.
    bare: bool,
    /// Bytes handed out.
    size: u64,
    /// The same up to the end of the last whole line.
    whole: u64,
}

/// What [`Receiver::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Content: the end of what was used up of the input.
    Text(&'a [u8]),
    /// Content that is not in the input.
    Added(&'static [u8]),
    /// The end; what follows in the input is no content.
    End,
    /// All input is used up.
    More,
}

static CRS: [u8; 64] = [b'\r'; 64];
const CRLF: &[u8] = b"\r\n";

impl Receiver {
    /// For DATA.
    pub fn data(newline: BareNewline) -> Receiver {
        Receiver {
            newline,
            dots: true,
            at_start: true,
            dot: false,
            has_text: false,
            held: 0,
            // The command line before the content ended a line: a lone dot may come first.
            after_crlf: true,
            bare: false,
            size: 0,
            whole: 0,
        }
    }

    /// For BDAT: no dots, no end.
    pub fn chunks(newline: BareNewline) -> Receiver {
        Receiver { dots: false, ..Receiver::data(newline) }
    }

    /// Bytes handed out so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of whole lines handed out so far, as `lost connection after DATA (… bytes)` counts.
    pub fn whole_lines(&self) -> u64 {
        self.whole
    }

    /// A bare LF was seen.
    pub fn saw_bare_newline(&self) -> bool {
        self.bare
    }

    /// Looks at `input`; gives how much of it is used up, and what was found in that.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        let (used, step) = self.step(input);
        if let Step::Text(text) | Step::Added(text) = step {
            self.size += text.len() as u64;
            if text.ends_with(b"\n") {
                self.whole = self.size;
            }
        }
        (used, step)
    }

    /// The content is complete (BDAT LAST): ends an unfinished line.
    pub fn finish(&mut self) -> &'static [u8] {
        let open = self.has_text || self.held > 0;
        (self.held, self.has_text, self.at_start) = (0, false, true);
        let text = if open { CRLF } else { b"" };
        self.size += text.len() as u64;
        text
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        let mut at = 0;
        loop {
            if self.at_start && self.held == 0 && !self.dot {
                let good = self.good_lines(&input[at..]);
                if good > 0 {
                    return (at + good, Step::Text(&input[at..at + good]));
                }
            }
            let rest = &input[at..];
            let Some(&first) = rest.first() else { return (at, Step::More) };
            if self.at_start && self.dots && first == b'.' {
                (self.at_start, self.dot) = (false, true);
                at += 1;
                continue;
            }
            match first {
                // More than that are handed out as they come: what is held must not grow.
                b'\r' if self.held < CRS.len() => {
                    self.held += 1;
                    self.at_start = false;
                    at += 1;
                }
                b'\n' => {
                    let crlf = self.held > 0;
                    let lone = self.dot && !self.has_text;
                    let exact = self.held == 1 && self.after_crlf;
                    self.bare |= !crlf;
                    let end = lone && (exact || self.newline == BareNewline::Allow);
                    (self.held, self.has_text, self.dot, self.at_start) = (0, false, false, true);
                    self.after_crlf = crlf;
                    at += 1;
                    if lone && !end {
                        continue; // Postfix leaves the line out.
                    }
                    return (at, if end { Step::End } else { Step::Added(CRLF) });
                }
                _ if self.held > 0 => {
                    let crs = self.held.min(CRS.len());
                    self.held -= crs;
                    (self.at_start, self.has_text) = (false, true);
                    return (at, Step::Added(&CRS[..crs]));
                }
                _ => {
                    let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
                    (self.at_start, self.has_text) = (false, true);
                    return (at + end, Step::Text(&rest[..end]));
                }
            }
        }
    }

    /// How many bytes at the start of `input` are whole lines that need no change.
    fn good_lines(&mut self, input: &[u8]) -> usize {
        let mut good = 0;
        while let Some(end) = memchr(b'\n', &input[good..]) {
            let line = &input[good..good + end];
            let stuffed = self.dots && line.first() == Some(&b'.');
            let clean = line.ends_with(b"\r") && !line.ends_with(b"\r\r");
            if stuffed || !clean {
                break;
            }
            good += end + 1;
        }
        self.after_crlf |= good > 0;
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Content, and what follows the end (`None` without an end).
    fn receive(newline: BareNewline, pieces: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut receiver, mut out, mut rest) = (Receiver::data(newline), Vec::new(), None::<Vec<u8>>);
        for piece in pieces {
            if let Some(rest) = rest.as_mut() {
                rest.extend_from_slice(piece);
                continue;
            }
            let mut piece = *piece;
            loop {
                let (used, step) = receiver.next(piece);
                piece = &piece[used..];
                match step {
                    Step::Text(text) | Step::Added(text) => out.extend_from_slice(text),
                    Step::End => {
                        rest = Some(piece.to_vec());
                        break;
                    }
                    Step::More => break,
                }
            }
        }
        assert_eq!(receiver.size(), out.len() as u64);
        (out, rest)
    }

    fn check(newline: BareNewline, input: &str, content: &str, rest: Option<&str>) {
        let (got, after) = receive(newline, &[input.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&got), content, "{input:?}");
        assert_eq!(after.as_deref(), rest.map(str::as_bytes), "{input:?}");
    }

    #[test]
    fn dots_and_ends() {
        use BareNewline::{Allow, Normalize};
        check(Normalize, ".\r\nQUIT\r\n", "", Some("QUIT\r\n"));
        check(Normalize, "a\r\n..b\r\n.c\r\n.\r\nx", "a\r\n.b\r\nc\r\n", Some("x"));
        check(Normalize, "a\nb\n\r\n.\r\n", "a\r\nb\r\n\r\n", Some(""));
        check(Normalize, "a\r\r\n.\r\n", "a\r\n", Some(""));
        check(Normalize, "a\rb\r\n", "a\rb\r\n", None);
        // Nothing but CRLF.CRLF ends it.
        for almost in ["\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\r\r\n", "\r.\r", "\r\n.\r"] {
            let (_, rest) = receive(Normalize, &[b"a", almost.as_bytes(), b"MAIL"]);
            assert_eq!(rest, None, "{almost:?}");
        }
        check(Allow, "a\n.\nx", "a\r\n", Some("x"));
        let many = "\r".repeat(200);
        let content = format!("a{}\r\n", "\r".repeat(192));
        check(Normalize, &format!("a{many}\n.\r\nx"), &content, Some("x"));
        check(Normalize, &format!(".{many}\nx"), &format!("{}\r\nx", "\r".repeat(192)), None);
        check(Allow, "a\r\n.\nx", "a\r\n", Some("x"));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            input in prop::collection::vec(prop::sample::select(b"ab.\r\n\r\n.".to_vec()), 0..40),
            cuts in prop::collection::vec(0usize..40, 0..8),
            allow: bool,
        ) {
            let newline = if allow { BareNewline::Allow } else { BareNewline::Normalize };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &input[w[0]..w[1]]).collect();
            prop_assert_eq!(receive(newline, &pieces), receive(newline, &[&input]));
        }

        #[test]
        fn nothing_else_ends_it(input in prop::collection::vec(prop::sample::select(b"a.\r\n".to_vec()), 0..30)) {
            let (content, rest) = receive(BareNewline::Normalize, &[&input]);
            let mut whole = b"\r\n".to_vec();
            whole.extend_from_slice(&input);
            let at = whole.windows(5).position(|w| w == b"\r\n.\r\n");
            prop_assert_eq!(at.map(|at| whole[at + 5..].to_vec()), rest);
            // Every LF is handed out with a CR before it.
            prop_assert!(content.iter().enumerate().all(|(i, b)| *b != b'\n' || (i > 0 && content[i - 1] == b'\r')));
        }
    }
}
