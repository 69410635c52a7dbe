//! A connection to a server: made, greeted, used, and closed in good form.
//!
//! The steps are: connect, greeting, EHLO ([`Session::open`], [`Session::greet`]); then, where policy and
//! server want it, STARTTLS and EHLO once more, and AUTH; then transactions (`transfer`).

use crate::route::Protocol;
use crate::settings::{Settings, Times};
use crate::{events as news, words};
use net::Stream;
use net::stream::Socket;
use proto::smtp::client::{Answer, Features, Garbage, Handshake, Replies, Stage, Step};
use proto::status::Status;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tables::Maps;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Another machine, or this one.
    Inet(SocketAddr),
    /// A socket on this machine.
    Unix(PathBuf),
}

/// Who is at the other end, for words and decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, as the MX record or the next hop has it; of a socket the machine's.
    pub host: String,
    /// `host[address]`.
    pub label: String,
    /// `host[address]:port`, the `relay=` of the log.
    pub relay: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// It is among the best exchangers of the destination.
    pub best: bool,
}

impl Peer {
    /// A host.
    pub fn host(host: &str, address: SocketAddr, best: bool) -> Peer {
        let label = format!("{host}[{}]", address.ip());
        let relay = format!("{label}:{}", address.port());
        Peer { host: host.to_string(), label, relay, endpoint: Endpoint::Inet(address), best }
    }

    /// For whoever must know what this process died of.
    pub fn unit(&self) -> sys::board::Unit {
        match self.endpoint {
            Endpoint::Inet(address) => sys::board::Unit::of_host(address.ip()),
            Endpoint::Unix(_) => sys::board::Unit::default(),
        }
    }

    /// A socket on this machine, as it is written and where it is.
    pub fn socket(written: &str, path: PathBuf, myhostname: &str) -> Peer {
        let label = format!("{myhostname}[{written}]");
        Peer {
            host: myhostname.to_string(),
            relay: label.clone(),
            label,
            endpoint: Endpoint::Unix(path),
            best: true,
        }
    }
}

/// Why a conversation cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The other side closed, or the way to it broke.
    Lost,
    /// It said, or took, nothing for too long.
    TimedOut,
    /// What it says means nothing.
    Garbage(Garbage),
}

/// A server that cannot be used, and what its recipients are told.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// For the recipients.
    pub status: Status,
    /// The conversation itself is whole: QUIT can be said.
    pub hears: bool,
}

/// A connection.
pub struct Session {
    stream: Stream,
    replies: Replies,
    /// Bytes that were read and not yet handed to `replies`.
    inbox: Vec<u8>,
    /// Who is there.
    pub peer: Peer,
    /// What the server can do.
    pub features: Features,
    /// What connections must have in common to stand in for each other, beside where they lead: TLS
    /// policy and login. Made by those who decide them.
    pub identity: String,
    /// Messages sent over it so far.
    pub uses: u32,
    /// It may be used for another message.
    pub reusable: bool,
    /// QUIT was said.
    pub quit: bool,
    opened: Instant,
    /// What goes on now is over by then, however little at a time the other side says or takes.
    until: tokio::time::Instant,
    times: Times,
    protocol: Protocol,
    reply_filter: Option<Arc<Maps>>,
    voice: ::events::Source,
}

impl Session {
    /// A connection that was just made.
    pub fn open(socket: Socket, peer: Peer, settings: &Settings) -> Session {
        Session {
            stream: Stream::Plain(socket),
            replies: Replies::default(),
            inbox: Vec::new(),
            peer,
            features: Features::default(),
            identity: String::new(),
            uses: 0,
            reusable: true,
            quit: false,
            opened: Instant::now(),
            until: tokio::time::Instant::now() + settings.times.most,
            times: settings.times,
            protocol: settings.protocol,
            reply_filter: settings.reply_filter.clone(),
            voice: settings.voice.clone(),
        }
    }

