//! Message headers over bytes: what is a header line, what belongs to it, and what ends the
//! header. Decides as Postfix's cleanup does, which is laxer than RFC 5322 2.2 (white space
//! before the colon is taken, a line that is no header ends the header as an empty line would).
//! Addresses and other contents of fields are not understood here.

use memchr::memchr;

/// One header field: name, colon, value, with its continuation lines. Lines are separated by
/// CRLF; there is none at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    raw: &'a [u8],
    name: usize,
}

impl<'a> Field<'a> {
    /// Reads a whole field, with or without a line end; `None` when it is no header.
    pub fn new(raw: &'a [u8]) -> Option<Field<'a>> {
        let raw = trim_line_end(raw);
        name_len(raw).map(|name| Field { raw, name })
    }

    /// All of it, without the last line end.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The name as written, without white space and colon. It is ASCII.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(&self.raw[..self.name]).unwrap_or("")
    }

    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.raw[..self.name].eq_ignore_ascii_case(name.as_bytes())
    }

    /// What follows the colon, leading white space included, still folded.
    pub fn value(&self) -> &'a [u8] {
        let colon = memchr(b':', self.raw).map_or(self.raw.len(), |at| at + 1);
        &self.raw[colon..]
    }

    /// The value without line ends and without white space at its ends. RFC 5322 2.2.3.
    pub fn unfolded(&self) -> Vec<u8> {
        let mut out: Vec<u8> = self.value().iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        out.truncate(out.trim_ascii_end().len());
        out.drain(..out.len() - out.trim_ascii_start().len());
        out
    }
}

/// What a line is while the header is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Begins a field; its name has so many bytes.
    Field(usize),
    /// Continues the field before it.
    Continuation,
    /// The empty line that ends the header; not part of the body.
    End,
    /// The first line of a body without an empty line before it.
    Body,
}

/// Judges one line, without its line end; `in_field`: a field came before it.
pub fn classify(line: &[u8], in_field: bool) -> Line {
    match line.first() {
        None => Line::End,
        Some(b' ' | b'\t') if in_field => Line::Continuation,
        _ => name_len(line).map_or(Line::Body, Line::Field),
    }
}

/// A name and its colon are found within so many bytes, or the line is no header. As Postfix does, which
/// looks at pieces of `line_length_limit` bytes; here it is always the default of that.
const LONGEST_NAME: usize = 2048;

/// The same for a line of which perhaps only the first `limit` bytes were kept: no more are looked at, so
/// that a long name is judged alike in whatever pieces it came.
pub fn classify_within(line: &[u8], in_field: bool, limit: usize) -> Line {
    classify(line.get(..limit.min(LONGEST_NAME)).unwrap_or(line), in_field)
}

/// The length of the name when `line` begins a header field: printable ASCII but space and
/// colon, then perhaps blanks, then a colon.
pub fn name_len(line: &[u8]) -> Option<usize> {
    let len = line.iter().position(|b| !b.is_ascii_graphic() || *b == b':')?;
    let colon = line[len..].iter().find(|b| !matches!(b, b' ' | b'\t'));
    (len > 0 && colon == Some(&b':')).then_some(len)
}

