//! A message being written: in memory up to a size, then in a file of its own.

use super::commit::Job;
use super::device::{Disk, DiskFile, write_fully};
use super::engine::Engine;
use super::format::{self, HEADER};
use super::read::big_path;
use crate::encode;
use crate::oneshot::{Receiver, oneshot};
use crate::store::{Health, StoreError};
use proto::QueueId;
use proto::envelope::Envelope;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Bodies longer than this get a file of their own.
pub const INLINE: usize = 1 << 20;
/// What of a big body is gathered before it is written.
const PIECE: usize = 128 * 1024;

/// Most envelopes find room in this, with the header.
const ENVELOPE: usize = 512;

/// Where the answer to a commit arrives.
pub type Committing = Receiver<Result<QueueId, StoreError>>;

/// A message being written. Dropping it forgets it.
pub struct DiskDraft<D: Disk> {
    engine: Arc<Engine<D>>,
    id: QueueId,
    /// All content, or of a big one what is not written yet.
    bytes: Vec<u8>,
    sum: crc32fast::Hasher,
    big: Option<(D::File, u64)>,
    kept: bool,
}

impl<D: Disk> Engine<D> {
    /// Begins a message.
    pub fn draft(self: &Arc<Self>, id: QueueId, size_hint: u64) -> Result<DiskDraft<D>, StoreError> {
        match self.health() {
            Health::Closed(why) => return Err(why),
            // As Postfix reckons: half as much again as the message needs.
            Health::Open { free } if free / 3 * 2 < size_hint => return Err(StoreError::Full),
            Health::Open { .. } => {}
        }
        let (engine, sum) = (self.clone(), crc32fast::Hasher::new());
        Ok(DiskDraft { engine, id, bytes: Vec::new(), sum, big: None, kept: false })
    }
}

impl<D: Disk> DiskDraft<D> {
    /// Whether it has a file of its own, so that committing it takes a while.
    pub fn is_big(&self) -> bool {
        self.big.is_some()
    }

    /// Appends content.
    pub fn append(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.sum.update(chunk);
        self.bytes.extend_from_slice(chunk);
        if self.big.is_none() && self.bytes.len() > INLINE {
            let file = self.engine.disk.create(&big_path(self.id)).map_err(|e| self.failed(&e))?;
            self.big = Some((file, 0));
        }
        if self.big.is_some() && self.bytes.len() >= PIECE { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let Some((file, length)) = self.big.as_mut() else { return Ok(()) };
        let written = write_fully(file, &mut [IoSlice::new(&self.bytes)], *length);
        *length += self.bytes.len() as u64;
        self.bytes.clear();
        self.bytes.shrink_to(PIECE * 2);
        written.map_err(|e| self.failed(&e))
    }

    fn failed(&self, e: &io::Error) -> StoreError {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.engine.full(e),
            _ => StoreError::Failing(format!("write {}: {e}", big_path(self.id))),
        }
    }

    /// Makes the file of a big body durable and hands the message to the committer. The answer
    /// comes when it is durable.
    pub fn submit(mut self, envelope: Envelope) -> Result<Committing, StoreError> {
        let mut front = Vec::with_capacity(ENVELOPE);
        front.resize(HEADER, 0);
        encode::envelope(&envelope, &mut front);
        if front.len() > format::LONGEST_ENVELOPE {
            return Err(StoreError::Failing("the envelope is too long: too many recipients".into()));
        }
        let envelope_crc = crc32fast::hash(front.get(HEADER..).unwrap_or_default());
        let mut body_crc = self.sum.clone().finalize();
        let mut body = std::mem::take(&mut self.bytes);
        if self.big.is_some() {
            self.bytes = body;
            self.spill()?;
            let Some((file, length)) = self.big.as_ref() else { return Err(StoreError::LeaseLost) };
            let length = *length;
            let synced = file.sync().and_then(|()| self.engine.disk.sync_directory("big"));
            synced.map_err(|e| self.failed(&e))?;
            body = format::big_body(length, body_crc).to_vec();
            body_crc = crc32fast::hash(&body);
        }
        // It stays as it is until the first delivery has ended; room it does not need is given back.
        if body.capacity() - body.len() > body.len() / 8 {
            body.shrink_to_fit();
        }
        let (reply, answer) = oneshot();
        // From here on the committer may have written the record even if it says no; a file that
        // then belongs to nobody is removed at the next start.
        self.kept = true;
        self.engine.enqueue(Job {
            id: self.id,
            envelope: Arc::new(envelope),
            front,
            body: Arc::new(body),
            big: self.big.is_some(),
            envelope_crc,
            body_crc,
            reply,
        });
        Ok(answer)
    }
}

impl<D: Disk> Drop for DiskDraft<D> {
    fn drop(&mut self) {
        if self.big.take().is_some() && !self.kept {
            // If this fails it is an orphan, which the next start removes.
            let _ = self.engine.disk.unlink(&big_path(self.id));
        }
    }
}
