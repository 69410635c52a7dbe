//! A file system with one file, spoken to the kernel through /dev/fuse: just as much of the protocol as a loop device
//! needs. Numbers are in the machine's order; the layouts are those of Linux' `fuse.h`, version 7.31.

use super::cache::Cache;
use nix::mount::{MsFlags, mount};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The file.
pub const NAME: &str = "disk";

const ROOT: u64 = 1;
const FILE: u64 = 2;
/// The most that is written at once.
const MOST: u32 = 1 << 20;
/// A sync takes as long as on a good disk, so that much waits for it.
const SYNC: Duration = Duration::from_millis(1);

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENOSYS: i32 = 38;

/// Mounts it, and answers the kernel in a thread until it is unmounted.
pub fn serve(at: &Path, cache: Arc<Mutex<Cache>>) -> Result<(), String> {
    let device =
        File::options().read(true).write(true).open("/dev/fuse").map_err(|e| format!("/dev/fuse: {e}"))?;
    let words = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("valija-drill"), at, Some("fuse"), flags, Some(words.as_str()))
        .map_err(|e| format!("mount a file system of our own (FUSE) at {}: {e}", at.display()))?;
    let run = move || answer(device, &cache);
    std::thread::Builder::new().name("disk".into()).spawn(run).map_err(|e| e.to_string())?;
    Ok(())
}

fn answer(mut device: File, cache: &Mutex<Cache>) {
    let mut bytes = vec![0; MOST as usize + 64 * 1024];
    loop {
        let request = match device.read(&mut bytes) {
            Ok(n) => &bytes[..n],
            // A request that was taken back before it was read.
            Err(e) if e.raw_os_error() == Some(ENOENT) || e.kind() == std::io::ErrorKind::Interrupted => {
                continue;
            }
            // Unmounted.
            Err(_) => return,
        };
        let Some(request) = Request::read(request) else { return };
        let result = request.perform(cache);
        let Some(result) = result else { continue };
        let (error, data) = match result {
            Ok(data) => (0, data),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + data.len());
        reply.extend_from_slice(&(16 + data.len() as u32).to_ne_bytes());
        reply.extend_from_slice(&error.to_ne_bytes());
        reply.extend_from_slice(&request.unique.to_ne_bytes());
        reply.extend_from_slice(&data);
        // Whoever asked may have been killed meanwhile.
        let _ = device.write(&reply);
    }
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request<'a> {
    code: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

impl Request<'_> {
    fn read(bytes: &[u8]) -> Option<Request<'_>> {
        let body = bytes.get(40..)?;
        Some(Request { code: u32_at(bytes, 4), unique: u64_at(bytes, 8), node: u64_at(bytes, 16), body })
    }

    /// The answer: data, an error, or none at all.
    fn perform(&self, whole: &Mutex<Cache>) -> Option<Result<Vec<u8>, i32>> {
        let mut cache = lock(whole);
        let size = cache.size();
        let (offset, length) = (u64_at(self.body, 8), u32_at(self.body, 16) as usize);
        Some(match self.code {
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => return None,
            // LOOKUP
            1 if self.node == ROOT && self.body.strip_suffix(b"\0") == Some(NAME.as_bytes()) => {
                let mut out = Vec::new();
                for n in [FILE, 0, 3600, 3600, 0] {
                    out.extend_from_slice(&n.to_ne_bytes());
                }
                out.extend(attributes(FILE, size));
                Ok(out)
            }
            1 => Err(ENOENT),
            // GETATTR, SETATTR
            3 | 4 => {
                let mut out = Vec::new();
                for n in [3600u64, 0] {
                    out.extend_from_slice(&n.to_ne_bytes());
                }
                out.extend(attributes(self.node, size));
                Ok(out)
            }
            // OPEN, OPENDIR: past the page cache
            14 | 27 => Ok([[0; 8], 1u64.to_ne_bytes()].concat()),
            // READ
            15 => cache.read(offset, length).ok_or(EIO),
            // WRITE
            16 => match self.body.get(40..40 + length) {
                Some(data) if cache.write(offset, data) => Ok((length as u64).to_ne_bytes().to_vec()),
                _ => Err(EIO),
            },
            // STATFS
            17 => {
                let mut out = Vec::new();
                for n in [size / 4096, 0, 0, 2, 0] {
                    out.extend_from_slice(&n.to_ne_bytes());
                }
                for n in [4096u32, 255, 4096, 0, 0, 0, 0, 0, 0, 0] {
                    out.extend_from_slice(&n.to_ne_bytes());
                }
                Ok(out)
            }
            // FSYNC
            20 => {
                drop(cache);
                std::thread::sleep(SYNC);
                let done = lock(whole).sync();
                if done { Ok(Vec::new()) } else { Err(EIO) }
            }
            // RELEASE, FLUSH, READDIR (nothing to show), RELEASEDIR, DESTROY
            18 | 25 | 28 | 29 | 38 => Ok(Vec::new()),
            // INIT
            26 => {
                let offered = u32_at(self.body, 12);
                // Reads at the same time, big writes, many pages, direct I/O without waiting.
                let flags = offered & (1 | 1 << 5 | 1 << 15 | 1 << 22);
                let mut out = Vec::new();
                for n in [7, 31, u32_at(self.body, 8), flags, 16 | 12 << 16, MOST, 1, MOST / 4096] {
                    out.extend_from_slice(&n.to_ne_bytes());
                }
                out.resize(64, 0);
                Ok(out)
            }
            _ => Err(ENOSYS),
        })
    }
}

fn attributes(node: u64, size: u64) -> Vec<u8> {
    let (mode, size) = if node == ROOT { (0o040_755u32, 4096) } else { (0o100_600, size) };
    let mut out = Vec::with_capacity(88);
    for n in [node, size, size / 512, 0, 0, 0] {
        out.extend_from_slice(&n.to_ne_bytes());
    }
    for n in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        out.extend_from_slice(&n.to_ne_bytes());
    }
    out
}
