//! What the queue commands (`postqueue`, `mailq`, `postsuper`, `postcat`) ask the mail role on
//! `public/showq`, and what they hear back.
//!
//! Both sides write frames: a length (four bytes, little-endian), then that many bytes. The first
//! byte of a request is the version; a server that does not know it answers [`Answer::Refused`].
//! One request per connection; the answer is any number of frames, the last one [`Answer::End`],
//! [`Answer::Refused`] or [`Answer::Failed`]. Without one of these the server died on the way.
//! How a listing looks is in [`listing`].

pub mod listing;

use crate::envelope::{Encoding, Envelope, Ret};
use crate::job::wire::{Reader, Writer};
use crate::status::{Code, Remote, Status};
use std::io::{self, BufReader, Read, Write};

/// Raised when the layout changes.
pub const VERSION: u8 = 1;
/// The longest frame that is taken, bytes.
pub const LONGEST: usize = 64 * 1024 * 1024;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Every message: [`Answer::Entry`] each.
    List,
    /// `postqueue -f`: everything deferred is due now.
    FlushAll,
    /// `postqueue -s`: what waits for this destination.
    FlushSite(String),
    /// `postqueue -i`: this message.
    FlushId(String),
    /// `postsuper`: answered by [`Answer::Touched`].
    Control {
        /// What to do.
        action: Action,
        /// These, or with an empty list all in `queues`.
        ids: Vec<String>,
        /// Only messages in these queues; empty for any.
        queues: Vec<Queue>,
    },
    /// `postcat -q`: [`Answer::Entry`], then [`Answer::Content`] in pieces.
    Get(String),
}

/// What `postsuper` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `-h`
    Hold,
    /// `-H`
    Release,
    /// `-r`
    Requeue,
    /// `-d`
    Delete,
    /// `-e`
    Expire,
    /// `-f`: expire and release.
    ExpireRelease,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// Being delivered.
    Active,
    /// Not looked at yet.
    Incoming,
    /// Waits for its moment.
    Deferred,
    /// Set aside.
    Hold,
}

impl Queue {
    /// As commands and listings name it.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Active => "active",
            Queue::Incoming => "incoming",
            Queue::Deferred => "deferred",
            Queue::Hold => "hold",
        }
    }

    /// From its name.
    pub fn parse(name: &str) -> Option<Queue> {
        [Queue::Active, Queue::Incoming, Queue::Deferred, Queue::Hold].into_iter().find(|q| q.name() == name)
    }
}

/// Where a recipient stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not tried.
    Pending,
    /// Tried, waits.
    Deferred(Status),
    /// Decided; a notice is on its way.
    Owed(Status),
    /// Delivered.
    Sent(Status),
    /// Failed.
    Bounced(Status),
}

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as the log shows it.
    pub id: String,
    /// Which queue.
    pub queue: Queue,
    /// `postsuper -e` was said.
    pub expired: bool,
    /// Its envelope.
    pub envelope: Envelope,
    /// One per recipient.
    pub states: Vec<State>,
    /// When it is due, microseconds since 1970.
    pub next_attempt: u64,
    /// Attempts so far.
    pub tries: u32,
}

/// An answer, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A message.
    Entry(Box<Entry>),
    /// A piece of content.
    Content(Vec<u8>),
    /// The messages that an action changed.
    Touched(Vec<String>),
    /// All is said.
    End,
    /// The asker may not, or asked something that is not understood; what to say.
    Refused(String),
    /// It could not be done; what to say.
    Failed(String),
}

/// A frame: the length, then `body`.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

/// Appends the frame of an answer.
pub fn add_frame(out: &mut Vec<u8>, answer: &Answer) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut w = Writer::onto(std::mem::take(out));
    answer.write(&mut w);
    *out = w.done();
    let length = (out.len() - at - 4) as u32;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// The length that a frame's first four bytes tell; `None` when nobody would send that.
pub fn length(head: [u8; 4]) -> Option<usize> {
    let n = u32::from_le_bytes(head) as usize;
    (n <= LONGEST).then_some(n)
}

