//! One connection to the relay host: commands out, replies in, each within a time limit. Replies are read
//! by the SMTP client's own machine, which bounds them.

use proto::smtp::client::{Answer, Garbage, Replies};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A stream, encrypted or not.
pub(in crate::commands) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The connection.
pub(in crate::commands) struct Wire {
    stream: Box<dyn Stream>,
    replies: Replies,
    patience: Duration,
}

impl Wire {
    pub(in crate::commands) fn new(stream: Box<dyn Stream>, patience: Duration) -> Wire {
        Wire { stream, replies: Replies::default(), patience }
    }

    /// The stream, for TLS; fails when the server has said more than it should have, which would
    /// otherwise count as said under encryption. CVE-2011-0411
    pub(in crate::commands) fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        match self.replies.is_empty() {
            true => Ok(self.stream),
            false => {
                Err(io::Error::other("the server sent text before TLS began; somebody may be in between"))
            }
        }
    }

    /// Sends a command and reads the reply.
    pub(in crate::commands) async fn ask(&mut self, command: &str) -> io::Result<Answer> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        self.answer().await
    }

    pub(in crate::commands) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = &mut self.stream;
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        tokio::time::timeout(self.patience, sent).await.map_err(|_| silent(self.patience))?
    }

    /// Reads a reply.
    pub(in crate::commands) async fn answer(&mut self) -> io::Result<Answer> {
        let patience = self.patience;
        tokio::time::timeout(patience, self.whole()).await.map_err(|_| silent(patience))?
    }

    async fn whole(&mut self) -> io::Result<Answer> {
        loop {
            let next = self.replies.next_answer(true, true).map_err(|garbage| {
                io::Error::other(match garbage {
                    Garbage::NoReply(line) => format!("this is no SMTP reply: {line:?}"),
                    Garbage::Endless => "the server's reply does not end".to_string(),
                })
            })?;
            if let Some(answer) = next {
                return Ok(answer);
            }
            let mut buffer = [0_u8; 2048];
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            self.replies.receive(buffer.get(..count).unwrap_or_default());
        }
    }
}

fn silent(patience: Duration) -> io::Error {
    let text = format!("the server said nothing for {} seconds", patience.as_secs().max(1));
    io::Error::new(io::ErrorKind::TimedOut, text)
}
