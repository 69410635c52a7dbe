//! Lookup tables in files and text. One file per type.
//!
//! A table answers a key with a value, or with nothing, or with an error that names the table and
//! the remedy; an error never counts as "not found". Every hit says which row it came from.

use std::fmt;
use std::sync::Arc;

/// An answer: the value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The right-hand side.
    pub value: String,
    /// `hash:/etc/aliases`, line 12 (no line when a compiled file was read).
    pub place: (Arc<str>, Option<usize>),
}

/// A table could not answer now. The mail waits (4xx); nothing is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// The table, as the configuration writes it.
    pub table: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}: {}; {}", self.table, self.what, self.remedy)
    }
}

impl std::error::Error for TableError {}

/// A table in memory or files, which answers at once.
pub trait Table: Send + Sync {
    /// The value of `key`. Folding to lower case, where the type does it, is the table's job.
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError>;
    /// True for regexp, pcre, cidr: the whole key is matched; no partial keys (`user@`, parent
    /// domains, without extension) are asked of it.
    fn whole_key_only(&self) -> bool {
        false
    }
}
