//! What a start finds: reads the state logs, walks what they do not account for, and builds index
//! and schedule. Segments are read in parallel.

use super::commit::{Current, Jobs, Writer};
use super::device::{Disk, DiskFile, read_fully, write_fully};
use super::engine::{Engine, Index, Options, Place, Segment};
use super::format::{self, BLOCK, HEADER, Header, Identity, Kind, LOG_HEAD, PLAN, RECORD_UNIT};
use super::read::big_path;
use super::state_log::{self, StateLog, log_path, segment_path};
use crate::encode::{self, StateBody};
use crate::events::{Corrupt, FormatRestored, LogTorn, Missing, SegmentMissing, Strange};
use crate::ledger::{self, Plan};
use crate::state::RecipientState;
use events::Source;
use proto::QueueId;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::sync::{Condvar, Mutex};

/// More segments than this are too many, if others could hold what lives in them.
const CROWD: usize = 4096;
/// So many segments are read before what they hold is taken into the index.
const TOGETHER: usize = 16;
/// Microseconds.
const DAY: u64 = 86_400_000_000;

/// A message as a state log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub plan: Plan,
    pub offset: u32,
    pub length: u32,
    pub big: bool,
    /// Where its last whole state is.
    pub state: u32,
    /// What changed since, while the message was leased.
    pub changes: Vec<(usize, RecipientState)>,
    /// The whole state that comes of both, still to be written; few have one.
    pub merged: Option<Box<StateBody>>,
}

/// What a state log says.
#[derive(Debug, Default)]
pub(super) struct LogScan {
    pub found: HashMap<QueueId, Found>,
    /// Where its last good record ends; zero when not even the head is good.
    pub end: u64,
    /// Nothing but zeros follow.
    pub clean: bool,
    /// Everything before this offset of the segment is accounted for.
    pub sealed: Option<u64>,
    /// The end of the last record it knows of.
    pub known: u64,
    /// Everything before this is accounted for, in a segment that could still grow.
    pub mark: u64,
    /// Where the records are that it knows of, or knew.
    pub seen: Vec<(u64, u64)>,
}

/// Reads a whole state log. Never fails: what comes after damage is not there.
pub(super) fn scan_log(bytes: &[u8], identity: &Identity, segment: u32) -> LogScan {
    let mut scan = LogScan { known: BLOCK, mark: BLOCK, ..Default::default() };
    // Records carry the segment too, so a damaged head costs nothing.
    let good_head = bytes.get(..LOG_HEAD) == Some(&format::log_head(segment));
    let mut at = LOG_HEAD;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match format::read_state(rest, identity, (segment, at as u64)) {
            Err(clean) => {
                scan.clean = clean;
                break;
            }
            Ok(record) => {
                scan.take(&record, at as u32);
                at += record.length;
            }
        }
    }
    if good_head || at > LOG_HEAD {
        scan.end = at as u64;
        scan.clean &= good_head;
    } else {
        scan.clean = false;
    }
    scan
}

impl LogScan {
    fn take(&mut self, record: &format::StateRecord<'_>, at: u32) {
        let id = record.id;
        let plan = Plan::read(record.payload);
        let rest = record.payload.get(PLAN..).unwrap_or_default();
        match (record.kind, plan) {
            (Some(Kind::Put), Some(plan)) => {
                let word = |at: usize| {
                    rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
                };
                let (offset, length, big) = (record.offset, word(0), word(4) != 0);
                self.known = self.known.max(u64::from(offset) + u64::from(length));
                self.seen.push((u64::from(offset), u64::from(length)));
                let state = if record.state().is_empty() { 0 } else { at };
                self.found.insert(id, Found { plan, offset, length, big, state, ..Default::default() });
            }
            (Some(Kind::Done), _) => {
                self.found.remove(&id);
            }
            (Some(Kind::Known), _) => {
                self.known = self.known.max(u64::from(record.offset));
                self.mark = self.mark.max(u64::from(record.offset));
            }
            (Some(Kind::Seal), _) => self.sealed = Some(u64::from(record.offset)),
            (Some(kind), Some(plan)) => {
                let Some(found) = self.found.get_mut(&id) else { return };
                found.plan = plan;
                if kind == Kind::State {
                    found.state = at;
                    found.changes.clear();
                } else if kind == Kind::Change
                    && let Some(body) = encode::read_state(rest)
                {
                    found.changes.extend(body.changes);
                }
            }
            _ => {}
        }
    }
}

