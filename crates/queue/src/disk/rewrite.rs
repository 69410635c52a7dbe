//! Writing a state log anew with what memory knows: because it has grown, or because what is in its
//! file cannot be trusted. Messages come and go meanwhile: memory is looked at under the lock, the
//! file is written and synced without it, and what was said of messages since then follows in the
//! new log as it would have in the old one. Nor need others wait with what they write to the old log: it
//! is copied to the end of the new one before that takes its name. Costs what the segment holds, however
//! much is in others.

use super::device::{Disk, DiskFile, write_fully};
use super::engine::{Engine, Place};
use super::format::{self, Kind};
use super::keep::Pen;
use super::state_log::{Located, StateLog, log_path, put_payload};
use crate::encode;
use crate::events::StateLost;
use crate::ledger::Plan;
use proto::QueueId;
use std::io::{self, IoSlice};

/// So much is written with one call.
const PIECE: usize = 256 * 1024;

/// A message of the log, as it was when the log was looked at.
struct Known {
    id: QueueId,
    plan: Plan,
    place: Place,
    state: State,
    /// Where its states are in the new log.
    at: u32,
}

/// Where its states come from.
enum State {
    /// Nobody was tried yet.
    None,
    /// Memory.
    Live(Vec<u8>),
    /// The old log.
    Log(Located),
}

/// What a log is to hold.
struct Look {
    known: Vec<Known>,
    /// Where the old log ended; what follows there is kept as it is.
    end: u64,
    /// The last word about what is in the segment.
    seal: (Kind, QueueId, u32),
}

impl<D: Disk> Engine<D> {
    fn look_at_log(&self, number: u32) -> Option<Look> {
        let guard = self.lock();
        let index = &*guard;
        let segment = index.segments.get(&number)?;
        let mut known = Vec::with_capacity(segment.live as usize);
        let (first, last) = segment.names;
        for (id, entry) in index.ledger.within(first, last).filter(|(_, e)| e.place.segment == number) {
            let (plan, place) = (entry.plan, entry.place);
            let live = index.live.get(&id).filter(|l| l.changed || place.state != 0 || l.replaced);
            let state = match live {
                Some(live) => {
                    let mut state = Vec::new();
                    encode::state(&live.recipients, live.replaced.then_some(&*live.envelope), &mut state);
                    State::Live(state)
                }
                None if place.state != 0 => State::Log(segment.log.locate(place.state)),
                None => State::None,
            };
            known.push(Known { id, plan, place, state, at: 0 });
        }
        let kind = if segment.sealed { Kind::Seal } else { Kind::Known };
        Some(Look { known, end: segment.log.end(), seal: (kind, QueueId(0), segment.end as u32) })
    }

    /// Writes a log anew and puts it in the place of the old one. Only who has the pen may, and keeps it.
    pub(super) fn rewrite_log(&self, number: u32) -> io::Result<()> {
        let Some(mut look) = self.look_at_log(number) else { return Ok(()) };
        let (file, end) = self.write_anew(number, &mut look)?;
        self.replace_log(number, &file, look, end)?;
        self.sync_names()
    }