    /// Hears the greeting and says who we are; then the features are known.
    pub async fn greet(&mut self, handshake: &mut Handshake) -> Result<(), Unusable> {
        loop {
            let stage = handshake.stage();
            let answer = self.answer(stage, true).await.map_err(|t| self.broken(stage, &t))?;
            match handshake.answer(answer) {
                Step::Say(line) => self.say(line.as_bytes(), handshake.stage()).await?,
                Step::Ready(features) => {
                    self.features = *features;
                    return Ok(());
                }
                Step::Refused(answer) => {
                    let status = words::refused_to_talk(&self.peer, &answer);
                    return Err(Unusable { status, hears: true });
                }
            }
        }
    }

    /// EHLO once more, after STARTTLS: what the server said before counts no more. RFC 3207 4.2
    pub async fn greet_again(&mut self, handshake: &mut Handshake) -> Result<(), Unusable> {
        let line = handshake.again();
        self.say(line.as_bytes(), handshake.stage()).await?;
        self.greet(handshake).await
    }

    /// A command of one line, and its answer.
    pub async fn command(&mut self, line: &str, stage: Stage) -> Result<Answer, Trouble> {
        self.write(format!("{line}\r\n").as_bytes(), self.times.of(stage)).await?;
        self.answer(stage, false).await
    }

    async fn say(&mut self, bytes: &[u8], stage: Stage) -> Result<(), Unusable> {
        self.write(bytes, self.times.of(stage)).await.map_err(|t| self.broken(stage, &t))
    }

    /// What recipients are told when a conversation broke.
    pub fn broken(&self, stage: Stage, trouble: &Trouble) -> Unusable {
        Unusable { status: words::broken(&self.peer, stage, trouble), hears: false }
    }

    /// Waits for an answer. `all`: its text is wanted whole.
    pub async fn answer(&mut self, stage: Stage, all: bool) -> Result<Answer, Trouble> {
        let limit = self.times.of(stage);
        let (whole, until) = (self.times.whole, self.until);
        let waiting = async {
            match whole {
                true => within(limit, self.next_answer(None, all)).await,
                false => self.next_answer(Some(limit), all).await,
            }
        };
        let answer = tokio::time::timeout_at(until, waiting).await.unwrap_or(Err(Trouble::TimedOut));
        let filter = self.reply_filter.clone();
        Ok(match filter {
            Some(filter) => self.filtered(answer?, &filter),
            None => answer?,
        })
    }

    /// What is heard instead of an answer.
    fn filtered(&self, answer: Answer, filter: &Maps) -> Answer {
        let mut changed = false;
        let mut lines = Vec::new();
        for line in answer.text.split('\n') {
            lines.push(match filter.lookup(line) {
                Ok(Some(hit)) => {
                    let (relay, from, to) = (self.peer.relay.clone(), line.to_string(), hit.value.clone());
                    self.voice.say(&news::Replaced { relay, from, to });
                    changed = true;
                    hit.value
                }
                Ok(None) => line.to_string(),
                Err(e) => {
                    self.voice.say(&news::Doubt { what: e.to_string() });
                    line.to_string()
                }
            });
        }
        if !changed {
            return answer;
        }
        answer.with_lines(&lines).unwrap_or(answer)
    }

