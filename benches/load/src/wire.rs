//! A connection without waiting: what is to be written, and lines or bytes that came; in plain text or over TLS.

use rustls::Connection;
use std::io::{Error, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Where a buffer begins; one that was filled up doubles, to `MOST`.
const LEAST: usize = 4 * 1024;
const MOST: usize = 256 * 1024;
/// So much is encrypted before it is written.
const PIECE: usize = 64 * 1024;

/// One connection. Reading takes what is there; writing keeps what the kernel did not take.
pub struct Wire {
    /// The socket.
    pub stream: TcpStream,
    tls: Option<Box<Connection>>,
    /// What came is between `at` and `end`.
    input: Vec<u8>,
    at: usize,
    end: usize,
    output: Vec<u8>,
    sent: usize,
    /// Content that many connections send; it comes after `output`.
    body: Option<Arc<[u8]>>,
    body_sent: usize,
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Bytes, or nothing new.
    Some,
    /// The end.
    End,
}

impl Wire {
    /// A socket that does not block.
    pub fn new(stream: TcpStream) -> std::io::Result<Wire> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream,
            tls: None,
            input: Vec::new(),
            at: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
            body: None,
            body_sent: 0,
        })
    }

    /// From here on everything is encrypted; what came and was not used is forgotten.
    pub fn secure(&mut self, mut connection: Connection) {
        connection.set_buffer_limit(None);
        self.tls = Some(Box::new(connection));
        (self.at, self.end) = (0, 0);
    }

    /// Whether it is encrypted.
    pub fn secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads what is there, as far as there is room.
    pub fn read(&mut self) -> std::io::Result<Got> {
        self.room();
        if self.tls.is_some() {
            return self.decrypt();
        }
        let Some(space) = self.input.get_mut(self.end..) else { return Ok(Got::Some) };
        match self.stream.read(space) {
            Ok(0) => Ok(Got::End),
            Ok(n) => {
                self.end += n;
                Ok(Got::Some)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Got::Some),
            Err(e) => Err(e),
        }
    }

    /// Makes room at the end of the buffer: what is left moves to its beginning, and a full one grows.
    fn room(&mut self) {
        if self.at > 0 {
            self.input.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        let size = self.input.len();
        if size == 0 {
            self.input.resize(LEAST, 0);
        } else if self.end * 2 > size && size < MOST || self.end == size {
            self.input.resize(size * 2, 0);
        }
    }

    fn decrypt(&mut self) -> std::io::Result<Got> {
        // Not for ever: other connections wait, and what is left is announced again.
        for _ in 0..8 {
            let Some(tls) = &mut self.tls else { break };
            match tls.read_tls(&mut self.stream) {
                Ok(0) => return Ok(Got::End),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
            tls.process_new_packets().map_err(|e| Error::other(format!("TLS: {e}")))?;
            loop {
                self.room();
                let (Some(tls), Some(space)) = (&mut self.tls, self.input.get_mut(self.end..)) else { break };
                match tls.reader().read(space) {
                    Ok(0) => return Ok(Got::End),
                    Ok(n) => self.end += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(Got::End),
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(Got::Some)
    }

    /// What came and was not used yet.
    pub fn input(&self) -> &[u8] {
        self.input.get(self.at..self.end).unwrap_or_default()
    }

    /// So much of it was used.
    pub fn used(&mut self, n: usize) {
        self.at = (self.at + n).min(self.end);
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
        }
    }

    /// The next whole line, without its end, and its length with it.
    pub fn line(&self) -> Option<(&[u8], usize)> {
        let rest = self.input();
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest.get(..end)?;
        Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
    }

    /// Adds to what is to be written.
    pub fn put(&mut self, bytes: &[u8]) {
        if let Some(body) = self.body.take() {
            self.output.extend_from_slice(body.get(self.body_sent..).unwrap_or_default());
        }
        self.output.extend_from_slice(bytes);
    }

    /// Adds content that is not copied.
    pub fn put_body(&mut self, body: &Arc<[u8]>) {
        self.put(b"");
        (self.body, self.body_sent) = (Some(body.clone()), 0);
    }

    /// Writes what the kernel takes; true when nothing is left.
    pub fn flush(&mut self) -> std::io::Result<bool> {
        loop {
            if let Some(tls) = &mut self.tls {
                while tls.wants_write() {
                    match tls.write_tls(&mut self.stream) {
                        Ok(_) => {}
                        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                        Err(e) => return Err(e),
                    }
                }
            }
            let head = self.output.get(self.sent..).unwrap_or_default();
            let body = self.body.as_deref().and_then(|b| b.get(self.body_sent..)).unwrap_or_default();
            if head.is_empty() && body.is_empty() {
                break;
            }
            let written = match &mut self.tls {
                Some(tls) => {
                    let next = if head.is_empty() { body } else { head };
                    tls.writer().write(next.get(..PIECE).unwrap_or(next))
                }
                None if body.is_empty() => self.stream.write(head),
                None => self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    let first = n.min(head.len());
                    self.sent += first;
                    self.body_sent += n - first;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.output.clear();
        self.sent = 0;
        self.body = None;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (other, Wire::new(listener.accept().unwrap().0).unwrap())
    }

    #[test]
    fn lines_cut_anywhere() {
        let (mut other, mut wire) = pair();
        let mut lines = Vec::new();
        for piece in ["250-a\r\n25", "0 b\r", "\n221"] {
            other.write_all(piece.as_bytes()).unwrap();
            let before = wire.input().len();
            while wire.input().len() < before + piece.len() {
                wire.read().unwrap();
            }
            while let Some((line, n)) = wire.line() {
                lines.push(String::from_utf8_lossy(line).into_owned());
                wire.used(n);
            }
        }
        assert_eq!(lines, ["250-a", "250 b"]);
        assert_eq!(wire.input(), b"221");
        drop(other);
        assert_eq!(wire.read().unwrap(), Got::End);
    }

    #[test]
    fn what_the_kernel_does_not_take_is_kept_and_comes_in_order() {
        let (mut other, mut wire) = pair();
        let body: Arc<[u8]> = (0..5_000_000_u32).map(|n| n as u8).collect::<Vec<_>>().into();
        wire.put(b"head");
        wire.put_body(&body);
        assert!(!wire.flush().unwrap());
        wire.put(b"tail");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            other.read_to_end(&mut all).unwrap();
            all
        });
        while !wire.flush().unwrap() {
            std::thread::yield_now();
        }
        drop(wire);
        assert!(reader.join().unwrap() == [b"head", &body[..], b"tail"].concat());
    }

    #[test]
    fn a_buffer_grows_with_what_is_left_in_it() {
        let (mut other, mut wire) = pair();
        let sent = vec![b'x'; 100_000];
        let copy = sent.clone();
        let writer = std::thread::spawn(move || other.write_all(&copy));
        while wire.input().len() < sent.len() {
            wire.read().unwrap();
        }
        assert!(wire.line().is_none() && wire.input() == sent);
        writer.join().unwrap().unwrap();
    }
}
