//! A message while filters look at it and may change it: its header field by field, its body in memory, or when it is
//! long in a file without a name.

use proto::header::{self, Part, Scanner};
use proto::milter::Edit;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The most bytes of header fields; a message with more is not one.
pub const MOST_HEADER: usize = 4 << 20;
/// The most fields.
const MOST_FIELDS: usize = 50_000;

/// So much of a body stays in memory.
const INLINE: usize = 256 << 10;

/// A header field, without its last line end; lines are separated by CRLF.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    raw: Vec<u8>,
    /// It was made here (Received): filters neither see nor change it.
    own: bool,
}

impl Field {
    fn name(&self) -> &[u8] {
        let end = self.raw.iter().position(|b| *b == b':').unwrap_or(self.raw.len());
        self.raw.get(..end).unwrap_or_default().trim_ascii_end()
    }

    fn value(&self) -> &[u8] {
        let colon = self.raw.iter().position(|b| *b == b':').map_or(self.raw.len(), |at| at + 1);
        self.raw.get(colon..).unwrap_or_default()
    }
}

/// A message, CRLF lines.
#[derive(Debug)]
pub struct Content {
    fields: Vec<Field>,
    header_bytes: usize,
    scanner: Scanner,
    /// An empty line stands after the header.
    blank: bool,
    body: Body,
    /// The body that a filter is sending in its place.
    replacement: Option<Body>,
    failed: Option<io::Error>,
    room: PathBuf,
}

impl Content {
    /// An empty one; a long body goes to a file in this directory.
    pub fn new(room: &Path) -> Content {
        Content {
            fields: Vec::new(),
            header_bytes: 0,
            // Fields were cut to size before.
            scanner: Scanner::new(usize::MAX / 4),
            blank: false,
            body: Body::default(),
            replacement: None,
            failed: None,
            room: room.to_path_buf(),
        }
    }

