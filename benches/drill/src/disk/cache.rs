//! What a disk remembers: blocks that are durable, and sectors that were written since the last sync, in all their versions.

use crate::rng::Rng;
use std::collections::BTreeMap;

/// What is written or lost at once.
pub const SECTOR: usize = 512;
const BLOCK: usize = 4096;
/// A disk that lies is so many syncs behind.
const BEHIND: usize = 40;

type Sector = [u8; SECTOR];

/// The disk's memory.
#[derive(Debug)]
pub struct Cache {
    size: u64,
    durable: Vec<Option<Box<[u8; BLOCK]>>>,
    /// By number; the newest version is last.
    volatile: BTreeMap<u64, Vec<Sector>>,
    on: bool,
    lies: bool,
    /// The power is cut after so many further writes, and what is random then.
    armed: Option<(u64, Rng)>,
    left: Left,
    /// What a lying disk says that it had written down.
    pretended: Vec<BTreeMap<u64, Vec<Sector>>>,
}

/// What a cut left of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Sectors that had been written and not synced.
    pub unsynced: u64,
    /// Those of them that have a newer content now.
    pub kept: u64,
    /// Those of these that have not the newest.
    pub older: u64,
}

impl Cache {
    /// A disk full of zeros.
    pub fn new(size: u64) -> Cache {
        let blocks = size.div_ceil(BLOCK as u64) as usize;
        Cache {
            size,
            durable: std::iter::repeat_with(|| None).take(blocks).collect(),
            volatile: BTreeMap::new(),
            on: true,
            lies: false,
            armed: None,
            left: Left::default(),
            pretended: Vec::new(),
        }
    }

