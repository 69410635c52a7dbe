//! Whether an address exists here, as far as tables tell. smtpd(8) reject_unlisted_recipient

use crate::Rewriter;
use crate::class::Class;
use crate::transport::Resolved;
use proto::Address;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existence {
    /// A table knows it, or nobody can tell.
    Possible,
    /// It does not exist.
    Unknown(Unknown),
    /// It goes to the `error` transport, whose next hop says why: an enhanced code may precede.
    Refused(String),
    /// The same with the `retry` transport: it is to be tried later.
    Deferred(String),
}

/// An address that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Not in `local_recipient_maps`.
    Local,
    /// Not in `virtual_alias_maps`.
    VirtualAlias,
    /// Not in `virtual_mailbox_maps`.
    VirtualMailbox,
    /// Not in `relay_recipient_maps`.
    Relay,
}

impl Unknown {
    /// The table as Postfix's replies name it.
    pub fn table(self) -> &'static str {
        match self {
            Unknown::Local => "local recipient table",
            Unknown::VirtualAlias => "virtual alias table",
            Unknown::VirtualMailbox => "virtual mailbox table",
            Unknown::Relay => "relay recipient table",
        }
    }
}

impl Rewriter {
    /// Whether a resolved recipient (or sender) exists. `Err`: a table could not answer.
    pub fn exists(&self, resolved: &Resolved) -> Result<Existence, String> {
        let address = &resolved.recipient;
        for maps in [&self.maps.recipient_canonical, &self.maps.canonical, &self.maps.virtual_alias] {
            if self.find(maps, address, true)?.is_some() {
                return Ok(Existence::Possible);
            }
        }
        let moved = resolved.reasons.iter().any(|r| r.parameter == "relocated_maps");
        match resolved.transport.as_str() {
            _ if resolved.class == Class::VirtualAlias && !moved => {}
            "error" => return Ok(Existence::Refused(resolved.nexthop.clone())),
            "retry" => return Ok(Existence::Deferred(resolved.nexthop.clone())),
            _ => {}
        }
        let (maps, unknown) = match resolved.class {
            Class::Local if self.mail_system_itself(address) => return Ok(Existence::Possible),
            Class::Local => (&self.maps.local_recipient, Unknown::Local),
            Class::VirtualAlias => return Ok(Existence::Unknown(Unknown::VirtualAlias)),
            Class::VirtualMailbox => (&self.maps.virtual_mailbox, Unknown::VirtualMailbox),
            Class::Relay => (&self.maps.relay_recipient, Unknown::Relay),
            Class::Default => return Ok(Existence::Possible),
        };
        if maps.is_empty() || self.find(maps, address, true)?.is_some() {
            return Ok(Existence::Possible);
        }
        Ok(Existence::Unknown(unknown))
    }

    /// Names that always exist: the postmaster, and what notices come from. RFC 5321 4.5.1
    fn mail_system_itself(&self, address: &Address) -> bool {
        let names = ["postmaster", "mailer-daemon", self.double_bounce.as_str()];
        names.iter().any(|n| n.eq_ignore_ascii_case(address.local()))
    }
}
