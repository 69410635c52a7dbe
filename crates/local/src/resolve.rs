//! Where an address leads that an alias or a file names: here at once, or elsewhere by a message of
//! its own. trivial-rewrite(8)
//!
//! "Elsewhere" is always safe: such mail is routed anew by the mail role. Only what is certain to
//! come back to this very transport is delivered at once.

use crate::lookups::{Lookups, split_extension};
use config::params::main::Main;
use config::params::rewrite::Rewrite;
use config::{Config, Problem};
use proto::Address;
use proto::address::complete::Completion;
use proto::address::parse::{is_address_literal, is_host_name};
use std::net::IpAddr;
use tables::TableError;
use tables::matchlist::StringList;

/// What an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// To be delivered here and now.
    Ours(Address),
    /// To be sent on.
    Elsewhere(Address),
    /// No mail can have this address.
    Bad(String),
}

/// The rules of rewriting and routing, as far as they concern local addresses.
pub(crate) struct Resolver {
    completion: Completion,
    params: Rewrite,
    hostname: String,
    domain: String,
    origin: String,
    delimiter: String,
    special: bool,
    interfaces: Vec<String>,
}

impl Resolver {
    /// Reads the parameters.
    pub fn load(config: &Config) -> Result<Resolver, Vec<Problem>> {
        let (main, params) = (Main::load(config)?, Rewrite::load(config)?);
        Ok(Resolver {
            completion: Completion {
                append_at_origin: *params.append_at_myorigin(),
                append_dot_domain: *params.append_dot_mydomain(),
                swap_bangpath: *params.swap_bangpath(),
                percent_hack: *params.allow_percent_hack(),
            },
            hostname: main.myhostname().clone(),
            domain: main.mydomain().clone(),
            origin: main.myorigin().clone(),
            delimiter: main.recipient_delimiter().clone(),
            special: *params.owner_request_special(),
            interfaces: tables::split_list(&config.get("inet_interfaces").unwrap_or_default()),
            params,
        })
    }

    /// `recipient_delimiter`, and whether some names are never split.
    pub fn delimiters(&self) -> (&str, bool) {
        (&self.delimiter, self.special)
    }

    /// Whether a table may name an address of this domain by its local part alone.
    pub fn is_own(&self, domain: &str, mydestination: &StringList) -> Result<bool, TableError> {
        Ok(domain.eq_ignore_ascii_case(&self.origin) || self.is_local(domain, mydestination)?)
    }

    /// Completes an address without asking where it leads.
    pub fn complete(&self, text: &str) -> Address {
        let address = self.completion.complete(&Address::from_internal(text), &self.origin, &self.domain);
        match address.domain() {
            Some(_) => address,
            None => Address::new(address.local(), Some(&self.hostname)),
        }
    }

    /// Completes an address, takes routing operators for this host out of it, and says whether
    /// `transport` would get it.
    pub fn find(&self, text: &str, lookups: &Lookups, transport: &str) -> Result<Found, TableError> {
        let nobody = self.params.empty_address_recipient();
        let mut address = match text {
            "" => Address::new(nobody, Some(&self.hostname)),
            text => self.complete(text),
        };
        let written = address.clone();
        // Each step takes an operator away; the limit is for the reader's peace.
        for _ in 0..100 {
            let (user, domain) = (address.local(), address.domain().unwrap_or_default());
            if domain.is_empty() && !user.contains('@') {
                break;
            }
            if !domain.is_empty() && !self.is_local(domain, &lookups.mydestination)? {
                let plain = domain.strip_suffix('.').unwrap_or(domain);
                let possible = is_address_literal(domain) || is_host_name(plain, true);
                // The routing to another host is that host's business.
                return Ok(if possible { Found::Elsewhere(written) } else { Found::Bad(written.internal()) });
            }
            let inner = if !self.params.resolve_dequoted_address() {
                None
            } else if user.contains('@') {
                Some(Address::from_internal(user))
            } else if *self.params.swap_bangpath() && user.contains('!') {
                user.split_once('!').map(|(site, user)| Address::new(user, Some(site)))
            } else if *self.params.allow_percent_hack() && user.contains('%') {
                user.rsplit_once('%').map(|(user, site)| Address::new(user, Some(site)))
            } else {
                None
            };
            if let Some(inner) = inner {
                address = self.completion.complete(&inner, &self.origin, &self.domain);
                continue;
            }
            let user = if user.is_empty() { nobody } else { user };
            let address = Address::new(user, Some(domain));
            let (bare, _) = split_extension(user, &self.delimiter, self.special);
            let parents = self.params.parent_domain_matches_subdomains().0.iter();
            let parents = parents.into_iter().any(|list| list == "transport_maps");
            let ours = lookups.transport_of(&address, bare, parents)? == transport;
            return Ok(if ours { Found::Ours(address) } else { Found::Elsewhere(address) });
        }
        Ok(Found::Bad(written.internal()))
    }

    /// Whether mail for a domain ends on this host.
    fn is_local(&self, domain: &str, mydestination: &StringList) -> Result<bool, TableError> {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if mydestination.matches(domain)?.is_some() {
            return Ok(true);
        }
        let Some(address) = literal(domain) else { return Ok(false) };
        let same = |text: &String| literal(&format!("[{}]", text.trim_matches(['[', ']']))) == Some(address);
        let named = |name: &str| self.interfaces.iter().any(|i| i == name);
        Ok(self.interfaces.iter().any(same)
            || self.params.proxy_interfaces().0.iter().any(same)
            || (named("loopback-only") && address.is_loopback())
            || (named("all")
                && sys::listen::own_addresses().is_ok_and(|own| own.iter().any(|o| o.address == address))))
    }
}

/// The address in a literal. RFC 5321 4.1.3
fn literal(domain: &str) -> Option<IpAddr> {
    let text = domain.strip_prefix('[')?.strip_suffix(']')?;
    let text = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => text.get(5..)?,
        _ => text,
    };
    text.parse::<IpAddr>().ok().map(|a| a.to_canonical())
}
