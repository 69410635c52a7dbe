//! The table types of a program, and the tables it has open.
//!
//! A type that needs a library (`pcre`) or the network is registered by the program that links it;
//! elsewhere its name gives an error that says so. Tables with the same name are opened once.

use crate::text::Grammar;
use crate::{Notice, Table, TableError};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

/// Gives an open file for a path: the mail role asks the master process for what it may not read.
pub type Opener = Arc<dyn Fn(&Path) -> io::Result<File> + Send + Sync>;
/// Opens a table: the whole `type:name`, and the name alone.
pub type OpenType = fn(&Types, &str, &str, Options) -> Result<Arc<dyn Table>, TableError>;

/// How a table is opened; part of what makes two tables the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// How its text is read, where it is of the `hash:` family.
    pub grammar: Grammar,
    /// Fold keys to lower case. False only for `postmap -f`.
    pub fold: bool,
    /// Read the compiled file though its text is there. For `postmap` on foreign files.
    pub compiled: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { grammar: Grammar::Auto, fold: true, compiled: false }
    }
}

/// What a program can open. Cheap to clone.
#[derive(Clone)]
pub struct Types(Arc<Inner>);

type Listener = Arc<dyn Fn(&Notice) + Send + Sync>;

struct Inner {
    kinds: HashMap<&'static str, OpenType>,
    opener: Opener,
    listener: Option<Listener>,
    alias_tables: HashSet<String>,
    substitution: bool,
    open: Mutex<HashMap<(String, Options), Weak<dyn Table>>>,
}

/// Sets up [`Types`].
pub struct Builder {
    kinds: HashMap<&'static str, OpenType>,
    opener: Opener,
    listener: Option<Listener>,
    alias_tables: HashSet<String>,
    substitution: bool,
}

impl Builder {
    /// Adds a table type, as `pcre::register` does.
    pub fn kind(mut self, name: &'static str, open: OpenType) -> Builder {
        self.kinds.insert(name, open);
        self
    }

    /// How files are opened; `File::open` otherwise.
    pub fn opener(mut self, opener: Opener) -> Builder {
        self.opener = opener;
        self
    }

    /// Who hears of skipped rows and adopted texts. Called with no lock held.
    pub fn notices(mut self, listener: impl Fn(&Notice) + Send + Sync + 'static) -> Builder {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// These tables (elements of `alias_maps`, `alias_database`) have alias grammar wherever they
    /// are named, for example through `local_recipient_maps = $alias_maps`.
    pub fn alias_tables<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Builder {
        let names = names.into_iter().filter_map(|n| {
            let name = n.as_ref().trim_start_matches("proxy:");
            name.split_once(':').map(|(_, path)| path.to_string())
        });
        self.alias_tables.extend(names);
        self
    }

    /// No part of a key may get into a result (`$1`): results of alias tables are commands and files
    /// in local delivery, and keys come from strangers. aliases(5)
    pub fn without_substitution(mut self) -> Builder {
        self.substitution = false;
        self
    }

    /// Done.
    pub fn build(self) -> Types {
        Types(Arc::new(Inner {
            kinds: self.kinds,
            opener: self.opener,
            listener: self.listener,
            alias_tables: self.alias_tables,
            substitution: self.substitution,
            open: Mutex::default(),
        }))
    }
}

impl Types {
    /// The types of this crate, to be extended.
    pub fn builder() -> Builder {
        let kinds: [(&'static str, OpenType); 18] = [
            ("hash", crate::indexed::open_hash),
            ("btree", crate::indexed::open_btree),
            ("lmdb", crate::indexed::open_lmdb),
            ("cdb", crate::indexed::open_cdb),
            ("texthash", crate::indexed::open_texthash),
            ("regexp", crate::regexp::open),
            ("cidr", crate::cidr::open),
            ("static", crate::plain::open_static),
            ("fail", crate::plain::open_fail),
            ("environ", crate::plain::open_environ),
            ("internal", crate::plain::open_internal),
            ("inline", crate::inline::open),
            ("unix", crate::unix::open),
            ("unionmap", crate::combine::open_union),
            ("pipemap", crate::combine::open_pipe),
            ("randmap", crate::combine::open_random),
            ("proxy", open_proxy),
            ("debug", open_proxy),
        ];
        Builder {
            kinds: kinds.into_iter().collect(),
            opener: Arc::new(|path: &Path| File::open(path)),
            listener: None,
            alias_tables: HashSet::new(),
            substitution: true,
        }
    }

    /// The types of this crate, with alias grammar for the tables `config` names as such.
    pub fn for_config(config: &config::Config) -> Builder {
        let mut builder = Types::builder();
        for parameter in ["alias_maps", "alias_database"] {
            let text = config.get(parameter).unwrap_or_default();
            builder = builder.alias_tables(split_list(&text));
        }
        builder
    }

    /// Whether patterns may put parts of the key into results.
    pub fn substitution(&self) -> bool {
        self.0.substitution
    }

    /// The names of the types, sorted: `postconf -m`.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.kinds.keys().copied().filter(|k| *k != "debug").collect();
        names.sort_unstable();
        names
    }

