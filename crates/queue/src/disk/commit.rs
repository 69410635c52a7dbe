//! What makes a message durable: the committer takes everything that waits, writes it with one
//! call, syncs once, and answers all. The batch is what arrived during the previous sync; there
//! is no timer and nothing to tune.

use super::device::{Disk, DiskFile, write_fully};
use super::engine::{Engine, Live, Place, Segment, closed};
use super::format::{self, BLOCK, HEADER, Header, Kind};
use super::read::big_path;
use super::state_log::{self, log_path, segment_path};
use crate::events::{Closed, Full, Reopened, SegmentFailed};
use crate::ledger::{self, Plan};
use crate::oneshot::Sender;
use crate::state::RecipientState;
use crate::store::StoreError;
use proto::QueueId;
use proto::envelope::Envelope;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};

/// The most messages and bytes in one batch.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// Zeros to fill a block with.
static PADDING: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// A message that waits to become durable.
pub(super) struct Job {
    pub id: QueueId,
    pub envelope: Arc<Envelope>,
    /// Room for the header, then the envelope.
    pub front: Vec<u8>,
    /// The body, or the description of a big one.
    pub body: Arc<Vec<u8>>,
    pub big: bool,
    pub envelope_crc: u32,
    pub body_crc: u32,
    pub reply: Sender<Result<QueueId, StoreError>>,
}

impl Job {
    fn header(&self, segment: u32, offset: u32) -> Header {
        Header {
            segment,
            id: self.id,
            envelope: (self.front.len() - HEADER) as u32,
            body: self.body.len() as u32,
            flags: if self.big { format::BIG } else { 0 },
            envelope_crc: self.envelope_crc,
            body_crc: self.body_crc,
            offset,
        }
    }

    fn length(&self) -> u64 {
        self.header(0, 0).length()
    }
}

/// Messages that wait.
#[derive(Default)]
pub(super) struct Jobs {
    pub waiting: Vec<Job>,
    pub closed: bool,
}

/// The segment that is written to.
pub(super) struct Current<F> {
    pub number: u32,
    pub file: Arc<F>,
    pub end: u64,
    pub allocated: u64,
}

/// The committer's own.
pub(super) struct Writer<F> {
    pub current: Option<Current<F>>,
    /// Made ahead, so that a full disk shows before the current one is full.
    pub next: Option<Current<F>>,
    pub next_number: u32,
}

impl<D: Disk> Engine<D> {
    /// Hands a message to the committer.
    pub(super) fn enqueue(&self, job: Job) {
        let mut jobs = self.disk.lock(&self.jobs);
        if jobs.closed {
            job.reply.send(Err(closed()));
            return;
        }
        jobs.waiting.push(job);
        // Whoever wakes finds the lock free.
        drop(jobs);
        self.arrived.notify_one();
    }

    /// Makes durable what waits, at most one batch; whether there was something.
    pub fn commit_waiting(&self) -> bool {
        let batch = {
            let mut jobs = self.disk.lock(&self.jobs);
            let mut bytes = 0;
            let fits = jobs.waiting.iter().take(BATCH).take_while(|j| {
                let first = bytes == 0;
                bytes += j.length() as usize;
                first || bytes <= BATCH_BYTES
            });
            let n = fits.count();
            let rest = jobs.waiting.split_off(n);
            std::mem::replace(&mut jobs.waiting, rest)
        };
        if batch.is_empty() {
            return false;
        }
        self.commit(batch);
        true
    }

