//! What the server asks about addresses. The program answers with `rewrite`; tests with a few
//! lines of their own.

use proto::Address;

/// The class of an address, by its domain. ADDRESS_CLASS_README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `mydestination`, or this host's address in brackets.
    Local,
    /// `virtual_alias_domains`.
    VirtualAlias,
    /// `virtual_mailbox_domains`.
    VirtualMailbox,
    /// `relay_domains`.
    Relay,
    /// Everything else.
    Other,
}

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

/// Answers about addresses. Answers come from files and memory, at once.
pub trait World: Send + Sync + 'static {
    /// What `address` means once completed.
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble>;

    /// Whether the tables of its class list `address`; an address of class [`Class::Other`] is
    /// listed. `sender` tells in which role it is asked for.
    fn is_listed(&self, address: &Address, sender: bool) -> Result<bool, Trouble>;

    /// ETRN: begins to deliver what waits for `domain`; false when `fast_flush_domains` does not
    /// list it.
    fn flush(&self, domain: &str) -> bool {
        let _ = domain;
        false
    }
}
