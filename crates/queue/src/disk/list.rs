//! Listing: a page of messages, most of which are on disk. What lies close together is read
//! together, so that a listing of a million costs hardly more system calls than it reads blocks; the
//! lock is taken once for a page, and never while something is read.

use super::device::{Disk, DiskFile, read_fully};
use super::engine::{Engine, Place};
use super::format::{self, HEADER};
use super::read::{Damage, Loaded};
use super::state_log::{Located, log_path, segment_path};
use crate::encode;
use crate::events::Unreadable;
use crate::ledger::{self, Entry, Plan};
use crate::state::RecipientState;
use crate::store::{StoreError, Summary};
use proto::QueueId;
use proto::envelope::Envelope;
use std::io;
use std::sync::Arc;

/// A page ends when so many recipients are in it: what it takes in memory is bounded, however many
/// a message has.
const RECIPIENTS: usize = 10_000;
/// So many entries in memory are looked at while others wait.
const LOOK: usize = 500;
/// Records so close to the last one are read along with those that follow them.
const NEAR: u64 = 4096;
const WINDOW: usize = 64 * 1024;
/// What is read of a record or state that is alone: few are longer.
const ALONE: usize = 1024;

/// A message of a page.
enum Line {
    /// In memory.
    Ready(Summary),
    /// On disk.
    Cold(QueueId, Entry<Place>, Option<Located>),
}

/// A piece of a file that was read.
struct Window<F> {
    file: Option<(u32, Arc<F>)>,
    bytes: Vec<u8>,
    at: u64,
    /// Where the last piece that was asked for ended.
    last: u64,
}

impl<F: DiskFile> Window<F> {
    fn new() -> Window<F> {
        Window { file: None, bytes: Vec::new(), at: 0, last: u64::MAX }
    }

    /// What is in a segment's file at `at`: at least `need` bytes, unless the file ends before.
    fn read(
        &mut self,
        (segment, at, need): (u32, u64, usize),
        open: impl FnOnce() -> io::Result<Arc<F>>,
    ) -> io::Result<&[u8]> {
        if self.file.as_ref().is_none_or(|(s, _)| *s != segment) {
            self.file = Some((segment, open()?));
            self.bytes.clear();
            self.last = u64::MAX;
        }
        let Some((_, file)) = &self.file else { return Ok(&[]) };
        let held = self.at + self.bytes.len() as u64;
        if at < self.at || at + need as u64 > held {
            let near = at.checked_sub(self.last).is_some_and(|gap| gap <= NEAR);
            let size = if near { WINDOW } else { ALONE };
            self.bytes.resize(size.max(need), 0);
            let n = read_fully(file.as_ref(), &mut self.bytes, at)?;
            self.bytes.truncate(n);
            self.at = at;
        }
        self.last = at + need as u64;
        Ok(self.bytes.get((at - self.at) as usize..).unwrap_or_default())
    }
}

/// What a page is read with.
struct Reader<F> {
    records: Window<F>,
    states: Window<F>,
}

