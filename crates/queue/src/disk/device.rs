//! Everything the queue asks of a disk, so that tests can put a merciless one in its place.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

pub use sys::durable::Space;

/// A directory tree with a clock beside it. Paths are relative and use `/`. Nothing else of the store
/// waits: neither for the disk nor, but for its own idle threads, for each other.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Opens what is there.
    fn open(&self, path: &str) -> io::Result<Self::File>;
    /// Makes a new file, private to its owner; an old one of that name is emptied.
    fn create(&self, path: &str) -> io::Result<Self::File>;
    /// The names in a directory.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Makes a directory, private to its owner, unless it is there.
    fn make_directory(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &str) -> io::Result<()>;
    /// Gives a file another name in the same directory.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// How much room there is.
    fn space(&self) -> io::Result<Space>;
    /// Microseconds since 1970.
    fn now(&self) -> u64;
    /// Unguessable bytes.
    fn random(&self, buffer: &mut [u8]) -> io::Result<()>;
    /// Waits for a lock. A simulated disk decides here too which thread goes on, so that what
    /// threads do to each other can be repeated.
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// An open file. Positions are explicit; several threads may use it at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Its length, bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads; fewer bytes than asked for only at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes some of the pieces; gives how many bytes it took.
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<usize>;
    /// Makes content and length durable. After an error nothing is known of what was written
    /// since the last success.
    fn sync(&self) -> io::Result<()>;
    /// Takes space ahead.
    fn allocate(&self, at: u64, length: u64) -> io::Result<()>;
    /// Gives space back; it reads as zeros.
    fn punch(&self, at: u64, length: u64) -> io::Result<()>;
    /// Sets the length.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// The file itself, to be handed to other processes; `None` when it is not a real one.
    fn real(&self) -> Option<File>;
}

/// Fills `buffer` as far as the file goes; gives how much that was.
pub fn read_fully(file: &impl DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of the pieces.
pub fn write_fully(file: &impl DiskFile, pieces: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
    let (mut left, mut at) = (pieces, at);
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_at(left, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                at += n as u64;
                IoSlice::advance_slices(&mut left, n);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A real directory.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
    read_only: bool,
}

impl RealDisk {
    /// The directory that holds everything.
    pub fn new(root: &Path) -> RealDisk {
        RealDisk { root: root.to_path_buf(), read_only: false }
    }

    /// The same, but files are opened for reading only.
    pub fn read_only(root: &Path) -> RealDisk {
        RealDisk { root: root.to_path_buf(), read_only: true }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Disk for RealDisk {
    type File = File;

    fn open(&self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(!self.read_only).open(self.root.join(path))
    }

    fn create(&self, path: &str) -> io::Result<File> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true).mode(0o600).open(self.root.join(path))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join(directory))? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn make_directory(&self, path: &str) -> io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(self.root.join(path)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(path))
    }

    fn space(&self) -> io::Result<Space> {
        sys::durable::space(&self.root)
    }

    fn now(&self) -> u64 {
        sys::time::now_micros()
    }

    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        sys::durable::random(buffer)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        sys::durable::write_at(self, pieces, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, at: u64, length: u64) -> io::Result<()> {
        sys::durable::allocate(self, at, length)
    }

    fn punch(&self, at: u64, length: u64) -> io::Result<()> {
        sys::durable::punch(self, at, length)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn real(&self) -> Option<File> {
        self.try_clone().ok()
    }
}
