//! The message on standard input, line by line, into content records. Pure.
//!
//! A first line `From …` is not part of the message; unless `-i`, neither is what follows a line
//! with nothing but a dot; with `-t` the header says who gets it.

use cleanup::address_list;
use proto::Address;
use proto::header::{Part, Scanner};
use proto::record::put_line;

/// How lines end (`sendmail_fix_line_endings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endings {
    /// CRLF and LF.
    Always,
    /// CRLF if the first line ends so.
    Strict,
    /// LF; a carriage return is content.
    Never,
}

impl Endings {
    /// From the parameter's value; what is not known means `always`.
    pub fn of(value: &str) -> Endings {
        match value {
            "strict" => Endings::Strict,
            "never" => Endings::Never,
            _ => Endings::Always,
        }
    }
}

/// Bytes of a line that wait for its end at most; longer lines are cut into records.
const PIECE: usize = 2048;
/// `-t` reads so much of a field.
const FIELD: usize = 1 << 20;

/// Makes records of a message given in pieces cut anywhere.
#[derive(Debug)]
pub struct Text {
    dot_ends: bool,
    endings: Endings,
    first: bool,
    /// Whether carriage returns before line feeds are dropped; decided at the first line.
    strip: bool,
    line: Vec<u8>,
    /// Part of the present line is written already.
    begun: bool,
    ended: bool,
    scanner: Option<Scanner>,
    named: Vec<Address>,
    resent: Vec<Address>,
}

impl Text {
    /// `extract`: look for recipients in the header.
    pub fn new(extract: bool, dot_ends: bool, endings: Endings) -> Text {
        Text {
            dot_ends,
            endings,
            first: true,
            strip: endings == Endings::Always,
            line: Vec::new(),
            begun: false,
            ended: false,
            scanner: extract.then(|| Scanner::new(FIELD)),
            named: Vec::new(),
            resent: Vec::new(),
        }
    }

    /// A lone dot came: the rest is not part of the message.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes the next piece; appends records to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            if self.ended {
                return;
            }
            match piece.strip_suffix(b"\n") {
                Some(text) => {
                    self.line.extend_from_slice(text);
                    self.end_line(out);
                }
                None => self.line.extend_from_slice(piece),
            }
            // The last byte may be a carriage return that belongs to the line's end.
            while self.line.len() > PIECE + 1 {
                let rest = self.line.split_off(PIECE);
                self.put(false, out);
                self.line = rest;
                self.begun = true;
            }
        }
    }

    /// The input is at its end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.ended && (!self.line.is_empty() || self.begun) {
            self.put(false, out);
        }
        if let Some(mut scanner) = self.scanner.take() {
            let (named, resent) = (&mut self.named, &mut self.resent);
            scanner.finish(&mut |part| notice(part, named, resent));
        }
    }

    /// Who the header names: those of Resent-… fields if there are any. RFC 5322 3.6.6
    pub fn recipients(self) -> Vec<Address> {
        if self.resent.is_empty() { self.named } else { self.resent }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.first && self.endings == Endings::Strict {
            self.strip = self.line.ends_with(b"\r");
        }
        if self.strip && self.line.ends_with(b"\r") {
            self.line.pop();
        }
        let whole = !self.begun;
        let from = self.line.iter().position(|b| *b != b'>').unwrap_or(0);
        if self.first && whole && self.line[from..].starts_with(b"From ") {
            self.line.clear();
        } else if self.dot_ends && whole && self.line == b"." {
            self.line.clear();
            self.ended = true;
        } else {
            self.put(true, out);
        }
        self.first = false;
        self.begun = false;
    }

    fn put(&mut self, ended: bool, out: &mut Vec<u8>) {
        put_line(out, &self.line, ended, PIECE);
        if let Some(scanner) = self.scanner.as_mut() {
            let (named, resent) = (&mut self.named, &mut self.resent);
            let mut tell = |part: Part<'_>| notice(part, named, resent);
            scanner.feed(&self.line, &mut tell);
            if ended {
                scanner.feed(b"\r\n", &mut tell);
            }
            if scanner.in_body() {
                self.scanner = None;
            }
        }
        self.line.clear();
    }
}

fn notice(part: Part<'_>, named: &mut Vec<Address>, resent: &mut Vec<Address>) {
    let Part::Field(field) = part else { return };
    if ["to", "cc", "bcc"].iter().any(|n| field.is(n)) {
        named.extend(address_list::addresses(field.value()));
    } else if ["resent-to", "resent-cc", "resent-bcc"].iter().any(|n| field.is(n)) {
        resent.extend(address_list::addresses(field.value()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, a missing line end shown as `$`, then the recipients.
    fn check(input: &str, extract: bool, dot_ends: bool, expected: &str, to: &[&str]) {
        for step in [1, 7, input.len().max(1)] {
            let mut text = Text::new(extract, dot_ends, Endings::Always);
            let mut out = Vec::new();
            input.as_bytes().chunks(step).for_each(|c| text.feed(c, &mut out));
            text.finish(&mut out);
            let mut decoder = proto::record::Decoder::default();
            decoder.feed(&out);
            let mut shown = String::new();
            while let Some((kind, data)) = decoder.next_record().unwrap() {
                shown.push_str(&String::from_utf8_lossy(data));
                shown.push(if kind == proto::record::kind::LINE { '\n' } else { '$' });
            }
            assert_eq!(shown, expected, "{input:?} by {step}");
            let found: Vec<String> = text.recipients().iter().map(Address::internal).collect();
            assert_eq!(found, to, "{input:?}");
        }
    }

    #[test]
    fn lines_and_dots() {
        check("Subject: x\n\nhola\n.\nfoo", false, true, "Subject: x\n\nhola\n", &[]);
        check("Subject: x\n\nhola\n.\nfoo", false, false, "Subject: x\n\nhola\n.\nfoo$", &[]);
        check("From a Fri\nS: x\r\n\r\nb\r\n", false, true, "S: x\n\nb\n", &[]);
        check(">From a Fri\nFrom b\n", false, true, "From b\n", &[]);
        check("..\n", false, true, "..\n", &[]);
        check("x\r", false, true, "x\r$", &[]);
        check("", false, true, "", &[]);
    }

    #[test]
    fn recipients_of_the_header() {
        check(
            "To: a@b, c (x) d\r\nCc: \"Q\" <q@r>\nBcc: h\n\nTo: no\n.\n",
            true,
            true,
            "To: a@b, c (x) d\nCc: \"Q\" <q@r>\nBcc: h\n\nTo: no\n",
            &["a@b", "c", "d", "q@r", "h"],
        );
        check("To: z\nResent-To: y\n\nx\n", true, true, "To: z\nResent-To: y\n\nx\n", &["y"]);
        check("To: z\n ,u\nno header\nCc: v\n", true, true, "To: z\n ,u\nno header\nCc: v\n", &["z", "u"]);
        check("To: z", true, true, "To: z$", &["z"]);
    }

    #[test]
    fn long_lines_are_cut() {
        let mut text = Text::new(false, true, Endings::Always);
        let mut out = Vec::new();
        text.feed(&[vec![b'y'; 5000], b"\r\n".to_vec()].concat(), &mut out);
        text.finish(&mut out);
        let mut decoder = proto::record::Decoder::default();
        decoder.feed(&out);
        let mut lengths = Vec::new();
        while let Some((_, data)) = decoder.next_record().unwrap() {
            lengths.push(data.len());
        }
        assert_eq!(lengths, [2048, 2048, 904]);
    }
}
