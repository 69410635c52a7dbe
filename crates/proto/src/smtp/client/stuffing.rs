//! Content for the wire: dots doubled, lines kept short, ended by a dot. RFC 5321 4.5.2, 4.5.3.1.6
//!
//! Nothing is copied: a piece of content becomes a list of its parts with what goes between them.

use memchr::{memchr, memmem, memrchr};

/// A part of what is written.
pub type Piece<'a> = &'a [u8];

/// Prepares one message. Its lines end with CRLF.
#[derive(Debug)]
pub struct Stuffer {
    /// The longest line without its end (`smtp_line_length_limit`); 0: any.
    limit: usize,
    /// Bytes of the present line that were written, without a carriage return at the very end.
    column: usize,
    /// The last bytes were CR, or CRLF.
    end: End,
    /// A line was broken.
    broke: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Line,
    Cr,
    Other,
}

impl Stuffer {
    /// For one message.
    pub fn new(limit: usize) -> Stuffer {
        // A line that goes on needs room for the space and a byte.
        let limit = if limit == 0 { 0 } else { limit.max(2) };
        Stuffer { limit, column: 0, end: End::Line, broke: false }
    }

    /// A line was longer than it may be, and is now several.
    pub fn broke_a_line(&self) -> bool {
        self.broke
    }

    /// Adds the next bytes of the content, cut anywhere, to what is to be written.
    pub fn feed<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<Piece<'a>>) {
        if bytes.is_empty() {
            return;
        }
        if self.end == End::Cr && bytes.first() != Some(&b'\n') {
            self.column += 1;
        }
        // Where a part begins that is not in `out` yet.
        let mut from = 0;
        match (self.end, bytes) {
            (End::Line, [b'.', ..]) => out.push(b"."),
            (End::Cr, [b'\n', b'.', ..]) => {
                push(out, bytes, 0, 1);
                out.push(b".");
                from = 1;
            }
            _ => {}
        }
        if self.limit != 0 && !self.fits(bytes) {
            self.fold(bytes, from, out);
        } else {
            for at in memmem::find_iter(bytes, b"\r\n.") {
                push(out, bytes, from, at + 2);
                out.push(b".");
                from = at + 2;
            }
            push(out, bytes, from, bytes.len());
            let last = memrchr(b'\n', bytes).map_or(bytes, |n| bytes.get(n + 1..).unwrap_or_default());
            let text = last.len() - ending(last);
            self.column = if last.len() == bytes.len() { self.column + text } else { text };
        }
        self.end = match bytes {
            [.., b'\r', b'\n'] => End::Line,
            [b'\n'] if self.end == End::Cr => End::Line,
            [.., b'\r'] => End::Cr,
            _ => End::Other,
        };
    }

    /// The content is complete: adds the dot.
    pub fn finish(self, out: &mut Vec<Piece<'_>>) {
        out.push(match self.end {
            End::Line => b".\r\n",
            End::Cr => b"\n.\r\n",
            End::Other => b"\r\n.\r\n",
        });
    }

    /// No line that ends or goes on in these bytes is too long. Looks at few of them only, and says no
    /// when in doubt.
    fn fits(&self, bytes: &[u8]) -> bool {
        let (mut at, mut room) = (0, self.limit.saturating_sub(self.column));
        while bytes.len() - at > room {
            let window = bytes.get(at..bytes.len().min(at + room + 2)).unwrap_or_default();
            match memrchr(b'\n', window) {
                Some(end) => at += end + 1,
                None => return false,
            }
            room = self.limit;
        }
        true
    }

    /// As [`Stuffer::feed`], where some line is too long: it goes on in another that begins with a space.
    fn fold<'a>(&mut self, bytes: &'a [u8], mut from: usize, out: &mut Vec<Piece<'a>>) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let line = memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
            let whole = rest.get(..line).unwrap_or_default();
            let text = whole.len() - ending(whole);
            let mut used = 0;
            while self.column + text - used > self.limit {
                let cut = self.limit.saturating_sub(self.column).min(text - used);
                used += cut;
                push(out, bytes, from, at + used);
                out.push(b"\r\n ");
                from = at + used;
                self.column = 1;
                self.broke = true;
            }
            self.column = if whole.ends_with(b"\n") { 0 } else { self.column + text - used };
            at += line;
            if whole.ends_with(b"\r\n") && bytes.get(at) == Some(&b'.') {
                push(out, bytes, from, at);
                out.push(b".");
                from = at;
            }
        }
        push(out, bytes, from, bytes.len());
    }
}

/// The bytes of CRLF, CR or LF at the end.
fn ending(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] | [.., b'\r'] => 1,
        _ => 0,
    }
}

fn push<'a>(out: &mut Vec<Piece<'a>>, bytes: &'a [u8], from: usize, to: usize) {
    if let Some(part) = bytes.get(from..to)
        && !part.is_empty()
    {
        out.push(part);
    }
}