    /// Takes whole fields that were made here; the last one is this host's Received.
    pub fn made_here(&mut self, bytes: &[u8], received: bool) {
        let (fields, _) = header::split(bytes);
        for field in &fields {
            self.header_bytes += field.raw().len() + 2;
            self.fields.push(Field { raw: field.raw().to_vec(), own: false });
        }
        if received && !fields.is_empty() {
            self.fields.last_mut().into_iter().for_each(|f| f.own = true);
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Content { scanner, fields, header_bytes, blank, body, failed, room, .. } = self;
        scanner.feed(bytes, &mut |part| take(part, (fields, header_bytes, blank), (body, failed), room));
    }

    /// It is complete.
    pub fn finish(&mut self) {
        let Content { scanner, fields, header_bytes, blank, body, failed, room, .. } = self;
        scanner.finish(&mut |part| take(part, (fields, header_bytes, blank), (body, failed), room));
    }

    /// Its header is too long to be worked on.
    pub fn is_too_big(&self) -> bool {
        self.header_bytes > MOST_HEADER || self.fields.len() > MOST_FIELDS
    }

    /// What went wrong with its file, if anything did.
    pub fn trouble(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// Its file cannot be read.
    pub(crate) fn broken(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }

    /// The first field from this place on that filters see: name and value as they are told (line ends are LF), and
    /// the place after it.
    pub(crate) fn field(&self, from: usize, leading_space: bool) -> Option<(Vec<u8>, Vec<u8>, usize)> {
        let mut rest = self.fields.iter().enumerate().skip(from);
        let (at, field) = rest.find(|(_, field)| !field.own)?;
        let value = field.value();
        let value = match value {
            [b' ' | b'\t', rest @ ..] if !leading_space => rest,
            whole => whole,
        };
        let mut lines = Vec::with_capacity(value.len());
        for (n, line) in value.split(|b| *b == b'\n').enumerate() {
            if n > 0 {
                lines.push(b'\n');
            }
            lines.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        }
        Some((field.name().to_vec(), lines, at + 1))
    }

    /// Adds, inserts, changes or deletes a header field; `false` when there would be too many.
    pub fn change_header(&mut self, edit: &Edit, leading_space: bool) -> bool {
        match edit {
            Edit::Add { name, value } => {
                let raw = written(name, value, leading_space);
                self.put(self.fields.len(), raw);
            }
            Edit::Insert { at, name, value } => {
                let at = usize::try_from(*at).unwrap_or(usize::MAX).min(self.fields.len());
                let raw = written(name, value, leading_space);
                self.put(at, raw);
            }
            Edit::Change { at, name, value } => {
                let wanted = usize::try_from(*at).unwrap_or(usize::MAX).max(1) - 1;
                let mut named = self.fields.iter().enumerate();
                let mut named = named.by_ref().filter(|(_, f)| !f.own && f.name().eq_ignore_ascii_case(name));
                let found = named.nth(wanted).map(|(place, _)| place);
                let raw = (!value.is_empty()).then(|| written(name, value, leading_space));
                if let Some(place) = found {
                    let old = self.fields.remove(place);
                    self.header_bytes = self.header_bytes.saturating_sub(old.raw.len() + 2);
                }
                if let Some(raw) = raw {
                    self.put(found.unwrap_or(self.fields.len()), raw);
                }
            }
            _ => {}
        }
        !self.is_too_big()
    }

    fn put(&mut self, at: usize, raw: Vec<u8>) {
        self.header_bytes += raw.len() + 2;
        self.fields.insert(at.min(self.fields.len()), Field { raw, own: false });
    }

    /// Takes a piece of a new body.
    pub fn replace(&mut self, bytes: &[u8]) {
        let body = self.replacement.get_or_insert_default();
        if self.failed.is_none() {
            self.failed = body.append(bytes, &self.room).err();
        }
    }

    /// How long the new body is so far.
    pub fn replaced(&self) -> Option<u64> {
        self.replacement.as_ref().map(Body::len)
    }

    /// The filter is done: the new body counts, if it sent one and `good`.
    pub fn settle(&mut self, good: bool) {
        if let Some(body) = self.replacement.take().filter(|_| good) {
            self.blank |= body.len() > 0;
            self.body = body;
        }
    }

    /// The header as it is now, with the empty line that ends it.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header_bytes + 2);
        for field in &self.fields {
            out.extend_from_slice(&field.raw);
            out.extend_from_slice(b"\r\n");
        }
        if self.blank {
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// Reads a piece of the body; an empty one is its end.
    pub fn read_body(&self, at: u64, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
        self.body.read(at, most, out)
    }
}

fn take(
    part: Part<'_>,
    (fields, bytes, blank): (&mut Vec<Field>, &mut usize, &mut bool),
    (body, failed): (&mut Body, &mut Option<io::Error>),
    room: &Path,
) {
    match part {
        Part::Field(field) => {
            *bytes += field.raw().len() + 2;
            if *bytes <= MOST_HEADER && fields.len() <= MOST_FIELDS {
                fields.push(Field { raw: field.raw().to_vec(), own: false });
            }
        }
        Part::EndOfHeader { blank: ended } => *blank = ended,
        Part::Body(piece) if failed.is_none() => *failed = body.append(piece, room).err(),
        // Nothing more is kept of it.
        Part::Body(_) => {}
    }
}

/// A field as a filter gives it. An empty line would end the header; it is left out.
fn written(name: &[u8], value: &[u8], leading_space: bool) -> Vec<u8> {
    let mut out: Vec<u8> = name.iter().map(|b| if b.is_ascii_control() { b'?' } else { *b }).collect();
    out.extend_from_slice(if leading_space { b":" } else { b": " });
    let mut lines = value.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    out.extend_from_slice(lines.next().unwrap_or_default());
    for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
        out.extend_from_slice(b"\r\n");
        // What follows belongs to this field, whatever it looks like.
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            out.push(b'\t');
        }
        out.extend_from_slice(line);
    }
    // A carriage return within a line ends none.
    for at in 0..out.len() {
        if out.get(at) == Some(&b'\r') && out.get(at + 1) != Some(&b'\n') {
            out.get_mut(at).into_iter().for_each(|b| *b = b' ');
        }
    }
    out
}

#[derive(Debug, Default)]
struct Body {
    memory: Vec<u8>,
    file: Option<(File, u64)>,
}

impl Body {
    fn len(&self) -> u64 {
        self.memory.len() as u64 + self.file.as_ref().map_or(0, |(_, length)| *length)
    }

    fn append(&mut self, bytes: &[u8], room: &Path) -> io::Result<()> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() <= INLINE {
            return Ok(());
        }
        let (file, length) = match self.file.as_mut() {
            Some(file) => file,
            None => self.file.insert((sys::durable::scratch(room)?, 0)),
        };
        file.write_all_at(&self.memory, *length)?;
        *length += self.memory.len() as u64;
        self.memory = Vec::new();
        Ok(())
    }