impl Request {
    /// The body of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(VERSION);
        match self {
            Request::List => w.u8(b'L'),
            Request::FlushAll => w.u8(b'F'),
            Request::FlushSite(site) => {
                w.u8(b'S');
                w.text(site);
            }
            Request::FlushId(id) => {
                w.u8(b'I');
                w.text(id);
            }
            Request::Control { action, ids, queues } => {
                w.u8(b'C');
                w.u8(match action {
                    Action::Hold => b'h',
                    Action::Release => b'H',
                    Action::Requeue => b'r',
                    Action::Delete => b'd',
                    Action::Expire => b'e',
                    Action::ExpireRelease => b'f',
                });
                texts(&mut w, ids);
                w.count(queues.len());
                queues.iter().for_each(|q| w.u8(queue_byte(*q)));
            }
            Request::Get(id) => {
                w.u8(b'G');
                w.text(id);
            }
        }
        w.done()
    }

    /// From the body of a frame; `None` for what is no request of this version.
    pub fn decode(body: &[u8]) -> Option<Request> {
        let mut r = Reader::new(body);
        if r.u8()? != VERSION {
            return None;
        }
        let request = match r.u8()? {
            b'L' => Request::List,
            b'F' => Request::FlushAll,
            b'S' => Request::FlushSite(r.text()?),
            b'I' => Request::FlushId(r.text()?),
            b'C' => {
                let action = match r.u8()? {
                    b'h' => Action::Hold,
                    b'H' => Action::Release,
                    b'r' => Action::Requeue,
                    b'd' => Action::Delete,
                    b'e' => Action::Expire,
                    b'f' => Action::ExpireRelease,
                    _ => return None,
                };
                let ids = read_texts(&mut r)?;
                let mut queues = Vec::new();
                for _ in 0..r.count()? {
                    queues.push(read_queue(r.u8()?)?);
                }
                Request::Control { action, ids, queues }
            }
            b'G' => Request::Get(r.text()?),
            _ => return None,
        };
        r.finished().then_some(request)
    }
}

impl Answer {
    /// The body of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.done()
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Answer::Entry(entry) => {
                w.u8(b'E');
                write_entry(w, entry);
            }
            Answer::Content(bytes) => {
                w.u8(b'C');
                w.bytes(bytes);
            }
            Answer::Touched(ids) => {
                w.u8(b'T');
                texts(w, ids);
            }
            Answer::End => w.u8(b'.'),
            Answer::Refused(why) => {
                w.u8(b'R');
                w.text(why);
            }
            Answer::Failed(why) => {
                w.u8(b'X');
                w.text(why);
            }
        }
    }

    /// From the body of a frame; `None` for what is no answer.
    pub fn decode(body: &[u8]) -> Option<Answer> {
        if let Some((b'C', content)) = body.split_first() {
            return Some(Answer::Content(content.to_vec()));
        }
        let mut r = Reader::new(body);
        let answer = match r.u8()? {
            b'E' => Answer::Entry(Box::new(read_entry(&mut r)?)),
            b'T' => Answer::Touched(read_texts(&mut r)?),
            b'.' => Answer::End,
            b'R' => Answer::Refused(r.text()?),
            b'X' => Answer::Failed(r.text()?),
            _ => return None,
        };
        r.finished().then_some(answer)
    }
}

/// Asks one question on a fresh connection and hands every piece of the answer to `each`. Gives
/// the last one: [`Answer::End`], [`Answer::Refused`] or [`Answer::Failed`].
pub fn ask(
    stream: &mut (impl Read + Write),
    request: &Request,
    mut each: impl FnMut(Answer) -> io::Result<()>,
) -> io::Result<Answer> {
    stream.write_all(&frame(&request.encode()))?;
    stream.flush()?;
    let garbage = || io::Error::new(io::ErrorKind::InvalidData, "the queue manager's answer makes no sense");
    // A listing has many short frames.
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut body = Vec::new();
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        body.resize(length(head).ok_or_else(garbage)?, 0);
        stream.read_exact(&mut body)?;
        match Answer::decode(&body).ok_or_else(garbage)? {
            last @ (Answer::End | Answer::Refused(_) | Answer::Failed(_)) => return Ok(last),
            piece => each(piece)?,
        }
    }
}

fn texts(w: &mut Writer, all: &[String]) {
    w.count(all.len());
    all.iter().for_each(|t| w.text(t));
}

fn read_texts(r: &mut Reader<'_>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for _ in 0..r.count()? {
        all.push(r.text()?);
    }
    Some(all)
}

