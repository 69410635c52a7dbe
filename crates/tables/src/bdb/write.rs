//! Berkeley DB files, written: the `.db` that `postmap` and `postalias` leave beside a text, for other software, for
//! Postfix should it come back, and for whoever removes a text with passwords once it is compiled.
//!
//! Version 9 of both kinds, little end first, as Berkeley DB 5 writes them. A file is made whole from rows that are
//! known: a hash table has as many buckets as its rows need, and a tree is built from its leaves.

use super::{BTREE_MAGIC, HASH_MAGIC, HEADER, Row};

const PAGE: usize = 4096;
/// What is longer lies in pages of its own; both kinds demand less than a quarter of a page.
const LONG: usize = 1000;
const VERSION: u32 = 9;
/// A file's own hash function is known by what it makes of this.
const PROBE: &[u8] = b"%$sniglet^&\0";

const INTERNAL: u8 = 3;
const LEAF: u8 = 5;
const OVERFLOW: u8 = 7;
const HASH_META: u8 = 8;
const BTREE_META: u8 = 9;
const HASH: u8 = 13;

/// The two kinds of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `hash:`
    Hash,
    /// `btree:`
    Btree,
}

/// A whole file with these rows; the first of equal keys is kept.
pub fn build(kind: Kind, mut rows: Vec<Row>) -> Vec<u8> {
    rows.sort_by(|a, b| a.0.cmp(&b.0)); // stable: the first of equal keys stays the first
    rows.dedup_by(|later, first| later.0 == first.0);
    let mut pages = Pages(Vec::new());
    let meta = match kind {
        Kind::Hash => pages.hash(&rows),
        Kind::Btree => pages.tree(&rows),
    };
    pages.bytes(meta)
}

/// A page that is being filled.
struct Page {
    kind: u8,
    level: u8,
    before: u32,
    after: u32,
    items: Vec<Vec<u8>>,
    room: usize,
}

/// The pages after the first, which describes the file.
struct Pages(Vec<Page>);

impl Page {
    fn new(kind: u8, level: u8) -> Page {
        Page { kind, level, before: 0, after: 0, items: Vec::new(), room: PAGE - HEADER }
    }

    /// Adds items together, or not at all where they have no room.
    fn add(&mut self, items: &mut Vec<Vec<u8>>) -> bool {
        let tree = self.kind != HASH;
        let size = |item: &Vec<u8>| 2 + if tree { item.len().next_multiple_of(4) } else { item.len() };
        let needed: usize = items.iter().map(size).sum();
        if needed > self.room {
            return false;
        }
        self.room -= needed;
        self.items.append(items);
        true
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) {
        let (mut starts, mut end) = (Vec::new(), PAGE);
        for item in &self.items {
            end = end.saturating_sub(item.len());
            end -= if self.kind == HASH { 0 } else { end % 4 };
            starts.push(end);
        }
        let start = out.len();
        out.extend([0; 8]);
        for n in [number, self.before, self.after] {
            out.extend(n.to_le_bytes());
        }
        if self.kind == OVERFLOW {
            let part = self.items.first().map_or(&[][..], Vec::as_slice);
            out.extend(short(1)); // how often it is referred to
            out.extend(short(part.len()));
            out.extend([0, OVERFLOW]);
            out.extend(part);
        } else {
            out.extend(short(starts.len()));
            out.extend(short(end));
            out.extend([self.level, self.kind]);
            starts.iter().for_each(|at| out.extend(short(*at)));
            // From the page's end towards its beginning, so the last one comes first.
            for (item, at) in self.items.iter().zip(&starts).rev() {
                out.resize(start + at, 0);
                out.extend(item);
            }
        }
        out.resize(start + PAGE, 0);
    }
}

