//! Locking mailboxes: `mailbox_delivery_lock`, `deliver_lock_attempts`, `deliver_lock_delay`,
//! `stale_lock_time`.
//!
//! A dot lock is the file `mailbox.lock`, made with `O_EXCL` and removed when the guard is dropped.

use crate::answer::{Tell, say};
use crate::events::StaleLock;
use config::params::local::Local;
use config::value::List;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Which locks, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Locks {
    pub fcntl: bool,
    pub flock: bool,
    pub dot: bool,
    pub attempts: u32,
    pub delay: Duration,
    pub stale: Duration,
}

/// As long as a delivery waits that has other mailboxes before it.
const SHORT: Duration = Duration::from_millis(20);

/// How long the first pause is, of those that make up the first `deliver_lock_delay`.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

impl Locks {
    /// The same without patience: a moment for others that deliver.
    pub fn impatient(self) -> Locks {
        Locks { attempts: self.attempts.min(2), delay: self.delay.min(SHORT), ..self }
    }

    /// From the parameters; an unknown kind of lock is an error.
    pub fn of(params: &Local) -> Result<Locks, String> {
        Locks::named(params, "mailbox_delivery_lock", params.mailbox_delivery_lock())
    }

    /// The same with the kinds of another parameter.
    pub fn named(params: &Local, parameter: &str, kinds: &List) -> Result<Locks, String> {
        let mut locks = Locks {
            fcntl: false,
            flock: false,
            dot: false,
            attempts: u32::try_from(*params.deliver_lock_attempts()).unwrap_or(1),
            delay: *params.deliver_lock_delay(),
            stale: *params.stale_lock_time(),
        };
        for word in &kinds.0 {
            match word.to_ascii_lowercase().as_str() {
                "fcntl" => locks.fcntl = true,
                "flock" => locks.flock = true,
                "dotlock" => locks.dot = true,
                _ => {
                    return Err(format!(
                        "parameter {parameter}: unknown lock {word:?}; write fcntl, flock or dotlock"
                    ));
                }
            }
        }
        Ok(locks)
    }

    /// Calls `attempt` until it succeeds or the patience is used up.
    fn patiently(&self, mut attempt: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
        for n in 0..self.attempts.max(1) {
            let mut left = if n > 0 { self.delay } else { Duration::ZERO };
            // Whoever delivers mail has a mailbox for some milliseconds: at first it is tried more often.
            let mut pause = if n == 1 { FIRST_PAUSE } else { self.delay };
            while !left.is_zero() {
                std::thread::sleep(pause.min(left));
                left = left.saturating_sub(pause);
                pause = pause.saturating_mul(2);
                if !left.is_zero() && attempt()? {
                    return Ok(true);
                }
            }
            if attempt()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the dot lock of `mailbox`. A lock older than `stale` was forgotten and is removed.
    pub fn dot_lock(&self, mailbox: &Path, tell: &dyn Tell) -> io::Result<DotLock> {
        let mut name = mailbox.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let made = self.patiently(|| {
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(sys::host::O_NOFOLLOW)
                .open(&path)
            {
                Ok(_) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if self.is_stale(&path) && std::fs::remove_file(&path).is_ok() {
                        say(tell, &StaleLock { path: path.display().to_string() });
                    }
                    Ok(false)
                }
                Err(e) => Err(e),
            }
        })?;
        if made { Ok(DotLock(Some(path))) } else { Err(io::Error::from(io::ErrorKind::AlreadyExists)) }
    }

    fn is_stale(&self, path: &Path) -> bool {
        let made = std::fs::symlink_metadata(path).and_then(|m| m.modified());
        made.is_ok_and(|t| SystemTime::now().duration_since(t).is_ok_and(|age| age > self.stale))
    }

    /// Takes the locks that are held by the open file itself.
    pub fn lock_file(&self, file: &File) -> io::Result<bool> {
        Ok((!self.fcntl || self.patiently(|| sys::locks::try_fcntl(file))?)
            && (!self.flock || self.patiently(|| sys::locks::try_flock(file))?))
    }
}

/// A dot lock that this process made; removed when dropped.
#[derive(Debug)]
pub(crate) struct DotLock(Option<PathBuf>);

impl Drop for DotLock {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proto::job::Say;
    use std::cell::RefCell;

    #[derive(Default)]
    pub(crate) struct Heard(pub RefCell<Vec<String>>);
    impl Tell for Heard {
        fn log(&self, _: Say, text: String) {
            self.0.borrow_mut().push(text);
        }
    }

    pub(crate) fn locks() -> Locks {
        Locks {
            fcntl: true,
            flock: false,
            dot: true,
            attempts: 2,
            delay: Duration::from_millis(1),
            stale: Duration::from_secs(500),
        }
    }

    #[test]
    fn a_lock_of_a_moment_costs_no_whole_delay() {
        let locks = Locks { delay: Duration::from_secs(60), ..locks() };
        let (mut tries, begun) = (0, std::time::Instant::now());
        let taken = locks.patiently(|| {
            tries += 1;
            Ok(tries == 4)
        });
        assert!(taken.unwrap() && begun.elapsed() < locks.delay, "{tries} tries");
    }

    #[test]
    fn a_lock_keeps_others_out_until_dropped_or_stale() {
        let dir = std::env::temp_dir().join(format!("valija-dotlock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (mailbox, heard) = (dir.join("jose"), Heard::default());
        let held = locks().dot_lock(&mailbox, &heard).unwrap();
        let again = locks().dot_lock(&mailbox, &heard).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        drop(held);
        let path = dir.join("jose.lock");
        assert!(!path.exists());
        let old = File::create(&path).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(501)).unwrap();
        drop(locks().dot_lock(&mailbox, &heard).unwrap());
        assert_eq!(heard.0.borrow().len(), 1);
        std::os::unix::fs::symlink(dir.join("target"), &path).unwrap();
        assert!(locks().dot_lock(&mailbox, &heard).is_err());
        assert!(!dir.join("target").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
