//! The store on disk without its threads: whoever drives it calls [`Engine::commit_waiting`] and
//! [`Engine::tend`]. Here is what callers see: lease, settle, control, list.

use super::commit::{Jobs, Writer};
use super::device::Disk;
use super::format::{Identity, Kind};
use super::forward::Mover;
use super::read::Damage;
use super::scrub::Scrub;
use super::state_log::StateLog;
use crate::encode;
use crate::events::{Quarantined, Unreadable};
use crate::ledger::{self, Choice, Ledger, Plan, Touched};
use crate::oneshot::{Receiver, Sender, oneshot};
use crate::state::{Outcome, RecipientState};
use crate::store::{Action, Counts, Health, Leased, Selection, StoreError};
use events::Source;
use proto::QueueId;
use proto::envelope::Envelope;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};

/// How a store behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// New mail is refused when less than this is free, bytes.
    pub room: u64,
    /// The size of a segment; `None` for 64 MiB, less on a small file system.
    pub segment: Option<u64>,
    /// More segments than this are copied together where that makes fewer; `None` for 4096.
    pub crowd: Option<usize>,
    /// A segment's checksums are verified every so many microseconds; `None` for once a day.
    pub scrub_every: Option<u64>,
    /// How long to wait for another process to leave the queue.
    pub patience: std::time::Duration,
    /// Threads that read segments at the start; zero for one per processor.
    pub threads: usize,
}

/// Where a message is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which segment.
    pub segment: u32,
    /// Where its record begins.
    pub offset: u32,
    /// Bytes of the record; the lowest bit says that the body is in a file of its own.
    length: u32,
    /// Where its last whole state is in the state log; zero for none.
    pub state: u32,
}

impl Place {
    /// Lengths are multiples of eight, which leaves a bit to say `big`.
    pub fn new(segment: u32, offset: u32, length: u32, big: bool) -> Place {
        Place { segment, offset, length: length | u32::from(big), state: 0 }
    }

    /// Bytes of the record.
    pub fn length(&self) -> u32 {
        self.length & !7
    }

    /// The body is in a file of its own.
    pub fn big(&self) -> bool {
        self.length & 1 != 0
    }
}

/// What is kept of a message while it is fresh or leased.
pub(super) struct Live {
    pub envelope: Arc<Envelope>,
    pub recipients: Vec<RecipientState>,
    /// The envelope took the place of the one in the record.
    pub replaced: bool,
    /// Changes were written since the last whole state.
    pub changed: bool,
    /// The body, until the first lease ends.
    pub body: Option<Arc<Vec<u8>>>,
    /// The body as last read for somebody who may still hold it.
    pub seen: Weak<Vec<u8>>,
    /// A big body that this process wrote and need not verify.
    pub trusted: bool,
}

/// A segment, as far as memory must know.
#[derive(Debug)]
pub(super) struct Segment {
    pub end: u64,
    pub live: u32,
    pub live_bytes: u64,
    /// Between which names those of its messages are.
    pub names: (QueueId, QueueId),
    pub sealed: bool,
    /// Live bytes when holes were last punched.
    pub punched: u64,
    /// The log's size when it was last compacted.
    pub log_base: u64,
    /// When its checksums were last verified, or it was sealed.
    pub verified: u64,
    /// Its survivors are not looked at again before this moment.
    pub spared: u64,
    pub log: StateLog,
}

impl Segment {
    pub fn new(end: u64, log: StateLog) -> Segment {
        Segment {
            end,
            live: 0,
            live_bytes: 0,
            names: (QueueId(u64::MAX), QueueId(0)),
            sealed: false,
            punched: u64::MAX,
            log_base: 0,
            verified: 0,
            spared: 0,
            log,
        }
    }

    /// One more message lives in it.
    pub fn take_in(&mut self, id: QueueId, place: &Place) {
        self.live += 1;
        self.live_bytes += u64::from(place.length());
        self.names = (self.names.0.min(id), self.names.1.max(id));
    }
}