impl Found {
    /// Makes a whole state of the last one and what changed since. Needs nothing but the log: a
    /// state may know of fewer recipients than the envelope, the others are pending.
    fn merge(&mut self, log: &[u8], identity: &Identity, segment: u32) {
        if self.changes.is_empty() {
            return;
        }
        let record = log.get(self.state as usize..).filter(|_| self.state != 0);
        let record = record
            .and_then(|bytes| format::read_state(bytes, identity, (segment, u64::from(self.state))).ok());
        let body = record.and_then(|r| encode::read_state(r.state())).unwrap_or_default();
        let mut all = body.all.unwrap_or_default();
        for (i, state) in std::mem::take(&mut self.changes) {
            // An envelope has no more recipients than this; the number is only a claim.
            if i >= all.len() && i < format::LONGEST_ENVELOPE / 16 {
                all.resize(i + 1, RecipientState::Pending);
            }
            if let Some(old) = all.get_mut(i).filter(|s| !s.settled()) {
                *old = state;
            }
        }
        let merged = StateBody { all: Some(all), changes: Vec::new(), envelope: body.envelope };
        self.merged = Some(Box::new(merged));
    }
}

/// What there is of a segment.
struct Scanned {
    number: u32,
    log: LogScan,
    log_there: bool,
    /// What the log said, if it could not be made durable: its file need not say so again.
    doubtful: Option<Vec<u8>>,
    segment_there: bool,
    /// It is not this segment at all, and nothing of this one is in it.
    strange: bool,
    walked: Vec<(QueueId, Found)>,
    /// Records whose content is not what their header says.
    torn: Vec<(QueueId, Vec<u8>)>,
    end: u64,
    /// The end of the last block in which there is anything.
    tail: u64,
}

