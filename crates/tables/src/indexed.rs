//! `hash: btree: lmdb: cdb: texthash:`: rows by key.
//!
//! The text is the table; the compiled file beside it, which Postfix wrote, is read only where
//! there is no text. Rows that `postmap -i` added to a compiled file alone are reported. `cdb:` files are written for other software, never read while the text is
//! there. A compiled `lmdb` without text is refused.

use crate::live::{Content, Live, Parse, owner_of};
use crate::text::{self, Grammar};
use crate::types::Options;
use crate::{Hit, Owner, Table, TableError, Types, bdb, cdb, fold};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Opened = Result<Arc<dyn Table>, TableError>;

struct Index {
    rows: HashMap<Box<str>, (Box<str>, u32)>,
    compiled: bool,
}

struct Indexed {
    name: Arc<str>,
    fold: bool,
    live: Live<Index>,
}

/// What the name of a text is followed by in the name of its compiled file, where that is read.
pub fn compiled_suffix(kind: &str) -> Option<&'static str> {
    match kind {
        "hash" | "btree" => Some(".db"),
        "cdb" => Some(".cdb"),
        _ => None,
    }
}

/// `hash:name`: text `name`, compiled `name.db`.
pub fn open_hash(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    open(types, name, rest, options, Some(("db", bdb_rows)))
}

/// `btree:name`: text `name`, compiled `name.db`.
pub fn open_btree(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    open(types, name, rest, options, Some(("db", bdb_rows)))
}

/// `cdb:name`: text `name`, compiled `name.cdb`.
pub fn open_cdb(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    open(types, name, rest, options, Some(("cdb", cdb_rows)))
}

/// `lmdb:name`: text `name`; a compiled `name.lmdb` alone is refused.
pub fn open_lmdb(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    open(types, name, rest, options, Some(("lmdb", lmdb_rows)))
}