/// Everything under the one lock.
#[derive(Default)]
pub(super) struct Index {
    pub ledger: Ledger<Place>,
    pub live: HashMap<QueueId, Live>,
    pub segments: BTreeMap<u32, Segment>,
    /// Bytes of the bodies in `live`.
    pub bodies: usize,
    pub last_id: u64,
    /// Logs with records that wait to be written, and whether they are more than where a message is: the walk after
    /// a kill finds that too.
    pub dirty: BTreeSet<u32>,
    pub pressing: bool,
    /// Logs written since they were last synced, and since when.
    pub unsynced: BTreeSet<u32>,
    pub unsynced_since: u64,
    /// Logs to be written anew, because what is in their file cannot be trusted.
    pub broken: BTreeSet<u32>,
    /// Directory `seg` has names that are not durable.
    pub names: bool,
    /// Files in `big/` whose message is gone, by the log that says so, and where it has said it.
    pub bigs: BTreeMap<u32, Vec<(QueueId, u64)>>,
    /// Who waits for the logs to be durable.
    pub waiters: Vec<Sender<bool>>,
    /// When the keeper wakes by itself, and when the noter does.
    pub alarm: u64,
    pub note_alarm: u64,
    /// A failed turn must be put right before anything else is written to logs.
    pub muddled: bool,
    pub last_flush: u64,
    /// After a failure: not before this moment again.
    pub retry_at: u64,
    /// Survivors are copied at all; not by tools.
    pub forwards: bool,
    /// When survivors are looked at next; never, unless something changes.
    pub forward_at: u64,
    pub forwarded_at: u64,
    /// How many were copied.
    pub forwarded: u64,
    /// More segments than this are too many.
    pub crowd: usize,
    /// The file system can punch holes, as far as is known.
    pub holes: bool,
}

/// Where new messages are is written to the log after this time, microseconds, or with the next state.
const CALM: u64 = 50_000;
/// Bodies kept in memory until their first delivery has ended, at most.
const BODIES: usize = 32 << 20;
/// Fresh messages kept in memory at most.
const FRESH: usize = 20_000;
/// So many messages are held, flushed, deleted … at a time, half a millisecond's work; then others get
/// a turn, who receive and deliver meanwhile.
const SLICE: usize = 500;
const BETWEEN: std::time::Duration = std::time::Duration::from_micros(50);

/// With so many bytes to spare the disk is not asked again for so many microseconds.
const PLENTY: u64 = 1 << 30;
const GLANCE: u64 = 20_000;

/// What keeps new mail out.
#[derive(Default)]
pub(super) struct Trouble {
    pub full: Option<String>,
    /// When there was last more space than a moment can use up, and how much.
    pub plenty: Option<(u64, u64)>,
    pub failures: u32,
    pub last_failure: u64,
    pub error: String,
}

/// The store without its threads.
pub struct Engine<D: Disk> {
    pub(super) disk: D,
    pub(super) identity: Identity,
    pub(super) source: Source,
    pub(super) read_only: bool,
    pub(super) room: u64,
    pub(super) segment_size: u64,
    pub(super) index: Mutex<Index>,
    pub(super) stir: Condvar,
    /// Wakes the thread that writes logs.
    pub(super) jot: Condvar,
    /// Wakes the thread that verifies.
    pub(super) rest: Condvar,
    pub(super) scrub_every: u64,
    pub(super) scrubbing: Mutex<Scrub>,
    pub(super) jobs: Mutex<Jobs>,
    pub(super) arrived: Condvar,
    pub(super) writer: Mutex<Writer<D::File>>,
    pub(super) tending: Mutex<Mover>,
    /// Who has it may write to logs.
    pub(super) pen: Mutex<()>,
    pub(super) trouble: Mutex<Trouble>,
    pub(super) files: Mutex<BTreeMap<String, Arc<D::File>>>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Index {
    /// Takes a message out for good.
    pub fn forget(&mut self, identity: &Identity, id: QueueId) {
        if let Some(entry) = self.ledger.remove(id) {
            self.forgotten(identity, id, entry.place);
        }
    }

    /// The rest of that, once it is out of the ledger.
    pub fn forgotten(&mut self, identity: &Identity, id: QueueId, place: Place) {
        self.cool(id);
        let mut said = 0;
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live = segment.live.saturating_sub(1);
            segment.live_bytes = segment.live_bytes.saturating_sub(u64::from(place.length()));
            segment.log.append(identity, (Kind::Done, id, place.offset), |_| {});
            said = segment.log.end();
            self.press(place.segment);
        }
        if place.big() {
            self.bigs.entry(place.segment).or_default().push((id, said));
        }
    }

    /// Drops what is kept in memory while a message is hot.
    pub fn cool(&mut self, id: QueueId) {
        if let Some(live) = self.live.remove(&id) {
            self.bodies -= live.body.map_or(0, |b| b.len());
        }
        if self.live.capacity() > 1024 && self.live.len() * 8 < self.live.capacity() {
            self.live.shrink_to_fit();
        }
    }

