//! The tables of one parameter, asked in order.

use crate::{AddressSearch, Hit, Owner, Table, TableError, Types, split_list};
use std::sync::Arc;

/// What a table answered, and which one.
type Answer<'a> = Option<(Hit, &'a Arc<dyn Table>)>;

/// An ordered list of tables, as in `virtual_alias_maps = hash:/a, regexp:/b`.
#[derive(Clone)]
pub struct Maps {
    parameter: Arc<str>,
    tables: Vec<Arc<dyn Table>>,
}

impl Maps {
    /// Opens the tables named in `text`, the expanded value of `parameter`. A table that cannot be
    /// opened becomes an error of each lookup that reaches it, and a notice.
    pub fn open(types: &Types, parameter: &str, text: &str) -> Maps {
        Maps::of(types, parameter, &split_list(text))
    }

    /// The same from the elements of the list.
    pub fn of<S: AsRef<str>>(types: &Types, parameter: &str, elements: &[S]) -> Maps {
        let tables = elements.iter().map(|e| types.open_or_broken(e.as_ref())).collect();
        Maps { parameter: parameter.into(), tables }
    }

    /// The parameter that names them.
    pub fn parameter(&self) -> &str {
        &self.parameter
    }

    /// True when the parameter names no table.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The tables in order.
    pub fn tables(&self) -> &[Arc<dyn Table>] {
        &self.tables
    }

    /// Asks every table for `key`, a whole key: full address, full host name.
    pub fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        self.ask(key, false).map(|found| found.map(|(hit, _)| hit))
    }

    /// Asks for a part of a key, which tables of patterns do not see.
    pub fn lookup_part(&self, key: &str) -> Result<Option<Hit>, TableError> {
        self.ask(key, true).map(|found| found.map(|(hit, _)| hit))
    }

    /// As `lookup`, with the owner of the table that answered.
    pub fn lookup_with_owner(&self, key: &str, part: bool) -> Result<Option<(Hit, Owner)>, TableError> {
        Ok(self.ask(key, part)?.map(|(hit, table)| (hit, table.owner())))
    }

    fn ask(&self, key: &str, part: bool) -> Result<Answer<'_>, TableError> {
        // An empty key is an error of some types and never a row.
        if key.is_empty() {
            return Ok(None);
        }
        for table in self.tables.iter().filter(|t| !part || !t.whole_key_only()) {
            if let Some(hit) = table.lookup(key)? {
                if hit.value.is_empty() {
                    let what = format!("lookup of {key} returns an empty string result");
                    let remedy = "it should have no row for what it does not know; give the row a value";
                    return Err(TableError::new(table.name(), what, remedy));
                }
                return Ok(Some((hit, table)));
            }
        }
        Ok(None)
    }

    /// Asks for a domain, then for its parents: `parent.name` when `parents_match` (the parameter's
    /// feature stands in `parent_domain_matches_subdomains`), else `.parent.name`.
    pub fn lookup_domain(&self, domain: &str, parents_match: bool) -> Result<Option<Hit>, TableError> {
        if let Some(hit) = self.lookup(domain)? {
            return Ok(Some(hit));
        }
        for parent in parent_domains(domain, parents_match) {
            if let Some(hit) = self.lookup_part(parent)? {
                return Ok(Some(hit));
            }
        }
        Ok(None)
    }

    /// Asks for an address in the order of virtual(5), canonical(5) and so on, see
    /// [`AddressSearch`]. Gives the extension that the key left out, too.
    pub fn lookup_address(
        &self,
        local: &str,
        domain: Option<&str>,
        search: &AddressSearch,
    ) -> Result<Option<(Hit, Option<String>)>, TableError> {
        search.run(self, local, domain)
    }

    /// Reads changed files again at once.
    pub fn refresh(&self) {
        self.tables.iter().for_each(|t| t.refresh());
    }
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.tables.iter().map(|t| t.name()).collect();
        write!(f, "{} = {}", self.parameter, names.join(", "))
    }
}

/// The parents of a domain, nearest first; each with its dot unless `parents_match`.
pub fn parent_domains(domain: &str, parents_match: bool) -> impl Iterator<Item = &str> {
    // An address literal has no parents.
    let domain = if domain.starts_with('[') { "" } else { domain };
    let dots = domain.char_indices().skip(1).filter(|(_, c)| *c == '.');
    dots.filter_map(move |(at, _)| domain.get(if parents_match { at + 1 } else { at }..))
        .filter(|p| !p.is_empty() && *p != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_errors_and_empty_values() {
        let types = Types::builder().build();
        let get = |text: &str| Maps::open(&types, "x_maps", text).lookup("k").map(|h| h.map(|h| h.value));
        assert_eq!(get("inline:{q=1}, inline:{k=2}, static:3"), Ok(Some("2".into())));
        assert_eq!(get(""), Ok(None));
        assert!(get("inline:{k=}, static:1").unwrap_err().what.contains("empty string result"));
        assert!(get("fail:x, static:1").is_err());
        assert_eq!(get("static:1, fail:x"), Ok(Some("1".into())));
        assert!(get("nosuch:x").is_err());
    }

    #[test]
    fn domains_and_their_parents() {
        let types = Types::builder().build();
        let maps = Maps::open(&types, "x", "inline:{example.org=1, .example.net=2}");
        let get = |d, p| maps.lookup_domain(d, p).unwrap().map(|h| h.value);
        assert_eq!(get("mx.example.org", true).as_deref(), Some("1"));
        assert_eq!(get("mx.example.org", false), None);
        assert_eq!(get("a.b.Example.NET", false).as_deref(), Some("2"));
        assert_eq!(get("example.net", false), None);
        let parents: Vec<_> = parent_domains(".a.b.", true).collect();
        assert_eq!(parents, ["b."]);
    }
}
