//! What is said to a filter before the queue: one connection for one message.

use super::Settings;
use crate::events::*;
use ::events::Source;
use net::stream::Socket;
use proto::smtp::client::{Answer, Features, Garbage, Keywords, Replies, Stuffer};
use proto::smtp::reply::Reply;
use std::future::Future;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The filter cannot be asked, for whatever reason.
pub(super) fn broken() -> Reply {
    Reply::new(451, "4.3.0 Error: queue file write error")
}

/// Why a message does not get through.
#[derive(Debug)]
pub(super) enum No {
    /// The filter said so, in these words; it can be asked further.
    Refused(Reply),
    /// It does not do as the protocol says, and nothing more can be said to it. It stands in the log.
    Broken,
    /// It does not want to talk to us at all. It stands in the log.
    Unwilling,
}

/// So many lines may make no sense.
const MOST_GARBAGE: usize = 10;

/// A connection to the filter.
pub(super) struct Conversation {
    socket: Socket,
    replies: Replies,
    /// Commands are understood: QUIT would be.
    listening: bool,
    place: String,
    limit: std::time::Duration,
}

impl Conversation {
    /// Connects and introduces the client, up to MAIL.
    pub(super) async fn open(
        settings: &Settings,
        xforward: &[(&'static str, String)],
        mail: &str,
        source: &Source,
    ) -> Result<Conversation, No> {
        let place = settings.endpoint.to_string();
        let socket = settings.endpoint.connect(settings.timeout).await.map_err(|e| {
            source.say(&ProxyConnect { place: place.clone(), why: e.to_string() });
            No::Broken
        })?;
        Conversation::over(socket, settings, xforward, mail, source).await
    }

    /// The same on a connection that was made.
    pub(super) async fn over(
        socket: Socket,
        settings: &Settings,
        xforward: &[(&'static str, String)],
        mail: &str,
        source: &Source,
    ) -> Result<Conversation, No> {
        let (replies, place, limit) = (Replies::default(), settings.endpoint.to_string(), settings.timeout);
        let mut new = Conversation { socket, replies, listening: true, place, limit };
        let greeting = new.answer(source).await?;
        if greeting.code != 220 {
            return Err(new.unwilling("connection request", &greeting, source));
        }
        let ehlo = format!("EHLO {}", settings.ehlo);
        let answer = new.ask(&ehlo, source).await?;
        if !answer.is_positive() {
            return Err(new.unwilling(&ehlo, &answer, source));
        }
        let features = Features::extended(&answer, &Keywords::default());
        for line in introductions(xforward, &features) {
            // Who the client is would be good to know for the filter; it can do without.
            new.ask(&line, source).await?;
        }
        new.command(mail, source).await?;
        Ok(new)
    }

    /// Says a command to which the filter says yes, or no.
    pub(super) async fn command(&mut self, line: &str, source: &Source) -> Result<(), No> {
        self.expect(line, 2, source).await
    }

    /// A yes of another kind belongs to another command: whatever follows would be misunderstood.
    async fn expect(&mut self, line: &str, yes: u16, source: &Source) -> Result<(), No> {
        let answer = self.ask(line, source).await?;
        if answer.class() == yes {
            return Ok(());
        }
        self.tell(line, &answer, source);
        if answer.class() < 4 {
            self.listening = false;
            return Err(No::Broken);
        }
        Err(No::Refused(reply(&answer)))
    }

    /// DATA; content follows.
    pub(super) async fn data(&mut self, source: &Source) -> Result<(), No> {
        self.expect("DATA", 3, source).await?;
        self.listening = false;
        Ok(())
    }

    /// A piece of content.
    pub(super) async fn content(
        &mut self,
        bytes: &[u8],
        stuffer: &mut Stuffer,
        source: &Source,
    ) -> Result<(), No> {
        let mut parts = Vec::new();
        stuffer.feed(bytes, &mut parts);
        for part in parts {
            self.write(part, source).await?;
        }
        Ok(())
    }

    /// The end of the content: what the filter makes of it.
    pub(super) async fn end(&mut self, stuffer: Stuffer, source: &Source) -> Result<Answer, No> {
        let mut parts = Vec::new();
        stuffer.finish(&mut parts);
        let last = parts.concat();
        self.write(&last, source).await?;
        let answer = self.answer(source).await?;
        if answer.class() < 4 && !answer.is_positive() {
            self.tell("end of content", &answer, source);
            return Err(No::Broken);
        }
        self.listening = true;
        Ok(answer)
    }

    async fn ask(&mut self, line: &str, source: &Source) -> Result<Answer, No> {
        // A filter may take a carriage return alone for the end of a line, and what follows for a command.
        let line: String =
            line.chars().map(|c| if c.is_ascii_control() && c != '\t' { '?' } else { c }).collect();
        self.write(format!("{line}\r\n").as_bytes(), source).await?;
        self.answer(source).await
    }

    async fn write(&mut self, bytes: &[u8], source: &Source) -> Result<(), No> {
        let written = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        let result = within(self.limit, written).await;
        result.map_err(|e| self.lost(&e, source))
    }

    /// The next reply; lines that are none are told and passed over.
    async fn answer(&mut self, source: &Source) -> Result<Answer, No> {
        let place = self.place.clone();
        let reading = async {
            let (mut buffer, mut garbage) = ([0; 2048], 0);
            loop {
                let text = match self.replies.next_answer(true, true) {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => {
                        match self.socket.read(&mut buffer).await? {
                            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                            n => self.replies.receive(buffer.get(..n).unwrap_or_default()),
                        }
                        continue;
                    }
                    Err(Garbage::NoReply(text)) => text,
                    Err(Garbage::Endless) => return Err(io::ErrorKind::InvalidData.into()),
                };
                source.say(&ProxyGarbage { place: place.clone(), text });
                garbage += 1;
                if garbage == MOST_GARBAGE {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        };
        within(self.limit, reading).await.map_err(|e| self.lost(&e, source))
    }

    fn lost(&mut self, error: &io::Error, source: &Source) -> No {
        self.listening = false;
        let place = self.place.clone();
        match error.kind() {
            io::ErrorKind::TimedOut => source.say(&ProxyTimeout { place }),
            _ => source.say(&ProxyLost { place }),
        }
        No::Broken
    }

    fn unwilling(&self, command: &str, answer: &Answer, source: &Source) -> No {
        self.tell(command, answer, source);
        No::Unwilling
    }

    fn tell(&self, command: &str, answer: &Answer, source: &Source) {
        let (place, command) = (self.place.clone(), command.to_string());
        source.say(&ProxyRefused { place, command, reply: shown(answer) });
    }
}

/// A filter that listens is told that there is nothing more, as far as that takes no time.
impl Drop for Conversation {
    fn drop(&mut self) {
        if self.listening {
            let _ = match &self.socket {
                Socket::Tcp(stream) => stream.try_write(b"QUIT\r\n"),
                Socket::Unix(stream) => stream.try_write(b"QUIT\r\n"),
            };
        }
    }
}

async fn within<T>(limit: std::time::Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// As the log shows it.
pub(super) fn shown(answer: &Answer) -> String {
    answer.text.replace('\n', "??")
}

/// The filter's own words for the client.
pub(super) fn reply(answer: &Answer) -> Reply {
    let lines: Vec<&str> = answer.text.split('\n').map(|line| line.get(4..).unwrap_or_default()).collect();
    Reply::new(answer.code, lines.join("\n"))
}

/// XFORWARD in lines of at most 512 bytes. Postfix XFORWARD_README
fn introductions(attributes: &[(&'static str, String)], features: &Features) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (name, value) in attributes {
        if !features.xforward.iter().any(|known| known == name) {
            continue;
        }
        let word = match value.as_str() {
            "" | "unknown" => format!(" {name}=[UNAVAILABLE]"),
            value => format!(" {name}={}", proto::smtp::client::xtext(value)),
        };
        match lines.last_mut() {
            Some(line) if line.len() + word.len() <= 510 => line.push_str(&word),
            _ => lines.push(format!("XFORWARD{word}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let mut features = Features { xforward: vec!["NAME".into(), "HELO".into()], ..Features::default() };
        let long = "x".repeat(500);
        let attributes = [("NAME", "a b".to_string()), ("ADDR", "10.0.0.1".into()), ("HELO", String::new())];
        assert_eq!(introductions(&attributes, &features), ["XFORWARD NAME=a+20b HELO=[UNAVAILABLE]"]);
        let attributes = [("NAME", long.clone()), ("HELO", "unknown".into())];
        let expected = [format!("XFORWARD NAME={long}"), "XFORWARD HELO=[UNAVAILABLE]".to_string()];
        assert_eq!(introductions(&attributes, &features), expected);
        features.xforward.clear();
        assert!(introductions(&attributes, &features).is_empty());

        let answer = Answer { code: 550, enhanced: None, text: "550-5.7.1 one\n550".into() };
        assert_eq!(
            (reply(&answer).text.as_str(), shown(&answer).as_str()),
            ("5.7.1 one\n", "550-5.7.1 one??550")
        );
    }
}