    /// Keeps a fresh message in memory as far as that is bounded.
    pub fn warm(&mut self, id: QueueId, mut live: Live) {
        if self.live.len() >= FRESH {
            return;
        }
        live.body = live.body.filter(|b| self.bodies + b.len() <= BODIES);
        self.bodies += live.body.as_ref().map_or(0, |b| b.len());
        self.live.insert(id, live);
    }

    /// Records the plan of a message.
    pub fn mark(&mut self, identity: &Identity, id: QueueId) {
        let Some(entry) = self.ledger.get(id) else { return };
        let (plan, place) = (entry.plan, entry.place);
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            let what = (Kind::Mark, id, place.offset);
            segment.log.append(identity, what, |o| o.extend_from_slice(&plan.write()));
            self.press(place.segment);
        }
    }

    /// Records all states of a message that is in `live`.
    pub fn record_state(&mut self, identity: &Identity, id: QueueId) {
        let (Some(entry), Some(live)) = (self.ledger.get(id), self.live.get(&id)) else { return };
        let (plan, place) = (entry.plan, entry.place);
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            let at = segment.log.append(identity, (Kind::State, id, place.offset), |o| {
                o.extend_from_slice(&plan.write());
                encode::state(&live.recipients, live.replaced.then_some(&*live.envelope), o);
            });
            self.press(place.segment);
            self.ledger.change(id, |e| e.place.state = at);
        }
    }

    /// Something changed that may make copying survivors worth it.
    pub fn look(&mut self) {
        if self.forwards && self.forward_at == u64::MAX && (!self.holes || self.segments.len() > self.crowd) {
            self.forward_at = self.forwarded_at.saturating_add(1_000_000);
        }
    }

    /// What became of messages waits for this log.
    pub fn press(&mut self, segment: u32) {
        self.dirty.insert(segment);
        self.pressing = true;
    }

    /// When records are to be written to logs. Moments of the past that lie in the future, because
    /// the clock was set back, count as now.
    pub fn noted(&self, now: u64) -> u64 {
        if self.dirty.is_empty() || self.muddled {
            return u64::MAX;
        }
        let pause = if self.pressing { 1_000 } else { CALM };
        (self.last_flush.min(now) + pause).max(self.retry_at.min(now + super::keep::PATIENCE))
    }

    /// When the noter looks next: soon after its last turn by itself, so that new mail need not ring for it.
    pub fn looks(&self, now: u64) -> u64 {
        let next = self.last_flush.min(now) + CALM;
        let noted = self.noted(now);
        if noted == u64::MAX && next > now { next } else { noted }
    }

    /// When the keeper has something to do besides.
    pub fn kept(&self, now: u64) -> u64 {
        if !self.waiters.is_empty() || self.ledger.closed {
            return 0;
        }
        let retry_at = self.retry_at.min(now + super::keep::PATIENCE);
        let mut at = u64::MAX;
        if !self.broken.is_empty() || self.muddled {
            at = at.min(retry_at);
        }
        if !self.unsynced.is_empty() {
            at = at.min((self.unsynced_since.min(now) + 1_000_000).max(retry_at));
        }
        if self.forward_at != u64::MAX {
            at = at.min(self.forward_at.min(now + 600_000_000).max(retry_at));
        }
        match self.ledger.next_due() {
            Some(next) if self.ledger.awaited() => at.min(next),
            _ => at,
        }
    }
}

