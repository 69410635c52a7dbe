//! What this process works on, in memory that outlives it: if it dies, whoever is started in its place reads which
//! message or peer each thread was busy with, so that what kills the process again and again can be set aside.
//!
//! The supervisor makes the memory ([`create`]) and keeps it; the process takes it over ([`adopt`]) and marks its
//! steps: [`watch`] a task, [`busy`] a few lines. A mark costs some stores without order or lock. Without the
//! memory (tests, commands) marks do nothing.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Threads that are known at a time; runtimes have fewer.
const THREADS: usize = 64;
/// Deliveries under way that are known at a time.
const UNDER_WAY: usize = 1024;
/// Peers that are remembered.
const PEERS: usize = 128;
/// Words of an entry.
const ENTRY: usize = 4;
const WORDS: usize = HEAD + (THREADS + UNDER_WAY + PEERS) * ENTRY;
/// Says what the memory is; 0 in the second word: nobody hung.
const MAGIC: u64 = 0x7661_6c69_6a61_0001;
const HEAD: usize = 2;

/// What work is about. All zero: nothing that could be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// The number of a message in the queue.
    pub message: u64,
    /// Who is at the other end.
    pub peer: Peer,
}

/// The other end of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Nobody.
    #[default]
    Nobody,
    /// A host.
    Host(IpAddr),
    /// A file that a local user left, by its inode.
    File(u64),
}

impl Unit {
    /// Work for a host.
    pub fn of_host(ip: IpAddr) -> Unit {
        Unit { message: 0, peer: Peer::Host(ip) }
    }

    /// Work on a message.
    pub fn of_message(message: u64) -> Unit {
        Unit { message, peer: Peer::Nobody }
    }

    /// Work on a file.
    pub fn of_file(inode: u64) -> Unit {
        Unit { message: 0, peer: Peer::File(inode) }
    }
}

/// No address of a host begins so: RFC 4291 leaves 00/8 to ::/8, of which this is no part in use.
const FILE: u64 = 0x00ff_ffff_ffff_ffff;

impl Peer {
    fn words(self) -> [u64; 2] {
        match self {
            Peer::Nobody => [0, 0],
            Peer::File(inode) => [FILE, inode],
            Peer::Host(ip) => {
                let ip = match ip.to_canonical() {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let whole = u128::from(ip);
                [(whole >> 64) as u64, whole as u64]
            }
        }
    }

    fn of_words([high, low]: [u64; 2]) -> Peer {
        match (high, low) {
            (0, 0) => Peer::Nobody,
            (FILE, inode) => Peer::File(inode),
            _ => {
                let whole = (u128::from(high) << 64) | u128::from(low);
                Peer::Host(IpAddr::V6(Ipv6Addr::from(whole)).to_canonical())
            }
        }
    }
}

/// What a process left when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// What its threads were busy with at that moment; if one hung, that alone.
    pub busy: Vec<Unit>,
    /// All that was under way.
    pub under_way: Vec<Unit>,
}

/// The memory, for the supervisor: nobody can make it shorter, so that reading it never fails.
pub fn create() -> io::Result<File> {
    let file = File::from(memfd_create(c"board", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.set_len((WORDS * 8) as u64)?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

struct Board {
    words: &'static [AtomicU64],
    /// Threads that have an entry.
    taken: [AtomicBool; THREADS],
    /// Entries of [`UNDER_WAY`] that are free, and how many were ever used.
    free: Mutex<(Vec<usize>, usize)>,
    peers: Mutex<()>,
    known_peers: AtomicUsize,
    /// The one who looks for hanging steps sleeps without end, as nothing is done.
    asleep: AtomicBool,
    watchman: OnceLock<std::thread::Thread>,
}

static BOARD: OnceLock<Board> = OnceLock::new();

/// Takes the memory over; gives what the last process left in it.
pub fn adopt(file: &File) -> io::Result<Left> {
    if file.metadata()?.len() != (WORDS * 8) as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = NonZeroUsize::new(WORDS * 8).ok_or(io::ErrorKind::InvalidData)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0)? };
    // SAFETY: the mapping has this length, is aligned to pages and never undone; the file cannot shrink (it
    // is sealed); every access in any process is atomic.
    let words: &'static [AtomicU64] =
        unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU64>(), WORDS) };
    let left = read(words);
    for word in words.iter().take(HEAD + (THREADS + UNDER_WAY) * ENTRY).filter(|w| w.load(Relaxed) != 0) {
        word.store(0, Relaxed);
    }
    words.first().into_iter().for_each(|w| w.store(MAGIC, Relaxed));
    let known = peers(words).filter(|entry| entry.iter().any(|w| w.load(Relaxed) != 0)).count();
    let _ = BOARD.set(Board {
        words,
        taken: [const { AtomicBool::new(false) }; THREADS],
        free: Mutex::default(),
        peers: Mutex::default(),
        known_peers: AtomicUsize::new(known),
        asleep: AtomicBool::new(false),
        watchman: OnceLock::new(),
    });
    Ok(left)
}

