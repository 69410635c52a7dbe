//! Lists of hosts, domains, addresses and strings: `mydestination`, `mynetworks`, `relay_domains`.
//!
//! Elements: text, `.domain`, `!element`, `/file` (read in place), `type:table`, and in lists of
//! addresses `1.2.3.4`, `[::1]`, `net/bits`. The first that matches decides. What matched is a
//! value, so that a verdict can say why.

use crate::net::{Net, address_of};
use crate::{Hit, Table, TableError, Types, parent_domains, split_list};
use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// What made a list match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The parameter.
    pub parameter: Arc<str>,
    /// The element, as written.
    pub element: String,
    /// The file it was read from, with the line, when it does not stand in main.cf itself.
    pub file: Option<(Arc<str>, usize)>,
    /// The row, when the element is a table.
    pub hit: Option<Hit>,
}

enum Pattern {
    Text(String),
    Net(Net),
    Bad(String),
    Table(Arc<dyn Table>),
}

struct Element {
    negated: bool,
    text: String,
    file: Option<(Arc<str>, usize)>,
    pattern: Pattern,
}

/// The elements of a list; the typed lists below say how they match.
struct Elements {
    parameter: Arc<str>,
    all: Vec<Element>,
    problems: Vec<String>,
}

const DEPTH: usize = 20;

impl Elements {
    fn read(types: &Types, parameter: &str, elements: &[String], addresses: bool) -> Elements {
        let mut list = Elements { parameter: parameter.into(), all: Vec::new(), problems: Vec::new() };
        for element in elements {
            list.add(types, element, false, None, addresses, 0);
        }
        list
    }

    fn add(
        &mut self,
        types: &Types,
        text: &str,
        mut negated: bool,
        file: Option<(Arc<str>, usize)>,
        addresses: bool,
        depth: usize,
    ) {
        let mut body = text;
        while let Some(rest) = body.strip_prefix('!') {
            negated = !negated;
            body = rest.trim_start();
        }
        if body.is_empty() {
            self.problem(types, format!("no pattern after '!' in {text:?}"));
            return;
        }
        if body.starts_with('/') {
            return self.add_file(types, body, negated, addresses, depth);
        }
        let table = !body.starts_with('[')
            && body.split_once(':').is_some_and(|(kind, _)| !kind.is_empty())
            && !(addresses && Net::parse(body).is_ok());
        let pattern = if table {
            // A mistaken element such as `[::1` or `ff::z` is no table type: it says so itself.
            Pattern::Table(types.open_or_broken(body))
        } else if addresses && (body.contains('/') || body.contains(':')) {
            Net::parse(body).map_or_else(Pattern::Bad, Pattern::Net)
        } else if addresses && let Ok(net) = Net::parse(body) {
            Pattern::Net(net)
        } else {
            Pattern::Text(body.to_lowercase())
        };
        if let Pattern::Bad(what) = &pattern {
            let what = what.clone();
            self.problem(types, what);
        }
        self.all.push(Element { negated, text: text.to_string(), file, pattern });
    }

    fn add_file(&mut self, types: &Types, path: &str, negated: bool, addresses: bool, depth: usize) {
        let read = types.open_file(Path::new(path)).and_then(std::io::read_to_string);
        let text = match read {
            Ok(text) if depth < DEPTH => text,
            Ok(_) => {
                self.broken(types, path, "files name each other too deeply".into());
                return;
            }
            Err(e) => {
                self.broken(types, path, format!("open {path}: {}", crate::live::words(&e)));
                return;
            }
        };
        let name: Arc<str> = path.into();
        for (i, line) in text.lines().enumerate() {
            if line.trim_start().starts_with('#') {
                continue;
            }
            for element in split_list(line) {
                self.add(types, &element, negated, Some((name.clone(), i + 1)), addresses, depth + 1);
            }
        }
    }

    /// A file that cannot be read is an error of every question that reaches it.
    fn broken(&mut self, types: &Types, path: &str, what: String) {
        self.problem(types, what.clone());
        let pattern = Pattern::Bad(what);
        self.all.push(Element { negated: false, text: path.to_string(), file: None, pattern });
    }

    fn problem(&mut self, types: &Types, what: String) {
        let text = format!("parameter {}: {what}", self.parameter);
        types.notice(&self.parameter, true, text.clone());
        self.problems.push(text);
    }