    fn commit(&self, mut batch: Vec<Job>) {
        let mut writer = self.disk.lock(&self.writer);
        let bytes: u64 = batch.iter().map(Job::length).sum();
        let total = format::round_up(bytes, BLOCK);
        let current = match self.room_for(&mut writer, total) {
            Ok(current) => current,
            Err(error) => return self.refuse(batch, error),
        };
        let (number, start) = (current.number, current.end);
        let mut at = start;
        for job in &mut batch {
            let header = job.header(number, at as u32).write(&self.identity);
            job.front[..HEADER].copy_from_slice(&header);
            at += job.length();
        }
        let mut pieces = Vec::with_capacity(batch.len() * 3 + 1);
        for job in &batch {
            let unpadded = job.front.len() + job.body.len();
            pieces.push(IoSlice::new(&job.front));
            pieces.push(IoSlice::new(&job.body));
            pieces.push(IoSlice::new(&PADDING[..job.length() as usize - unpadded]));
        }
        pieces.push(IoSlice::new(&PADDING[..(total - bytes) as usize]));
        let written = write_fully(current.file.as_ref(), &mut pieces, start);
        drop(pieces);
        let full = |e: &io::Error| e.kind() == io::ErrorKind::StorageFull;
        match written {
            Ok(()) => {}
            // Nobody was told 250, nothing was promised; the same place is written again.
            Err(e) if full(&e) => return self.refuse(batch, self.full(&e)),
            Err(e) => return self.give_up(&mut writer, batch, number, &e),
        }
        match current.file.sync() {
            Ok(()) => {
                current.end = start + total;
                self.accept(batch, number, start, start + total);
                self.prepare(&mut writer);
            }
            // Never tried again on the same file: the kernel may have dropped what it could not
            // write, and would then report success.
            Err(e) => self.give_up(&mut writer, batch, number, &e),
        }
    }

    fn give_up(&self, writer: &mut Writer<D::File>, batch: Vec<Job>, number: u32, e: &io::Error) {
        let path = segment_path(number);
        self.seal(writer);
        self.failed(&path, e);
        self.refuse(batch, StoreError::Failing(format!("write {path}: {e}")));
    }

    /// The batch is durable: into the index with it, answer, and write down where it is.
    fn accept(&self, batch: Vec<Job>, number: u32, start: u64, end: u64) {
        let now = self.disk.now();
        let mut at = start;
        let mut replies = Vec::with_capacity(batch.len());
        let mut guard = self.lock();
        let index = &mut *guard;
        for job in batch {
            let length = job.length() as u32;
            let place = Place::new(number, at as u32, length, job.big);
            let mut plan = Plan { next: now, site: ledger::site_of(&job.envelope), ..Default::default() };
            plan.set(Plan::HELD, job.envelope.hold);
            index.ledger.insert(job.id, plan, place);
            if let Some(segment) = index.segments.get_mut(&number) {
                segment.take_in(job.id, &place);
                state_log::append_put(&mut segment.log, &self.identity, job.id, (&plan, &place), None);
            }
            let recipients = vec![RecipientState::Pending; job.envelope.recipients.len()];
            let body = (!job.big).then_some(job.body);
            let live = Live {
                envelope: job.envelope,
                recipients,
                replaced: false,
                changed: false,
                body,
                seen: Weak::new(),
                trusted: job.big,
            };
            // One on hold is not delivered soon.
            if !plan.has(Plan::HELD) {
                index.warm(job.id, live);
            }
            replies.push((job.reply, job.id));
            at += u64::from(length);
        }
        if let Some(segment) = index.segments.get_mut(&number) {
            segment.end = end;
        }
        index.dirty.insert(number);
        let woken = index.ledger.woken(now);
        let sleepers = self.late_sleepers(index);
        drop(guard);
        // What was said of these messages is in the log before anybody relies on them.
        events::flush();
        for (reply, id) in replies {
            reply.send(Ok(id));
        }
        woken.into_iter().for_each(|w| w.wake());
        // After the replies: the noter would have its turn before them.
        self.ring(sleepers);
        let mut trouble = self.disk.lock(&self.trouble);
        if std::mem::take(&mut trouble.failures) >= 3 {
            self.source.say(&Reopened {});
        }
    }

