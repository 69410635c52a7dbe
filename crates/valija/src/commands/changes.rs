//! Several files changed as one: shown first as differences, written beside the old ones, checked for
//! other writers, and only then put in place; what was there is kept under a dated name. Should one
//! of the last steps fail, the files already replaced get their former content back.

use super::replace::{Edit, failed};
use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// A new file is readable for all; one that exists stays as it is.
    Public,
    /// Readable by its owner alone, also when it was not so before. Its content is not shown.
    Secret,
}

/// A file with its new content.
struct Change {
    path: PathBuf,
    old: Option<Vec<u8>>,
    new: Vec<u8>,
    access: Access,
}

/// What shall change.
#[derive(Default)]
pub(super) struct Changes {
    list: Vec<Change>,
}

/// A file that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The file.
    pub(super) path: PathBuf,
    /// What was there before.
    pub(super) copy: Option<PathBuf>,
}

/// The content of a file; `None` when it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, &e)),
    }
}

impl Changes {
    /// The file `path`, in which `old` was read, shall hold `new`.
    pub(super) fn add(&mut self, path: PathBuf, old: Option<Vec<u8>>, new: Vec<u8>, access: Access) {
        let open = || std::fs::metadata(&path).is_ok_and(|m| m.mode() & 0o077 != 0);
        if old.as_ref() != Some(&new) || access == Access::Secret && open() {
            self.list.push(Change { path, old, new, access });
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What changes, for a reader: lines that go with `-`, lines that come with `+`. When `brief`, new
    /// files without their comments, and long ones not at all.
    pub(super) fn differences(&self, brief: bool) -> String {
        let mut out = String::new();
        for change in &self.list {
            let what = if change.old.is_some() { "changed" } else { "new" };
            out.push_str(&format!("{} ({what})\n", change.path.display()));
            if change.access == Access::Secret {
                out.push_str("  (mode 600; the content is secret and not shown)\n");
                continue;
            }
            let old = String::from_utf8_lossy(change.old.as_deref().unwrap_or_default()).into_owned();
            let mut new = String::from_utf8_lossy(&change.new).into_owned();
            if brief && change.old.is_none() {
                let telling: Vec<&str> =
                    new.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).collect();
                if telling.len() > LONG {
                    out.push_str(&format!("  ({} lines; --dry-run shows them)\n", telling.len()));
                    continue;
                }
                new = telling.join("\n");
            }
            out.push_str(&difference(&old, &new));
        }
        out
    }

    /// Makes the changes. `stamp` is part of the names of the copies. On an error nothing is changed.
    pub(super) fn commit(self, stamp: &str) -> Result<Vec<Written>, String> {
        let mut edits = Vec::new();
        let mut written: Vec<Written> = Vec::new();
        let undo = |written: &[Written]| {
            written.iter().filter_map(|w| w.copy.as_ref()).for_each(|c| drop(std::fs::remove_file(c)));
        };
        for change in &self.list {
            match prepare(change, stamp) {
                Ok((edit, copy)) => {
                    edits.push(edit);
                    written.push(Written { path: change.path.clone(), copy });
                }
                Err(what) => {
                    undo(&written);
                    return Err(what);
                }
            }
        }
        for (at, edit) in edits.into_iter().enumerate() {
            let target = edit.target().to_path_buf();
            let Err(what) = edit.finish() else { continue };
            let mut lost = String::new();
            for (done, change) in written.iter().zip(&self.list).take(at) {
                if let Err(e) = put_back(done, change) {
                    lost.push_str(&format!("; {e}"));
                }
            }
            if lost.is_empty() {
                undo(&written);
            }
            return Err(format!("{what}; {} stays as it was{lost}", target.display()));
        }
        Ok(written)
    }
}

/// The new file beside the old one, and the copy of the old one.
fn prepare(change: &Change, stamp: &str) -> Result<(Edit, Option<PathBuf>), String> {
    if let Some(parent) = change.path.parent()
        && !parent.is_dir()
    {
        std::fs::create_dir_all(parent).map_err(|e| failed("mkdir", parent, &e))?;
    }
    let (mut edit, now) = Edit::begin_or_create(&change.path)?;
    if now != change.old {
        let path = change.path.display();
        return Err(format!("{path}: somebody else changed it meanwhile; look at it and begin again"));
    }
    let old = std::fs::metadata(edit.target()).ok();
    let mode = match (change.access, &old) {
        (Access::Secret, _) => Permissions::from_mode(0o600),
        (Access::Public, Some(old)) => old.permissions(),
        (Access::Public, None) => Permissions::from_mode(0o644),
    };
    edit.prepare(&change.new, mode, old.as_ref())?;
    let copy = match (&change.old, &old) {
        (Some(bytes), Some(old)) => Some(copy_of(edit.target(), bytes, old, change.access, stamp)?),
        _ => None,
    };
    Ok((edit, copy))
}

/// Keeps `bytes` as `FILE.before-STAMP`, with the mode and owner of the file.
fn copy_of(
    target: &Path,
    bytes: &[u8],
    old: &std::fs::Metadata,
    access: Access,
    stamp: &str,
) -> Result<PathBuf, String> {
    let mut number = 0;
    loop {
        let mut name = target.as_os_str().to_os_string();
        name.push(format!(".before-{stamp}"));
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let path = PathBuf::from(name);
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => {
                number += 1;
                continue;
            }
            Err(e) => return Err(failed("create", &path, &e)),
        };
        let keep = || -> std::io::Result<()> {
            file.write_all(bytes)?;
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            if access == Access::Public {
                file.set_permissions(old.permissions())?;
            }
            file.sync_all()
        };
        let mut keep = keep;
        return match keep() {
            Ok(()) => Ok(path),
            Err(e) => {
                let _ = std::fs::remove_file(&path);
                Err(failed("write", &path, &e))
            }
        };
    }
}

