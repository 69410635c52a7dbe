//! What waits for one domain is found without reading what waits for others, also after a start.

use crate::run::all;
use crate::simulated::SimulatedDisk;
use crate::turns;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::disk::{Engine, Options};
use queue::{Outcome, RecipientState};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

fn open(disk: &SimulatedDisk) -> Arc<Engine<SimulatedDisk>> {
    let options = Options { threads: 1, ..Default::default() };
    Arc::new(Engine::open(disk.clone(), &options, events::Source::new("postfix", "queue", 1), false).unwrap())
}

fn to(domains: &[String]) -> Envelope {
    let recipient = |d: &String| Recipient { address: Address::new("u", Some(d)), ..Default::default() };
    Envelope { recipients: domains.iter().map(recipient).collect(), ..Default::default() }
}

/// Those for a domain, and how often the disk was asked.
fn found(disk: &SimulatedDisk, store: &Engine<SimulatedDisk>, domain: &str) -> (Vec<QueueId>, u64) {
    let (before, mut ids, mut after) = (disk.world().calls, Vec::new(), None);
    loop {
        let (some, last) = store.deferred_for(domain, after).unwrap();
        let has = |e: &Envelope| e.recipients.iter().any(|r| r.address.domain() == Some(domain));
        ids.extend(some.iter().filter(|s| has(&s.envelope)).map(|s| s.id));
        let Some(last) = last else { break };
        after = Some(last);
    }
    (ids, disk.world().calls - before)
}

#[test]
fn messages_for_others_are_not_read() {
    turns::begin(1, 1);
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    for n in 0..1_000 {
        // Every fiftieth is for two domains, which memory does not know.
        let mut domains = vec![format!("D{}.test", n % 100)];
        if n % 50 == 7 {
            domains.push("d3.test".into());
        }
        let mut draft = store.draft(store.new_id(), 0).unwrap();
        draft.append(b"Subject: x\r\n\r\n").unwrap();
        drop(draft.submit(to(&domains)).unwrap());
    }
    while store.commit_waiting() {}
    let Poll::Ready(leased) = store.poll_lease(1_000, &mut Context::from_waker(Waker::noop())) else {
        panic!()
    };
    for (n, one) in leased.into_iter().enumerate() {
        let later = RecipientState::Deferred(Status::new(Code(4, 0, 0), "later"));
        let mut outcome = Outcome { recipients: vec![(0, later.clone())], ..Default::default() };
        outcome.next_attempt = Some(u64::MAX);
        if n == 500 {
            // Its address was rewritten.
            outcome.envelope = Some(Box::new(to(&["d3.test".into()])));
        }
        store.settle(one.id, outcome, false).unwrap();
    }
    assert!(store.sync());
    let expected: Vec<QueueId> = all(&store)
        .into_values()
        .filter(|s| {
            s.envelope.recipients.iter().any(|r| r.address.domain().unwrap().eq_ignore_ascii_case("d3.test"))
        })
        .map(|s| s.id)
        .collect();
    assert_eq!(expected.len(), 10 + 20 + 1);
    let seen = |store: &Engine<SimulatedDisk>| {
        let mut both = found(&disk, store, "d3.test");
        both.0.extend(found(&disk, store, "D3.test").0);
        both.0.sort_unstable();
        both.0.dedup();
        both
    };
    let (ids, calls) = seen(&store);
    assert_eq!(ids, expected);
    // Two reads for each, one of its record, one of its state; files are opened once.
    assert!((30..=80).contains(&calls), "{calls} calls of the disk for {} of 1,000 messages", ids.len());
    store.shut();
    drop(store);
    let store = open(&disk);
    let (ids, calls) = seen(&store);
    assert_eq!(ids, expected);
    assert!((60..=80).contains(&calls), "{calls} calls of the disk after a start");
}
