//! Building a table: its text is checked and marked as finished, and the compiled file beside it is written.

use super::{Failure, Session, warn};
use std::collections::HashSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tables::live::words;
use tables::text::{self, Row};

impl Session {
    /// Checks the text of `type:file`, has it adopted, and writes what else is to be written.
    pub fn build(&mut self, table: &str) -> Result<(), Failure> {
        let table = self.with_type(table);
        let (kind, file) = table.split_once(':').unwrap_or(("hash", &table));
        self.creatable(kind, file)?;
        if kind == "fail" {
            return Ok(());
        }
        let path = Path::new(file);
        let (bytes, source) = self.read_source(path)?;
        let parsed = text::parse(&bytes, self.grammar());
        for fault in &parsed.faults {
            warn(&self.name, &format!("{file}{fault}"));
        }
        let rows = self.rows_of(kind, file, parsed.rows, true);
        self.compile(kind, path, &source, rows)?;
        // Attributes that changed after the last write say that the text is finished. A file on a
        // medium that cannot be changed is still enough without it.
        let _ = source.metadata().and_then(|m| source.set_permissions(m.permissions()));
        Ok(())
    }

    /// Keys and values as a compiled file holds them; the first of equal keys counts. `aloud`: repeated ones are reported.
    fn rows_of(&self, kind: &str, file: &str, parsed: Vec<Row>, aloud: bool) -> Vec<(String, String)> {
        let mut seen = HashSet::new();
        let mut rows = Vec::with_capacity(parsed.len());
        for row in parsed {
            let key = self.folded(&row.key);
            if !seen.insert(key.clone()) {
                if aloud && !self.wishes.ignore && !self.wishes.replace {
                    warn(&self.name, &format!("{}: duplicate entry: \"{key}\"", duplicate_name(kind, file)));
                } else if aloud && self.wishes.replace {
                    let what = "-r has no effect on repeated rows of a text: the first one counts";
                    warn(&self.name, &format!("{file}, line {}: \"{key}\": {what}", row.last));
                }
                continue;
            }
            if let Some(value) = self.stored(&row, file) {
                rows.push((key, value));
            }
        }
        rows
    }

    /// Writes the compiled file anew after its text was edited, where there is one.
    pub(super) fn recompile(
        &self,
        kind: &str,
        path: &Path,
        text: &[u8],
        source: &File,
    ) -> Result<(), Failure> {
        if !compiled_name(kind, path).is_some_and(|target| target.exists()) {
            return Ok(());
        }
        let parsed = text::parse(text, self.grammar());
        let rows = self.rows_of(kind, &path.display().to_string(), parsed.rows, false);
        self.compile(kind, path, source, rows)
    }

    /// Refuses what cannot be built, in Postfix's words.
    pub(super) fn creatable(&self, kind: &str, file: &str) -> Result<(), Failure> {
        match kind {
            "hash" | "btree" | "lmdb" | "cdb" | "fail" if !file.is_empty() => Ok(()),
            _ if self.types.names().contains(&kind) => {
                let what = "does not support bulk-mode creation.";
                Err(self.fail(format!("unsupported dictionary type: {kind} {what}")))
            }
            _ => {
                let what = format!("Is the postfix-{kind} package installed?");
                Err(self.fail(format!("unsupported dictionary type: {kind}. {what}")))
            }
        }
    }

    /// Reads a text as its owner, not as root, unless `-o` was given.
    pub(super) fn read_source(&self, path: &Path) -> Result<(Vec<u8>, File), Failure> {
        let fail = |e: std::io::Error| self.fail(format!("open {}: {}", path.display(), words(&e)));
        let meta = std::fs::metadata(path).map_err(fail)?;
        if !meta.is_file() {
            return Err(self.fail(format!("open {}: not a regular file", path.display())));
        }
        if sys::spawn::effective_uid() == 0 && meta.uid() != 0 && !self.wishes.keep_root {
            sys::users::become_user(meta.uid(), meta.gid()).map_err(fail)?;
        }
        let mut file = File::open(path).map_err(fail)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        Ok((bytes, file))
    }

