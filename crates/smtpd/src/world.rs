//! What the server asks about addresses. `rewrite` answers; tests with a few lines of their own.

use proto::Address;
use rewrite::{Class, Existence, Rewriter};

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its class.
    pub class: Class,
    /// The local part routes further (`user@elsewhere@here`, `user%elsewhere@here`).
    pub routed: bool,
}

/// Why an address could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is no valid address.
    Invalid,
    /// A table could not answer: words for the administrator.
    Unavailable(String),
}

/// Answers about addresses. They come from files and memory, at once.
pub trait World: Send + Sync + 'static {
    /// What `address` means once completed.
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble>;

    /// Whether `address` exists, as far as tables tell.
    fn existence(&self, address: &Address) -> Result<Existence, Trouble>;

    /// ETRN: begins to deliver what waits for `domain`; false when `fast_flush_domains` does not
    /// list it.
    fn flush(&self, domain: &str) -> bool {
        let _ = domain;
        false
    }
}

impl World for Rewriter {
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble> {
        let resolved = routed(self, address)?;
        Ok(Resolved { class: resolved.class, routed: resolved.routed })
    }

    fn existence(&self, address: &Address) -> Result<Existence, Trouble> {
        self.exists(&routed(self, address)?).map_err(Trouble::Unavailable)
    }
}

fn routed(rewriter: &Rewriter, address: &Address) -> Result<rewrite::Resolved, Trouble> {
    let complete = rewriter.complete_local(address);
    let resolved = rewriter.resolve(&complete, &Address::null());
    let resolved = resolved.map_err(|e| Trouble::Unavailable(e.to_string()))?;
    if resolved.bad.is_some() { Err(Trouble::Invalid) } else { Ok(resolved) }
}