    /// Opens `type:name`. A file that is not there (yet) is no error here but one of each lookup,
    /// see [`Table::broken`]; an unknown type or bad syntax is.
    pub fn open(&self, name: &str) -> Result<Arc<dyn Table>, TableError> {
        self.open_as(name, Options::default())
    }

    /// The same with options.
    pub fn open_as(&self, name: &str, options: Options) -> Result<Arc<dyn Table>, TableError> {
        let key = (name.to_string(), options);
        let lock = || self.0.open.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(table) = lock().get(&key).and_then(Weak::upgrade) {
            return Ok(table);
        }
        let (kind, rest) = match name.split_once(':') {
            Some((kind, rest)) if !kind.is_empty() && !rest.trim().is_empty() => (kind, rest),
            _ => {
                let what = format!("open dictionary: expecting \"type:name\" form instead of \"{name}\"");
                return Err(TableError::new(name, what, "write for example hash:/etc/postfix/name"));
            }
        };
        let Some(open) = self.0.kinds.get(kind) else {
            let what = format!("unsupported dictionary type: {kind}");
            return Err(TableError::new(name, what, self.remedy(kind)));
        };
        let table = open(self, name, rest, options)?;
        let mut all = lock();
        all.retain(|_, t| t.strong_count() > 0);
        all.insert(key, Arc::downgrade(&table));
        Ok(table)
    }

    /// Opens a table, or one in its place whose every lookup is the error.
    pub fn open_or_broken(&self, name: &str) -> Arc<dyn Table> {
        self.open(name).unwrap_or_else(|error| {
            self.notice(name, true, format!("{name} is unavailable. {}; {}", error.what, error.remedy));
            Arc::new(Broken(name.to_string(), error))
        })
    }

    /// Reads every open table again if its files changed: `postfix reload`.
    pub fn refresh(&self) {
        let open: Vec<_> = {
            let all = self.0.open.lock().unwrap_or_else(|e| e.into_inner());
            all.values().filter_map(Weak::upgrade).collect()
        };
        open.iter().for_each(|t| t.refresh());
    }

    /// Opens a file as this program may.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        (self.0.opener)(path)
    }

    /// The grammar of the text at `path`, unless the caller knows better.
    pub fn grammar_of(&self, path: &str) -> Grammar {
        if self.0.alias_tables.contains(path) { Grammar::Alias } else { Grammar::Auto }
    }

    /// Tells the listener.
    pub fn notice(&self, table: &str, warning: bool, text: String) {
        if let Some(listener) = &self.0.listener {
            listener(&Notice { table: table.to_string(), warning, text });
        }
    }

