//! `postmap -i` and `-d`: rows are added to and removed from the text of a table.
//!
//! Postfix changes the compiled file alone and the next `postmap` without `-i` forgets that. Here
//! the text is the table, so it is what changes (and a compiled file after it): atomically, with its mode, owner and comments kept,
//! one writer at a time. Where only a compiled file is left, nothing is changed and the remedy is
//! named.

use super::build::{duplicate_name, replace};
use super::{Failure, Session, warn};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tables::live::words;
use tables::text::{self, Row};

impl Session {
    /// Adds the rows on standard input.
    pub(super) fn add(&mut self, table: &str) -> Result<(), Failure> {
        let (kind, file) = table.split_once(':').unwrap_or(("hash", table));
        self.creatable(kind, file)?;
        self.editable(kind, table)?;
        let mut input = Vec::new();
        std::io::stdin().lock().read_to_end(&mut input).map_err(|e| self.fail(words(&e)))?;
        let new = text::parse(&input, self.grammar());
        self.edit(kind, file, true, |session, lines, rows| {
            let mut faults = new.faults.iter().peekable();
            for row in &new.rows {
                while let Some(fault) = faults.next_if(|f| f.line.unwrap_or(0) < row.last) {
                    warn(&session.name, &format!("stdin{fault}"));
                }
                let key = session.folded(&row.key);
                let line = session.written(row);
                match rows.iter().find(|r| session.folded(&r.key) == key) {
                    Some(_) if session.wishes.ignore => {}
                    Some(old) if session.wishes.replace => lines.replace(old, &line),
                    Some(_) => {
                        let name = duplicate_name(kind, file);
                        warn(&session.name, &format!("{name}: duplicate entry: \"{key}\""));
                    }
                    None => match lines.added_at(&key) {
                        Some(_) if session.wishes.ignore => {}
                        Some(at) if session.wishes.replace => lines.set_added(at, line),
                        Some(_) => {
                            let name = duplicate_name(kind, file);
                            warn(&session.name, &format!("{name}: duplicate entry: \"{key}\""));
                        }
                        None => lines.add(key, line),
                    },
                }
            }
            faults.for_each(|fault| warn(&session.name, &format!("stdin{fault}")));
            true
        })
        .map(|_| ())
    }

    /// Removes the row of `key`, or of each key on standard input; true if there was one.
    pub(super) fn delete(&mut self, table: &str, key: &str) -> Result<bool, Failure> {
        let (kind, file) = table.split_once(':').unwrap_or(("hash", table));
        self.editable(kind, table)?;
        let keys: Vec<String> = if key == "-" {
            std::io::stdin().lines().map_while(Result::ok).map(|k| self.folded(&k)).collect()
        } else {
            vec![self.folded(key)]
        };
        self.edit(kind, file, false, |session, lines, rows| {
            let mut found = false;
            // Every row with the key goes: a repeated one must not come back to life.
            for row in rows.iter().filter(|r| keys.contains(&session.folded(&r.key))) {
                lines.remove(row);
                found = true;
            }
            found
        })
    }

    fn editable(&self, kind: &str, table: &str) -> Result<(), Failure> {
        match kind {
            "hash" | "btree" | "lmdb" => Ok(()),
            "cdb" => {
                let what = "inappropriate open flags for cdb database - specify O_RDONLY or O_WRONLY|O_CREAT|O_TRUNC";
                Err(self.fail(format!("dict_cdb_open: {what}")))
            }
            kind if self.types.names().contains(&kind) => {
                Err(self.fail(format!("{table} map requires O_RDONLY access mode")))
            }
            kind => Err(self.fail(format!("unsupported dictionary type: {kind}"))),
        }
    }