    /// Its size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads; nothing without power.
    pub fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        if !self.on || offset > self.size {
            return None;
        }
        let length = length.min((self.size - offset) as usize);
        let (first, last) = (offset / SECTOR as u64, (offset + length as u64).div_ceil(SECTOR as u64));
        let mut bytes = Vec::with_capacity(((last - first) as usize) * SECTOR);
        for number in first..last {
            bytes.extend_from_slice(&self.sector(number));
        }
        let from = (offset - first * SECTOR as u64) as usize;
        Some(bytes.get(from..from + length)?.to_vec())
    }

    /// The newest version.
    fn sector(&self, number: u64) -> Sector {
        let newest = |all: &BTreeMap<u64, Vec<Sector>>| all.get(&number).and_then(|v| v.last()).copied();
        if let Some(sector) = newest(&self.volatile) {
            return sector;
        }
        if let Some(sector) = self.pretended.iter().rev().find_map(newest) {
            return sector;
        }
        let mut sector = [0; SECTOR];
        let at = number as usize * SECTOR;
        if let Some(Some(block)) = self.durable.get(at / BLOCK) {
            sector.copy_from_slice(&block[at % BLOCK..at % BLOCK + SECTOR]);
        }
        sector
    }

    /// Writes into the volatile memory; false without power, or beyond the end.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        if !self.on || offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return false;
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (number, inside) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
            let n = rest.len().min(SECTOR - inside);
            let mut sector = if n == SECTOR { [0; SECTOR] } else { self.sector(number) };
            sector[inside..inside + n].copy_from_slice(&rest[..n]);
            self.volatile.entry(number).or_default().push(sector);
            at += n as u64;
            rest = &rest[n..];
        }
        if let Some((writes, mut rng)) = self.armed.take() {
            match writes.checked_sub(1) {
                Some(writes) => self.armed = Some((writes, rng)),
                None => self.cut(&mut rng),
            }
        }
        true
    }

    /// The power is cut after so many further writes: in the middle of something.
    pub fn arm(&mut self, writes: u64, rng: Rng) {
        self.armed = Some((writes, rng));
    }

    /// Whether it is still to be cut.
    pub fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Whether there is power.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// What the last cut left.
    pub fn left(&self) -> Left {
        self.left
    }

    /// Makes durable what was written; false without power.
    pub fn sync(&mut self) -> bool {
        if !self.on {
            return false;
        }
        let all = std::mem::take(&mut self.volatile);
        if self.lies {
            self.pretended.push(all);
            if self.pretended.len() > BEHIND {
                let oldest = self.pretended.remove(0);
                self.settle(oldest);
            }
        } else {
            self.settle(all);
        }
        true
    }

    fn settle(&mut self, all: BTreeMap<u64, Vec<Sector>>) {
        for (number, versions) in all {
            if let Some(newest) = versions.last() {
                self.put(number, newest);
            }
        }
    }

    fn put(&mut self, number: u64, sector: &Sector) {
        let at = number as usize * SECTOR;
        if let Some(block) = self.durable.get_mut(at / BLOCK) {
            let block = block.get_or_insert_with(|| Box::new([0; BLOCK]));
            block[at % BLOCK..at % BLOCK + SECTOR].copy_from_slice(sector);
        }
    }

    /// From now on a sync is only promised.
    pub fn lie(&mut self) {
        self.lies = true;
    }

    /// Cuts the power. Of each sector that was not synced any version may have reached the disk, or none.
    pub fn cut(&mut self, rng: &mut Rng) {
        self.on = false;
        self.armed = None;
        let mut left = Left::default();
        // How much of it reached the disk: nothing, a little, half of it, most of it, everything.
        let share = [0, 64, 512, 960, 1024][rng.below(5) as usize];
        for (number, versions) in std::mem::take(&mut self.volatile) {
            left.unsynced += 1;
            // A disk that lies had forgotten all of it.
            if self.lies || rng.below(1024) >= share {
                continue;
            }
            let which = rng.below(versions.len() as u64) as usize;
            left.kept += 1;
            left.older += u64::from(which + 1 < versions.len());
            if let Some(sector) = versions.get(which) {
                self.put(number, sector);
            }
        }
        self.pretended.clear();
        self.left = left;
    }

    /// No power, and nothing of what was not synced.
    pub fn off(&mut self) {
        self.on = false;
        self.volatile.clear();
        self.pretended.clear();
    }

    /// Power again, and no lies.
    pub fn power(&mut self) {
        self.on = true;
        self.lies = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_stays_and_of_the_rest_any_sector_may_go() {
        let (mut none, mut some, mut all, mut older) = (0, 0, 0, 0);
        for seed in 0..200 {
            let mut cache = Cache::new(1 << 20);
            assert!(cache.write(4096, &[1; 8192]) && cache.sync());
            assert!(cache.write(8192, &[2; 8192]) && cache.write(8192 + 100, &[3; 1000]));
            assert_eq!(cache.read(8190, 4).unwrap(), [1, 1, 2, 2]);
            assert_eq!(cache.read(8192 + 99, 3).unwrap(), [2, 3, 3]);
            cache.cut(&mut Rng(seed));
            let left = cache.left();
            assert_eq!(left.unsynced, 16);
            assert!(cache.read(0, 1).is_none() && !cache.write(0, &[1]) && !cache.sync());
            cache.power();
            assert_eq!(cache.read(4096, 4096).unwrap(), [1; 4096], "it was synced");
            let rest = cache.read(8192, 8192).unwrap();
            for (n, sector) in rest.chunks(SECTOR).enumerate() {
                let old = if n < 8 { 1 } else { 0 };
                assert!(sector.iter().all(|b| *b == old || *b == 2 || *b == 3));
                // One version or the other, no mixture.
                assert!(sector.iter().all(|b| *b == old) || !sector.contains(&old), "{n}: {sector:?}");
            }
            older += left.older;
            match left.kept {
                0 => none += 1,
                16 => all += 1,
                _ => some += 1,
            }
        }
        assert!(none > 20 && some > 60 && all > 20 && older > 20, "{none} {some} {all} {older}");
    }

    #[test]
    fn a_cut_in_the_middle() {
        let mut cache = Cache::new(1 << 20);
        cache.arm(2, Rng(1));
        assert!(cache.write(0, &[1; 512]) && cache.sync() && cache.write(512, &[2; 512]) && cache.is_on());
        assert!(cache.write(1024, &[3; 512]) && !cache.is_on() && !cache.sync());
        assert_eq!(cache.left().unsynced, 2);
    }

    #[test]
    fn a_disk_that_lies_is_behind() {
        let mut cache = Cache::new(1 << 20);
        cache.lie();
        for n in 0..=BEHIND {
            assert!(cache.write(0, &[n as u8 + 1; 512]) && cache.sync());
        }
        assert_eq!(cache.read(0, 1).unwrap(), [BEHIND as u8 + 1]);
        cache.cut(&mut Rng(4));
        cache.power();
        assert_eq!(cache.read(0, 1).unwrap(), [1]);
        assert!(!cache.write((1 << 20) - 1, &[0; 2]), "beyond its end");
    }
}
