//! The queue on disk. `docs/queue.md` has the format and the argument why no crash loses mail.
//!
//! In reading order: `format` (bytes), `device` (what is asked of a disk), `engine` (the store
//! without threads), `commit` (what makes a message durable), `draft`, `state_log`, `keep` (state
//! logs to disk, space back), `rewrite` (a log anew), `forward` (survivors of nearly empty segments), `read`, `list`, `scrub` (what
//! nobody reads is verified), `recover`. Here: the store with its four threads, the lock
//! that keeps a second daemon out, and the options.

pub mod device;
pub mod draft;
pub mod engine;

mod commit;
mod format;
mod forward;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub(crate) mod fuzz;
mod keep;
mod list;
mod read;
mod recover;
mod rewrite;
mod scrub;
mod state_log;

pub use device::{Disk, DiskFile, RealDisk, Space};
pub use draft::DiskDraft;
pub use engine::{Engine, Options};

use crate::state::Outcome;
use crate::store::{Action, Body, Counts, Draft, Health, Leased, Selection, Store, StoreError, Summary};
use config::params::queue::Queue;
use engine::Index;
use events::Source;
use proto::QueueId;
use proto::envelope::Envelope;
use std::fs::{DirBuilder, File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a mail role waits for the one before it: somewhat longer than that one takes to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// The queue's files below `queue_directory`.
pub fn directory(queue_directory: &Path) -> PathBuf {
    queue_directory.join("valija")
}

impl Options {
    /// What main.cf asks for.
    pub fn from_config(config: &config::Config) -> Result<Options, Vec<config::Problem>> {
        let queue = Queue::load(config)?;
        // As Postfix: half as much again as the largest message, or more when told so. The limit
        // is obeyed elsewhere, which is where it is checked.
        let limit: u64 =
            config.get("message_size_limit").ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
        let minfree = u64::try_from(*queue.queue_minfree()).unwrap_or(0);
        let room = minfree.max(limit.saturating_add(limit / 2));
        Ok(Options { room, patience: PATIENCE, ..Default::default() })
    }
}

/// Holds the queue against other processes.
pub struct Hold {
    _lock: sys::durable::Lock,
}

impl Hold {
    /// For this process alone. One that is ending, because its master was killed, writes down what
    /// was under way and is waited for so long.
    pub fn wait(directory: &Path, patience: Duration) -> Result<Hold, String> {
        let end = std::time::Instant::now() + patience;
        loop {
            match Hold::take(directory, true) {
                Err(_) if std::time::Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                result => return result,
            }
        }
    }

    /// For one process alone (`exclusive`), or for readers while no daemon runs. The file carries
    /// the process id of the last who had it alone.
    pub fn take(directory: &Path, exclusive: bool) -> Result<Hold, String> {
        let path = directory.join("lock");
        let said = |e: std::io::Error| {
            let place = path.display();
            match e.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    format!("open {place}: {e}: its directory must belong to mail_owner, mode 0700")
                }
                _ => format!("open {place}: {e}"),
            }
        };
        let open = || -> std::io::Result<File> {
            if exclusive {
                let mut how = OpenOptions::new();
                how.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
            } else {
                File::open(&path)
            }
        };
        let mut file = open().map_err(said)?;
        let mut note = file.try_clone().map_err(said)?;
        match sys::durable::lock(file.try_clone().map_err(said)?, exclusive).map_err(said)? {
            Some(lock) => {
                if exclusive {
                    let text = format!("{:<10}\n", std::process::id());
                    let _ = std::os::unix::fs::FileExt::write_at(&note, text.as_bytes(), 0);
                    let _ = note.flush();
                }
                Ok(Hold { _lock: lock })
            }
            None => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let who: u32 = text.trim().parse().unwrap_or(0);
                Err(format!(
                    "the queue {} is in use by process {who}: stop that mail system first",
                    directory.display()
                ))
            }
        }
    }
}

/// The name of the thread that should have its turn before the others ([`sys::turns`]).
pub const NOTER: &str = "queue-note";

/// The store on disk with its four threads.
pub struct DiskStore<D: Disk = RealDisk> {
    engine: Arc<Engine<D>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    hold: Mutex<Option<Hold>>,
}

