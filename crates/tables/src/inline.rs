//! `inline:{ key=value, { key = text with spaces } }`.

use crate::types::{Options, braced, split_list};
use crate::{Hit, Table, TableError, Types, fold};
use std::collections::HashMap;
use std::sync::Arc;

struct Inline {
    name: Arc<str>,
    rows: HashMap<String, String>,
    order: Vec<String>,
    fold: bool,
}

/// Opens an inline table.
pub fn open(_: &Types, name: &str, rest: &str, options: Options) -> Result<Arc<dyn Table>, TableError> {
    let bad = |what: &str| {
        let what = format!("{what}: \"{name}\"; need \"inline:{{name=value...}}\"");
        TableError::new(name, what, "correct the table in the configuration")
    };
    let body = braced(rest).filter(|b| !b.is_empty()).ok_or_else(|| bad("bad syntax"))?;
    let mut table = Inline { name: name.into(), rows: HashMap::new(), order: vec![], fold: options.fold };
    for element in split_list(body) {
        let row = match element.starts_with('{') {
            true => braced(&element).ok_or_else(|| bad("bad syntax"))?,
            false => &element,
        };
        let Some((key, value)) = row.split_once('=') else {
            return Err(bad("missing '=' after attribute name"));
        };
        let key = key.trim();
        if key.is_empty() {
            return Err(bad("missing attribute name"));
        }
        let key = if table.fold { fold(key).into_owned() } else { key.to_string() };
        if table.rows.insert(key.clone(), value.trim().to_string()).is_none() {
            table.order.push(key);
        }
    }
    Ok(Arc::new(table))
}

impl Table for Inline {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let key = if self.fold { fold(key) } else { key.into() };
        let value = self.rows.get(&*key).cloned();
        Ok(value.map(|value| Hit { value, place: (self.name.clone(), None) }))
    }
    fn rows(&self) -> Result<Option<Vec<(String, String)>>, TableError> {
        let row = |k: &String| Some((k.clone(), self.rows.get(k)?.clone()));
        Ok(Some(self.order.iter().filter_map(row).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_faults() {
        let types = Types::builder().build();
        let table = types.open("inline:{A=b, { c = d e }}").unwrap();
        for (key, value) in [("a", Some("b")), ("C", Some("d e")), ("x", None)] {
            assert_eq!(table.lookup(key).unwrap().map(|h| h.value).as_deref(), value);
        }
        for bad in
            ["inline:{}", "inline:{a}", "inline:{a=b", "inline:{=b}", "inline:a=b", "inline:{{a=b}{c=d}}"]
        {
            assert!(types.open(bad).is_err(), "{bad}");
        }
    }
}