fn entries(words: &[AtomicU64], from: usize, count: usize) -> impl Iterator<Item = &[AtomicU64]> {
    words.get(HEAD + from * ENTRY..HEAD + (from + count) * ENTRY).unwrap_or_default().chunks_exact(ENTRY)
}

fn peers(words: &[AtomicU64]) -> impl Iterator<Item = &[AtomicU64]> {
    entries(words, THREADS + UNDER_WAY, PEERS)
}

fn unit(entry: &[AtomicU64]) -> Option<Unit> {
    let [_, message, high, low] = entry else { return None };
    let peer = Peer::of_words([high.load(Relaxed), low.load(Relaxed)]);
    Some(Unit { message: message.load(Relaxed), peer }).filter(|unit| *unit != Unit::default())
}

fn set(entry: &[AtomicU64], unit: Unit) {
    if let [_, message, high, low] = entry {
        let [first, second] = unit.peer.words();
        message.store(unit.message, Relaxed);
        high.store(first, Relaxed);
        low.store(second, Relaxed);
    }
}

fn read(words: &[AtomicU64]) -> Left {
    let word = |n: usize| words.get(n).map_or(0, |w| w.load(Relaxed));
    if word(0) != MAGIC {
        return Left::default();
    }
    let threads = || entries(words, 0, THREADS);
    let hung = usize::try_from(word(1)).ok().and_then(|n| n.checked_sub(1)).and_then(|n| threads().nth(n));
    let busy = match hung.and_then(unit) {
        Some(unit) => vec![unit],
        None => threads().filter_map(unit).collect(),
    };
    Left { busy, under_way: entries(words, THREADS, UNDER_WAY).filter_map(unit).collect() }
}

/// This thread's entry, given back at its end.
struct Place(Option<usize>);

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(board), Some(n)) = (BOARD.get(), self.0) {
            board.thread(n).into_iter().for_each(|entry| set(entry, Unit::default()));
            board.taken.get(n).into_iter().for_each(|t| t.store(false, Relaxed));
        }
    }
}

thread_local! {
    static PLACE: Place = Place(BOARD.get().and_then(Board::place));
    static NOW: Cell<Unit> = const { Cell::new(Unit { message: 0, peer: Peer::Nobody }) };
}

impl Board {
    fn place(&self) -> Option<usize> {
        self.taken.iter().position(|t| t.compare_exchange(false, true, Relaxed, Relaxed).is_ok())
    }

    fn thread(&self, n: usize) -> Option<&[AtomicU64]> {
        let at = HEAD + n.min(THREADS - 1) * ENTRY;
        self.words.get(at..at + ENTRY)
    }

    fn show(&self, unit: Unit) {
        let place = PLACE.try_with(|place| place.0).ok().flatten();
        let Some(entry) = place.and_then(|n| self.thread(n)) else { return };
        if let [step, ..] = entry {
            step.store(step.load(Relaxed).wrapping_add(1), Relaxed);
        }
        set(entry, unit);
        if unit != Unit::default()
            && self.asleep.load(Relaxed)
            && self.asleep.swap(false, Relaxed)
            && let Some(watchman) = self.watchman.get()
        {
            watchman.unpark();
        }
    }
}

/// What this thread is busy with now.
pub fn now() -> Unit {
    NOW.try_with(Cell::get).unwrap_or_default()
}

/// Ends what [`busy`] began.
pub struct Busy {
    before: Unit,
    peer: Peer,
}

/// This thread is busy with `unit`, and with what it was busy with before as far as `unit` does not say.
pub fn busy(unit: Unit) -> Busy {
    let before = now();
    let merged = Unit {
        message: if unit.message == 0 { before.message } else { unit.message },
        peer: if unit.peer == Peer::Nobody { before.peer } else { unit.peer },
    };
    let _ = NOW.try_with(|now| now.set(merged));
    BOARD.get().into_iter().for_each(|board| board.show(merged));
    Busy { before, peer: unit.peer }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = NOW.try_with(|now| now.set(self.before));
        BOARD.get().into_iter().for_each(|board| board.show(self.before));
        // A defect that ends one task may be had again by the same peer.
        if std::thread::panicking() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            died_of(self.peer, now.map_or(0, |t| t.as_secs()));
        }
    }
}

/// A task whose every step is marked.
pub struct Watched<F> {
    unit: Unit,
    task: F,
}

