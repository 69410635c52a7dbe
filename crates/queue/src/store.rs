//! The interface of a queue, wherever it lives. SMTP, scheduler and admin tools see only this.

use crate::state::{Outcome, RecipientState};
use proto::QueueId;
use proto::envelope::Envelope;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Why the queue could not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// No room: 452 4.3.1.
    Full,
    /// Something is broken: 451 4.3.0, with words for the administrator.
    Failing(String),
    /// The message is no longer leased to the caller, or is gone: an administrator deleted it
    /// while it was being delivered. What was under way needs no recording.
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

/// A message leased to the caller until it is settled.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Its name.
    pub id: QueueId,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// The state of each recipient, in the envelope's order. `Owed` ones must be resumed: their
    /// notice, forward or owner copy may not have been committed.
    pub recipients: Vec<RecipientState>,
    /// How many leases ended with a result.
    pub tries: u32,
    /// How often a worker died over it, see [`Store::blame`].
    pub crashes: u8,
    /// A delay warning was sent.
    pub delay_warned: bool,
    /// `postsuper -e`: to be bounced now.
    pub expired: bool,
    /// `postsuper -r`: its addresses go through rewriting again before delivery; the result is
    /// handed in as [`Outcome::envelope`].
    pub requeued: bool,
    /// It was flushed since it was last tried: `defer_transports` does not count this time.
    pub flushed: bool,
    /// When it was leased, microseconds since 1970 (for `delays=`).
    pub leased_at: u64,
}

/// A queue. One trait for the disk, and for tests in memory.
///
/// **Lease.** A message that was committed, or whose `next_attempt` has come, is given to exactly
/// one caller of [`Store::lease`] and is not offered again until that caller settles it with
/// `keep = false`. Leases end with the process; there is no time limit on them.
///
/// **Settle.** One call, one atomic step on disk. Once every recipient is `Sent` or `Bounced` the
/// message is gone at once, whatever `keep` says; further calls for it give `LeaseLost`.
///
/// **Control of a message that is being delivered.** *Hold*: what is under way goes on and is
/// recorded; then it is not offered again. *Delete*: it is gone at once; later results give
/// `LeaseLost` and are dropped. *Expire*, *Requeue*: take effect when the lease ends; *Requeue*
/// makes it due then. *Flush*: nothing to do.
///
/// **After a crash** every message that was leased is offered again, in the states last written;
/// a message with an `Owed` recipient is due at once.
pub trait Store: Send + Sync + 'static {
    /// A message being written.
    type Draft: Draft;

    /// A new name: unique, increasing.
    fn new_id(&self) -> QueueId;

    /// Begins a message. Fails early when there is no room.
    fn draft(&self, id: QueueId, size_hint: u64) -> Result<Self::Draft, StoreError>;

    /// Up to `n` messages that were just committed or became due, each leased until settled.
    /// Waits until there is one; wakes by itself when the next one becomes due. Ends with an
    /// empty list when the store is closed. May be dropped while it waits; nothing is lost.
    fn lease(&self, n: usize) -> impl Future<Output = Vec<Leased>> + Send;

    /// The whole content, CRLF lines. From memory right after commit, else from disk. A damaged
    /// record is set aside and reported, and gives `Failing`; an unknown message gives
    /// `LeaseLost`.
    fn body(&self, id: QueueId) -> impl Future<Output = Result<Body, StoreError>> + Send;

    /// Records what became of recipients; the lease goes on while `keep` (other deliveries of the
    /// same message are under way), else it ends. A message whose lease ends before any result
    /// (`Outcome::default()`) is offered again at once.
    fn settle(
        &self,
        id: QueueId,
        outcome: Outcome,
        keep: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A worker crashed or hung over this message, which is leased, or was by the process before. Counted
    /// on disk; the second time the message is put on hold (and that is logged) so that the others go on.
    /// Gives the count.
    fn blame(&self, id: QueueId) -> impl Future<Output = Result<u8, StoreError>> + Send;

    /// One page in id order, for mailq and its kin: messages after `after`, at most `n`. A page
    /// that is shorter than `n` but not empty is not the last; an empty one is.
    fn list(
        &self,
        after: Option<QueueId>,
        n: usize,
    ) -> impl Future<Output = Result<Vec<Summary>, StoreError>> + Send;

    /// Some deferred messages after `after`, among them all that have recipients in this domain as far as was looked, and
    /// the last that was looked at; `None` at the end. A store that knows no better shows all.
    fn deferred_for(
        &self,
        _domain: &str,
        after: Option<QueueId>,
    ) -> impl Future<Output = Result<(Vec<Summary>, Option<QueueId>), StoreError>> + Send {
        let page = self.list(after, 100);
        async move {
            let mut page = page.await?;
            let last = page.last().map(|s| s.id);
            page.retain(|s| s.queue == QueueName::Deferred);
            Ok((page, last))
        }
    }

    /// One message, for postcat and for tracing; `None` when there is none of that name.
    fn get(&self, id: QueueId) -> impl Future<Output = Result<Option<Summary>, StoreError>> + Send;

    /// Hold, release, requeue, delete, expire, flush; gives the messages it touched, in id order.
    /// Durable when it returns. A message that already is as asked is not touched.
    fn control(
        &self,
        which: Selection,
        action: Action,
    ) -> impl Future<Output = Result<Vec<QueueId>, StoreError>> + Send;

    /// How many messages are in each queue; cheap.
    fn counts(&self) -> Counts;

    /// Whether it takes mail.
    fn health(&self) -> Health;

    /// Writes everything down and stops; later calls fail.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// The content of a message: memory, or a file of its own when big.
#[derive(Clone, Debug)]
pub enum Body {
    /// All of it.
    Memory(Arc<Vec<u8>>),
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
    /// Next attempt, microseconds since 1970; in the past when due. Says nothing for `Hold`.
    pub next_attempt: u64,
    /// How many leases ended with a result.
    pub tries: u32,
    /// A delay warning was sent.
    pub delay_warned: bool,
}

/// How many messages are in each queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// See [`QueueName::Incoming`].
    pub incoming: u64,
    /// See [`QueueName::Active`].
    pub active: u64,
    /// See [`QueueName::Deferred`].
    pub deferred: u64,
    /// See [`QueueName::Hold`].
    pub hold: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.incoming + self.active + self.deferred + self.hold
    }
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
    /// `postsuper -h`: not offered for delivery until released.
    Hold,
    /// `postsuper -H`: ends the hold; due now.
    Release,
    /// `postsuper -r`: due now, on hold or not; through address rewriting again, no longer
    /// expired.
    Requeue,
    /// `postsuper -d`: gone.
    Delete,
    /// `postsuper -e`: bounced at the next attempt. Neither releases it nor makes it due; that is
    /// [`Action::Release`] and [`Action::Flush`].
    Expire,
    /// `postqueue -f`, `-i`: due now unless on hold.
    Flush,
}