impl DiskStore<RealDisk> {
    /// Opens the queue below `queue_directory`, making it if there is none. The error says what
    /// to do.
    pub fn open(queue_directory: &Path, options: &Options, source: Source) -> Result<Self, String> {
        let directory = directory(queue_directory);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(format!(
                    "make {}: {e}: create it as root, owned by mail_owner, mode 0700",
                    directory.display(),
                ));
            }
            _ => {}
        }
        // Its name must last too. Who may not read the directory above did not make it just now.
        match File::open(queue_directory).and_then(|d| d.sync_all()) {
            Err(e) if e.kind() != std::io::ErrorKind::PermissionDenied => {
                return Err(format!("sync {}: {e}", queue_directory.display()));
            }
            _ => {}
        }
        let hold = Hold::wait(&directory, options.patience)?;
        let store = Self::open_on(RealDisk::new(&directory), options, source)
            .map_err(|e| format!("queue {}: {e}", directory.display()))?;
        *engine::locked(&store.hold) = Some(hold);
        Ok(store)
    }
}

impl<D: Disk> DiskStore<D> {
    /// The same on any disk, without a lock.
    pub fn open_on(disk: D, options: &Options, source: Source) -> Result<Self, String> {
        let engine = Arc::new(Engine::open(disk, options, source, false)?);
        engine.forward_survivors();
        let mut threads = Vec::new();
        let guarded = |run: fn(&Engine<D>)| {
            let engine = engine.clone();
            move || {
                // Without this thread mail would wait for ever; a new process recovers.
                if catch_unwind(AssertUnwindSafe(|| run(&engine))).is_err() {
                    events::flush();
                    std::process::abort();
                }
            }
        };
        let thread = |name: &str, run: fn(&Engine<D>)| {
            let builder = std::thread::Builder::new().name(name.into()).stack_size(256 * 1024);
            builder.spawn(guarded(run)).map_err(|e| format!("start a thread: {e}"))
        };
        // Beside busy threads it waited up to 13 ms for its turn: what was delivered in that time came twice after a kill.
        let first = sys::turns::first(NOTER, guarded(noter));
        threads.push(first.map_err(|e| format!("start a thread: {e}"))?);
        threads.push(thread("queue-commit", committer)?);
        threads.push(thread("queue-keep", keeper)?);
        threads.push(thread("queue-verify", verifier)?);
        Ok(DiskStore { engine, threads: Mutex::new(threads), hold: Mutex::new(None) })
    }

    fn stop(&self) {
        let threads = std::mem::take(&mut *engine::locked(&self.threads));
        if threads.is_empty() {
            return;
        }
        self.engine.shut();
        for thread in threads {
            let _ = thread.join();
        }
        engine::locked(&self.hold).take();
    }
}

fn committer<D: Disk>(engine: &Engine<D>) {
    engine.warm_up();
    loop {
        {
            let mut jobs = engine::locked(&engine.jobs);
            while jobs.waiting.is_empty() {
                if jobs.closed {
                    return;
                }
                jobs = engine.arrived.wait(jobs).unwrap_or_else(|e| e.into_inner());
            }
        }
        engine.commit_waiting();
    }
}

/// Writes logs, also while the keeper waits for the disk: what was delivered before a kill is not
/// delivered again.
fn noter<D: Disk>(engine: &Engine<D>) {
    whenever(
        engine,
        &engine.jot,
        Index::looks,
        |index| &mut index.note_alarm,
        || {
            engine.note();
        },
    );
}

fn keeper<D: Disk>(engine: &Engine<D>) {
    whenever(
        engine,
        &engine.stir,
        Index::kept,
        |index| &mut index.alarm,
        || {
            engine.tend(false);
        },
    );
}

/// Does something each time that it is due, until the store is closed. Others look at `alarm` to see
/// whether they must ring the bell: it is zero while this thread is awake.
fn whenever<D: Disk>(
    engine: &Engine<D>,
    bell: &Condvar,
    due: fn(&Index, u64) -> u64,
    alarm: fn(&mut Index) -> &mut u64,
    turn: impl Fn(),
) {
    loop {
        let mut index = engine.lock();
        loop {
            if index.ledger.closed {
                return;
            }
            let now = engine.disk.now();
            let wanted = due(&index, now);
            if wanted <= now {
                break;
            }
            *alarm(&mut index) = wanted;
            index = rest(bell, index, wanted, now);
            *alarm(&mut index) = 0;
        }
        drop(index);
        turn();
    }
}

