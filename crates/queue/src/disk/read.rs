//! Reading records back. Every checksum is verified on every read; what fails is set aside.

use super::device::{Disk, DiskFile, read_fully, write_fully};
use super::engine::{Engine, Live, Place};
use super::format::{self, HEADER, Header};
use super::state_log::{Located, log_path, segment_path};
use crate::encode::{self, StateBody};
use crate::events::{Corrupt, CorruptKept, DamageSeen, StateLost};
use crate::ledger::Plan;
use crate::state::RecipientState;
use crate::store::{Body, StoreError};
use proto::QueueId;
use proto::envelope::Envelope;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};

/// Why a message cannot be had.
pub(super) enum Damage {
    /// There is none of that name.
    Gone,
    /// The disk said no; it may say yes later. The file and the error.
    Unreadable(String, String),
    /// What was read is not what was written.
    Bad(String),
}

/// What a message's record and state hold, but for the body.
pub(super) struct Loaded {
    pub envelope: Envelope,
    pub recipients: Vec<RecipientState>,
    pub replaced: bool,
}

impl Loaded {
    /// What a record's envelope and a state say together.
    pub fn of(envelope: Envelope, state: StateBody) -> Loaded {
        let replaced = state.envelope.is_some();
        let envelope = state.envelope.unwrap_or(envelope);
        let mut recipients = state.all.unwrap_or_default();
        recipients.resize(envelope.recipients.len(), RecipientState::Pending);
        Loaded { envelope, recipients, replaced }
    }

    pub fn into_live(self) -> Live {
        Live {
            envelope: Arc::new(self.envelope),
            recipients: self.recipients,
            replaced: self.replaced,
            changed: false,
            body: None,
            seen: Weak::new(),
            trusted: false,
        }
    }
}

/// The name of a big body's file.
pub(super) fn big_path(id: QueueId) -> String {
    format!("big/{}", id.short())
}

