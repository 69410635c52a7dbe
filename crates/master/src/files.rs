//! The directories of the queue and the lock that says who is master.

use config::Config;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Owner and group of the queue, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    /// `mail_owner`.
    pub owner: u32,
    /// Its group.
    pub group: u32,
    /// `setgid_group`.
    pub postdrop: u32,
}

/// Makes what is missing below `queue` and `data`, and sets owners and modes as Postfix's
/// installation does. `owners` is `None` for an ordinary user, who owns everything.
pub fn prepare(queue: &Path, data: &Path, owners: Option<Owners>) -> Result<(), String> {
    let me = sys::spawn::effective_uid();
    let make = |path: PathBuf, mode: u32, who: Option<(u32, u32)>| -> Result<(), String> {
        directory(&path, mode, who)
            .map_err(|e| format!("{}: {e}; make it a directory that user {me} may use", path.display()))
    };
    let root = owners.map(|_| (0, 0));
    make(queue.to_path_buf(), 0o755, root)?;
    let mail = owners.map(|o| (o.owner, o.group));
    let drop = owners.map(|o| (o.owner, o.postdrop));
    make(queue.join("maildrop"), if owners.is_some() { 0o1730 } else { 0o700 }, drop)?;
    make(queue.join("public"), if owners.is_some() { 0o2710 } else { 0o700 }, drop)?;
    make(queue.join("private"), 0o700, mail)?;
    make(queue.join("valija"), 0o700, mail)?;
    make(queue.join("pid"), 0o755, root)?;
    make(data.to_path_buf(), 0o700, mail)
}

fn directory(path: &Path, mode: u32, who: Option<(u32, u32)>) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => {
            if let Some((uid, gid)) = who.filter(|w| *w != (m.uid(), m.gid())) {
                sys::spawn::give(path, uid, gid)?;
            }
            if m.mode() & 0o7777 != mode && (who.is_some() || m.uid() == sys::spawn::effective_uid()) {
                std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
            Ok(())
        }
        Ok(_) => Err(io::Error::other("is not a directory")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o755).create(path)?;
            if let Some((uid, gid)) = who {
                sys::spawn::give(path, uid, gid)?;
            }
            std::fs::set_permissions(path, Permissions::from_mode(mode))
        }
        Err(e) => Err(e),
    }
}

/// `pid/master.pid`, locked while its master lives.
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock and writes the number of this process; says so when another master has it.
    pub fn take(queue: &Path) -> Result<Lock, String> {
        let path = queue.join("pid/master.pid");
        let remedy = "is the file system full, or read-only, or the directory another user's?";
        let fault = |e: io::Error| format!("open lock file {}: {e}; {remedy}", path.display());
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(sys::host::O_NOFOLLOW)
            .open(&path);
        let mut file = open.map_err(fault)?;
        if file.try_lock().is_err() {
            let other = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(format!(
                "the mail system is already running: process {} holds {}",
                other.trim(),
                path.display()
            ));
        }
        file.set_len(0)
            .and_then(|()| file.write_all(format!("{:>10}\n", std::process::id()).as_bytes()))
            .map_err(fault)?;
        Ok(Lock(file))
    }

    /// Whether a living master holds the lock.
    pub fn held(queue: &Path) -> bool {
        File::open(queue.join("pid/master.pid")).is_ok_and(|f| f.try_lock_shared().is_err())
    }
}

/// Opens a file for the mail role, which may not read it itself: only one that the configuration
/// names in the value of `name`, and, as root, only if nobody but root could have put it there.
pub fn open_trusted(config: &Config, name: &str, path: &str) -> Result<File, String> {
    let value = config.get(name).map_err(|e| e.to_string())?;
    let named = value.split(|c: char| c == ',' || c.is_ascii_whitespace()).any(|element| {
        element
            .strip_suffix(path)
            .is_some_and(|before| before.is_empty() || before.ends_with([':', '!', '<', '=']))
            || compiled(element).as_deref() == Some(path)
    });
    let named = named || name == ROWS_NAME_FILES && in_rows(&value, path);
    if !named || !path.starts_with('/') {
        return Err(format!("parameter {name} does not name it"));
    }
    let real = std::fs::canonicalize(path).map_err(|e| e.to_string())?;
    if sys::spawn::effective_uid() == 0 {
        only_root(Path::new(path), 0)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(sys::host::O_NOFOLLOW)
        .open(&real)
        .map_err(|e| e.to_string())?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err("it is no plain file".into());
    }
    Ok(file)
}

