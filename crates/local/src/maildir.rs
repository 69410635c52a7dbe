//! Delivery into a maildir: written and synced in `tmp/`, then linked into `new/`.
//!
//! Several messages are written first, then synced and moved one by one; `new/` is synced once, before any of them counts as
//! delivered. The unique name is the moment, the device and number of the file, and the host.

use crate::answer::{Tell, say};
use crate::content::Copier;
use crate::events::{Maildir, MaildirHint};
use crate::mail::os_text;
use crate::mbox::{FILE_TOO_LARGE, Failure, Parcel, TOGETHER, code_of, copying, writing};
use proto::status::Code;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Delivers messages into the maildir `directory`, making it when it is not there, and syncs its directory once for all of them;
/// gives what became of each. The words of a failure complete "maildir delivery failed: …"; `code` is what it comes to when no
/// file can be made.
pub(crate) fn deliver(
    directory: &Path,
    parcels: &[Parcel],
    limit: u64,
    code: Code,
    tell: &dyn Tell,
) -> Vec<Result<(), Failure>> {
    let host: String =
        sys::host::name().chars().map(|c| if c == '/' || c == ':' { '_' } else { c }).collect();
    let delivery = Delivery { directory, host, limit, code };
    let several = parcels.len() > 1;
    let written: Vec<Result<Written, Failure>> = parcels
        .iter()
        .enumerate()
        .map(|(n, parcel)| {
            let written = delivery.write(parcel, n, tell)?;
            if several {
                // The disk has something to do, and one commit of its journal may do for several.
                sys::durable::begin_writing(&written.file);
            }
            Ok(written)
        })
        .collect();
    let mut moved = Vec::with_capacity(written.len());
    for file in written {
        moved.push(file.and_then(|file| delivery.finish(file)));
    }
    if moved.iter().any(Result::is_ok) {
        let new = directory.join("new");
        let synced = File::open(&new).and_then(|d| d.sync_all());
        if let Err(e) = synced {
            let what = format!("create maildir file {}: {}", new.display(), os_text(&e));
            let failure = Failure::new(code_of(&e, Code(4, 2, 0)), what);
            moved.iter_mut().filter(|m| m.is_ok()).for_each(|m| *m = Err(failure.clone()));
        }
    }
    moved
}

/// What is the same for all messages.
struct Delivery<'a> {
    directory: &'a Path,
    host: String,
    limit: u64,
    code: Code,
}

/// A message in `tmp/`.
struct Written {
    file: File,
    tmp: PathBuf,
    /// Its name in `new/`.
    name: String,
}

impl Delivery<'_> {
    fn write(&self, parcel: &Parcel, n: usize, tell: &dyn Tell) -> Result<Written, Failure> {
        let now = sys::time::now_micros();
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        let (directory, host, process) = (self.directory, &self.host, std::process::id());
        let own = if n == 0 { String::new() } else { format!("Q{n}") };
        let tmp = directory.join("tmp").join(format!("{seconds}.P{process}{own}.{host}"));
        let (mut file, meta) = create(directory, &tmp).map_err(|e| {
            let what = format!("create maildir file {}: {}", tmp.display(), os_text(&e));
            if e.kind() == io::ErrorKind::PermissionDenied {
                let who = sys::users::identities();
                say(tell, &Maildir { uid: who.euid, gid: who.egid, what: what.clone() });
                say(tell, &MaildirHint {});
            }
            Failure::new(code_of(&e, self.code), what)
        })?;
        if let Err(failure) = fill(&mut file, parcel, self.limit) {
            let _ = std::fs::remove_file(&tmp);
            return Err(failure);
        }
        let name = format!("{seconds}.V{:x}I{:x}M{micros}.{host}", meta.dev(), meta.ino());
        Ok(Written { file, tmp, name })
    }

    fn finish(&self, Written { file, tmp, name }: Written) -> Result<(), Failure> {
        let new = self.directory.join("new").join(name);
        let moved = file.sync_all().map_err(writing).and_then(|()| {
            let moved = std::fs::rename(&tmp, &new).or_else(|_| {
                make(&self.directory.join("new"))?;
                std::fs::rename(&tmp, &new)
            });
            moved.map_err(|e| {
                let what = format!("create maildir file {}: {}", new.display(), os_text(&e));
                Failure::new(code_of(&e, Code(4, 2, 0)), what)
            })
        });
        if moved.is_err() {
            let _ = std::fs::remove_file(&tmp);
        }
        moved
    }
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn create(directory: &Path, tmp: &Path) -> io::Result<(File, std::fs::Metadata)> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(tmp);
    let file = match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            for part in ["tmp", "new", "cur"] {
                make(&directory.join(part))?;
            }
            open()?
        }
        // A number used again within a second, after a crash.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(tmp)?;
            open()?
        }
        other => other?,
    };
    let meta = file.metadata()?;
    Ok((file, meta))
}

fn fill(file: &mut File, parcel: &Parcel, limit: u64) -> Result<(), Failure> {
    let mut room = if limit > 0 { limit } else { u64::MAX };
    let mut out = Vec::new();
    let mut put = |bytes: &[u8]| {
        room = room
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::from_raw_os_error(FILE_TOO_LARGE))?;
        out.extend_from_slice(bytes);
        if out.len() >= TOGETHER {
            file.write_all(&out)?;
            out.clear();
        }
        Ok(())
    };
    put(&parcel.before).map_err(writing)?;
    parcel.content.copy(Copier::new(b"\n"), &mut put).map_err(copying)?;
    file.write_all(&out).map_err(writing)
}
