//! What the server asks about addresses. `rewrite` answers; tests with a few lines of their own.

use crate::restrictions::facts::{self, Answer, Wanted};
use proto::Address;
use std::future::Future;
use std::pin::Pin;
use rewrite::{Class, Existence, Rewriter};

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its class.
    pub class: Class,
    /// The local part routes further (`user@elsewhere@here`, `user%elsewhere@here`).
    pub routed: bool,
    /// Its domain once completed; a literal in brackets.
    pub domain: String,
}

/// Why an address could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is no valid address.
    Invalid,
    /// A table could not answer: words for the administrator.
    Unavailable(String),
}

/// An answer that takes time.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Answers about addresses. They come from files and memory, at once; only name servers take time.
pub trait World: Send + Sync + 'static {
    /// What `address` means once completed.
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble>;

    /// Whether `address` exists, as far as tables tell.
    fn existence(&self, address: &Address) -> Result<Existence, Trouble>;

    /// Asks name servers. By default there are none.
    fn look_up<'a>(&'a self, wanted: &'a Wanted) -> Looking<'a> {
        Box::pin(std::future::ready(facts::not_now(wanted, "no name server is asked")))
    }

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
        let domain = resolved.recipient.domain().unwrap_or_default().to_string();
        Ok(Resolved { class: resolved.class, routed: resolved.routed, domain })
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
