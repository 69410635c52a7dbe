//! The keeper: syncs state logs once a second, and then gives space back. Nothing is unlinked or
//! punched before the log that says the message is gone is durable, so that recovery never misses
//! what it has been told of.
//!
//! Whoever writes to a log has the pen. The noter takes it for each turn, a millisecond after the
//! last one; the keeper has it all the time but while it syncs, removes, punches (a hundred holes
//! take ext4 a tenth of a second) or writes a log anew, which may take long: a record that was
//! gathered meanwhile is in the file when the process is killed. So what a log's file says may be
//! newer than what is durable of it, and `settled` tells whether it is.

use super::device::{Disk, DiskFile};
use super::engine::{Engine, Index};
use super::format::{self, BLOCK};
use super::read::big_path;
use super::recover::scan_log;
use super::state_log::{log_path, segment_path};
use crate::events::{LogUnwritable, NotFreed};
use crate::oneshot::oneshot;
use proto::QueueId;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};

/// After a failure the keeper waits this long, microseconds.
pub(super) const PATIENCE: u64 = 5_000_000;

/// The right to write to logs; nothing while others have it.
pub(super) type Pen<'a> = Option<MutexGuard<'a, ()>>;

impl<D: Disk> Engine<D> {
    /// Does something that takes long while others may write to logs.
    pub(super) fn without_pen<'a, T>(&'a self, pen: &mut Pen<'a>, what: impl FnOnce() -> T) -> T {
        *pen = None;
        let result = what();
        *pen = Some(self.disk.lock(&self.pen));
        result
    }

    /// Writes what waits to logs, if it is time; whether a process that is killed now leaves all of it
    /// there.
    pub fn note(&self) -> bool {
        let _pen = self.disk.lock(&self.pen);
        let now = self.disk.now();
        let dirty = {
            let mut index = self.lock();
            if index.noted(now) > now {
                return false;
            }
            index.last_flush = now;
            index.pressing = false;
            std::mem::take(&mut index.dirty)
        };
        let mut well = true;
        // A delivery that is not repeated is in the log.
        events::flush();
        for segment in dirty {
            well &= self.flush_log(segment, now);
        }
        let mut index = self.lock();
        if !well {
            index.retry_at = now + PATIENCE;
        }
        // The keeper syncs them in time.
        self.nudge(&index);
        well && index.broken.is_empty()
    }

    /// Does what is due: writes logs, syncs them when it is time (or `sync`), frees space, wakes
    /// whoever waits for messages. Gives the moment of the next call.
    pub fn tend(&self, sync: bool) -> u64 {
        let mut mover = self.disk.lock(&self.tending);
        let mut pen = Some(self.disk.lock(&self.pen));
        let now = self.disk.now();
        let right = self.put_right(&mut mover, &mut pen);
        self.lock().muddled = !right;
        if !right {
            // Until then nothing else may become durable.
            let mut index = self.lock();
            let waiters = std::mem::take(&mut index.waiters);
            let woken = index.ledger.woken(now);
            index.retry_at = now + PATIENCE;
            let next = index.kept(now);
            drop(index);
            waiters.into_iter().for_each(|w| w.send(false));
            woken.into_iter().for_each(|w| w.wake());
            return next;
        }
        let (dirty, broken, waiters, woken) = {
            let mut index = self.lock();
            let waiters = std::mem::take(&mut index.waiters);
            let woken = index.ledger.woken(now);
            let patient = now >= index.retry_at.min(now + PATIENCE) || sync || !waiters.is_empty();
            let (dirty, broken) = if patient {
                index.pressing = false;
                (std::mem::take(&mut index.dirty), std::mem::take(&mut index.broken))
            } else {
                Default::default()
            };
            index.last_flush = now;
            (dirty, broken, waiters, woken)
        };
        woken.into_iter().for_each(|w| w.wake());
        let mut well = true;
        // A delivery that is not repeated is in the log.
        if !dirty.is_empty() {
            events::flush();
        }
        for segment in dirty {
            well &= self.flush_log(segment, now);
        }
        for segment in broken {
            well &= self.mend_log(segment, &mut pen);
        }
        let due = {
            let mut index = self.lock();
            // A clock that was set back must not keep logs waiting.
            index.unsynced_since = index.unsynced_since.min(now);
            index.retry_at = index.retry_at.min(now + PATIENCE);
            !index.unsynced.is_empty() && now >= (index.unsynced_since + 1_000_000).max(index.retry_at)
        };
        if sync || due || !waiters.is_empty() {
            well &= self.sync_logs(&mut pen);
        }
        if well {
            self.forward(&mut mover, &mut pen, now);
        }
        let mut index = self.lock();
        index.muddled = !mover.unsettled.is_empty();
        index.retry_at = if well { 0 } else { now + PATIENCE };
        let next = index.kept(now).min(index.noted(now));
        // Who gathered records since the logs were written saw nobody sleep.
        self.nudge(&index);
        drop(index);
        waiters.into_iter().for_each(|w| w.send(well));
        next
    }

    /// Makes durable whatever became of messages until now; whether that worked.
    pub fn sync(&self) -> bool {
        let (tx, mut rx) = oneshot();
        self.lock().waiters.push(tx);
        self.tend(true);
        let mut context = Context::from_waker(Waker::noop());
        matches!(Pin::new(&mut rx).poll(&mut context), Poll::Ready(Some(true)))
    }

    pub(super) fn flush_log(&self, segment: u32, now: u64) -> bool {
        let begun = self.lock().segments.get_mut(&segment).and_then(|s| s.log.begin_flush());
        let Some(mut flush) = begun else { return true };
        let path = log_path(segment);
        let result = self.file(&path).and_then(|file| flush.write(file.as_ref()));
        let mut guard = self.lock();
        let index = &mut *guard;
        if let Some(s) = index.segments.get_mut(&segment) {
            s.log.end_flush(flush, result.is_ok());
        }
        match result {
            Ok(()) => {
                if index.unsynced.is_empty() {
                    index.unsynced_since = now;
                }
                index.unsynced.insert(segment);
                true
            }
            Err(e) => {
                index.dirty.insert(segment);
                drop(guard);
                self.source.say(&LogUnwritable { file: path, error: e.to_string() });
                false
            }
        }
    }

    fn sync_logs<'a>(&'a self, pen: &mut Pen<'a>) -> bool {
        let (unsynced, names) = {
            let mut index = self.lock();
            (std::mem::take(&mut index.unsynced), std::mem::take(&mut index.names))
        };
        if names && self.without_pen(pen, || self.disk.sync_directory("seg")).is_err() {
            let mut index = self.lock();
            index.names = true;
            index.unsynced.extend(unsynced);
            return false;
        }
        let mut well = true;
        for segment in unsynced {
            let path = log_path(segment);
            // Those that the file says are gone now; others may be said to be gone meanwhile.
            let (bigs, written) = {
                let mut index = self.lock();
                let written = index.segments.get(&segment).map_or(0, |s| s.log.written());
                (index.bigs_gone(segment), written)
            };
            match self.without_pen(pen, || self.file(&path).and_then(|file| file.sync())) {
                Ok(()) => {
                    if let Some(s) = self.lock().segments.get_mut(&segment) {
                        s.log.synced(written);
                    }
                    if !bigs.is_empty() {
                        self.without_pen(pen, || self.free_bigs(&bigs));
                    }
                    self.end_long_log(segment, pen);
                    self.reclaim(segment, pen);
                }
                Err(e) => {
                    // The kernel may have dropped what it could not write; see `commit`.
                    self.source.say(&LogUnwritable { file: path, error: e.to_string() });
                    // A log that is written anew says it in other words.
                    let bigs = bigs.into_iter().map(|id| (id, 0));
                    self.lock().bigs.entry(segment).or_default().extend(bigs);
                    well &= self.mend_log(segment, pen);
                }
            }
        }
        // Logs that others made dirty since this call began say nothing about it: what was dirty
        // before was flushed by `tend`, which knows of every flush that failed.
        well
    }

    fn mend_log<'a>(&'a self, segment: u32, pen: &mut Pen<'a>) -> bool {
        match self.rewrite_meanwhile(segment, pen) {
            Ok(()) => {
                self.reclaim(segment, pen);
                true
            }
            Err(e) => {
                self.source.say(&LogUnwritable { file: log_path(segment), error: e.to_string() });
                self.lock().broken.insert(segment);
                false
            }
        }
    }

    /// Only a sealed segment's log is written anew. Where little mail comes and much of it is tried again
    /// and again, the log of the one that is written to would grow for as long as that takes to fill up.
    fn end_long_log<'a>(&'a self, number: u32, pen: &mut Pen<'a>) {
        let long = |s: &super::engine::Segment| !s.sealed && s.log.end() > self.segment_size / 4;
        if !self.lock().segments.get(&number).is_some_and(long) {
            return;
        }
        self.without_pen(pen, || {
            let mut writer = self.disk.lock(&self.writer);
            if writer.current.as_ref().is_none_or(|c| c.number != number) {
                return;
            }
            if writer.next.is_none() {
                // New mail must not wait for space that there is none of.
                let Ok(next) = self.make_segment(&mut writer) else { return };
                writer.next = Some(next);
            }
            self.seal(&mut writer);
        });
    }

    /// After a segment's log was synced: gives back what it says is gone.
    pub(super) fn reclaim<'a>(&'a self, number: u32, pen: &mut Pen<'a>) {
        let (bigs, dead) = {
            let mut guard = self.lock();
            let index = &mut *guard;
            let gone = |segment: &super::engine::Segment| segment.sealed && segment.live == 0;
            let settled = index.settled(number);
            let dead = settled && index.segments.get(&number).is_some_and(gone);
            let bigs = if index.written_down(number) { index.bigs_gone(number) } else { Vec::new() };
            if dead {
                index.segments.remove(&number);
                index.unsynced.remove(&number);
                index.broken.remove(&number);
            }
            (bigs, dead)
        };
        self.lock().look();
        if dead || !bigs.is_empty() {
            self.without_pen(pen, || {
                self.free_bigs(&bigs);
                if dead {
                    self.remove_segment(number);
                }
            });
        }
        let (punch, compact) = {
            let index = self.lock();
            if index.broken.contains(&number) {
                return;
            }
            let Some(s) = index.segments.get(&number).filter(|s| s.sealed) else { return };
            let whole = s.end.saturating_sub(BLOCK);
            let punch = s.live_bytes < whole / 4 * 3 && s.live_bytes < s.punched / 4 * 3;
            // Shorter ones are not worth it: 1 MiB for a segment of usual size.
            let worth = (self.segment_size / 64).max(s.log_base.saturating_mul(4));
            (punch, s.log.end() > worth)
        };
        if compact && let Err(e) = self.rewrite_meanwhile(number, pen) {
            self.source.say(&NotFreed { file: log_path(number), error: e.to_string() });
        }
        // What the file says must be durable; a log written anew is.
        let durable = {
            let index = self.lock();
            let written = index.segments.get(&number).map(|s| s.log.written());
            written.filter(|_| punch && index.written_down(number))
        };
        if let Some(durable) = durable {
            self.without_pen(pen, || self.punch(number, durable));
        }
    }

    /// Removes the files of a dead segment: first the records, durably, then the log that says
    /// they are gone. The other order could bring delivered mail back.
    pub(super) fn remove_segment(&self, number: u32) {
        self.forget_file(&segment_path(number));
        self.forget_file(&log_path(number));
        if self.free(&segment_path(number)) && self.disk.sync_directory("seg").is_ok() {
            self.free(&log_path(number));
        }
    }

    fn free_bigs(&self, ids: &[QueueId]) {
        for id in ids {
            self.free(&big_path(*id));
        }
    }

    fn free(&self, path: &str) -> bool {
        match self.disk.unlink(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                self.source.say(&NotFreed { file: path.into(), error: e.to_string() });
                false
            }
            _ => true,
        }
    }

    /// Gives back the blocks of a sealed segment in which nothing lives. Its log is durable up to there,
    /// and what is written behind that makes nothing live again.
    fn punch(&self, number: u32, durable: u64) {
        let result = self.read_whole(&log_path(number)).and_then(|mut bytes| {
            bytes.truncate(usize::try_from(durable).unwrap_or(usize::MAX));
            let log = scan_log(&bytes, &self.identity, number);
            let mut live: BTreeSet<(u64, u64)> = BTreeSet::new();
            let mut bytes_left = 0;
            for found in log.found.values() {
                live.insert((u64::from(found.offset), u64::from(found.length)));
                bytes_left += u64::from(found.length);
            }
            let Some(sealed) = log.sealed else { return Ok(()) };
            let file = self.file(&segment_path(number))?;
            let mut from = BLOCK;
            for (at, length) in live.into_iter().chain([(sealed, 0)]) {
                let to = at / BLOCK * BLOCK;
                if to > from {
                    file.punch(from, to - from)?;
                }
                from = format::round_up(at + length, BLOCK).max(from);
            }
            if let Some(s) = self.lock().segments.get_mut(&number) {
                s.punched = bytes_left;
            }
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(e) => {
                // Not tried again before much more of it is gone.
                let mut index: std::sync::MutexGuard<'_, Index> = self.lock();
                if let Some(s) = index.segments.get_mut(&number) {
                    s.punched = s.live_bytes;
                }
                let holes = e.kind() != io::ErrorKind::Unsupported;
                if !holes {
                    index.holes = false;
                    index.look();
                }
                drop(index);
                if holes {
                    self.source.say(&NotFreed { file: segment_path(number), error: e.to_string() });
                }
            }
        }
    }
}