fn put_back(written: &Written, change: &Change) -> Result<(), String> {
    match &written.copy {
        Some(copy) => {
            let target = change.path.canonicalize().unwrap_or_else(|_| change.path.clone());
            std::fs::rename(copy, &target).map_err(|e| failed("restore", &change.path, &e))
        }
        None => std::fs::remove_file(&change.path).map_err(|e| failed("remove", &change.path, &e)),
    }
}

/// New files of more lines are not shown in brief.
const LONG: usize = 35;

/// How many lines stand around a change.
const AROUND: usize = 2;

/// Line by line: the longest common part stays, what differs is marked.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = common(&old, &new);
    let mut marked: Vec<(char, &str)> = Vec::new();
    let (mut a, mut b) = (0, 0);
    for (i, j) in same.into_iter().chain([(old.len(), new.len())]) {
        old.iter().take(i).skip(a).for_each(|l| marked.push(('-', l)));
        new.iter().take(j).skip(b).for_each(|l| marked.push(('+', l)));
        if let Some(line) = old.get(i) {
            marked.push((' ', line));
        }
        (a, b) = (i + 1, j + 1);
    }
    let near = |at: usize| {
        let around = marked.iter().skip(at.saturating_sub(AROUND)).take(AROUND + 1 + AROUND.min(at));
        around.into_iter().any(|(mark, _)| *mark != ' ')
    };
    let mut out = String::new();
    let mut gap = false;
    for (at, (mark, line)) in marked.iter().enumerate() {
        if near(at) {
            out.push_str(&format!("  {mark} {line}\n"));
        } else if !gap {
            out.push_str("    ...\n");
        }
        gap = !near(at);
    }
    out
}

