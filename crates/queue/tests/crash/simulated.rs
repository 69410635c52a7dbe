//! A merciless disk. A crash keeps any subset of the sectors and names that were not synced; any
//! call may fail, or be the last. Everything follows from the seed.

use queue::disk::{Disk, DiskFile, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// SplitMix64.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Inode {
    /// A sector reaches the disk.
    fn write_back(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.data.len());
        if from >= to {
            return;
        }
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.data[from..to]);
    }
    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }
}

enum Op {
    Bind(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    ops: Vec<Op>,
    /// Calls until the crash.
    pub crash_in: Option<u64>,
    pub dead: bool,
    /// One in so many calls fails; 0 for none.
    pub faults: u64,
    /// Nothing that needs space works.
    pub full: bool,
    /// Holes can be punched.
    pub holes: bool,
    pub calls: u64,
    /// What others do while a segment or a log is synced.
    pub meanwhile: Option<Box<dyn FnMut(u64) + Send>>,
}

#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<World>>);

pub struct SimulatedFile(SimulatedDisk, usize);

#[derive(PartialEq)]
enum Need {
    Read,
    Sync,
    Space,
    Change,
}

enum Fate {
    Well,
    /// Done in part, and the error to give.
    Fails(io::Error),
}

impl World {
    fn gate(&mut self, need: Need) -> io::Result<Fate> {
        let crashed = || io::Error::other("the machine has crashed");
        self.calls += 1;
        if self.dead {
            return Err(crashed());
        }
        if let Some(left) = self.crash_in.as_mut() {
            if *left == 0 {
                self.dead = true;
                return Ok(Fate::Fails(crashed()));
            }
            *left -= 1;
        }
        if self.full && need == Need::Space {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.faults > 0 && self.rng.one_in(self.faults) {
            let eio = io::Error::from_raw_os_error(5);
            return match need {
                Need::Space if self.rng.one_in(2) => Ok(Fate::Fails(io::ErrorKind::StorageFull.into())),
                _ => Ok(Fate::Fails(eio)),
            };
        }
        Ok(Fate::Well)
    }
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(d, _)| d)
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(World {
            rng: Rng(seed),
            now: 1_795_187_936_000_000,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            ops: Vec::new(),
            crash_in: None,
            dead: false,
            faults: 0,
            full: false,
            holes: true,
            calls: 0,
            meanwhile: None,
        })))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What is left after the power went.
    pub fn crash(&self) -> SimulatedDisk {
        let mut world = self.world();
        let world = &mut *world;
        let mut names = world.durable.clone();
        for op in &world.ops {
            if world.rng.one_in(2) {
                apply(&mut names, op);
            }
        }
        let mut inodes = Vec::new();
        let mut map = BTreeMap::new();
        for (name, inode) in names {
            let old = &world.inodes[inode];
            let mut new = old.clone();
            for sector in old.dirty.iter() {
                if world.rng.one_in(2) {
                    new.write_back(*sector);
                }
            }
            if old.data.len() != old.durable.len() && world.rng.one_in(2) {
                // The length reached the disk, whatever became of the bytes.
                new.durable.resize(old.data.len(), 0);
            }
            let data = new.durable;
            map.insert(name, inodes.len());
            inodes.push(Inode { data: data.clone(), durable: data, dirty: BTreeSet::new() });
        }
        let seed = world.rng.next();
        let disk = SimulatedDisk::new(seed);
        {
            let mut fresh = disk.world();
            fresh.now = world.now;
            fresh.inodes = inodes;
            fresh.names = map.clone();
            fresh.durable = map;
            fresh.full = world.full;
            fresh.holes = world.holes;
        }
        disk
    }

    fn meanwhile(&self, inode: usize) {
        let mut world = self.world();
        let ours = |(name, i): (&String, &usize)| {
            *i == inode && [".seg", ".st", ".st.new"].iter().any(|end| name.ends_with(end))
        };
        if !world.names.iter().any(ours) {
            return;
        }
        let Some(mut what) = world.meanwhile.take() else { return };
        let random = world.rng.next();
        drop(world);
        what(random);
        self.world().meanwhile = Some(what);
    }

    pub fn file_names(&self) -> Vec<String> {
        self.world().names.keys().cloned().collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.inodes[world.names[name]].data.clone()
    }

    /// A copy in which one file holds other bytes.
    pub fn with(&self, name: &str, bytes: Vec<u8>) -> SimulatedDisk {
        let old = self.world();
        let disk = SimulatedDisk::new(old.rng.0);
        {
            let mut new = disk.world();
            new.now = old.now;
            new.names = old.names.clone();
            new.durable = old.names.clone();
            new.inodes = old.inodes.clone();
            let inode = old.names[name];
            new.inodes[inode] = Inode { data: bytes.clone(), durable: bytes, dirty: BTreeSet::new() };
        }
        disk
    }
}