    fn read(&self, at: u64, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        let in_file = self.file.as_ref().map_or(0, |(_, length)| *length);
        if let Some((file, length)) = self.file.as_ref().filter(|(_, length)| at < *length) {
            let size = usize::try_from(length - at).unwrap_or(most).min(most);
            out.resize(size, 0);
            file.read_exact_at(out, at)?;
        }
        let (at, most) = (at + out.len() as u64, most - out.len());
        let from = usize::try_from(at.saturating_sub(in_file)).unwrap_or(usize::MAX).min(self.memory.len());
        let rest = self.memory.get(from..).unwrap_or_default();
        out.extend_from_slice(rest.get(..rest.len().min(most)).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Content {
        let mut content = Content::new(&std::env::temp_dir());
        content.made_here(b"X-Pre: 1\r\nReceived: here\r\n\tnow\r\n", true);
        content.feed(text.as_bytes());
        content.finish();
        content
    }

    fn whole(content: &Content) -> String {
        let (mut out, mut piece) = (content.header(), Vec::new());
        let mut at = 0;
        loop {
            content.read_body(at, 7, &mut piece).unwrap();
            if piece.is_empty() {
                return String::from_utf8(out).unwrap();
            }
            at += piece.len() as u64;
            out.extend_from_slice(&piece);
        }
    }

    fn add(name: &str, value: &str) -> Edit {
        Edit::Add { name: name.into(), value: value.into() }
    }

    fn insert(at: u32, name: &str, value: &str) -> Edit {
        Edit::Insert { at, name: name.into(), value: value.into() }
    }

    fn change(at: u32, name: &str, value: &str) -> Edit {
        Edit::Change { at, name: name.into(), value: value.into() }
    }

    const TEXT: &str = "Received: before\r\nA: 1\r\nB:2\r\na: 3\r\n 4\r\n\r\nbody\r\n";

    #[test]
    fn what_filters_see() {
        let content = content(TEXT);
        let (mut seen, mut at) = (Vec::new(), 0);
        while let Some((name, value, next)) = content.field(at, false) {
            seen.push(format!("{}={}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&value)));
            at = next;
        }
        assert_eq!(seen, ["X-Pre=1", "Received=before", "A=1", "B=2", "a=3\n 4"]);
        assert_eq!(content.field(3, true).unwrap().1, b" 1");
        assert_eq!(whole(&content), format!("X-Pre: 1\r\nReceived: here\r\n\tnow\r\n{TEXT}"));
    }

    #[test]
    fn changes_of_the_header() {
        let of = |edits: &[Edit]| {
            let mut content = content(TEXT);
            edits.iter().for_each(|e| assert!(content.change_header(e, false)));
            let text = whole(&content).replace("Received: here\r\n\tnow", "OWN").replace("\r\n", "|");
            text.trim_start_matches("X-Pre: 1|").to_string()
        };
        let rest = "Received: before|A: 1|B:2|a: 3| 4|";
        assert_eq!(of(&[add("X", "y")]), format!("OWN|{rest}X: y||body|"));
        assert_eq!(of(&[insert(1, "X", "y")]), format!("X: y|OWN|{rest}|body|"));
        assert_eq!(of(&[insert(2, "X", "y")]), format!("OWN|X: y|{rest}|body|"));
        assert_eq!(of(&[insert(99, "X", "y")]), format!("OWN|{rest}X: y||body|"));
        assert_eq!(of(&[change(2, "A", "new")]), "OWN|Received: before|A: 1|B:2|A: new||body|");
        assert_eq!(of(&[change(0, "a", "")]), "OWN|Received: before|B:2|a: 3| 4||body|");
        assert_eq!(of(&[change(1, "received", "x")]), "OWN|received: x|A: 1|B:2|a: 3| 4||body|");
        assert_eq!(of(&[change(3, "A", "x")]), format!("OWN|{rest}A: x||body|"));
        assert_eq!(of(&[change(3, "A", "")]), format!("OWN|{rest}|body|"));
        assert_eq!(
            of(&[add("X\r\nY", "a\r\n\r\n\nb\rc\n\td")]),
            format!("OWN|{rest}X??Y: a|\tb c|\td||body|")
        );
    }

    #[test]
    fn bodies_in_memory_and_on_disk() {
        let mut all = content("A: 1\r\n\r\n");
        let piece = vec![b'x'; 100_000];
        for _ in 0..7 {
            all.feed(&piece);
        }
        assert!(all.trouble().is_none() && all.body.file.is_some() && all.body.memory.len() < INLINE);
        assert_eq!(whole(&all).len(), all.header().len() + 700_000);
        let mut across = Vec::new();
        all.read_body(500_000, 150_000, &mut across).unwrap();
        assert_eq!(across.len(), 150_000, "pieces are full across the edge of the file");
        all.replace(b"new\r\n");
        assert_eq!(all.replaced(), Some(5));
        all.settle(false);
        assert_eq!(all.body.len(), 700_000);
        all.replace(b"new\r\n");
        all.settle(true);
        assert!(whole(&all).ends_with("A: 1\r\n\r\nnew\r\n"));
        let mut none = content("A: 1\r\n");
        none.replace(b"new\r\n");
        none.settle(true);
        assert!(whole(&none).ends_with("A: 1\r\n\r\nnew\r\n"));
    }

    #[test]
    fn headers_are_bounded() {
        let mut all = content("A: 1\r\n\r\n");
        let value = "x".repeat(60_000);
        let fits = (0..200).take_while(|_| all.change_header(&add("X", &value), false)).count();
        assert!((60..80).contains(&fits), "{fits}");
    }
}
