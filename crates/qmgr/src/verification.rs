//! Probes of addresses (address verification): where they go, and who hears what became of them.

use crate::router::Router;
use proto::status::Status;
use proto::{Address, QueueId};
use std::sync::Arc;

/// Hears what became of probes.
pub trait Listener: Send + Sync {
    /// A probe that was sent to `asked` ended so. It may have become several addresses, each of which
    /// is told of.
    fn verified(&self, id: QueueId, asked: &Address, status: &Status);

    /// Whether failures are remembered (`address_verify_negative_cache`); the log says so.
    fn remembers_failures(&self) -> bool;
}

/// See [`crate::Parts`].
#[derive(Clone)]
pub struct Verification {
    /// Where probes go: `address_verify_relayhost` and its kin may lead elsewhere than for mail.
    pub router: Arc<dyn Router>,
    /// Who hears of them.
    pub listener: Arc<dyn Listener>,
}
