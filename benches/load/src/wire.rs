//! A connection without waiting: what is to be written, and lines or bytes that came.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// One connection. Reading takes what is there; writing keeps what the kernel did not take.
pub struct Wire {
    /// The socket.
    pub stream: TcpStream,
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
    sent: usize,
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
        Ok(Wire { stream, input: Vec::new(), at: 0, output: Vec::new(), sent: 0 })
    }

    /// Reads once.
    pub fn read(&mut self, scratch: &mut [u8]) -> std::io::Result<Got> {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        match self.stream.read(scratch) {
            Ok(0) => Ok(Got::End),
            Ok(n) => {
                self.input.extend_from_slice(&scratch[..n]);
                Ok(Got::Some)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Got::Some),
            Err(e) => Err(e),
        }
    }

    /// What came and was not used yet.
    pub fn input(&self) -> &[u8] {
        &self.input[self.at..]
    }

    /// So much of it was used.
    pub fn used(&mut self, n: usize) {
        self.at = (self.at + n).min(self.input.len());
    }

    /// The next whole line, without its end, and its length with it.
    pub fn line(&self) -> Option<(&[u8], usize)> {
        let rest = self.input();
        let end = rest.iter().position(|b| *b == b'\n')?;
        let line = &rest[..end];
        Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
    }

    /// Adds to what is to be written.
    pub fn put(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Writes what the kernel takes; true when nothing is left.
    pub fn flush(&mut self) -> std::io::Result<bool> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn lines_cut_anywhere() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut wire = Wire::new(listener.accept().unwrap().0).unwrap();
        let (mut scratch, mut lines) = ([0; 8], Vec::new());
        for piece in ["250-a\r\n25", "0 b\r", "\n221"] {
            other.write_all(piece.as_bytes()).unwrap();
            let before = wire.input().len();
            while wire.input().len() < before + piece.len() {
                wire.read(&mut scratch).unwrap();
            }
            while let Some((line, n)) = wire.line() {
                lines.push(String::from_utf8_lossy(line).into_owned());
                wire.used(n);
            }
        }
        assert_eq!(lines, ["250-a", "250 b"]);
        assert_eq!(wire.input(), b"221");
        drop(other);
        assert_eq!(wire.read(&mut scratch).unwrap(), Got::End);
    }
}