fn apply(names: &mut BTreeMap<String, usize>, op: &Op) {
    match op {
        Op::Bind(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Op::Unlink(name) => {
            names.remove(name);
        }
        Op::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, path: &str) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        if let Fate::Fails(e) = world.gate(Need::Read)? {
            return Err(e);
        }
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimulatedFile(self.clone(), inode))
    }

    fn create(&self, path: &str) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        let fate = world.gate(Need::Space)?;
        if let (Fate::Fails(e), true) = (&fate, world.rng.one_in(2)) {
            return Err(e.kind().into());
        }
        let inode = match world.names.get(path) {
            Some(old) => {
                let old = *old;
                world.inodes[old].data.clear();
                old
            }
            None => {
                world.inodes.push(Inode::default());
                let inode = world.inodes.len() - 1;
                world.names.insert(path.into(), inode);
                world.ops.push(Op::Bind(path.into(), inode));
                inode
            }
        };
        match fate {
            Fate::Fails(e) => Err(e),
            Fate::Well => Ok(SimulatedFile(self.clone(), inode)),
        }
    }

    fn list(&self, wanted: &str) -> io::Result<Vec<String>> {
        let mut world = self.world();
        if let Fate::Fails(e) = world.gate(Need::Read)? {
            return Err(e);
        }
        let here = world.names.keys().filter(|n| directory(n) == wanted);
        Ok(here.map(|n| n.rsplit('/').next().unwrap_or(n).to_string()).collect())
    }

    fn make_directory(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        let fate = world.gate(Need::Sync)?;
        let ops = std::mem::take(&mut world.ops);
        for op in ops {
            let name = match &op {
                Op::Bind(n, _) | Op::Unlink(n) | Op::Rename(n, _, _) => n,
            };
            let well = matches!(fate, Fate::Well) || world.rng.one_in(2);
            if directory(name) == path && well {
                apply(&mut world.durable, &op);
            } else {
                world.ops.push(op);
            }
        }
        if let Fate::Fails(e) = fate {
            return Err(e);
        }
        // Whatever came before: names are now as they are.
        let world = &mut *world;
        world.durable.retain(|name, _| directory(name) != path);
        let here = world.names.iter().filter(|(name, _)| directory(name) == path);
        world.durable.extend(here.map(|(name, inode)| (name.clone(), *inode)));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        if let Fate::Fails(e) = world.gate(Need::Change)? {
            return Err(e);
        }
        let inode = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.into(), inode);
        world.ops.push(Op::Rename(from.into(), to.into(), inode));
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        if let Fate::Fails(e) = world.gate(Need::Change)? {
            return Err(e);
        }
        world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.ops.push(Op::Unlink(path.into()));
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        // Not so much that nobody looks again for a while.
        let free = if self.world().full { 0 } else { 1 << 29 };
        Ok(Space { total: 1 << 41, free, files: u64::MAX })
    }

    fn now(&self) -> u64 {
        self.world().now
    }

    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut world = self.world();
        buffer.fill_with(|| world.rng.next() as u8);
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let mut world = self.0.world();
        match world.gate(Need::Read)? {
            Fate::Fails(e) => Err(e),
            Fate::Well => Ok(world.inodes[self.1].data.len() as u64),
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut world = self.0.world();
        if let Fate::Fails(e) = world.gate(Need::Read)? {
            return Err(e);
        }
        let data = &world.inodes[self.1].data;
        let from = data.get(at as usize..).unwrap_or_default();
        let n = from.len().min(buffer.len());
        buffer[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let mut world = self.0.world();
        let bytes: Vec<u8> = pieces.iter().flat_map(|p| p.iter().copied()).collect();
        let at = at as usize;
        // On a full disk only what has its space already can be written.
        let inside = at + bytes.len() <= world.inodes[self.1].data.len();
        let fate = world.gate(if inside { Need::Change } else { Need::Space })?;
        let mut take = bytes.len();
        let faults = world.faults;
        if (faults > 0 && world.rng.one_in(faults)) || matches!(fate, Fate::Fails(_)) {
            take = world.rng.below(take as u64 + 1) as usize;
        }
        let spontaneous = world.rng.one_in(4);
        let picks: u64 = world.rng.next();
        let inode = &mut world.inodes[self.1];
        if inode.data.len() < at + take {
            inode.data.resize(at + take, 0);
        }
        inode.data[at..at + take].copy_from_slice(&bytes[..take]);
        inode.touch(at, at + take);
        if spontaneous {
            let some: Vec<usize> = inode.dirty.iter().copied().collect();
            let mut picks = Rng(picks);
            some.into_iter().filter(|_| picks.one_in(2)).for_each(|s| inode.write_back(s));
        }
        match fate {
            Fate::Fails(e) => Err(e),
            Fate::Well => Ok(take),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.meanwhile(self.1);
        let mut world = self.0.world();
        let fate = world.gate(Need::Sync)?;
        let world = &mut *world;
        let inode = &mut world.inodes[self.1];
        for sector in std::mem::take(&mut inode.dirty) {
            // After an error the kernel calls everything clean, written or not.
            if matches!(fate, Fate::Well) || world.rng.one_in(2) {
                inode.write_back(sector);
            }
        }
        match fate {
            Fate::Fails(e) => Err(e),
            Fate::Well => {
                let length = inode.data.len();
                inode.durable.resize(length, 0);
                Ok(())
            }
        }
    }

    fn allocate(&self, at: u64, length: u64) -> io::Result<()> {
        let mut world = self.0.world();
        if let Fate::Fails(e) = world.gate(Need::Space)? {
            return Err(e);
        }
        let data = &mut world.inodes[self.1].data;
        let end = (at + length) as usize;
        if data.len() < end {
            data.resize(end, 0);
        }
        Ok(())
    }

    fn punch(&self, at: u64, length: u64) -> io::Result<()> {
        let mut world = self.0.world();
        if !world.holes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let fate = world.gate(Need::Change)?;
        let inode = &mut world.inodes[self.1];
        let end = ((at + length) as usize).min(inode.data.len());
        let at = (at as usize).min(end);
        inode.data[at..end].fill(0);
        inode.touch(at, end);
        match fate {
            Fate::Fails(e) => Err(e),
            Fate::Well => Ok(()),
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut world = self.0.world();
        if let Fate::Fails(e) = world.gate(Need::Change)? {
            return Err(e);
        }
        let inode = &mut world.inodes[self.1];
        inode.data.resize(length as usize, 0);
        inode.touch(length as usize, length as usize);
        Ok(())
    }

    fn real(&self) -> Option<std::fs::File> {
        None
    }
}