impl<D: Disk> Engine<D> {
    /// One page of the listing; see [`crate::Store::list`].
    pub fn list(&self, after: Option<QueueId>, n: usize) -> Result<Vec<Summary>, StoreError> {
        let mut after = after;
        let mut reader = Reader { records: Window::new(), states: Window::new() };
        loop {
            let lines = self.page(after, n)?;
            if lines.is_empty() {
                return Ok(Vec::new());
            }
            let (mut found, mut recipients) = (Vec::with_capacity(lines.len()), 0);
            for line in lines {
                let (id, summary) = match line {
                    Line::Ready(summary) => (summary.id, Some(summary)),
                    Line::Cold(id, entry, located) => (id, self.cold(&mut reader, id, entry, located)),
                };
                after = Some(id);
                recipients += summary.as_ref().map_or(0, |s| s.recipients.len());
                found.extend(summary);
                if recipients >= RECIPIENTS {
                    break;
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Deferred messages that may have recipients in a domain; see [`crate::Store::deferred_for`].
    pub fn deferred_for(
        &self,
        domain: &str,
        after: Option<QueueId>,
    ) -> Result<(Vec<Summary>, Option<QueueId>), StoreError> {
        let (ids, last) = self.open_index()?.ledger.sited(after, ledger::site(domain), LOOK);
        Ok((ids.into_iter().filter_map(|id| self.alone(id)).collect(), last))
    }

    fn page(&self, after: Option<QueueId>, n: usize) -> Result<Vec<Line>, StoreError> {
        let index = self.open_index()?;
        let line = |id: QueueId| {
            let entry = index.ledger.get(id)?;
            if let Some(live) = index.live.get(&id) {
                let (envelope, recipients) = (live.envelope.clone(), live.recipients.clone());
                return Some(Line::Ready(summary(entry, id, envelope, recipients)));
            }
            let place = entry.place;
            let segment = index.segments.get(&place.segment)?;
            let located = (place.state != 0).then(|| segment.log.locate(place.state));
            Some(Line::Cold(id, entry.clone(), located))
        };
        Ok(index.ledger.page(after, n).into_iter().filter_map(line).collect())
    }

    /// Reads a message together with its neighbours; whatever is odd is looked at alone.
    fn cold(
        &self,
        reader: &mut Reader<D::File>,
        id: QueueId,
        entry: Entry<Place>,
        located: Option<Located>,
    ) -> Option<Summary> {
        match self.read_cold(reader, id, entry.place, located) {
            Some(Loaded { envelope, recipients, .. }) => {
                Some(summary(&entry, id, Arc::new(envelope), recipients))
            }
            None => self.alone(id),
        }
    }

    fn read_cold(
        &self,
        reader: &mut Reader<D::File>,
        id: QueueId,
        place: Place,
        located: Option<Located>,
    ) -> Option<Loaded> {
        let open = || self.file(&segment_path(place.segment));
        let (at, segment) = (u64::from(place.offset), place.segment);
        let length = place.length() as usize;
        let bytes = reader.records.read((segment, at, length.min(ALONE)), open).ok()?;
        let header = self.header(id, place, bytes).ok()?;
        let end = HEADER + header.envelope as usize;
        let bytes = match bytes.get(HEADER..end) {
            Some(bytes) => bytes,
            None => reader.records.read((segment, at, end.min(length)), open).ok()?.get(HEADER..end)?,
        };
        if crc32fast::hash(bytes) != header.envelope_crc {
            return None;
        }
        let envelope = encode::read_envelope(bytes)?;
        let state = match located {
            None => Default::default(),
            Some(located) => {
                let bytes = match &located.buffered {
                    Some(bytes) => bytes,
                    None => {
                        let open = || self.file(&log_path(located.segment));
                        reader.states.read((located.segment, located.at, 1), open).ok()?
                    }
                };
                match format::read_state(bytes, &self.identity, (located.segment, located.at)) {
                    Ok(record) if record.id == id => encode::read_state(record.state())?,
                    Ok(_) => return None,
                    // It may only be longer than what was read.
                    Err(_) => {
                        let loaded = self.load(id).ok()?;
                        return Some(loaded);
                    }
                }
            }
        };
        Some(Loaded::of(envelope, state))
    }

    /// One message.
    pub fn get(&self, id: QueueId) -> Result<Option<Summary>, StoreError> {
        drop(self.open_index()?);
        Ok(self.alone(id))
    }

    fn alone(&self, id: QueueId) -> Option<Summary> {
        let index = self.lock();
        if let (Some(live), Some(entry)) = (index.live.get(&id), index.ledger.get(id)) {
            return Some(summary(entry, id, live.envelope.clone(), live.recipients.clone()));
        }
        drop(index);
        match self.load(id) {
            Ok(Loaded { envelope, recipients, .. }) => {
                let index = self.lock();
                index.ledger.get(id).map(|entry| summary(entry, id, Arc::new(envelope), recipients))
            }
            Err(Damage::Gone) => None,
            Err(Damage::Unreadable(file, error)) => {
                self.source.say_of(id, &Unreadable { file, error });
                None
            }
            Err(Damage::Bad(why)) => {
                self.set_aside(id, why);
                None
            }
        }
    }
}

fn summary(
    entry: &Entry<Place>,
    id: QueueId,
    envelope: Arc<Envelope>,
    recipients: Vec<RecipientState>,
) -> Summary {
    Summary {
        id,
        queue: entry.queue(),
        expired: entry.plan.has(Plan::EXPIRED),
        envelope,
        recipients,
        next_attempt: entry.plan.next,
        tries: entry.plan.tries,
        delay_warned: entry.plan.has(Plan::WARNED),
    }
}
