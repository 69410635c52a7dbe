//! Appending to a mailbox in mbox format, or to another file.
//!
//! The file is opened without following links that others could have made, locked, and written to
//! its end; when anything fails it is cut back to the length it had. Success means that the bytes
//! are on the disk. Several messages share the lock and the sync; should anything fail with that, they are cut off again
//! and written one by one, so that each has its own fate as if it had come alone.

use crate::answer::{Tell, say};
use crate::content::{Content, Copier, Failed};
use crate::events::{LockFile, MailboxOwner, NotCutBack};
use crate::mail::{os_text, unix_status};
use crate::mbox_lock::{DotLock, Locks};
use proto::status::{Code, Status};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How the file is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub path: &'a Path,
    /// Who must own it (mailboxes), and whether another owner is an error.
    pub owner: Option<(u32, bool)>,
    /// A dot lock is wanted; the parent may hold it already (then false).
    pub dot_lock: bool,
    /// Go on when a dot lock cannot be made (files named in aliases).
    pub dot_lock_may_fail: bool,
    /// No executable file is written to (files named in aliases).
    pub refuse_executable: bool,
    /// What it comes to when the file cannot be opened or locked.
    pub code: Code,
}

/// Why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code.
    pub code: Code,
    /// Words that complete "cannot update mailbox …".
    pub why: String,
    /// What kind of failure, where that matters.
    pub because: Because,
}

/// Failures that are spoken of in their own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// Any other.
    Other,
    /// It failed while the message was copied: notices then name an input or output error.
    Copying,
    /// A mailbox must be a regular file.
    NotRegular,
    /// Somebody else has it locked.
    Locked,
}

impl Failure {
    /// A failure before the message was copied.
    pub fn new(code: Code, why: impl Into<String>) -> Failure {
        Failure { code, why: why.into(), because: Because::Other }
    }

    /// The status, with the words put in front.
    pub fn status(self, before: &str) -> Status {
        let text = format!("{before}{}", self.why);
        if self.because == Because::Copying {
            unix_status(self.code, text, "input/output error".into())
        } else {
            Status::new(self.code, text)
        }
    }
}

/// The code of an error: try again, system trouble, mailbox full, or `other`.
pub(crate) fn code_of(error: &io::Error, other: Code) -> Code {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::StaleNetworkFileHandle | io::ErrorKind::AlreadyExists => {
            Code(4, 2, 0)
        }
        io::ErrorKind::StorageFull => Code(4, 3, 0),
        io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Code(5, 2, 2),
        io::ErrorKind::OutOfMemory => Code(4, 3, 0),
        _ => other,
    }
}

/// What a mailbox of an account that cannot be opened or locked comes to.
pub(crate) const OPEN: Code = Code(5, 2, 0);

/// One message on its way into a file.
pub(crate) struct Parcel {
    /// The lines before it.
    pub before: Vec<u8>,
    pub content: Content,
}

/// Appends messages, each with the lines before it and an empty line after it, in their order and under one lock; gives what
/// became of each. `limit` is the most that the file may hold afterwards; 0 is without limit.
pub(crate) fn append(
    target: &Target<'_>,
    locks: &Locks,
    parcels: &[Parcel],
    limit: u64,
    tell: &dyn Tell,
) -> Vec<Result<(), Failure>> {
    match open_locked(target, locks, tell) {
        Err(failure) => parcels.iter().map(|_| Err(failure.clone())).collect(),
        Ok(mut place) => place.take(parcels, limit, tell),
    }
}

/// A file that is ours to write to until this is dropped.
struct Place {
    file: File,
    /// What it is called.
    path: PathBuf,
    regular: bool,
    _dot: Option<DotLock>,
}

