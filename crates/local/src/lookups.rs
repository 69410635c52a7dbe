//! The tables of local delivery. Only types that answer at once and that root may read; patterns
//! of pcre and remote tables are unknown to the program that links this crate.

use crate::answer::{Tell, say};
use crate::events::TableTrouble;
use config::Config;
use config::params::local::Local;
use tables::matchlist::StringList;
use tables::{Hit, Maps, Owner, TableError, Types};

/// The tables, opened.
pub(crate) struct Lookups {
    pub alias: Maps,
    pub mailbox_transport: Maps,
    pub mailbox_command: Maps,
    pub fallback_transport: Maps,
    transport: Maps,
    mydestination: StringList,
    local_transport: String,
    delimiter: String,
}

impl Lookups {
    /// Opens what the parameters name. What cannot be opened fails when it is asked.
    pub fn open(config: &Config, params: &Local) -> Lookups {
        let types = Types::for_config(config).build();
        // A stranger's address never becomes part of a command or of the name of a file.
        let strict = Types::for_config(config).without_substitution().build();
        let text = |name: &str| config.get(name).unwrap_or_default();
        let of = |name: &str, list: &config::value::List| Maps::of(&types, name, &list.0);
        let mydestination = tables::split_list(&text("mydestination"));
        Lookups {
            alias: Maps::of(&strict, "alias_maps", &params.alias_maps().0),
            mailbox_transport: of("mailbox_transport_maps", params.mailbox_transport_maps()),
            mailbox_command: Maps::of(&strict, "mailbox_command_maps", &params.mailbox_command_maps().0),
            fallback_transport: of("fallback_transport_maps", params.fallback_transport_maps()),
            transport: Maps::open(&types, "transport_maps", &text("transport_maps")),
            mydestination: StringList::open(&types, "mydestination", &mydestination),
            local_transport: text("local_transport"),
            delimiter: text("recipient_delimiter"),
        }
    }

    /// The row of an alias, and who may have written it.
    pub fn alias(&self, name: &str, part: bool) -> Result<Option<(Hit, Owner)>, TableError> {
        self.alias.lookup_with_owner(name, part)
    }

    /// Whether mail for an address comes back to this very transport, so that it can be delivered
    /// at once. "No" is always safe: the mail is then sent on and routed anew.
    pub fn is_ours(&self, user: &str, domain: &str, transport: &str, tell: &dyn Tell) -> bool {
        self.try_is_ours(user, domain, transport).unwrap_or_else(|e| {
            say(tell, &TableTrouble { what: e.to_string() });
            false
        })
    }

    fn try_is_ours(&self, user: &str, domain: &str, transport: &str) -> Result<bool, TableError> {
        let own = self.local_transport.split(':').next().unwrap_or_default().trim();
        if own != transport || self.mydestination.matches(domain)?.is_none() {
            return Ok(false);
        }
        if self.transport.is_empty() {
            return Ok(true);
        }
        let (bare, _) = split_extension(user, &self.delimiter, true);
        let address = format!("{user}@{domain}").to_lowercase();
        let keys = [format!("{bare}@{domain}").to_lowercase(), domain.to_lowercase(), "*".into()];
        if self.transport.lookup(&address)?.is_some() {
            return Ok(false);
        }
        for key in keys {
            if self.transport.lookup_part(&key)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The bare name and the extension behind the first delimiter. Names that the mail system needs
/// are never split; with `-` as delimiter neither are `owner-…` and `…-request`.
pub(crate) fn split_extension<'a>(
    local: &'a str,
    delimiters: &str,
    special: bool,
) -> (&'a str, Option<&'a str>) {
    let whole = |name: &str| local.eq_ignore_ascii_case(name);
    if whole("mailer-daemon") || whole("double-bounce") {
        return (local, None);
    }
    if special && delimiters.contains('-') {
        let lower = local.to_ascii_lowercase();
        if lower.starts_with("owner-") || lower.ends_with("-request") {
            return (local, None);
        }
    }
    match local.char_indices().find(|(_, c)| delimiters.contains(*c)) {
        Some((at, c)) if at > 0 => {
            let (user, rest) = local.split_at(at);
            (user, rest.get(c.len_utf8()..).filter(|e| !e.is_empty()))
        }
        _ => (local, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions() {
        for (local, delimiters, user, extension) in [
            ("jose+x", "+", "jose", Some("x")),
            ("jose+x+y", "+", "jose", Some("x+y")),
            ("jose-x+y", "+-", "jose", Some("x+y")),
            ("jose", "+", "jose", None),
            ("jose+", "+", "jose", None),
            ("+x", "+", "+x", None),
            ("owner-list", "-", "owner-list", None),
            ("list-request", "-", "list-request", None),
            ("MAILER-DAEMON", "-", "MAILER-DAEMON", None),
            ("jose+x", "", "jose+x", None),
        ] {
            assert_eq!(split_extension(local, delimiters, true), (user, extension), "{local}");
        }
        assert_eq!(split_extension("owner-list", "-", false), ("owner", Some("list")));
    }
}
