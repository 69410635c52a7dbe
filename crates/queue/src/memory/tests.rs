//! Tests of `memory`.

use super::*;
use crate::{QueueName, block_on};
use proto::Address;
use proto::envelope::Recipient;
use proto::status::{Code, Status};
use std::sync::mpsc;

fn envelope(n: usize) -> Envelope {
    let one =
        |i| Recipient { address: Address::new(format!("u{i}"), Some("example.org")), ..Default::default() };
    Envelope { recipients: (0..n).map(one).collect(), ..Default::default() }
}

fn put(store: &MemoryStore, n: usize) -> QueueId {
    block_on(async {
        let mut draft = store.draft(store.new_id(), 0).unwrap();
        draft.write(b"Subject: x\r\n\r\nhola\r\n").await.unwrap();
        draft.commit(envelope(n)).await.unwrap()
    })
}

fn sent() -> RecipientState {
    RecipientState::Sent(Status::new(Code(2, 0, 0), "delivered"))
}

fn later() -> RecipientState {
    RecipientState::Deferred(Status::new(Code(4, 2, 2), "full"))
}

fn one(store: &MemoryStore) -> Leased {
    block_on(store.lease(10)).remove(0)
}

#[test]
fn a_message_goes_when_its_last_recipient_is_settled() {
    let store = MemoryStore::new();
    let id = put(&store, 2);
    assert_eq!(store.counts().incoming, 1);
    let leased = one(&store);
    assert_eq!((leased.id, leased.tries, leased.recipients.len()), (id, 0, 2));
    assert_eq!(store.counts().active, 1);
    let first = Outcome { recipients: vec![(0, sent())], ..Default::default() };
    block_on(store.settle(id, first, true)).unwrap();
    let bad = Outcome { recipients: vec![(2, sent())], ..Default::default() };
    assert!(matches!(block_on(store.settle(id, bad, true)), Err(StoreError::Failing(_))));
    let later = Outcome {
        recipients: vec![(0, later()), (1, later())],
        next_attempt: Some(store.now() + 60_000_000),
        ..Default::default()
    };
    block_on(store.settle(id, later.clone(), false)).unwrap();
    assert_eq!(block_on(store.settle(id, later, false)), Err(StoreError::LeaseLost));
    assert_eq!(store.counts().deferred, 1);
    store.advance(Duration::from_secs(61));
    let leased = one(&store);
    assert!(leased.recipients[0].settled(), "a settled recipient stays settled");
    assert_eq!(leased.tries, 1);
    let last = Outcome { recipients: vec![(1, sent())], ..Default::default() };
    block_on(store.settle(id, last, true)).unwrap();
    assert_eq!(store.counts().total(), 0);
    assert!(block_on(store.get(id)).unwrap().is_none());
    assert_eq!(block_on(store.body(id)).err(), Some(StoreError::LeaseLost));
}

#[test]
fn lease_wakes_at_the_next_due_time_and_on_close() {
    let store = MemoryStore::new();
    let id = put(&store, 1);
    one(&store);
    let soon = Outcome {
        recipients: vec![(0, later())],
        next_attempt: Some(store.now() + 30_000),
        ..Default::default()
    };
    block_on(store.settle(id, soon, false)).unwrap();
    let leased = one(&store);
    assert!(leased.leased_at >= leased.envelope.arrival);
    let (tx, rx) = mpsc::channel();
    let other = store.clone();
    std::thread::spawn(move || tx.send(block_on(other.lease(1))).unwrap());
    block_on(store.close());
    assert!(rx.recv_timeout(Duration::from_secs(10)).unwrap().is_empty());
    assert!(store.draft(QueueId(1), 0).is_err());
}

#[test]
fn control_of_waiting_and_of_leased_messages() {
    let store = MemoryStore::new();
    let (a, b) = (put(&store, 1), put(&store, 1));
    let act = |which, action| block_on(store.control(which, action)).unwrap();
    assert_eq!(act(Selection::Ids(vec![b, QueueId(7), b]), Action::Hold), [b]);
    assert_eq!(act(Selection::Ids(vec![b]), Action::Hold), []);
    assert_eq!(one(&store).id, a);
    assert_eq!(act(Selection::All(Some(QueueName::Active)), Action::Hold), [a]);
    assert_eq!(store.counts().hold, 2);
    block_on(store.settle(a, Outcome::default(), false)).unwrap();
    assert_eq!(act(Selection::All(None), Action::Release), [a, b]);
    assert_eq!(block_on(store.lease(5)).len(), 2);
    assert_eq!(act(Selection::All(None), Action::Expire), [a, b]);
    assert_eq!(act(Selection::Ids(vec![b]), Action::Requeue), [b]);
    assert_eq!(act(Selection::Ids(vec![a]), Action::Delete), [a]);
    assert_eq!(block_on(store.settle(a, Outcome::default(), false)), Err(StoreError::LeaseLost));
    let far = Outcome { next_attempt: Some(u64::MAX), ..Default::default() };
    block_on(store.settle(b, far.clone(), false)).unwrap();
    let again = one(&store);
    assert!(again.requeued && !again.expired, "{again:?}");
    let rewritten = Outcome {
        envelope: Some(Box::new(envelope(3))),
        recipients: vec![(2, later())],
        ..Default::default()
    };
    block_on(store.settle(b, rewritten, true)).unwrap();
    block_on(store.settle(b, far, false)).unwrap();
    let seen = block_on(store.get(b)).unwrap().unwrap();
    assert_eq!(seen.recipients, [RecipientState::Pending, RecipientState::Pending, later()]);
    assert_eq!(seen.queue, QueueName::Deferred);
    assert_eq!(act(Selection::All(Some(QueueName::Deferred)), Action::Flush), [b]);
    assert!(!one(&store).requeued);
}

#[test]
fn a_message_that_kills_twice_is_set_aside() {
    let store = MemoryStore::new();
    let id = put(&store, 1);
    one(&store);
    assert_eq!(block_on(store.blame(id)), Ok(1));
    block_on(store.settle(id, Outcome::default(), false)).unwrap();
    assert_eq!(one(&store).crashes, 1);
    assert_eq!(block_on(store.blame(id)), Ok(2));
    block_on(store.settle(id, Outcome::default(), false)).unwrap();
    assert_eq!(store.counts().hold, 1);
}

#[test]
fn pages() {
    let store = MemoryStore::new();
    let ids: Vec<QueueId> = (0..5).map(|_| put(&store, 1)).collect();
    let page = |after, n| -> Vec<QueueId> {
        block_on(store.list(after, n)).unwrap().into_iter().map(|s| s.id).collect()
    };
    assert_eq!(page(None, 2), ids[..2]);
    assert_eq!(page(Some(ids[1]), 9), ids[2..]);
    assert!(page(Some(ids[4]), 9).is_empty());
}
