//! A queue that Postfix left behind. Its files are not ours: valija neither delivers nor removes
//! them, so a start with messages in them must stop and say how to drain it.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Messages of Postfix found in `queue_directory`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Where.
    pub directory: PathBuf,
    /// Accepted, not yet taken up.
    pub incoming: u64,
    /// Being delivered when Postfix stopped.
    pub active: u64,
    /// Waiting for another attempt.
    pub deferred: u64,
    /// Set aside by an administrator or a rule.
    pub hold: u64,
}

/// What Postfix left in `queue_directory`; `None` for nothing. Directories that are missing or
/// may not be read hold nothing for us. Mail in `maildrop` is no leftover: it is picked up.
pub fn leftovers(queue_directory: &Path) -> Option<Leftovers> {
    let count = |name: &str| messages(&queue_directory.join(name), 0);
    let found = Leftovers {
        directory: queue_directory.to_path_buf(),
        incoming: count("incoming"),
        active: count("active"),
        deferred: count("deferred"),
        hold: count("hold"),
    };
    (found.total() > 0).then_some(found)
}

impl Leftovers {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.incoming + self.active + self.deferred + self.hold
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = if self.total() == 1 { "message" } else { "messages" };
        write!(
            f,
            "{} {messages} of Postfix in {} (incoming {}, active {}, deferred {}, hold {}) would never be \
             delivered: start Postfix once more, drain its queue (postqueue -f; postsuper -H ALL or \
             postsuper -d ALL hold for what is on hold; mailq shows what is left), stop it, then start valija",
            self.total(),
            self.directory.display(),
            self.incoming,
            self.active,
            self.deferred,
            self.hold
        )
    }
}

/// Complete messages in a queue and its hashed subdirectories (`hash_queue_depth` goes to 16; no
/// deeper is looked).
fn messages(directory: &Path, depth: u8) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let mut n = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < 16 && name.len() == 1 {
            n += messages(&entry.path(), depth + 1);
        } else if kind.is_file() && is_id(name) {
            // Postfix marks a message as complete, and thus accepted, with the owner's x bit.
            let complete = entry.metadata().is_ok_and(|m| m.permissions().mode() & 0o100 != 0);
            n += u64::from(complete);
        }
    }
    n
}

fn is_id(name: &str) -> bool {
    name.len() >= 6 && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_complete_messages_in_hashed_directories() {
        let root = std::env::temp_dir().join(format!("valija-leftovers-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        assert_eq!(leftovers(&root), None);
        for d in ["incoming", "active", "deferred/4/F", "hold", "maildrop", "defer/4"] {
            std::fs::create_dir_all(root.join(d)).unwrap();
        }
        let put = |name: &str, mode| {
            std::fs::write(root.join(name), b"x").unwrap();
            std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("maildrop/4F1AB2C3D4", 0o744);
        put("incoming/4F1AB2C3D5", 0o600);
        put("defer/4/4F1AB2C3D6", 0o700);
        put("hold/.keep", 0o700);
        assert_eq!(leftovers(&root), None);
        put("deferred/4/F/4F1AB2C3D6", 0o700);
        put("hold/4Fx2b36zZ1z9", 0o700);
        let found = leftovers(&root).unwrap();
        assert_eq!((found.deferred, found.hold, found.total()), (1, 1, 2));
        let text = found.to_string();
        assert!(text.starts_with("2 messages of Postfix in ") && text.contains("postqueue -f"), "{text}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
