//! Files of certificates and keys that are looked at again: which were read, and as they were then.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Nothing is wrong.
    Info(String),
    /// Something is.
    Warning(String),
    /// What the library, or the system, says to the line before.
    Library(String),
}

/// What is wrong with certificates or keys: lines for the log.
pub type Trouble = Vec<Say>;

/// Opens files, also those that only root may read.
pub type Opener = dyn Fn(&Path) -> io::Result<File> + Send + Sync;

/// By what a file is known to be the same: device, number, size, and when it changed.
type Mark = (u64, u64, u64, i64, i64);

/// Files, and as they were when they were read; `None` for one that could not be opened.
pub(super) type Marks = Vec<(PathBuf, Option<Mark>)>;

/// Opens files and keeps in mind which.
pub(super) struct Reader<'a> {
    open: &'a Opener,
    pub(super) marks: Marks,
}

impl<'a> Reader<'a> {
    pub(super) fn new(open: &'a Opener) -> Reader<'a> {
        Reader { open, marks: Vec::new() }
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Content> {
        let file = (self.open)(path);
        let mark = file.as_ref().ok().and_then(mark);
        self.marks.push((path.to_path_buf(), mark));
        file.map(|file| Content { file, at: 0 })
    }
}

/// What is in a file. A descriptor that others have, too, is not moved by reading.
pub(super) struct Content {
    file: File,
    at: u64,
}

impl io::Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// These files as they are now.
pub(super) fn marks_now(marks: &Marks, open: &Opener) -> Marks {
    marks.iter().map(|(path, _)| (path.clone(), open(path).ok().as_ref().and_then(mark))).collect()
}

fn mark(file: &File) -> Option<Mark> {
    let m = file.metadata().ok()?;
    Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
}