impl Pages {
    /// The number of the page that is added next.
    fn next(&self) -> u32 {
        u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX)
    }

    fn push(&mut self, page: Page) -> u32 {
        self.0.push(page);
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn page(&mut self, number: u32) -> Option<&mut Page> {
        self.0.get_mut((number as usize).checked_sub(1)?)
    }

    /// Lays something long into pages of its own; the number of the first.
    fn long(&mut self, bytes: &[u8]) -> u32 {
        let first = self.next();
        let parts = bytes.chunks(PAGE - HEADER);
        let last = parts.len().saturating_sub(1);
        for (i, part) in parts.enumerate() {
            let number = self.next();
            let mut page = Page::new(OVERFLOW, 0);
            page.before = if i == 0 { 0 } else { number - 1 };
            page.after = if i == last { 0 } else { number + 1 };
            page.items.push(part.to_vec());
            self.push(page);
        }
        first
    }

    fn hash(&mut self, rows: &[Row]) -> Vec<u8> {
        let size = |bytes: &[u8]| 3 + if bytes.len() > LONG { 12 } else { bytes.len() };
        let needed: usize = rows.iter().map(|(key, value)| size(key) + size(value)).sum();
        // Two at least, as Berkeley DB begins; each filled to between a third and two thirds.
        let buckets = (needed / (PAGE * 2 / 3)).next_power_of_two().clamp(2, 1 << 24);
        let mask = u32::try_from(buckets - 1).unwrap_or(1);
        let mut last = Vec::with_capacity(buckets);
        for _ in 0..buckets {
            last.push(self.push(Page::new(HASH, 0)));
        }
        // In the order of keys, so that each page is sorted.
        for (key, value) in rows {
            let Some(place) = last.get_mut((hash(key) & mask) as usize) else { continue };
            let mut items: Vec<Vec<u8>> = [key, value].map(|bytes| self.hash_item(bytes)).into();
            if self.page(*place).is_some_and(|page| page.add(&mut items)) {
                continue;
            }
            let number = self.next();
            let mut page = Page::new(HASH, 0);
            page.before = *place;
            page.add(&mut items);
            if let Some(full) = self.page(*place) {
                full.after = number;
            }
            *place = self.push(page);
        }
        let mut meta = self.meta(HASH_MAGIC, HASH_META, rows);
        for n in [mask, mask, mask >> 1, 0, u32::try_from(rows.len()).unwrap_or(u32::MAX), hash(PROBE)] {
            meta.extend(n.to_le_bytes());
        }
        // Where the buckets of each doubling begin: all lie one after the other.
        for doubling in 0..32 {
            meta.extend(u32::from(doubling <= mask.count_ones()).to_le_bytes());
        }
        meta
    }

    fn hash_item(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.len() <= LONG {
            return [&[1], bytes].concat();
        }
        [&[3, 0, 0, 0], &self.long(bytes).to_le_bytes()[..], &length(bytes)[..]].concat()
    }

    fn tree(&mut self, rows: &[Row]) -> Vec<u8> {
        // The root comes first; a tree of one leaf is its root.
        self.push(Page::new(LEAF, 1));
        let mut level: Vec<(Vec<u8>, Page)> = vec![(Vec::new(), Page::new(LEAF, 1))];
        let mut before: &[u8] = &[];
        for (key, value) in rows {
            let mut items: Vec<Vec<u8>> = [key, value].map(|bytes| self.leaf_item(bytes)).into();
            if !level.last_mut().is_some_and(|(_, page)| page.add(&mut items)) {
                let mut page = Page::new(LEAF, 1);
                page.add(&mut items);
                level.push((parting(before, key), page));
            }
            before = key;
        }
        while level.len() > 1 {
            let height = level.first().map_or(1, |(_, page)| page.level) + 1;
            let mut above: Vec<(Vec<u8>, Page)> = Vec::new();
            for (key, number) in self.settle(level) {
                // What is left of everything needs no key.
                let mut items = vec![self.internal_item(&key, number)];
                if !above.last_mut().is_some_and(|(_, page)| page.add(&mut items)) {
                    let mut page = Page::new(INTERNAL, height);
                    page.add(&mut items);
                    above.push((key, page));
                }
            }
            level = above;
        }
        if let (Some((_, root)), Some(first)) = (level.pop(), self.0.first_mut()) {
            *first = root;
        }
        let mut meta = self.meta(BTREE_MAGIC, BTREE_META, rows);
        for n in [0u32, 2, 0, 32, 1] {
            meta.extend(n.to_le_bytes());
        }
        meta
    }

    /// Gives the pages of a level their numbers, one after the other.
    fn settle(&mut self, level: Vec<(Vec<u8>, Page)>) -> Vec<(Vec<u8>, u32)> {
        let count = level.len();
        let mut out = Vec::with_capacity(count);
        for (i, (key, mut page)) in level.into_iter().enumerate() {
            let number = self.next();
            page.before = if i == 0 { 0 } else { number - 1 };
            page.after = if i + 1 == count { 0 } else { number + 1 };
            self.push(page);
            out.push((key, number));
        }
        out
    }

    fn leaf_item(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.len() <= LONG {
            return [&short(bytes.len()), &[1][..], bytes].concat();
        }
        [&[0, 0, 3, 0], &self.long(bytes).to_le_bytes()[..], &length(bytes)[..]].concat()
    }

    fn internal_item(&mut self, key: &[u8], below: u32) -> Vec<u8> {
        let head = |len: usize, kind: u8| {
            [&short(len)[..], &[kind, 0], &below.to_le_bytes(), &0u32.to_le_bytes()].concat()
        };
        if key.len() <= LONG {
            return [head(key.len(), 1), key.to_vec()].concat();
        }
        let item = self.leaf_item(key);
        [head(item.len(), 3), item].concat()
    }

    /// What the descriptions of both kinds begin with.
    fn meta(&self, magic: u32, kind: u8, rows: &[Row]) -> Vec<u8> {
        let last = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut meta = vec![0; 12];
        for n in [magic, VERSION, PAGE as u32] {
            meta.extend(n.to_le_bytes());
        }
        meta.extend([0, kind, 0, 0]);
        for n in [0, last, 0, 0, 0, 0] {
            meta.extend(n.to_le_bytes());
        }
        // A name for the file: caches tell files apart by it.
        let name = rows.iter().fold(last, |n, (key, value)| n.rotate_left(5) ^ hash(key) ^ hash(value));
        for part in 0..5u32 {
            meta.extend((name ^ part.wrapping_mul(0x9e37_79b9)).to_le_bytes());
        }
        meta
    }

    fn bytes(self, mut meta: Vec<u8>) -> Vec<u8> {
        meta.resize(PAGE, 0);
        meta.reserve_exact(self.0.len() * PAGE);
        for (page, number) in self.0.iter().zip(1..) {
            page.write(number, &mut meta);
        }
        meta
    }
}