    fn find(
        &self,
        matches: impl Fn(&Element) -> Result<Option<Option<Hit>>, TableError>,
    ) -> Result<Option<Matched>, TableError> {
        for element in &self.all {
            if let Pattern::Bad(what) = &element.pattern {
                let remedy = "correct this element of the list";
                return Err(TableError::new(&self.parameter, what.clone(), remedy));
            }
            if let Some(hit) = matches(element)? {
                return Ok((!element.negated).then(|| Matched {
                    parameter: self.parameter.clone(),
                    element: element.text.clone(),
                    file: element.file.clone(),
                    hit,
                }));
            }
        }
        Ok(None)
    }
}

/// In small letters, as nearly everything is anyway.
fn lower(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
        true => text.to_lowercase().into(),
        false => text.into(),
    }
}

fn host_matches(
    element: &Element,
    name: &str,
    parents_match: bool,
) -> Result<Option<Option<Hit>>, TableError> {
    match &element.pattern {
        Pattern::Table(table) => {
            if let Some(hit) = table.lookup(name)? {
                return Ok(Some(Some(hit)));
            }
            if !table.whole_key_only() {
                for parent in parent_domains(name, parents_match) {
                    if let Some(hit) = table.lookup(parent)? {
                        return Ok(Some(Some(hit)));
                    }
                }
            }
            Ok(None)
        }
        Pattern::Text(pattern) => {
            let below = |suffix: &str| {
                name.strip_suffix(suffix).is_some_and(|rest| match parents_match {
                    true => rest.ends_with('.'),
                    false => suffix.starts_with('.'),
                })
            };
            Ok((name == pattern || below(pattern)).then_some(None))
        }
        Pattern::Net(_) | Pattern::Bad(_) => Ok(None),
    }
}

/// A list of domain or host names.
pub struct DomainList {
    elements: Elements,
    parents_match: bool,
}

impl DomainList {
    /// `parents_match`: whether the parameter stands in `parent_domain_matches_subdomains`.
    pub fn open(types: &Types, parameter: &str, elements: &[String], parents_match: bool) -> DomainList {
        DomainList { elements: Elements::read(types, parameter, elements, false), parents_match }
    }

    /// The element that matches `name`, if one does.
    pub fn matches(&self, name: &str) -> Result<Option<Matched>, TableError> {
        let name = lower(name);
        self.elements.find(|e| host_matches(e, &name, self.parents_match))
    }

    /// Elements that cannot mean what they seem to.
    pub fn problems(&self) -> &[String] {
        &self.elements.problems
    }

    /// True when nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.elements.all.is_empty()
    }
}

/// A list of clients by address, address block, or name: `mynetworks` and its like.
pub struct AddressList {
    elements: Elements,
    parents_match: bool,
}

impl AddressList {
    /// See [`DomainList::open`].
    pub fn open(types: &Types, parameter: &str, elements: &[String], parents_match: bool) -> AddressList {
        AddressList { elements: Elements::read(types, parameter, elements, true), parents_match }
    }

    /// The element that matches the client. `name` is its verified name, or `unknown`.
    pub fn matches(&self, name: &str, address: IpAddr) -> Result<Option<Matched>, TableError> {
        let name = lower(name);
        let address = address.to_canonical();
        self.elements.find(|e| match &e.pattern {
            Pattern::Net(net) => Ok(net.contains(address).then_some(None)),
            Pattern::Table(table) => match host_matches(e, &name, self.parents_match)? {
                Some(hit) => Ok(Some(hit)),
                None => Ok(table.lookup(&address.to_string())?.map(Some)),
            },
            _ => host_matches(e, &name, self.parents_match),
        })
    }

    /// The same for an address as text; what is no address matches by name alone.
    pub fn matches_text(&self, name: &str, address: &str) -> Result<Option<Matched>, TableError> {
        match address_of(address) {
            Some(address) => self.matches(name, address),
            None => {
                let name = lower(name);
                self.elements.find(|e| host_matches(e, &name, self.parents_match))
            }
        }
    }

    /// The address blocks that are listed and not negated, with their elements.
    pub fn nets(&self) -> impl Iterator<Item = (&Net, &str)> {
        self.elements.all.iter().filter_map(|e| match &e.pattern {
            Pattern::Net(net) if !e.negated => Some((net, e.text.as_str())),
            _ => None,
        })
    }

