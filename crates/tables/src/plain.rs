//! Types without a file: `static: fail: environ: internal:`.

use crate::types::{Options, braced};
use crate::{Hit, Owner, Table, TableError, Types, fold};
use std::sync::Arc;

type Opened = Result<Arc<dyn Table>, TableError>;

struct Static {
    name: Arc<str>,
    value: String,
}

/// `static:value`, `static:{ value with spaces }`: the value for every key.
pub fn open_static(_: &Types, name: &str, rest: &str, _: Options) -> Opened {
    let value = match rest.starts_with('{') {
        true => braced(rest).ok_or_else(|| {
            let what = format!("bad syntax: \"{name}\"; need \"static:{{text...}}\"");
            TableError::new(name, what, "close the brace")
        })?,
        false => rest,
    };
    Ok(Arc::new(Static { name: name.into(), value: value.to_string() }))
}

impl Table for Static {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, _: &str) -> Result<Option<Hit>, TableError> {
        Ok(Some(Hit { value: self.value.clone(), place: (self.name.clone(), None) }))
    }
    fn whole_key_only(&self) -> bool {
        true
    }
}

struct Fail(String);

/// `fail:name`: every lookup fails, for tests of a configuration.
pub fn open_fail(_: &Types, name: &str, _: &str, _: Options) -> Opened {
    Ok(Arc::new(Fail(name.to_string())))
}

impl Table for Fail {
    fn name(&self) -> &str {
        &self.0
    }
    fn lookup(&self, _: &str) -> Result<Option<Hit>, TableError> {
        Err(TableError::new(&self.0, "query error: Application error", "it is of type fail: remove it"))
    }
}

struct Environ {
    name: Arc<str>,
    fold: bool,
}

/// `environ:anything`: the variables of this process.
pub fn open_environ(_: &Types, name: &str, _: &str, options: Options) -> Opened {
    Ok(Arc::new(Environ { name: name.into(), fold: options.fold }))
}

impl Table for Environ {
    fn name(&self) -> &str {
        &self.name
    }
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let key = if self.fold { fold(key) } else { key.into() };
        if key.is_empty() || key.contains(['=', '\0']) {
            return Ok(None);
        }
        let value = std::env::var_os(&*key).and_then(|v| v.into_string().ok());
        Ok(value.map(|value| Hit { value, place: (self.name.clone(), None) }))
    }
    fn owner(&self) -> Owner {
        Owner::Unknown
    }
}

struct Internal(String);

/// `internal:name`: a table in memory that is empty at the start; nothing here writes to it.
pub fn open_internal(_: &Types, name: &str, _: &str, _: Options) -> Opened {
    Ok(Arc::new(Internal(name.to_string())))
}

impl Table for Internal {
    fn name(&self) -> &str {
        &self.0
    }
    fn lookup(&self, _: &str) -> Result<Option<Hit>, TableError> {
        Ok(None)
    }
    fn owner(&self) -> Owner {
        Owner::Unknown
    }
}
