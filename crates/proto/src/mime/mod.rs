//! The structure of a MIME message, as it streams by. RFC 2045, RFC 2046
//!
//! [`Scanner`] takes the fields of the primary header and then the body in pieces cut anywhere, and
//! tells which lines are headers of parts, headers of enclosed messages, boundaries, or text. It
//! judges as Postfix's cleanup(8) does, and never refuses: what breaks the rules is text, and is
//! noted as a [`Fault`] for those who asked to be strict. No more is kept in memory than one header
//! field and the boundaries that are open. [`downgrade`] builds the conversion of 8-bit messages on
//! it.

pub mod content;
pub mod downgrade;

use crate::header::{Field, Line, classify_within};
use content::{Domain, Kind, Type};
use memchr::memchr;

/// How much a message may ask of the scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Parts within parts are followed so deep, and two more (`mime_nesting_limit`).
    pub nesting: usize,
    /// Of a boundary, so many bytes are compared (`mime_boundary_length_limit`).
    pub boundary: usize,
    /// The most bytes of a header field that are kept (`header_size_limit`).
    pub header: usize,
}

/// Postfix's defaults.
impl Default for Limits {
    fn default() -> Limits {
        Limits { nesting: 100, boundary: 2048, header: 102_400 }
    }
}

/// Whose header a field stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The message's own.
    Primary,
    /// That of a part; also the fields of the primary header that describe content.
    Mime,
    /// That of an enclosed message.
    Nested,
}

/// What breaks the rules, once for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// More parts within parts than `mime_nesting_limit`.
    Nesting,
    /// A header field of a part beyond `header_size_limit`.
    LongHeader,
    /// Eight-bit bytes in a header.
    EightBitHeader,
    /// Eight-bit bytes in a body that says it has none.
    EightBitBody,
    /// A multipart or an enclosed message under an encoding other than 7bit, 8bit, binary.
    EncodingDomain,
}

impl Fault {
    /// As Postfix words it.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Nesting => "MIME nesting exceeds safety limit",
            Fault::LongHeader => "message header length exceeds safety limit",
            Fault::EightBitHeader => "improper use of 8-bit data in message header",
            Fault::EightBitBody => "improper use of 8-bit data in message body",
            Fault::EncodingDomain => "invalid message/* or multipart/* encoding domain",
        }
    }
}

/// A piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A whole field of a part's header ([`Place::Mime`]) or an enclosed message's.
    Field(Place, Field<'a>),
    /// Such a header is complete.
    EndOfHeader {
        /// What it says of the lines that follow.
        entity: Entity,
        /// An empty line ended it, which is not told again; else there is none.
        blank: bool,
    },
    /// A boundary line with its line end; a long one comes in several pieces.
    Boundary(&'a [u8]),
    /// Text, cut anywhere, of one or many lines with their line ends.
    Text(&'a [u8]),
    /// A fault, with what shows it.
    Fault(Fault, &'a [u8]),
}

/// What a header says of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entity {
    /// The type, as far as it matters.
    pub kind: Kind,
    /// Which bytes occur once the encoding is taken off.
    pub domain: Domain,
    /// An encoding that hides the bytes was named (base64 …).
    pub encoded: bool,
}

const TEXT: Entity = Entity { kind: Kind::Text, domain: Domain::SevenBit, encoded: false };

#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    /// Parts without a Content-Type are messages: multipart/digest.
    digest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header(Place),
    Body,
}

/// Follows one message.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    state: State,
    levels: Vec<Level>,
    entity: Entity,
    /// The word of Content-Transfer-Encoding, where it is an encoding proper.
    encoding: Vec<u8>,
    /// The field being gathered, its lines separated by CRLF.
    field: Vec<u8>,
    field_cut: bool,
    /// An unfinished line: of a header, or one that may be a boundary.
    line: Vec<u8>,
    /// The rest of the present line is text.
    in_text: bool,
    /// The rest of the present line belongs to a boundary.
    in_boundary: bool,
    told: Vec<Fault>,
    /// Look for eight-bit bytes where none belong (`strict_7bit_headers`, `strict_8bitmime_body`).
    eight_bit: bool,
}

impl Scanner {
    /// For one message. `eight_bit`: look for eight-bit bytes where there should be none, which costs
    /// a look at every byte.
    pub fn new(limits: Limits, eight_bit: bool) -> Scanner {
        Scanner {
            limits,
            state: State::Body,
            levels: Vec::new(),
            entity: TEXT,
            encoding: Vec::new(),
            field: Vec::new(),
            field_cut: false,
            line: Vec::new(),
            in_text: false,
            in_boundary: false,
            told: Vec::new(),
            eight_bit,
        }
    }

