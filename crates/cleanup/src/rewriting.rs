//! What the door asks of address rewriting. The crate `rewrite` answers; tests may, too.

use proto::Address;
pub use rewrite::Place;

/// Whose names complete an address that lacks a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// This host's: `myorigin`, `append_dot_mydomain`.
    Local,
    /// A stranger's: `remote_header_rewrite_domain`.
    Remote(String),
}

/// Address rewriting as the door needs it. An `Err` is words for the administrator: a table could
/// not answer; the message is then not taken now.
pub trait Rewriting: Send + Sync + 'static {
    /// Completes an address (trivial rewriting). The null address stays as it is.
    fn complete(&self, address: &Address, context: &Context) -> Address;

    /// Canonical mapping and masquerading of a completed address; the address itself when no table
    /// knows it.
    fn canonical(&self, address: Address, place: Place) -> Result<Address, String>;

    /// The same; where tables lead round in circles, where the last step that is made leads, and what
    /// is to be said of it.
    fn canonical_at_last(&self, address: Address, place: Place) -> Result<(Address, Option<String>), String> {
        self.canonical(address, place).map(|address| (address, None))
    }

    /// Who gets a copy of mail from a completed, mapped sender (`sender_bcc_maps`).
    fn copy_of_sender(&self, _: &Address) -> Result<Option<Address>, String> {
        Ok(None)
    }

    /// Whether `copy_of_recipient` need be asked at all.
    fn copies_recipients(&self) -> bool {
        false
    }

    /// Who gets a copy of mail to a completed, mapped recipient (`recipient_bcc_maps`).
    fn copy_of_recipient(&self, _: &Address) -> Result<Option<Address>, String> {
        Ok(None)
    }

    /// Virtual aliases of a completed recipient; the recipient itself when no table knows it.
    fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String>;
}

/// The answers of `rewrite`, in the words of the door.
impl Rewriting for rewrite::Rewriter {
    fn complete(&self, address: &Address, context: &Context) -> Address {
        match context {
            Context::Local => self.complete_local(address),
            Context::Remote(domain) => self.complete_remote(address, domain),
        }
    }

    fn canonical(&self, address: Address, place: Place) -> Result<Address, String> {
        rewrite::Rewriter::canonical(self, address, place)
    }

    fn canonical_at_last(&self, address: Address, place: Place) -> Result<(Address, Option<String>), String> {
        rewrite::Rewriter::canonical_at_last(self, address, place)
    }

    fn copy_of_sender(&self, sender: &Address) -> Result<Option<Address>, String> {
        rewrite::Rewriter::copy_of_sender(self, sender)
    }

    fn copies_recipients(&self) -> bool {
        rewrite::Rewriter::copies_recipients(self)
    }

    fn copy_of_recipient(&self, recipient: &Address) -> Result<Option<Address>, String> {
        rewrite::Rewriter::copy_of_recipient(self, recipient)
    }

    fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        rewrite::Rewriter::aliases(self, recipient)
    }
}
