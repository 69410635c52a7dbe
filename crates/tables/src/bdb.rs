//! Berkeley DB files: what `postmap hash:` and `btree:` of Postfix left behind is read, and ours are written (`write`).
//!
//! Every row of a file is read at once, page by page; the hash function and the tree are not
//! needed for that. Both byte orders; hash and btree of versions 8 to 10 (Berkeley DB 4 to 18).
//! Encrypted and checksummed files, and duplicates kept apart, are not what Postfix writes.

mod write;

pub use write::{Kind, build};

const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;
const HEADER: usize = 26;

/// A row as it stands in the file.
pub type Row = (Vec<u8>, Vec<u8>);

struct File<'a> {
    bytes: &'a [u8],
    page: usize,
    big_endian: bool,
}

/// The rows of a file in the order of its pages. The error says what is wrong with the file.
pub fn rows(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let magic = bytes.get(12..16).and_then(|b| b.try_into().ok()).ok_or("file is too short")?;
    let (big_endian, magic) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
        (m @ (HASH_MAGIC | BTREE_MAGIC), _) => (false, m),
        (_, m @ (HASH_MAGIC | BTREE_MAGIC)) => (true, m),
        _ => return Err("no Berkeley DB hash or btree file".into()),
    };
    let mut file = File { bytes, page: 512, big_endian };
    let (version, page) = (file.u32(16).unwrap_or(0), file.u32(20).unwrap_or(0) as usize);
    if !(8..=10).contains(&version) {
        return Err(format!("Berkeley DB file of unknown version {version}"));
    }
    if !page.is_power_of_two() || !(512..=65536).contains(&page) {
        return Err(format!("Berkeley DB file with an impossible page size of {page}"));
    }
    if bytes.get(24) != Some(&0) || bytes.get(26).is_some_and(|flags| flags & 1 != 0) {
        return Err("Berkeley DB file with encryption or checksums".into());
    }
    file.page = page;
    let mut rows = Vec::new();
    for start in (page..bytes.len()).step_by(page) {
        let Some(content) = bytes.get(start..start + page) else {
            return Err("file ends amid a page".into());
        };
        match (magic, content.get(25)) {
            (HASH_MAGIC, Some(2 | 13)) => file.hash_page(content, &mut rows)?,
            (BTREE_MAGIC, Some(5)) => file.leaf_page(content, &mut rows)?,
            _ => {}
        }
    }
    Ok(rows)
}

impl File<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        self.u32_in(self.bytes, at)
    }

    fn u32_in(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let b = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) })
    }

    fn u16_in(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let b = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(usize::from(if self.big_endian { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }))
    }

    /// Where the items of a page begin.
    fn items(&self, page: &[u8]) -> Option<Vec<usize>> {
        let count = self.u16_in(page, 20)?;
        (0..count).map(|i| self.u16_in(page, HEADER + 2 * i)).collect()
    }

    fn hash_page(&self, page: &[u8], rows: &mut Vec<Row>) -> Result<(), String> {
        let damaged = || "a page is damaged".to_string();
        let starts = self.items(page).ok_or_else(damaged)?;
        let mut end = page.len();
        let mut items = Vec::with_capacity(starts.len());
        for start in starts {
            // Items fill the page from its end; each ends where the one before begins.
            items.push(page.get(start..end).ok_or_else(damaged)?);
            end = start;
        }
        for pair in items.chunks_exact(2) {
            let [key, value] = pair else { continue };
            let read = |item: &[u8]| match item.first() {
                Some(1) => item.get(1..).map(<[u8]>::to_vec),
                Some(3) => self.overflow(self.u32_in(item, 4)?, self.u32_in(item, 8)?),
                _ => None,
            };
            rows.push((read(key).ok_or_else(damaged)?, read(value).ok_or_else(damaged)?));
        }
        Ok(())
    }

    fn leaf_page(&self, page: &[u8], rows: &mut Vec<Row>) -> Result<(), String> {
        let damaged = || "a page is damaged".to_string();
        let starts = self.items(page).ok_or_else(damaged)?;
        for pair in starts.chunks_exact(2) {
            let &[key, value] = pair else { continue };
            let deleted = |at: usize| page.get(at + 2).is_some_and(|kind| kind & 0x80 != 0);
            if deleted(key) || deleted(value) {
                continue;
            }
            let read = |at: usize| match page.get(at + 2)? & 0x7f {
                1 => page.get(at + 3..at + 3 + self.u16_in(page, at)?).map(<[u8]>::to_vec),
                3 => self.overflow(self.u32_in(page, at + 4)?, self.u32_in(page, at + 8)?),
                _ => None,
            };
            rows.push((read(key).ok_or_else(damaged)?, read(value).ok_or_else(damaged)?));
        }
        Ok(())
    }

    /// An item too big for a page: a chain of pages.
    fn overflow(&self, first: u32, length: u32) -> Option<Vec<u8>> {
        let length = length as usize;
        if length > self.bytes.len() {
            return None;
        }
        let (mut out, mut number) = (Vec::with_capacity(length), first as usize);
        // The first page of a file is never part of a chain; a page that adds nothing ends a loop.
        while out.len() < length {
            let start = number.checked_mul(self.page).filter(|s| *s > 0)?;
            let page = self.bytes.get(start..start.checked_add(self.page)?)?;
            let part = page.get(HEADER..HEADER + self.u16_in(page, 22)?)?;
            if page.get(25) != Some(&7) || part.is_empty() {
                return None;
            }
            out.extend_from_slice(part);
            number = self.u32_in(page, 16)? as usize;
        }
        (out.len() == length).then_some(out)
    }
}

#[cfg(test)]
mod tests;