    /// What is known of the text that comes now.
    pub fn entity(&self) -> Entity {
        self.entity
    }

    /// True when all that follows is text, whatever it is: no boundaries, no enclosed header.
    pub fn all_text(&self) -> bool {
        self.state == State::Body && self.levels.is_empty() && self.line.is_empty() && !self.in_boundary
    }

    /// Takes a field of the primary header, in its turn.
    pub fn primary(&mut self, field: &Field<'_>, tell: &mut dyn FnMut(Part<'_>)) {
        self.learn(field, tell);
        if self.eight_bit && !field.raw().is_ascii() {
            self.fault(Fault::EightBitHeader, field.raw(), tell);
        }
    }

    /// The primary header is complete; says what it told of the body.
    pub fn end_of_primary(&mut self, tell: &mut dyn FnMut(Part<'_>)) -> Entity {
        let entity = self.entity;
        self.open(true, tell);
        entity
    }

    /// Takes the next piece of the body; lines ended by CRLF (or LF).
    pub fn feed(&mut self, mut bytes: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        while !bytes.is_empty() {
            if self.all_text() {
                return self.text(bytes, tell);
            }
            bytes = match self.state {
                _ if self.in_boundary => self.rest_of_boundary(bytes, tell),
                State::Header(_) => self.gather(bytes, tell),
                State::Body => self.search(bytes, tell),
            };
        }
    }

    /// The message is complete: tells what is left.
    pub fn finish(&mut self, tell: &mut dyn FnMut(Part<'_>)) {
        if let State::Header(_) = self.state
            && !self.line.is_empty()
        {
            let line = std::mem::take(&mut self.line);
            self.header_line(&line, tell);
        }
        if self.state == State::Body && !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.body_line(&line, tell);
        }
        if let State::Header(place) = self.state {
            self.end_field(place, tell);
            self.end_of_header(false, tell);
        }
    }

    fn fault(&mut self, fault: Fault, shown: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        if !self.told.contains(&fault) {
            self.told.push(fault);
            tell(Part::Fault(fault, shown));
        }
    }

    fn text(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        if self.eight_bit && self.entity.domain == Domain::SevenBit && !bytes.is_ascii() {
            let line = bytes.split(|b| *b == b'\n').find(|l| !l.is_ascii()).unwrap_or_default();
            self.fault(Fault::EightBitBody, line.strip_suffix(b"\r").unwrap_or(line), tell);
        }
        tell(Part::Text(bytes));
    }

    /// Gathers a line of a header; gives what is left of `bytes`.
    fn gather<'a>(&mut self, bytes: &'a [u8], tell: &mut dyn FnMut(Part<'_>)) -> &'a [u8] {
        let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let (piece, rest) = bytes.split_at(end);
        self.line.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            let line = std::mem::take(&mut self.line);
            self.header_line(&line, tell);
            if self.line.capacity() == 0 {
                self.line = line;
                self.line.clear();
            }
        } else if self.line.len() > self.limits.header.saturating_add(2) {
            match classify_within(&self.line, !self.field.is_empty(), self.limits.header) {
                // It ends the header already.
                Line::Body | Line::End => {
                    let line = std::mem::take(&mut self.line);
                    self.header_line(&line, tell);
                }
                // Two more than are kept, so that the line end is told from what was cut off.
                _ => self.line.truncate(self.limits.header + 2),
            }
        }
        rest
    }

    fn header_line(&mut self, line: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        let State::Header(place) = self.state else { return self.body_line(line, tell) };
        let bare = trim(line);
        match classify_within(bare, !self.field.is_empty(), self.limits.header) {
            Line::Continuation if self.field.len() + 2 < self.limits.header => {
                self.field.extend_from_slice(b"\r\n");
            }
            Line::Continuation => return self.field_cut = true,
            Line::Field(_) => self.end_field(place, tell),
            kind => {
                self.end_field(place, tell);
                self.end_of_header(kind == Line::End, tell);
                match kind {
                    Line::Body if line.ends_with(b"\n") => self.body_line(line, tell),
                    // Whether it is a boundary its rest may tell.
                    Line::Body => self.line.extend_from_slice(line),
                    _ => {}
                }
                return;
            }
        }
        let room = self.limits.header.saturating_sub(self.field.len());
        self.field_cut |= bare.len() > room;
        self.field.extend_from_slice(&bare[..bare.len().min(room)]);
    }

    fn end_field(&mut self, place: Place, tell: &mut dyn FnMut(Part<'_>)) {
        let raw = std::mem::take(&mut self.field);
        if let Some(field) = Field::new(&raw) {
            if std::mem::take(&mut self.field_cut) {
                self.fault(Fault::LongHeader, &raw[..raw.len().min(200)], tell);
            }
            self.learn(&field, tell);
            if self.eight_bit && !raw.is_ascii() {
                self.fault(Fault::EightBitHeader, &raw, tell);
            }
            tell(Part::Field(place, field));
        }
        self.field = raw;
        self.field.clear();
    }

    fn learn(&mut self, field: &Field<'_>, tell: &mut dyn FnMut(Part<'_>)) {
        if field.is("content-type") {
            let found = Type::parse(field.value());
            self.entity.kind = found.kind;
            let Some(mut boundary) = found.boundary else { return };
            // As Postfix counts: the first two levels are free. A boundary counts as soon as it is
            // named, even where a second Content-Type follows.
            if self.levels.len() > self.limits.nesting.saturating_add(1) {
                return self.fault(Fault::Nesting, &boundary, tell);
            }
            boundary.truncate(self.limits.boundary);
            self.levels.push(Level { boundary, digest: found.digest });
        } else if field.is("content-transfer-encoding") {
            (self.entity.domain, self.entity.encoded) = content::encoding(field.value());
            if self.entity.encoded {
                self.encoding = field.unfolded();
                self.encoding.truncate(100);
            }
        }
    }

    fn end_of_header(&mut self, blank: bool, tell: &mut dyn FnMut(Part<'_>)) {
        tell(Part::EndOfHeader { entity: self.entity, blank });
        self.open(blank, tell);
    }

    /// Goes on to what a complete header announces.
    fn open(&mut self, blank: bool, tell: &mut dyn FnMut(Part<'_>)) {
        self.state = State::Body;
        self.in_text = false;
        if self.entity.encoded && matches!(self.entity.kind, Kind::Multipart | Kind::Message) {
            let encoding = std::mem::take(&mut self.encoding);
            self.fault(Fault::EncodingDomain, &encoding, tell);
        }
        if self.entity.kind == Kind::Message && blank {
            self.state = State::Header(Place::Nested);
            self.entity = TEXT;
        }
    }

    /// Passes text on until a line may be a boundary; gives what is left of `bytes`.
    fn search<'a>(&mut self, bytes: &'a [u8], tell: &mut dyn FnMut(Part<'_>)) -> &'a [u8] {
        if !self.line.is_empty() || (!self.in_text && bytes.starts_with(b"-")) {
            // A line that may be a boundary is gathered until that is known.
            let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            let (piece, rest) = bytes.split_at(end);
            self.line.extend_from_slice(piece);
            let known = !self.line.starts_with(&b"--"[..self.line.len().min(2)])
                || self.line.len() > self.limits.boundary + 4;
            if piece.ends_with(b"\n") || known {
                let line = std::mem::take(&mut self.line);
                self.body_line(&line, tell);
                self.in_text = !line.ends_with(b"\n") && self.state == State::Body && !self.in_boundary;
            }
            return rest;
        }
        let mut from = 0;
        let mut fresh = !self.in_text;
        loop {
            if fresh && bytes.get(from) == Some(&b'-') {
                break;
            }
            match memchr(b'\n', &bytes[from..]) {
                Some(at) => (from, fresh) = (from + at + 1, true),
                None => {
                    fresh &= from == bytes.len();
                    from = bytes.len();
                    break;
                }
            }
        }
        self.in_text = !fresh;
        let (text, rest) = bytes.split_at(from);
        self.text(text, tell);
        rest
    }

    /// Passes on what a long boundary line has after so much of it as is compared; gives what is left of `bytes`.
    fn rest_of_boundary<'a>(&mut self, bytes: &'a [u8], tell: &mut dyn FnMut(Part<'_>)) -> &'a [u8] {
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.in_boundary = end.is_none();
        tell(Part::Boundary(piece));
        rest
    }

    /// A whole line of a body, or so much of it that no more is needed.
    fn body_line(&mut self, line: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        let Some((depth, last)) = self.matching(line) else { return self.text(line, tell) };
        let digest = self.levels.get(depth).is_some_and(|l| l.digest);
        self.levels.truncate(if last { depth } else { depth + 1 });
        self.entity = TEXT;
        tell(Part::Boundary(line));
        self.in_boundary = !line.ends_with(b"\n");
        if !last {
            self.state = State::Header(Place::Mime);
            self.field_cut = false;
            if digest {
                self.entity.kind = Kind::Message;
            }
        }
    }

    /// The level whose boundary a line is, the innermost first, and whether it closes it.
    fn matching(&self, line: &[u8]) -> Option<(usize, bool)> {
        let rest = line.strip_prefix(b"--")?;
        let found = self.levels.iter().enumerate().rev();
        found.into_iter().find_map(|(depth, level)| {
            rest.strip_prefix(level.boundary.as_slice()).map(|tail| (depth, tail.starts_with(b"--")))
        })
    }
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
