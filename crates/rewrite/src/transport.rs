//! Where a recipient goes: transport, next hop, and why. trivial-rewrite(8), transport(5)

use crate::Rewriter;
use crate::class::Class;
use crate::reason::Reason;
use proto::Address;
use std::borrow::Cow;
use tables::{TableError, parent_domains};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// A service of master.cf.
    pub transport: String,
    /// What the transport gets as its next hop.
    pub nexthop: String,
    /// The recipient, without routing operators.
    pub recipient: Address,
    /// Its class.
    pub class: Class,
    /// The local part that is left still has a routing operator (`@`, `%`, `!`), which the next host
    /// might follow: no restriction may take such an address for one of ours, whatever its domain.
    pub routed: bool,
    /// No mail can have this address; the text says why.
    pub bad: Option<String>,
    /// Which parameters, elements and rows decided, in that order.
    pub reasons: Vec<Reason>,
}

impl Rewriter {
    /// Resolves a recipient. The sender matters for sender-dependent routing only. `Err`: a table
    /// could not answer; try again later.
    pub fn resolve(&self, recipient: &Address, sender: &Address) -> Result<Resolved, TableError> {
        let (recipient, broken, local) = self.unroute(recipient)?;
        // Postfix sets its flag whatever allow_percent_hack and swap_bangpath say: others may obey them.
        let routed = recipient.local().contains(['@', '%', '!']);
        let p = &self.params;
        let mut reasons = Vec::new();
        let domain = recipient.domain().unwrap_or_default();
        // No table need be asked about what no mail can have.
        let broken = broken || local.is_none() && !plausible(domain);
        if broken {
            let bad = Some("bad address syntax".to_string());
            let (transport, nexthop) = ("error".to_string(), "5.1.3 bad address syntax".to_string());
            let class = if local.is_some() { Class::Local } else { Class::Default };
            return Ok(Resolved { transport, nexthop, recipient, class, routed, bad, reasons });
        }
        let class = match local {
            Some(reason) => {
                reasons.extend(reason);
                Class::Local
            }
            None => {
                let (class, reason) = self.classes.of(domain)?;
                reasons.extend(reason);
                class
            }
        };
        let (parameter, value): (_, Cow<'_, str>) = match class {
            Class::Local => ("local_transport", p.local_transport().into()),
            Class::VirtualAlias => {
                let table = if self.show_table { " in virtual alias table" } else { "" };
                ("virtual_alias_domains", format!("error:5.1.1 User unknown{table}").into())
            }
            Class::VirtualMailbox => ("virtual_transport", p.virtual_transport().into()),
            Class::Relay => ("relay_transport", p.relay_transport().into()),
            Class::Default => {
                let key = p.empty_address_default_transport_maps_lookup_key();
                match self.by_sender(&self.maps.sender_transport, sender, key)? {
                    Some(hit) if !hit.value.eq_ignore_ascii_case("DUNNO") => {
                        reasons.push(Reason::hit("sender_dependent_default_transport_maps", &hit));
                        ("", hit.value.into())
                    }
                    _ => ("default_transport", p.default_transport().into()),
                }
            }
        };
        if !parameter.is_empty() {
            reasons.push(Reason::value(parameter, &value));
        }
        let (transport, given) = value.split_once(':').unwrap_or((&value, ""));
        if transport.is_empty() {
            let parameter =
                if parameter.is_empty() { "sender_dependent_default_transport_maps" } else { parameter };
            let what = format!("null transport is not allowed: {value}");
            return Err(TableError::new(parameter, what, "write a service of master.cf before the colon"));
        }
        let mut transport = transport.to_string();
        let mut nexthop = given.to_string();
        if nexthop.is_empty() {
            nexthop = match class {
                Class::Relay | Class::Default => {
                    let key = p.empty_address_relayhost_maps_lookup_key();
                    match self.by_sender(&self.maps.sender_relayhost, sender, key)? {
                        Some(hit) if !hit.value.eq_ignore_ascii_case("DUNNO") => {
                            reasons.push(Reason::hit("sender_dependent_relayhost_maps", &hit));
                            hit.value
                        }
                        _ if !p.relayhost().is_empty() => {
                            reasons.push(Reason::value("relayhost", p.relayhost()));
                            p.relayhost().clone()
                        }
                        _ => domain.to_string(),
                    }
                }
                Class::Local | Class::VirtualAlias | Class::VirtualMailbox => domain.to_string(),
            };
        }
        if class != Class::VirtualAlias
            && let Some(hit) = self.transport_row(&recipient, domain)?
        {
            let (t, n) = hit.value.split_once(':').unwrap_or((&hit.value, ""));
            match (t, n) {
                ("", "") => {}
                ("", hop) => nexthop = hop.to_string(),
                (name, hop) => {
                    transport = name.to_string();
                    nexthop = match (name, hop) {
                        // What smtpd and a notice then say.
                        ("error" | "retry", "") => "Address is undeliverable".to_string(),
                        (_, "") => domain.to_string(),
                        (_, hop) => hop.to_string(),
                    };
                }
            }
            reasons.push(Reason::hit("transport_maps", &hit));
        }
        // Whoever has moved is not here, whatever the class and the transport.
        if let Some(hit) = self.relocated(&recipient)? {
            transport = "error".to_string();
            nexthop = format!("5.1.6 User has moved to {}", hit.value);
            reasons.push(Reason::hit("relocated_maps", &hit));
        }
        // A name that a command could take for an option.
        let option = recipient.local().starts_with('-') && !*self.params.allow_min_user();
        let bad = option.then(|| "bad address syntax".to_string());
        Ok(Resolved { transport, nexthop, recipient, class, routed, bad, reasons })
    }

