//! Children that go on with our own code: fork with a closure, wait, kill whole process groups.
//!
//! Meant for `deliver` and its children, which have one thread and no runtime.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A child made by [`fork`].
#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
pub struct Child(u32);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exit(i32),
    /// By a signal.
    Signal(i32),
}

/// The exit status of a child whose closure panicked.
pub const PANICKED: i32 = 70;

/// Runs `work` in a child, which then ends with the status that it gives. The child owns `keep`
/// and no other descriptor but 0, 1 and 2; it leads a session and process group of its own, has
/// default signal handling, a zero mask for signals and 077 for files. `work` must use no
/// descriptor but those it is given: all others are closed in the child.
pub fn fork(keep: Vec<OwnedFd>, work: impl FnOnce(Vec<OwnedFd>) -> i32) -> io::Result<Child> {
    // SAFETY: the child is a copy of this process with the calling thread alone. The C library
    // makes its allocator usable in the child; our callers have one thread, so that no other lock
    // can be held by a thread that is not there. The child never returns into the caller's frames:
    // it ends by _exit below, so that nothing is dropped or flushed twice.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Child(child.as_raw() as u32)),
        ForkResult::Child => {
            let status = catch_unwind(AssertUnwindSafe(|| {
                prepare(&keep);
                work(keep)
            }))
            .unwrap_or(PANICKED);
            // SAFETY: ends the process at once; runs no destructors or exit handlers of the parent.
            unsafe { libc::_exit(status) }
        }
    }
}

fn prepare(keep: &[OwnedFd]) {
    let _ = nix::unistd::setsid();
    let _ = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGALRM] {
        // SAFETY: restoring the default disposition installs no handler.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
    }
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: ignoring a signal installs no handler. What these tell is told by EPIPE, EFBIG.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
    }
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut from = 3;
    for fd in kept {
        if fd > from {
            close_range(from, fd - 1);
        }
        from = from.max(fd + 1);
    }
    close_range(from, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    // SAFETY: by fork's contract nothing in the child uses these descriptors again, and their
    // owners are never dropped there.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) } != 0 {
        for fd in first..=last.min(4096) {
            // SAFETY: as above.
            unsafe { libc::close(fd as i32) };
        }
    }
}

impl Child {
    /// Its process number, which is also that of its group.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Waits until it ends.
    pub fn wait(self) -> io::Result<Ended> {
        loop {
            match waitpid(Pid::from_raw(self.0 as i32), None) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
                Ok(status) => {
                    if let Some((_, ended)) = ended(status) {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// Waits until it ends, or for `limit`: then `None`.
    pub fn wait_for(self, limit: std::time::Duration) -> io::Result<Option<Ended>> {
        // SAFETY: pidfd_open makes a new descriptor and touches no memory of ours.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, self.0 as libc::pid_t, 0) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just made this descriptor and nothing else owns it.
        let process = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number as i32) };
        let end = std::time::Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match crate::poll::readable(&[std::os::fd::AsFd::as_fd(&process)], Some(left))?.as_slice() {
                [true] => return self.wait().map(Some),
                _ if left.is_zero() => return Ok(None),
                _ => {}
            }
        }
    }

    /// Kills its whole process group.
    pub fn kill_group(self) {
        kill_group(self.0);
    }
}

/// Kills every process of a group.
pub fn kill_group(number: u32) {
    if let Ok(number) = i32::try_from(number)
        && number > 1
    {
        let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
    }
}

/// A child that has ended and was not waited for, if there is one. Never blocks.
pub fn reap() -> Option<(u32, Ended)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return None,
            Ok(status) => {
                if let Some(found) = ended(status) {
                    return Some(found);
                }
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn ended(status: WaitStatus) -> Option<(u32, Ended)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid.as_raw() as u32, Ended::Exit(code))),
        WaitStatus::Signaled(pid, signal, _) => Some((pid.as_raw() as u32, Ended::Signal(signal as i32))),
        _ => None,
    }
}

/// Limits the size of files that this process and its children write. Zero is no limit.
pub fn limit_file_size(bytes: u64) -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if bytes > 0 {
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
        setrlimit(Resource::RLIMIT_FSIZE, bytes.min(hard), bytes.min(hard))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_child_has_what_it_is_given_and_nothing_else() {
        let (mut read, write) = std::io::pipe().unwrap();
        let other = std::fs::File::open("/dev/null").unwrap();
        let number = other.as_raw_fd();
        let child = fork(vec![write.into()], move |mut fds| {
            let mut out = std::fs::File::from(fds.pop().unwrap());
            let closed =
                std::fs::read_link(format!("/proc/self/fd/{number}")).is_err() || number == out.as_raw_fd();
            let _ = write!(out, "{closed} {}", nix::unistd::getpgrp() == nix::unistd::getpid());
            7
        })
        .unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "true true");
        assert_eq!(child.wait().unwrap(), Ended::Exit(7));
        drop(other);
    }

    #[test]
    fn panics_and_signals_are_told() {
        let child = fork(Vec::new(), |_| {
            std::panic::set_hook(Box::new(|_| {}));
            panic!()
        });
        assert_eq!(child.unwrap().wait().unwrap(), Ended::Exit(PANICKED));
        let child = fork(Vec::new(), |_| {
            loop {
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
        })
        .unwrap();
        // The group exists once the child has called setsid; until then the kill finds nothing.
        let ended = std::thread::spawn(move || child.wait().unwrap());
        while !ended.is_finished() {
            child.kill_group();
            std::thread::yield_now();
        }
        assert_eq!(ended.join().unwrap(), Ended::Signal(9));
    }
}
