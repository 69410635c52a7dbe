//! Which user a delivery becomes.
//!
//! Deliveries to a user's mailbox and whatever stands in a `.forward` file have that user's rights.
//! Commands and files of an alias have those of the alias table's owner, of an `:include:` file
//! those of the file's owner; where that is root, those of `default_privs`. Nothing that a user
//! controls is looked at with more rights than that user's.

use std::path::PathBuf;
use sys::users::{self, Account};

/// An identity, with what a command learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub uid: u32,
    pub gid: u32,
    /// `HOME`, unless these are the default rights.
    pub home: Option<PathBuf>,
    /// `SHELL`.
    pub shell: Option<PathBuf>,
}

impl From<&Account> for Rights {
    fn from(account: &Account) -> Rights {
        Rights {
            uid: account.uid,
            gid: account.gid,
            home: Some(account.home.clone()),
            shell: Some(account.shell.clone()).filter(|s| !s.as_os_str().is_empty()),
        }
    }
}

impl Rights {
    /// `default_privs`. The words of an error name the parameter.
    pub fn default_of(name: &str) -> Result<Rights, String> {
        match users::by_name(name) {
            Ok(Some(a)) if a.uid != 0 => Ok(Rights { uid: a.uid, gid: a.gid, home: None, shell: None }),
            Ok(Some(_)) => {
                Err(format!("file main.cf: parameter default_privs: user {name} has privileged user ID"))
            }
            Ok(None) => {
                Err(format!("file main.cf: parameter default_privs: unknown user name value: {name}"))
            }
            Err(e) => Err(format!("parameter default_privs: looking up {name}: {e}")),
        }
    }
}

/// Whether this process can take other identities.
pub(crate) fn can_change() -> bool {
    users::identities().euid == 0
}

/// Why a delivery as `uid` is not possible here; `None` when it is.
pub(crate) fn refusal(uid: u32) -> Option<String> {
    let own = users::identities().euid;
    if own == 0 || own == uid {
        return None;
    }
    let name = |uid: u32| users::by_uid_text(uid);
    Some(format!(
        "mail system runs as user {}, and delivers to that user alone, not as user {}",
        name(own),
        name(uid)
    ))
}
