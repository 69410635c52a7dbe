//! What a durable file needs beyond std: space ahead, holes, gathered writes, locks, free space.

use nix::fcntl::{FallocateFlags, Flock, FlockArg};
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

/// Takes the blocks `at .. at + length` now, so that later writes there need no space. The file
/// grows to hold them. A file system that cannot do so gives `Unsupported`.
pub fn allocate(file: &File, at: u64, length: u64) -> io::Result<()> {
    Ok(nix::fcntl::fallocate(file, FallocateFlags::empty(), offset(at)?, offset(length)?)?)
}

/// Gives the blocks inside `at .. at + length` back; they read as zeros. The file keeps its length.
pub fn punch(file: &File, at: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(nix::fcntl::fallocate(file, flags, offset(at)?, offset(length)?)?)
}

/// Has the kernel begin to write what is dirty of a file, without waiting: the sync that follows waits less. No promise.
pub fn begin_writing(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as `file` is borrowed; no memory is passed.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Writes several pieces at a position; gives how many bytes were taken.
pub fn write_at(file: &File, pieces: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
    Ok(nix::sys::uio::pwritev(file, pieces, offset(at)?)?)
}

/// A file without a name in a directory: nobody else sees it, and nothing is left of it whatever happens.
pub fn scratch(directory: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let flags = nix::fcntl::OFlag::O_TMPFILE | nix::fcntl::OFlag::O_CLOEXEC;
    if let Ok(file) = options.clone().custom_flags(flags.bits()).open(directory) {
        return Ok(file);
    }
    // Not every file system can do without a name: overlays and network file systems.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("scratch.{}.{n}", std::process::id()));
    // Of an earlier process with our number, which died between the next two calls.
    let _ = std::fs::remove_file(&path);
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it, bytes.
    pub total: u64,
    /// What an ordinary user may still take, bytes.
    pub free: u64,
    /// How many files may still be made; `u64::MAX` when the file system sets no limit.
    pub files: u64,
}

/// The space of the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let s = nix::sys::statvfs::statvfs(path)?;
    // The types of these fields differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    let (unit, blocks, free) = (s.fragment_size() as u64, s.blocks() as u64, s.blocks_available() as u64);
    #[allow(clippy::unnecessary_cast)]
    let files = if s.files() == 0 { u64::MAX } else { s.files_available() as u64 };
    Ok(Space { total: blocks.saturating_mul(unit), free: free.saturating_mul(unit), files })
}

/// A lock on an open file; ends with the value or the process.
pub struct Lock {
    _held: Flock<File>,
}

/// Locks a file without waiting; `None` when another process holds a lock in the way.
pub fn lock(file: File, exclusive: bool) -> io::Result<Option<Lock>> {
    let how = if exclusive { FlockArg::LockExclusiveNonblock } else { FlockArg::LockSharedNonblock };
    match Flock::lock(file, how) {
        Ok(held) => Ok(Some(Lock { _held: held })),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e.into()),
    }
}

/// Fills `buffer` with bytes nobody can guess.
pub fn random(buffer: &mut [u8]) -> io::Result<()> {
    use std::io::Read;
    File::open("/dev/urandom")?.read_exact(buffer)
}

fn offset(n: u64) -> io::Result<i64> {
    i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn space_ahead_holes_and_locks() {
        let dir = std::env::temp_dir().join(format!("sys-durable-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("f");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let file = open();
        let pieces = [IoSlice::new(b"hola"), IoSlice::new(b" que tal")];
        assert_eq!(write_at(&file, &pieces, 4096).unwrap(), 12);
        for step in [allocate(&file, 0, 16_384), punch(&file, 4096, 4096)] {
            if let Err(e) = step {
                assert_eq!(e.kind(), io::ErrorKind::Unsupported);
            }
        }
        let mut back = [1; 4];
        file.read_exact_at(&mut back, 4096).unwrap();
        assert!(back == [0; 4] || &back == b"hola");
        assert!(space(&dir).unwrap().total > 0);
        let held = lock(open(), false).unwrap();
        assert!(held.is_some() && lock(open(), false).unwrap().is_some());
        assert!(lock(open(), true).unwrap().is_none());
        drop(held);
        assert!(lock(open(), true).unwrap().is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