impl<D: Disk> Engine<D> {
    /// Opens the spool on `disk`, making it if there is none. With `read_only` nothing is changed.
    pub fn open(disk: D, options: &Options, source: Source, read_only: bool) -> Result<Engine<D>, String> {
        if !read_only {
            for directory in ["seg", "big", "corrupt"] {
                disk.make_directory(directory).map_err(|e| format!("make {directory}: {e}"))?;
            }
            // A process that was killed may have made or renamed what is here, and not synced it.
            for directory in [".", "seg"] {
                patiently(|| disk.sync_directory(directory)).map_err(|e| format!("sync {directory}: {e}"))?;
            }
        }
        let names = disk.list("seg").map_err(|e| format!("list seg: {e}"))?;
        let mut numbers = BTreeSet::new();
        for name in &names {
            let stem = name.strip_suffix(".seg").or_else(|| name.strip_suffix(".st"));
            match stem.filter(|s| s.len() == 8).and_then(|s| u32::from_str_radix(s, 16).ok()) {
                Some(number) => {
                    numbers.insert(number);
                }
                // A log that was being compacted.
                None if name.ends_with(".st.new") && !read_only => {
                    let _ = disk.unlink(&format!("seg/{name}"));
                }
                None => {}
            }
        }
        let identity = identity(&disk, &numbers, &source, read_only)?;
        let total = disk.space().map_or(u64::MAX, |s| s.total);
        let usual = (total / 64).clamp(4 << 20, 64 << 20);
        // No number is ever used twice, so that no old bytes can pass for new ones. Where nothing is
        // left that tells the last one, the clock does: nobody fills a segment every four seconds.
        let first = (disk.now() / 4_000_000) as u32;
        let next_number = numbers.last().map_or(Some(first), |n| n.checked_add(1));
        let next_number = next_number.ok_or("segment numbers are used up")?;
        let engine = Engine {
            disk,
            identity,
            source,
            read_only,
            room: options.room,
            segment_size: format::round_up(options.segment.unwrap_or(usual), 4 * BLOCK),
            index: Mutex::new(Index {
                crowd: options.crowd.unwrap_or(CROWD),
                holes: true,
                forward_at: u64::MAX,
                ..Default::default()
            }),
            stir: Condvar::new(),
            jot: Condvar::new(),
            rest: Condvar::new(),
            scrub_every: options.scrub_every.unwrap_or(DAY),
            scrubbing: Mutex::default(),
            jobs: Mutex::new(Jobs::default()),
            arrived: Condvar::new(),
            writer: Mutex::new(Writer { current: None, next: None, next_number }),
            tending: Mutex::default(),
            pen: Mutex::default(),
            trouble: Mutex::default(),
            files: Mutex::default(),
        };
        let numbers: Vec<u32> = numbers.into_iter().collect();
        // A few at a time: what was read of a segment takes more memory than what is kept of it.
        for some in numbers.chunks(TOGETHER) {
            for scanned in engine.scan_all(some, options.threads)? {
                engine.adopt(scanned, read_only)?;
            }
        }
        if !numbers.is_empty() {
            engine.lock().ledger.pack(sys::allocator::give_back);
        }
        if !read_only {
            // Of a message that was copied the body still is in use.
            engine.lock().bigs.clear();
            if engine.sync() {
                engine.remove_orphans();
            }
            engine.drop_dead();
        }
        if !numbers.is_empty() {
            // Whole logs were in memory.
            sys::allocator::give_back();
        }
        Ok(engine)
    }

