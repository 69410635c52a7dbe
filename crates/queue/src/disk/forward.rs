//! Copying survivors forward: where there are too many segments, or holes cannot be punched, the
//! messages of the emptiest segments are written to the current one, and the old ones go.
//!
//! The order is what keeps mail. In one turn of the keeper, so that no other log is written
//! meanwhile: the copies become durable; then the new segment's log says where they are and in
//! which states; then, in memory, each message that did not change meanwhile belongs to the new
//! place; then the logs learn which place no longer counts, first the new one of those that did
//! change, then the old one of the others. A crash before the new log was durable leaves the
//! originals, for a copy that no log knows does not count; a crash after it leaves the copies, for
//! the later segment counts. Only then does the old segment go, as any in which nothing lives.
//! Should a log fail meanwhile, nothing else becomes durable before it has been put right.

use super::commit::Current;
use super::device::{Disk, DiskFile, write_fully};
use super::engine::{Engine, Index, Place, Segment};
use super::format::{self, BLOCK, HEADER, Header, Kind, STATE_HEADER};
use super::keep::Pen;
use super::read::Damage;
use super::recover::scan_log;
use super::state_log::{self, Located, log_path, segment_path};
use crate::events::{LogUnwritable, StateLost};
use crate::ledger::Plan;
use proto::QueueId;
use std::io::{self, IoSlice};

/// So much is copied at once, and then paused, microseconds: at most 4 MiB a second.
const PIECE: u64 = 1 << 20;
const MOST: usize = 256;
const PAUSE: u64 = 250_000;
/// What could not be copied out of a segment is left in peace so long.
const SPARE: u64 = 60_000_000;
/// After a failure.
const FAILED: u64 = 60_000_000;

/// What the keeper remembers of it from turn to turn.
#[derive(Default)]
pub(super) struct Mover {
    victim: u32,
    ids: Vec<QueueId>,
    /// Logs to be written anew, in this order, before anything else becomes durable.
    pub unsettled: Vec<u32>,
}

/// A message on its way.
struct Copy {
    id: QueueId,
    plan: Plan,
    from: Place,
    to: Place,
    bytes: Vec<u8>,
    state: Option<Vec<u8>>,
}

impl Index {
    /// Whether a message still is where and as it was.
    fn same(&self, copy: &Copy) -> bool {
        let entry = self.ledger.get(copy.id);
        entry.is_some_and(|e| !e.leased && e.place == copy.from && e.plan == copy.plan)
    }
}