fn open_locked(target: &Target<'_>, locks: &Locks, tell: &dyn Tell) -> Result<Place, Failure> {
    let path = target.path;
    let dot = if target.dot_lock && is_lockable(path) {
        match locks.dot_lock(path, tell) {
            Ok(lock) => Some(lock),
            Err(e) => {
                let (lock, what) = (format!("{}.lock", path.display()), os_text(&lock_error(&e)));
                if !target.dot_lock_may_fail || e.kind() == io::ErrorKind::AlreadyExists {
                    let why = format!("unable to create lock file {lock}: {what}");
                    let because = match e.kind() {
                        io::ErrorKind::AlreadyExists => Because::Locked,
                        _ => Because::Other,
                    };
                    return Err(Failure { because, ..Failure::new(code_of(&e, target.code), why) });
                }
                say(tell, &LockFile { path: lock, what });
                None
            }
        }
    } else {
        None
    };
    let (file, meta) = open(path, target)?;
    let regular = meta.is_file();
    if regular {
        match locks.lock_file(&file) {
            Ok(true) => {}
            Ok(false) => {
                let what = "unable to lock for exclusive access: Resource temporarily unavailable";
                return Err(Failure { because: Because::Locked, ..Failure::new(Code(4, 2, 0), what) });
            }
            Err(e) => {
                let what = format!("unable to lock for exclusive access: {}", os_text(&e));
                return Err(Failure::new(code_of(&e, target.code), what));
            }
        }
    }
    if regular {
        // Whoever held the lock may have put another file in its place: mail must not go into one
        // that has no name any more.
        let named = std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
        if named.ok() != Some((meta.dev(), meta.ino())) {
            return Err(Failure::new(Code(4, 2, 0), "file status changed unexpectedly"));
        }
    }
    if let Some((owner, strict)) = target.owner {
        if !regular {
            let what = format!("destination {} is not a regular file", path.display());
            return Err(Failure { because: Because::NotRegular, ..Failure::new(target.code, what) });
        }
        if strict && meta.uid() != owner {
            say(tell, &MailboxOwner {});
            let what = format!("destination {} is not owned by recipient", path.display());
            return Err(Failure::new(Code(4, 2, 0), what));
        }
    }
    if target.refuse_executable && regular && meta.mode() & 0o111 != 0 {
        return Err(Failure::new(Code(5, 7, 1), "file is executable"));
    }
    Ok(Place { file, path: path.to_path_buf(), regular, _dot: dot })
}

impl Place {
    fn take(&mut self, parcels: &[Parcel], limit: u64, tell: &dyn Tell) -> Vec<Result<(), Failure>> {
        if parcels.len() > 1 && self.regular {
            match self.all(parcels, limit, tell) {
                Ok(Some(all)) => return all,
                Ok(None) => {}
                // Some of them may stand there already: nothing is put behind it.
                Err(failure) => return parcels.iter().map(|_| Err(failure.clone())).collect(),
            }
        }
        // One at a time each has its own fate: those that still fit on a full disk are delivered.
        let mut left = None;
        let each = parcels.iter().map(|parcel| match &left {
            Some(failure) => Err(Failure::clone(failure)),
            None => self.one(parcel, limit, tell).map_err(|(failure, cut)| {
                left = (!cut).then(|| failure.clone());
                failure
            }),
        });
        each.collect()
    }

    /// Writes all with one sync. `None`: that failed, and nothing of them is left; an error: something may be.
    fn all(
        &mut self,
        parcels: &[Parcel],
        limit: u64,
        tell: &dyn Tell,
    ) -> Result<Option<Vec<Result<(), Failure>>>, Failure> {
        let Ok(start) = self.file.seek(SeekFrom::End(0)) else { return Ok(None) };
        match self.pour(parcels, start, limit) {
            Ok(all) => Ok(Some(all)),
            Err(e) => self.cut_back(start, writing(e), tell).map(|()| None),
        }
    }

