//! What the queue manager asks about addresses. The crate `rewrite` answers; tests may, too.

use proto::Address;
use rewrite::{Resolved, Rewriter};

/// Where recipients go. An `Err` is words for the administrator: a table could not answer.
pub trait Router: Send + Sync + 'static {
    /// The transport and next hop of a recipient.
    fn resolve(&self, recipient: &Address, sender: &Address) -> Result<Resolved, String>;

    /// Whether mail that waits for a destination may be tried at anybody's wish.
    fn flushable(&self, domain: &str) -> Result<bool, String>;

    /// The recipients that one becomes when a message is requeued: completed, canonical, aliases.
    fn rewrite(&self, recipient: &Address) -> Result<Vec<Address>, String>;
}

impl Router for Rewriter {
    fn resolve(&self, recipient: &Address, sender: &Address) -> Result<Resolved, String> {
        Rewriter::resolve(self, recipient, sender).map_err(|e| e.to_string())
    }

    fn flushable(&self, domain: &str) -> Result<bool, String> {
        Rewriter::flushable(self, domain).map_err(|e| e.to_string())
    }

    fn rewrite(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        let whole = self.complete_local(recipient);
        let whole = self.canonical(whole, rewrite::Place::EnvelopeRecipient)?;
        self.aliases(&whole)
    }
}
