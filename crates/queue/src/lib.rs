//! The durable queue: a segment log with group commit. See `docs/queue.md` for the design.
//!
//! `250` means durable: [`Draft::commit`] returns only when the message and all its recipients are
//! on disk. Every recipient is in exactly one state on disk; a crash may deliver twice, never zero
//! times.
//!
//! In reading order: [`store`] is the interface, [`state`] what is recorded of each recipient;
//! `ledger` says which message is where and due when, for both stores; [`disk`] is the store on
//! disk; [`offline`] is for tools while no daemon runs, `leftovers` finds what Postfix left behind;
//! [`memory`] is the store for tests of other crates.

pub mod disk;
mod encode;
pub mod events;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub mod fuzz;
mod ledger;
mod leftovers;
pub mod memory;
pub mod offline;
mod oneshot;
pub mod state;
pub mod store;
mod wait;

pub use disk::{DiskStore, Options};
pub use leftovers::{Leftovers, leftovers};
pub use memory::MemoryStore;
pub use offline::Offline;
pub use state::{Outcome, RecipientState};
pub use store::{
    Action, Body, Counts, Draft, Health, Leased, QueueName, Selection, Store, StoreError, Summary,
};
pub use wait::block_on;