    fn remedy(&self, kind: &str) -> String {
        match kind {
            "pcre" => "this program does not read pcre: tables; use regexp: or hash: here".into(),
            "dbm" | "sdbm" | "nis" | "nisplus" | "netinfo" => "use hash:, cdb: or texthash: instead".into(),
            "mysql" | "pgsql" | "sqlite" | "ldap" | "socketmap" | "tcp" | "memcache" | "mongodb" => {
                "this program does not ask remote tables; use a table in a file here".into()
            }
            _ => format!("use one of {}", self.names().join(", ")),
        }
    }
}

/// `proxy:type:name`: the same table, opened here; there is no separate process.
fn open_proxy(types: &Types, name: &str, rest: &str, options: Options) -> Result<Arc<dyn Table>, TableError> {
    let inner = types.open_as(rest, options)?;
    Ok(Arc::new(Renamed(name.to_string(), inner)))
}

struct Renamed(String, Arc<dyn Table>);

impl Table for Renamed {
    fn name(&self) -> &str {
        &self.0
    }
    fn lookup(&self, key: &str) -> Result<Option<crate::Hit>, TableError> {
        self.1.lookup(key)
    }
    fn whole_key_only(&self) -> bool {
        self.1.whole_key_only()
    }
    fn owner(&self) -> crate::Owner {
        self.1.owner()
    }
    fn refresh(&self) {
        self.1.refresh()
    }
    fn broken(&self) -> Option<TableError> {
        self.1.broken()
    }
    fn rows(&self) -> Result<Option<Vec<(String, String)>>, TableError> {
        self.1.rows()
    }
}

/// Stands for a table that could not be opened.
struct Broken(String, TableError);

impl Table for Broken {
    fn name(&self) -> &str {
        &self.0
    }
    fn lookup(&self, _: &str) -> Result<Option<crate::Hit>, TableError> {
        Err(self.1.clone())
    }
    fn broken(&self) -> Option<TableError> {
        Some(self.1.clone())
    }
}

/// Splits a list at commas and white space outside `{…}`. Elements keep their braces.
pub fn split_list(text: &str) -> Vec<String> {
    let (mut out, mut element, mut depth) = (Vec::new(), String::new(), 0usize);
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 && (c == ',' || c.is_ascii_whitespace()) => {
                if !element.is_empty() {
                    out.push(std::mem::take(&mut element));
                }
                continue;
            }
            _ => {}
        }
        element.push(c);
    }
    if !element.is_empty() {
        out.push(element);
    }
    out
}

/// The text between the braces of `{…}`, without surrounding white space.
pub fn braced(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'))?;
    let mut depth = 0usize;
    for b in inner.bytes() {
        match b {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    Some(inner.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_and_bad_syntax_name_the_remedy() {
        let types = Types::builder().build();
        for (name, what) in [
            ("nosuch:/x", "unsupported dictionary type: nosuch"),
            ("pcre:/x", "unsupported dictionary type: pcre"),
            ("static:", "open dictionary: expecting \"type:name\" form instead of \"static:\""),
            ("foo", "open dictionary: expecting \"type:name\" form instead of \"foo\""),
        ] {
            let error = types.open(name).err().unwrap();
            assert_eq!(error.what, what);
            assert!(!error.remedy.is_empty());
        }
        assert!(types.open_or_broken("nosuch:/x").lookup("a").is_err());
    }

    #[test]
    fn a_table_is_opened_once_and_proxy_is_the_same_table() {
        let types = Types::builder().build();
        let a = types.open("static:x").unwrap();
        assert!(Arc::ptr_eq(&a, &types.open("static:x").unwrap()));
        assert_eq!(types.open("proxy:static:x").unwrap().lookup("k").unwrap().unwrap().value, "x");
    }

    #[test]
    fn lists_keep_braces_together() {
        assert_eq!(
            split_list("hash:/a, inline:{a=b, { c = d e }}  static:{x y}"),
            ["hash:/a", "inline:{a=b, { c = d e }}", "static:{x y}"]
        );
    }
}
