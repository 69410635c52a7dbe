//! Advisory locks on whole files.

use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Tries to lock the whole file for writing with fcntl(2); false when another process holds it.
pub fn try_fcntl(file: &File) -> io::Result<bool> {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Tries to lock the file with flock(2); false when another holds it. The lock ends with the last
/// copy of the descriptor.
pub fn try_flock(file: &File) -> io::Result<bool> {
    // SAFETY: a system call on a descriptor that `file` keeps open for the call.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
        e => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_kept_out() {
        let path = std::env::temp_dir().join(format!("valija-locks-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        assert!(try_fcntl(&file).unwrap() && try_flock(&file).unwrap());
        let there = path.clone();
        let child = crate::children::fork(Vec::new(), move |_| {
            let Ok(file) = File::options().write(true).open(&there) else { return 9 };
            let held = |r: io::Result<bool>| r.is_ok_and(|got| !got);
            i32::from(!held(try_fcntl(&file))) + 2 * i32::from(!held(try_flock(&file)))
        });
        assert_eq!(child.unwrap().wait().unwrap(), crate::children::Ended::Exit(0));
        std::fs::remove_file(&path).unwrap();
    }
}
