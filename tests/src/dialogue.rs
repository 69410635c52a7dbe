//! Plays an SMTP dialogue and writes down what was said, in the form of the dialogue itself.
//!
//! ```text
//! S: 250 text        a reply that is awaited, whatever its text; several `S:` lines of one reply count once
//! C: text            a line, sent with CRLF; lines without a reply between them go out in one piece
//! C> text\r\n        bytes as they stand, with \r \n \t \\ \0 and \xHH
//! C*300 text         the line 300 times
//! # connection closed by the server     the end of the connection is awaited
//! # close            the client leaves here
//! # settle           the runner waits until all mail so far is delivered
//! # tls OPTIONS      the handshake; then `# TLS up: TLSv1.3`, `# TLS up: TLSv1.2, resumed`, or `# TLS failed: why`.
//!                    Options: sni=NAME cert=FILE key=FILE protocol=TLSv1.2 resume (`tls::Options`)
//! # anything else    a comment
//! ```

use crate::tls::{Connection, Options};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What `<DATE>` in a line of the client stands for.
const DATE: &str = "Fri, 20 Nov 2026 15:18:56 +0000 (UTC)";
const CLOSED: &str = "# connection closed by the server";
const LIMIT: Duration = Duration::from_secs(25);

/// How the lines begin that say what became of a handshake: they are written anew.
const TLS: &str = "# TLS ";

/// Plays `script` over `stream`, encrypted from the start if `tls` says how; the transcript has the script's lines
/// with the server's real words.
pub fn play(
    script: &str,
    stream: TcpStream,
    tls: Option<&Options>,
    settle: impl Fn() -> Result<(), String>,
) -> Result<String, String> {
    stream.set_read_timeout(Some(LIMIT)).map_err(|error| error.to_string())?;
    let mut player = Player { stream: Connection::Plain(stream), unread: Vec::new(), closed: false };
    let mut transcript = String::new();
    if let Some(options) = tls {
        player.encrypt(options, &mut transcript);
    }
    let mut outgoing: Vec<u8> = Vec::new();
    let mut in_reply = false;
    for line in script.lines() {
        if let Some(text) = line.strip_prefix("S:").map(str::trim_start) {
            player.send(&mut outgoing);
            let continues = text.as_bytes().get(3) == Some(&b'-');
            if !in_reply {
                player.receive(&mut transcript);
            }
            in_reply = continues;
            continue;
        }
        in_reply = false;
        if line.starts_with(TLS) {
            continue;
        }
        if let Some(words) =
            line.strip_prefix("# tls").filter(|rest| rest.is_empty() || rest.starts_with(' '))
        {
            player.send(&mut outgoing);
            let mut options = Options::default();
            for word in words.split_whitespace() {
                options.read(word).ok_or_else(|| format!("cannot read {word:?} in {line:?}"))?;
            }
            transcript.push_str(&format!("{line}\n"));
            player.encrypt(&options, &mut transcript);
            continue;
        }
        if line == "# close" {
            player.send(&mut outgoing);
            let _ = player.stream.socket().shutdown(std::net::Shutdown::Both);
            player.closed = true;
        } else if line == "# settle" {
            player.send(&mut outgoing);
            settle()?;
        } else if line == CLOSED {
            player.send(&mut outgoing);
            player.await_end(&mut transcript);
            continue;
        } else if !line.starts_with('#') {
            outgoing.extend(bytes(line)?);
        }
        transcript.push_str(line);
        transcript.push('\n');
    }
    player.send(&mut outgoing);
    Ok(transcript)
}

struct Player {
    stream: Connection,
    unread: Vec<u8>,
    closed: bool,
}

impl Player {
    fn send(&mut self, outgoing: &mut Vec<u8>) {
        if !self.closed && !outgoing.is_empty() && self.stream.write_all(outgoing).is_err() {
            self.closed = true;
        }
        outgoing.clear();
    }

