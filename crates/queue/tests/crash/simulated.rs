//! A merciless disk. What was not synced is kept by a crash or not, sector by sector, in any
//! version that it had, torn in its middle, with any of the lengths that the file had; names are kept or not, one
//! by one, and a directory without a name is lost with all that is in it. Any call may fail
//! (EIO, ENOSPC, interrupted, half done, done and yet failed), or be the last. After a failed sync everything
//! counts as clean, written or not, and what was not may read as it was before. What is assumed: bytes outside of
//! what was written do not change, and what a successful sync covered stays.

use crate::turns::{self, draw};
use queue::disk::{Disk, DiskFile, Space};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

const SECTOR: usize = 512;

/// Each call of the disk is shown.
pub static TRACE: AtomicBool = AtomicBool::new(false);

/// A sector after a write that touched `from..to` of it.
#[derive(Clone)]
struct Version {
    bytes: Box<[u8; SECTOR]>,
    from: usize,
    to: usize,
}

#[derive(Clone, Default)]
struct Inode {
    /// As processes see it.
    data: Vec<u8>,
    durable: Vec<u8>,
    /// What sectors held since the last sync, oldest first.
    pending: BTreeMap<usize, Vec<Version>>,
    /// Lengths it had since.
    lengths: Vec<usize>,
    /// Its space was taken ahead, so that nobody else's old bytes can show in it.
    prepared: bool,
}

fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Inode {
    fn durably(data: Vec<u8>) -> Inode {
        Inode { durable: data.clone(), data, prepared: true, ..Default::default() }
    }

    fn sector(&self, sector: usize) -> Box<[u8; SECTOR]> {
        let mut bytes = Box::new([0; SECTOR]);
        let from = self.data.get(sector * SECTOR..).unwrap_or_default();
        let n = from.len().min(SECTOR);
        bytes[..n].copy_from_slice(&from[..n]);
        bytes
    }

    fn set_length(&mut self, length: usize) {
        if length != self.data.len() {
            let old = self.data.len();
            self.data.resize(length, 0);
            self.lengths.push(length);
            if length < old {
                self.touched(length, old);
            }
        }
    }

    /// Bytes of `data` changed.
    fn touched(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            let start = sector * SECTOR;
            let bytes = self.sector(sector);
            let version =
                Version { bytes, from: from.max(start) - start, to: to.min(start + SECTOR) - start };
            let versions = self.pending.entry(sector).or_default();
            if versions.len() >= 6 {
                let merged = versions.remove(0);
                versions[0].from = versions[0].from.min(merged.from);
                versions[0].to = versions[0].to.max(merged.to);
            }
            versions.push(version);
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        self.set_length(self.data.len().max(end));
        self.data[at..end].copy_from_slice(bytes);
        self.touched(at, end);
    }

    /// Any of the versions of a sector reaches the disk, perhaps torn.
    fn settle_sector(&self, out: &mut Vec<u8>, sector: usize, versions: &[Version], tears: bool) {
        let mut rng = draw();
        let pick = rng.below(versions.len() as u64 + 1) as usize;
        // The last one more often than any other.
        let pick = if rng.one_in(3) { versions.len() } else { pick };
        let Some(version) = pick.checked_sub(1).and_then(|n| versions.get(n)) else { return };
        let mut bytes = version.bytes.clone();
        if tears && rng.one_in(8) {
            let old = |i: usize| match pick.checked_sub(2).and_then(|n| versions.get(n)) {
                Some(before) => before.bytes[i],
                None => self.durable.get(sector * SECTOR + i).copied().unwrap_or(0),
            };
            let cut = version.from + rng.below((version.to - version.from) as u64 + 1) as usize;
            let garbage = rng.one_in(3);
            for i in cut..version.to {
                bytes[i] = if garbage { rng.next() as u8 } else { old(i) };
            }
        }
        put(out, sector * SECTOR, &bytes[..]);
    }

    /// What the disk holds after the power went.
    fn crashed(&self, stale: Option<&[u8]>) -> Vec<u8> {
        let mut rng = draw();
        let mut lengths = vec![self.durable.len(), self.data.len()];
        lengths.extend(&self.lengths);
        let length = lengths[rng.below(lengths.len() as u64) as usize];
        let mut out = self.durable.clone();
        if let (Some(stale), false) = (stale, self.prepared) {
            // The length reached the disk, the bytes did not: what was there before shows.
            let from = out.len().next_multiple_of(SECTOR);
            if let Some(old) = stale.get(from..stale.len().min(length)) {
                put(&mut out, from, old);
            }
        }
        for (sector, versions) in &self.pending {
            self.settle_sector(&mut out, *sector, versions, true);
        }
        out.resize(length, 0);
        out
    }

    fn synced(&mut self) {
        self.lengths.clear();
        for sector in std::mem::take(&mut self.pending).into_keys() {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.data.len());
            if from < to {
                put(&mut self.durable, from, &self.data[from..to]);
            }
        }
        self.durable.resize(self.data.len(), 0);
    }

    /// A sync that failed: some of it is on disk, and the rest counts as clean, or is forgotten.
    fn sync_failed(&mut self) {
        let mut rng = draw();
        let (pending, forget) = (std::mem::take(&mut self.pending), rng.one_in(2));
        let mut out = self.durable.clone();
        for (sector, versions) in &pending {
            if rng.one_in(2) {
                self.settle_sector(&mut out, *sector, versions, false);
            }
        }
        self.durable = out;
        if forget {
            for sector in pending.into_keys() {
                let from = (sector * SECTOR).min(self.data.len());
                let to = (from + SECTOR).min(self.data.len());
                let old = self.durable.get(from..).unwrap_or_default();
                let n = old.len().min(to - from);
                self.data[from..from + n].copy_from_slice(&old[..n]);
                self.data[from + n..to].fill(0);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Node {
    Directory,
    File(usize),
}

#[derive(Clone)]
enum Change {
    Bind(String, Node),
    Unlink(String),
    Rename(String, String, Node),
}

#[derive(Default)]
pub struct World {
    pub now: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// What became of names since they were synced, oldest first.
    changes: Vec<Change>,
    /// Contents of files that are gone.
    stale: Vec<Vec<u8>>,
    /// The crash comes at the call of that number of that step.
    pub crash_at: Option<(u64, u64)>,
    counted: u64,
    pub dead: bool,
    /// One in so many calls fails; 0 for none.
    pub faults: u64,
    /// Nothing that needs space works.
    pub full: bool,
    /// Holes can be punched.
    pub holes: bool,
    /// Space can be taken ahead.
    pub prepares: bool,
    /// A sync failed: what this file system says is durable need not be.
    pub lied: bool,
    pub calls: u64,
    pub failed: u64,
}

#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<World>>);

pub struct SimulatedFile(SimulatedDisk, usize);

#[derive(Clone, Copy, PartialEq)]
enum Need {
    Read,
    Sync,
    Space,
    Change,
}

enum Fate {
    Well,
    /// Done in part, or all, and the error to give.
    Fails(io::Error),
    /// Not done at all.
    Refused(io::Error),
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl World {
    fn gate(&mut self, need: Need) -> io::Result<Fate> {
        let crashed = || io::Error::other("the machine has crashed");
        self.calls += 1;
        if self.dead {
            return Err(crashed());
        }
        if self.crash_at.is_some_and(|(step, _)| step == turns::now_in().0) {
            self.counted += 1;
            if self.crash_at.is_some_and(|(_, n)| n < self.counted) {
                self.dead = true;
                return Ok(Fate::Fails(crashed()));
            }
        }
        if self.full && need == Need::Space {
            return Ok(Fate::Refused(error(28)));
        }
        let mut rng = draw();
        if self.faults > 0 && rng.one_in(self.faults) {
            self.failed += 1;
            let (eio, enospc, edquot, eintr, emfile) = (5, 28, 122, 4, 24);
            let kinds: &[i32] = match need {
                Need::Read => &[eio, eio, eintr, emfile],
                Need::Sync => &[eio, eio, enospc, edquot],
                Need::Space => &[eio, enospc, enospc, edquot, eintr],
                // Where old blocks are never overwritten even these need space.
                Need::Change => &[eio, eio, enospc, eintr],
            };
            let e = error(kinds[rng.below(kinds.len() as u64) as usize]);
            return Ok(if rng.one_in(2) { Fate::Refused(e) } else { Fate::Fails(e) });
        }
        Ok(Fate::Well)
    }

    /// The steps' calls are counted from here.
    pub fn counted_anew(&mut self) {
        self.counted = 0;
    }

    fn node(&self, path: &str) -> io::Result<Node> {
        self.names.get(path).copied().ok_or_else(|| error(2))
    }

    fn called(&self, inode: usize, what: &str) -> String {
        let name =
            self.names.iter().find(|(_, node)| **node == Node::File(inode)).map_or("(no name)", |(n, _)| n);
        format!("{name}: {what}")
    }

    fn parent(&self, path: &str) -> io::Result<()> {
        let parent = directory(path);
        if parent == "." || self.names.get(parent) == Some(&Node::Directory) { Ok(()) } else { Err(error(2)) }
    }

    fn lose(&mut self, node: Option<Node>) {
        if let Some(Node::File(inode)) = node {
            if self.stale.len() >= 8 {
                self.stale.remove(0);
            }
            self.stale.push(self.inodes[inode].data.clone());
        }
    }

    fn copy(&self) -> World {
        World {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable: self.durable.clone(),
            changes: self.changes.clone(),
            lied: self.lied,
            ..self.empty()
        }
    }

    /// The same kind of disk, with nothing on it.
    fn empty(&self) -> World {
        World {
            now: self.now,
            stale: self.stale.clone(),
            holes: self.holes,
            prepares: self.prepares,
            calls: self.calls,
            failed: self.failed,
            ..Default::default()
        }
    }
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(d, _)| d)
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Node>, both: bool) {
        match self {
            Change::Bind(name, node) => {
                names.insert(name.clone(), *node);
            }
            Change::Unlink(name) => {
                names.remove(name);
            }
            Change::Rename(from, to, node) => {
                if !both {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }

    fn touches(&self, path: &str) -> bool {
        match self {
            Change::Bind(name, _) | Change::Unlink(name) => directory(name) == path,
            Change::Rename(from, to, _) => directory(from) == path || directory(to) == path,
        }
    }
}

impl SimulatedDisk {
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::of(World {
            now: 1_795_187_936_000_000,
            holes: true,
            prepares: true,
            ..Default::default()
        })
    }

    fn of(world: World) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(world)))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What is left after the power went.
    pub fn cut(&self) -> SimulatedDisk {
        let old = self.world();
        let mut names = old.durable.clone();
        for change in &old.changes {
            let mut rng = draw();
            if rng.one_in(2) {
                change.apply(&mut names, rng.one_in(4));
            }
        }
        let there = names.clone();
        names.retain(|name, _| {
            let parent = directory(name);
            parent == "." || there.contains_key(parent)
        });
        let mut rng = draw();
        let stale =
            rng.one_in(2).then(|| old.stale.get(rng.below(old.stale.len() as u64) as usize)).flatten();
        let mut inodes = Vec::new();
        let mut moved = BTreeMap::new();
        for node in names.values_mut() {
            if let Node::File(inode) = node {
                // Two names may be of one file.
                *inode = *moved.entry(*inode).or_insert_with(|| {
                    let data = old.inodes[*inode].crashed(stale.map(Vec::as_slice));
                    inodes.push(Inode::durably(data));
                    inodes.len() - 1
                });
            }
        }
        let durable = names.clone();
        SimulatedDisk::of(World { inodes, names, durable, ..old.empty() })
    }

    /// What the next process finds when the one before was killed: all that it wrote, none of it
    /// durable because of that.
    pub fn killed(&self) -> SimulatedDisk {
        SimulatedDisk::of(self.world().copy())
    }

    pub fn file_names(&self) -> Vec<String> {
        let world = self.world();
        let files = world.names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(name, _)| name.clone()).collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        match world.names.get(name) {
            Some(Node::File(inode)) => world.inodes[*inode].data.clone(),
            _ => Vec::new(),
        }
    }

    /// A copy in which one file, perhaps a new one, holds other bytes.
    pub fn with(&self, name: &str, bytes: Vec<u8>) -> SimulatedDisk {
        let mut world = self.world().copy();
        world.inodes.push(Inode::durably(bytes));
        let node = Node::File(world.inodes.len() - 1);
        world.names.insert(name.into(), node);
        world.durable.insert(name.into(), node);
        SimulatedDisk::of(world)
    }

    /// A copy without one file.
    pub fn without(&self, name: &str) -> SimulatedDisk {
        let mut world = self.world().copy();
        world.names.remove(name);
        world.durable.remove(name);
        SimulatedDisk::of(world)
    }

    /// Asks for a call: another thread may go on first.
    fn ask(
        &self,
        need: Need,
        what: impl FnOnce(&World) -> String,
    ) -> io::Result<(MutexGuard<'_, World>, Fate)> {
        turns::pause(3);
        let mut world = self.world();
        let fate = world.gate(need);
        if TRACE.load(Ordering::Relaxed) {
            let came = match &fate {
                Ok(Fate::Well) => String::new(),
                Ok(Fate::Fails(e)) => format!(": in part, {e}"),
                Ok(Fate::Refused(e)) | Err(e) => format!(": {e}"),
            };
            eprintln!("  {} {}{came}", turns::now_in().0, what(&world));
        }
        let fate = fate?;
        if need == Need::Sync && !matches!(fate, Fate::Well) && !world.dead {
            world.lied = true;
        }
        match fate {
            Fate::Refused(e) => Err(e),
            fate => Ok((world, fate)),
        }
    }
}

impl Fate {
    fn give<T>(self, value: T) -> io::Result<T> {
        match self {
            Fate::Well => Ok(value),
            Fate::Fails(e) | Fate::Refused(e) => Err(e),
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, path: &str) -> io::Result<SimulatedFile> {
        let (world, fate) = self.ask(Need::Read, |_| format!("open {path}"))?;
        match world.node(path)? {
            Node::File(inode) => fate.give(SimulatedFile(self.clone(), inode)),
            Node::Directory => Err(error(21)),
        }
    }

    fn create(&self, path: &str) -> io::Result<SimulatedFile> {
        let (mut world, fate) = self.ask(Need::Space, |_| format!("create {path}"))?;
        world.parent(path)?;
        let inode = match world.names.get(path) {
            Some(Node::File(old)) => {
                let old = *old;
                world.inodes[old].set_length(0);
                old
            }
            Some(Node::Directory) => return Err(error(21)),
            None => {
                world.inodes.push(Inode::default());
                let inode = world.inodes.len() - 1;
                world.names.insert(path.into(), Node::File(inode));
                world.changes.push(Change::Bind(path.into(), Node::File(inode)));
                inode
            }
        };
        fate.give(SimulatedFile(self.clone(), inode))
    }

    fn list(&self, wanted: &str) -> io::Result<Vec<String>> {
        let (world, fate) = self.ask(Need::Read, |_| format!("list {wanted}"))?;
        if wanted != "." && world.node(wanted)? != Node::Directory {
            return Err(error(20));
        }
        let here = world.names.keys().filter(|n| directory(n) == wanted);
        fate.give(here.map(|n| n.rsplit('/').next().unwrap_or(n).to_string()).collect())
    }

    fn make_directory(&self, path: &str) -> io::Result<()> {
        let (mut world, fate) = self.ask(Need::Space, |_| format!("mkdir {path}"))?;
        world.parent(path)?;
        if !world.names.contains_key(path) {
            world.names.insert(path.into(), Node::Directory);
            world.changes.push(Change::Bind(path.into(), Node::Directory));
        }
        fate.give(())
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        let (mut world, fate) = self.ask(Need::Sync, |_| format!("sync {path}/"))?;
        let world = &mut *world;
        if path != "." && world.node(path)? != Node::Directory {
            return Err(error(20));
        }
        let well = matches!(fate, Fate::Well);
        for change in std::mem::take(&mut world.changes) {
            if change.touches(path) && (well || draw().one_in(2)) {
                change.apply(&mut world.durable, false);
            } else {
                world.changes.push(change);
            }
        }
        if well {
            // Names are now as they are.
            world.durable.retain(|name, _| directory(name) != path);
            let here = world.names.iter().filter(|(name, _)| directory(name) == path);
            world.durable.extend(here.map(|(name, node)| (name.clone(), *node)));
        }
        fate.give(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut world, fate) = self.ask(Need::Change, |_| format!("rename {from} {to}"))?;
        world.parent(to)?;
        let node = world.node(from)?;
        world.names.remove(from);
        let old = world.names.insert(to.into(), node);
        world.lose(old);
        world.changes.push(Change::Rename(from.into(), to.into(), node));
        fate.give(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let (mut world, fate) = self.ask(Need::Change, |_| format!("unlink {path}"))?;
        let node = world.node(path)?;
        world.names.remove(path);
        world.lose(Some(node));
        world.changes.push(Change::Unlink(path.into()));
        fate.give(())
    }

    fn space(&self) -> io::Result<Space> {
        turns::pause(3);
        let world = self.world();
        if world.dead {
            return Err(error(5));
        }
        // Not so much that nobody looks again for a while.
        let free = if world.full { 0 } else { 1 << 29 };
        Ok(Space { total: 1 << 41, free, files: u64::MAX })
    }

    fn now(&self) -> u64 {
        self.world().now
    }

    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        let (_world, fate) = self.ask(Need::Read, |_| "random".into())?;
        let mut rng = draw();
        buffer.fill_with(|| rng.next() as u8);
        fate.give(())
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        turns::pause(8);
        loop {
            match mutex.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(e)) => return e.into_inner(),
                Err(TryLockError::WouldBlock) => turns::blocked(),
            }
        }
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let (world, fate) = self.0.ask(Need::Read, |w| w.called(self.1, "length"))?;
        fate.give(world.inodes[self.1].data.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (world, fate) =
            self.0.ask(Need::Read, |w| w.called(self.1, &format!("read {} at {at}", buffer.len())))?;
        let data = &world.inodes[self.1].data;
        let from = data.get(at as usize..).unwrap_or_default();
        let mut n = from.len().min(buffer.len());
        if world.faults > 0 && n > 1 {
            let mut rng = draw();
            if rng.one_in(world.faults) {
                n = 1 + rng.below(n as u64 - 1) as usize;
            }
        }
        buffer[..n].copy_from_slice(&from[..n]);
        fate.give(n)
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|p| p.iter().copied()).collect();
        let at = at as usize;
        // On a full disk only what has its space already can be written.
        let inside = at + bytes.len() <= self.0.world().inodes[self.1].data.len();
        let need = if inside { Need::Change } else { Need::Space };
        let (mut world, fate) =
            self.0.ask(need, |w| w.called(self.1, &format!("write {} at {at}", bytes.len())))?;
        let mut rng = draw();
        let mut take = bytes.len();
        let short = world.faults > 0 && rng.one_in(world.faults);
        if short || !matches!(fate, Fate::Well) {
            take = rng.below(take as u64 + 1) as usize;
        }
        world.inodes[self.1].write(at, &bytes[..take]);
        fate.give(take)
    }

    fn sync(&self) -> io::Result<()> {
        let (mut world, fate) = self.0.ask(Need::Sync, |w| w.called(self.1, "sync"))?;
        let dead = world.dead;
        let inode = &mut world.inodes[self.1];
        match fate {
            Fate::Well => inode.synced(),
            // The power went: what reaches the disk is decided then.
            _ if dead => {}
            _ => inode.sync_failed(),
        }
        fate.give(())
    }

    fn allocate(&self, at: u64, length: u64) -> io::Result<()> {
        let (mut world, fate) =
            self.0.ask(Need::Space, |w| w.called(self.1, &format!("allocate {length} at {at}")))?;
        if !world.prepares {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut end = (at + length) as usize;
        if !matches!(fate, Fate::Well) {
            end = (at + draw().below(length + 1)) as usize;
        }
        let inode = &mut world.inodes[self.1];
        inode.prepared = true;
        inode.set_length(inode.data.len().max(end));
        fate.give(())
    }

    fn punch(&self, at: u64, length: u64) -> io::Result<()> {
        let (mut world, fate) =
            self.0.ask(Need::Change, |w| w.called(self.1, &format!("punch {length} at {at}")))?;
        if !world.holes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let inode = &mut world.inodes[self.1];
        let end = ((at + length) as usize).min(inode.data.len());
        let at = (at as usize).min(end);
        inode.data[at..end].fill(0);
        inode.touched(at, end);
        fate.give(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let (mut world, fate) =
            self.0.ask(Need::Change, |w| w.called(self.1, &format!("cut to {length}")))?;
        world.inodes[self.1].set_length(length as usize);
        fate.give(())
    }

    fn real(&self) -> Option<std::fs::File> {
        None
    }
}
