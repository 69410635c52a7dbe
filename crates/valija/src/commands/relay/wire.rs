//! One connection to the relay host: commands out, replies in, each within a time limit and of bounded
//! length.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A reply may have so many lines and bytes. RFC 5321 4.5.3.1.5 asks for 512 bytes a line
const MOST_LINES: usize = 128;
const MOST_BYTES: usize = 32 * 1024;

/// A stream, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// The texts behind the code, made printable.
    pub(super) lines: Vec<String>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        self.lines.join(" / ")
    }

    /// Positive, with this first digit.
    pub(super) fn is(&self, class: u16) -> bool {
        self.code / 100 == class
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

/// The connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    pending: Vec<u8>,
    patience: Duration,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>, patience: Duration) -> Wire {
        Wire { stream, pending: Vec::new(), patience }
    }

    /// The stream, for TLS; fails when the server has said more than it should have, which would
    /// otherwise count as said under encryption. CVE-2011-0411
    pub(super) fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        match self.pending.is_empty() {
            true => Ok(self.stream),
            false => {
                Err(io::Error::other("the server sent text before TLS began; somebody may be in between"))
            }
        }
    }

    /// Sends a command and reads the reply.
    pub(super) async fn ask(&mut self, command: &str) -> io::Result<Answer> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        self.answer().await
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = &mut self.stream;
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        tokio::time::timeout(self.patience, sent).await.map_err(|_| silent(self.patience))?
    }

    /// Reads a reply.
    pub(super) async fn answer(&mut self) -> io::Result<Answer> {
        let patience = self.patience;
        tokio::time::timeout(patience, self.whole()).await.map_err(|_| silent(patience))?
    }

    async fn whole(&mut self) -> io::Result<Answer> {
        let mut answer = Answer { code: 0, lines: Vec::new() };
        let mut bytes = 0;
        loop {
            let line = self.line().await?;
            bytes += line.len();
            let (code, more, text) = split(&line).ok_or_else(|| {
                io::Error::other(format!(
                    "this is no SMTP reply: {:?}",
                    line.chars().take(80).collect::<String>()
                ))
            })?;
            if answer.lines.len() >= MOST_LINES || bytes > MOST_BYTES {
                return Err(io::Error::other("the server's reply does not end"));
            }
            answer.code = code;
            answer.lines.push(text);
            if !more {
                return Ok(answer);
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_string());
            }
            if self.pending.len() > MOST_BYTES {
                return Err(io::Error::other("the server's reply has no end of line"));
            }
            let mut buffer = [0_u8; 2048];
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            self.pending.extend(buffer.iter().take(count));
        }
    }
}

fn silent(patience: Duration) -> io::Error {
    let text = format!("the server said nothing for {} seconds", patience.as_secs().max(1));
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Code, whether more lines follow, text.
fn split(line: &str) -> Option<(u16, bool, String)> {
    let code: u16 = line.get(..3).filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let more = match line.as_bytes().get(3) {
        None | Some(b' ') => false,
        Some(b'-') => true,
        Some(_) => return None,
    };
    let text: String =
        line.chars().skip(4).map(|c| if c.is_control() { '?' } else { c }).take(1000).collect();
    (200..600).contains(&code).then_some((code, more, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        assert_eq!(split("250-a b"), Some((250, true, "a b".into())));
        assert_eq!(split("250"), Some((250, false, String::new())));
        assert_eq!(split("250 x\x1b[2J"), Some((250, false, "x?[2J".into())));
        for bad in ["", "25", "abc d", "250x", "999 x", "100 x", "\u{e9}\u{e9}"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,40}") {
            split(&line);
        }
    }
}
