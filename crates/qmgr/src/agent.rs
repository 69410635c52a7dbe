//! What the queue manager asks of a transport, and what it hears back.
//!
//! `qmgr` knows the agents `error`, `retry` and `discard` itself; the program hands it one
//! [`Agent`] for everything delivered by children of the `deliver` role, and later for SMTP.

use proto::envelope::Envelope;
use proto::status::Status;
use proto::{Address, QueueId};
use queue::store::Body;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// One delivery attempt: some recipients of one message, for one transport and next hop.
#[derive(Clone)]
pub struct Request {
    /// The message.
    pub id: QueueId,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// Its content.
    pub body: Body,
    /// A service name of master.cf, such as `local`.
    pub transport: String,
    /// The next hop that the transport gets.
    pub nexthop: String,
    /// Places in `Envelope::recipients`, and the address after transport resolution.
    pub recipients: Vec<(usize, Address)>,
    /// When the message arrived, and when qmgr took it up, microseconds (for `delays=`).
    pub arrival: u64,
    /// See `arrival`.
    pub active: u64,
}

/// What became of one recipient.
#[derive(Clone, Debug)]
pub struct Report {
    /// Place in `Envelope::recipients`.
    pub recipient: usize,
    /// Lines to log, one for each final address an alias led to; normally one.
    pub lines: Vec<Line>,
    /// The combined result.
    pub result: Status,
    /// New messages to commit before the recipient is settled (forwards, owner copies).
    pub forwards: Vec<Forward>,
}

/// A `to=<…>` log line.
#[derive(Clone, Debug)]
pub struct Line {
    /// `to=`, after alias expansion.
    pub to: Address,
    /// `orig_to=`, shown when it differs.
    pub orig_to: String,
    /// `relay=`.
    pub relay: String,
    /// Its own status: code, and text in parentheses.
    pub status: Status,
}

/// A message to send on: the same content with Delivered-To added, new envelope.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Envelope sender; `owner-list@…` for lists.
    pub sender: Address,
    /// Recipients, and the `original` each keeps.
    pub recipients: Vec<(Address, String)>,
    /// The Delivered-To header that breaks loops.
    pub delivered_to: String,
}

/// The result of a request: one report per recipient asked for, and the times of the log's
/// `delays=` (connection set-up and transmission, microseconds), and the speaker's number.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// One per recipient; a recipient without report is deferred.
    pub reports: Vec<Report>,
    /// Microseconds of connection set-up.
    pub connect: u64,
    /// Microseconds of transmission.
    pub transmit: u64,
    /// The number in brackets of the log lines.
    pub number: u32,
}

/// A means of delivery.
pub trait Agent: Send + Sync {
    /// Tries once. Never fails as such: what could not be tried is reported as deferred.
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>>;
}
