//! The durable queue: a segment log with group commit. See `docs/queue.md` for the design.
//!
//! `250` means durable: [`Draft::commit`] returns only when the message and all its recipients are
//! on disk. Every recipient is in exactly one state on disk; a crash may deliver twice, never zero
//! times.

pub mod state;
pub mod store;

pub use state::{Outcome, RecipientState};
pub use store::{Draft, Health, Leased, Store, StoreError};