impl<D: Disk> Engine<D> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.disk.lock(&self.index)
    }

    pub(super) fn open_index(&self) -> Result<MutexGuard<'_, Index>, StoreError> {
        let index = self.lock();
        if index.ledger.closed { Err(closed()) } else { Ok(index) }
    }

    /// Wakes those who would sleep too long.
    pub(super) fn nudge(&self, index: &Index) {
        self.ring(self.late_sleepers(index));
    }

    /// Who would sleep too long: the keeper, the noter.
    pub(super) fn late_sleepers(&self, index: &Index) -> (bool, bool) {
        let now = self.disk.now();
        let keeper = index.alarm > 0 && index.kept(now) < index.alarm;
        (keeper, index.note_alarm > 0 && index.noted(now) < index.note_alarm)
    }

    pub(super) fn ring(&self, (keeper, noter): (bool, bool)) {
        if keeper {
            self.stir.notify_all();
        }
        if noter {
            self.jot.notify_all();
        }
    }

    /// A new name.
    pub fn new_id(&self) -> QueueId {
        let now = QueueId::at(self.disk.now()).0;
        let mut index = self.lock();
        index.last_id = now.max(index.last_id + 1);
        QueueId(index.last_id)
    }

    /// Leases what is due, or has `context` woken when something is.
    pub fn poll_lease(&self, n: usize, context: &mut Context<'_>) -> Poll<Vec<Leased>> {
        loop {
            let mut index = self.lock();
            if index.ledger.closed {
                return Poll::Ready(Vec::new());
            }
            let now = self.disk.now();
            let due = index.ledger.take_due(now, n);
            if due.is_empty() {
                index.ledger.wait(context.waker());
                self.nudge(&index);
                return Poll::Pending;
            }
            let (warm, cold): (Vec<QueueId>, Vec<QueueId>) =
                due.into_iter().partition(|id| index.live.contains_key(id));
            let mut leased: Vec<Leased> =
                warm.into_iter().filter_map(|id| Self::leased(&index, id, now)).collect();
            drop(index);
            for id in cold {
                match self.load(id) {
                    Ok(loaded) => {
                        let mut index = self.lock();
                        if index.ledger.get(id).is_some() {
                            index.live.insert(id, loaded.into_live());
                            leased.extend(Self::leased(&index, id, now));
                        }
                    }
                    Err(Damage::Gone) => {}
                    Err(Damage::Unreadable(file, error)) => {
                        self.source.say_of(id, &Unreadable { file, error });
                        let again = now + 300_000_000;
                        let mut index = self.lock();
                        index.ledger.change(id, |e| {
                            e.leased = false;
                            e.plan.next = again;
                        });
                        index.mark(&self.identity, id);
                        self.nudge(&index);
                    }
                    Err(Damage::Bad(why)) => self.set_aside(id, why),
                }
            }
            if !leased.is_empty() {
                return Poll::Ready(leased);
            }
        }
    }

    fn leased(index: &Index, id: QueueId, now: u64) -> Option<Leased> {
        let (entry, live) = (index.ledger.get(id)?, index.live.get(&id)?);
        Some(Leased {
            id,
            envelope: live.envelope.clone(),
            recipients: live.recipients.clone(),
            tries: entry.plan.tries,
            crashes: entry.plan.crashes,
            delay_warned: entry.plan.has(Plan::WARNED),
            expired: entry.plan.has(Plan::EXPIRED),
            requeued: entry.plan.has(Plan::REQUEUED),
            flushed: entry.plan.has(Plan::FLUSHED),
            leased_at: now,
        })
    }

    /// See [`crate::Store::settle`].
    pub fn settle(&self, id: QueueId, mut outcome: Outcome, keep: bool) -> Result<(), StoreError> {
        let mut guard = self.open_index()?;
        let index = &mut *guard;
        let entry = index.ledger.get(id).filter(|e| e.leased).ok_or(StoreError::LeaseLost)?;
        let (place, old, hurry) = (entry.place, entry.plan, entry.hurry);
        let live = index.live.get_mut(&id).ok_or(StoreError::LeaseLost)?;
        ledger::apply(&mut live.recipients, &outcome)?;
        if live.recipients.iter().all(RecipientState::settled) {
            index.forget(&self.identity, id);
            self.nudge(index);
            return Ok(());
        }
        let owed = live.recipients.iter().any(|r| matches!(r, RecipientState::Owed(_)));
        let plan = ledger::after_settling(old, &outcome, keep, hurry, owed);
        let replaced = outcome.envelope.take();
        let same = plan == old && outcome.recipients.is_empty() && replaced.is_none();
        // A lease given back unused leaves nothing to write, and the next may follow soon.
        let unused = same && !live.changed;
        let whole = !keep || replaced.is_some();
        live.changed = !whole && !unused;
        if let Some(new) = replaced {
            live.envelope = Arc::new(*new);
            live.replaced = true;
        }
        index.ledger.change(id, |e| {
            e.plan = plan;
            if !keep {
                e.leased = false;
                e.hurry = false;
            }
        });
        if unused {
        } else if whole {
            index.record_state(&self.identity, id);
        } else if let Some(segment) = index.segments.get_mut(&place.segment) {
            segment.log.append(&self.identity, (Kind::Change, id, place.offset), |o| {
                o.extend_from_slice(&plan.write());
                encode::changes(&outcome.recipients, o);
            });
            index.press(place.segment);
        }
        if !keep && (!unused || plan.has(Plan::HELD)) {
            index.cool(id);
        }
        let woken = index.ledger.woken(self.disk.now());
        self.nudge(index);
        drop(guard);
        woken.into_iter().for_each(|w| w.wake());
        Ok(())
    }

    /// See [`crate::Store::blame`].
    pub fn blame(&self, id: QueueId) -> Result<u8, StoreError> {
        let mut index = self.open_index()?;
        index.ledger.get(id).ok_or(StoreError::LeaseLost)?;
        let crashes = index.ledger.change(id, |e| {
            e.plan.crashes = e.plan.crashes.saturating_add(1);
            e.plan.set(Plan::HELD, e.plan.crashes >= 2 || e.plan.has(Plan::HELD));
            e.plan.crashes
        });
        let crashes = crashes.unwrap_or(0);
        index.mark(&self.identity, id);
        self.nudge(&index);
        drop(index);
        if crashes >= 2 {
            self.source.say_of(id, &Quarantined { crashes });
        }
        Ok(crashes)
    }

    /// See [`crate::Store::control`]; what was done is durable when the receiver gives `true`.
    pub fn control(
        &self,
        which: &Selection,
        action: Action,
    ) -> Result<(Vec<QueueId>, Receiver<bool>), StoreError> {
        let now = self.disk.now();
        let mut rest = Choice::of(which, QueueId(self.lock().last_id));
        let (tx, rx) = oneshot();
        let (mut all, mut tx, mut nobody) = (Vec::new(), Some(tx), true);
        loop {
            let mut guard = self.open_index()?;
            let index = &mut *guard;
            let mut touched = index.ledger.chosen(&mut rest, SLICE);
            nobody &= touched.is_empty();
            touched.retain(|id| self.control_one(index, *id, action, now));
            all.append(&mut touched);
            let done = matches!(rest, Choice::Nothing);
            match tx.take_if(|_| done) {
                Some(tx) if nobody => tx.send(true),
                // Also when all were as asked: that may not be durable yet.
                Some(tx) => index.waiters.push(tx),
                None => {}
            }
            let woken = index.ledger.woken(now);
            self.nudge(index);
            drop(guard);
            woken.into_iter().for_each(|w| w.wake());
            if done {
                return Ok((all, rx));
            }
            // Whoever waits for the lock would not get it from a thread that takes it again at once.
            std::thread::sleep(BETWEEN);
        }
    }

    fn control_one(&self, index: &mut Index, id: QueueId, action: Action, now: u64) -> bool {
        match index.ledger.control(id, action, now) {
            Some(Touched::Planned) => {
                index.mark(&self.identity, id);
                if index.ledger.get(id).is_some_and(|e| !e.leased && e.plan.has(Plan::HELD)) {
                    index.cool(id);
                }
                true
            }
            Some(Touched::Removed(entry)) => {
                index.forgotten(&self.identity, id, entry.place);
                true
            }
            None => false,
        }
    }

    /// How many messages are in each queue.
    pub fn counts(&self) -> Counts {
        self.lock().ledger.counts()
    }

    /// How many messages were copied out of nearly empty segments.
    pub fn forwarded(&self) -> u64 {
        self.lock().forwarded
    }

    /// Whether it takes mail.
    pub fn health(&self) -> Health {
        if self.lock().ledger.closed {
            return Health::Closed(closed());
        }
        let mut trouble = self.disk.lock(&self.trouble);
        let now = self.disk.now();
        if let Some((at, free)) = trouble.plenty
            && (at..at + GLANCE).contains(&now)
        {
            return Health::Open { free };
        }
        let space = match self.disk.space() {
            Ok(space) => space,
            Err(e) => return Health::Closed(StoreError::Failing(format!("the queue's free space: {e}"))),
        };
        let since = self.disk.now().checked_sub(trouble.last_failure);
        if trouble.failures >= 3 && since.is_some_and(|s| s < 60_000_000) {
            return Health::Closed(StoreError::Failing(trouble.error.clone()));
        }
        // What a segment's next step takes, and a little for logs.
        let step = self.segment_size / 4 + (1 << 20);
        if trouble.full.is_some() && space.free >= step {
            trouble.full = None;
        }
        // Without any limit set, a little is kept for logs and for those who are in the middle.
        let room = self.room.max(1 << 20);
        if trouble.full.is_some() || space.free < room || space.files < 16 {
            return Health::Closed(StoreError::Full);
        }
        let plenty =
            space.free >= room.saturating_add(PLENTY) && space.files >= 1_000 && trouble.failures == 0;
        trouble.plenty = plenty.then_some((now, space.free));
        Health::Open { free: space.free }
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Failing("the queue is closed".into())
}
