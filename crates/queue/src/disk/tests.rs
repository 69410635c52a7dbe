//! Tests of `disk`.

use super::*;
use crate::{Draft, QueueName, RecipientState, block_on};
use proto::Address;
use proto::envelope::Recipient;
use proto::status::{Code, Status};

pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("valija-queue-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }
    fn open(&self) -> Result<DiskStore, String> {
        let options = Options { segment: Some(1 << 20), ..Default::default() };
        DiskStore::open(&self.0, &options, Source::new("postfix", "queue", 1))
    }
    /// The store without its threads: nothing happens that is not asked for, and dropping it is as a kill.
    pub(super) fn open_still(&self) -> Arc<Engine<RealDisk>> {
        let directory = directory(&self.0);
        std::fs::create_dir_all(&directory).unwrap();
        let options = Options { segment: Some(1 << 20), threads: 1, ..Default::default() };
        let source = Source::new("postfix", "queue", 1);
        Arc::new(Engine::open(RealDisk::new(&directory), &options, source, false).unwrap())
    }
    fn files(&self, below: &str) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(directory(&self.0).join(below))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(store: &DiskStore, n: usize, body: &[u8]) -> QueueId {
    let recipient =
        |i| Recipient { address: Address::new(format!("u{i}"), Some("x.test")), ..Default::default() };
    let envelope = Envelope { recipients: (0..n).map(recipient).collect(), ..Default::default() };
    block_on(async {
        let mut draft = store.draft(store.new_id(), 0).unwrap();
        for piece in body.chunks(70_000) {
            draft.write(piece).await.unwrap();
        }
        draft.commit(envelope).await.unwrap()
    })
}

/// One with a body of its own, to someone@x.test, which no log knows yet.
fn big(store: &Arc<Engine<RealDisk>>, body: &[u8]) -> QueueId {
    let address = Address::new("someone", Some("x.test"));
    let recipients = vec![Recipient { address, ..Default::default() }];
    let mut draft = store.draft(store.new_id(), 0).unwrap();
    draft.append(body).unwrap();
    let answer = draft.submit(Envelope { recipients, ..Default::default() }).unwrap();
    while store.commit_waiting() {}
    block_on(answer).unwrap().unwrap()
}

/// So many messages, leased.
pub(super) fn under_way(store: &Arc<Engine<RealDisk>>, n: usize) -> Vec<QueueId> {
    let envelope = Envelope { recipients: vec![Recipient::default()], ..Default::default() };
    let answers: Vec<_> = (0..n)
        .map(|_| {
            let mut draft = store.draft(store.new_id(), 0).unwrap();
            draft.append(&[b'x'; 10_000]).unwrap();
            draft.submit(envelope.clone()).unwrap()
        })
        .collect();
    while store.commit_waiting() {}
    let ids = answers.into_iter().map(|answer| block_on(answer).unwrap().unwrap()).collect();
    let leased = block_on(poll_fn(|context| store.poll_lease(n, context)));
    assert_eq!(leased.len(), n);
    ids
}

/// It is delivered; `write` waits until that is in the log's file.
pub(super) fn gone(store: &Engine<RealDisk>, id: QueueId, write: bool) {
    store.settle(id, Outcome { recipients: vec![(0, sent())], ..Default::default() }, false).unwrap();
    while write && !store.note() {
        std::thread::yield_now();
    }
}

fn content(body: Body) -> Vec<u8> {
    match body {
        Body::Memory(bytes) => bytes.to_vec(),
        Body::File(file, length) => {
            let mut bytes = vec![0; length as usize];
            std::os::unix::fs::FileExt::read_exact_at(&*file, &mut bytes, 0).unwrap();
            bytes
        }
    }
}

fn sent() -> RecipientState {
    RecipientState::Sent(Status::new(Code(2, 0, 0), "delivered"))
}

#[test]
fn messages_come_back_after_a_restart_and_go_when_delivered() {
    let place = Place::new("restart");
    let store = place.open().unwrap();
    let big: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let (small, large) = (put(&store, 2, b"hola\r\n"), put(&store, 1, &big));
    let held = put(&store, 1, b"x");
    assert_eq!(place.files("big"), [large.to_string()]);
    let leased = block_on(store.lease(9));
    assert_eq!(leased.iter().map(|l| l.id).collect::<Vec<_>>(), [small, large, held]);
    let first = Outcome { recipients: vec![(0, sent())], ..Default::default() };
    block_on(store.settle(small, first, true)).unwrap();
    assert_eq!(block_on(store.control(Selection::Ids(vec![held]), Action::Hold)).unwrap(), [held]);
    assert_eq!(content(block_on(store.body(large)).unwrap()), big);
    let other = place.open().err().unwrap();
    assert!(other.contains(&format!("in use by process {}", std::process::id())), "{other}");
    drop(store);

    let store = place.open().unwrap();
    assert_eq!((store.counts().hold, store.counts().total()), (1, 3));
    let leased = block_on(store.lease(9));
    assert_eq!(leased.iter().map(|l| l.id).collect::<Vec<_>>(), [small, large]);
    assert_eq!(leased[0].recipients, [sent(), RecipientState::Pending]);
    assert_eq!(content(block_on(store.body(small)).unwrap()), b"hola\r\n");
    assert_eq!(content(block_on(store.body(large)).unwrap()), big);
    block_on(store.settle(small, Outcome { recipients: vec![(1, sent())], ..Default::default() }, true))
        .unwrap();
    block_on(store.settle(large, Outcome { recipients: vec![(0, sent())], ..Default::default() }, false))
        .unwrap();
    block_on(store.control(Selection::All(Some(QueueName::Hold)), Action::Delete)).unwrap();
    assert_eq!(store.counts().total(), 0);
    assert!(place.files("big").is_empty(), "a control call is durable, so space is back");
    block_on(store.close());
    assert!(place.files("seg").is_empty(), "{:?}", place.files("seg"));
    assert!(place.open().unwrap().engine.list(None, 9).unwrap().is_empty());
}

#[test]
fn the_log_of_a_segment_that_never_fills_does_not_grow_without_end() {
    let place = Place::new("long-log");
    let store = place.open_still();
    let id = under_way(&store, 1)[0];
    let status = Status::new(Code(4, 4, 1), "x".repeat(20_000));
    for round in 0..400 {
        let later = RecipientState::Deferred(status.clone());
        let outcome = Outcome { recipients: vec![(0, later)], next_attempt: Some(0), ..Default::default() };
        store.settle(id, outcome, false).unwrap();
        assert!(store.sync(), "{round}");
        assert_eq!(block_on(poll_fn(|context| store.poll_lease(1, context)))[0].id, id);
    }
    let logs = place.files("seg").into_iter().filter(|n| n.ends_with(".st"));
    let longest = logs.map(|n| std::fs::metadata(directory(&place.0).join("seg").join(n)).unwrap().len());
    assert!(longest.max().unwrap() < 1 << 20, "8 MB of states that no longer hold");
    assert_eq!(under_way(&store, 1).len(), 1, "and there is a segment for new mail");
}

#[test]
fn a_committer_that_starts_after_the_end_makes_nothing() {
    let place = Place::new("late");
    let store = place.open_still();
    store.shut();
    store.warm_up();
    assert!(place.files("seg").is_empty());
}

#[test]
fn many_sessions_share_segments_and_space_comes_back() {
    let place = Place::new("sessions");
    let store = Arc::new(place.open().unwrap());
    let body = vec![b'a'; 20_000];
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (store, body) = (store.clone(), body.clone());
            std::thread::spawn(move || (0..25).map(|_| put(&store, 1, &body)).collect::<Vec<_>>())
        })
        .collect();
    let mut ids: Vec<QueueId> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    ids.sort();
    assert_eq!(store.counts().incoming, 200);
    assert!(place.files("seg").iter().filter(|f| f.ends_with(".seg")).count() >= 4);
    // All but every tenth go: the segments stay, with holes.
    let survivors: Vec<QueueId> = ids.iter().copied().step_by(10).collect();
    let gone: Vec<QueueId> = ids.iter().copied().filter(|i| !survivors.contains(i)).collect();
    assert_eq!(block_on(store.control(Selection::Ids(gone.clone()), Action::Delete)).unwrap(), gone);
    assert!(store.engine.sync());
    let blocks: u64 = std::fs::read_dir(directory(&place.0).join("seg"))
        .unwrap()
        .map(|e| std::os::unix::fs::MetadataExt::blocks(&e.unwrap().metadata().unwrap()) * 512)
        .sum();
    // 4 MB went in; a file system without holes keeps them.
    assert!(blocks < 3 << 20 || !punches(&place.0), "{blocks} bytes for 20 survivors of 200");
    for id in &survivors {
        // Not the copy in memory.
        store.engine.lock().cool(*id);
        assert_eq!(content(block_on(store.body(*id)).unwrap()), body);
    }
    drop(store);
    let store = place.open().unwrap();
    let listed: Vec<QueueId> = block_on(store.list(None, 99)).unwrap().iter().map(|s| s.id).collect();
    assert_eq!(listed, survivors);
    block_on(store.control(Selection::All(None), Action::Delete)).unwrap();
    block_on(store.close());
    assert!(place.files("seg").is_empty());
}