/// Waits until a moment, or until somebody says so.
fn rest<'a, T>(bell: &Condvar, guard: MutexGuard<'a, T>, wanted: u64, now: u64) -> MutexGuard<'a, T> {
    if wanted == u64::MAX {
        return bell.wait(guard).unwrap_or_else(|e| e.into_inner());
    }
    // The clock may jump, and this waits by another one.
    let wait = Duration::from_micros((wanted - now).min(60_000_000));
    bell.wait_timeout(guard, wait).unwrap_or_else(|e| e.into_inner()).0
}

fn verifier<D: Disk>(engine: &Engine<D>) {
    loop {
        let again = engine.scrub().unwrap_or(u64::MAX);
        let mut index = engine.lock();
        loop {
            if index.ledger.closed {
                return;
            }
            let (due, now) = (again.min(engine.scrub_due(&index)), engine.disk.now());
            if due <= now {
                break;
            }
            index = if due == u64::MAX {
                engine.rest.wait(index).unwrap_or_else(|e| e.into_inner())
            } else {
                // The clock may jump.
                let wait = Duration::from_micros((due - now).min(3_600_000_000));
                engine.rest.wait_timeout(index, wait).unwrap_or_else(|e| e.into_inner()).0
            };
        }
    }
}

impl<D: Disk> Drop for DiskStore<D> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<D: Disk> Store for DiskStore<D> {
    type Draft = DiskDraft<D>;

    fn new_id(&self) -> QueueId {
        self.engine.new_id()
    }

    fn draft(&self, id: QueueId, size_hint: u64) -> Result<DiskDraft<D>, StoreError> {
        self.engine.draft(id, size_hint)
    }

    fn lease(&self, n: usize) -> impl Future<Output = Vec<Leased>> + Send {
        poll_fn(move |context| self.engine.poll_lease(n, context))
    }

    async fn body(&self, id: QueueId) -> Result<Body, StoreError> {
        self.engine.body(id)
    }

    async fn settle(&self, id: QueueId, outcome: Outcome, keep: bool) -> Result<(), StoreError> {
        self.engine.settle(id, outcome, keep)
    }

    async fn blame(&self, id: QueueId) -> Result<u8, StoreError> {
        self.engine.blame(id)
    }

    async fn list(&self, after: Option<QueueId>, n: usize) -> Result<Vec<Summary>, StoreError> {
        self.engine.list(after, n)
    }

    async fn deferred_for(
        &self,
        domain: &str,
        after: Option<QueueId>,
    ) -> Result<(Vec<Summary>, Option<QueueId>), StoreError> {
        self.engine.deferred_for(domain, after)
    }

    async fn get(&self, id: QueueId) -> Result<Option<Summary>, StoreError> {
        self.engine.get(id)
    }

    async fn control(&self, which: Selection, action: Action) -> Result<Vec<QueueId>, StoreError> {
        let (touched, durable) = self.engine.control(&which, action)?;
        match durable.await {
            Some(true) => Ok(touched),
            _ => Err(StoreError::Failing(
                "done in memory, but it could not be written to disk: a crash now would undo it".into(),
            )),
        }
    }

    fn counts(&self) -> Counts {
        self.engine.counts()
    }

    fn health(&self) -> Health {
        self.engine.health()
    }

    async fn close(&self) {
        self.stop();
    }
}

impl<D: Disk> Draft for DiskDraft<D> {
    async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.append(chunk)
    }

    async fn commit(self, envelope: Envelope) -> Result<QueueId, StoreError> {
        let gone = || StoreError::Failing("the queue stopped before the message was written".into());
        if !self.is_big() {
            return self.submit(envelope)?.await.unwrap_or_else(|| Err(gone()));
        }
        // Syncing a big file takes a while, and this future may run where others must go on.
        let (tx, rx) = crate::oneshot::oneshot();
        let builder = std::thread::Builder::new().name("queue-big".into()).stack_size(256 * 1024);
        let started = builder.spawn(move || tx.send(self.submit(envelope)));
        started.map_err(|e| StoreError::Failing(format!("start a thread: {e}")))?;
        rx.await.ok_or_else(gone)??.await.unwrap_or_else(|| Err(gone()))
    }
}

#[cfg(test)]
mod tests;
