//! What a child answers: frames on a pipe, each with its length before it.
//!
//! `Begin` first, then `Log`, `Report`, `About` and `Mailbox` frames in any order, `End` last. Without `End` the child
//! died; recipients without a report are then deferred. Of several messages that came together those without a report are
//! tried again one by one. The reader refuses a frame longer than
//! [`LONGEST_FRAME`] and more than [`MOST_BYTES`] in all.

use super::wire::{Reader, Writer};
use crate::Address;
use crate::envelope::Recipient;
use crate::status::{Code, Remote, Status};

/// The longest frame, bytes. A report of an alias with thousands of members fits.
pub const LONGEST_FRAME: usize = 4 * 1024 * 1024;
/// The most that one child may answer, bytes.
pub const MOST_BYTES: usize = 64 * 1024 * 1024;

/// One piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The child is at work; its process number, for the brackets of its log lines.
    Begin {
        /// Process number.
        number: u32,
    },
    /// A line for the log, which `mail` writes as `postfix/local[number]: …`: the child may be a
    /// user that cannot write to the log.
    Log {
        /// How grave.
        say: Say,
        /// The words, without the one for the level.
        text: String,
    },
    /// What became of a recipient.
    Report(Box<Report>),
    /// Reports that follow are about the message of this place among those that came together; the first ones are about
    /// the first.
    About(u32),
    /// It went into a mailbox (true), where several messages at a time are cheaper, or to something else, where they are not.
    Mailbox(bool),
    /// All is said.
    End,
}

/// How grave a log line of a child is. A child's troubles are never more than warnings and errors
/// to the system as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Normal work.
    Info,
    /// `warning:`
    Warning,
    /// `error:`
    Error,
    /// `fatal:`; the child gave up.
    Fatal,
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Place in `Envelope::recipients`.
    pub recipient: usize,
    /// Lines to log, one for each final address an alias led to; normally one. The line of a
    /// forward has the text `forwarded as`, to be completed by the queue id of the new message;
    /// `Line::forward` says of which.
    pub lines: Vec<Line>,
    /// The combined result.
    pub result: Status,
    /// New messages to commit before the recipient is settled (forwards, owner copies).
    pub forwards: Vec<Forward>,
    /// What a success notice says of this recipient, once, instead of its lines: an alias was
    /// expanded (`alias expanded`). RFC 3461 6.2.7.3, 6.2.7.4
    pub expanded: Option<(Action, Status)>,
    /// Addresses that other transports shall deliver to; what becomes of them counts like a line.
    /// Logged as `passing <x> to transport=…`.
    pub passes: Vec<Pass>,
}

/// A `to=<…>` log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `to=`, after alias expansion.
    pub to: Address,
    /// `orig_to=`, shown when it differs.
    pub orig_to: String,
    /// `relay=`.
    pub relay: String,
    /// Its own status: code, and text in parentheses.
    pub status: Status,
    /// For the sender's success notice.
    pub action: Action,
    /// This line says that mail went on with the forward of that place in `Report::forwards`.
    pub forward: Option<usize>,
    /// Who hears of a failure at once instead of the sender: the owner of a list.
    pub bounce_to: Option<Address>,
}

/// The `Action` of a delivered recipient. RFC 3464 2.3.3
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It is in the mailbox, file or program.
    #[default]
    Delivered,
    /// It went on to something that knows no delivery notices.
    Relayed,
    /// It went to several addresses, or to a list.
    Expanded,
    /// It went on to a host that tells the sender itself. RFC 3461 6.2.7.2
    Transferred,
}

/// A message to send on: the same content with Delivered-To added, new envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Envelope sender; `owner-list@…` for lists.
    pub sender: Address,
    /// Recipients with the `original` each keeps, ORCPT and NOTIFY.
    pub recipients: Vec<Recipient>,
    /// The Delivered-To header that breaks loops; empty for none.
    pub delivered_to: String,
}

/// A transport that shall take a delivery over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The recipient, or where an alias led.
    pub to: Address,
    /// A service name of master.cf.
    pub transport: String,
    /// Its next hop; empty: as it was.
    pub nexthop: String,
}

impl Frame {
    /// As bytes, the length included.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Frame::Begin { number } => {
                w.u8(b'B');
                w.u32(*number);
            }
            Frame::Log { say, text } => {
                w.u8(b'L');
                w.u8(match say {
                    Say::Info => 0,
                    Say::Warning => 1,
                    Say::Error => 2,
                    Say::Fatal => 3,
                });
                w.text(text);
            }
            Frame::Report(report) => {
                w.u8(b'R');
                write_report(&mut w, report);
            }
            Frame::About(message) => {
                w.u8(b'A');
                w.u32(*message);
            }
            Frame::Mailbox(yes) => {
                w.u8(b'M');
                w.bool(*yes);
            }
            Frame::End => w.u8(b'E'),
        }
        let body = w.done();
        let mut out = (body.len() as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&body);
        out
    }

    /// From the bytes after the length; `None` for what is no frame.
    pub fn decode(body: &[u8]) -> Option<Frame> {
        let mut r = Reader::new(body);
        let frame = match r.u8()? {
            b'B' => Frame::Begin { number: r.u32()? },
            b'L' => {
                let say = match r.u8()? {
                    0 => Say::Info,
                    1 => Say::Warning,
                    2 => Say::Error,
                    3 => Say::Fatal,
                    _ => return None,
                };
                Frame::Log { say, text: r.text()? }
            }
            b'R' => Frame::Report(Box::new(read_report(&mut r)?)),
            b'A' => Frame::About(r.u32()?),
            b'M' => Frame::Mailbox(r.bool()?),
            b'E' => Frame::End,
            _ => return None,
        };
        r.finished().then_some(frame)
    }
}