impl<D: Disk> Engine<D> {
    /// An open file of the queue, kept open while it is among the few last used.
    pub(super) fn file(&self, path: &str) -> io::Result<Arc<D::File>> {
        let mut files = self.disk.lock(&self.files);
        if let Some(file) = files.get(path) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.disk.open(path)?);
        if files.len() >= 64 {
            files.clear();
        }
        files.insert(path.to_string(), file.clone());
        Ok(file)
    }

    /// Drops an open file whose name is gone or means another file now.
    pub(super) fn forget_file(&self, path: &str) {
        self.disk.lock(&self.files).remove(path);
    }

    /// Envelope and states of a message that is not in memory.
    pub(super) fn load(&self, id: QueueId) -> Result<Loaded, Damage> {
        loop {
            let Some((place, located)) = self.whereabouts(id) else { return Err(Damage::Gone) };
            match self.load_from(id, place, located) {
                // Copied to another segment while it was read.
                Err(Damage::Bad(_)) if self.moved(id, place) => {}
                result => return result,
            }
        }
    }

    fn moved(&self, id: QueueId, place: Place) -> bool {
        let index = self.lock();
        index
            .ledger
            .get(id)
            .is_some_and(|e| (e.place.segment, e.place.offset) != (place.segment, place.offset))
    }

    fn load_from(&self, id: QueueId, place: Place, located: Option<Located>) -> Result<Loaded, Damage> {
        let envelope = self.read_envelope(id, place)?;
        let state = match located {
            None => None,
            Some(located) => {
                let path = log_path(place.segment);
                let payload = located
                    .read(|| self.file(&path), &self.identity, id)
                    .map_err(|e| Damage::Unreadable(path.clone(), e.to_string()))?;
                let state = payload.and_then(|p| encode::read_state(&p));
                if state.is_none() {
                    if self.whereabouts(id).map(|(p, _)| p) != Some(place) {
                        // The log was compacted while it was read.
                        return self.load(id);
                    }
                    self.source.say_of(id, &StateLost { file: path });
                }
                state
            }
        };
        Ok(Loaded::of(envelope, state.unwrap_or_default()))
    }

    pub(super) fn whereabouts(&self, id: QueueId) -> Option<(Place, Option<Located>)> {
        let index = self.lock();
        let place = index.ledger.get(id)?.place;
        let segment = index.segments.get(&place.segment)?;
        Some((place, (place.state != 0).then(|| segment.log.locate(place.state))))
    }

    pub(super) fn header(&self, id: QueueId, place: Place, bytes: &[u8]) -> Result<Header, Damage> {
        Header::read(bytes, &self.identity)
            .filter(|h| h.id == id && (h.segment, h.offset) == (place.segment, place.offset))
            .filter(|h| h.length() == u64::from(place.length()))
            .ok_or_else(|| Damage::Bad("the header of its record is wrong".into()))
    }

    fn read_envelope(&self, id: QueueId, place: Place) -> Result<Envelope, Damage> {
        let path = segment_path(place.segment);
        let unreadable = |e: io::Error| Damage::Unreadable(path.clone(), e.to_string());
        let gone = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Damage::Bad("its segment is gone".into()),
            _ => unreadable(e),
        };
        let file = self.file(&path).map_err(gone)?;
        let mut bytes = vec![0; (place.length() as usize).min(2048)];
        let n = read_fully(file.as_ref(), &mut bytes, u64::from(place.offset)).map_err(unreadable)?;
        bytes.truncate(n);
        let header = self.header(id, place, &bytes)?;
        let end = HEADER + header.envelope as usize;
        if end > bytes.len() {
            bytes.resize(end.min(place.length() as usize), 0);
            let n = read_fully(file.as_ref(), &mut bytes, u64::from(place.offset)).map_err(unreadable)?;
            bytes.truncate(n);
        }
        let bytes = bytes.get(HEADER..end).filter(|b| crc32fast::hash(b) == header.envelope_crc);
        let envelope = bytes.and_then(encode::read_envelope);
        envelope.ok_or_else(|| Damage::Bad("the checksum of its envelope is wrong".into()))
    }

    /// The content; see [`crate::Store::body`].
    pub fn body(&self, id: QueueId) -> Result<Body, StoreError> {
        let (place, trusted) = {
            let index = self.lock();
            if index.ledger.closed {
                return Err(super::engine::closed());
            }
            let place = index.ledger.get(id).ok_or(StoreError::LeaseLost)?.place;
            let live = index.live.get(&id);
            let seen = live.and_then(|l| l.body.clone().or_else(|| l.seen.upgrade()));
            if let Some(body) = seen {
                return Ok(Body::Memory(body));
            }
            (place, live.is_some_and(|l| l.trusted))
        };
        match self.read_body(id, place, trusted) {
            // Copied to another segment while it was read.
            Err(Damage::Bad(_)) if self.moved(id, place) => self.body(id),
            Ok(body) => {
                if let (Body::Memory(bytes), Some(live)) = (&body, self.lock().live.get_mut(&id)) {
                    live.seen = Arc::downgrade(bytes);
                }
                Ok(body)
            }
            Err(Damage::Gone) => Err(StoreError::LeaseLost),
            Err(Damage::Unreadable(file, error)) => Err(StoreError::Failing(format!("read {file}: {error}"))),
            // Deleted while it was read.
            Err(Damage::Bad(_)) if self.lock().ledger.get(id).is_none() => Err(StoreError::LeaseLost),
            Err(Damage::Bad(why)) => {
                self.set_aside(id, why.clone());
                Err(StoreError::Failing(why))
            }
        }
    }

    fn read_body(&self, id: QueueId, place: Place, trusted: bool) -> Result<Body, Damage> {
        let path = segment_path(place.segment);
        let unreadable = |e: io::Error| Damage::Unreadable(path.clone(), e.to_string());
        let gone = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Damage::Bad("its segment is gone".into()),
            _ => unreadable(e),
        };
        let mut bytes = self.record(place).map_err(gone)?;
        let header = self.header(id, place, &bytes)?;
        let from = HEADER + header.envelope as usize;
        let body = bytes.get(from..from + header.body as usize);
        let body = body.filter(|b| crc32fast::hash(b) == header.body_crc);
        let body = body.ok_or_else(|| Damage::Bad("the checksum of its content is wrong".into()))?;
        if header.flags & format::BIG != 0 {
            let (length, crc) = format::read_big_body(body)
                .ok_or_else(|| Damage::Bad("its record names no content".into()))?;
            return self.read_big(id, length, (!trusted).then_some(crc));
        }
        bytes.drain(..from);
        bytes.truncate(header.body as usize);
        Ok(Body::Memory(bytes.into()))
    }

    /// A message's header and record, every checksum verified.
    pub(super) fn checked(&self, id: QueueId, place: Place) -> Result<(Header, Vec<u8>), Damage> {
        let path = segment_path(place.segment);
        let bytes = self.record(place).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Damage::Bad("its segment is gone".into()),
            _ => Damage::Unreadable(path, e.to_string()),
        })?;
        let header = self.header(id, place, &bytes)?;
        let middle = HEADER + header.envelope as usize;
        let envelope = bytes.get(HEADER..middle).filter(|b| crc32fast::hash(b) == header.envelope_crc);
        if envelope.and_then(encode::read_envelope).is_none() {
            return Err(Damage::Bad("the checksum of its envelope is wrong".into()));
        }
        let body = bytes.get(middle..middle + header.body as usize);
        if body.is_none_or(|b| crc32fast::hash(b) != header.body_crc)
            || bytes.len() != place.length() as usize
        {
            return Err(Damage::Bad("the checksum of its content is wrong".into()));
        }
        Ok((header, bytes))
    }

    pub(super) fn read_big(&self, id: QueueId, length: u64, crc: Option<u32>) -> Result<Body, Damage> {
        let path = big_path(id);
        let unreadable = |e: io::Error| Damage::Unreadable(path.clone(), e.to_string());
        let file = self.disk.open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Damage::Bad(format!("the file {path} with its content is gone")),
            _ => unreadable(e),
        })?;
        let wrong = || Damage::Bad(format!("the checksum of its content in {path} is wrong"));
        if file.length().map_err(unreadable)? != length {
            return Err(wrong());
        }
        let real = file.real();
        let mut whole = Vec::new();
        if crc.is_some() || real.is_none() {
            let mut sum = crc32fast::Hasher::new();
            let (mut piece, mut at) = (vec![0; 128 * 1024], 0);
            while at < length {
                let n = read_fully(&file, &mut piece, at).map_err(unreadable)?;
                let Some(got) = piece.get(..n).filter(|g| !g.is_empty()) else { return Err(wrong()) };
                sum.update(got);
                if real.is_none() {
                    whole.extend_from_slice(got);
                }
                at += n as u64;
            }
            if crc.is_some_and(|crc| crc != sum.finalize()) {
                return Err(wrong());
            }
        }
        match real {
            Some(file) => Ok(Body::File(Arc::new(file), length)),
            None => Ok(Body::Memory(whole.into())),
        }
    }

    /// A message's record as it is on disk, as far as the file goes.
    fn record(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.length() as usize];
        let file = self.file(&segment_path(place.segment))?;
        let n = read_fully(file.as_ref(), &mut bytes, u64::from(place.offset))?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// Puts a damaged message into `corrupt/` and out of the queue. Where that cannot be done it
    /// is put on hold.
    pub(super) fn set_aside(&self, id: QueueId, why: String) {
        let Some(place) = self.lock().ledger.get(id).map(|e| e.place) else { return };
        if self.read_only {
            // The daemon will set it aside.
            let mut index = self.lock();
            index.ledger.remove(id);
            index.cool(id);
            drop(index);
            self.source.say_of(id, &DamageSeen { why });
            return;
        }
        let name = format!("corrupt/{}", id.short());
        // What cannot even be read leaves an empty file: a sign that something was there.
        let bytes = self.record(place).unwrap_or_default();
        if let Err(e) = self.keep_corrupt(&name, &bytes) {
            self.source.say_of(id, &CorruptKept { why, error: e.to_string() });
            let mut index = self.lock();
            index.ledger.change(id, |e| {
                e.leased = false;
                e.plan.set(Plan::HELD, true);
            });
            index.cool(id);
            return;
        }
        if place.big() {
            // The record is kept; a body that cannot be is worth no more trouble.
            let _ = self.disk.rename(&big_path(id), &format!("{name}.body"));
            let _ = self.disk.sync_directory("corrupt");
        }
        let mut index = self.lock();
        index.forget(&self.identity, id);
        self.nudge(&index);
        drop(index);
        self.source.say_of(id, &Corrupt { why, file: format!("valija/{name}") });
    }

    pub(super) fn keep_corrupt(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.disk.create(name)?;
        write_fully(&file, &mut [IoSlice::new(bytes)], 0)?;
        file.sync()?;
        self.disk.sync_directory("corrupt")
    }
}