/// The shortest beginning of `key` that comes after `before`.
fn parting(before: &[u8], key: &[u8]) -> Vec<u8> {
    let same = before.iter().zip(key).take_while(|(a, b)| a == b).count();
    key.get(..=same).unwrap_or(key).to_vec()
}

/// Fowler, Noll and Vo's function, as Berkeley DB begins it.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |h: u32, byte| h.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

fn short(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bdb::rows;
    use proptest::prelude::*;

    fn numbered(count: usize) -> Vec<Row> {
        let row =
            |i: usize| (format!("name{i}@example.org\0").into_bytes(), format!("value {i}\0").into_bytes());
        let mut rows: Vec<Row> = (0..count).map(row).collect();
        rows.push((vec![b'k'; 5000], b"long key".to_vec()));
        rows.push(([&[b'k'; 4999][..], b"l"].concat(), b"another".to_vec()));
        rows.push((b"long value".to_vec(), vec![b'v'; 9000]));
        rows
    }

    /// Where Berkeley DB's own programs are, they say what they think of a file.
    fn verify(bytes: &[u8], name: &str) {
        let path = std::env::temp_dir().join(format!("valija-bdb-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let said = std::process::Command::new("db_verify").arg(&path).output();
        let dumped = std::process::Command::new("db_dump").arg(&path).output();
        let _ = std::fs::remove_file(&path);
        let (Ok(said), Ok(dumped)) = (said, dumped) else {
            assert!(
                std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(),
                "db_verify (package db-util) is missing"
            );
            return;
        };
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        let count = String::from_utf8_lossy(&dumped.stdout).lines().filter(|l| l.starts_with(' ')).count();
        assert_eq!(count, 2 * rows(bytes).unwrap().len(), "{name}");
    }

    #[test]
    fn what_is_written_is_read_and_berkeley_db_finds_no_fault() {
        for count in [0, 1, 40, 300, 60_000] {
            for kind in [Kind::Hash, Kind::Btree] {
                let mut expected = numbered(count);
                let bytes = build(kind, expected.clone());
                let mut read = rows(&bytes).unwrap();
                read.sort();
                expected.sort();
                assert!(read == expected, "{kind:?} {count}");
                verify(&bytes, &format!("{kind:?}-{count}"));
            }
        }
        for kind in [Kind::Hash, Kind::Btree] {
            verify(&build(kind, Vec::new()), &format!("{kind:?}-none"));
        }
    }

    #[test]
    fn the_first_of_equal_keys_is_kept() {
        let row = |value: &str| (b"k".to_vec(), value.as_bytes().to_vec());
        for kind in [Kind::Hash, Kind::Btree] {
            assert_eq!(rows(&build(kind, vec![row("one"), row("two")])).unwrap(), [row("one")]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_rows_come_back(
            rows in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 1..1500),
                proptest::collection::vec(any::<u8>(), 0..1500),
                0..60,
            ),
            tree in any::<bool>(),
        ) {
            let expected: Vec<Row> = rows.into_iter().collect();
            let bytes = build(if tree { Kind::Btree } else { Kind::Hash }, expected.clone());
            let mut read = super::super::rows(&bytes).unwrap();
            read.sort();
            prop_assert_eq!(read, expected);
        }
    }
}