    pub(super) fn folded(&self, key: &str) -> String {
        if self.wishes.no_fold { key.to_string() } else { tables::fold(key).into_owned() }
    }

    /// The value as a compiled file holds it: with `-F`, the content of the files it names.
    fn stored(&self, row: &Row, file: &str) -> Option<String> {
        if !self.wishes.files {
            return Some(row.value.clone());
        }
        let mut content = Vec::new();
        for name in row.value.split([',', ' ', '\t']).filter(|n| !n.is_empty()) {
            match std::fs::read(name) {
                Ok(bytes) => {
                    content.extend(bytes);
                    content.push(b'\n');
                }
                Err(e) => {
                    let what = format!("open {name}: {}: skipping this entry", words(&e));
                    warn(&self.name, &format!("{file}, line {}: {what}", row.last));
                    return None;
                }
            }
        }
        Some(to_base64(&content))
    }

    /// Writes the compiled file. That of `lmdb:` is not written: nothing needs it where the text is.
    fn compile(
        &self,
        kind: &str,
        path: &Path,
        source: &File,
        mut rows: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let Some(target) = compiled_name(kind, path) else { return Ok(()) };
        if self.is_alias() {
            // What sendmail's relatives expect in an alias database.
            let now = sys::time::now_micros() / 1_000_000;
            let host = self.config.get("myhostname").unwrap_or_default();
            for (key, value) in
                [("YP_LAST_MODIFIED", now.to_string()), ("YP_MASTER_NAME", host), ("@", "@".into())]
            {
                rows.push((key.into(), value));
            }
        }
        // As on Debian, unless -N or -n was given.
        let end = if self.wishes.nul.unwrap_or(kind != "cdb") { "\0" } else { "" };
        let rows: Vec<tables::bdb::Row> = rows
            .into_iter()
            .map(|(k, v)| (format!("{k}{end}").into_bytes(), format!("{v}{end}").into_bytes()))
            .collect();
        let bytes = match kind {
            "cdb" => tables::cdb::build(rows.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
                .map_err(|e| self.fail(e))?,
            "btree" => tables::bdb::build(tables::bdb::Kind::Btree, rows),
            _ => tables::bdb::build(tables::bdb::Kind::Hash, rows),
        };
        let mode = match (target.metadata(), self.wishes.plain_mode) {
            (Ok(old), _) => old.mode() & 0o777,
            (Err(_), true) => 0o644,
            (Err(_), false) => source.metadata().map_or(0o644, |m| m.mode() & 0o666),
        };
        let doing = if kind == "cdb" { "create" } else { "open database" };
        replace(&target, &bytes, mode)
            .map_err(|e| self.fail(format!("{doing} {}: {}", target.display(), words(&e))))
    }
}

/// The compiled file beside a text, where one is written.
fn compiled_name(kind: &str, path: &Path) -> Option<PathBuf> {
    Some(PathBuf::from(format!("{}{}", path.display(), tables::compiled_suffix(kind)?)))
}

/// What Postfix calls the table when it reports a repeated key.
pub(super) fn duplicate_name(kind: &str, file: &str) -> String {
    match kind {
        "hash" | "btree" => format!("{file}.db"),
        "lmdb" => format!("lmdb:{file}"),
        _ => file.to_string(),
    }
}

/// Puts new content in the place of a file at once, durably.
pub(super) fn replace(target: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, target)?;
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 4
fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - part.len()));
        for i in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * i) & 63) as usize);
            out.push(digit.filter(|_| i <= part.len()).map_or('=', |d| char::from(*d)));
        }
    }
    out
}

/// RFC 4648 4
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in body.bytes() {
        let value = DIGITS.iter().position(|d| *d == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 255) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("one\n\ntwo\n", "b25lCgp0d28K")]
        {
            assert_eq!(to_base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).as_deref(), Some(plain.as_bytes()));
        }
        for bad in ["!!!!", "Zg", "Zg=", "===="] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }
}
