//! Waiting for several descriptors at once, for programs without an async runtime.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Waits until a descriptor can be read (or its peer is gone) or `at_most` has passed; says which.
pub fn readable(fds: &[BorrowedFd<'_>], at_most: Option<Duration>) -> io::Result<Vec<bool>> {
    let timeout = match at_most {
        None => PollTimeout::NONE,
        // Rounded up: a wait that ends early would only come back at once.
        Some(d) => PollTimeout::try_from(d.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX),
    };
    let mut set: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut set, timeout) {
        Ok(_) => Ok(set.iter().map(|p| p.any().unwrap_or(true)).collect()),
        Err(nix::errno::Errno::EINTR) => Ok(vec![false; fds.len()]),
        Err(e) => Err(e.into()),
    }
}

/// Waits until `input` can be read or `output` can be written (or the peer of either is gone), or
/// `at_most` has passed; says which. Either may be missing.
pub fn either(
    input: Option<BorrowedFd<'_>>,
    output: Option<BorrowedFd<'_>>,
    at_most: Duration,
) -> io::Result<(bool, bool)> {
    let timeout = PollTimeout::try_from(at_most.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
    let mut set: Vec<PollFd<'_>> = input.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
    set.extend(output.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
    match poll(&mut set, timeout) {
        Ok(_) => {}
        Err(nix::errno::Errno::EINTR) => return Ok((false, false)),
        Err(e) => return Err(e.into()),
    }
    let mut ready = set.iter().map(|p| p.any().unwrap_or(true));
    let read = input.is_some() && ready.next().unwrap_or(false);
    let write = output.is_some() && ready.next().unwrap_or(false);
    Ok((read, write))
}

/// Whether nobody is left who could read what is written to this pipe.
pub fn is_unheard(pipe: BorrowedFd<'_>) -> io::Result<bool> {
    let mut set = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut set, PollTimeout::ZERO)?;
    let [pipe] = set;
    Ok(pipe.revents().is_some_and(|said| said.contains(PollFlags::POLLERR)))
}

/// From now on reads and writes that would wait fail with `WouldBlock`.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_without_reader_is_unheard() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_unheard(writer.as_fd()).unwrap());
        drop(reader);
        assert!(is_unheard(writer.as_fd()).unwrap());
    }
}
