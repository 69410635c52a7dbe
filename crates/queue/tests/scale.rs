//! What a big queue costs, counted and not timed: reads of the disk for each message must not grow with
//! the number of messages, and a start must not read them.

use events::Source;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::disk::{Disk, DiskDraft, DiskFile, Engine, Options, RealDisk, Space};
use queue::{Action, Outcome, RecipientState, Selection, block_on};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls and bytes.
#[derive(Default)]
struct Count {
    reads: AtomicU64,
    record_bytes: AtomicU64,
    log_bytes: AtomicU64,
    written: AtomicU64,
}

impl Count {
    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

/// A real disk that counts.
#[derive(Clone)]
struct Counting(RealDisk, Arc<Count>);

struct CountingFile(File, bool, Arc<Count>);

impl Disk for Counting {
    type File = CountingFile;
    fn open(&self, path: &str) -> io::Result<CountingFile> {
        Ok(CountingFile(self.0.open(path)?, path.ends_with(".seg"), self.1.clone()))
    }
    fn create(&self, path: &str) -> io::Result<CountingFile> {
        Ok(CountingFile(self.0.create(path)?, path.ends_with(".seg"), self.1.clone()))
    }
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.0.list(directory)
    }
    fn make_directory(&self, path: &str) -> io::Result<()> {
        self.0.make_directory(path)
    }
    fn sync_directory(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn unlink(&self, path: &str) -> io::Result<()> {
        self.0.unlink(path)
    }
    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
    fn now(&self) -> u64 {
        self.0.now()
    }
    fn random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.0.random(buffer)
    }
}