impl<D: Disk> Engine<D> {
    /// Puts logs in order that a failed turn left; whether that worked.
    pub(super) fn put_right<'a>(&'a self, mover: &mut Mover, pen: &mut Pen<'a>) -> bool {
        let mut done = Vec::new();
        while let Some(log) = mover.unsettled.first().copied() {
            if let Err(e) = self.rewrite_log(log) {
                self.source.say(&LogUnwritable { file: log_path(log), error: e.to_string() });
                self.lock().broken.insert(log);
                return false;
            }
            self.lock().broken.remove(&log);
            mover.unsettled.remove(0);
            done.push(log);
        }
        done.into_iter().for_each(|log| self.reclaim(log, pen));
        true
    }

    /// Copies some survivors if it is time, and says when the next turn is.
    pub(super) fn forward<'a>(&'a self, mover: &mut Mover, pen: &mut Pen<'a>, now: u64) {
        {
            let index = self.lock();
            if !index.forwards || index.ledger.closed || index.forward_at > now {
                return;
            }
        }
        let next = match self.forward_some(mover, pen, now) {
            Ok(next) => next,
            Err(()) => {
                mover.ids.clear();
                now + FAILED
            }
        };
        let mut index = self.lock();
        index.forwarded_at = now;
        index.forward_at = next;
    }

    /// The segment whose survivors are worth copying, or when to look again.
    fn victim(&self, now: u64) -> Result<u32, u64> {
        let mut guard = self.lock();
        let index = &mut *guard;
        let crowded = index.segments.len() > index.crowd;
        let worth = |s: &Segment| {
            let dead = s.end.saturating_sub(BLOCK + s.live_bytes);
            // Two halves make one.
            let merges = crowded && s.live_bytes <= self.segment_size / 2;
            let frees = !index.holes && s.live_bytes < s.end / 4 && dead >= self.segment_size / 64;
            merges || frees
        };
        let worthy = index.segments.iter_mut().filter(|(_, s)| s.sealed && s.live > 0 && worth(s));
        let (mut best, mut later) = (None, u64::MAX);
        for (number, segment) in worthy {
            // A clock that was set back spares nothing for longer.
            segment.spared = segment.spared.min(now + SPARE);
            if segment.spared > now {
                later = later.min(segment.spared);
            } else if index.dirty.contains(number) {
                // Its log does not name all of them yet.
                later = later.min(now + PAUSE);
            } else if best.is_none_or(|(bytes, _)| segment.live_bytes < bytes) {
                best = Some((segment.live_bytes, *number));
            }
        }
        let (_, number) = best.ok_or(later)?;
        if let Some(segment) = index.segments.get_mut(&number) {
            segment.spared = now + SPARE;
        }
        Ok(number)
    }

    fn forward_some<'a>(&'a self, mover: &mut Mover, pen: &mut Pen<'a>, now: u64) -> Result<u64, ()> {
        if mover.ids.is_empty() {
            mover.victim = match self.victim(now) {
                Ok(number) => number,
                Err(later) => return Ok(later),
            };
            let bytes = self.read_whole(&log_path(mover.victim)).map_err(drop)?;
            let log = scan_log(&bytes, &self.identity, mover.victim);
            mover.ids = log.found.into_keys().collect();
            // From the end in order of their names, so that they stay in order.
            mover.ids.sort_unstable_by(|a, b| b.cmp(a));
        }
        let copies = self.without_pen(pen, || self.gather(mover))?;
        // What changes from here on must not be in a log before the copies are.
        if !copies.is_empty() {
            self.copy(mover, pen, copies)?;
        }
        Ok(now + PAUSE)
    }

    /// Reads what is copied next: records and states, verified.
    fn gather(&self, mover: &mut Mover) -> Result<Vec<Copy>, ()> {
        let (mut copies, mut bytes) = (Vec::new(), 0);
        while bytes < PIECE && copies.len() < MOST {
            let Some(id) = mover.ids.pop() else { break };
            let Some((plan, from, located)) = self.survivor(id, mover.victim) else { continue };
            let record = match self.checked(id, from) {
                Ok((_, record)) => record,
                Err(Damage::Bad(why)) => {
                    self.set_aside(id, why);
                    continue;
                }
                Err(Damage::Gone) => continue,
                Err(Damage::Unreadable(..)) => return Err(()),
            };
            let path = log_path(from.segment);
            let state = match located {
                None => None,
                Some(located) => {
                    match located.read(|| self.file(&path), &self.identity, id).map_err(drop)? {
                        Some(state) => Some(state),
                        None => {
                            // It stays where it is, which says so whenever it is due.
                            self.source.say_of(id, &StateLost { file: path });
                            continue;
                        }
                    }
                }
            };
            bytes += record.len() as u64;
            copies.push(Copy { id, plan, from, to: from, bytes: record, state });
        }
        Ok(copies)
    }

    /// A message of the segment that nobody is delivering.
    fn survivor(&self, id: QueueId, victim: u32) -> Option<(Plan, Place, Option<Located>)> {
        let index = self.lock();
        let entry = index.ledger.get(id).filter(|e| !e.leased && e.place.segment == victim)?;
        let segment = index.segments.get(&victim)?;
        let state = entry.place.state;
        Some((entry.plan, entry.place, (state != 0).then(|| segment.log.locate(state))))
    }

    fn copy<'a>(&'a self, mover: &mut Mover, pen: &mut Pen<'a>, mut copies: Vec<Copy>) -> Result<(), ()> {
        let old = mover.victim;
        self.reserve(old, (STATE_HEADER * copies.len()) as u64)?;
        let end = self.write_copies(mover, &mut copies)?;
        let new = copies.first().map_or(0, |c| c.to.segment);
        {
            let mut index = self.lock();
            copies.retain(|c| index.same(c));
            let segment = index.segments.get_mut(&new).ok_or(())?;
            for copy in &mut copies {
                let (plan, to, state) = (&copy.plan, &copy.to, copy.state.as_deref());
                copy.to.state =
                    state_log::append_put(&mut segment.log, &self.identity, copy.id, (plan, to), state);
            }
            // Also of those that were taken out just now.
            segment.log.append(&self.identity, (Kind::Known, QueueId(0), end), |_| {});
            index.dirty.insert(new);
        }
        if !self.written(new) {
            mover.unsettled.push(new);
            return Err(());
        }
        let mut changed = false;
        {
            let mut guard = self.lock();
            let index = &mut *guard;
            for copy in &copies {
                let same = index.same(copy);
                let dead = if same { copy.from } else { copy.to };
                if let Some(segment) = index.segments.get_mut(&dead.segment) {
                    segment.log.append(&self.identity, (Kind::Done, copy.id, dead.offset), |_| {});
                    index.dirty.insert(dead.segment);
                }
                changed |= !same;
                if same {
                    index.relocate(copy);
                }
            }
        }
        for log in changed.then_some(new).into_iter().chain([old]) {
            if !self.written(log) {
                mover.unsettled.push(log);
            }
            if !self.put_right(mover, pen) {
                // What follows it waits with it.
                if log != old {
                    mover.unsettled.push(old);
                }
                return Err(());
            }
        }
        self.reclaim(old, pen);
        Ok(())
    }

    /// Makes the copies durable in the current segment; gives where they end.
    fn write_copies(&self, mover: &mut Mover, copies: &mut [Copy]) -> Result<u32, ()> {
        // Not the last space, and without an alarm about it.
        let free = self.disk.space().map_err(drop)?.free;
        if free < self.segment_size / 4 + (2 << 20) || self.disk.lock(&self.trouble).full.is_some() {
            return Err(());
        }
        let bytes: u64 = copies.iter().map(|c| c.bytes.len() as u64).sum();
        let total = format::round_up(bytes, BLOCK);
        let mut writer = self.disk.lock(&self.writer);
        let current = self.room_for(&mut writer, total).map_err(drop)?;
        let logged: usize = copies
            .iter()
            .map(|c| 2 * STATE_HEADER + format::PUT + c.state.as_ref().map_or(0, Vec::len))
            .sum();
        let (number, start) = (current.number, current.end);
        self.reserve(number, (logged + STATE_HEADER) as u64)?;
        let mut at = start;
        for copy in copies.iter_mut() {
            copy.to = Place::new(number, at as u32, copy.from.length(), copy.from.big());
            let header = Header::read(&copy.bytes, &self.identity).ok_or(())?;
            let header = Header { segment: number, offset: at as u32, ..header }.write(&self.identity);
            copy.bytes.get_mut(..HEADER).ok_or(())?.copy_from_slice(&header);
            at += copy.bytes.len() as u64;
        }
        let padding = vec![0; (total - bytes) as usize];
        let mut pieces: Vec<IoSlice<'_>> = copies.iter().map(|c| IoSlice::new(&c.bytes)).collect();
        pieces.push(IoSlice::new(&padding));
        let end = start + total;
        match write_fully(current.file.as_ref(), &mut pieces, start).and_then(|()| current.file.sync()) {
            Ok(()) => {
                let current: &mut Current<D::File> = current;
                current.end = end;
                if let Some(segment) = self.lock().segments.get_mut(&number) {
                    segment.end = end;
                }
                self.prepare(&mut writer);
                Ok(end as u32)
            }
            Err(e) => {
                // Half a batch must not be found by a start after the originals are gone: the
                // seal says that nothing counts there.
                self.seal(&mut writer);
                drop(writer);
                mover.unsettled.push(number);
                self.failed(&segment_path(number), &e);
                Err(())
            }
        }
    }

    /// Takes space for what will be said in a log, so that a full disk stops this before it
    /// begins.
    fn reserve(&self, log: u32, bytes: u64) -> Result<(), ()> {
        let file = self.file(&log_path(log)).map_err(drop)?;
        let mut index = self.lock();
        let segment = index.segments.get_mut(&log).ok_or(())?;
        segment.log.reserve(file.as_ref(), bytes).map_err(drop)
    }

    /// Writes and syncs one log; whether that worked.
    fn written(&self, log: u32) -> bool {
        let path = log_path(log);
        let sync = || -> io::Result<()> { self.file(&path)?.sync() };
        // What is gathered from here on makes it dirty again.
        self.lock().dirty.remove(&log);
        if !self.flush_log(log, self.disk.now()) {
            return false;
        }
        match sync() {
            Ok(()) => {
                let mut index = self.lock();
                index.unsynced.remove(&log);
                if let Some(segment) = index.segments.get_mut(&log) {
                    segment.log.synced(u64::MAX);
                }
                true
            }
            Err(e) => {
                self.source.say(&LogUnwritable { file: path, error: e.to_string() });
                false
            }
        }
    }
}

impl Index {
    /// The copy is the message from now on.
    fn relocate(&mut self, copy: &Copy) {
        let length = u64::from(copy.from.length());
        if let Some(old) = self.segments.get_mut(&copy.from.segment) {
            old.live = old.live.saturating_sub(1);
            old.live_bytes = old.live_bytes.saturating_sub(length);
        }
        if let Some(new) = self.segments.get_mut(&copy.to.segment) {
            new.take_in(copy.id, &copy.to);
        }
        self.ledger.change(copy.id, |e| e.place = copy.to);
        self.forwarded += 1;
    }
}
