//! The tables of local delivery. Only types that answer at once and that root may read; patterns
//! of pcre and remote tables are unknown to the program that links this crate.

use crate::kept::Kept;
use config::Config;
use config::params::local::Local;
use proto::Address;
use tables::matchlist::StringList;
use tables::{Hit, Maps, Owner, TableError};

/// The tables, opened.
pub(crate) struct Lookups {
    pub alias: Maps,
    pub mailbox_transport: Maps,
    pub mailbox_command: Maps,
    pub fallback_transport: Maps,
    transport: Maps,
    pub mydestination: StringList,
    local_transport: String,
}

/// The names of the tables, as the parameters have them.
pub(crate) struct Named {
    alias: Vec<String>,
    mailbox_transport: Vec<String>,
    mailbox_command: Vec<String>,
    fallback_transport: Vec<String>,
    transport: String,
    mydestination: Vec<String>,
    local_transport: String,
}

impl Named {
    pub fn of(config: &Config, params: &Local) -> Named {
        let text = |name: &str| config.get(name).unwrap_or_default();
        Named {
            alias: params.alias_maps().0.clone(),
            mailbox_transport: params.mailbox_transport_maps().0.clone(),
            mailbox_command: params.mailbox_command_maps().0.clone(),
            fallback_transport: params.fallback_transport_maps().0.clone(),
            transport: text("transport_maps"),
            mydestination: tables::split_list(&text("mydestination")),
            local_transport: text("local_transport"),
        }
    }
}

impl Lookups {
    /// Opens what the parameters name. What cannot be opened fails when it is asked.
    pub fn open(named: &Named, kept: &Kept) -> Lookups {
        // A stranger's address never becomes part of a command or of the name of a file: `strict`.
        let Kept { plain: types, strict, .. } = kept;
        Lookups {
            alias: Maps::of(strict, "alias_maps", &named.alias),
            mailbox_transport: Maps::of(types, "mailbox_transport_maps", &named.mailbox_transport),
            mailbox_command: Maps::of(strict, "mailbox_command_maps", &named.mailbox_command),
            fallback_transport: Maps::of(types, "fallback_transport_maps", &named.fallback_transport),
            transport: Maps::open(types, "transport_maps", &named.transport),
            mydestination: StringList::open(types, "mydestination", &named.mydestination),
            local_transport: named.local_transport.clone(),
        }
    }

    /// The row of an alias, and who may have written it.
    pub fn alias(&self, name: &str, part: bool) -> Result<Option<(Hit, Owner)>, TableError> {
        self.alias.lookup_with_owner(name, part)
    }

    /// The transport of a local address whose name without extension is `bare`. transport(5)
    pub fn transport_of(&self, address: &Address, bare: &str, parents: bool) -> Result<String, TableError> {
        let domain = address.domain().unwrap_or_default().to_lowercase();
        let row = match self.transport.is_empty() {
            true => None,
            false => {
                self.transport_row(&address.internal(), &format!("{bare}@{domain}"), &domain, parents)?
            }
        };
        let name = |value: &str| value.split(':').next().unwrap_or_default().trim().to_string();
        Ok(row.map(|v| name(&v)).filter(|v| !v.is_empty()).unwrap_or_else(|| name(&self.local_transport)))
    }

    fn transport_row(
        &self,
        whole: &str,
        bare: &str,
        domain: &str,
        parents: bool,
    ) -> Result<Option<String>, TableError> {
        if let Some(hit) = self.transport.lookup(&whole.to_lowercase())? {
            return Ok(Some(hit.value));
        }
        let keys = [bare, domain].into_iter().chain(tables::parent_domains(domain, parents)).chain(["*"]);
        for key in keys {
            if let Some(hit) = self.transport.lookup_part(&key.to_lowercase())? {
                return Ok(Some(hit.value));
            }
        }
        Ok(None)
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
