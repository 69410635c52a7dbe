//! `unix:passwd.byname`, `unix:group.byname`: the accounts of this host, as rows of passwd(5) and
//! group(5). They may come from a name service, so a lookup can take its time.

use crate::types::Options;
use crate::{Hit, Owner, Table, TableError, Types, fold};
use std::sync::Arc;

struct Unix {
    name: Arc<str>,
    groups: bool,
    fold: bool,
}

/// Opens one of the two.
pub fn open(_: &Types, name: &str, rest: &str, options: Options) -> Result<Arc<dyn Table>, TableError> {
    let groups = match rest {
        "passwd.byname" => false,
        "group.byname" => true,
        _ => {
            let remedy = "use unix:passwd.byname or unix:group.byname";
            return Err(TableError::new(name, format!("unknown table: {name}"), remedy));
        }
    };
    Ok(Arc::new(Unix { name: name.into(), groups, fold: options.fold }))
}

impl Table for Unix {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let key = if self.fold { fold(key) } else { key.into() };
        let row = match self.groups {
            true => sys::users::group_row(&key),
            false => sys::users::passwd_row(&key),
        };
        let row = row.map_err(|e| {
            TableError::new(&self.name, format!("lookup of {key}: {e}"), "see why the name service fails")
        })?;
        Ok(row.map(|value| Hit { value, place: (self.name.clone(), None) }))
    }
    fn owner(&self) -> Owner {
        Owner::Trusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        let types = Types::builder().build();
        let users = types.open("unix:passwd.byname").unwrap();
        assert!(users.lookup("Root").unwrap().unwrap().value.starts_with("root:"));
        assert_eq!(users.lookup("no such\0user").unwrap(), None);
        assert_eq!(users.lookup("no-such-user-here").unwrap(), None);
        assert!(types.open("unix:group.byname").unwrap().lookup("root").unwrap().is_some());
        assert!(types.open("unix:foo").is_err());
    }
}
