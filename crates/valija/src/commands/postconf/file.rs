//! A configuration file is never half written: a new file is made beside it, made durable, given the
//! mode and owner of the old one, and renamed over it. A lock on the new file keeps two editors from
//! losing each other's changes: the old file is read only under it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// An edit of one file in progress; without [`Edit::commit`] nothing changes.
pub(super) struct Edit {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    done: bool,
}

impl Edit {
    /// Locks the file and reads it.
    pub(super) fn begin(path: &Path) -> Result<(Edit, Vec<u8>), String> {
        // A symbolic link stays; what it leads to is replaced.
        let target = path.canonicalize().map_err(|e| failed_reading(path, &e))?;
        let mut temporary = target.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(sys::host::O_NOFOLLOW)
                .open(&temporary)
                .map_err(|e| failed("open", &temporary, &e))?;
            file.lock().map_err(|e| failed("lock", &temporary, &e))?;
            let same = match (file.metadata(), std::fs::symlink_metadata(&temporary)) {
                (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
                _ => false,
            };
            // Another editor renamed or removed what was waited for: begin with the new one.
            if !same {
                continue;
            }
            let edit = Edit { target, temporary, file, done: false };
            let bytes = std::fs::read(&edit.target).map_err(|e| failed_reading(path, &e))?;
            return Ok((edit, bytes));
        }
    }

    /// Replaces the file by `bytes`.
    pub(super) fn commit(mut self, bytes: &[u8]) -> Result<(), String> {
        let say = |what: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |e: std::io::Error| failed(what, &path, &e)
        };
        let old = std::fs::metadata(&self.target).map_err(say("stat", &self.target))?;
        self.file.set_len(0).map_err(say("truncate", &self.temporary))?;
        self.file.write_all(bytes).map_err(say("write", &self.temporary))?;
        let new = self.file.metadata().map_err(say("stat", &self.temporary))?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&self.file, Some(old.uid()), Some(old.gid())).map_err(say("chown", &self.temporary))?;
        }
        self.file.set_permissions(old.permissions()).map_err(say("chmod", &self.temporary))?;
        self.file.sync_all().map_err(say("fsync", &self.temporary))?;
        std::fs::rename(&self.temporary, &self.target).map_err(say("rename", &self.temporary))?;
        self.done = true;
        if let Some(directory) = self.target.parent() {
            let _ = File::open(directory).and_then(|d| d.sync_all());
        }
        Ok(())
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// `open /etc/postfix/main.cf: No such file or directory`.
pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> String {
    format!("{what} {}: {}", path.display(), reason(error))
}

fn failed_reading(path: &Path, error: &std::io::Error) -> String {
    format!("open {} for reading: {}", path.display(), reason(error))
}

fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

/// A file's lines with their ends, joined to logical lines: comments and empty lines are pieces of
/// their own, which continue whatever stands before them.
pub(super) struct Piece<'a> {
    /// The physical line with its end.
    pub(super) line: &'a [u8],
    pub(super) kind: PieceKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// A comment or an empty line.
    Aside,
    /// A line that continues the last [`PieceKind::First`].
    More,
    /// The first line of an entry.
    First,
}

/// The lines of a file.
pub(super) fn pieces(bytes: &[u8]) -> Vec<Piece<'_>> {
    let lines = bytes.split_inclusive(|b| *b == b'\n');
    lines
        .map(|line| {
            let first = line.iter().find(|b| !b.is_ascii_whitespace() && **b != 0x0b);
            let kind = match first {
                None | Some(b'#') => PieceKind::Aside,
                _ if line.first().is_some_and(|b| b.is_ascii_whitespace() || *b == 0x0b) => PieceKind::More,
                _ => PieceKind::First,
            };
            Piece { line, kind }
        })
        .collect()
}

/// Appends a line, and first ends an unended one.
pub(super) fn push_line(out: &mut Vec<u8>, line: &str) {
    if out.last().is_some_and(|b| *b != b'\n') {
        out.push(b'\n');
    }
    out.extend_from_slice(line.as_bytes());
}

/// Refuses words that would become several lines or a comment.
pub(super) fn one_line(words: &[String]) -> Result<(), String> {
    for word in words {
        if word.contains('\n') {
            return Err("-e, -X, or -# accepts no multi-line input".into());
        }
        if word.trim_start().starts_with('#') {
            return Err("-e, -X, or -# accepts no comment input".into());
        }
    }
    Ok(())
}
