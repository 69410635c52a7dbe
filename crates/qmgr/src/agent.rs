//! What the queue manager asks of a transport, and what it hears back.
//!
//! `qmgr` knows the agents `error`, `retry` and `discard` itself; the program hands it one
//! [`Agent`] for everything delivered by children of the `deliver` role, and later for SMTP.

use proto::envelope::Envelope;
pub use proto::job::{Action, Forward, Line, Pass, Report};
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
    /// Another delivery to that next hop is under way, or just ended: a connection is worth keeping.
    pub followed: bool,
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
    /// The worker died over it (a signal, or an answer that means nothing): the queue counts that,
    /// and sets the message aside the second time.
    pub crashed: bool,
    /// The destination itself could not be reached: what else waits for it is not tried now.
    pub unreachable: Option<proto::status::Status>,
    /// It went into a mailbox, or did not; `None` when nobody knows.
    pub mailbox: Option<bool>,
    /// Of several messages that were to go together this one was not tried: it shall go alone.
    pub untried: bool,
}

/// A means of delivery.
pub trait Agent: Send + Sync {
    /// Tries once. Never fails as such: what could not be tried is reported as deferred.
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>>;

    /// Tries several messages for the same transport and destination, in this order; gives what became of each. Who
    /// cannot deliver together tries the first.
    fn deliver_together(
        &self,
        requests: Vec<Request>,
    ) -> Pin<Box<dyn Future<Output = Vec<Done>> + Send + '_>> {
        Box::pin(async move {
            let untried = Done { untried: true, ..Done::default() };
            let mut all = vec![untried; requests.len()];
            if let (Some(request), Some(done)) = (requests.into_iter().next(), all.first_mut()) {
                *done = self.deliver(request).await;
            }
            all
        })
    }
}
