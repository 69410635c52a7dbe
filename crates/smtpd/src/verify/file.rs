//! What is known of addresses, on disk: a line for each thing found out, the last one counts. A file
//! that is damaged, or gone, costs probes and nothing else.

use super::cache::{Cache, Entry, Standing};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// More than this is not read.
const LARGEST: u64 = 256 << 20;
/// With more lines it is written anew: most of them say what others say better.
const LONG: usize = 4 * super::MOST;

/// The file, open at its end.
pub struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl Journal {
    /// Reads what is there into `cache`, and goes on behind it.
    pub fn open(path: &Path, cache: &mut Cache) -> io::Result<Journal> {
        let mut lines = 0;
        if let Ok(file) = File::open(path) {
            for line in BufReader::new(file.take(LARGEST)).split(b'\n') {
                lines += 1;
                if let Ok(text) = String::from_utf8(line?)
                    && let Some((address, entry)) = read(&text)
                {
                    cache.put(address, entry);
                }
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Journal { path: path.to_path_buf(), file, lines })
    }

    /// Adds what was found out.
    pub fn add(&mut self, address: &str, entry: &Entry) -> io::Result<()> {
        self.lines += 1;
        self.file.write_all(line(address, entry).as_bytes())
    }

    /// It should be written anew before its time.
    pub fn is_long(&self) -> bool {
        self.lines > LONG
    }

    /// Writes the file anew with what counts.
    pub fn rewrite(&mut self, cache: &Cache) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut out = BufWriter::new(File::create(&new)?);
        let mut lines = 0;
        for (address, entry) in cache.iter() {
            lines += 1;
            out.write_all(line(address, entry).as_bytes())?;
        }
        out.flush()?;
        std::fs::rename(&new, &self.path)?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.lines = lines;
        Ok(())
    }
}

pub(crate) fn line(address: &str, entry: &Entry) -> String {
    let address: String = address.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let standing = match entry.standing {
        Standing::Deliverable => "deliverable",
        Standing::Deferred => "deferred",
        Standing::Undeliverable | Standing::InProgress => "undeliverable",
    };
    format!("{address}\t{standing}\t{}\t{}\n", entry.updated, entry.text)
}

pub(crate) fn read(line: &str) -> Option<(String, Entry)> {
    let mut parts = line.splitn(4, '\t');
    let (address, standing) = (parts.next()?, parts.next()?);
    let standing = match standing {
        "deliverable" => Standing::Deliverable,
        "deferred" => Standing::Deferred,
        "undeliverable" => Standing::Undeliverable,
        _ => return None,
    };
    let updated = parts.next()?.parse().ok()?;
    let text = parts.next()?.to_string();
    Some((address.to_string(), Entry { standing, probed: 0, updated, text })).filter(|(a, _)| !a.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::cache::Times;

    #[test]
    fn what_was_found_out_is_there_again() {
        let directory = std::env::temp_dir().join(format!("valija-verify-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("cache");
        let times = Times {
            positive_expire: 100,
            positive_refresh: 10,
            negative_expire: 50,
            negative_refresh: 5,
            negative_cache: true,
        };
        let mut cache = Cache::new(10);
        let mut journal = Journal::open(&path, &mut cache).unwrap();
        for (address, standing) in
            [("a@b", Standing::Undeliverable), ("c\t@d", Standing::Deferred), ("a@b", Standing::Deliverable)]
        {
            let entry = cache.heard(address, standing, "said\tso", 1000, &times).unwrap().clone();
            journal.add(address, &entry).unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), 3);
        std::fs::write(&path, format!("{lines}rubbish\n\nx@y\tdeliverable\tnan\tz\n\u{fffd}\t")).unwrap();

        let mut again = Cache::new(10);
        let mut journal = Journal::open(&path, &mut again).unwrap();
        let entry = again.known("a@b", 1001, &times).unwrap();
        assert_eq!((entry.standing, entry.text.as_str()), (Standing::Deliverable, "said so"));
        assert!(again.known("c?@d", 1001, &times).is_some());
        assert_eq!(again.clean(1051, &times), (1, 1));
        journal.rewrite(&again).unwrap();
        journal.add("e@f", entry_of(&again)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    fn entry_of(cache: &Cache) -> &Entry {
        cache.iter().next().unwrap().1
    }
}
