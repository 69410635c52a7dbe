//! Who runs this program, and who has an account here.

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
    Ok(User::from_uid(Uid::from_raw(uid))?.map(Account::from))
}

/// The account with this login name.
pub fn by_name(name: &str) -> io::Result<Option<Account>> {
    Ok(User::from_name(name)?.map(Account::from))
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
}