fn queue_byte(queue: Queue) -> u8 {
    match queue {
        Queue::Active => b'a',
        Queue::Incoming => b'i',
        Queue::Deferred => b'd',
        Queue::Hold => b'h',
    }
}

fn read_queue(byte: u8) -> Option<Queue> {
    Some(match byte {
        b'a' => Queue::Active,
        b'i' => Queue::Incoming,
        b'd' => Queue::Deferred,
        b'h' => Queue::Hold,
        _ => return None,
    })
}

fn write_entry(w: &mut Writer, entry: &Entry) {
    w.text(&entry.id);
    w.u8(queue_byte(entry.queue));
    w.bool(entry.expired);
    w.u64(entry.next_attempt);
    w.u32(entry.tries);
    let e = &entry.envelope;
    w.address(&e.sender);
    w.count(e.recipients.len());
    e.recipients.iter().for_each(|r| w.recipient(r));
    w.u64(e.arrival);
    w.u64(e.size);
    w.client(&e.client);
    w.u8(match e.encoding {
        Encoding::Unknown => 0,
        Encoding::SevenBit => 1,
        Encoding::EightBit => 2,
    });
    w.bool(e.smtputf8);
    w.optional(e.dsn_envid.as_deref());
    w.u8(match e.dsn_ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    });
    w.optional(e.filter.as_deref());
    w.bool(e.hold);
    w.optional(e.verp.as_deref());
    w.bool(e.notice);
    w.count(entry.states.len());
    for state in &entry.states {
        let (kind, status) = match state {
            State::Pending => (b'p', None),
            State::Deferred(s) => (b'd', Some(s)),
            State::Owed(s) => (b'o', Some(s)),
            State::Sent(s) => (b's', Some(s)),
            State::Bounced(s) => (b'b', Some(s)),
        };
        w.u8(kind);
        if let Some(status) = status {
            write_status(w, status);
        }
    }
}

fn read_entry(r: &mut Reader<'_>) -> Option<Entry> {
    let id = r.text()?;
    let queue = read_queue(r.u8()?)?;
    let (expired, next_attempt, tries) = (r.bool()?, r.u64()?, r.u32()?);
    let mut e = Envelope { sender: r.address()?, ..Envelope::default() };
    for _ in 0..r.count()? {
        e.recipients.push(r.recipient()?);
    }
    e.arrival = r.u64()?;
    e.size = r.u64()?;
    e.client = r.client()?;
    e.encoding = match r.u8()? {
        0 => Encoding::Unknown,
        1 => Encoding::SevenBit,
        2 => Encoding::EightBit,
        _ => return None,
    };
    e.smtputf8 = r.bool()?;
    e.dsn_envid = r.optional()?;
    e.dsn_ret = match r.u8()? {
        0 => None,
        1 => Some(Ret::Full),
        2 => Some(Ret::Headers),
        _ => return None,
    };
    e.filter = r.optional()?;
    e.hold = r.bool()?;
    e.verp = r.optional()?;
    e.notice = r.bool()?;
    let mut states = Vec::new();
    for _ in 0..r.count()? {
        states.push(match r.u8()? {
            b'p' => State::Pending,
            b'd' => State::Deferred(read_status(r)?),
            b'o' => State::Owed(read_status(r)?),
            b's' => State::Sent(read_status(r)?),
            b'b' => State::Bounced(read_status(r)?),
            _ => return None,
        });
    }
    Some(Entry { id, queue, expired, envelope: e, states, next_attempt, tries })
}

fn write_status(w: &mut Writer, status: &Status) {
    w.text(&status.code.to_string());
    w.text(&status.text);
    w.bool(status.remote.is_some());
    if let Some(remote) = &status.remote {
        w.bool(remote.mta.is_some());
        if let Some((kind, name)) = &remote.mta {
            w.text(kind);
            w.text(name);
        }
        w.text(&remote.diagnostic.0);
        w.text(&remote.diagnostic.1);
    }
}

fn read_status(r: &mut Reader<'_>) -> Option<Status> {
    let (code, text) = (Code::parse(&r.text()?)?, r.text()?);
    let remote = if r.bool()? {
        let mta = if r.bool()? { Some((r.text()?, r.text()?)) } else { None };
        Some(Remote::of(mta, (r.text()?, r.text()?)))
    } else {
        None
    };
    Some(Status { code, text, remote })
}

#[cfg(test)]
mod tests;