/// A part of a message, in order: fields, one [`Part::EndOfHeader`], body pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A whole field.
    Field(Field<'a>),
    /// The header is complete. `blank`: an empty line ended it.
    EndOfHeader {
        /// False when a line that is no header ended it (or the message).
        blank: bool,
    },
    /// Body bytes as they came, cut anywhere.
    Body(&'a [u8]),
}

/// Takes a message in pieces cut anywhere, lines ended by CRLF or LF, and tells its parts.
#[derive(Debug)]
pub struct Scanner {
    /// The field being gathered, its lines separated by CRLF.
    field: Vec<u8>,
    /// The unfinished line.
    line: Vec<u8>,
    limit: usize,
    in_body: bool,
}

impl Scanner {
    /// A field beyond `limit` bytes loses its end (`header_size_limit`); a name that long begins the body.
    pub fn new(limit: usize) -> Scanner {
        Scanner { field: Vec::new(), line: Vec::new(), limit: limit.max(1), in_body: false }
    }

    /// True once the header has ended.
    pub fn in_body(&self) -> bool {
        self.in_body
    }

    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        let body = self.header(bytes, tell);
        if !body.is_empty() {
            tell(Part::Body(body));
        }
    }

    /// The same, but what of the piece is body is given back rather than told: whoever passes it on
    /// unchanged need not copy it.
    pub fn header<'a>(&mut self, mut bytes: &'a [u8], tell: &mut dyn FnMut(Part<'_>)) -> &'a [u8] {
        while !self.in_body && !bytes.is_empty() {
            let end = memchr(b'\n', bytes).map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest;
            self.line.extend_from_slice(piece);
            if end.is_some() {
                self.end_line(tell);
            } else if self.line.len() > self.limit.saturating_add(2) {
                match self.classify() {
                    Line::Body | Line::End => self.end_line(tell),
                    // Two more than are kept, so that the line end is told from what was cut off.
                    _ => self.line.truncate(self.limit + 2),
                }
            }
        }
        bytes
    }

    /// The message is complete: tells what is left.
    pub fn finish(&mut self, tell: &mut dyn FnMut(Part<'_>)) {
        if !self.in_body && !self.line.is_empty() {
            self.end_line(tell);
        }
        if !self.in_body {
            self.tell_field(tell);
            self.in_body = true;
            tell(Part::EndOfHeader { blank: false });
        }
    }

    fn classify(&self) -> Line {
        classify_within(trim_line_end(&self.line), !self.field.is_empty(), self.limit)
    }

    fn end_line(&mut self, tell: &mut dyn FnMut(Part<'_>)) {
        match self.classify() {
            Line::Continuation if self.field.len() + 2 < self.limit => self.field.extend_from_slice(b"\r\n"),
            Line::Continuation => return self.line.clear(),
            Line::Field(_) => self.tell_field(tell),
            kind => {
                self.tell_field(tell);
                self.in_body = true;
                tell(Part::EndOfHeader { blank: kind == Line::End });
                let line = std::mem::take(&mut self.line);
                if kind == Line::Body {
                    tell(Part::Body(&line));
                }
                return;
            }
        }
        let line = trim_line_end(&self.line);
        let room = self.limit.saturating_sub(self.field.len());
        self.field.extend_from_slice(&line[..line.len().min(room)]);
        self.line.clear();
    }

    fn tell_field(&mut self, tell: &mut dyn FnMut(Part<'_>)) {
        if let Some(field) = Field::new(&self.field) {
            tell(Part::Field(field));
        }
        self.field.clear();
    }
}

/// The fields of a header block that is in memory whole, and where the body begins.
pub fn split(message: &[u8]) -> (Vec<Field<'_>>, usize) {
    let (mut fields, mut at, mut start) = (Vec::new(), 0, None);
    let close = |start: Option<usize>, at: usize, fields: &mut Vec<_>| {
        fields.extend(start.and_then(|s| Field::new(&message[s..at])));
    };
    while at < message.len() {
        let end = memchr(b'\n', &message[at..]).map_or(message.len(), |n| at + n + 1);
        match classify_within(trim_line_end(&message[at..end]), start.is_some(), LONGEST_NAME) {
            Line::Continuation => {}
            Line::Field(_) => {
                close(start, at, &mut fields);
                start = Some(at);
            }
            kind => {
                close(start, at, &mut fields);
                return (fields, if kind == Line::End { end } else { at });
            }
        }
        at = end;
    }
    close(start, at, &mut fields);
    (fields, at)
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(pieces: &[&[u8]], limit: usize) -> String {
        let (mut scanner, mut out) = (Scanner::new(limit), String::new());
        let mut body = Vec::new();
        let mut tell = |part: Part<'_>| match part {
            Part::Field(f) => out.push_str(&format!("[{}={}]", f.name(), String::from_utf8_lossy(f.value()))),
            Part::EndOfHeader { blank } => out.push_str(if blank { "/" } else { "!" }),
            Part::Body(b) => body.extend_from_slice(b),
        };
        for piece in pieces {
            scanner.feed(piece, &mut tell);
        }
        scanner.finish(&mut tell);
        out + &String::from_utf8_lossy(&body)
    }

    #[test]
    fn what_is_a_header() {
        for (line, expected) in [
            ("Subject: x", Line::Field(7)),
            ("Subject : x", Line::Field(7)),
            ("Subject\t :", Line::Field(7)),
            ("a b: x", Line::Body),
            (": x", Line::Body),
            ("From jose Fri", Line::Body),
            (" folded", Line::Body),
            ("", Line::End),
            ("Año: x", Line::Body),
            ("nothing", Line::Body),
        ] {
            assert_eq!(classify(line.as_bytes(), false), expected, "{line:?}");
        }
        assert_eq!(classify(b"\tfolded", true), Line::Continuation);
        assert_eq!(classify(b" ", true), Line::Continuation);
    }

    #[test]
    fn parts_of_messages() {
        for (text, expected) in [
            ("A: 1\r\nB: 2\r\n 3\r\n\r\nbody\r\n", "[A= 1][B= 2\r\n 3]/body\r\n"),
            ("A: 1\nB:2\n\nbody\n", "[A= 1][B=2]/body\n"),
            ("A: 1\r\nno header\r\n\r\nx", "[A= 1]!no header\r\n\r\nx"),
            ("\r\nbody", "/body"),
            (" x\r\nA: 1\r\n", "! x\r\nA: 1\r\n"),
            ("A: 1", "[A= 1]!"),
            ("A: 1\r\n", "[A= 1]!"),
            ("", "!"),
        ] {
            assert_eq!(scan(&[text.as_bytes()], 1000), expected, "{text:?}");
        }
    }

    #[test]
    fn values() {
        let f = Field::new(b"Subject :  a\r\n\tb \r\n").unwrap();
        assert_eq!((f.name(), f.unfolded()), ("Subject", b"a\tb".to_vec()));
        assert!(f.is("SUBJECT"));
        let (fields, at) = split(b"A: 1\r\n b\r\nC:2\r\n\r\nbody");
        assert_eq!((fields.len(), at, fields[0].value()), (2, 17, &b" 1\r\n b"[..]));
    }

    #[test]
    fn long_fields_lose_their_end() {
        assert_eq!(scan(&[b"A: 123456789\r\nB: 1\r\n\r\nx"], 8), "[A= 12345][B= 1]/x");
        assert_eq!(scan(&[b"A: 1", b"23456789", b"01\r\nB: 1\r\n\r\nx"], 8), "[A= 12345][B= 1]/x");
        assert_eq!(scan(&[b"A: 1\r\n 2\r\n 3\r\n 4\r\n\r\n"], 10), "[A= 1\r\n 2]/");
        assert_eq!(scan(&[b"nothing here", b" at all\r\nx"], 8), "!nothing here at all\r\nx");
    }

    #[test]
    fn a_name_beyond_the_limit_begins_the_body_however_it_is_cut() {
        let text = b"A: 1\r\nA-long-name: 2\r\nB: 3\r\n\r\nx";
        let whole = "[A= 1]!A-long-name: 2\r\nB: 3\r\n\r\nx";
        for step in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(step).collect();
            assert_eq!(scan(&pieces, 8), whole, "in pieces of {step}");
        }
        let named = |bytes: usize| scan(&[format!("{}:", "x".repeat(bytes)).as_bytes()], 102_400);
        assert!(named(2047).starts_with('[') && named(2048).starts_with('!'));
        // And where all of it is in memory.
        let split = |bytes: usize| split(format!("{}:", "x".repeat(bytes)).as_bytes()).0.len();
        assert_eq!((split(2047), split(2048)), (1, 0));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(text in "([A-C]:? ?[a-z]{0,3}( \r?\n|\r?\n| ))*.{0,8}", cuts in prop::collection::vec(0usize..60, 0..6), limit in 1usize..40) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(scan(&pieces, 1000), scan(&[bytes], 1000));
            prop_assert_eq!(scan(&pieces, limit), scan(&[bytes], limit));
        }
    }
}