    /// Whether mail for `domain` is this host's own or relayed by permission: the relay rule asks.
    pub fn class_of(&self, domain: &str) -> Result<(Class, Option<Reason>), TableError> {
        self.classes.of(domain)
    }

    /// Completes the recipient and takes routing operators out of addresses of this host, such as
    /// `user%elsewhere@here`. The second part says that what is left is no address; the last part is
    /// `Some` when the rest is local.
    #[allow(clippy::type_complexity)]
    fn unroute(&self, recipient: &Address) -> Result<(Address, bool, Option<Option<Reason>>), TableError> {
        let mut address = self.literal(self.named(self.complete_local(recipient)));
        // Where a route leads to no domain at all: `user%@here`.
        let mut outer = Cow::from(&self.hostname);
        // Each step takes an operator away, so this ends; the limit is for the reader's peace.
        for _ in 0..100 {
            let domain = address.domain().unwrap_or_default();
            if domain.is_empty() && *self.params.resolve_null_domain() {
                address = Address::new(address.local(), Some(&*outer));
                continue;
            }
            if domain.is_empty() {
                return Ok((address, true, Some(None)));
            }
            let Some(reason) = self.classes.local(domain)? else { return Ok((address, false, None)) };
            let inner = address.local();
            outer = domain.to_string().into();
            // Quoted, because it cannot be written without: it is one name then, whatever is in it.
            let one_name = !self.params.resolve_dequoted_address()
                && Address::new(inner, None::<String>).to_string().starts_with('"');
            let next = if one_name {
                None
            } else if inner.contains('@') {
                Some(Address::from_internal(inner))
            } else if *self.params.swap_bangpath() && inner.contains('!') {
                inner.split_once('!').map(|(site, user)| Address::new(user, Some(site)))
            } else if *self.params.allow_percent_hack() && inner.contains('%') {
                inner.rsplit_once('%').map(|(u, d)| Address::new(u, Some(d)))
            } else {
                None
            };
            match next {
                Some(next) => address = self.literal(self.named(self.complete_local(&next))),
                None => return Ok((address, false, Some(Some(reason)))),
            }
        }
        Ok((address, true, Some(None)))
    }

    /// `resolve_numeric_domain`: an address without brackets is one with them.
    fn literal(&self, address: Address) -> Address {
        let numeric = address.domain().filter(|d| d.parse::<std::net::IpAddr>().is_ok());
        match numeric.filter(|_| *self.params.resolve_numeric_domain()) {
            Some(domain) => Address::new(address.local(), Some(format!("[{domain}]"))),
            None => address,
        }
    }

    /// Mail to nobody at a domain goes to `empty_address_recipient` there; what still has no domain
    /// is of this host.
    fn named(&self, address: Address) -> Address {
        let local = match (address.local(), address.domain()) {
            (local, Some(_)) if !local.is_empty() => return address,
            ("", None) => self.params.empty_address_recipient().clone(),
            ("", Some(domain)) if self.classes.local(domain).is_ok_and(|l| l.is_some()) => {
                self.params.empty_address_recipient().clone()
            }
            (local, _) => local.to_string(),
        };
        Address::new(local, Some(address.domain().unwrap_or(&self.hostname)))
    }

    fn by_sender(
        &self,
        maps: &tables::Maps,
        sender: &Address,
        null: &str,
    ) -> Result<Option<tables::Hit>, TableError> {
        if maps.is_empty() {
            return Ok(None);
        }
        if sender.is_null() {
            return maps.lookup(null);
        }
        Ok(self.search(maps, sender, true)?.map(|(hit, _)| hit))
    }

    fn transport_row(&self, recipient: &Address, domain: &str) -> Result<Option<tables::Hit>, TableError> {
        let maps = &self.maps.transport;
        if maps.is_empty() {
            return Ok(None);
        }
        if let Some(hit) = maps.lookup(&recipient.internal())? {
            return Ok(Some(hit));
        }
        if let Some((name, _, _)) = self.delimiter.split(recipient.local())
            && let Some(hit) = maps.lookup_part(&format!("{name}@{domain}"))?
        {
            return Ok(Some(hit));
        }
        if let Some(hit) = maps.lookup_part(domain)? {
            return Ok(Some(hit));
        }
        let parents = self.parents_match("transport_maps");
        for parent in parent_domains(domain, parents) {
            if let Some(hit) = maps.lookup_part(parent)? {
                return Ok(Some(hit));
            }
        }
        maps.lookup_part("*")
    }
}

/// A domain that mail could be sent to: a literal, or labels without empty ones. RFC 5321 4.1.2
fn plausible(domain: &str) -> bool {
    if let Some(inner) = domain.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or_default();
        let v6 = inner.get(..5).filter(|t| t.eq_ignore_ascii_case("ipv6:")).and(inner.get(5..));
        return match v6 {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => inner.parse::<std::net::IpAddr>().is_ok(),
        };
    }
    let numeric = domain.split('.').all(|l| l.bytes().all(|b| b.is_ascii_digit()));
    !domain.is_empty()
        && !numeric
        && domain.len() <= 255
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii())
        })
}