    /// The handshake. What came in plain text before it and was not awaited is shown.
    fn encrypt(&mut self, options: &Options, transcript: &mut String) {
        if self.closed {
            return;
        }
        if !self.unread.is_empty() {
            let text = std::mem::take(&mut self.unread);
            transcript.push_str(&format!("{TLS}comes after {:?}\n", String::from_utf8_lossy(&text)));
        }
        match self.stream.encrypt(options) {
            Ok(what) => transcript.push_str(&format!("{TLS}up: {what}\n")),
            Err(why) => {
                self.closed = true;
                transcript.push_str(&format!("{TLS}failed: {why}\n"));
                let _ = self.stream.socket().shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// One whole reply. RFC 5321 4.2.1
    fn receive(&mut self, transcript: &mut String) {
        loop {
            let Some(line) = self.line(transcript) else { return };
            transcript.push_str(&format!("S: {line}\n"));
            if line.as_bytes().get(3) != Some(&b'-') {
                return;
            }
        }
    }

    fn await_end(&mut self, transcript: &mut String) {
        while let Some(line) = self.line(transcript) {
            transcript.push_str(&format!("S: {line}\n"));
        }
    }

    fn line(&mut self, transcript: &mut String) -> Option<String> {
        let mut buffer = [0; 4096];
        loop {
            if self.closed {
                return None;
            }
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 2);
                return Some(line);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    transcript.push_str(&format!("{CLOSED}\n"));
                    return None;
                }
                Ok(length) => self.unread.extend(&buffer[..length]),
                Err(error)
                    if [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof].contains(&error.kind()) =>
                {
                    self.closed = true;
                    transcript.push_str(&format!("{CLOSED}\n"));
                    return None;
                }
                // Such as an alert after the handshake: in TLS 1.3 the server judges when the client is ready already.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    self.closed = true;
                    transcript.push_str(&format!("{TLS}failed: {error}\n"));
                    return None;
                }
                Err(_) => {
                    self.closed = true;
                    transcript.push_str(&format!("# no reply within {LIMIT:?}\n"));
                    return None;
                }
            }
        }
    }
}

/// The bytes a client's line stands for.
fn bytes(line: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("cannot read {line:?}");
    if let Some(text) = line.strip_prefix("C> ") {
        return unescape(text).ok_or_else(wrong);
    }
    let (count, text) = match line.strip_prefix("C*") {
        Some(rest) => {
            let (count, text) = rest.split_once(' ').ok_or_else(wrong)?;
            (count.parse::<usize>().map_err(|_| wrong())?, text)
        }
        None => {
            let text = line.strip_prefix("C:").ok_or_else(wrong)?;
            (1, text.strip_prefix(' ').unwrap_or(text))
        }
    };
    Ok(format!("{}\r\n", text.replace("<DATE>", DATE)).into_bytes().repeat(count))
}

/// The bytes that a text with \r \n \t \\ \0 and \xHH stands for.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [kind, tail @ ..] = rest else { return None };
        rest = tail;
        out.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_lines_become_bytes() {
        assert_eq!(bytes("C: a b\t").unwrap(), b"a b\t\r\n");
        assert_eq!(bytes("C:").unwrap(), b"\r\n");
        assert_eq!(bytes("C> a\\r\\x00\\\\").unwrap(), b"a\r\0\\");
        assert_eq!(bytes("C*2 x").unwrap(), b"x\r\nx\r\n");
        assert!(bytes("x").is_err());
    }

    #[test]
    fn a_dialogue_is_written_down_as_it_went() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"220 hi\r\n").unwrap();
            let mut got = [0; 6];
            peer.read_exact(&mut got).unwrap();
            peer.write_all(b"250-one\r\n250 two\r\n").unwrap();
        });
        let transcript = play(
            "S: 220 ?\nC: EHLO\nS: 250 other\n# connection closed by the server\n",
            stream,
            None,
            || Ok(()),
        )
        .unwrap();
        server.join().unwrap();
        assert_eq!(
            transcript,
            "S: 220 hi\nC: EHLO\nS: 250-one\nS: 250 two\n# connection closed by the server\n"
        );
    }
}