/// `texthash:name`: the text `name`, always in the grammar of postmap(1).
pub fn open_texthash(types: &Types, name: &str, rest: &str, options: Options) -> Opened {
    open(types, name, rest, Options { grammar: Grammar::Map, compiled: false, ..options }, None)
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;
type Compiled = fn(&[u8]) -> Result<Rows, (String, String)>;

fn bdb_rows(bytes: &[u8]) -> Result<Rows, (String, String)> {
    bdb::rows(bytes).map_err(|what| (what, REBUILD.into()))
}

fn cdb_rows(bytes: &[u8]) -> Result<Rows, (String, String)> {
    if !cdb::is_sound(bytes) {
        return Err(("no sound cdb file".into(), REBUILD.into()));
    }
    Ok(cdb::records(bytes).map(|(k, v)| (k.to_vec(), v.to_vec())).collect())
}

fn lmdb_rows(_: &[u8]) -> Result<Rows, (String, String)> {
    let remedy = "write the text it was made from beside it (\"postmap -s\" of Postfix prints its rows)";
    Err(("a compiled lmdb file without its text cannot be read".into(), remedy.into()))
}

const REBUILD: &str = "put the text it was made from beside it";

fn open(
    types: &Types,
    name: &str,
    rest: &str,
    options: Options,
    compiled: Option<(&'static str, Compiled)>,
) -> Opened {
    let folds = options.fold;
    let grammar = match options.grammar {
        Grammar::Auto => types.grammar_of(rest),
        known => known,
    };
    let mut sources = Vec::new();
    if !options.compiled {
        let (readers, name) = (types.clone(), name.to_string());
        let parse: Parse<Index> = Box::new(move |path, bytes| {
            let mut content = from_text(path, bytes, grammar, folds);
            if let Some((suffix, rows)) = compiled {
                content.faults.extend(left_behind(&readers, &name, path, suffix, rows, &content.value));
            }
            Ok(content)
        });
        sources.push((rest.into(), parse));
    }
    if let Some((suffix, rows)) = compiled {
        let parse: Parse<Index> = Box::new(move |path, bytes| {
            rows(bytes)
                .map(from_rows)
                .map_err(|(what, remedy)| (format!("{}: {what}", path.display()), remedy))
        });
        sources.push((format!("{rest}.{suffix}").into(), parse));
    }
    let live = Live::open(types, name, sources);
    Ok(Arc::new(Indexed { name: name.into(), fold: folds, live }))
}

fn from_text(path: &Path, bytes: &[u8], grammar: Grammar, folds: bool) -> Content<Index> {
    let parsed = text::parse(bytes, grammar);
    let file = path.display();
    let mut faults: Vec<_> = parsed
        .faults
        .iter()
        .map(|f| {
            let end = match f.skipped && f.line.is_some() && !f.what.ends_with("ignoring this line") {
                true => " -- ignoring this line",
                false => "",
            };
            format!("{file}{f}{end}")
        })
        .collect();
    let mut rows: HashMap<Box<str>, (Box<str>, u32)> = HashMap::with_capacity(parsed.rows.len());
    let clean = !parsed.faults.iter().any(|f| f.skipped);
    for row in parsed.rows {
        let key: Box<str> = if folds { fold(&row.key).into() } else { row.key.as_str().into() };
        match rows.entry(key) {
            Entry::Vacant(free) => {
                free.insert((row.value.into(), row.line.try_into().unwrap_or(u32::MAX)));
            }
            Entry::Occupied(_) => {
                faults.push(format!("{file}, line {}: duplicate entry: \"{}\"", row.last, row.key));
            }
        }
    }
    Content { value: Index { rows, compiled: false }, faults, clean }
}

/// What to say of rows that only the compiled file beside a text has. One that is older than the
/// text says nothing: the text was edited since.
fn left_behind(
    types: &Types,
    name: &str,
    path: &Path,
    suffix: &str,
    rows: Compiled,
    index: &Index,
) -> Option<String> {
    let beside = PathBuf::from(format!("{}.{suffix}", path.display()));
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    if modified(&beside)? < modified(path)? {
        return None;
    }
    let mut bytes = Vec::new();
    types.open_file(&beside).and_then(|mut f| f.read_to_end(&mut bytes)).ok()?;
    let compiled = from_rows(rows(&bytes).ok()?).value.rows;
    // What newaliases notes about itself, for NIS.
    let own = |key: &str| key.starts_with("YP_") || key == "@";
    let mut only: Vec<&str> =
        compiled.keys().map(|k| &**k).filter(|k| !own(k) && !index.rows.contains_key(*k)).collect();
    only.sort_unstable();
    let first = only.first()?;
    let (all, file) = (only.len(), path.display());
    let kind = name.split(':').next().unwrap_or(name);
    Some(format!(
        "{}: {all} row(s) are not in the text {file} and have no effect, such as \"{first}\"; add them to \
         the text (Postfix's \"postmap -s {kind}:{file}\" prints them), or remove the compiled file",
        beside.display()
    ))
}

/// Postfix writes keys and values with or without a NUL at their end, depending on the host.
fn from_rows(all: Rows) -> Content<Index> {
    let text = |bytes: Vec<u8>| {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        std::str::from_utf8(bytes).ok().map(Box::<str>::from)
    };
    let mut rows = HashMap::with_capacity(all.len());
    for (i, (key, value)) in all.into_iter().enumerate() {
        if let (Some(key), Some(value)) = (text(key), text(value)) {
            rows.entry(key).or_insert((value, u32::try_from(i).unwrap_or(u32::MAX)));
        }
    }
    Content { value: Index { rows, compiled: true }, faults: Vec::new(), clean: true }
}

impl Table for Indexed {
    fn name(&self) -> &str {
        &self.name
    }

    fn lookup(&self, key: &str) -> Result<Option<Hit>, TableError> {
        let index = self.live.get()?;
        let key = if self.fold { fold(key) } else { key.into() };
        Ok(index.rows.get(&*key).map(|(value, line)| {
            let line = (!index.compiled).then_some(*line as usize);
            Hit { value: value.to_string(), place: (self.name.clone(), line) }
        }))
    }

    fn owner(&self) -> Owner {
        self.live.owner().map_or(Owner::Unknown, |(uid, _)| owner_of(uid))
    }

    fn refresh(&self) {
        self.live.refresh();
    }

    fn broken(&self) -> Option<TableError> {
        self.live.get().err()
    }

    fn rows(&self) -> Result<Option<Vec<(String, String)>>, TableError> {
        let index = self.live.get()?;
        let mut all: Vec<_> = index.rows.iter().collect();
        all.sort_unstable_by_key(|(_, (_, line))| *line);
        Ok(Some(all.into_iter().map(|(k, (v, _))| (k.to_string(), v.to_string())).collect()))
    }
}

#[cfg(test)]
mod tests;
