//! Masquerading: addresses of hosts become addresses of their domain. ADDRESS_REWRITING_README

use crate::mapping::Place;
use config::params::rewrite::Rewrite;
use proto::Address;
use tables::matchlist::StringList;
use tables::{TableError, Types};

/// `masquerade_domains` with its classes and exceptions.
pub struct Masquerade {
    /// In the order of the list; whether a name is to be hidden.
    domains: Vec<(String, bool)>,
    classes: Vec<String>,
    exceptions: StringList,
}

impl Masquerade {
    /// Reads the parameters.
    pub fn open(types: &Types, params: &Rewrite) -> Masquerade {
        let domains = params.masquerade_domains().0.iter().map(|d| {
            let name = d.trim_start_matches('!');
            (name.to_lowercase(), (d.len() - name.len()) % 2 == 0)
        });
        Masquerade {
            domains: domains.collect(),
            classes: params.masquerade_classes().0.clone(),
            exceptions: StringList::open(types, "masquerade_exceptions", &params.masquerade_exceptions().0),
        }
    }

    /// The address with the name of its host taken off, when it is below one of the domains. The
    /// first domain of the list that is the address's, or above it, decides.
    pub fn apply(&self, address: Address, place: Place) -> Result<Address, TableError> {
        if self.domains.is_empty() || !self.classes.iter().any(|c| c == place.word()) {
            return Ok(address);
        }
        let Some(domain) = address.domain().map(str::to_lowercase) else { return Ok(address) };
        let above = |parent: &str| {
            domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match self.domains.iter().find(|(parent, _)| above(parent)) {
            Some((parent, true)) if *parent != domain && !self.excepted(&address)? => {
                Ok(Address::new(address.local(), Some(parent.as_str())))
            }
            _ => Ok(address),
        }
    }

    fn excepted(&self, address: &Address) -> Result<bool, TableError> {
        Ok(self.exceptions.matches(address.local())?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked of a real cleanup.
    #[test]
    fn hosts_are_hidden() {
        let text =
            "masquerade_domains = foo.example.com !bar.example.com example.com\nmasquerade_exceptions = root";
        let config = config::Config::from_text(std::path::Path::new("/nowhere"), text).unwrap();
        let masquerade = Masquerade::open(&Types::builder().build(), &Rewrite::load(&config).unwrap());
        for (given, expected) in [
            ("a@x.foo.example.com", "a@foo.example.com"),
            ("b@bar.example.com", "b@bar.example.com"),
            ("c@q.bar.example.com", "c@q.bar.example.com"),
            ("d@Z.Example.com", "d@example.com"),
            ("root@z.example.com", "root@z.example.com"),
            ("e@example.com", "e@example.com"),
            ("g@xexample.com", "g@xexample.com"),
            ("h", "h"),
        ] {
            let got = masquerade.apply(Address::from_internal(given), Place::HeaderSender).unwrap();
            assert_eq!(got.internal(), expected);
            let got = masquerade.apply(Address::from_internal(given), Place::EnvelopeRecipient).unwrap();
            assert_eq!(got.internal(), given, "not of the classes");
        }
    }
}