    fn pour(
        &mut self,
        parcels: &[Parcel],
        start: u64,
        limit: u64,
    ) -> Result<Vec<Result<(), Failure>>, io::Error> {
        let mut out = self.gap(start);
        let mut at = start;
        let mut results = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let from = out.len();
            let room = if limit > 0 { limit.saturating_sub(at + from as u64) } else { u64::MAX };
            let written = lines(parcel, room, |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            });
            if written.is_err() {
                out.truncate(from);
            }
            results.push(written);
            if out.len() >= TOGETHER {
                self.file.write_all(&out)?;
                at += out.len() as u64;
                out.clear();
            }
        }
        self.file.write_all(&out)?;
        self.file.sync_all()?;
        Ok(results)
    }

    /// Writes one. Of a failure: whether nothing of it is left.
    fn one(&mut self, parcel: &Parcel, limit: u64, tell: &dyn Tell) -> Result<(), (Failure, bool)> {
        let end = |file: &mut File| file.seek(SeekFrom::End(0)).map_err(|e| (writing(e), true));
        let start = if self.regular { end(&mut self.file)? } else { 0 };
        let room = if self.regular && limit > 0 { limit.saturating_sub(start) } else { u64::MAX };
        let mut out = if self.regular { self.gap(start) } else { Vec::new() };
        let room = room.saturating_sub(out.len() as u64);
        let file = &mut self.file;
        let mut written = lines(parcel, room, |bytes| {
            out.extend_from_slice(bytes);
            if out.len() >= TOGETHER {
                file.write_all(&out)?;
                out.clear();
            }
            Ok(())
        });
        if written.is_ok() {
            written = file.write_all(&out).map_err(writing);
        }
        if written.is_ok() && self.regular {
            written = file.sync_all().map_err(writing);
        }
        match written {
            Ok(()) => Ok(()),
            Err(failure) if self.regular => match self.cut_back(start, failure.clone(), tell) {
                Ok(()) => Err((failure, true)),
                Err(worse) => Err((worse, false)),
            },
            Err(failure) => Err((failure, true)),
        }
    }

    /// What was there before the delivery is all that must be there after it. Where that cannot be had the mail
    /// waits, whatever the failure was, and the administrator is told of the piece that is left.
    fn cut_back(&self, start: u64, failure: Failure, tell: &dyn Tell) -> Result<(), Failure> {
        let cut = self.file.set_len(start).and_then(|()| self.file.sync_all());
        let Err(e) = cut else { return Ok(()) };
        let what = os_text(&e);
        say(tell, &NotCutBack { path: self.path.display().to_string(), length: start, what: what.clone() });
        let why = format!("{}; what was written of it cannot be removed: {what}", failure.why);
        Err(Failure { code: Code(4, 3, 0), why, ..failure })
    }

    /// What must stand before the next message: whoever died while writing to a mailbox may have left half a line, and the
    /// message behind it would be a part of that one.
    fn gap(&self, length: u64) -> Vec<u8> {
        let mut last = [b'\n'];
        if length > 0 {
            // Files that may only be written to stay as they are.
            let _ = self.file.read_at(&mut last, length - 1);
        }
        if last == [b'\n'] { Vec::new() } else { b"\n\n".to_vec() }
    }
}

/// So many bytes are written at a time.
pub(crate) const TOGETHER: usize = 256 * 1024;

/// A message as it stands in the file, at most `room` bytes.
fn lines(
    parcel: &Parcel,
    mut room: u64,
    mut out: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut put = |bytes: &[u8]| {
        room = room
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::from_raw_os_error(FILE_TOO_LARGE))?;
        out(bytes)
    };
    put(&parcel.before).map_err(writing)?;
    let copier = Copier::new(b"\n").quoting_from(true);
    parcel.content.copy(copier, &mut put).map_err(copying)?;
    put(b"\n").map_err(writing)
}

fn lock_error(e: &io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::AlreadyExists {
        // The words of EEXIST; the kind alone would speak otherwise.
        return io::Error::from_raw_os_error(17);
    }
    e.raw_os_error().map_or_else(|| io::Error::from(e.kind()), io::Error::from_raw_os_error)
}

/// Devices such as /dev/null need no lock file beside them.
fn is_lockable(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |m| m.is_file())
}

/// EFBIG.
pub(crate) const FILE_TOO_LARGE: i32 = 27;

pub(crate) fn writing(e: io::Error) -> Failure {
    let why = format!("error writing message: {}", os_text(&e));
    Failure { code: code_of(&e, Code(5, 3, 0)), why, because: Because::Copying }
}

pub(crate) fn copying(failed: Failed) -> Failure {
    match failed {
        Failed::Write(e) => writing(e),
        Failed::Read(e) => {
            let why = format!("error reading message: {}", os_text(&e));
            Failure { code: Code(4, 3, 0), why, because: Because::Copying }
        }
    }
}