fn write_report(w: &mut Writer, report: &Report) {
    w.u32(u32::try_from(report.recipient).unwrap_or(u32::MAX));
    w.count(report.lines.len());
    for line in &report.lines {
        w.address(&line.to);
        w.text(&line.orig_to);
        w.text(&line.relay);
        write_status(w, &line.status);
        write_action(w, line.action);
        w.bool(line.forward.is_some());
        if let Some(n) = line.forward {
            w.count(n);
        }
        w.bool(line.bounce_to.is_some());
        if let Some(owner) = &line.bounce_to {
            w.address(owner);
        }
    }
    write_status(w, &report.result);
    w.count(report.forwards.len());
    for forward in &report.forwards {
        w.address(&forward.sender);
        w.count(forward.recipients.len());
        for r in &forward.recipients {
            w.recipient(r);
        }
        w.text(&forward.delivered_to);
    }
    w.bool(report.expanded.is_some());
    if let Some((action, status)) = &report.expanded {
        write_action(w, *action);
        write_status(w, status);
    }
    w.count(report.passes.len());
    for pass in &report.passes {
        w.address(&pass.to);
        w.text(&pass.transport);
        w.text(&pass.nexthop);
    }
}

fn read_report(r: &mut Reader<'_>) -> Option<Report> {
    let recipient = usize::try_from(r.u32()?).ok()?;
    let mut lines = Vec::new();
    for _ in 0..r.count()? {
        let (to, orig_to, relay, status) = (r.address()?, r.text()?, r.text()?, read_status(r)?);
        let action = read_action(r)?;
        let forward = if r.bool()? { Some(usize::try_from(r.u32()?).ok()?) } else { None };
        let bounce_to = if r.bool()? { Some(r.address()?) } else { None };
        lines.push(Line { to, orig_to, relay, status, action, forward, bounce_to });
    }
    let result = read_status(r)?;
    let mut forwards = Vec::new();
    for _ in 0..r.count()? {
        let sender = r.address()?;
        let mut recipients = Vec::new();
        for _ in 0..r.count()? {
            recipients.push(r.recipient()?);
        }
        forwards.push(Forward { sender, recipients, delivered_to: r.text()? });
    }
    let expanded = if r.bool()? { Some((read_action(r)?, read_status(r)?)) } else { None };
    let mut passes = Vec::new();
    for _ in 0..r.count()? {
        passes.push(Pass { to: r.address()?, transport: r.text()?, nexthop: r.text()? });
    }
    let known = lines.iter().all(|l| l.forward.is_none_or(|n| n < forwards.len()));
    known.then_some(Report { recipient, lines, result, forwards, expanded, passes })
}

fn write_action(w: &mut Writer, action: Action) {
    w.u8(match action {
        Action::Delivered => 0,
        Action::Relayed => 1,
        Action::Transferred => 3,
        Action::Expanded => 2,
    });
}

fn read_action(r: &mut Reader<'_>) -> Option<Action> {
    Some(match r.u8()? {
        0 => Action::Delivered,
        1 => Action::Relayed,
        3 => Action::Transferred,
        2 => Action::Expanded,
        _ => return None,
    })
}

fn write_status(w: &mut Writer, status: &Status) {
    w.u8(status.code.0);
    w.u16(status.code.1);
    w.u16(status.code.2);
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
    let code = Code(r.u8()?, r.u16()?, r.u16()?);
    if !matches!(code.0, 2 | 4 | 5) || code.1 > 999 || code.2 > 999 {
        return None;
    }
    let text = r.text()?;
    let remote = if r.bool()? {
        let mta = if r.bool()? { Some((r.text()?, r.text()?)) } else { None };
        Some(Remote::of(mta, (r.text()?, r.text()?)))
    } else {
        None
    };
    Some(Status { code, text, remote })
}

/// Why an answer cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage;

/// Puts frames together from what arrives on the pipe, in pieces of any length.
#[derive(Debug, Default)]
pub struct FrameReader {
    kept: Vec<u8>,
    read: usize,
    total: usize,
}

impl FrameReader {
    /// Takes what arrived.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Garbage> {
        self.total = self.total.saturating_add(bytes.len());
        if self.total > MOST_BYTES {
            return Err(Garbage);
        }
        if self.read > 0 {
            self.kept.drain(..self.read);
            self.read = 0;
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Garbage> {
        let rest = self.kept.get(self.read..).unwrap_or_default();
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST_FRAME {
            return Err(Garbage);
        }
        let Some(body) = tail.get(..length) else { return Ok(None) };
        let frame = Frame::decode(body).ok_or(Garbage)?;
        self.read += 4 + length;
        Ok(Some(frame))
    }

    /// True when no part of a frame is left over.
    pub fn is_empty(&self) -> bool {
        self.read == self.kept.len()
    }
}