#[test]
fn lease_sleeps_until_something_is_due() {
    let place = Place::new("wakes");
    let store = Arc::new(place.open().unwrap());
    let other = store.clone();
    let waits = std::thread::spawn(move || block_on(other.lease(1)));
    let id = put(&store, 1, b"x");
    assert_eq!(waits.join().unwrap()[0].id, id);
    let soon = sys::time::now_micros() + 30_000;
    let later = Outcome {
        recipients: vec![(0, RecipientState::Deferred(Status::new(Code(4, 0, 0), "later")))],
        next_attempt: Some(soon),
        ..Default::default()
    };
    block_on(store.settle(id, later, false)).unwrap();
    let again = block_on(store.lease(1));
    assert!(again[0].leased_at >= soon && again[0].tries == 1);
    assert_eq!(block_on(store.blame(id)), Ok(1));
    assert_eq!(block_on(store.blame(id)), Ok(2));
    let log = ::events::memory();
    assert_eq!(block_on(store.blame(id)), Ok(3));
    assert!(log.take()[0].contains("put on hold: 3 times"));
    block_on(store.settle(id, Outcome::default(), false)).unwrap();
    assert_eq!(store.counts().hold, 1);
}

#[test]
fn an_unknown_format_is_refused_and_a_damaged_one_restored() {
    let place = Place::new("format");
    let store = place.open().unwrap();
    let id = put(&store, 1, b"x");
    drop(store);
    let format = directory(&place.0).join("format");
    let text = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, &text[..20]).unwrap();
    let store = place.open().unwrap();
    assert_eq!(content(store.engine.body(id).unwrap()), b"x");
    drop(store);
    assert_eq!(std::fs::read_to_string(&format).unwrap(), text);
    let later = "valija-spool 9\n";
    std::fs::write(&format, format!("{later}sum {:08x}\n", crc32fast::hash(later.as_bytes()))).unwrap();
    assert!(place.open().err().unwrap().contains("format 9"));
}