    fn scan_all(&self, numbers: &[u32], threads: usize) -> Result<Vec<Scanned>, String> {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if threads == 0 { processors.min(8) } else { threads };
        let each = numbers.len().div_ceil(threads.max(1)).max(1);
        if numbers.len() <= each {
            return numbers.iter().map(|n| self.scan(*n)).collect();
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = numbers
                .chunks(each)
                .map(|part| scope.spawn(move || part.iter().map(|n| self.scan(*n)).collect::<Vec<_>>()))
                .collect();
            let mut all = Vec::with_capacity(numbers.len());
            for part in parts {
                let scanned = part.join().map_err(|_| "a thread that reads segments ended".to_string())?;
                for one in scanned {
                    all.push(one?);
                }
            }
            Ok(all)
        })
    }

    /// Reads a file; one that is missing is empty.
    pub(super) fn read_whole(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.disk.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?];
        let n = read_fully(&file, &mut bytes, 0)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    fn scan(&self, number: u32) -> Result<Scanned, String> {
        let path = log_path(number);
        let (bytes, log_there) = match patiently(|| self.read_whole(&path)) {
            Ok(bytes) => (bytes, true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
            Err(e) => return Err(format!("read {path}: {e}")),
        };
        // A process that was killed may have left it in memory only.
        let sync = || self.disk.open(&path)?.sync();
        let doubtful = log_there && !self.read_only && sync().is_err();
        let mut log = scan_log(&bytes, &self.identity, number);
        if log.sealed.is_some() {
            // Nobody looks for others.
            log.seen = Vec::new();
        }
        for found in log.found.values_mut() {
            found.merge(&bytes, &self.identity, number);
        }
        let doubtful = doubtful.then_some(bytes);
        let path = segment_path(number);
        let file = match patiently(|| self.disk.open(&path)) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(format!("open {path}: {e}")),
        };
        let end = log.sealed.unwrap_or_else(|| format::round_up(log.known, BLOCK));
        let segment_there = file.is_some();
        let mut scanned = Scanned {
            number,
            log,
            log_there,
            doubtful,
            segment_there,
            strange: false,
            walked: Vec::new(),
            torn: Vec::new(),
            end,
            tail: 0,
        };
        if let Some(file) = file.filter(|_| scanned.log.sealed.is_none()) {
            let strange = patiently(|| {
                self.walk(&file, &mut scanned)?;
                let nothing =
                    scanned.log.found.is_empty() && scanned.walked.is_empty() && scanned.torn.is_empty();
                if !nothing || scanned.tail == 0 {
                    return Ok(false);
                }
                let mut head = [0; 64];
                read_fully(&file, &mut head, 0)?;
                Ok(format::read_segment_head(&head)
                    .is_none_or(|(n, identity)| n != number || identity != self.identity))
            });
            scanned.strange = strange.map_err(|e| format!("read {path}: {e}"))?;
        }
        Ok(scanned)
    }

    /// Looks for records that the log does not know of. They need not be behind those that it
    /// does: of a log that ends too early the last words may have been about any.
    fn walk(&self, file: &D::File, scanned: &mut Scanned) -> io::Result<()> {
        scanned.walked.clear();
        scanned.torn.clear();
        let length = file.length()?;
        let mut seen = scanned.log.seen.clone();
        seen.sort_unstable();
        let mut seen = seen.into_iter().peekable();
        let mut at = scanned.log.mark;
        let (mut window, mut window_at) = (Vec::new(), 0u64);
        while at + HEADER as u64 <= length {
            while seen.next_if(|(from, _)| *from < at).is_some() {}
            if let Some((_, size)) = seen.next_if(|(from, _)| *from == at) {
                at += size.max(RECORD_UNIT);
                continue;
            }
            let held = window_at + window.len() as u64;
            if at < window_at || at + HEADER as u64 > held {
                window.resize(256 * 1024, 0);
                let n = read_fully(file, &mut window, at)?;
                window.truncate(n);
                window_at = at;
            }
            let bytes = window.get((at - window_at) as usize..).unwrap_or_default();
            let header = Header::read(bytes, &self.identity)
                .filter(|h| (h.segment, u64::from(h.offset)) == (scanned.number, at));
            let Some(header) = header else {
                let next = format::round_up(at + 1, BLOCK);
                let block = bytes.get(..(next - at) as usize).unwrap_or(bytes);
                if block.iter().all(|b| *b == 0) {
                    at = next;
                } else {
                    // A record that is damaged may be followed by good ones of the same batch.
                    scanned.tail = scanned.tail.max(next);
                    at += RECORD_UNIT;
                }
                continue;
            };
            let size = header.length().min(length - at);
            let mut record = vec![0; usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?];
            let n = read_fully(file, &mut record, at)?;
            record.truncate(n);
            let middle = HEADER + header.envelope as usize;
            let envelope = record.get(HEADER..middle).filter(|b| crc32fast::hash(b) == header.envelope_crc);
            let body = record.get(middle..middle + header.body as usize);
            let body = body.filter(|b| crc32fast::hash(b) == header.body_crc);
            match envelope.and_then(encode::read_envelope).filter(|_| body.is_some()) {
                Some(envelope) => {
                    let site = ledger::site_of(&envelope);
                    let mut plan = Plan { next: envelope.arrival, site, ..Default::default() };
                    plan.set(Plan::HELD, envelope.hold);
                    let found = Found {
                        plan,
                        offset: at as u32,
                        length: header.length() as u32,
                        big: header.flags & format::BIG != 0,
                        ..Default::default()
                    };
                    scanned.walked.push((header.id, found));
                    at += header.length();
                    scanned.end = scanned.end.max(format::round_up(at, BLOCK));
                }
                None => {
                    scanned.torn.push((header.id, record));
                    scanned.tail = scanned.tail.max(at + header.length());
                    at += RECORD_UNIT;
                }
            }
        }
        let used = scanned.end.max(scanned.tail);
        if used < length && !self.read_only {
            // Space that was taken ahead. When this fails it costs only space.
            let _ = file.cut(used);
        }
        if !scanned.walked.is_empty() {
            // Left by a killed process they may be in memory only.
            file.sync()?;
        }
        Ok(())
    }

    /// Takes what was found into the index, and puts the log in order.
    fn adopt(&self, scanned: Scanned, read_only: bool) -> Result<(), String> {
        let number = scanned.number;
        let path = log_path(number);
        if !scanned.segment_there {
            let (file, messages) = (segment_path(number), scanned.log.found.len());
            let mut ids: Vec<QueueId> = scanned.log.found.into_keys().collect();
            ids.sort_unstable();
            // One that was copied is elsewhere.
            ids.retain(|id| self.lock().ledger.get(*id).is_none());
            if !ids.is_empty() {
                self.source.say(&SegmentMissing { file: file.clone(), messages });
                ids.iter().for_each(|id| self.source.say_of(*id, &Missing { file: file.clone() }));
            }
            if !read_only {
                self.keep_bodies(&ids);
            }
            if !read_only && (ids.is_empty() || self.disk.rename(&path, &kept(&path)).is_err()) {
                let _ = self.disk.unlink(&path);
            }
            return Ok(());
        }
        if scanned.strange {
            let file = segment_path(number);
            let well = read_only || self.disk.rename(&file, &kept(&file)).is_ok();
            self.source.say(&Strange { file: format!("valija/{}", if well { kept(&file) } else { file }) });
            let _ = read_only || self.disk.unlink(&path).is_ok();
            return Ok(());
        }
        let good = scanned.log.end >= LOG_HEAD as u64;
        let whole = good && scanned.log.clean;
        let torn = if scanned.log_there { !whole } else { !scanned.walked.is_empty() };
        if torn {
            self.source.say(&LogTorn { file: path.clone(), found: scanned.walked.len() });
        }
        let mut broken = false;
        let log = if read_only {
            StateLog::new(number, scanned.log.end.max(LOG_HEAD as u64), 0)
        } else if good {
            // Nothing may follow the last good record when the next one is written.
            let cut = || {
                let file = self.disk.open(&path)?;
                write_fully(&file, &mut [IoSlice::new(&format::log_head(number))], 0)?;
                file.cut(scanned.log.end)?;
                file.sync()
            };
            broken = scanned.doubtful.is_some() || (!scanned.log.clean && cut().is_err());
            let mut said = scanned.doubtful.unwrap_or_default();
            said.truncate(scanned.log.end as usize);
            StateLog::anew(number, scanned.log.end - said.len() as u64, said, Vec::new())
        } else {
            match state_log::create(&self.disk, number).and_then(|log| {
                self.disk.sync_directory("seg")?;
                Ok(log)
            }) {
                Ok(log) => log,
                Err(_) => {
                    broken = true;
                    StateLog::new(number, LOG_HEAD as u64, 0)
                }
            }
        };
        for (id, record) in scanned.torn {
            // Half a copy of what is elsewhere.
            if self.lock().ledger.get(id).is_some() {
                continue;
            }
            let file = format!("corrupt/{}", id.short());
            if read_only || self.keep_corrupt(&file, &record).is_err() {
                continue;
            }
            let why = "after a crash its checksum was wrong (if the crash came before 250 was sent, the client has kept it)";
            self.keep_bodies(&[id]);
            self.source.say_of(id, &Corrupt { why: why.into(), file: format!("valija/{file}") });
        }
        let mut guard = self.lock();
        let index = &mut *guard;
        let mut segment = Segment::new(scanned.end, log);
        segment.sealed = true;
        segment.verified = self.disk.now().saturating_sub(self.scrub_every - self.scrub_every / 24);
        index.segments.insert(number, segment);
        if broken {
            index.broken.insert(number);
        }
        // A copy that no log knows does not count: only the original has its states.
        let new = |id: &QueueId| !scanned.log.found.contains_key(id) && index.ledger.get(*id).is_none();
        let walked: Vec<_> = scanned.walked.into_iter().filter(|(id, _)| new(id)).collect();
        let order: Vec<QueueId> = walked.iter().map(|(id, _)| *id).collect();
        let mut all: Vec<_> = scanned.log.found.into_iter().chain(walked).collect();
        // In order the index is built much faster.
        all.sort_by_key(|(id, _)| *id);
        for (id, found) in all {
            // A message that was copied: the later segment counts.
            index.forget(&self.identity, id);
            let mut plan = found.plan;
            if plan.has(Plan::OWED) {
                plan.next = 0;
            }
            let mut place = Place::new(number, found.offset, found.length, found.big);
            place.state = found.state;
            if let (Some(merged), Some(segment)) = (&found.merged, index.segments.get_mut(&number)) {
                let all = merged.all.as_deref().unwrap_or_default();
                place.state = segment.log.append(&self.identity, (Kind::State, id, found.offset), |o| {
                    o.extend_from_slice(&plan.write());
                    encode::state(all, merged.envelope.as_ref(), o);
                });
            }
            index.ledger.insert(id, plan, place);
            index.last_id = index.last_id.max(id.0);
            if let Some(segment) = index.segments.get_mut(&number) {
                segment.take_in(id, &place);
            }
        }
        // As they are in the segment.
        for id in order {
            let Some((plan, place)) = index.ledger.get(id).map(|e| (e.plan, e.place)) else { continue };
            if let Some(segment) = index.segments.get_mut(&number) {
                state_log::append_put(&mut segment.log, &self.identity, id, (&plan, &place), None);
            }
        }
        if scanned.log.sealed.is_none()
            && let Some(segment) = index.segments.get_mut(&number)
        {
            let seal = (Kind::Seal, QueueId(0), scanned.end as u32);
            segment.log.append(&self.identity, seal, |_| {});
        }
        if !read_only {
            index.dirty.insert(number);
        }
        Ok(())
    }

    /// Sets aside the bodies of messages whose records are lost, before whatever names them goes.
    fn keep_bodies(&self, ids: &[QueueId]) {
        let mut moved = false;
        for id in ids {
            moved |= self.disk.rename(&big_path(*id), &format!("corrupt/{}.body", id.short())).is_ok();
        }
        if moved {
            let _ = self.disk.sync_directory("corrupt");
        }
    }

    /// Bodies whose message never was, or is gone.
    fn remove_orphans(&self) {
        let Ok(names) = self.disk.list("big") else { return };
        for name in names {
            let owner =
                QueueId::parse(&name).and_then(|id| self.lock().ledger.get(id).map(|e| e.place.big()));
            if owner != Some(true) {
                let _ = self.disk.unlink(&format!("big/{name}"));
            }
        }
    }

    /// Segments in which nothing lives and whose log was written before.
    fn drop_dead(&self) {
        if !self.disk.lock(&self.tending).unsettled.is_empty() {
            return;
        }
        let dead: Vec<u32> = {
            let mut index = self.lock();
            let durable = |n: &u32| {
                !(index.dirty.contains(n) || index.unsynced.contains(n) || index.broken.contains(n))
            };
            let gone = index.segments.iter().filter(|(n, s)| s.sealed && s.live == 0 && durable(n));
            let dead: Vec<u32> = gone.map(|(n, _)| *n).collect();
            for number in &dead {
                index.segments.remove(number);
                index.dirty.remove(number);
                index.unsynced.remove(number);
                index.broken.remove(number);
            }
            dead
        };
        dead.into_iter().for_each(|number| self.remove_segment(number));
    }

    /// From now on survivors are copied together where that is worth it.
    pub fn forward_survivors(&self) {
        let mut index = self.lock();
        index.forwards = !self.read_only;
        index.look();
    }

    /// Makes the first segment, so that the first message need not wait for it.
    pub fn warm_up(&self) {
        let mut writer = self.disk.lock(&self.writer);
        if self.disk.lock(&self.jobs).closed {
            // It would stay behind.
            return;
        }
        // What goes wrong here is said, and goes wrong again when mail arrives.
        let _ = self.room_for(&mut writer, BLOCK);
    }

    /// Ends everything: writes what waits, and leaves no empty segment behind.
    pub fn shut(&self) {
        {
            let mut jobs = self.disk.lock(&self.jobs);
            jobs.closed = true;
            self.arrived.notify_all();
        }
        while self.commit_waiting() {}
        let mut writer = self.disk.lock(&self.writer);
        self.seal(&mut writer);
        if let Some(Current { number, .. }) = writer.next.take()
            && let Some(segment) = self.lock().segments.get_mut(&number)
        {
            segment.sealed = true;
        }
        drop(writer);
        let woken = {
            let mut index = self.lock();
            index.ledger.closed = true;
            self.stir.notify_all();
            self.jot.notify_all();
            self.rest.notify_all();
            index.ledger.woken(0)
        };
        woken.into_iter().for_each(|w| w.wake());
        self.tend(true);
        self.drop_dead();
    }
}

