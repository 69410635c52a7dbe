//! The order in which an address is looked up, as virtual(5), canonical(5) and others have it:
//! the whole address, without its extension, the local part where the domain is this host's own,
//! and `@domain`.

use crate::{Hit, Maps, TableError};

/// Splits a local part at the recipient delimiter into user and extension (with the delimiter).
pub type Split<'a> = &'a dyn Fn(&str) -> Option<(String, String)>;
/// Whether a domain is this host's own.
pub type IsLocal<'a> = &'a dyn Fn(&str) -> Result<bool, TableError>;

/// What a search needs to know about addresses; `rewrite` provides it.
pub struct AddressSearch<'a> {
    /// See [`Split`].
    pub split: Split<'a>,
    /// See [`IsLocal`].
    pub is_local: IsLocal<'a>,
    /// Quotes a local part where RFC 5321 asks for it: tables are written so, and asked so first.
    pub quote: &'a dyn Fn(&str) -> String,
    /// Ask for the local part alone. False for `transport_maps`, which has no such form.
    pub local_part: bool,
    /// Ask for `@domain`.
    pub at_domain: bool,
}

impl AddressSearch<'_> {
    pub(crate) fn run(
        &self,
        maps: &Maps,
        local: &str,
        domain: Option<&str>,
    ) -> Result<Option<(Hit, Option<String>)>, TableError> {
        if maps.is_empty() {
            return Ok(None);
        }
        let quoted = (self.quote)(local);
        let joined = |l: &str| domain.map_or(l.to_string(), |d| format!("{l}@{d}"));
        let plain = (quoted != local).then(|| joined(local));
        for key in [Some(joined(&quoted)), plain].into_iter().flatten() {
            if let Some(hit) = maps.lookup(&key)? {
                return Ok(Some((hit, None)));
            }
        }
        let split = (self.split)(local);
        let part = |local: &str, with_domain: bool| -> Result<Option<Hit>, TableError> {
            let quoted = (self.quote)(local);
            let form = |l: &str| if with_domain { joined(l) } else { l.to_string() };
            match maps.lookup_part(&form(&quoted))? {
                None if quoted != local => maps.lookup_part(&form(local)),
                found => Ok(found),
            }
        };
        if let Some((user, extension)) = &split
            && let Some(hit) = part(user, true)?
        {
            return Ok(Some((hit, Some(extension.clone()))));
        }
        let Some(domain) = domain else { return Ok(None) };
        if self.local_part && (self.is_local)(domain)? {
            if let Some(hit) = part(local, false)? {
                return Ok(Some((hit, None)));
            }
            if let Some((user, extension)) = &split
                && let Some(hit) = part(user, false)?
            {
                return Ok(Some((hit, Some(extension.clone()))));
            }
        }
        if self.at_domain
            && let Some(hit) = maps.lookup_part(&format!("@{domain}"))?
        {
            return Ok(Some((hit, None)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Types;

    #[test]
    fn the_order_of_virtual_5() {
        let types = Types::builder().build();
        let search = AddressSearch {
            split: &|l| l.split_once('+').map(|(u, e)| (u.to_string(), format!("+{e}"))),
            is_local: &|d| Ok(d == "here"),
            quote: &|l| if l.contains(' ') { format!("\"{l}\"") } else { l.to_string() },
            local_part: true,
            at_domain: true,
        };
        let rows = "u+x@here=full, u@here=bare, v+x=lpx, w=lp, @here=at, {\"a b\"@here = quoted}";
        let maps = Maps::open(&types, "m", &format!("inline:{{{rows}}}"));
        for (local, domain, value, extension) in [
            ("u+x", Some("here"), Some("full"), None),
            ("u+y", Some("here"), Some("bare"), Some("+y")),
            ("v+x", Some("here"), Some("lpx"), None),
            ("w+x", Some("here"), Some("lp"), Some("+x")),
            ("w", Some("there"), None, None),
            ("w", None, Some("lp"), None),
            ("w+z", None, Some("lp"), Some("+z")),
            ("q+z", Some("here"), Some("at"), None),
            ("a b", Some("here"), Some("quoted"), None),
        ] {
            let found = maps.lookup_address(local, domain, &search).unwrap();
            let found = found.as_ref().map(|(h, e)| (h.value.as_str(), e.as_deref()));
            assert_eq!(found, value.map(|v| (v, extension)), "{local} {domain:?}");
        }
        // Tables of patterns see the whole address only.
        let maps = Maps::open(&types, "m", "randmap:{a}, fail:x");
        assert_eq!(maps.lookup_address("w+z", None, &search).unwrap().unwrap().1, None);
    }
}