#[test]
fn tools_read_and_change_the_queue_of_a_stopped_system() {
    use crate::offline::{Offline, OfflineError};
    let place = Place::new("offline");
    let open = |change| Offline::open(&place.0, change, Source::new("postfix", "postsuper", 1));
    assert_eq!(open(false).err(), Some(OfflineError::Nothing));
    let store = place.open().unwrap();
    let (a, b) = (put(&store, 1, b"one"), put(&store, 1, b"two"));
    assert!(matches!(open(false), Err(OfflineError::Refused(_))), "a daemon runs");
    drop(store);
    let (reader, second) = (open(false).unwrap(), open(false).unwrap());
    assert_eq!(reader.list(None, 9).unwrap().len(), 2);
    assert_eq!(content(second.body(b).unwrap()), b"two");
    assert!(reader.control(&Selection::All(None), Action::Delete).is_err());
    assert!(open(true).is_err(), "readers are at work");
    drop((reader, second));
    let tool = open(true).unwrap();
    assert!(place.open().is_err(), "a tool changes it");
    assert_eq!(tool.control(&Selection::Ids(vec![a]), Action::Delete).unwrap(), [a]);
    assert_eq!(tool.control(&Selection::All(None), Action::Hold).unwrap(), [b]);
    drop(tool);
    let reader = open(false).unwrap();
    assert_eq!((reader.get(a).unwrap().is_none(), reader.counts().hold), (true, 1));
}

