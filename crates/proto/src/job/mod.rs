//! The delivery job: what the mail role sends to `deliver`, and what a child sends back.
//!
//! `mail` sends one [`Job`] as one message, preceded by the number it gave it ([`frame_job`]), with
//! two descriptors: the content (sealed memfd, or the message's own file) and the writing end of
//! the pipe on which the child answers. `deliver` reads the number alone ([`split_job`]) and hands
//! the rest to a child. The child writes [`answer::Frame`]s into the pipe; `deliver` says when and
//! how the child ended ([`Ended`]). Nobody trusts the other: every decoder here takes any bytes.
//!
//! Several messages for the same place may travel together ([`write_jobs`]): their contents lie in one file, one after the other,
//! and the child says of which message it speaks ([`Frame::About`]).
//!
//! A job names a transport and addresses. It holds no user, path or command: those come from the
//! configuration and tables that the child reads itself.

pub mod answer;
mod ended;
mod together;
pub(crate) mod wire;

pub use answer::{Action, Forward, Frame, FrameReader, Line, Pass, Report, Say};
pub use ended::{Ended, How};
pub use together::{MOST_TOGETHER, read_jobs, write_jobs};

use crate::Address;
use crate::envelope::{Client, Encoding, Recipient, Ret};
use wire::{Reader, Writer};

/// The longest job with its number: it must fit into one message of `sys::channel`.
pub const LONGEST_JOB: usize = 60 * 1024;

/// The first byte of a job; raised when its layout changes, so that an old child refuses it.
const VERSION: u8 = 3;

/// One delivery attempt: some recipients of one message for one transport and next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// A service name of master.cf, such as `local`.
    pub transport: String,
    /// The next hop that qmgr decided on.
    pub nexthop: String,
    /// The queue id as the log shows it (short or long).
    pub queue_id: String,
    /// Envelope sender.
    pub sender: Address,
    /// Whom to deliver to.
    pub recipients: Vec<Target>,
    /// The client, for the environment of commands and `${client_…}`.
    pub client: Client,
    /// The size as the log shows it (`${size}` of pipe(8)).
    pub size: u64,
    /// When the message arrived, microseconds since 1970.
    pub arrival: u64,
    /// What is known of the content's bytes.
    pub encoding: Encoding,
    /// SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// `ENVID` of RFC 3461 4.4.
    pub dsn_envid: Option<String>,
    /// `RET` of RFC 3461 4.3.
    pub dsn_ret: Option<Ret>,
    /// Where the content begins in the descriptor, bytes.
    pub offset: u64,
    /// How long the content is, bytes (CRLF lines).
    pub length: u64,
    /// Nothing is to be delivered: the answer is what would be done.
    pub probe: bool,
    /// With `probe`: an alias or `.forward` file is answer enough; what it names is not looked at.
    pub shallow: bool,
}

/// A recipient and its place in the envelope, by which reports name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Place in `Envelope::recipients`.
    pub place: u32,
    /// The address after transport resolution, and what belongs to it.
    pub recipient: Recipient,
}

impl Job {
    /// As bytes; `None` when it is too long for one message (send fewer recipients).
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut w = Writer::default();
        w.u8(VERSION);
        w.text(&self.transport);
        w.text(&self.nexthop);
        w.text(&self.queue_id);
        w.address(&self.sender);
        w.count(self.recipients.len());
        for target in &self.recipients {
            w.u32(target.place);
            w.recipient(&target.recipient);
        }
        w.client(&self.client);
        w.u64(self.size);
        w.u64(self.arrival);
        w.u8(match self.encoding {
            Encoding::Unknown => 0,
            Encoding::SevenBit => 1,
            Encoding::EightBit => 2,
        });
        w.bool(self.smtputf8);
        w.optional(self.dsn_envid.as_deref());
        w.u8(match self.dsn_ret {
            None => 0,
            Some(Ret::Full) => 1,
            Some(Ret::Headers) => 2,
        });
        w.u64(self.offset);
        w.u64(self.length);
        w.bool(self.probe);
        w.bool(self.shallow);
        Some(w.done()).filter(|bytes| bytes.len() + 8 <= LONGEST_JOB)
    }

    /// From bytes; `None` for what is no job of this version.
    pub fn decode(bytes: &[u8]) -> Option<Job> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return None;
        }
        let mut job = Job {
            transport: r.text()?,
            nexthop: r.text()?,
            queue_id: r.text()?,
            sender: r.address()?,
            ..Job::default()
        };
        let n = r.count()?;
        for _ in 0..n {
            job.recipients.push(Target { place: r.u32()?, recipient: r.recipient()? });
        }
        job.client = r.client()?;
        job.size = r.u64()?;
        job.arrival = r.u64()?;
        job.encoding = match r.u8()? {
            0 => Encoding::Unknown,
            1 => Encoding::SevenBit,
            2 => Encoding::EightBit,
            _ => return None,
        };
        job.smtputf8 = r.bool()?;
        job.dsn_envid = r.optional()?;
        job.dsn_ret = match r.u8()? {
            0 => None,
            1 => Some(Ret::Full),
            2 => Some(Ret::Headers),
            _ => return None,
        };
        job.offset = r.u64()?;
        job.length = r.u64()?;
        job.probe = r.bool()?;
        job.shallow = r.bool()?;
        r.finished().then_some(job)
    }
}

/// A job as it travels: its number, then the job.
pub fn frame_job(number: u64, job: &[u8]) -> Vec<u8> {
    let mut message = number.to_le_bytes().to_vec();
    message.extend_from_slice(job);
    message
}

/// The number and the job of a message; `None` when it is too short to have a number.
pub fn split_job(message: &[u8]) -> Option<(u64, &[u8])> {
    let (number, job) = message.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), job))
}

#[cfg(test)]
mod tests;