/// Marks each step of a task.
pub fn watch<F: Future>(unit: Unit, task: F) -> Watched<F> {
    Watched { unit, task }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _busy = busy(self.unit);
        // SAFETY: `task` is pinned with the whole: it is never moved out, and there is no `Drop`.
        let task = unsafe { self.map_unchecked_mut(|whole| &mut whole.task) };
        task.poll(context)
    }
}

/// Ends what [`under_way`] began.
pub struct UnderWay(Option<usize>);

/// Work begins that lasts for many steps, and may wait.
pub fn under_way(unit: Unit) -> UnderWay {
    let Some(board) = BOARD.get() else { return UnderWay(None) };
    let mut free = board.free.lock().unwrap_or_else(PoisonError::into_inner);
    let n = match free.0.pop() {
        Some(n) => n,
        None if free.1 < UNDER_WAY => {
            free.1 += 1;
            free.1 - 1
        }
        None => return UnderWay(None),
    };
    entries(board.words, THREADS + n, 1).for_each(|entry| set(entry, unit));
    UnderWay(Some(n))
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let (Some(board), Some(n)) = (BOARD.get(), self.0) {
            entries(board.words, THREADS + n, 1).for_each(|entry| set(entry, Unit::default()));
            board.free.lock().unwrap_or_else(PoisonError::into_inner).0.push(n);
        }
    }
}

/// How often the process died of a peer, and when it did last (seconds since 1970).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// How often.
    pub count: u32,
    /// When.
    pub last: u64,
}

/// The process died of this peer, or nearly so; gives how often. What is a day old is forgotten.
pub fn died_of(peer: Peer, now: u64) -> Deaths {
    let Some(board) = BOARD.get().filter(|_| peer != Peer::Nobody) else { return Deaths::default() };
    let _one = board.peers.lock().unwrap_or_else(PoisonError::into_inner);
    let known = find(board.words, peer);
    // The oldest makes room.
    let oldest = || peers(board.words).min_by_key(|entry| deaths(entry).last);
    let Some(entry) = known.or_else(oldest) else { return Deaths::default() };
    let before = if known.is_some() { deaths(entry) } else { Deaths::default() };
    let count = if before.last + 86_400 < now { 1 } else { before.count.saturating_add(1) };
    set_peer(entry, peer, Deaths { count, last: now });
    board.known_peers.fetch_add(1, Relaxed);
    Deaths { count, last: now }
}

/// What is known of this peer.
pub fn deaths_of(peer: Peer) -> Deaths {
    let Some(board) = BOARD.get().filter(|board| board.known_peers.load(Relaxed) > 0) else {
        return Deaths::default();
    };
    find(board.words, peer).map(deaths).unwrap_or_default()
}

/// How many seconds longer nothing should be had to do with this peer: after the second time five minutes, then
/// twice as long each time, at most an hour.
pub fn shunned(peer: Peer, now: u64) -> Option<u64> {
    let Deaths { count, last } = deaths_of(peer);
    let doublings = count.checked_sub(2)?.min(4);
    let pause = (300u64 << doublings).min(3600);
    // A clock that was set back must not make it longer.
    last.checked_add(pause)?.checked_sub(now).filter(|left| (1..=pause).contains(left))
}

fn find(words: &[AtomicU64], peer: Peer) -> Option<&[AtomicU64]> {
    let [high, low] = peer.words();
    peers(words)
        .find(|entry| matches!(entry, [_, _, h, l] if (h.load(Relaxed), l.load(Relaxed)) == (high, low)))
}

fn deaths(entry: &[AtomicU64]) -> Deaths {
    let [count, last, ..] = entry else { return Deaths::default() };
    Deaths { count: count.load(Relaxed) as u32, last: last.load(Relaxed) }
}

fn set_peer(entry: &[AtomicU64], peer: Peer, deaths: Deaths) {
    if let [count, last, high, low] = entry {
        let [first, second] = peer.words();
        count.store(u64::from(deaths.count), Relaxed);
        last.store(deaths.last, Relaxed);
        high.store(first, Relaxed);
        low.store(second, Relaxed);
    }
}

/// So often a step is looked at before it counts as hung. Looks are counted, not time: one that was stopped with the
/// whole process, or slept with the machine, was not at work.
const LOOKS: u32 = 8;