impl DiskFile for CountingFile {
    fn length(&self) -> io::Result<u64> {
        DiskFile::length(&self.0)
    }
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let n = DiskFile::read_at(&self.0, buffer, at)?;
        self.2.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = if self.1 { &self.2.record_bytes } else { &self.2.log_bytes };
        bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
    fn write_at(&self, pieces: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let n = DiskFile::write_at(&self.0, pieces, at)?;
        self.2.written.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
    // Nothing here crashes, and syncing takes the time of a test.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, at: u64, length: u64) -> io::Result<()> {
        DiskFile::allocate(&self.0, at, length)
    }
    fn punch(&self, at: u64, length: u64) -> io::Result<()> {
        DiskFile::punch(&self.0, at, length)
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        DiskFile::cut(&self.0, length)
    }
    fn real(&self) -> Option<File> {
        None
    }
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("valija-scale-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }
    fn open(&self) -> (Arc<Engine<Counting>>, Arc<Count>) {
        let count = Arc::new(Count::default());
        let disk = Counting(RealDisk::new(&self.0), count.clone());
        let options = Options { segment: Some(1 << 20), threads: 1, ..Default::default() };
        let engine = Engine::open(disk, &options, Source::new("postfix", "queue", 1), false).unwrap();
        (Arc::new(engine), count)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn deferred() -> Vec<(usize, RecipientState)> {
    let text = "connect to mx.example.org[192.0.2.1]:25: Connection refused";
    vec![(0, RecipientState::Deferred(Status::new(Code(4, 4, 1), text)))]
}

fn put(store: &Arc<Engine<Counting>>, body: usize) -> QueueId {
    let id = store.new_id();
    let recipient =
        Recipient { address: Address::new(format!("u{id}"), Some("example.org")), ..Default::default() };
    let sender = Address::new("somebody", Some("example.com"));
    let envelope = Envelope { sender, recipients: vec![recipient], ..Default::default() };
    let mut draft: DiskDraft<Counting> = store.draft(id, body as u64).unwrap();
    draft.append(&vec![b'x'; body]).unwrap();
    let _durable = draft.submit(envelope).unwrap();
    id
}

/// A queue of `n` messages that were tried and wait, closed and opened again.
fn queue_of(place: &Place, n: usize, body: usize) -> (Arc<Engine<Counting>>, Arc<Count>) {
    let (store, _) = place.open();
    for k in 0..n {
        put(&store, body);
        if k % 50 == 49 {
            settle_all(&store);
        }
    }
    settle_all(&store);
    assert_eq!(store.counts().deferred, n as u64);
    store.shut();
    drop(store);
    place.open()
}

/// Everything that is due is deferred once more.
fn settle_all(store: &Arc<Engine<Counting>>) -> usize {
    while store.commit_waiting() {}
    let due = block_on(poll_fn(|context| match store.poll_lease(10_000, context) {
        std::task::Poll::Pending => std::task::Poll::Ready(Vec::new()),
        ready => ready,
    }));
    for one in &due {
        let outcome = Outcome { recipients: deferred(), ..Default::default() };
        store.settle(one.id, outcome, true).unwrap();
        let outcome = Outcome { next_attempt: Some(u64::MAX - one.id.0), ..Default::default() };
        store.settle(one.id, outcome, false).unwrap();
    }
    store.tend(true);
    due.len()
}

fn listed(store: &Arc<Engine<Counting>>) -> usize {
    let (mut after, mut n) = (None, 0);
    loop {
        let page = store.list(after, 500).unwrap();
        let Some(last) = page.last() else { return n };
        after = Some(last.id);
        assert!(page.iter().all(|s| matches!(s.recipients[..], [RecipientState::Deferred(_)])));
        n += page.len();
    }
}

#[test]
fn a_start_reads_logs_and_no_messages() {
    let place = Place::new("start");
    for n in [300, 3_000] {
        let (store, count) = queue_of(&place, n, 3_000);
        assert_eq!(store.counts().total(), if n == 300 { 300 } else { 3_000 });
        let records = count.record_bytes.load(Ordering::Relaxed);
        assert_eq!(records, 0, "{n} messages");
        let each = count.log_bytes.load(Ordering::Relaxed) / n as u64;
        assert!(each < 700, "{each} bytes of logs for each of {n} messages");
        store.control(&Selection::All(None), Action::Delete).unwrap();
        store.tend(true);
        store.shut();
    }
}

#[test]
fn a_listing_reads_each_message_once() {
    for (body, most) in [(300, 0.2), (9_000, 1.2)] {
        for n in [200, 2_000] {
            let place = Place::new("listing");
            let (store, count) = queue_of(&place, n, body);
            let before = count.reads();
            assert_eq!(listed(&store), n);
            let each = (count.reads() - before) as f64 / n as f64;
            assert!(each <= most, "{each} reads for each of {n} messages of {body} bytes");
        }
    }
}

#[test]
fn what_is_asked_of_all_reads_nothing() {
    let place = Place::new("all");
    let (store, count) = queue_of(&place, 2_000, 300);
    let before = count.reads();
    for action in [Action::Flush, Action::Hold, Action::Release, Action::Requeue, Action::Expire] {
        let (touched, _) = store.control(&Selection::All(None), action).unwrap();
        assert_eq!(touched.len(), 2_000, "{action:?}");
        assert!(touched.is_sorted());
    }
    assert_eq!(count.reads(), before);
    // Of messages that arrive meanwhile, and of other queues, nothing is touched.
    assert!(
        store.control(&Selection::All(Some(queue::QueueName::Hold)), Action::Delete).unwrap().0.is_empty()
    );
    let ids: Vec<QueueId> = store.control(&Selection::All(None), Action::Hold).unwrap().0;
    let named = Selection::Ids(ids.iter().rev().chain(&ids).copied().collect());
    assert_eq!(store.control(&named, Action::Delete).unwrap().0, ids);
    assert_eq!(store.counts().total(), 0);
}

/// Logs are written anew now and then. What that costs for each attempt must be the same however many
/// messages wait.
#[test]
fn retries_cost_the_same_in_a_big_queue() {
    let mut each = Vec::new();
    for n in [300, 3_000] {
        let place = Place::new("retries");
        let (store, count) = queue_of(&place, n, 3_000);
        let before = (count.reads(), count.written.load(Ordering::Relaxed));
        let mut attempts = 0;
        for _ in 0..20 {
            store.control(&Selection::All(None), Action::Flush).unwrap();
            store.tend(true);
            attempts += settle_all(&store);
        }
        assert_eq!(attempts, 20 * n);
        let per = |now: u64, before: u64| (now - before) as f64 / attempts as f64;
        let (reads, written) = (count.reads(), count.written.load(Ordering::Relaxed));
        each.push((per(reads, before.0), per(written, before.1)));
    }
    let [small, big] = each[..] else { unreachable!() };
    assert!(big.0 < 1.3 * small.0 + 0.5 && big.1 < 1.3 * small.1 + 50.0, "{small:?} {big:?}");
    assert!(big.0 < 4.0 && big.1 < 1_000.0, "{big:?}");
}