    /// Has `change` edit the lines of a text, and writes them if it says so.
    fn edit(
        &self,
        kind: &str,
        file: &str,
        create: bool,
        change: impl FnOnce(&Session, &mut Lines, &[Row]) -> bool,
    ) -> Result<bool, Failure> {
        let fail = |e: std::io::Error| self.fail(format!("open {file}: {}", words(&e)));
        let compiled = format!("{file}.{}", if kind == "lmdb" { "lmdb" } else { "db" });
        if !Path::new(file).exists() {
            if Path::new(&compiled).exists() {
                let remedy = format!("make it first: postmap -s {kind}:{file} >{file}");
                return Err(self.fail(format!("{compiled} has no text {file} to change; {remedy}")));
            }
            if !create {
                return Err(self.fail(format!("open {file}: No such file or directory")));
            }
            let new = File::options().write(true).create_new(true).open(file);
            match new {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(fail(e)),
                _ => {}
            }
        }
        // A link stays one: what it points to is replaced.
        let path: PathBuf = std::fs::canonicalize(file).map_err(fail)?;
        let lock = self.locked(&path).map_err(fail)?;
        let (bytes, source) = self.read_source(&path)?;
        let rows = text::parse(&bytes, self.grammar()).rows;
        let mut lines = Lines::of(&bytes);
        if !change(self, &mut lines, &rows) {
            return Ok(false);
        }
        let meta = source.metadata().map_err(fail)?;
        let text = lines.text();
        replace(&path, &text, meta.mode() & 0o7777).map_err(fail)?;
        self.recompile(kind, &path, &text, &source)?;
        drop(lock);
        Ok(true)
    }

    /// The text, locked; opened anew when another writer replaced it meanwhile.
    fn locked(&self, path: &Path) -> std::io::Result<File> {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let file = File::open(path)?;
            let (held, named) = (file.metadata()?, std::fs::metadata(path)?);
            if sys::locks::try_flock(&file)? {
                let now = std::fs::metadata(path)?;
                if now.ino() == held.ino() && now.dev() == named.dev() {
                    return Ok(file);
                }
            }
            if Instant::now() > patience {
                return Err(std::io::Error::other("another process keeps it locked"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn written(&self, row: &Row) -> String {
        if !self.is_alias() {
            return format!("{}\t{}", row.key, row.value);
        }
        let plain = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        if row.key.starts_with('#') || !row.key.chars().all(plain) {
            let quoted = row.key.replace('\\', "\\\\").replace('"', "\\\"");
            return format!("\"{quoted}\":\t{}", row.value);
        }
        format!("{}:\t{}", row.key, row.value)
    }
}

/// The lines of a text; `None` are those removed.
struct Lines {
    old: Vec<Option<Vec<u8>>>,
    added: Vec<(String, String)>,
}

impl Lines {
    fn of(bytes: &[u8]) -> Lines {
        let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let split = |b: &[u8]| b.split(|c| *c == b'\n').map(|l| Some(l.to_vec())).collect();
        Lines { old: if bytes.is_empty() { Vec::new() } else { split(body) }, added: Vec::new() }
    }

    /// Takes out a row, but not the comments amid its continuation lines.
    fn remove(&mut self, row: &Row) {
        for line in self.old.iter_mut().take(row.last).skip(row.line.saturating_sub(1)) {
            let comment = line.as_ref().is_some_and(|l| {
                let text = l.trim_ascii();
                text.is_empty() || text.starts_with(b"#")
            });
            if !comment {
                *line = None;
            }
        }
    }

    fn replace(&mut self, row: &Row, with: &str) {
        self.remove(row);
        if let Some(line) = self.old.get_mut(row.line.saturating_sub(1)) {
            *line = Some(with.as_bytes().to_vec());
        }
    }

    fn added_at(&self, key: &str) -> Option<usize> {
        self.added.iter().position(|(k, _)| k == key)
    }

    fn set_added(&mut self, at: usize, line: String) {
        if let Some(row) = self.added.get_mut(at) {
            row.1 = line;
        }
    }

    fn add(&mut self, key: String, line: String) {
        self.added.push((key, line));
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for line in
            self.old.iter().flatten().map(Vec::as_slice).chain(self.added.iter().map(|a| a.1.as_bytes()))
        {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out
    }
}
