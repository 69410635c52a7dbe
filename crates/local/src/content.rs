//! The message as it came from the queue (CRLF lines), and copying it out.

use proto::header;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Where the content lies. Reading does not move any position, so that copies of the descriptor
/// in other processes do not disturb each other.
#[derive(Clone, Debug)]
pub struct Content {
    file: Rc<File>,
    offset: u64,
    length: u64,
}

/// How much of the header is searched for Delivered-To, bytes.
const MOST_HEADER: u64 = 4 * 1024 * 1024;

impl Content {
    /// `length` bytes of `file` from `offset` on.
    pub fn new(file: File, offset: u64, length: u64) -> Content {
        Content { file: Rc::new(file), offset, length }
    }

    /// The file, to hand a copy of it to another process.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The same content through another descriptor.
    pub fn through(&self, file: File) -> Content {
        Content { file: Rc::new(file), offset: self.offset, length: self.length }
    }

    /// Another message in the same file.
    pub fn beside(&self, offset: u64, length: u64) -> Content {
        Content { file: self.file.clone(), offset, length }
    }

    /// A file of its own that holds nothing but these messages of the same file (where each begins, and its length), one after
    /// the other: for a process that must not see the others.
    pub fn apart(&self, messages: &[(u64, u64)]) -> io::Result<Content> {
        let mut bytes = Vec::new();
        for (offset, length) in messages {
            self.beside(*offset, *length).pieces(u64::MAX, |piece| {
                bytes.extend_from_slice(piece);
                Ok(true)
            })?;
        }
        Ok(Content::new(sys::memory_file::sealed(&bytes)?, 0, bytes.len() as u64))
    }

