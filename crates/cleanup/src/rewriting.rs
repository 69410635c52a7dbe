//! What the door asks of address rewriting. The crate `rewrite` answers; tests may, too.

use proto::Address;

/// Whose names complete an address that lacks a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// This host's: `myorigin`, `append_dot_mydomain`.
    Local,
    /// A stranger's: `remote_header_rewrite_domain`.
    Remote(String),
}

/// Where an address stands; decides which canonical maps are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// MAIL FROM.
    EnvelopeSender,
    /// RCPT TO.
    EnvelopeRecipient,
    /// From, Sender, Reply-To and their kin.
    HeaderSender,
    /// To, Cc and their kin.
    HeaderRecipient,
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
