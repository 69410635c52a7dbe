//! Constant databases (`cdb:`): a reader that trusts no byte, and a writer. The format is D. J.
//! Bernstein's: 256 pairs of (position, slots), records, hash tables; all numbers 32 bits, little
//! end first.

/// The answer to `key`, or nothing; nothing too where the file is damaged at that place.
pub fn get<'a>(file: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let hash = hash(key);
    let at = (hash & 255) as usize * 8;
    let (table, slots) = (number(file, at)?, number(file, at + 4)?);
    // A damaged count must not make one lookup long.
    let slots = slots.min(u32::try_from(file.len() / 8).unwrap_or(u32::MAX));
    let start = (hash >> 8).checked_rem(slots)?;
    for i in 0..slots {
        let slot = (start + i) % slots;
        let at = usize::try_from(u64::from(table) + u64::from(slot) * 8).ok()?;
        let (found, position) = (number(file, at)?, number(file, at + 4)?);
        if position == 0 {
            return None;
        }
        if found == hash
            && let Some((k, value)) = record(file, position as usize)
            && k == key
        {
            return Some(value);
        }
    }
    None
}

/// The records in the order they were written.
pub fn records(file: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let end = (0..256).filter_map(|i| number(file, i * 8)).min().unwrap_or(0) as usize;
    let mut at = 2048;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (key, value) = record(file, at)?;
        at += 8 + key.len() + value.len();
        Some((key, value))
    })
}

/// True when the pointers of a file lie within it.
pub fn is_sound(file: &[u8]) -> bool {
    file.len() >= 2048
        && (0..256).all(|i| match (number(file, i * 8), number(file, i * 8 + 4)) {
            (Some(at), Some(slots)) => {
                at >= 2048 && u64::from(at) + u64::from(slots) * 8 <= file.len() as u64
            }
            _ => false,
        })
}

/// A whole file with these records; the first of equal keys is the one found.
pub fn build<'a>(rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Vec<u8>, String> {
    let mut file = vec![0u8; 2048];
    let mut tables: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 256];
    let big = |_| "the table exceeds the 4 GB that a cdb file can hold".to_string();
    for (key, value) in rows {
        let at = u32::try_from(file.len()).map_err(big)?;
        file.extend(u32::try_from(key.len()).map_err(big)?.to_le_bytes());
        file.extend(u32::try_from(value.len()).map_err(big)?.to_le_bytes());
        file.extend_from_slice(key);
        file.extend_from_slice(value);
        let hash = hash(key);
        if let Some(table) = tables.get_mut((hash & 255) as usize) {
            table.push((hash, at));
        }
    }
    let mut header = Vec::with_capacity(2048);
    for table in &tables {
        let slots = table.len() * 2;
        header.extend(u32::try_from(file.len()).map_err(big)?.to_le_bytes());
        header.extend(u32::try_from(slots).map_err(big)?.to_le_bytes());
        let mut filled = vec![(0u32, 0u32); slots];
        for (hash, at) in table {
            let mut slot = (hash >> 8) as usize % slots;
            while filled.get(slot).is_some_and(|s| s.1 != 0) {
                slot = (slot + 1) % slots;
            }
            if let Some(free) = filled.get_mut(slot) {
                *free = (*hash, *at);
            }
        }
        for (hash, at) in filled {
            file.extend(hash.to_le_bytes());
            file.extend(at.to_le_bytes());
        }
    }
    u32::try_from(file.len()).map_err(big)?;
    for (to, from) in file.iter_mut().zip(header) {
        *to = from;
    }
    Ok(file)
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |h: u32, b| (h.wrapping_shl(5).wrapping_add(h)) ^ u32::from(*b))
}

fn number(file: &[u8], at: usize) -> Option<u32> {
    let bytes = file.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn record(file: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let (key, value) = (number(file, at)? as usize, number(file, at.checked_add(4)?)? as usize);
    let start = at.checked_add(8)?;
    let middle = start.checked_add(key)?;
    Some((file.get(start..middle)?, file.get(middle..middle.checked_add(value)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            (0..1000u32).map(|i| (format!("key{i}").into_bytes(), format!("v{i}").into_bytes())).collect();
        let file = build(rows.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).unwrap();
        assert!(is_sound(&file));
        for (k, v) in &rows {
            assert_eq!(get(&file, k), Some(v.as_slice()));
        }
        assert_eq!(get(&file, b"absent"), None);
        assert_eq!(records(&file).count(), 1000);
        let empty = build([]).unwrap();
        assert_eq!((get(&empty, b"x"), is_sound(&empty), records(&empty).count()), (None, true, 0));
    }
}
