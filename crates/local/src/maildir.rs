//! Delivery into a maildir: written and synced in `tmp/`, then linked into `new/`.
//!
//! The unique name is the moment, the device and number of the file, and the host.

use crate::answer::{Tell, say};
use crate::content::{Content, Copier};
use crate::events::{Maildir, MaildirHint};
use crate::mail::os_text;
use crate::mbox::{FILE_TOO_LARGE, Failure, code_of, copying, writing};
use proto::status::Code;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Delivers into the maildir `directory`, making it when it is not there. The words of a failure
/// complete "maildir delivery failed: …"; `code` is what it comes to when no file can be made.
pub(crate) fn deliver(
    directory: &Path,
    before: &[u8],
    content: &Content,
    limit: u64,
    code: Code,
    tell: &dyn Tell,
) -> Result<(), Failure> {
    let now = sys::time::now_micros();
    let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
    let host: String =
        sys::host::name().chars().map(|c| if c == '/' || c == ':' { '_' } else { c }).collect();
    let tmp = directory.join("tmp").join(format!("{seconds}.P{}.{host}", std::process::id()));
    let (mut file, meta) = create(directory, &tmp).map_err(|e| {
        let what = format!("create maildir file {}: {}", tmp.display(), os_text(&e));
        if e.kind() == io::ErrorKind::PermissionDenied {
            let who = sys::users::identities();
            say(tell, &Maildir { uid: who.euid, gid: who.egid, what: what.clone() });
            say(tell, &MaildirHint {});
        }
        Failure::new(code_of(&e, code), what)
    })?;
    let done = write(&mut file, before, content, limit).and_then(|()| {
        let name = format!("{seconds}.V{:x}I{:x}M{micros}.{host}", meta.dev(), meta.ino());
        let new = directory.join("new").join(name);
        let moved = std::fs::rename(&tmp, &new).or_else(|_| {
            make(&directory.join("new"))?;
            std::fs::rename(&tmp, &new)
        });
        moved.and_then(|()| File::open(directory.join("new"))?.sync_all()).map_err(|e| {
            let what = format!("create maildir file {}: {}", new.display(), os_text(&e));
            Failure::new(code_of(&e, Code(4, 2, 0)), what)
        })
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&tmp);
    }
    done
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

fn write(file: &mut File, before: &[u8], content: &Content, limit: u64) -> Result<(), Failure> {
    let mut room = if limit > 0 { limit } else { u64::MAX };
    let mut put = |bytes: &[u8]| {
        room = room
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::from_raw_os_error(FILE_TOO_LARGE))?;
        file.write_all(bytes)
    };
    put(before).map_err(writing)?;
    content.copy(Copier::new(b"\n"), &mut put).map_err(copying)?;
    file.sync_all().map_err(writing)
}