    /// Hands the bytes to `take` piece by piece, at most `most` in all.
    fn pieces(&self, most: u64, mut take: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
        let (mut at, end) = (self.offset, self.offset.saturating_add(self.length.min(most)));
        let mut buffer = vec![0; usize::try_from(end - at).unwrap_or(usize::MAX).min(64 * 1024)];
        while at < end {
            let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let Some(part) = buffer.get_mut(..want) else { break };
            match self.file.read_at(part, at) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the message is cut off")),
                Ok(n) => {
                    at += n as u64;
                    if !take(part.get(..n).unwrap_or_default())? {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Copies the message through `copier` into `put`.
    pub fn copy(
        &self,
        mut copier: Copier,
        mut put: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failed> {
        let mut out = Vec::with_capacity(80 * 1024);
        let mut wrong = None;
        let read = self.pieces(u64::MAX, |piece| {
            copier.push(piece, &mut out);
            if let Err(e) = put(&out) {
                wrong = Some(e);
                return Ok(false);
            }
            out.clear();
            Ok(true)
        });
        read.map_err(Failed::Read)?;
        if let Some(e) = wrong {
            return Err(Failed::Write(e));
        }
        copier.finish(&mut out);
        put(&out).map_err(Failed::Write)
    }

    /// The addresses in Delivered-To headers, in lower case and without angle brackets.
    pub fn delivered_to(&self) -> io::Result<Vec<String>> {
        let (mut line, mut found, mut logical): (Vec<u8>, Vec<String>, Vec<u8>) = Default::default();
        let keep = |logical: &mut Vec<u8>, found: &mut Vec<String>| {
            let text = String::from_utf8_lossy(logical);
            if let Some((name, value)) = text.split_once(':')
                && name.trim_end().eq_ignore_ascii_case("delivered-to")
            {
                let value = value.trim();
                let value = value.strip_prefix('<').and_then(|v| v.strip_suffix('>')).unwrap_or(value);
                found.push(value.to_lowercase());
            }
            logical.clear();
        };
        self.pieces(MOST_HEADER, |piece| {
            for byte in piece {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                match header::classify(&line, !logical.is_empty()) {
                    header::Line::Field(_) => {
                        keep(&mut logical, &mut found);
                        logical.append(&mut line);
                    }
                    header::Line::Continuation => logical.append(&mut line),
                    _ => {
                        keep(&mut logical, &mut found);
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })?;
        keep(&mut logical, &mut found);
        Ok(found)
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub enum Failed {
    /// The message could not be read.
    Read(io::Error),
    /// The destination did not take it.
    Write(io::Error),
}

/// Turns queue content into what a destination wants: other line ends, `>` before `From `, `.`
/// before `.`. Any bytes in pieces of any length; a last line without end gets one.
#[derive(Clone, Debug)]
pub struct Copier {
    quote_from: bool,
    dot: bool,
    eol: Vec<u8>,
    /// The beginning of a line, while it may still become `From `.
    head: Vec<u8>,
    at_start: bool,
    held_cr: bool,
}

const FROM: &[u8] = b"From ";

impl Copier {
    /// Lines end in `eol`.
    pub fn new(eol: &[u8]) -> Copier {
        Copier {
            quote_from: false,
            dot: false,
            eol: eol.to_vec(),
            head: Vec::new(),
            at_start: true,
            held_cr: false,
        }
    }

    /// Puts `>` before lines that begin with `From `.
    pub fn quoting_from(mut self, yes: bool) -> Copier {
        self.quote_from = yes;
        self
    }

    /// Puts `.` before lines that begin with `.`.
    pub fn doubling_dots(mut self, yes: bool) -> Copier {
        self.dot = yes;
        self
    }

    /// Takes a piece.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for part in piece.split_inclusive(|b| *b == b'\n') {
            match part.split_last() {
                Some((b'\n', text)) => {
                    self.text(text, out);
                    self.end_line(out);
                }
                _ => self.text(part, out),
            }
        }
    }

    /// The end of the message.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if !self.at_start || !self.head.is_empty() || self.held_cr {
            self.release_head(out);
            if self.held_cr {
                out.push(b'\r');
                self.held_cr = false;
            }
            out.extend_from_slice(&self.eol);
        }
    }

    fn text(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        if self.at_start && self.quote_from {
            while let Some((first, rest)) = text.split_first() {
                self.head.push(*first);
                text = rest;
                if self.head.len() == FROM.len() || !FROM.starts_with(&self.head) {
                    self.release_head(out);
                    break;
                }
            }
            if self.at_start {
                return;
            }
        }
        if !text.is_empty() {
            self.emit(text, out);
        }
    }

    fn release_head(&mut self, out: &mut Vec<u8>) {
        if !self.head.is_empty() {
            if self.head == FROM {
                out.push(b'>');
            }
            let head = std::mem::take(&mut self.head);
            self.emit(&head, out);
        }
    }

    fn emit(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if std::mem::take(&mut self.at_start) && self.dot && text.first() == Some(&b'.') {
            out.push(b'.');
        }
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
        match text.split_last() {
            Some((b'\r', rest)) => {
                self.held_cr = true;
                out.extend_from_slice(rest);
            }
            _ => out.extend_from_slice(text),
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.release_head(out);
        self.held_cr = false;
        self.at_start = true;
        out.extend_from_slice(&self.eol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copy(copier: Copier, bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut copier, mut out) = (copier, Vec::new());
        for part in bytes.chunks(piece) {
            copier.push(part, &mut out);
        }
        copier.finish(&mut out);
        out
    }

    #[test]
    fn lines_are_converted() {
        let check = |copier: Copier, from: &str, to: &str| {
            for piece in 1..8 {
                let got = copy(copier.clone(), from.as_bytes(), piece);
                assert_eq!(String::from_utf8_lossy(&got), to, "{from:?} by {piece}");
            }
        };
        let unix = Copier::new(b"\n");
        check(unix.clone(), "", "");
        check(unix.clone(), "a\r\nb", "a\nb\n");
        check(unix.clone(), "a\nb\r", "a\nb\r\n");
        check(unix.clone(), "a\r\r\n\r\n", "a\r\n\n");
        let mbox = unix.quoting_from(true);
        check(
            mbox.clone(),
            "From a\r\nFrom\r\n From b\r\n>From c\r\nFrom ",
            ">From a\nFrom\n From b\n>From c\n>From \n",
        );
        check(mbox.clone(), "Fro\r\nx\nFrom y\n", "Fro\nx\n>From y\n");
        check(Copier::new(b"\r\n").doubling_dots(true), ".\r\n..a\r\nb.\r\n", "..\r\n...a\r\nb.\r\n");
        check(
            Copier::new(b"\n").doubling_dots(true).quoting_from(true),
            ".x\r\nFrom .\r\n",
            "..x\n>From .\n",
        );
    }

    /// Takes an mbox file apart as mail readers do: a message begins at `From ` after an empty
    /// line, or at the start.
    fn read_mbox(text: &[u8]) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        let mut blank = true;
        for line in text.split_inclusive(|b| *b == b'\n') {
            if blank && line.starts_with(FROM) {
                out.push(Vec::new());
            } else if let Some(last) = out.last_mut() {
                last.extend_from_slice(line);
            }
            blank = line == b"\n";
        }
        out
    }

    proptest! {
        #[test]
        fn any_message_reads_back_from_a_mailbox(
            messages in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![
                    Just(b"From x\r\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"Fro".to_vec()),
                    Just(b"\r".to_vec()), Just(b">From \r\n".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..9),
                ], 0..12),
                1..4,
            ),
            piece in 1..20usize,
        ) {
            let mut mailbox = Vec::new();
            let mut expected = Vec::new();
            for message in messages {
                let message = message.concat();
                mailbox.extend_from_slice(b"From a@b  Fri Nov 20 15:18:56 2026\n");
                mailbox.extend(copy(Copier::new(b"\n").quoting_from(true), &message, piece));
                mailbox.push(b'\n');
                // The same content without quotes, by plain means.
                let mut plain = Vec::new();
                for line in message.split_inclusive(|b| *b == b'\n') {
                    let text = line.strip_suffix(b"\n").unwrap_or(line);
                    let text = if line.ends_with(b"\n") { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
                    if text.starts_with(FROM) {
                        plain.push(b'>');
                    }
                    plain.extend_from_slice(text);
                    plain.push(b'\n');
                }
                plain.push(b'\n');
                expected.push(plain);
            }
            prop_assert_eq!(read_mbox(&mailbox), expected);
        }

        #[test]
        fn delivered_to_headers_are_found(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut message = b"Delivered-To: <A@x.org>\r\nX: y\r\nDELIVERED-TO :\r\n b@x.org\r\n\r\nDelivered-To: no@x.org\r\n".to_vec();
            message.extend_from_slice(&bytes);
            let file = sys::memory_file::sealed(&message).unwrap();
            let content = Content::new(file, 0, message.len() as u64);
            prop_assert_eq!(content.delivered_to().unwrap(), ["a@x.org", "b@x.org"]);
            let file = sys::memory_file::sealed(&bytes).unwrap();
            prop_assert!(Content::new(file, 0, bytes.len() as u64).delivered_to().is_ok());
        }
    }
}
