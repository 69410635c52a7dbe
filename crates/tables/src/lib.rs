//! Lookup tables in files and text. One file per type.
//!
//! A table answers a key with a value, or with nothing, or with an error that names the table and
//! the remedy; an error never counts as "not found". Every hit says which row it came from.
//!
//! [`Types`] knows the table types of a program and shares tables between the parameters that name
//! them; [`Maps`] is an ordered list of tables as a parameter names it; [`matchlist`] are the lists
//! of hosts, domains and addresses that are no tables (`mydestination`, `mynetworks`).
//!
//! Text is live: `hash: btree: lmdb: cdb: texthash: regexp: pcre: cidr:` are read from their text
//! and a changed text is adopted while the program runs, see [`live`]. Modules in reading order:

mod address;
pub mod bdb;
pub mod cdb;
mod cidr;
mod combine;
mod indexed;
mod inline;
pub mod live;
mod maps;
pub mod matchlist;
pub mod net;
pub mod pattern;
mod plain;
mod regexp;
pub mod text;
mod types;
mod unix;

pub use address::AddressSearch;
pub use indexed::compiled_suffix;
pub use maps::{Maps, parent_domains};
pub use net::Net;
pub use text::Grammar;
pub use types::{Builder, Opener, Options, Types, split_list};

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

impl TableError {
    /// An error of `table`.
    pub fn new(table: &str, what: impl Into<String>, remedy: impl Into<String>) -> TableError {
        TableError { table: table.to_string(), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}: {}; {}", self.table, self.what, self.remedy)
    }
}

impl std::error::Error for TableError {}

/// Something the administrator should read: a row that was skipped, a text that was (not) adopted.
/// Goes to the listener of [`Builder::notices`], which logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The table, as the configuration writes it.
    pub table: String,
    /// True for a fault; false for good news such as an adopted text.
    pub warning: bool,
    /// The words, with file and line where they apply.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who could have written a table: what `local` runs commands and writes files as. aliases(5)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// root, or the configuration itself.
    Trusted,
    /// This user owns the file.
    User(u32),
    /// Not known; nothing of it may name commands or files.
    Unknown,
}

/// A table in memory or files, which answers at once.
pub trait Table: Send + Sync {
    /// `type:name`, as the configuration writes it.
    fn name(&self) -> &str;
    /// The value of `key`. Folding to lower case, where the type does it, is the table's job.
    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError>;
    /// True for regexp, pcre, cidr: the whole key is matched; no partial keys (`user@`, parent
    /// domains, without extension) are asked of it.
    fn whole_key_only(&self) -> bool {
        false
    }
    /// Who may have written the rows.
    fn owner(&self) -> Owner {
        Owner::Trusted
    }
    /// Reads the table's files again if they changed, at once and with skipped rows if need be.
    fn refresh(&self) {}
    /// Why the table cannot answer at all, when that is so.
    fn broken(&self) -> Option<TableError> {
        None
    }
    /// Every row in the order of the source; `None` where the type cannot list its rows.
    fn rows(&self) -> Result<Option<Vec<(String, String)>>, TableError> {
        Ok(None)
    }
}

/// Folds a key as Postfix does for tables with fixed keys: Unicode lower case.
pub fn fold(key: &str) -> std::borrow::Cow<'_, str> {
    if key.bytes().any(|b| b.is_ascii_uppercase() || b >= 0x80) {
        key.to_lowercase().into()
    } else {
        key.into()
    }
}
