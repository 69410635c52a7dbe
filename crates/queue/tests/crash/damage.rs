//! Any bit of any file flipped, any file cut: the store opens, at most that record's message is
//! lost, and what is lost is named.

use crate::simulated::{Rng, SimulatedDisk};
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::disk::{Engine, Options};
use queue::{Action, Body, Outcome, RecipientState, Selection};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

fn open(disk: &SimulatedDisk) -> Arc<Engine<SimulatedDisk>> {
    let options = Options { segment: Some(256 * 1024), threads: 1, ..Default::default() };
    let source = events::Source::new("postfix", "queue", 1);
    Arc::new(
        Engine::open(disk.clone(), &options, source, false).expect("the store opens whatever is damaged"),
    )
}

/// A spool with messages in all states, and what is in it.
fn spool(clean: bool) -> (SimulatedDisk, BTreeMap<QueueId, Vec<u8>>) {
    let disk = SimulatedDisk::new(7);
    let store = open(&disk);
    let mut messages = BTreeMap::new();
    for n in 0..24u64 {
        let id = store.new_id();
        let length = if n == 5 { (1 << 20) + 777 } else { 300 + n as usize * 700 };
        let body: Vec<u8> = (0..length).map(|i| (i as u64 * 7 + n) as u8).collect();
        let recipient = Recipient { address: Address::new("u", Some("x.test")), ..Default::default() };
        let envelope = Envelope { recipients: vec![recipient; 2], ..Default::default() };
        let mut draft = store.draft(id, 0).unwrap();
        draft.append(&body).unwrap();
        drop(draft.submit(envelope).unwrap());
        if n % 3 == 0 {
            while store.commit_waiting() {}
        }
        messages.insert(id, body);
    }
    while store.commit_waiting() {}
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(leased) = store.poll_lease(12, &mut context) else { panic!() };
    for (n, one) in leased.into_iter().enumerate() {
        let status = Status::new(Code(4, 0, 0), "a text of some length");
        let mut recipients = vec![(0, RecipientState::Deferred(status.clone()))];
        if n % 4 == 0 {
            recipients = vec![(0, RecipientState::Sent(status.clone())), (1, RecipientState::Sent(status))];
            messages.remove(&one.id);
        }
        let outcome = Outcome { recipients, next_attempt: Some(u64::MAX), ..Default::default() };
        store.settle(one.id, outcome, n % 4 == 1).unwrap();
    }
    let held: Vec<QueueId> = messages.keys().copied().skip(10).take(3).collect();
    let _ = store.control(&Selection::Ids(held), Action::Hold).unwrap();
    if clean {
        store.shut();
    } else {
        assert!(store.sync());
    }
    (disk, messages)
}

/// How many messages are lost; none may be there with other content.
fn lost(disk: &SimulatedDisk, messages: &BTreeMap<QueueId, Vec<u8>>) -> usize {
    let log = events::memory();
    let store = open(disk);
    let mut there = 0;
    for summary in store.list(None, 1000).unwrap() {
        match store.body(summary.id) {
            Ok(Body::Memory(body)) => {
                // Delivered ones may be back.
                if let Some(expected) = messages.get(&summary.id) {
                    assert!(*body == **expected, "other content");
                    there += 1;
                }
            }
            Ok(Body::File(..)) => panic!("no real files here"),
            Err(_) => assert!(store.get(summary.id).unwrap().is_none(), "set aside"),
        }
    }
    let lost = messages.len() - there;
    let named =
        log.take().iter().filter(|l| l.contains("damaged in the queue") || l.contains("is missing;")).count();
    assert!(lost == 0 || named > 0, "{lost} lost, and nobody was told");
    // It runs: a message can be added and leased.
    let id = store.new_id();
    let envelope = Envelope { recipients: vec![Recipient::default()], ..Default::default() };
    drop(store.draft(id, 0).unwrap().submit(envelope).unwrap());
    while store.commit_waiting() {}
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(leased) = store.poll_lease(1000, &mut context) else { panic!("nothing to lease") };
    assert!(leased.iter().any(|l| l.id == id));
    lost
}

#[test]
fn a_flipped_bit_costs_at_most_its_message() {
    let rounds: u64 = std::env::var("QUEUE_FLIPS").ok().and_then(|v| v.parse().ok()).unwrap_or(4);
    let mut rng = Rng(3);
    for clean in [true, false] {
        let (disk, messages) = spool(clean);
        assert_eq!(lost(&disk.with("format", disk.bytes("format")), &messages), 0);
        for name in disk.file_names() {
            let bytes = disk.bytes(&name);
            // Where something is: not the space taken ahead.
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |p| p + 1);
            for _ in 0..rounds {
                let mut bytes = bytes.clone();
                let (at, bit) = (rng.below(used as u64 + 64), rng.below(8));
                let Some(byte) = bytes.get_mut(at as usize) else { continue };
                *byte ^= 1 << bit;
                let lost = lost(&disk.with(&name, bytes), &messages);
                assert!(lost <= 1, "bit {bit} of byte {at} of {name} costs {lost} messages");
                assert!(lost == 0 || !name.ends_with(".st") && name != "format", "{name} costs a message");
            }
        }
    }
}

#[test]
fn a_cut_file_costs_only_what_was_cut_off() {
    let mut rng = Rng(4);
    for clean in [true, false] {
        let (disk, messages) = spool(clean);
        for name in disk.file_names() {
            let bytes = disk.bytes(&name);
            for _ in 0..4 {
                let length = rng.below(bytes.len() as u64 + 1) as usize;
                let lost = lost(&disk.with(&name, bytes[..length].to_vec()), &messages);
                let records = name.ends_with(".seg") || name.starts_with("big/");
                assert!(lost == 0 || records, "{name} cut to {length} costs {lost} messages");
                assert!(lost <= 1 || !name.starts_with("big/"));
            }
        }
    }
}
