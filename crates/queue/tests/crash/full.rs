//! A full disk, and a disk that fails: new mail is refused, everything else goes on, and nobody
//! has to restart anything afterwards.

use crate::simulated::SimulatedDisk;
use proto::QueueId;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use queue::disk::{Engine, Options};
use queue::{Action, Health, Leased, Outcome, RecipientState, Selection, StoreError};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Store = Arc<Engine<SimulatedDisk>>;

fn open(disk: &SimulatedDisk) -> Store {
    let options = Options { segment: Some(128 * 1024), threads: 1, ..Default::default() };
    Arc::new(Engine::open(disk.clone(), &options, events::Source::new("postfix", "queue", 1), false).unwrap())
}

fn put(store: &Store) -> Result<QueueId, StoreError> {
    let id = store.new_id();
    let mut draft = store.draft(id, 0)?;
    draft.append(&[b'x'; 20_000])?;
    let envelope = Envelope { recipients: vec![Recipient::default()], ..Default::default() };
    let answer = draft.submit(envelope)?;
    while store.commit_waiting() {}
    let Poll::Ready(Some(answer)) = pin!(answer).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("no answer")
    };
    answer
}

fn lease(store: &Store, n: usize) -> Vec<Leased> {
    match store.poll_lease(n, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(leased) => leased,
        Poll::Pending => Vec::new(),
    }
}

#[test]
fn a_full_disk_refuses_new_mail_and_nothing_else() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let ids: Vec<QueueId> = (0..12).map(|_| put(&store).unwrap()).collect();
    let log = events::memory();
    disk.world().full = true;
    // Health sees it before anybody sends; a session that is past that is told at the end.
    assert_eq!(store.health(), Health::Closed(StoreError::Full));
    assert_eq!(put(&store), Err(StoreError::Full));
    for one in lease(&store, 6) {
        let sent = RecipientState::Sent(Status::new(Code(2, 0, 0), "x"));
        store.settle(one.id, Outcome { recipients: vec![(0, sent)], ..Default::default() }, false).unwrap();
    }
    for one in lease(&store, 2) {
        let later = RecipientState::Deferred(Status::new(Code(4, 0, 0), "x"));
        let outcome = Outcome { recipients: vec![(0, later)], next_attempt: Some(1), ..Default::default() };
        store.settle(one.id, outcome, false).unwrap();
    }
    let segments = disk.file_names().iter().filter(|n| n.ends_with(".seg")).count();
    let (gone, _) = store.control(&Selection::Ids(ids[6..10].to_vec()), Action::Delete).unwrap();
    assert_eq!(gone.len(), 4);
    assert!(store.sync(), "deliveries and deletions become durable on a full disk");
    assert!(disk.file_names().iter().filter(|n| n.ends_with(".seg")).count() < segments, "and make room");
    assert_eq!(store.counts().total(), 2);
    disk.world().full = false;
    assert!(matches!(store.health(), Health::Open { .. }));
    put(&store).unwrap();
    let store = open(&disk.cut());
    assert_eq!(store.counts().total(), 3);
    drop(log);
}

#[test]
fn space_that_runs_out_between_health_and_commit_is_452() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let mut answers = Vec::new();
    for _ in 0..20 {
        let mut draft = store.draft(store.new_id(), 0).unwrap();
        draft.append(&[b'x'; 20_000]).unwrap();
        let envelope = Envelope { recipients: vec![Recipient::default()], ..Default::default() };
        answers.push(Box::pin(draft.submit(envelope).unwrap()));
    }
    disk.world().full = true;
    while store.commit_waiting() {}
    let mut context = Context::from_waker(Waker::noop());
    for answer in &mut answers {
        assert_eq!(answer.as_mut().poll(&mut context), Poll::Ready(Some(Err(StoreError::Full))));
    }
    assert_eq!(store.counts().total(), 0);
    disk.world().full = false;
    put(&store).unwrap();
}

#[test]
fn three_failures_in_a_row_close_the_door_for_a_minute() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    put(&store).unwrap();
    let log = events::memory();
    disk.world().faults = 1;
    for _ in 0..3 {
        assert!(matches!(put(&store), Err(StoreError::Failing(_) | StoreError::Full)));
    }
    while matches!(store.health(), Health::Open { .. }) {
        assert!(put(&store).is_err());
    }
    disk.world().faults = 0;
    assert!(matches!(store.health(), Health::Closed(StoreError::Failing(_))));
    assert!(log.take().iter().any(|l| l.contains("takes no mail, writing failed three times")));
    assert_eq!(lease(&store, 9).len(), 1, "deliveries go on");
    disk.world().now += 61_000_000;
    put(&store).unwrap();
    assert!(log.take().iter().any(|l| l.contains("takes mail again")));
    assert!(matches!(store.health(), Health::Open { .. }));
    let store = open(&disk.cut());
    assert_eq!(store.counts().total(), 2);
}

#[test]
fn a_log_written_anew_does_not_bring_back_what_is_gone() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    for _ in 0..3 {
        put(&store).unwrap();
    }
    for one in lease(&store, 3) {
        let sent = RecipientState::Sent(Status::new(Code(2, 0, 0), "x"));
        store.settle(one.id, Outcome { recipients: vec![(0, sent)], ..Default::default() }, false).unwrap();
    }
    store.tend(false);
    let log = events::memory();
    disk.world().faults = 1;
    assert!(!store.sync(), "the log cannot be synced, nor written anew");
    disk.world().faults = 0;
    assert!(store.sync());
    assert!(!log.take().is_empty());
    put(&store).unwrap();
    assert_eq!(open(&disk.cut()).counts().total(), 1);
}
