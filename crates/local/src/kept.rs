//! Tables that the `deliver` role keeps in its memory, so that its children find them read: a child that read the text of a
//! hundred thousand mailboxes for one message would spend more on that than on the message.
//!
//! Kept are tables with fixed keys that none but root could have written, since the role itself reads them: nobody else
//! can make it wait (a FIFO) or grow. Children open all others themselves. They are opened when the first job comes, and looked at
//! before each job, so that a changed text is read once. As in the mail role, a changed text with faults is not adopted; where
//! the mail role does not read that table (user and group numbers), the next child has it logged.

use crate::setup::Setup;
use config::Config;
use config::master_cf::Service;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use tables::{Notice, Table, Types, split_list};

/// Tables whose results may not hold parts of a stranger's address: see [`Types`].
const STRICT: [&str; 5] =
    ["alias_maps", "mailbox_command_maps", "virtual_mailbox_maps", "virtual_uid_maps", "virtual_gid_maps"];
/// The others that are asked in local delivery.
const PLAIN: [&str; 3] = ["mailbox_transport_maps", "fallback_transport_maps", "transport_maps"];

/// Tables that only children ask: of all others the mail role says what is wrong with them.
const UNHEARD: [&str; 2] = ["virtual_uid_maps", "virtual_gid_maps"];

/// Ways to open tables, shared by all who deliver.
pub(crate) struct Kept {
    /// As they are.
    pub plain: Types,
    /// Where no part of a key may get into a result.
    pub strict: Types,
    held: OnceCell<Vec<Arc<dyn Table>>>,
    /// What is to be said of texts that were not adopted.
    notices: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    /// For main.cf and the overrides of these services.
    pub fn of(config: &Config, services: &[Service]) -> Kept {
        let builder = || {
            let own = services.iter().map(|s| s.config(config).get("alias_maps").unwrap_or_default());
            own.fold(Types::for_config(config), |types, text| types.alias_tables(split_list(&text)))
        };
        let elements =
            |s: &Service| UNHEARD.map(|n| split_list(&s.config(config).get(n).unwrap_or_default()));
        let unheard: HashSet<String> = services.iter().flat_map(elements).flatten().collect();
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = notices.clone();
        let listener = move |notice: &Notice| {
            if notice.warning && unheard.contains(&notice.table) {
                lock(&heard).push(notice.to_string());
            }
        };
        let strict = builder().without_substitution().notices(listener).build();
        Kept { plain: builder().build(), strict, held: OnceCell::new(), notices }
    }

    fn open(&self, setup: &Setup, trusted: &dyn Fn(&Path) -> bool) -> Vec<Arc<dyn Table>> {
        let mut held = Vec::new();
        for service in setup.services() {
            let config = service.config(setup.config());
            let (strict, plain): (&[&str], &[&str]) = match service.command() {
                "local" => (&STRICT[..2], &PLAIN),
                "virtual" => (&STRICT[2..], &[]),
                _ => continue,
            };
            for (types, names) in [(&self.strict, strict), (&self.plain, plain)] {
                for element in names.iter().flat_map(|n| split_list(&config.get(n).unwrap_or_default())) {
                    if may_be_kept(&element, trusted) {
                        held.extend(types.open(&element).ok());
                    }
                }
            }
        }
        held
    }
}

fn lock(notices: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    notices.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Setup {
    /// What the role found out about tables: for the log, once. A child takes what it inherits; the role forgets it then.
    pub fn table_notices(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.kept().notices))
    }

    /// Reads the tables that may be kept, if need be. `trusted` says whether nobody but root could have made what a path leads to.
    pub fn keep_tables(&self, trusted: &dyn Fn(&Path) -> bool) {
        let held = self.kept().held.get_or_init(|| self.kept().open(self, trusted));
        for table in held {
            // Asking whether it is sound has it look at its file, as seldom as any lookup does.
            let _ = table.broken();
        }
    }
}

