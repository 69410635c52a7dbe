//! Signals as a descriptor to wait on.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What a supervisor is told by signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// SIGTERM or SIGINT: stop. The number is kept for the log.
    Stop(i32),
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGCHLD: a child ended.
    Child,
}

/// Signals blocked for this thread and its later threads, delivered by reading.
pub struct Signals(SignalFd);

impl Signals {
    /// Takes over TERM, INT, HUP and CHLD; ignores PIPE. Call before any thread is started.
    pub fn take() -> io::Result<Signals> {
        expect_children()?;
        let mut set = SigSet::empty();
        for s in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
            set.add(s);
        }
        set.thread_block()?;
        // SAFETY: ignoring a signal installs no handler.
        unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn)? };
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next one, if any came.
    pub fn next(&self) -> Option<Told> {
        loop {
            let info = self.0.read_signal().ok().flatten()?;
            return Some(match info.ssi_signo as i32 {
                libc::SIGHUP => Told::Reload,
                libc::SIGCHLD => Told::Child,
                n @ (libc::SIGTERM | libc::SIGINT) => Told::Stop(n),
                _ => continue,
            });
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a file that grows beyond the limit of whoever called (RLIMIT_FSIZE) an error of the write, and not the end
/// of the program, which could clean nothing up. For programs that start no others.
pub fn survive_file_limits() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, nix::sys::signal::SigHandler::SigIgn)? };
    Ok(())
}

/// Undoes an ignored SIGCHLD, which is inherited: a program that waits for children would find none.
pub fn expect_children() -> io::Result<()> {
    // SAFETY: the default action installs no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, nix::sys::signal::SigHandler::SigDfl)? };
    Ok(())
}

/// Whether a process that this signal ended had a fault, rather than somebody's wish to end it.
pub fn is_fault(signal: i32) -> bool {
    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    [SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP].contains(&signal)
}

/// Sends a signal to one process.
pub fn send(pid: u32, signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal)?)
}

/// Whether a process of that number exists (perhaps another user's).
pub fn exists(pid: u32) -> bool {
    let answer = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), None);
    !matches!(answer, Err(nix::errno::Errno::ESRCH))
}