/// Watches over the steps of all threads, for ever: `hung` is called once one lasts for `limit`, with what it is
/// about; then it is noted that this one hung. While nothing is done it sleeps.
pub fn watch_over(limit: Duration, hung: impl Fn(Unit)) {
    let Some(board) = BOARD.get() else { return };
    let _ = board.watchman.set(std::thread::current());
    let mut seen: [(u64, Option<u32>); THREADS] = [(0, None); THREADS];
    let mut last = Instant::now();
    loop {
        // Whoever begins something may wake the watchman early.
        let counts = u32::from(last.elapsed() >= limit / LOOKS);
        if counts > 0 {
            last = Instant::now();
        }
        let mut active = false;
        for (n, (entry, seen)) in entries(board.words, 0, THREADS).zip(&mut seen).enumerate() {
            let step = entry.first().map_or(0, |w| w.load(Relaxed));
            let Some(unit) = unit(entry) else {
                seen.1 = None;
                continue;
            };
            active = true;
            match seen.1 {
                Some(looks) if seen.0 == step && looks + counts > LOOKS => {
                    board.words.get(1).into_iter().for_each(|w| w.store(n as u64 + 1, Relaxed));
                    hung(unit);
                    seen.1 = None;
                }
                Some(looks) if seen.0 == step => seen.1 = Some(looks + counts),
                _ => *seen = (step, Some(0)),
            }
        }
        if active {
            std::thread::park_timeout((limit / LOOKS).saturating_sub(last.elapsed()));
        } else if !board.asleep.swap(true, Relaxed) {
            // Once more: something may have begun between the look and the sleep.
            std::thread::park_timeout(Duration::from_millis(100));
        } else {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_read_by_the_next() {
        let file = create().unwrap();
        assert!(file.set_len(10).is_err(), "it cannot be made shorter");
        assert_eq!(adopt(&file).unwrap(), Left::default());
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let way = under_way(Unit::of_message(7));
        let gone = under_way(Unit::of_message(8));
        drop(gone);
        let outer = busy(Unit::of_host(a));
        let inner = busy(Unit::of_message(9));
        let words = BOARD.get().unwrap().words;
        let both = Unit { message: 9, peer: Peer::Host(a) };
        assert_eq!((now(), read(words).busy), (both, vec![both]));
        assert_eq!(read(words).under_way, [Unit::of_message(7)]);
        drop(inner);
        assert_eq!(read(words).busy, [Unit::of_host(a)]);
        drop(outer);
        assert_eq!(read(words).busy, []);
        // A step in another thread, which ends with it.
        std::thread::scope(|scope| {
            scope.spawn(|| drop(busy(Unit::of_file(5)))).join().unwrap();
        });
        assert_eq!(read(words).busy, []);
        let runtime = std::pin::pin!(watch(Unit::of_host(b), async { now() }));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(runtime.poll(&mut context), Poll::Ready(Unit::of_host(b)));
        drop(way);
        assert_eq!(read(words).under_way, []);

        // Peers.
        assert_eq!(deaths_of(Peer::Host(a)), Deaths::default());
        assert_eq!(died_of(Peer::Host(a), 1000).count, 1);
        assert_eq!(died_of(Peer::File(5), 1000).count, 1);
        assert_eq!(died_of(Peer::Host(a), 1001), Deaths { count: 2, last: 1001 });
        assert_eq!(deaths_of(Peer::Host("::ffff:10.0.0.1".parse().unwrap())).count, 2);
        assert_eq!((shunned(Peer::Host(a), 1001), shunned(Peer::Host(a), 1300)), (Some(300), Some(1)));
        assert_eq!((shunned(Peer::Host(a), 1301), shunned(Peer::File(5), 1000)), (None, None));
        let counts: Vec<_> = (0..6).map(|n| died_of(Peer::Host(a), 1100 + n).count).collect();
        assert_eq!((counts.last(), shunned(Peer::Host(a), 1105)), (Some(&8), Some(3600)));
        assert_eq!(died_of(Peer::Host(a), 1105 + 86_401).count, 1);
        for n in 0..2 * PEERS as u64 {
            died_of(Peer::File(1000 + n), 200_000 + n);
        }
        assert_eq!(deaths_of(Peer::Host(a)), Deaths::default(), "the oldest made room");
        assert_eq!(deaths_of(Peer::File(1000 + 2 * PEERS as u64 - 1)).count, 1);

        // Who hangs is named, and later alone.
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            watch_over(Duration::from_millis(50), move |unit| {
                let _ = tell.send(unit);
            })
        });
        let other = busy(Unit::of_host(b));
        let stuck = std::thread::spawn(|| {
            let _busy = busy(Unit::of_message(77));
            std::thread::sleep(Duration::from_secs(3600));
        });
        let stop = std::time::Instant::now() + Duration::from_secs(20);
        let mut named = Vec::new();
        while !named.contains(&Unit::of_message(77)) {
            assert!(std::time::Instant::now() < stop, "{named:?}");
            // This thread goes on.
            drop(busy(Unit::of_host(b)));
            named.extend(told.recv_timeout(Duration::from_millis(5)));
        }
        assert_eq!(read(words).busy, [Unit::of_message(77)]);
        drop((other, stuck));
    }
}
