//! Reading a secret from a terminal without showing it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What Ctrl-C is read as.
pub const INTERRUPT: u8 = 3;

/// A terminal that does not show what is typed, until this is dropped.
pub struct Silence<'a> {
    terminal: BorrowedFd<'a>,
    before: libc::termios,
}

impl Silence<'_> {
    /// Stops the echo; Ctrl-C is read as [`INTERRUPT`], which ends the line. Fails when the
    /// descriptor is no terminal.
    pub fn of(terminal: BorrowedFd<'_>) -> io::Result<Silence<'_>> {
        // SAFETY: termios is plain data for which all zeroes is a valid value.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open while borrowed, and before is a termios to write to.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut silent = before;
        // A signal would end the program with the echo still off: Ctrl-C ends the line instead.
        silent.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ISIG);
        silent.c_cc[libc::VEOL] = INTERRUPT;
        set(terminal, &silent)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = set(self.terminal, &self.before);
    }
}

fn set(terminal: BorrowedFd<'_>, to: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed, and the settings came from tcgetattr.
    match unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, to) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_is_no_terminal() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Silence::of(file.as_fd()).is_err());
    }
}
