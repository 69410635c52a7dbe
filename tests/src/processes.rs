//! The processes of the world that the calling thread is in.

use std::collections::BTreeSet;
use std::fs;

/// One of them.
pub struct Process {
    /// Its id, as the world sees it.
    pub id: u32,
    /// Whose child it is.
    pub parent: u32,
    /// Its program, cut at 15 bytes.
    pub name: String,
}

/// The children of whom this file names.
pub fn children(file: &str) -> BTreeSet<u32> {
    let parent = fs::read_to_string(file).unwrap_or_default();
    let Ok(parent) = parent.trim().parse::<u32>() else { return BTreeSet::new() };
    processes().into_iter().filter(|process| process.parent == parent).map(|process| process.id).collect()
}

/// All; none that has ended and was not asked how.
pub fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats.filter_map(|stat| read(&stat)).collect()
}

/// proc(5): `id (name) state parent …`.
fn read(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let (id, name) = head.split_once(" (")?;
    let mut fields = tail.split(' ');
    let state = fields.next()?;
    let process =
        Process { id: id.parse().ok()?, parent: fields.next()?.parse().ok()?, name: name.to_string() };
    (state != "Z").then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read() {
        let process = read("31143 (a) (b) S 31119 31119 17122 0 -1").unwrap();
        assert_eq!((process.id, process.parent, process.name.as_str()), (31143, 31119, "a) (b"));
        assert!(read("7 (gone) Z 1 1 1").is_none());
        assert!(processes().iter().any(|process| process.id == std::process::id()));
    }
}