/// The compiled file of a table, which may be all there is of it.
fn compiled(element: &str) -> Option<String> {
    let (before, path) = element.split_once(":/")?;
    let kind = before.rsplit(['!', '<', '=', '{', ':']).next()?;
    tables::compiled_suffix(kind).map(|suffix| format!("/{path}{suffix}"))
}

/// Whether what a path leads to can have been put there by nobody but root; started by an ordinary user, everything is that
/// user's own affair.
pub fn is_roots(path: &Path) -> bool {
    // A group that may write the file could make it grow without end.
    let alone = || std::fs::metadata(path).is_ok_and(|m| m.mode() & 0o022 == 0);
    sys::spawn::effective_uid() != 0 || only_root(path, 0).is_ok() && alone()
}

/// The parameter whose tables name files in their rows: keys, for names that clients ask for.
const ROWS_NAME_FILES: &str = "tls_server_sni_maps";

/// No such table is larger.
const LARGEST_TABLE: u64 = 1 << 24;

/// Whether a row of a text table that is root's own names this file.
fn in_rows(tables: &str, path: &str) -> bool {
    let elements = tables.split(|c: char| c == ',' || c.is_ascii_whitespace());
    let texts = elements.filter_map(|element| element.find(":/").and_then(|at| element.get(at + 1..)));
    texts.into_iter().any(|table| {
        let table = Path::new(table);
        if sys::spawn::effective_uid() == 0 && only_root(table, 0).is_err() {
            return false;
        }
        let mut text = Vec::new();
        let read = File::open(table).and_then(|f| f.take(LARGEST_TABLE).read_to_end(&mut text));
        read.is_ok() && tables::text::files_in_values(&text).iter().any(|file| file == path)
    })
}

