//! Which of the five address classes a domain belongs to. ADDRESS_CLASS_README

use crate::reason::Reason;
use config::params::main::Main;
use config::params::rewrite::Rewrite;
use std::net::IpAddr;
use tables::matchlist::{DomainList, StringList};
use tables::{TableError, Types};

/// The class of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `mydestination`, or an address of this host.
    Local,
    /// `virtual_alias_domains`.
    VirtualAlias,
    /// `virtual_mailbox_domains`.
    VirtualMailbox,
    /// `relay_domains`.
    Relay,
    /// Everything else.
    Default,
}

/// The lists that tell classes apart.
pub struct Classes {
    mydestination: StringList,
    virtual_alias: StringList,
    virtual_mailbox: StringList,
    relay: DomainList,
    flush: DomainList,
    own: Vec<IpAddr>,
    proxies: Vec<IpAddr>,
}

impl Classes {
    /// `own`: the addresses of `inet_interfaces`.
    pub fn open(types: &Types, main: &Main, rewrite: &Rewrite, own: &[IpAddr]) -> Classes {
        let strings = |name: &str, list: &config::value::List| StringList::open(types, name, &list.0);
        let domains = |name: &str, list: &config::value::List| {
            let parents = rewrite.parent_domain_matches_subdomains().0.iter().any(|l| l == name);
            DomainList::open(types, name, &list.0, parents)
        };
        let proxies = rewrite.proxy_interfaces().0.iter();
        Classes {
            mydestination: strings("mydestination", main.mydestination()),
            virtual_alias: strings("virtual_alias_domains", rewrite.virtual_alias_domains()),
            virtual_mailbox: strings("virtual_mailbox_domains", rewrite.virtual_mailbox_domains()),
            relay: domains("relay_domains", rewrite.relay_domains()),
            flush: domains("fast_flush_domains", rewrite.fast_flush_domains()),
            own: own.to_vec(),
            proxies: proxies.filter_map(|p| tables::net::address_of(p)).collect(),
        }
    }

    /// Whether mail for `domain` ends on this host as local mail.
    pub fn local(&self, domain: &str) -> Result<Option<Reason>, TableError> {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if let Some(matched) = self.mydestination.matches(domain)? {
            return Ok(Some(Reason::matched(&matched)));
        }
        let Some(literal) = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')) else {
            return Ok(None);
        };
        let text = match literal.get(..5) {
            Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => literal.get(5..).unwrap_or_default(),
            _ => literal,
        };
        let Ok(address) = text.parse::<IpAddr>() else { return Ok(None) };
        let address = address.to_canonical();
        let listed = |list: &[IpAddr], name| list.contains(&address).then(|| Reason::value(name, literal));
        Ok(listed(&self.own, "inet_interfaces").or_else(|| listed(&self.proxies, "proxy_interfaces")))
    }

    /// Whether anybody may have mail that waits for `domain` tried again (`fast_flush_domains`).
    pub fn flushable(&self, domain: &str) -> Result<bool, TableError> {
        Ok(self.flush.matches(domain)?.is_some())
    }

    /// The class of `domain`, and which list said so.
    pub fn of(&self, domain: &str) -> Result<(Class, Option<Reason>), TableError> {
        if let Some(reason) = self.local(domain)? {
            return Ok((Class::Local, Some(reason)));
        }
        for (class, list) in
            [(Class::VirtualAlias, &self.virtual_alias), (Class::VirtualMailbox, &self.virtual_mailbox)]
        {
            if let Some(matched) = list.matches(domain)? {
                return Ok((class, Some(Reason::matched(&matched))));
            }
        }
        if let Some(matched) = self.relay.matches(domain)? {
            return Ok((Class::Relay, Some(Reason::matched(&matched))));
        }
        Ok((Class::Default, None))
    }
}
