//! Verifying what nobody reads: the checksums of sealed segments, of their logs and of the bodies
//! that belong to them, a little at a time and each once a day, so that damage shows while there
//! may still be a backup. Nothing is done, and nobody wakes, while nothing waits in a sealed
//! segment.

use super::device::Disk;
use super::engine::{Engine, Index};
use super::format;
use super::read::Damage;
use super::recover::scan_log;
use super::state_log::log_path;
use crate::events::{LogDamaged, Unreadable};
use proto::QueueId;

/// So much is read at once, and then paused, microseconds: about 1 MiB a second.
const PIECE: u64 = 512 * 1024;
const PAUSE: u64 = 500_000;

/// Where it is.
#[derive(Default)]
pub(super) struct Scrub {
    segment: u32,
    ids: Vec<QueueId>,
}

impl<D: Disk> Engine<D> {
    /// The sealed segment whose turn is next, and when that is.
    fn unverified(&self, index: &Index) -> Option<(u64, u32)> {
        let now = self.disk.now();
        let sealed = index.segments.iter().filter(|(_, s)| s.sealed && s.live > 0);
        // A clock that was set back must not put it off.
        sealed.map(|(n, s)| (s.verified.min(now).saturating_add(self.scrub_every), *n)).min()
    }

    /// When [`Engine::scrub`] has something to do, if it is not in the middle of it.
    pub(super) fn scrub_due(&self, index: &Index) -> u64 {
        self.unverified(index).map_or(u64::MAX, |(at, _)| at)
    }

    /// Verifies a little if it is time. Gives when to go on, if it is in the middle of a segment.
    pub fn scrub(&self) -> Option<u64> {
        let mut work = self.disk.lock(&self.scrubbing);
        let now = self.disk.now();
        if work.ids.is_empty() {
            let (_, number) = {
                let mut index = self.lock();
                let next = self.unverified(&index).filter(|(at, _)| *at <= now)?;
                if let Some(segment) = index.segments.get_mut(&next.1) {
                    segment.verified = now;
                }
                next
            };
            work.segment = number;
            work.ids = self.verify_log(number);
        }
        let mut left = PIECE;
        while left > 0 {
            let Some(id) = work.ids.pop() else {
                work.ids = Vec::new();
                return None;
            };
            left = left.saturating_sub(self.verify(id, work.segment));
        }
        Some(now + PAUSE)
    }

    /// Reads a log; gives the messages it names. A damaged one is written anew from memory.
    fn verify_log(&self, number: u32) -> Vec<QueueId> {
        let path = log_path(number);
        let state = |index: &Index| index.segments.get(&number).map(|s| (s.log_base, s.log.written()));
        let Some((base, written)) = state(&self.lock()) else { return Vec::new() };
        let bytes = match self.read_whole(&path) {
            Ok(bytes) => bytes,
            Err(e) => {
                if state(&self.lock()).is_some() {
                    self.source.say(&Unreadable { file: path, error: e.to_string() });
                }
                return Vec::new();
            }
        };
        let log = scan_log(&bytes, &self.identity, number);
        if log.end < written {
            let mut index = self.lock();
            // Unless another file took its place while it was read.
            if state(&index).is_some_and(|(b, w)| b == base && w >= written) {
                index.broken.insert(number);
                self.nudge(&index);
                drop(index);
                self.source.say(&LogDamaged { file: path });
            }
        }
        let mut ids: Vec<QueueId> = log.found.into_keys().collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    /// Verifies one message; gives how much was read.
    fn verify(&self, id: QueueId, segment: u32) -> u64 {
        let place = {
            let index = self.lock();
            // What is under way is read anyway.
            let entry = index.ledger.get(id).filter(|e| !e.leased && e.place.segment == segment);
            match entry {
                Some(entry) if !index.live.contains_key(&id) => entry.place,
                _ => return 0,
            }
        };
        let (mut read, mut result) = (u64::from(place.length()), Ok(()));
        match self.checked(id, place) {
            Ok((header, record)) if header.flags & format::BIG != 0 => {
                let body = format::HEADER + header.envelope as usize;
                let told = record.get(body..).and_then(format::read_big_body);
                if let Some((length, crc)) = told {
                    read += length;
                    result = self.read_big(id, length, Some(crc)).map(drop);
                }
            }
            Ok(_) => {}
            Err(damage) => result = Err(damage),
        }
        match result {
            Ok(()) | Err(Damage::Gone) => {}
            Err(Damage::Unreadable(file, error)) => self.source.say_of(id, &Unreadable { file, error }),
            Err(Damage::Bad(why)) => {
                // Delivered, deleted or copied while it was read: then this says nothing.
                let still = self.lock().ledger.get(id).is_some_and(|e| !e.leased && e.place == place);
                if still {
                    self.set_aside(id, why);
                }
            }
        }
        read
    }
}
