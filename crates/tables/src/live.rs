//! Files that are read again when they change, while the program runs.
//!
//! A changed file is adopted by itself when it parses cleanly and has been still for two seconds,
//! or at once when its attributes changed after its last byte was written: that is what `postmap`
//! and `newaliases` do to the text, and what `mv` of a finished file does. Else the last good
//! content stays, and a notice says so once. [`Live::refresh`] adopts at once, faulty rows left out.
//!
//! A lookup costs one clock reading and a read lock; the file's attributes are asked for at most
//! 20 times a second, so that a lookup after `postmap` sees what Postfix would.

use crate::types::{braced, split_list};
use crate::{Owner, TableError, Types};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

const CHECK: Duration = Duration::from_millis(50);
const STILL: Duration = Duration::from_secs(2);

/// What was read from a file.
pub struct Content<T> {
    /// The table's own form of it.
    pub value: T,
    /// Rows that were skipped or look wrong, each with file and line.
    pub faults: Vec<String>,
    /// No row had to be skipped.
    pub clean: bool,
}

/// Turns bytes into a table's own form; `Err` is a file that cannot be used at all.
pub type Parse<T> = Box<dyn Fn(&Path, &[u8]) -> Result<Content<T>, (String, String)> + Send + Sync>;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(meta: &Metadata) -> Mark {
        Mark {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// The same bytes as far as attributes can tell.
    fn same_content(&self, other: &Mark) -> bool {
        Mark { changed: other.changed, ..*self } == *other
    }

    /// Last written at least `STILL` ago, and not in the future.
    fn still(&self) -> bool {
        let modified = Duration::new(self.modified.0.max(0) as u64, self.modified.1.max(0) as u32);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.checked_sub(modified).is_some_and(|age| age >= STILL)
    }

    /// Attributes changed after the last write: someone finished with it.
    fn finished(&self) -> bool {
        self.changed > self.modified
    }
}

struct Held<T> {
    value: Result<Arc<T>, TableError>,
    owner: u32,
    which: usize,
}

struct Watch {
    /// The state that is in use.
    used: Option<(usize, Mark)>,
    /// A newer state, and since when it has been seen unchanged.
    pending: Option<(usize, Mark, Instant)>,
    /// A state about which the notice was given.
    told: Option<(usize, Mark)>,
}

/// The content of the first of some files that is there.
pub struct Live<T> {
    types: Types,
    table: String,
    sources: Vec<(PathBuf, Parse<T>)>,
    held: RwLock<Held<T>>,
    watch: Mutex<Watch>,
    next_check: AtomicU64,
    epoch: Instant,
}

impl<T: Send + Sync> Live<T> {
    /// Opens the first of `sources` that is there. What cannot be read is an error of each lookup,
    /// until it can.
    pub fn open(types: &Types, table: &str, sources: Vec<(PathBuf, Parse<T>)>) -> Live<T> {
        let none = TableError::new(table, "not read yet", "try again");
        let live = Live {
            types: types.clone(),
            table: table.to_string(),
            sources,
            held: RwLock::new(Held { value: Err(none), owner: u32::MAX, which: 0 }),
            watch: Mutex::new(Watch { used: None, pending: None, told: None }),
            next_check: AtomicU64::new(0),
            epoch: Instant::now(),
        };
        live.check(true);
        live
    }

    /// The content as it is now.
    pub fn get(&self) -> Result<Arc<T>, TableError> {
        self.look();
        self.held.read().unwrap_or_else(|e| e.into_inner()).value.clone()
    }

    /// The user who owns the file in use, and which of the sources it is.
    pub fn owner(&self) -> Option<(u32, usize)> {
        self.look();
        let held = self.held.read().unwrap_or_else(|e| e.into_inner());
        held.value.is_ok().then_some((held.owner, held.which))
    }

    /// Adopts a changed file at once.
    pub fn refresh(&self) {
        self.check(true);
    }

    fn look(&self) {
        let now = self.epoch.elapsed().as_millis() as u64;
        let next = self.next_check.load(Ordering::Relaxed);
        let later = now + CHECK.as_millis() as u64;
        if now >= next
            && self.next_check.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.check(false);
        }
    }

    fn check(&self, now: bool) {
        // Whoever comes second while a file is being read goes on with the old content.
        let mut watch = match (now, self.watch.try_lock()) {
            (_, Ok(watch)) => watch,
            (true, Err(_)) => self.watch.lock().unwrap_or_else(|e| e.into_inner()),
            (false, Err(_)) => return,
        };
        let mut error = None;
        for (which, (path, _)) in self.sources.iter().enumerate() {
            match self.mark(path) {
                Ok(mark) => return self.consider(&mut watch, which, mark, now),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    error.get_or_insert((path, e));
                }
                Err(e) => {
                    error = Some((path, e));
                    break;
                }
            }
        }
        let Some((path, e)) = error else { return };
        // A file that vanished may be on its way back (an editor renames): keep what we have.
        if watch.used.is_some() {
            let told = (usize::MAX, Mark { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) });
            if watch.told != Some(told) {
                watch.told = Some(told);
                let text =
                    format!("open {}: {}; the rows read before stay in use", path.display(), words(&e));
                self.types.notice(&self.table, true, text);
            }
            return;
        }
        let remedy = match e.kind() {
            io::ErrorKind::PermissionDenied => "let the mail system read it",
            _ => "create it, or correct its name in the configuration",
        };
        let open = if self.table.starts_with("texthash:") { "open database" } else { "open" };
        let what = format!("{open} {}: {}", path.display(), words(&e));
        let error = TableError::new(&self.table, what, remedy);
        self.held.write().unwrap_or_else(|e| e.into_inner()).value = Err(error);
    }

    /// Attributes by name, or through the opener where the name cannot be reached.
    fn mark(&self, path: &Path) -> io::Result<Mark> {
        match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Mark::of(&self.types.open_file(path)?.metadata()?))
            }
            found => found.map(|m| Mark::of(&m)),
        }
    }

    fn consider(&self, watch: &mut Watch, which: usize, mark: Mark, now: bool) {
        if watch.used == Some((which, mark)) {
            watch.pending = None;
            return;
        }
        let first = watch.used.is_none();
        if let (Some((used, old)), false) = (watch.used, now) {
            // Only attributes changed: nothing to read, unless something is pending or was told.
            if used == which && old.same_content(&mark) && watch.told.is_none() {
                watch.used = Some((which, mark));
                return;
            }
            let since = match watch.pending {
                Some((w, m, since)) if (w, m) == (which, mark) => since,
                _ => {
                    watch.pending = Some((which, mark, Instant::now()));
                    Instant::now()
                }
            };
            // A changed time in the future, or a clock that was set, must not keep it out for good.
            if !mark.finished() && !mark.still() && since.elapsed() < STILL {
                return;
            }
            if watch.told == Some((which, mark)) {
                return;
            }
        }
        let read = self.read(which);
        let fault = match read {
            Ok((value, owner, mark)) if value.clean || now || first => {
                for fault in &value.faults {
                    self.types.notice(&self.table, true, fault.clone());
                }
                let mut held = self.held.write().unwrap_or_else(|e| e.into_inner());
                *held = Held { value: Ok(Arc::new(value.value)), owner, which };
                drop(held);
                watch.used = Some((which, mark));
                (watch.pending, watch.told) = (None, None);
                return;
            }
            Ok((value, ..)) => value.faults.into_iter().next().unwrap_or_default(),
            Err(error) if first => {
                self.held.write().unwrap_or_else(|e| e.into_inner()).value = Err(error);
                return;
            }
            Err(error) => error.to_string(),
        };
        watch.told = Some((which, mark));
        let rest =
            "the rows read before stay in use; correct it, or adopt it as it is with \"postfix reload\"";
        self.types.notice(&self.table, true, format!("{fault}; {rest}"));
    }

    #[allow(clippy::type_complexity)]
    fn read(&self, which: usize) -> Result<(Content<T>, u32, Mark), TableError> {
        let Some((path, parse)) = self.sources.get(which) else {
            return Err(TableError::new(&self.table, "no source", "name a file"));
        };
        let fail = |e: io::Error| {
            let what = format!("read {}: {}", path.display(), words(&e));
            TableError::new(&self.table, what, "let the mail system read it")
        };
        let (bytes, meta) = read_whole(|| self.types.open_file(path), path).map_err(fail)?;
        match parse(path, &bytes) {
            Ok(content) => Ok((content, meta.uid(), Mark::of(&meta))),
            Err((what, remedy)) => Err(TableError::new(&self.table, what, remedy)),
        }
    }
}