    async fn next_answer(&mut self, each: Option<Duration>, all: bool) -> Result<Answer, Trouble> {
        let strict = self.features.pipelining;
        loop {
            if let Some(answer) = self.replies.next_answer(strict, all).map_err(Trouble::Garbage)? {
                return Ok(answer);
            }
            self.inbox.clear();
            self.inbox.reserve(2048);
            let read = async {
                match self.stream.read_buf(&mut self.inbox).await {
                    Ok(0) | Err(_) => Err(Trouble::Lost),
                    Ok(_) => Ok(()),
                }
            };
            match each {
                Some(limit) => within(limit, read).await?,
                None => read.await?,
            }
            self.replies.receive(&self.inbox);
        }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Trouble> {
        self.write_pieces(&[bytes], limit).await
    }

    /// Writes all pieces, as few at a time as the system takes.
    pub async fn write_pieces(&mut self, pieces: &[&[u8]], limit: Duration) -> Result<(), Trouble> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        let total: usize = pieces.iter().map(|p| p.len()).sum();
        let until = self.until;
        let deadline = self.times.whole.then(|| {
            let more = (total as u64).checked_div(self.times.rate).unwrap_or(0);
            until.min(tokio::time::Instant::now() + limit + Duration::from_secs(more))
        });
        let stream = &mut self.stream;
        while !rest.is_empty() {
            let write = async {
                match stream.write_vectored(rest).await {
                    Ok(0) | Err(_) => Err(Trouble::Lost),
                    Ok(n) => Ok(n),
                }
            };
            let n = match deadline {
                Some(at) => tokio::time::timeout_at(at, write).await.unwrap_or(Err(Trouble::TimedOut))?,
                None => {
                    let write = tokio::time::timeout_at(until, within(limit, write));
                    write.await.unwrap_or(Err(Trouble::TimedOut))?
                }
            };
            IoSlice::advance_slices(&mut rest, n);
        }
        if stream.is_encrypted() {
            let flush = async { stream.flush().await.map_err(|_| Trouble::Lost) };
            within(limit, flush).await?;
        }
        Ok(())
    }

    /// Another message begins: it has all its time.
    pub fn renew(&mut self) {
        self.until = tokio::time::Instant::now() + self.times.most;
    }

    /// The server said yes though nothing was asked: that must not be taken for the answer to what is
    /// said next.
    pub fn says_yes_early(&self) -> bool {
        self.replies.says_yes()
    }

    /// Whether the other side has closed, or said something that nobody asked for: then no message
    /// should be tried on it.
    pub async fn is_stale(&mut self) -> bool {
        if !self.replies.is_empty() {
            return true;
        }
        let mut byte = [0; 1];
        let stream = &mut self.stream;
        std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer).is_ready())
        })
        .await
    }

    /// What is said is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// LMTP is spoken.
    pub fn is_lmtp(&self) -> bool {
        self.protocol == Protocol::Lmtp
    }

    /// How long it has been open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Exchanges the stream for what `change` makes of it (a TLS handshake). What the server sent before
    /// is forgotten: nothing said in the clear may be taken for part of the encrypted session.
    pub async fn exchange<E, F>(mut self, change: impl FnOnce(Stream) -> F) -> Result<Session, E>
    where
        F: Future<Output = Result<Stream, E>>,
    {
        self.stream = change(self.stream).await?;
        self.replies = Replies::default();
        self.features = Features::default();
        Ok(self)
    }

    /// Says QUIT and closes, beside what else goes on. `skip`: without waiting for the answer.
    pub fn close(mut self, skip: bool) {
        tokio::spawn(async move {
            let limit = self.times.quit;
            if !self.quit && self.write(b"QUIT\r\n", limit).await.is_err() {
                return;
            }
            if !skip {
                let _ = self.answer(Stage::Quit, false).await;
            }
            let _ = within(limit, async { self.stream.shutdown().await.map_err(|_| Trouble::Lost) }).await;
        });
    }

    /// For the log: a server that said what is no reply.
    pub fn complain(&self, voice: &::events::Source, trouble: &Trouble) {
        if let Trouble::Garbage(Garbage::NoReply(line)) = trouble {
            let protocol = if self.protocol == Protocol::Lmtp { "LMTP" } else { "ESMTP" };
            voice.say(&news::NoReply { protocol, relay: self.peer.relay.clone(), line: line.clone() });
        }
    }
}

/// A time of zero is no limit.
async fn within<T>(limit: Duration, future: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    if limit.is_zero() {
        return future.await;
    }
    tokio::time::timeout(limit, future).await.unwrap_or(Err(Trouble::TimedOut))
}
