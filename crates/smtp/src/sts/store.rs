//! Policies on disk, so that a restart forgets none: below `data_directory`, one file for each domain,
//! the policy as it came behind two lines of ours. Whoever can read the directory can read it all.
//!
//! ```text
//! id: 20160831085700Z
//! fetched: 1795272000
//! version: STSv1
//! …
//! ```

use super::Held;
use super::text::Policy;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// More domains are not kept: the files that are not renewed the longest go.
const MOST: usize = 8192;
/// How many are written before they are counted.
const COUNTED: u32 = 256;
/// No file is longer.
const LARGEST: u64 = super::LARGEST as u64 + 1024;

/// The directory.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    written: AtomicU32,
}

impl Store {
    pub fn new(directory: PathBuf) -> Store {
        Store { directory, written: AtomicU32::new(0) }
    }

    /// What is known of a domain, if it is a name and all there makes sense.
    pub fn read(&self, domain: &str) -> Option<Held> {
        let mut text = String::new();
        fs::File::open(self.path(domain)?).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
        held(&text)
    }

    /// Keeps a policy, as it came.
    pub fn write(&self, domain: &str, id: &str, fetched: u64, text: &str) -> io::Result<()> {
        let Some(path) = self.path(domain) else { return Ok(()) };
        fs::create_dir_all(&self.directory)?;
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNTED) {
            self.thin_out();
        }
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        write!(file, "id: {id}\nfetched: {fetched}\n{text}")?;
        file.sync_data()?;
        fs::rename(&new, &path)
    }

    /// A name has no slash, and the ending keeps it apart from `..`.
    fn path(&self, domain: &str) -> Option<PathBuf> {
        let plain = net::dns::valid(domain) && domain.is_ascii() && !domain.contains(['*', '/']);
        (plain && domain.len() <= 240).then(|| self.directory.join(format!("{domain}.policy")))
    }

    fn thin_out(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let aged = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        let mut all: Vec<_> = entries.flatten().map(|e| (aged(&e.path()), e.path())).collect();
        if all.len() <= MOST {
            return;
        }
        all.sort();
        let surplus = all.len() - MOST * 3 / 4;
        for (_, path) in all.into_iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

/// What a file says.
pub(super) fn held(text: &str) -> Option<Held> {
    let mut lines = text.splitn(3, '\n');
    let id = lines.next()?.strip_prefix("id: ")?.to_string();
    let fetched = lines.next()?.strip_prefix("fetched: ")?.parse().ok()?;
    let policy = Policy::read(lines.next()?).ok()?;
    Some(Held { id, fetched, policy })
}
