//! A disk whose power can be cut: a FUSE file system of our own with one file, a loop device on it, and on that a file system
//! as any host has it. What was written and not synced is in a volatile [`cache`]; a cut leaves any part of it, sector by
//! sector. The kernel's own code decides what is written and when, and replays its journal afterwards.
//!
//! All of it is in the mount namespace of the drill and ends with it. The loop device is a free one that the kernel chooses,
//! and goes when the file system on it is unmounted.

mod cache;
mod fuse;

pub use cache::{Cache, Left};

use crate::namespace::make;
use crate::rng::Rng;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Large enough for a drill; only what is written takes memory.
const SIZE: u64 = 4 << 30;

/// The disk, and where it is mounted.
pub struct Disk {
    cache: Arc<Mutex<Cache>>,
    fuse: PathBuf,
    at: PathBuf,
    filesystem: String,
    device: Option<String>,
}

impl Disk {
    /// Makes a file system on a new disk and mounts it at `at`; `fuse` is a folder for the disk itself.
    pub fn make(fuse: &Path, at: &Path, filesystem: &str) -> Result<Disk, String> {
        make(fuse)?;
        make(at)?;
        let cache = Arc::new(Mutex::new(Cache::new(SIZE)));
        fuse::serve(fuse, cache.clone())?;
        let mut disk =
            Disk { cache, fuse: fuse.into(), at: at.into(), filesystem: filesystem.into(), device: None };
        let device = disk.attach()?;
        let program = format!("mkfs.{filesystem}");
        let quiet: &[&str] = match filesystem {
            "ext4" => &["-q", "-E", "lazy_itable_init=0,nodiscard"],
            "xfs" => &["-q", "-K"],
            _ => &["-q", "--nodiscard"],
        };
        run(Command::new(&program).args(quiet).arg(&device))?;
        run(Command::new("sync").arg(&device))?;
        disk.mount(&device)?;
        Ok(disk)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free loop device on the file.
    fn attach(&mut self) -> Result<String, String> {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--direct-io=on"]).arg(self.fuse.join(fuse::NAME));
        let device = run(&mut command)?.trim().to_string();
        if !device.starts_with("/dev/loop") {
            return Err(format!("losetup gave {device:?}"));
        }
        self.device = Some(device.clone());
        Ok(device)
    }

    fn mount(&mut self, device: &str) -> Result<(), String> {
        run(Command::new("mount").args(["-t", &self.filesystem, device]).arg(&self.at))?;
        // It is mounted, so this makes it go with its last user.
        run(Command::new("losetup").args(["--detach", device]))?;
        Ok(())
    }

    /// Makes everything durable that was written until now.
    pub fn sync(&self) -> Result<(), String> {
        run(Command::new("sync").arg("-f").arg(&self.at)).map(drop)
    }

    /// From now on the disk only pretends to sync.
    pub fn lie(&self) {
        self.cache().lie();
    }

    /// Cuts the power, mostly in the middle of something: nothing is written or read from now on, and what was not synced
    /// is kept in part.
    pub fn cut(&self, rng: &mut Rng) -> Left {
        if rng.below(4) > 0 {
            self.cache().arm(rng.below(60), Rng(rng.next()));
        }
        let end = Instant::now() + Duration::from_secs(2);
        while self.cache().is_armed() && Instant::now() < end {
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut cache = self.cache();
        if cache.is_on() {
            cache.cut(rng);
        }
        cache.left()
    }

    /// Unmounts it, which nobody may use any more, and waits until no part of the kernel knows the device.
    pub fn let_go(&mut self) -> Result<(), String> {
        let Some(device) = self.device.clone() else { return Ok(()) };
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(e) = umount2(&self.at, MntFlags::empty()) {
            if e == nix::errno::Errno::EINVAL {
                break;
            }
            if Instant::now() > end {
                return Err(format!("unmount {}: {e}", self.at.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let file = self.fuse.join(fuse::NAME);
        let state = format!("/sys/block/{}/loop/backing_file", device.trim_start_matches("/dev/"));
        while fs::read_to_string(&state).is_ok_and(|t| t.trim() == file.to_string_lossy()) {
            if Instant::now() > end {
                return Err(format!("{device} is still used"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.device = None;
        Ok(())
    }

    /// Power again: the journal is replayed.
    pub fn power(&mut self) -> Result<(), String> {
        self.let_go()?;
        self.cache().power();
        let device = self.attach()?;
        self.mount(&device)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing that is still to be written may hold anybody up.
        self.cache().off();
        let device = self.device.clone();
        if let Err(e) = self.let_go() {
            eprintln!("drill: {e}");
        }
        if let Some(device) = device {
            // It may never have been mounted.
            let _ = Command::new("losetup").args(["--detach", &device]).stderr(Stdio::null()).status();
        }
        let _ = umount2(&self.fuse, MntFlags::MNT_DETACH);
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
