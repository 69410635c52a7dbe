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

    /// Canonical mapping of a completed address; the address itself when no table knows it.
    fn canonical(&self, address: Address, place: Place) -> Result<Address, String>;

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

    fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        rewrite::Rewriter::aliases(self, recipient)
    }
}
