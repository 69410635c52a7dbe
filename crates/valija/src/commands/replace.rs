//! A configuration file is never half written: a new file is made beside it, made durable, given the
//! mode and owner of the old one, and renamed over it. A lock on the new file keeps two editors from
//! losing each other's changes: the old file is read only under it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
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
        let edit = Edit::lock(target)?;
        let bytes = std::fs::read(&edit.target).map_err(|e| failed_reading(path, &e))?;
        Ok((edit, bytes))
    }

    /// The same for a file that need not exist yet: then there is nothing to read.
    pub(super) fn begin_or_create(path: &Path) -> Result<(Edit, Option<Vec<u8>>), String> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => Edit::begin(path).map(|(edit, bytes)| (edit, Some(bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let edit = Edit::lock(path.to_path_buf())?;
                match std::fs::read(path) {
                    Ok(bytes) => Ok((edit, Some(bytes))),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((edit, None)),
                    Err(e) => Err(failed_reading(path, &e)),
                }
            }
            Err(e) => Err(failed_reading(path, &e)),
        }
    }

    fn lock(target: PathBuf) -> Result<Edit, String> {
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
            if same {
                return Ok(Edit { target, temporary, file, done: false });
            }
        }
    }

    /// Replaces the file by `bytes`.
    pub(super) fn commit(mut self, bytes: &[u8]) -> Result<(), String> {
        let old = std::fs::metadata(&self.target).map_err(|e| failed("stat", &self.target, &e))?;
        self.prepare(bytes, old.permissions(), Some(&old))?;
        self.finish()
    }

    /// Writes `bytes` beside the file, with this mode and the owner of `old`; nothing is replaced yet.
    pub(super) fn prepare(
        &mut self,
        bytes: &[u8],
        mode: Permissions,
        old: Option<&std::fs::Metadata>,
    ) -> Result<(), String> {
        let temporary = &self.temporary;
        let say = |what: &'static str| move |e: std::io::Error| failed(what, temporary, &e);
        // Nobody reads what is written before it has the mode it shall have.
        self.file.set_permissions(Permissions::from_mode(0o600)).map_err(say("chmod"))?;
        self.file.set_len(0).map_err(say("truncate"))?;
        self.file.write_all(bytes).map_err(say("write"))?;
        if let Some(old) = old {
            let new = self.file.metadata().map_err(say("stat"))?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&self.file, Some(old.uid()), Some(old.gid())).map_err(say("chown"))?;
            }
        }
        self.file.set_permissions(mode).map_err(say("chmod"))?;
        self.file.sync_all().map_err(say("fsync"))
    }

    /// Puts what was prepared in the file's place.
    pub(super) fn finish(mut self) -> Result<(), String> {
        std::fs::rename(&self.temporary, &self.target).map_err(|e| failed("rename", &self.temporary, &e))?;
        self.done = true;
        if let Some(directory) = self.target.parent() {
            let _ = File::open(directory).and_then(|d| d.sync_all());
        }
        Ok(())
    }

    /// The file that is replaced: where a symbolic link leads.
    pub(super) fn target(&self) -> &Path {
        &self.target
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