/// A text in a file, or between braces in the configuration: `cidr:{{10.0.0.0/8 ok}, {…}}`.
pub enum Source<T> {
    /// In a file.
    File(Box<Live<T>>),
    /// In the configuration.
    Inline(Arc<T>),
}

impl<T: Send + Sync> Source<T> {
    /// Opens what `rest` names.
    pub fn open(types: &Types, table: &str, rest: &str, parse: Parse<T>) -> Result<Source<T>, TableError> {
        if !rest.starts_with('{') {
            return Ok(Source::File(Box::new(Live::open(types, table, vec![(rest.into(), parse)]))));
        }
        let bad = || {
            let kind = table.split(':').next().unwrap_or(table);
            let what = format!("bad syntax: \"{table}\"; need \"{kind}:{{ {{rule}}, {{rule}} }}\"");
            TableError::new(table, what, "put each rule between braces")
        };
        let mut text = String::new();
        for rule in split_list(braced(rest).ok_or_else(bad)?) {
            text.push_str(braced(&rule).ok_or_else(bad)?);
            text.push('\n');
        }
        let read = parse(Path::new(table), text.as_bytes());
        let content = read.map_err(|(what, remedy)| TableError::new(table, what, remedy))?;
        content.faults.into_iter().for_each(|fault| types.notice(table, true, fault));
        Ok(Source::Inline(Arc::new(content.value)))
    }

