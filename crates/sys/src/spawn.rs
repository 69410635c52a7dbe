//! Starting a program of ours with an identity and descriptors of its own.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Who a child becomes before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Of a user by name, with its groups; `None` when there is no such user.
    pub fn of_user(name: &str) -> io::Result<Option<Identity>> {
        let Some(user) = nix::unistd::User::from_name(name)? else { return Ok(None) };
        let c_name = std::ffi::CString::new(name)?;
        let groups = nix::unistd::getgrouplist(&c_name, user.gid)?;
        let groups = groups.into_iter().map(|g| g.as_raw()).collect();
        Ok(Some(Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups }))
    }
}

/// The number of a group; `None` when there is no such group.
pub fn group_number(name: &str) -> io::Result<Option<u32>> {
    Ok(nix::unistd::Group::from_name(name)?.map(|g| g.gid.as_raw()))
}

/// The user this process acts as.
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Leaves the terminal and the process group of whoever started this process.
pub fn new_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// Makes descriptors 0, 1 and 2 copies of `file`.
pub fn replace_standard_streams(file: &std::fs::File) -> io::Result<()> {
    nix::unistd::dup2_stdin(file)?;
    nix::unistd::dup2_stdout(file)?;
    nix::unistd::dup2_stderr(file)?;
    Ok(())
}

/// Gives a file or directory, not what a link points to, to a user and group.
pub fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
}

/// Starts `program` with `argv0` as its name. The child gets `fds` as descriptors 3, 4, … in that
/// order and nothing else but 0, 1 and 2; it becomes `identity`, when given, and can then never
/// gain privileges by executing a set-id program (`no_new_privs`). Without `output` its standard
/// streams are /dev/null: a daemon must not hold the pipe of whoever started it. With `hasty` it begins
/// with [`crate::turns::HASTE`], where the caller may give that.
#[expect(clippy::too_many_arguments, reason = "what a process begins with")]
pub fn spawn(
    program: &Path,
    argv0: &str,
    args: &[&OsStr],
    fds: &[BorrowedFd<'_>],
    identity: Option<&Identity>,
    environment: &[(String, String)],
    output: bool,
    hasty: bool,
) -> io::Result<Child> {
    // Copies above the range they will be moved to, so that no move overwrites a later source.
    let floor = 3 + fds.len() as i32;
    let high = fds
        .iter()
        .map(|fd| {
            nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(floor))
                // SAFETY: fcntl just made this descriptor and nothing else owns it.
                .map(|n| unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(n) })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<i32> = high.iter().map(AsRawFd::as_raw_fd).collect();
    let identity = identity.cloned();
    let mut command = Command::new(program);
    command.arg0(argv0).args(args).env_clear().envs(environment.iter().map(|(n, v)| (n, v)));
    if !output {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    let setup = move || {
        for (i, n) in numbers.iter().enumerate() {
            // SAFETY: dup2 on descriptors that this process owns; async-signal-safe.
            if unsafe { libc::dup2(*n, 3 + i as i32) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: marks everything above the passed descriptors close-on-exec; where the kernel
        // lacks the call, all of ours were opened close-on-exec anyway.
        unsafe { libc::syscall(libc::SYS_close_range, floor as u32, u32::MAX, 4u32) };
        // The child begins with default signal handling, whatever the parent had blocked.
        // SAFETY: sigprocmask with a set made by sigemptyset; async-signal-safe.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        }
        if hasty {
            // Whoever may not give it starts an ordinary process.
            crate::turns::take(crate::turns::HASTE);
        }
        if let Some(who) = &identity {
            // SAFETY: plain system calls on values that live through the calls. The child of fork
            // has one thread, so the raw per-thread calls of libc change the whole process.
            unsafe {
                if libc::setgroups(who.groups.len(), who.groups.as_ptr()) != 0
                    || libc::setresgid(who.gid, who.gid, who.gid) != 0
                    || libc::setresuid(who.uid, who.uid, who.uid) != 0
                {
                    return Err(io::Error::last_os_error());
                }
                if who.uid != 0 && libc::setuid(0) == 0 {
                    return Err(io::Error::other("root could be regained"));
                }
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe calls and allocates nothing but on failure.
    unsafe { command.pre_exec(setup) };
    command.spawn()
}

/// Takes over descriptor `number` that the parent passed by [`spawn`]; `None` if it is not open.
/// To be called once per number at the start of the program, before anything else opens files.
pub fn inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: the borrow is used for one fcntl, which fails on a number that is not open.
    let open = nix::fcntl::fcntl(
        unsafe { BorrowedFd::borrow_raw(number) },
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    );
    // SAFETY: it is open, and by the contract above nothing else in this process owns it.
    open.ok().map(|_| unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) })
}
