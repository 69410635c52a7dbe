//! The interface of a queue, wherever it lives. SMTP, scheduler and admin tools see only this.

use crate::state::{Outcome, RecipientState};
use proto::QueueId;
use proto::envelope::Envelope;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Why the queue could not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// No room: 452 4.3.1.
    Full,
    /// Something is broken: 451 4.3.0, with words for the administrator.
    Failing(String),
    /// The message is no longer leased to the caller, or is gone.
    LeaseLost,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full => f.write_str("the queue's file system is full"),
            StoreError::Failing(why) => f.write_str(why),
            StoreError::LeaseLost => f.write_str("the message is no longer leased"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Asked before each MAIL FROM; cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Takes mail; so many bytes are free.
    Open {
        /// Free bytes of the file system.
        free: u64,
    },
    /// Takes none, for this reason; delivers and deletes.
    Closed(StoreError),
}

/// A message leased to the caller until it is settled or released.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Its name.
    pub id: QueueId,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// The state of each recipient, in the envelope's order.
    pub recipients: Vec<RecipientState>,
    /// How often delivery was tried.
    pub tries: u32,
    /// A delay warning was sent.
    pub delay_warned: bool,
    /// When it became due or was committed, microseconds since 1970 (for `delays=`).
    pub leased_at: u64,
}

/// A queue. One trait for the disk, and for tests in memory.
pub trait Store: Send + Sync + 'static {
    /// A message being written.
    type Draft: Draft;

    /// A new name: unique, increasing.
    fn new_id(&self) -> QueueId;

    /// Begins a message. Fails early when there is no room.
    fn draft(&self, id: QueueId, size_hint: u64) -> Result<Self::Draft, StoreError>;

    /// Up to `n` messages that were just committed or became due, each leased until settled or
    /// released. Waits until there is one.
    fn lease(&self, n: usize) -> impl Future<Output = Vec<Leased>> + Send;

    /// The whole content, CRLF lines. From memory right after commit, else from disk. A damaged
    /// record is set aside and reported, and gives `Failing`.
    fn body(&self, id: QueueId) -> impl Future<Output = Result<Body, StoreError>> + Send;

    /// Records what became of recipients; the lease goes on while `keep` (other deliveries of the
    /// same message are under way), else it ends.
    fn settle(
        &self,
        id: QueueId,
        outcome: Outcome,
        keep: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One page in id order, for mailq and its kin: messages after `after`, at most `n`.
    fn list(
        &self,
        after: Option<QueueId>,
        n: usize,
    ) -> impl Future<Output = Result<Vec<Summary>, StoreError>> + Send;

    /// Hold, release, requeue, delete, expire, flush; gives how many messages it touched.
    fn control(
        &self,
        which: Selection,
        action: Action,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Whether it takes mail.
    fn health(&self) -> Health;

    /// Writes everything down and stops; later calls fail.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {
            let _ = Duration::ZERO;
        }
    }
}

/// The content of a message: memory, or a file of its own when big.
#[derive(Clone, Debug)]
pub enum Body {
    /// All of it.
    Memory(Arc<[u8]>),
    /// A file that holds nothing else; positioned anywhere.
    File(Arc<std::fs::File>, u64),
}

/// A message being written. Dropping it forgets it.
pub trait Draft: Send {
    /// Appends content.
    fn write(&mut self, chunk: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Durable when it returns; the message is then offered by [`Store::lease`].
    fn commit(self, envelope: Envelope) -> impl Future<Output = Result<QueueId, StoreError>> + Send;
}

/// Where a message is, as mailq tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueName {
    /// Being delivered now.
    Active,
    /// Committed; the scheduler has no room yet.
    Incoming,
    /// Waits for its moment.
    Deferred,
    /// Set aside.
    Hold,
}

/// A line of mailq.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its name.
    pub id: QueueId,
    /// Which queue.
    pub queue: QueueName,
    /// `postsuper -e`: bounced at the next attempt.
    pub expired: bool,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// The state of each recipient, in the envelope's order.
    pub recipients: Vec<RecipientState>,
    /// Next attempt, microseconds since 1970, when deferred.
    pub next_attempt: u64,
}

/// Which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Ids(Vec<QueueId>),
    /// All, or all in one queue.
    All(Option<QueueName>),
}

/// What `postsuper` and `postqueue` ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `-h`
    Hold,
    /// `-H`
    Release,
    /// `-r`: through address rewriting again at the next attempt.
    Requeue,
    /// `-d`
    Delete,
    /// `-e`: bounce at the next attempt.
    Expire,
    /// `-f`, `-i`: due now.
    Flush,
}