/// Whether an element of a list is a file with fixed keys that only root could have written, text and compiled.
fn may_be_kept(element: &str, trusted: &dyn Fn(&Path) -> bool) -> bool {
    let plain = element.strip_prefix("proxy:").unwrap_or(element);
    let Some((kind, name)) = plain.split_once(':') else { return false };
    let indexed = ["hash", "btree", "cdb", "lmdb", "texthash"].contains(&kind);
    let safe = |path: &Path| trusted(path) || std::fs::symlink_metadata(path).is_err();
    indexed
        && name.starts_with('/')
        && Path::new(name).parent().is_some_and(trusted)
        && ["", ".db", ".cdb", ".lmdb"].iter().all(|suffix| safe(Path::new(&format!("{name}{suffix}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::master_cf;

    #[test]
    fn only_what_root_wrote_is_kept_and_it_is_read_once() {
        let at = std::env::temp_dir().join(format!("valija-kept-{}", std::process::id()));
        std::fs::create_dir_all(&at).unwrap();
        for name in ["boxes", "theirs", "uids"] {
            std::fs::write(at.join(name), "a@v.org b\n").unwrap();
        }
        let dir = at.display();
        let main = format!(
            "virtual_mailbox_maps = hash:{dir}/boxes, regexp:{dir}/p, hash:relative, hash:{dir}/theirs\n\
             virtual_uid_maps = static:5\nalias_maps = proxy:hash:{dir}/boxes\n"
        );
        let config = Config::from_text(&at, &main).unwrap();
        let lines = "virtual unix - n n - - virtual\nother unix - n n - - virtual\n  -o virtual_uid_maps=hash:$config_directory/uids\n";
        let setup = Setup::of(config, master_cf::read("master.cf", lines).unwrap().all);
        let trusted = |path: &Path| path.starts_with(&at) && !path.ends_with("theirs");
        setup.keep_tables(&trusted);
        let held = setup.kept().held.get().unwrap();
        let names: Vec<&str> = held.iter().map(|t| t.name()).collect();
        let (boxes, uids) = (format!("hash:{dir}/boxes"), format!("hash:{dir}/uids"));
        // Those of the second service are the same tables.
        assert_eq!(names, [&boxes, &boxes, &uids]);
        assert!(Arc::ptr_eq(&held[0], &setup.kept().strict.open(&boxes).unwrap()));
        std::fs::remove_dir_all(&at).unwrap();
    }

    #[test]
    fn a_text_that_is_written_anew_is_read_anew() {
        let at = std::env::temp_dir().join(format!("valija-kept-new-{}", std::process::id()));
        std::fs::create_dir_all(&at).unwrap();
        let path = at.join("boxes");
        std::fs::write(&path, "a@v.org b\n").unwrap();
        let config =
            Config::from_text(&at, &format!("virtual_mailbox_maps = hash:{}\n", path.display())).unwrap();
        let services = master_cf::read("master.cf", "virtual unix - n n - - virtual\n").unwrap().all;
        let setup = Setup::of(config, services);
        setup.keep_tables(&|_| true);
        let name = format!("hash:{}", path.display());
        let ask = || setup.kept().strict.open(&name).unwrap().lookup("c@v.org").unwrap();
        assert_eq!(ask(), None);
        assert!(setup.table_notices().is_empty());
        // As an editor or a program that writes a new file and moves it there does.
        std::fs::write(at.join("new"), "c@v.org d\n").unwrap();
        std::fs::rename(at.join("new"), &path).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while ask().is_none() {
            assert!(std::time::Instant::now() < end, "the new text is not read");
            setup.keep_tables(&|_| true);
            std::thread::yield_now();
        }
        std::fs::remove_dir_all(&at).unwrap();
    }

    #[test]
    fn numbers_with_faults_are_told_once_and_not_adopted() {
        let at = std::env::temp_dir().join(format!("valija-kept-faults-{}", std::process::id()));
        std::fs::create_dir_all(&at).unwrap();
        let path = at.join("uids");
        std::fs::write(&path, "a@v.org 5000\n").unwrap();
        let config =
            Config::from_text(&at, &format!("virtual_uid_maps = hash:{}\n", path.display())).unwrap();
        let services = master_cf::read("master.cf", "virtual unix - n n - - virtual\n").unwrap().all;
        let setup = Setup::of(config, services);
        setup.keep_tables(&|_| true);
        std::fs::write(at.join("new"), "a@v.org\nb@v.org 5001\n").unwrap();
        std::fs::rename(at.join("new"), &path).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let told = loop {
            setup.keep_tables(&|_| true);
            let told = setup.table_notices();
            if !told.is_empty() {
                break told;
            }
            assert!(std::time::Instant::now() < end, "nothing is told");
            std::thread::yield_now();
        };
        assert!(told.len() == 1 && told[0].contains("the rows read before stay in use"), "{told:?}");
        let table = setup.kept().strict.open(&format!("hash:{}", path.display())).unwrap();
        assert_eq!(table.lookup("a@v.org").unwrap().map(|h| h.value).as_deref(), Some("5000"));
        setup.keep_tables(&|_| true);
        assert!(setup.table_notices().is_empty());
        std::fs::remove_dir_all(&at).unwrap();
    }
}