    /// The same, while others write to the old log: what they write is in the new one before that has its
    /// name.
    pub(super) fn rewrite_meanwhile<'a>(&'a self, number: u32, pen: &mut Pen<'a>) -> io::Result<()> {
        let Some(mut look) = self.look_at_log(number) else { return Ok(()) };
        let (file, end) = self.without_pen(pen, || self.write_anew(number, &mut look))?;
        self.replace_log(number, &file, look, end)?;
        self.without_pen(pen, || self.sync_names())
    }

    /// A log with what was seen, durable but for its name; gives where it ends.
    fn write_anew(&self, number: u32, look: &mut Look) -> io::Result<(D::File, u64)> {
        let path = log_path(number);
        let file = self.disk.create(&new_path(number))?;
        let mut out = Output { file: &file, bytes: format::log_head(number).to_vec(), written: 0 };
        // As they are in the segment, whose names are only almost in that order.
        let mut order: Vec<usize> = (0..look.known.len()).collect();
        order.sort_unstable_by_key(|i| look.known.get(*i).map(|k| k.place.offset));
        for i in order {
            let Some(known) = look.known.get_mut(i) else { continue };
            let (id, plan, place) = (known.id, known.plan, known.place);
            let record = |kind| (kind, id, place.offset);
            let spot = (number, out.written);
            format::write_state(&mut out.bytes, &self.identity, spot, record(Kind::Put), |o| {
                put_payload(o, &plan, &place);
            });
            let state = match std::mem::replace(&mut known.state, State::None) {
                State::None => None,
                State::Live(state) => Some(state),
                State::Log(located) => {
                    let state = located.read(|| self.file(&path), &self.identity, id)?;
                    if state.is_none() && self.whereabouts(id).is_some_and(|(p, _)| p == place) {
                        self.source.say_of(id, &StateLost { file: path.clone() });
                    }
                    state
                }
            };
            if let Some(state) = state {
                known.at = out.end() as u32;
                format::write_state(&mut out.bytes, &self.identity, spot, record(Kind::State), |o| {
                    o.extend_from_slice(&plan.write());
                    o.extend_from_slice(&state);
                });
            }
            out.flush(PIECE)?;
        }
        let spot = (number, out.written);
        format::write_state(&mut out.bytes, &self.identity, spot, look.seal, |_| {});
        out.flush(0)?;
        let end = out.end();
        file.sync()?;
        Ok((file, end))
    }

    /// The new log, durable up to `end`, counts from now on. Only who has the pen may.
    fn replace_log(&self, number: u32, file: &D::File, look: Look, end: u64) -> io::Result<()> {
        let path = log_path(number);
        // What was written to the old file meanwhile a killed process must not forget.
        let since = self.lock().segments.get(&number).map_or(Vec::new(), |s| s.log.written_since(look.end));
        let since = format::moved(since, &self.identity, (number, end));
        write_fully(file, &mut [IoSlice::new(&since)], end)?;
        let now = self.disk.now();
        let mut guard = self.lock();
        let index = &mut *guard;
        // With the lock: whoever finds a place in memory finds it in the file of that name.
        if let Err(e) = self.disk.rename(&new_path(number), &path) {
            // Who knows which file has the name now; until that is settled nothing counts as durable.
            index.broken.insert(number);
            return Err(e);
        }
        self.forget_file(&path);
        if let Some(segment) = index.segments.get_mut(&number) {
            let written = end + since.len() as u64;
            let pending = segment.log.since(look.end + since.len() as u64);
            let pending = format::moved(pending, &self.identity, (number, written));
            if pending.is_empty() {
                index.dirty.remove(&number);
            } else {
                index.dirty.insert(number);
                index.pressing = true;
            }
            index.unsynced.remove(&number);
            if !since.is_empty() {
                if index.unsynced.is_empty() {
                    index.unsynced_since = now;
                }
                index.unsynced.insert(number);
            }
            segment.log = StateLog::anew(number, end, since, pending);
            segment.log_base = end;
            let (first, last) = segment.names;
            let mut known = look.known.iter().peekable();
            for (id, place) in index.ledger.places(first, last).filter(|(_, p)| p.segment == number) {
                while known.next_if(|k| k.id < id).is_some() {}
                let before = known.next_if(|k| k.id == id);
                match u64::from(place.state).checked_sub(look.end) {
                    Some(later) => place.state = (end + later) as u32,
                    None => place.state = before.map_or(place.state, |k| k.at),
                }
            }
        }
        for (_, said) in index.bigs.get_mut(&number).into_iter().flatten() {
            *said = said.checked_sub(look.end).map_or(0, |later| end + later);
        }
        index.names = true;
        Ok(())
    }

    /// Makes the names of new logs durable. If that fails the next sync tries again.
    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_directory("seg")?;
        self.lock().names = false;
        Ok(())
    }
}

/// The name of a log until it is whole.
fn new_path(segment: u32) -> String {
    format!("{}.new", log_path(segment))
}

/// A file that is written from its start.
struct Output<'a, F> {
    file: &'a F,
    bytes: Vec<u8>,
    written: u64,
}

impl<F: DiskFile> Output<'_, F> {
    fn end(&self) -> u64 {
        self.written + self.bytes.len() as u64
    }

    /// Writes what is there if it is more than `most`.
    fn flush(&mut self, most: usize) -> io::Result<()> {
        if self.bytes.len() > most {
            write_fully(self.file, &mut [IoSlice::new(&self.bytes)], self.written)?;
            self.written += self.bytes.len() as u64;
            self.bytes.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::tests::{Place, gone, under_way};

    #[test]
    fn what_is_written_while_a_log_is_written_anew_survives_a_kill() {
        for written in [false, true] {
            let place = Place::new(&format!("anew-{written}"));
            let store = place.open_still();
            let ids = under_way(&store, 5);
            let number = store.whereabouts(ids[0]).unwrap().0.segment;
            gone(&store, ids[0], true);
            gone(&store, ids[1], false);
            let mut look = store.look_at_log(number).unwrap();
            let (file, end) = store.write_anew(number, &mut look).unwrap();
            gone(&store, ids[2], true);
            gone(&store, ids[3], false);
            store.replace_log(number, &file, look, end).unwrap();
            gone(&store, ids[4], written);
            drop(store);
            let left: Vec<_> = place.open_still().list(None, 9).unwrap().iter().map(|s| s.id).collect();
            // What was gathered and not yet written a kill may forget.
            assert_eq!(left, if written { &[] } else { &ids[3..] });
        }
    }
}