/// Opens an existing file, or makes it. Links are followed only where nobody but root could have
/// made them; a file with several names is refused.
fn open(path: &Path, target: &Target<'_>) -> Result<(File, Metadata), Failure> {
    let (code, mailbox) = (target.code, target.owner.is_some());
    let mut tries = 0;
    loop {
        tries += 1;
        match open_existing(path, mailbox) {
            Err(Refused::Because(what)) => return Err(Failure::new(code, what)),
            Err(Refused::Error(e)) if e.kind() == io::ErrorKind::NotFound => {}
            Err(Refused::Error(e)) => {
                return Err(Failure::new(code_of(&e, code), format!("cannot open file: {}", os_text(&e))));
            }
            Ok(found) => return Ok(found),
        }
        let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
        match made.and_then(|f| f.metadata().map(|m| (f, m))) {
            // Somebody else made it in between.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < 3 => {}
            Err(e) => {
                let why = format!("cannot create file exclusively: {}", os_text(&e));
                return Err(Failure::new(code_of(&e, code), why));
            }
            Ok(made) => return Ok(made),
        }
    }
}

/// Why a file is not opened.
enum Refused {
    /// The system does not let us.
    Error(io::Error),
    /// It is not to be trusted.
    Because(String),
}

impl From<io::Error> for Refused {
    fn from(e: io::Error) -> Refused {
        Refused::Error(e)
    }
}

fn open_existing(path: &Path, mailbox: bool) -> Result<(File, Metadata), Refused> {
    let named = std::fs::symlink_metadata(path)?;
    let refuse = |what: &str| Err(Refused::Because(what.to_string()));
    if named.is_symlink() {
        let parent = path.parent().map(std::fs::symlink_metadata).transpose()?;
        let safe = parent.is_some_and(|p| p.uid() == 0 && p.mode() & 0o022 == 0);
        if named.uid() != 0 || !safe {
            return refuse("file is a symbolic link");
        }
    }
    let mut options = OpenOptions::new();
    options.append(true);
    if named.is_dir() {
        return Err(io::Error::from_raw_os_error(21).into());
    }
    if !named.is_symlink() {
        options.custom_flags(sys::host::O_NOFOLLOW | sys::host::O_NONBLOCK);
    }
    // The end of a mailbox is looked at, if its owner may read it.
    let readable = if mailbox && named.is_file() { options.clone().read(true).open(path).ok() } else { None };
    let file = match readable {
        Some(file) => file,
        None => options.open(path)?,
    };
    let meta = file.metadata()?;
    if !named.is_symlink() && (meta.dev(), meta.ino()) != (named.dev(), named.ino()) {
        return refuse("file status changed unexpectedly");
    }
    if meta.is_file() && meta.nlink() > 1 {
        return refuse(&format!("file has {} hard links", meta.nlink()));
    }
    Ok((file, meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proto::job::Say;
    use std::cell::RefCell;

    struct Heard(RefCell<Vec<String>>);

    impl Tell for Heard {
        fn log(&self, _: Say, text: String) {
            self.0.borrow_mut().push(text);
        }
    }

    fn memory(text: &[u8]) -> File {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"mailbox", flags).unwrap());
        (&file).write_all(text).unwrap();
        file
    }

    #[test]
    fn what_cannot_be_cut_off_again_is_told_and_nothing_is_put_behind_it() {
        let text = "yyyyyyy\n".repeat(TOGETHER / 4);
        let content = Content::new(memory(text.as_bytes()), 0, text.len() as u64);
        let parcel = Parcel { before: b"From x\n".to_vec(), content };
        for stubborn in [false, true] {
            let file = memory(b"before\n");
            if stubborn {
                fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
            }
            let heard = Heard(RefCell::default());
            let mut place = Place { file, path: "/var/mail/x".into(), regular: true, _dot: None };
            // A part of it is written before it is too much.
            let limit = TOGETHER as u64 * 3 / 2;
            let (failure, cut) = place.one(&parcel, limit, &heard).unwrap_err();
            let length = place.file.metadata().unwrap().len();
            assert_eq!(
                (cut, length > 7, heard.0.borrow().len()),
                (!stubborn, stubborn, usize::from(stubborn))
            );
            // Too large for good, unless a piece was left.
            assert_eq!(failure.code, if stubborn { Code(4, 3, 0) } else { Code(5, 2, 2) });
            if stubborn {
                assert!(heard.0.borrow()[0].starts_with("cannot cut mailbox /var/mail/x back to 7 bytes: "));
                assert!(failure.why.contains("cannot be removed"), "{}", failure.why);
            }
        }
    }
}