/// Refuses a path if others than root could have put there what it leads to: every directory and
/// every link on the way is looked at, not only where they end. A link of a user's in a user's
/// directory could point to root's secrets.
fn only_root(path: &Path, links: u32) -> Result<(), String> {
    if links > 40 {
        return Err("too many levels of symbolic links".into());
    }
    let mut parts: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    parts.reverse();
    for part in parts {
        let m = std::fs::symlink_metadata(part).map_err(|e| e.to_string())?;
        let sticky = m.is_dir() && m.mode() & 0o1000 != 0;
        // Who may write a plain file changes what it holds, not which file it is: Debian's sasldb2 is
        // its group's.
        let others = if m.is_file() { 0o002 } else { 0o022 };
        if m.uid() != 0 || (!m.is_symlink() && m.mode() & others != 0 && !sticky) {
            return Err(format!("{} can be changed by others than root", part.display()));
        }
        if m.is_symlink() {
            let to = std::fs::read_link(part).map_err(|e| e.to_string())?;
            let to = part.parent().unwrap_or(Path::new("/")).join(to);
            let rest = path.strip_prefix(part).map_err(|e| e.to_string())?;
            let to = if rest.as_os_str().is_empty() { to } else { to.join(rest) };
            return only_root(&to, links + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_a_user_made_leads_nowhere() {
        if sys::spawn::effective_uid() != 0 {
            assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "this needs root");
            eprintln!("NOT TESTED: files of several users need root");
            return;
        }
        // Below /run, because others may write to the directory for temporary files.
        let root = Path::new("/run").join(format!("valija-trust-{}", std::process::id()));
        let theirs = root.join("theirs");
        std::fs::create_dir_all(&theirs).unwrap();
        std::fs::write(root.join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", theirs.join("table")).unwrap();
        std::os::unix::fs::symlink("theirs/table", root.join("good")).unwrap();
        let open = |path: &Path| {
            let text = format!("alias_maps = texthash:{}\n", path.display());
            let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
            open_trusted(&config, "alias_maps", path.to_str().unwrap()).map(|_| ())
        };
        assert_eq!(open(&root.join("secret")), Ok(()));
        assert_eq!(open(&root.join("good")), Ok(()));
        assert_eq!(open(&theirs.join("table")), Ok(()));
        sys::spawn::give(&theirs.join("table"), 65_534, 65_534).unwrap();
        assert!(open(&root.join("good")).unwrap_err().contains("table can be changed"));
        sys::spawn::give(&theirs.join("table"), 0, 0).unwrap();
        sys::spawn::give(&theirs, 65_534, 65_534).unwrap();
        assert!(open(&theirs.join("table")).unwrap_err().contains("theirs can be changed"));
        assert!(open(&root.join("good")).unwrap_err().contains("theirs can be changed"));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_compiled_file_is_the_table_too() {
        let root = std::env::temp_dir().join(format!("valija-compiled-{}", std::process::id()));
        let root = if sys::spawn::effective_uid() == 0 {
            Path::new("/run").join(root.file_name().unwrap())
        } else {
            root
        };
        std::fs::create_dir_all(&root).unwrap();
        let open = |table: &str, file: &str| {
            let path = root.join(file);
            std::fs::write(&path, "x").unwrap();
            let text = format!("smtp_sasl_password_maps = static:x, {table}:{}/pass\n", root.display());
            let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
            open_trusted(&config, "smtp_sasl_password_maps", path.to_str().unwrap()).map(|_| ())
        };
        for (table, file) in
            [("hash", "pass.db"), ("proxy:btree", "pass.db"), ("cdb", "pass.cdb"), ("hash", "pass")]
        {
            assert_eq!(open(table, file), Ok(()), "{table} {file}");
        }
        for (table, file) in
            [("texthash", "pass.db"), ("hash", "pass.cdb"), ("hash", "pass.db.db"), ("hash", "ass.db")]
        {
            assert!(open(table, file).unwrap_err().contains("does not name it"), "{table} {file}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_a_group_may_write_is_not_roots_alone() {
        if sys::spawn::effective_uid() != 0 {
            return;
        }
        let path = Path::new("/run").join(format!("valija-roots-{}", std::process::id()));
        std::fs::write(&path, "x").unwrap();
        assert!(is_roots(&path));
        std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert!(!is_roots(&path));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn rows_of_names_may_name_keys() {
        let root = Path::new("/run").join(format!("valija-rows-{}", std::process::id()));
        let root = match sys::spawn::effective_uid() {
            0 => root,
            _ => std::env::temp_dir().join(format!("valija-rows-{}", std::process::id())),
        };
        std::fs::create_dir_all(&root).unwrap();
        let (key, table) = (root.join("key.pem"), root.join("names"));
        std::fs::write(&key, "x").unwrap();
        std::fs::write(&table, format!("mail.example.org {}\n", key.display())).unwrap();
        let open = |name: &str, path: &Path| {
            let text = format!("{name} = hash:{}\n", table.display());
            let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
            open_trusted(&config, name, path.to_str().unwrap()).map(|_| ())
        };
        assert_eq!(open("tls_server_sni_maps", &key), Ok(()));
        assert!(open("alias_maps", &key).unwrap_err().contains("does not name it"));
        assert!(open("tls_server_sni_maps", Path::new("/etc/shadow")).is_err());
        if sys::spawn::effective_uid() == 0 {
            sys::spawn::give(&table, 65_534, 65_534).unwrap();
            assert!(open("tls_server_sni_maps", &key).is_err(), "a user's table names nothing");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn directories_and_lock() {
        let root = std::env::temp_dir().join(format!("valija-files-{}", std::process::id()));
        let (queue, data) = (root.join("spool"), root.join("data"));
        prepare(&queue, &data, None).unwrap();
        prepare(&queue, &data, None).unwrap();
        assert_eq!(std::fs::metadata(queue.join("maildrop")).unwrap().mode() & 0o7777, 0o700);
        assert!(!Lock::held(&queue));
        let lock = Lock::take(&queue).unwrap();
        assert!(Lock::held(&queue));
        assert!(Lock::take(&queue).err().unwrap().contains("already running"));
        drop(lock);
        assert!(!Lock::held(&queue));
        std::fs::write(root.join("plain"), "x").unwrap();
        assert!(prepare(&root.join("plain"), &data, None).unwrap_err().contains("not a directory"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