    /// The content as it is now.
    pub fn get(&self) -> Result<Arc<T>, TableError> {
        match self {
            Source::File(live) => live.get(),
            Source::Inline(value) => Ok(value.clone()),
        }
    }

    /// Who may have written it.
    pub fn owner(&self) -> Owner {
        match self {
            Source::File(live) => live.owner().map_or(Owner::Unknown, |(uid, _)| owner_of(uid)),
            Source::Inline(_) => Owner::Trusted,
        }
    }

    /// Reads it again if it changed.
    pub fn refresh(&self) {
        if let Source::File(live) = self {
            live.refresh();
        }
    }
}

/// root's files are trusted.
pub fn owner_of(uid: u32) -> Owner {
    if uid == 0 { Owner::Trusted } else { Owner::User(uid) }
}

/// Reads a regular file; one that changes underneath is read once more.
fn read_whole(open: impl Fn() -> io::Result<File>, path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    // A named pipe would block on open.
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err(io::Error::other("not a regular file"));
    }
    let mut last = None;
    for _ in 0..3 {
        let mut file = open()?;
        let before = file.metadata()?;
        let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0).min(1 << 28));
        file.read_to_end(&mut bytes)?;
        let same = Mark::of(&file.metadata()?) == Mark::of(&before);
        last = Some((bytes, before));
        if same {
            break;
        }
    }
    last.ok_or_else(|| io::Error::other("it changes all the time"))
}

/// The words of strerror(3), without Rust's number.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_string()
}

#[cfg(test)]
mod tests;
