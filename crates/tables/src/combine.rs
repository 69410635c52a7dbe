//! Tables made of tables: `unionmap: pipemap: randmap:`.

use crate::types::{Options, braced, split_list};
use crate::{Hit, Owner, Table, TableError, Types};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

type Opened = Result<Arc<dyn Table>, TableError>;

fn parts(name: &str, rest: &str, need: &str) -> Result<Vec<String>, TableError> {
    let parts = braced(rest).map(split_list).unwrap_or_default();
    if parts.is_empty() {
        let kind = name.split(':').next().unwrap_or(name);
        let what = format!("bad syntax: \"{name}\"; need \"{kind}:{{{need}}}\"");
        return Err(TableError::new(name, what, "correct the table in the configuration"));
    }
    Ok(parts)
}

fn tables(
    types: &Types,
    name: &str,
    rest: &str,
    options: Options,
) -> Result<Vec<Arc<dyn Table>>, TableError> {
    parts(name, rest, "type:name...")?.iter().map(|t| types.open_as(t, options)).collect()
}

/// The least trusted owner of several tables.
fn least(tables: &[Arc<dyn Table>]) -> Owner {
    tables
        .iter()
        .map(|t| t.owner())
        .reduce(|a, b| match (a, b) {
            (Owner::Trusted, other) | (other, Owner::Trusted) => other,
            (a, b) if a == b => a,
            _ => Owner::Unknown,
        })
        .unwrap_or(Owner::Unknown)
}

struct Union {
    name: Arc<str>,
    tables: Vec<Arc<dyn Table>>,
}

/// `unionmap:{a, b}`: what every table answers, joined by commas.
pub fn open_union(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    Ok(Arc::new(Union { name: name.into(), tables: tables(types, name, rest, options)? }))
}

impl Table for Union {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let mut all = Vec::new();
        for table in &self.tables {
            all.extend(table.lookup(key)?.map(|h| h.value));
        }
        Ok((!all.is_empty()).then(|| Hit { value: all.join(","), place: (self.name.clone(), None) }))
    }
    fn whole_key_only(&self) -> bool {
        self.tables.iter().any(|t| t.whole_key_only())
    }
    fn owner(&self) -> Owner {
        least(&self.tables)
    }
    fn refresh(&self) {
        self.tables.iter().for_each(|t| t.refresh());
    }
    fn broken(&self) -> Option<TableError> {
        self.tables.iter().find_map(|t| t.broken())
    }
}

struct Pipe {
    name: Arc<str>,
    tables: Vec<Arc<dyn Table>>,
}

/// `pipemap:{a, b}`: the answer of each table is the key of the next.
pub fn open_pipe(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    Ok(Arc::new(Pipe { name: name.into(), tables: tables(types, name, rest, options)? }))
}

impl Table for Pipe {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let mut value = key.to_string();
        for table in &self.tables {
            match table.lookup(&value)? {
                Some(hit) => value = hit.value,
                None => return Ok(None),
            }
        }
        Ok(Some(Hit { value, place: (self.name.clone(), None) }))
    }
    fn whole_key_only(&self) -> bool {
        self.tables.iter().any(|t| t.whole_key_only())
    }
    fn owner(&self) -> Owner {
        least(&self.tables)
    }
    fn refresh(&self) {
        self.tables.iter().for_each(|t| t.refresh());
    }
    fn broken(&self) -> Option<TableError> {
        self.tables.iter().find_map(|t| t.broken())
    }
}

struct Random {
    name: Arc<str>,
    values: Vec<String>,
}

/// `randmap:{a, b}`: one of the values by chance.
pub fn open_random(_: &Types, name: &str, rest: &str, _: Options) -> Opened {
    let values = parts(name, rest, "value...")?;
    let values = values.iter().map(|v| braced(v).unwrap_or(v).to_string()).collect();
    Ok(Arc::new(Random { name: name.into(), values }))
}

impl Table for Random {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, _: &str) -> Result<Option<Hit>, TableError> {
        // A new hasher has new random keys from the operating system.
        let random = RandomState::new().hash_one(0u8) as usize;
        let value = self.values.get(random % self.values.len().max(1));
        Ok(value.map(|v| Hit { value: v.clone(), place: (self.name.clone(), None) }))
    }
    fn whole_key_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unions_pipes_and_chance() {
        let types = Types::builder().build();
        for (table, value) in [
            ("unionmap:{static:a,static:b,inline:{y=z}}", Some("a,b")),
            ("unionmap:{inline:{y=z}}", None),
            ("pipemap:{inline:{x=y},inline:{y=z}}", Some("z")),
            ("pipemap:{inline:{x=y},inline:{q=z}}", None),
            ("randmap:{a,a}", Some("a")),
        ] {
            let hit = types.open(table).unwrap().lookup("x").unwrap();
            assert_eq!(hit.map(|h| h.value).as_deref(), value, "{table}");
        }
        assert!(types.open("unionmap:{fail:x}").unwrap().lookup("x").is_err());
        for bad in ["randmap:{}", "pipemap:x", "unionmap:{nosuch:x}"] {
            assert!(types.open(bad).is_err(), "{bad}");
        }
    }
}