/// Where a file that is of no use goes, for a human.
fn kept(path: &str) -> String {
    format!("corrupt/{}", path.rsplit('/').next().unwrap_or(path))
}

/// Tries three times: an error that stays would cost messages.
fn patiently<T>(mut what: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut result = what();
    for _ in 0..2 {
        match &result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => result = what(),
            _ => break,
        }
    }
    result
}

/// The identity of the spool: from `format`, else from a segment, else new.
fn identity<D: Disk>(
    disk: &D,
    segments: &BTreeSet<u32>,
    source: &Source,
    read_only: bool,
) -> Result<Identity, String> {
    let text = patiently(|| {
        let file = disk.open("format")?;
        let mut bytes = vec![0; 4096];
        let n = read_fully(&file, &mut bytes, 0)?;
        bytes.truncate(n);
        Ok(bytes)
    });
    match text.map(|b| format::read_format(&String::from_utf8_lossy(&b))) {
        Ok(Ok(identity)) => return Ok(identity),
        Ok(Err(Some(version))) => {
            return Err(format!(
                "the queue has format {version}, this program knows format {}: use the program that made it, and drain the queue with it",
                format::FORMAT
            ));
        }
        Ok(Err(None)) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(format!("read format: {e}")),
    }
    let head = |number: &u32| {
        let file = disk.open(&segment_path(*number)).ok()?;
        let mut head = [0; 64];
        read_fully(&file, &mut head, 0).ok()?;
        format::read_segment_head(&head).map(|(_, identity)| identity)
    };
    let kept = segments.iter().find_map(head);
    let identity = match kept {
        Some(identity) => identity,
        None if segments.is_empty() && !read_only => {
            let mut random = [0; 24];
            disk.random(&mut random).map_err(|e| format!("random numbers: {e}"))?;
            let (mut spool, mut key) = ([0; 8], [0; 16]);
            spool.copy_from_slice(&random[..8]);
            key.copy_from_slice(&random[8..]);
            Identity { spool: u64::from_le_bytes(spool), key }
        }
        None => return Err("the file format is missing or damaged, and no segment tells what it said".into()),
    };
    if !read_only {
        let write = || {
            let file = disk.create("format.new")?;
            write_fully(&file, &mut [IoSlice::new(format::write_format(&identity).as_bytes())], 0)?;
            file.sync()?;
            disk.rename("format.new", "format")?;
            disk.sync_directory(".")
        };
        write().map_err(|e| format!("write format: {e}"))?;
        if kept.is_some() {
            source.say(&FormatRestored {});
        }
    }
    Ok(identity)
}
