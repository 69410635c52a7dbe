//! The state log of one segment: what became of its messages since they were written. Records
//! are gathered in memory and written by the keeper, at most a millisecond later; a place in the
//! log is known as soon as a record is gathered.

use super::device::{Disk, DiskFile, read_fully, write_fully};
use super::engine::Place;
use super::format::{self, Identity, Kind, LOG_HEAD, STATE_HEADER};
use crate::ledger::Plan;
use proto::QueueId;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Space is taken in such steps.
const STEP: u64 = 256 * 1024;

/// The end of a log and what waits to be written there.
#[derive(Debug, Default)]
pub struct StateLog {
    segment: u32,
    written: u64,
    allocated: u64,
    /// What was written since the last sync, and where: if a sync fails, the file may not tell.
    recent: Vec<(u64, Arc<Vec<u8>>)>,
    writing: Arc<Vec<u8>>,
    pending: Vec<u8>,
}

/// Appends where a message's record is; gives the place of its states, zero without any.
pub fn append_put(
    log: &mut StateLog,
    identity: &Identity,
    id: QueueId,
    (plan, place): (&Plan, &Place),
    state: Option<&[u8]>,
) -> u32 {
    let at = log.append(identity, (Kind::Put, id, place.offset), |o| {
        put_payload(o, plan, place);
        o.extend_from_slice(state.unwrap_or_default());
    });
    if state.is_some() { at } else { 0 }
}

/// What a [`Kind::Put`] says of a message.
pub fn put_payload(out: &mut Vec<u8>, plan: &Plan, place: &Place) {
    out.extend_from_slice(&plan.write());
    out.extend_from_slice(&place.length().to_le_bytes());
    out.extend_from_slice(&u32::from(place.big()).to_le_bytes());
}

/// Records on their way to the file.
pub struct Flush {
    bytes: Arc<Vec<u8>>,
    at: u64,
    allocated: u64,
}

impl StateLog {
    /// A log whose file ends with a record at `end`.
    pub fn new(segment: u32, end: u64, allocated: u64) -> StateLog {
        StateLog { segment, written: end, allocated, ..Default::default() }
    }

    /// Where the next record goes.
    pub fn end(&self) -> u64 {
        self.written + self.writing.len() as u64 + self.pending.len() as u64
    }