    /// A segment with space for `total` more bytes.
    pub(super) fn room_for<'a>(
        &self,
        writer: &'a mut Writer<D::File>,
        total: u64,
    ) -> Result<&'a mut Current<D::File>, StoreError> {
        let too_full = |c: &Current<D::File>| c.end + total > self.segment_size && c.end > BLOCK;
        if writer.current.as_ref().is_some_and(too_full) {
            self.seal(writer);
        }
        if writer.current.is_none() {
            let next = match writer.next.take() {
                Some(next) => Ok(next),
                None => self.make_segment(writer),
            };
            let next = next.map_err(|e| self.refusal(&e, "make a segment"))?;
            writer.current = Some(next);
        }
        let Some(current) = writer.current.as_mut() else { return Err(closed()) };
        if let Err(e) = self.stretch(current, total) {
            return Err(self.refusal(&e, "take space"));
        }
        Ok(current)
    }

    /// Takes space for `total` more bytes, in steps.
    fn stretch(&self, current: &mut Current<D::File>, total: u64) -> io::Result<()> {
        let need = current.end + total;
        if need <= current.allocated {
            return Ok(());
        }
        let step = format::round_up(need - current.allocated, self.segment_size / 4);
        match current.file.allocate(current.allocated, step) {
            Ok(()) => current.allocated += step,
            Err(e) if e.kind() == io::ErrorKind::Unsupported => current.allocated = u64::MAX,
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// After a batch: sees to it that there is space for the next ones, so that a lack of it is
    /// known before mail arrives.
    pub(super) fn prepare(&self, writer: &mut Writer<D::File>) {
        let step = self.segment_size / 4;
        let Some(current) = writer.current.as_mut() else { return };
        if current.allocated - current.end > step / 2 {
            return;
        }
        let result = if current.allocated < self.segment_size {
            self.stretch(current, current.allocated - current.end + 1)
        } else if writer.next.is_none() {
            self.make_segment(writer).map(|next| writer.next = Some(next))
        } else {
            Ok(())
        };
        if let Err(e) = result {
            self.refusal(&e, "take space");
        }
    }

    /// A new segment with its log; both names are durable.
    pub(super) fn make_segment(&self, writer: &mut Writer<D::File>) -> io::Result<Current<D::File>> {
        let number = writer.next_number;
        // A number is never tried twice, so that nothing half-made is in the way.
        writer.next_number = number.checked_add(1).ok_or(io::ErrorKind::QuotaExceeded)?;
        let make = || {
            let file = self.disk.create(&segment_path(number))?;
            let step = self.segment_size / 4;
            let allocated = match file.allocate(0, step) {
                Ok(()) => step,
                Err(e) if e.kind() == io::ErrorKind::Unsupported => u64::MAX,
                Err(e) => return Err(e),
            };
            let head = format::segment_head(&self.identity, number, self.disk.now());
            write_fully(&file, &mut [IoSlice::new(&head)], 0)?;
            file.sync()?;
            let log = state_log::create(&self.disk, number)?;
            self.disk.sync_directory("seg")?;
            self.lock().segments.insert(number, Segment::new(BLOCK, log));
            Ok(Current { number, file: Arc::new(file), end: BLOCK, allocated })
        };
        make().inspect_err(|_| {
            let _ = self.disk.unlink(&segment_path(number));
            let _ = self.disk.unlink(&log_path(number));
        })
    }

    /// Nothing more is written to the current segment.
    pub(super) fn seal(&self, writer: &mut Writer<D::File>) {
        let Some(current) = writer.current.take() else { return };
        // Space taken ahead is given back; when that fails it costs only space.
        let _ = current.file.cut(current.end);
        let mut index = self.lock();
        if let Some(segment) = index.segments.get_mut(&current.number) {
            segment.sealed = true;
            segment.end = current.end;
            let end = current.end as u32;
            segment.log.append(&self.identity, (Kind::Seal, QueueId(0), end), |_| {});
            segment.verified = self.disk.now();
            index.dirty.insert(current.number);
            index.look();
            self.nudge(&index);
            self.rest.notify_all();
        }
    }

    fn refuse(&self, batch: Vec<Job>, error: StoreError) {
        for job in batch {
            if job.big {
                // On a full disk it would only be in the way until the next start.
                let _ = self.disk.unlink(&big_path(job.id));
            }
            job.reply.send(Err(error.clone()));
        }
    }

    fn refusal(&self, e: &io::Error, what: &str) -> StoreError {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.full(e),
            _ => {
                self.failed(what, e);
                StoreError::Failing(format!("{what}: {e}"))
            }
        }
    }

    pub(super) fn full(&self, e: &io::Error) -> StoreError {
        let mut trouble = self.disk.lock(&self.trouble);
        trouble.plenty = None;
        let first = trouble.full.replace(e.to_string()).is_none();
        drop(trouble);
        if first {
            self.source.say(&Full { error: e.to_string() });
        }
        StoreError::Full
    }

    pub(super) fn failed(&self, file: &str, e: &io::Error) {
        self.source.say(&SegmentFailed { file: file.into(), error: e.to_string() });
        let mut trouble = self.disk.lock(&self.trouble);
        trouble.failures += 1;
        trouble.plenty = None;
        trouble.last_failure = self.disk.now();
        trouble.error = format!("{file}: {e}");
        if trouble.failures == 3 {
            self.source.say(&Closed { error: trouble.error.clone() });
        }
    }
}