/// Pairs of lines of a longest common subsequence. Beginning and end are taken off first, so that the
/// table is small for files that differ little; files beyond its bound count as wholly different.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let middle = |all: &[&str]| -> Vec<String> {
        all.iter().skip(head).take(all.len() - head - tail).map(|l| l.to_string()).collect()
    };
    let (a, b) = (middle(old), middle(new));
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|i| (i, i)).collect();
    if a.len().saturating_mul(b.len()) <= 4_000_000 {
        let width = b.len() + 1;
        let mut longest = vec![0_u32; (a.len() + 1) * width];
        let at = |table: &[u32], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or(0);
        for (i, x) in a.iter().enumerate().rev() {
            for (j, y) in b.iter().enumerate().rev() {
                let best = match x == y {
                    true => at(&longest, i + 1, j + 1) + 1,
                    false => at(&longest, i + 1, j).max(at(&longest, i, j + 1)),
                };
                if let Some(cell) = longest.get_mut(i * width + j) {
                    *cell = best;
                }
            }
        }
        let (mut i, mut j) = (0, 0);
        while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
            if x == y {
                pairs.push((head + i, head + j));
                (i, j) = (i + 1, j + 1);
            } else if at(&longest, i + 1, j) >= at(&longest, i, j + 1) {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    pairs.extend((0..tail).rev().map(|k| (old.len() - 1 - k, new.len() - 1 - k)));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("valija-changes-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn files_are_replaced_and_copies_kept() {
        let dir = folder("kept");
        let (main, secret, new) = (dir.join("main.cf"), dir.join("sasl_passwd"), dir.join("sub/new"));
        std::fs::write(&main, "a\nb\nc\n").unwrap();
        std::fs::set_permissions(&main, Permissions::from_mode(0o640)).unwrap();
        std::fs::write(&secret, "x y:z\n").unwrap();
        let mut changes = Changes::default();
        changes.add(main.clone(), Some(b"a\nb\nc\n".to_vec()), b"a\nB\nc\n".to_vec(), Access::Public);
        changes.add(secret.clone(), Some(b"x y:z\n".to_vec()), b"x y:z\n".to_vec(), Access::Secret);
        changes.add(new.clone(), None, b"n\n".to_vec(), Access::Public);
        changes.add(dir.join("same"), Some(b"n\n".to_vec()), b"n\n".to_vec(), Access::Public);
        let shown = changes.differences(false);
        assert!(shown.contains("main.cf (changed)\n    a\n  - b\n  + B\n    c\n"), "{shown}");
        assert!(!shown.contains("x y:z") && !shown.contains("same"), "{shown}");
        let mut long = Changes::default();
        long.add(dir.join("a"), None, b"# c\n\nx = 1\n".to_vec(), Access::Public);
        long.add(dir.join("b"), None, b"y\n".repeat(50), Access::Public);
        let brief = long.differences(true);
        assert!(brief.contains("/a (new)\n  + x = 1\n"), "{brief}");
        assert!(brief.ends_with("/b (new)\n  (50 lines; --dry-run shows them)\n"), "{brief}");
        let written = changes.commit("20261121-120000").unwrap();
        assert_eq!(written.len(), 3);
        assert_eq!(std::fs::read(&main).unwrap(), b"a\nB\nc\n");
        assert_eq!(mode(&main), 0o640);
        let copy = dir.join("main.cf.before-20261121-120000");
        assert_eq!(written[0].copy.as_ref(), Some(&copy.canonicalize().unwrap()));
        assert_eq!((std::fs::read(&copy).unwrap(), mode(&copy)), (b"a\nb\nc\n".to_vec(), 0o640));
        assert_eq!((mode(&secret), mode(&new)), (0o600, 0o644));
        assert_eq!(mode(&dir.join("sasl_passwd.before-20261121-120000")), 0o600);
        assert!(!dir.join("main.cf.tmp").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn nothing_changes_when_one_file_cannot() {
        let dir = folder("undone");
        let (first, second) = (dir.join("first"), dir.join("second"));
        std::fs::write(&first, "1\n").unwrap();
        std::fs::write(&second, "not what was read\n").unwrap();
        let mut changes = Changes::default();
        changes.add(first.clone(), Some(b"1\n".to_vec()), b"2\n".to_vec(), Access::Public);
        changes.add(second, Some(b"2\n".to_vec()), b"3\n".to_vec(), Access::Public);
        assert!(changes.commit("x").unwrap_err().contains("somebody else changed it"));
        // A directory in the way lets the last step of the second file fail.
        let mut changes = Changes::default();
        changes.add(first.clone(), Some(b"1\n".to_vec()), b"2\n".to_vec(), Access::Public);
        changes.add(dir.join("new"), None, b"3\n".to_vec(), Access::Public);
        let mut edits = Vec::new();
        for change in &changes.list {
            edits.push(prepare(change, "y").unwrap());
        }
        drop(edits);
        assert_eq!(std::fs::read(&first).unwrap(), b"1\n");
        let mut names: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["first", "first.before-y", "second"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn far_lines_are_left_out() {
        let old = "1\n2\n3\n4\n5\n6\n";
        assert_eq!(difference(old, "1\n2\n3\n4\n5\n"), "    ...\n    4\n    5\n  - 6\n");
        assert_eq!(difference("", "x\n"), "  + x\n");
    }

    proptest! {
        /// Without the lines that come, a difference is the old text; without those that go, the new one.
        #[test]
        fn differences_hold_both_texts(old in "([abc]\n){0,12}", new in "([abc]\n){0,12}") {
            let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let pairs = common(&a, &b);
            prop_assert!(pairs.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
            prop_assert!(pairs.iter().all(|(i, j)| a[*i] == b[*j]));
            let minus = difference(&old, &new).lines().filter(|l| l.starts_with("  - ")).count();
            prop_assert_eq!(minus, a.len() - pairs.len());
        }
    }
}