    /// Gathers a record; gives its place.
    pub fn append(
        &mut self,
        identity: &Identity,
        record: (Kind, QueueId, u32),
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> u32 {
        let at = self.end();
        let begin = at - self.pending.len() as u64;
        format::write_state(&mut self.pending, identity, (self.segment, begin), record, payload);
        at as u32
    }

    /// What waits, to be written without a lock; `None` when nothing does. Only one at a time.
    pub fn begin_flush(&mut self) -> Option<Flush> {
        if self.pending.is_empty() {
            return None;
        }
        self.writing = Arc::new(std::mem::take(&mut self.pending));
        Some(Flush { bytes: self.writing.clone(), at: self.written, allocated: self.allocated })
    }

    /// How it went. What could not be written waits again.
    pub fn end_flush(&mut self, flush: Flush, written: bool) {
        self.allocated = flush.allocated;
        self.writing = Arc::default();
        if written {
            self.written += flush.bytes.len() as u64;
            self.recent.push((flush.at, flush.bytes));
        } else {
            let mut again = Arc::unwrap_or_clone(flush.bytes);
            again.append(&mut self.pending);
            self.pending = again;
        }
    }

    /// The file was synced when so much was written.
    pub fn synced(&mut self, written: u64) {
        self.recent.retain(|(start, bytes)| start + bytes.len() as u64 > written);
        self.recent.shrink_to_fit();
    }

    /// The bytes that were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes space ahead for `bytes` more, so that they can be written on a full disk.
    pub fn reserve<F: DiskFile>(&mut self, file: &F, bytes: u64) -> io::Result<()> {
        let need = self.end() + bytes;
        if need > self.allocated {
            let step = format::round_up(need - self.allocated, STEP);
            match file.allocate(self.allocated, step) {
                Ok(()) => self.allocated += step,
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The record at `at`, if it is not durable in the file yet.
    fn buffered(&self, at: u64) -> Option<Vec<u8>> {
        let queued = self.written + self.writing.len() as u64;
        let (start, bytes) = if at >= queued {
            (queued, &self.pending)
        } else if at >= self.written {
            (self.written, &*self.writing)
        } else {
            let (start, bytes) = self.recent.iter().rev().find(|(start, _)| *start <= at)?;
            (*start, &**bytes)
        };
        let bytes = bytes.get(usize::try_from(at - start).ok()?..)?;
        // Not what follows it, which may be megabytes.
        Some(bytes.get(..record_length(bytes)).unwrap_or(bytes).to_vec())
    }

    /// What was gathered since the log ended at `end`, and waits to be written. Nobody writes just now.
    pub fn since(&self, end: u64) -> Vec<u8> {
        let from = end.checked_sub(self.written).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.pending.get(from..)).unwrap_or_default().to_vec()
    }

    /// What was gathered since the log ended at `end`, and is written. Nobody synced it since then.
    pub fn written_since(&self, end: u64) -> Vec<u8> {
        let mut all = Vec::new();
        for (start, bytes) in &self.recent {
            let from = usize::try_from(end.saturating_sub(*start)).unwrap_or(usize::MAX);
            all.extend_from_slice(bytes.get(from..).unwrap_or_default());
        }
        all
    }

    /// A log whose file is durable up to `durable`, with `written` behind that, and `pending` still to be
    /// written.
    pub fn anew(segment: u32, durable: u64, written: Vec<u8>, pending: Vec<u8>) -> StateLog {
        let end = durable + written.len() as u64;
        let recent = if written.is_empty() { Vec::new() } else { vec![(durable, Arc::new(written))] };
        StateLog { pending, recent, ..StateLog::new(segment, end, end) }
    }

    /// How to find the record at `at`, without holding a lock while the file is read.
    pub fn locate(&self, at: u32) -> Located {
        let at = u64::from(at);
        Located { segment: self.segment, at, end: self.written, buffered: self.buffered(at) }
    }
}

impl Flush {
    /// Writes it, taking space ahead where needed.
    pub fn write<F: DiskFile>(&mut self, file: &F) -> io::Result<()> {
        let end = self.at + self.bytes.len() as u64;
        if end > self.allocated {
            let step = format::round_up(end - self.allocated, STEP);
            // Without space ahead the write itself decides.
            if file.allocate(self.allocated, step).is_ok() {
                self.allocated += step;
            }
        }
        write_fully(file, &mut [IoSlice::new(&self.bytes)], self.at)
    }
}

/// A record of a state log, still to be read.
pub struct Located {
    /// The log's segment.
    pub segment: u32,
    /// Where it is in the log.
    pub at: u64,
    end: u64,
    /// The record, if it is not in the file yet.
    pub buffered: Option<Vec<u8>>,
}

impl Located {
    /// What it says of recipients, after its checksum was found right; `None` when there is no
    /// such record.
    pub fn read<F: DiskFile>(
        self,
        open: impl FnOnce() -> io::Result<Arc<F>>,
        identity: &Identity,
        id: QueueId,
    ) -> io::Result<Option<Vec<u8>>> {
        let bytes = match self.buffered {
            Some(bytes) => bytes,
            None => read_record(open()?.as_ref(), self.at, self.end)?,
        };
        let record = format::read_state(&bytes, identity, (self.segment, self.at));
        Ok(record.ok().filter(|r| r.id == id).map(|r| r.state().to_vec()))
    }
}

/// The length of the record at the start of `bytes`, as it says.
fn record_length(bytes: &[u8]) -> usize {
    let length = bytes.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    STATE_HEADER + length as usize
}

fn read_record<F: DiskFile>(file: &F, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 1024.max(STATE_HEADER)];
    let n = read_fully(file, &mut bytes, at)?;
    bytes.truncate(n);
    let whole = record_length(&bytes) as u64;
    // A damaged length claims no more than the log holds.
    if whole > bytes.len() as u64 && at + whole <= end {
        bytes.resize(whole as usize, 0);
        let n = read_fully(file, &mut bytes, at)?;
        bytes.truncate(n);
    }
    Ok(bytes)
}

/// The names of a segment's files.
pub fn segment_path(segment: u32) -> String {
    format!("seg/{segment:08x}.seg")
}

/// See [`segment_path`].
pub fn log_path(segment: u32) -> String {
    format!("seg/{segment:08x}.st")
}

/// Makes an empty log with space ahead; its name is not durable yet.
pub fn create<D: Disk>(disk: &D, segment: u32) -> io::Result<StateLog> {
    let file = disk.create(&log_path(segment))?;
    let allocated = match file.allocate(0, STEP) {
        Ok(()) => STEP,
        Err(e) if e.kind() == io::ErrorKind::Unsupported => 0,
        Err(e) => return Err(e),
    };
    write_fully(&file, &mut [IoSlice::new(&format::log_head(segment))], 0)?;
    file.sync()?;
    Ok(StateLog::new(segment, LOG_HEAD as u64, allocated))
}