#[test]
fn no_room_is_said_before_mail_is_taken() {
    let place = Place::new("room");
    let options = Options { room: u64::MAX, ..Default::default() };
    let store = DiskStore::open(&place.0, &options, Source::new("postfix", "queue", 1)).unwrap();
    assert_eq!(store.health(), Health::Closed(StoreError::Full));
    assert_eq!(store.draft(store.new_id(), 0).err(), Some(StoreError::Full));
    drop(store);
    let store = place.open().unwrap();
    assert!(matches!(store.health(), Health::Open { .. }));
    assert_eq!(store.draft(store.new_id(), 1 << 60).err(), Some(StoreError::Full));
    let config = config::Config::from_text(Path::new("/x"), "message_size_limit = 1000\n").unwrap();
    assert_eq!(Options::from_config(&config).unwrap().room, 1500);
    assert_eq!(Options::from_config(&config.with([("queue_minfree", "9000")])).unwrap().room, 9000);
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let place = Place::new("dropped");
    let store = place.open().unwrap();
    let mut draft = store.draft(store.new_id(), 0).unwrap();
    block_on(draft.write(&vec![b'x'; 3 << 20])).unwrap();
    assert_eq!(place.files("big").len(), 1);
    drop(draft);
    assert!(place.files("big").is_empty());
    assert_eq!(store.counts().total(), 0);
}

fn punches(directory: &Path) -> bool {
    let file = File::create_new(directory.join("probe")).unwrap();
    DiskFile::allocate(&file, 0, 8192).is_ok() && DiskFile::punch(&file, 0, 4096).is_ok()
}

/// Waits for what the store's threads do.
fn soon(what: &str, mut there: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(std::time::Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nobody_wakes_while_nothing_waits() {
    let place = Place::new("idle");
    let store = Arc::new(place.open().unwrap());
    let other = store.clone();
    let (tell, leased) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let leased = block_on(other.lease(1));
            if leased.is_empty() || tell.send(leased).is_err() {
                return;
            }
        }
    });
    // Without end, as its threads wait when these say so.
    let sleeps = |store: &DiskStore| {
        let index = store.engine.lock();
        index.alarm == u64::MAX && store.engine.scrub_due(&index) == u64::MAX && index.ledger.awaited()
    };
    soon("the threads of a new queue to sleep", || sleeps(&store));
    let id = put(&store, 1, b"x");
    assert_eq!(leased.recv().unwrap()[0].id, id);
    block_on(store.settle(id, Outcome { recipients: vec![(0, sent())], ..Default::default() }, false))
        .unwrap();
    soon("the threads to sleep again", || sleeps(&store));
    block_on(store.close());
}

/// A queue of several segments with one message in each, and those.
fn sparse(store: &DiskStore, segments: usize) -> Vec<(QueueId, Vec<u8>)> {
    let body = |n: usize| vec![b'a' + n as u8; 100_000];
    let mut kept = Vec::new();
    for n in 0..segments {
        let ids: Vec<QueueId> = (0..10).map(|_| put(store, 2, &body(n))).collect();
        kept.push((ids[0], body(n)));
        block_on(store.control(Selection::Ids(ids[1..].to_vec()), Action::Delete)).unwrap();
    }
    kept
}

#[test]
fn survivors_of_empty_segments_move_together_with_their_states() {
    let place = Place::new("forward");
    let options = Options { segment: Some(1 << 20), crowd: Some(4), ..Default::default() };
    let open = || DiskStore::open(&place.0, &options, Source::new("postfix", "queue", 1)).unwrap();
    let mut store = open();
    let segments = || place.files("seg").iter().filter(|f| f.ends_with(".seg")).count();
    let kept = sparse(&store, 3);
    // One has states, one is on hold.
    let leased = block_on(store.lease(9)).into_iter().map(|l| l.id).collect::<Vec<_>>();
    assert_eq!(leased, kept.iter().map(|k| k.0).collect::<Vec<_>>());
    for id in leased {
        let first =
            Outcome { recipients: vec![(0, sent())], next_attempt: Some(u64::MAX), ..Default::default() };
        block_on(store.settle(id, first, false)).unwrap();
    }
    block_on(store.control(Selection::Ids(vec![kept[1].0]), Action::Hold)).unwrap();
    let more = sparse(&store, 5);
    soon("fewer segments", || segments() <= 4);
    assert!(store.engine.forwarded() >= 3);
    for round in 0..2 {
        for (id, body) in kept.iter().chain(&more) {
            store.engine.lock().cool(*id);
            assert!(content(store.engine.body(*id).unwrap()) == *body, "round {round}");
        }
        for (id, _) in &kept {
            let summary = store.engine.get(*id).unwrap().unwrap();
            assert_eq!(summary.recipients, [sent(), RecipientState::Pending], "round {round}");
            let held = *id == kept[1].0;
            assert_eq!(summary.queue, if held { QueueName::Hold } else { QueueName::Deferred });
        }
        assert_eq!(store.counts().total(), 8);
        drop(store);
        store = open();
    }
}