    /// Elements that cannot mean what they seem to.
    pub fn problems(&self) -> &[String] {
        &self.elements.problems
    }

    /// True when nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.elements.all.is_empty()
    }
}

/// A list of words, compared without regard to case.
pub struct StringList {
    elements: Elements,
}

impl StringList {
    /// See [`DomainList::open`].
    pub fn open(types: &Types, parameter: &str, elements: &[String]) -> StringList {
        StringList { elements: Elements::read(types, parameter, elements, false) }
    }

    /// The element that matches `text`, if one does.
    pub fn matches(&self, text: &str) -> Result<Option<Matched>, TableError> {
        let text = lower(text);
        self.elements.find(|e| match &e.pattern {
            Pattern::Table(table) => Ok(table.lookup(&text)?.map(Some)),
            Pattern::Text(pattern) => Ok((pattern.as_str() == text).then_some(None)),
            _ => Ok(None),
        })
    }

    /// Elements that cannot mean what they seem to.
    pub fn problems(&self) -> &[String] {
        &self.elements.problems
    }

    /// True when nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.elements.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        split_list(text)
    }

    #[test]
    fn domains() {
        let types = Types::builder().build();
        for (text, name, parents, matched) in [
            ("example.org", "Example.ORG", false, true),
            ("example.org", "mx.example.org", false, false),
            ("example.org", "mx.example.org", true, true),
            ("example.org", "myexample.org", true, false),
            (".example.org", "mx.example.org", false, true),
            (".example.org", "example.org", false, false),
            ("!mx.example.org, .example.org", "mx.example.org", false, false),
            ("inline:{.example.org=1}", "mx.example.org", false, true),
            ("inline:{example.org=1}", "mx.example.org", true, true),
            ("static:all", "x", false, true),
            ("", "x", false, false),
        ] {
            let found = DomainList::open(&types, "p", &list(text), parents).matches(name).unwrap();
            assert_eq!(found.is_some(), matched, "{text} {name}");
        }
        assert!(DomainList::open(&types, "p", &list("fail:x"), false).matches("x").is_err());
    }

    #[test]
    fn addresses() {
        let types = Types::builder().build();
        for (text, address, matched) in [
            ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "127.0.0.1", true),
            ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "::1", true),
            ("127.0.0.0/8 [::1]", "::1", true),
            ("!10.0.0.1, 10.0.0.0/8", "10.0.0.1", false),
            ("!10.0.0.1, 10.0.0.0/8", "10.0.0.2", true),
            ("cidr:{{10.0.0.0/8 x}}", "10.0.0.2", true),
            ("10.0.0.2", "10.0.0.2", true),
            ("client.example", "10.0.0.2", true),
            ("10.2", "10.2.0.0", false),
        ] {
            let found = AddressList::open(&types, "mynetworks", &list(text), true);
            let found = found.matches("Client.example", address.parse().unwrap()).unwrap();
            assert_eq!(found.is_some(), matched, "{text} {address}");
        }
        let bad = AddressList::open(&types, "mynetworks", &list("127.0.0.1 [::z1] 10.0.0.1"), true);
        assert!(bad.matches("x", "127.0.0.1".parse().unwrap()).unwrap().is_some());
        assert!(bad.matches("x", "10.0.0.1".parse().unwrap()).is_err());
        assert_eq!(bad.problems(), ["parameter mynetworks: bad address pattern: \"[::z1]\""]);
    }

    #[test]
    fn files_and_reasons() {
        let types = Types::builder().build();
        let path = std::env::temp_dir().join(format!("valija-matchlist-{}", std::process::id()));
        std::fs::write(&path, "# ours\na.example, b.example\n  !c.example\n").unwrap();
        let path = path.display().to_string();
        let found = DomainList::open(&types, "p", &[path.clone(), ".example".into()], false);
        assert_eq!(found.matches("b.example").unwrap().unwrap().file, Some((path.as_str().into(), 2)));
        assert_eq!(found.matches("c.example").unwrap(), None);
        assert_eq!(found.matches("d.example").unwrap().unwrap().element, ".example");
        std::fs::remove_file(&path).unwrap();
        let gone = StringList::open(&types, "p", &[path, "x".into()]);
        assert!(gone.matches("x").is_err() && gone.problems().len() == 1);
    }
}