impl Index {
    /// Everything that a log is to say is durable.
    fn settled(&self, number: u32) -> bool {
        !self.dirty.contains(&number) && self.written_down(number)
    }

    /// Everything that a log's file says is durable, and so is the file's name. Of one that is to be
    /// written anew nothing is sure.
    fn written_down(&self, number: u32) -> bool {
        !self.unsynced.contains(&number) && !self.broken.contains(&number) && !self.names
    }

    /// Takes the bodies of which a log's file says that they are gone.
    fn bigs_gone(&mut self, number: u32) -> Vec<QueueId> {
        if self.broken.contains(&number) {
            return Vec::new();
        }
        let written = self.segments.get(&number).map_or(u64::MAX, |s| s.log.written());
        let Some(all) = self.bigs.remove(&number) else { return Vec::new() };
        let (gone, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, said)| *said <= written);
        if !later.is_empty() {
            self.bigs.insert(number, later);
        }
        gone.into_iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::tests::{Place, gone, under_way};

    #[test]
    fn holes_are_punched_by_what_is_durable_of_a_log() {
        let place = Place::new("punch");
        let store = place.open_still();
        let ids = under_way(&store, 3);
        gone(&store, ids[0], false);
        let at = store.whereabouts(ids[1]).unwrap().0;
        store.seal(&mut store.writer.lock().unwrap());
        assert!(store.sync());
        let durable = store.lock().segments[&at.segment].log.written();
        gone(&store, ids[1], true);
        // A crash may take back what the file says now.
        assert!(store.lock().unsynced.contains(&at.segment));
        store.punch(at.segment, durable);
        assert!(store.checked(ids[1], at).is_ok());
        assert!(store.sync());
        let durable = store.lock().segments[&at.segment].log.written();
        store.punch(at.segment, durable);
        assert!(store.checked(ids[1], at).is_err() || !store.lock().holes);
    }
}
