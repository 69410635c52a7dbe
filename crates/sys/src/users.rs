//! Who runs this program, who has an account here, and becoming one of them for good.
//!
//! Look-ups can block for long (LDAP); of the deliver role only children call them.

use nix::unistd::{Gid, Uid, User};
use std::io;

/// The identities of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identities {
    /// Who started it.
    pub uid: u32,
    /// Whose rights it has.
    pub euid: u32,
    /// The group of who started it.
    pub gid: u32,
    /// The group whose rights it has.
    pub egid: u32,
}

impl Identities {
    /// The program has rights that its caller lacks (a set-uid or set-gid program).
    pub fn borrowed(&self) -> bool {
        self.uid != self.euid || self.gid != self.egid
    }
}

/// The identities of this process.
pub fn identities() -> Identities {
    Identities {
        uid: Uid::current().as_raw(),
        euid: Uid::effective().as_raw(),
        gid: Gid::current().as_raw(),
        egid: Gid::effective().as_raw(),
    }
}

/// An account of the name service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User.
    pub uid: u32,
    /// First group.
    pub gid: u32,
    /// The comment field: full name and more, separated by commas.
    pub gecos: String,
    /// Home directory.
    pub home: std::path::PathBuf,
    /// Login shell.
    pub shell: std::path::PathBuf,
}

impl Account {
    /// The full name: the comment field up to a comma, `&` standing for the login name with a
    /// capital.
    pub fn full_name(&self) -> String {
        let name = self.gecos.split(',').next().unwrap_or("");
        if !name.contains('&') {
            return name.to_string();
        }
        let mut letters = self.name.chars();
        let capital: String =
            letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect();
        name.replace('&', &capital)
    }
}

impl From<User> for Account {
    fn from(user: User) -> Account {
        Account {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            gecos: user.gecos.to_string_lossy().into_owned(),
            home: user.dir,
            shell: user.shell,
        }
    }
}

/// The account with this number; an error is one of the name service, not "unknown".
pub fn by_id(uid: u32) -> io::Result<Option<Account>> {
    account(User::from_uid(Uid::from_raw(uid)))
}

/// The account with this login name.
pub fn by_name(name: &str) -> io::Result<Option<Account>> {
    if name.is_empty() || name.contains('\0') {
        return Ok(None);
    }
    account(User::from_name(name))
}

/// getpwnam(3): with one name service or another these errors all mean "not found".
fn account(found: nix::Result<Option<User>>) -> io::Result<Option<Account>> {
    use nix::errno::Errno;
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        other => Ok(other?.map(Account::from)),
    }
}

/// A user's name, or the number where there is none.
pub fn by_uid_text(uid: u32) -> String {
    by_id(uid).ok().flatten().map_or_else(|| uid.to_string(), |a| a.name)
}

/// Becomes `uid` with the group `gid` and no other, for good, and makes sure that nothing of the
/// former identity can be had back. Process-wide: the C library changes every thread. Root cannot
/// be become.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    if uid == 0 || gid == u32::MAX || uid == u32::MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an identity for deliveries"));
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let same = |a: Uid, b: Uid, c: Uid| a == user && b == user && c == user;
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgroups(&[group])?;
        nix::unistd::setresgid(group, group, group)?;
        nix::unistd::setresuid(user, user, user)?;
    }
    let (now, groups) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    if !same(now.real, now.effective, now.saved) {
        let what = format!("this process is user {} and cannot become user {uid}", now.effective);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    if groups.real == Gid::from_raw(0) && gid != 0 {
        return Err(io::Error::other("the group was not given up"));
    }
    if nix::unistd::setuid(Uid::from_raw(0)).is_ok() || nix::unistd::seteuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root could be regained"));
    }
    Ok(())
}

/// The row of passwd(5) of an account, if there is one.
pub fn passwd_row(name: &str) -> io::Result<Option<String>> {
    if name.contains('\0') {
        return Ok(None);
    }
    let row = |u: User| {
        let (gecos, passwd) = (u.gecos.to_string_lossy(), u.passwd.to_string_lossy());
        let (home, shell) = (u.dir.display(), u.shell.display());
        format!("{}:{passwd}:{}:{}:{gecos}:{home}:{shell}", u.name, u.uid, u.gid)
    };
    Ok(User::from_name(name).map_err(io::Error::from)?.map(row))
}

/// The row of group(5) of a group, if there is one.
pub fn group_row(name: &str) -> io::Result<Option<String>> {
    if name.contains('\0') {
        return Ok(None);
    }
    let row = |g: nix::unistd::Group| {
        format!("{}:{}:{}:{}", g.name, g.passwd.to_string_lossy(), g.gid, g.mem.join(","))
    };
    Ok(nix::unistd::Group::from_name(name).map_err(io::Error::from)?.map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known() {
        let root = by_id(0).unwrap().unwrap();
        assert_eq!(by_name(&root.name).unwrap(), Some(root));
        assert_eq!(by_name("no such user here").unwrap(), None);
        let mut account = by_id(0).unwrap().unwrap();
        (account.name, account.gecos) = ("jose".into(), "& Domingo,,555".into());
        assert_eq!(account.full_name(), "Jose Domingo");
    }

    #[test]
    fn an_identity_is_for_good_and_never_root() {
        assert!(become_user(0, 0).is_err());
        if identities().euid != 0 {
            assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "this needs root");
            eprintln!("NOT TESTED: becoming another user needs root");
            assert!(become_user(identities().euid + 1, identities().egid).is_err());
            return become_user(identities().euid, identities().egid).unwrap();
        }
        let child = crate::children::fork(Vec::new(), |_| {
            if become_user(65_534, 65_534).is_err() {
                return 1;
            }
            let shadow = std::fs::File::open("/etc/shadow").is_err();
            let back = become_user(1, 1).is_err();
            let groups = nix::unistd::getgroups().is_ok_and(|g| g == [Gid::from_raw(65_534)]);
            if shadow && back && groups { 0 } else { 2 }
        });
        assert_eq!(child.unwrap().wait().unwrap(), crate::children::Ended::Exit(0));
    }
}