#[test]
fn a_big_body_outlives_its_record() {
    let place = Place::new("bodies");
    let body = |n: u8| vec![n; 2 << 20];
    let store = place.open_still();
    let first = big(&store, &body(1));
    assert!(store.sync());
    drop(store);
    let seg = directory(&place.0).join("seg");
    let segment = place.files("seg").into_iter().find(|f| f.ends_with(".seg")).unwrap();
    std::fs::remove_file(seg.join(segment)).unwrap();
    // One whose record is damaged, and that no log knows.
    let store = place.open_still();
    let second = big(&store, &body(2));
    drop(store);
    let segment = place.files("seg").into_iter().find(|f| f.ends_with(".seg")).unwrap();
    let mut bytes = std::fs::read(seg.join(&segment)).unwrap();
    let at = bytes.windows(7).position(|w| w == b"someone").unwrap();
    bytes[at] ^= 1;
    std::fs::write(seg.join(&segment), bytes).unwrap();
    drop(place.open_still());
    for (id, n) in [(first, 1), (second, 2)] {
        let kept = directory(&place.0).join(format!("corrupt/{}.body", id.short()));
        assert!(std::fs::read(kept).is_ok_and(|kept| kept == body(n)), "{n}: {:?}", place.files("corrupt"));
    }
    assert!(place.files("big").is_empty());
}

#[test]
fn damage_that_nobody_reads_is_found() {
    let place = Place::new("scrub");
    let store = place.open().unwrap();
    let (good, bad, big) =
        (put(&store, 1, b"good"), put(&store, 1, b"bad"), put(&store, 1, &[b'x'; 2 << 20]));
    drop(store);
    let seg = directory(&place.0).join("seg");
    let name = place.files("seg").into_iter().find(|f| f.ends_with(".seg")).unwrap();
    let mut bytes = std::fs::read(seg.join(&name)).unwrap();
    let at = bytes.windows(3).rposition(|w| w == b"bad").unwrap();
    bytes[at] ^= 1;
    std::fs::write(seg.join(&name), bytes).unwrap();
    let body = directory(&place.0).join("big").join(&place.files("big")[0]);
    let file = OpenOptions::new().write(true).open(body).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"y", 1 << 20).unwrap();

    let options = Options { segment: Some(1 << 20), scrub_every: Some(1), ..Default::default() };
    let store = DiskStore::open(&place.0, &options, Source::new("postfix", "queue", 1)).unwrap();
    soon("the damage to be found", || store.counts().total() == 1);
    assert_eq!(content(store.engine.body(good).unwrap()), b"good");
    let corrupt = place.files("corrupt");
    for id in [bad, big] {
        assert!(corrupt.iter().any(|f| id.to_string().contains(f.as_str())), "{id} {corrupt:?}");
    }
    let number = u32::from_str_radix(name.trim_end_matches(".seg"), 16).unwrap();
    // A log that is damaged is written anew from memory.
    let log = seg.join(name.replace(".seg", ".st"));
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    soon("a new log", || {
        let now = std::fs::read(&log).unwrap_or_default();
        let scan = recover::scan_log(&now, &store.engine.identity, number);
        scan.clean && scan.found.len() == 1
    });
    drop(store);
    let store = place.open().unwrap();
    assert_eq!(content(store.engine.body(good).unwrap()), b"good");
}
