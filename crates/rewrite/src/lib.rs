//! What an address means here: completion, canonical and virtual alias mapping, address classes,
//! transport resolution, and whether a recipient exists.
//!
//! Everything is asked of one [`Rewriter`], made from a configuration snapshot. Every decision
//! carries its [`Reason`]s. Modules in reading order:

pub mod class;
pub mod copies;
pub mod extension;
pub mod mapping;
pub mod masquerade;
pub mod reason;
pub mod recipient;
pub mod transport;

pub use class::Class;
pub use extension::Delimiter;
pub use mapping::Place;
pub use reason::Reason;
pub use recipient::{Existence, Unknown};
pub use transport::Resolved;

use class::Classes;
use config::params::main::Main;
use config::params::rewrite::Rewrite;
use config::{Config, Problem};
use masquerade::Masquerade;
use proto::Address;
use proto::address::complete::Completion;
use std::net::IpAddr;
use tables::{Maps, Types};

/// Address rewriting and routing of one configuration snapshot.
pub struct Rewriter {
    params: Rewrite,
    completion: Completion,
    delimiter: Delimiter,
    classes: Classes,
    maps: AllMaps,
    masquerade: Masquerade,
    origin: String,
    domain: String,
    hostname: String,
    double_bounce: String,
    show_table: bool,
}

struct AllMaps {
    canonical: Maps,
    sender_canonical: Maps,
    recipient_canonical: Maps,
    virtual_alias: Maps,
    virtual_mailbox: Maps,
    local_recipient: Maps,
    relay_recipient: Maps,
    transport: Maps,
    sender_relayhost: Maps,
    sender_transport: Maps,
    sender_bcc: Maps,
    recipient_bcc: Maps,
    relocated: Maps,
}

impl Rewriter {
    /// Reads the parameters and opens the tables. `own`: the addresses of `inet_interfaces`.
    pub fn open(config: &Config, types: &Types, own: &[IpAddr]) -> Result<Rewriter, Vec<Problem>> {
        let main = Main::load(config)?;
        let params = Rewrite::load(config)?;
        let maps = |name: &str, list: &config::value::List| Maps::of(types, name, &list.0);
        let show_table = config.get("show_user_unknown_table_name").map_err(|p| vec![p])?;
        Ok(Rewriter {
            completion: Completion {
                append_at_origin: *params.append_at_myorigin(),
                append_dot_domain: *params.append_dot_mydomain(),
                swap_bangpath: *params.swap_bangpath(),
                percent_hack: *params.allow_percent_hack(),
            },
            delimiter: Delimiter {
                characters: main.recipient_delimiter().clone(),
                owner_request_special: *params.owner_request_special(),
                double_bounce: main.double_bounce_sender().clone(),
            },
            classes: Classes::open(types, &main, &params, own),
            maps: AllMaps {
                canonical: maps("canonical_maps", params.canonical_maps()),
                sender_canonical: maps("sender_canonical_maps", params.sender_canonical_maps()),
                recipient_canonical: maps("recipient_canonical_maps", params.recipient_canonical_maps()),
                virtual_alias: maps("virtual_alias_maps", params.virtual_alias_maps()),
                virtual_mailbox: maps("virtual_mailbox_maps", params.virtual_mailbox_maps()),
                local_recipient: maps("local_recipient_maps", params.local_recipient_maps()),
                relay_recipient: maps("relay_recipient_maps", params.relay_recipient_maps()),
                transport: maps("transport_maps", params.transport_maps()),
                sender_relayhost: maps(
                    "sender_dependent_relayhost_maps",
                    params.sender_dependent_relayhost_maps(),
                ),
                sender_transport: maps(
                    "sender_dependent_default_transport_maps",
                    params.sender_dependent_default_transport_maps(),
                ),
                sender_bcc: maps("sender_bcc_maps", params.sender_bcc_maps()),
                recipient_bcc: maps("recipient_bcc_maps", params.recipient_bcc_maps()),
                relocated: maps("relocated_maps", params.relocated_maps()),
            },
            masquerade: Masquerade::open(types, &params),
            origin: main.myorigin().clone(),
            domain: main.mydomain().clone(),
            hostname: main.myhostname().clone(),
            double_bounce: main.double_bounce_sender().clone(),
            show_table: show_table != "no",
            params,
        })
    }

    /// Completes an address as one of this host's: `myorigin`, `append_dot_mydomain`.
    pub fn complete_local(&self, address: &Address) -> Address {
        self.completion.complete(address, &self.origin, &self.domain)
    }

    /// Completes a stranger's header address with `remote_header_rewrite_domain`; leaves it alone
    /// when that is empty.
    pub fn complete_remote(&self, address: &Address, domain: &str) -> Address {
        match domain {
            "" => address.clone(),
            domain => self.completion.complete(address, domain, domain),
        }
    }

    /// Whether anybody may have mail that waits for `domain` tried again (`fast_flush_domains`).
    pub fn flushable(&self, domain: &str) -> Result<bool, tables::TableError> {
        self.classes.flushable(domain)
    }

    /// How extensions are split off.
    pub fn delimiter(&self) -> &Delimiter {
        &self.delimiter
    }

    /// Whether a list lets a parent domain stand for its subdomains.
    pub fn parents_match(&self, list: &str) -> bool {
        self.params.parent_domain_matches_subdomains().0.iter().any(|l| l == list)
    }
}

#[cfg(test)]
mod tests;
