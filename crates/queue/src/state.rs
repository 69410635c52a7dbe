//! The states of a recipient and what a delivery attempt made of it.

use proto::envelope::Envelope;
use proto::status::Status;

/// Where one recipient of a message stands, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// Not tried yet.
    Pending,
    /// Tried; waits for its moment.
    Deferred(Status),
    /// Settled but for a notice, forward or owner copy that must be committed first. Recovery
    /// resumes it: the notice may be sent twice, never zero times.
    Owed(Status),
    /// Delivered. Nothing more to do.
    Sent(Status),
    /// Failed for good, the sender informed (or nobody to inform).
    Bounced(Status),
}

impl RecipientState {
    /// Nothing more to do.
    pub fn settled(&self) -> bool {
        matches!(self, RecipientState::Sent(_) | RecipientState::Bounced(_))
    }
}

/// What became of some recipients of a leased message; written in one atomic step. When every
/// recipient is settled the message is gone; otherwise it waits for `next_attempt`.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Place in the envelope's recipients, and the new state. A settled recipient stays settled.
    pub recipients: Vec<(usize, RecipientState)>,
    /// When to try again, microseconds since 1970; `None` keeps the present plan, which makes a
    /// message whose lease ends due at once.
    pub next_attempt: Option<u64>,
    /// A delay warning was sent (and need not be again).
    pub delay_warned: bool,
    /// Takes the place of the message's envelope, as `postsuper -r` needs: addresses rewritten
    /// anew, settled recipients left out. All its recipients are pending, but for the states that
    /// `recipients` gives; these count in the new envelope. The message is no longer marked
    /// [`Leased::requeued`]. The content stays.
    pub envelope: Option<Box<Envelope>>,
}
