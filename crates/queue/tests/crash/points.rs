//! A crash at each call of the disk, one after the other, in small stories: what random runs meet only in
//! hours. Which rules it is that these notice is written in `run`.

use crate::model::View;
use crate::run::all;
use crate::simulated::SimulatedDisk;
use crate::turns;
use proto::QueueId;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use queue::disk::{Engine, Options};
use queue::{Action, Body, Outcome, RecipientState, Selection};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Store = Arc<Engine<SimulatedDisk>>;

/// What a crash leaves is drawn so often.
const DRAWS: u64 = 6;

fn open(disk: &SimulatedDisk) -> Result<Store, String> {
    let options = Options { segment: Some(128 * 1024), threads: 1, crowd: Some(2), ..Default::default() };
    let store = Engine::open(disk.clone(), &options, events::Source::new("postfix", "queue", 1), false)?;
    store.forward_survivors();
    Ok(Arc::new(store))
}

/// A message for two, if the disk lives so long.
fn put(store: &Store, length: usize) -> Option<QueueId> {
    let mut draft = store.draft(store.new_id(), 0).ok()?;
    for piece in vec![b'x'; length].chunks(200_000) {
        draft.append(piece).ok()?;
    }
    let envelope = Envelope { recipients: vec![Recipient::default(); 2], ..Default::default() };
    let answer = draft.submit(envelope).ok()?;
    while store.commit_waiting() {}
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(answer)) => answer.ok(),
        _ => None,
    }
}

/// All that is due is tried: `big` ones go, of others the first recipient has it and the second waits.
fn deliver(disk: &SimulatedDisk, store: &Store) {
    let later = disk.world().now + 60_000_000;
    let Poll::Ready(leased) = store.poll_lease(9, &mut Context::from_waker(Waker::noop())) else { return };
    for one in leased {
        let big = matches!(store.body(one.id), Ok(Body::Memory(b)) if b.len() > 1 << 20);
        let sent = || RecipientState::Sent(Status::new(Code(2, 0, 0), "x"));
        let second = if big { sent() } else { RecipientState::Deferred(Status::new(Code(4, 0, 0), "later")) };
        let recipients = vec![(0, sent()), (1, second)];
        let outcome = Outcome { recipients, next_attempt: Some(later), ..Default::default() };
        let _ = store.settle(one.id, outcome, false);
    }
}

/// Everything that is there; each with its content.
fn seen(disk: &SimulatedDisk, when: &str) -> BTreeMap<QueueId, View> {
    let store = open(disk).unwrap_or_else(|e| panic!("{when}: {e}"));
    let seen = all(&store);
    for id in seen.keys() {
        assert!(store.body(*id).is_ok(), "{when}: {id} has no content");
    }
    seen.iter().map(|(id, summary)| (*id, View::of(summary))).collect()
}

/// Receives three, tries them, writes it down; the disk dies at that call.
fn story(seed: u64, dies: Option<u64>) -> SimulatedDisk {
    turns::begin(seed, 1);
    let disk = SimulatedDisk::new();
    disk.world().crash_at = dies.map(|n| (1, n));
    let Ok(store) = open(&disk) else { return disk };
    for length in [100, (1 << 20) + 1, 9_000] {
        put(&store, length);
        deliver(&disk, &store);
        disk.world().now += 2_000;
        store.note();
    }
    disk
}

#[test]
fn what_a_start_finds_after_a_kill_stays() {
    let whole = story(0, None).world().calls;
    assert!(whole > 30, "{whole}");
    for dies in 0..whole {
        for seed in 0..DRAWS {
            let killed = story(seed, Some(dies)).killed();
            let when = format!("killed at call {dies}, seed {seed}");
            turns::begin(seed, 2);
            let first = seen(&killed, &when);
            let when = format!("{when}, then without power");
            assert_eq!(seen(&killed.cut(), &when), first, "{when}");
        }
    }
}

#[test]
fn a_start_that_is_cut_short_after_a_kill_loses_nothing() {
    let whole = {
        let killed = story(0, None).killed();
        let before = killed.world().calls;
        drop(open(&killed).unwrap());
        let after = killed.world().calls;
        after - before
    };
    assert!(whole > 10, "{whole}");
    for dies in 0..whole {
        for seed in 0..4 * DRAWS {
            let killed = story(seed, None).killed();
            let when = format!("start cut short at call {dies}, seed {seed}");
            turns::begin(seed, 2);
            killed.world().crash_at = Some((2, dies));
            drop(open(&killed));
            turns::begin(seed, 3);
            let there = seen(&killed.cut(), &when);
            assert!((2..=3).contains(&there.len()), "{when}: {there:?}");
        }
    }
}

#[test]
fn survivors_that_move_have_their_states_at_every_moment() {
    // Three segments of which little lives, all durable.
    let before = |seed| {
        turns::begin(seed, 1);
        let disk = SimulatedDisk::new();
        let store = open(&disk).unwrap();
        let mut kept = Vec::new();
        for _ in 0..3 {
            let ids: Vec<QueueId> = (0..5).filter_map(|_| put(&store, 24_000)).collect();
            kept.push(ids[0]);
            let (_, _) = store.control(&Selection::Ids(ids[1..].to_vec()), Action::Delete).unwrap();
        }
        deliver(&disk, &store);
        assert!(store.sync());
        assert_eq!(all(&store).len(), 3);
        disk.world().now += 2_000_000;
        (disk, store)
    };
    let (disk, store) = before(0);
    let expected: BTreeMap<QueueId, View> = all(&store).iter().map(|(id, s)| (*id, View::of(s))).collect();
    let from = disk.world().calls;
    store.tend(false);
    let whole = disk.world().calls - from;
    assert!(store.forwarded() > 0 && whole > 10);
    for dies in 0..whole {
        for seed in 0..DRAWS {
            let (disk, store) = before(seed);
            turns::begin(seed, 2);
            disk.world().crash_at = Some((2, dies));
            store.tend(false);
            turns::begin(seed, 3);
            for (how, left) in [("killed", disk.killed()), ("cut", disk.cut())] {
                let when = format!("{how} at call {dies}, seed {seed}");
                assert_eq!(seen(&left, &when), expected, "{when}");
            }
        }
    }
}

#[test]
fn no_number_of_a_segment_is_used_twice() {
    turns::begin(1, 1);
    let disk = SimulatedDisk::new();
    let mut last = 0;
    for _ in 0..3 {
        let store = open(&disk).unwrap();
        let id = put(&store, 100).unwrap();
        let names = disk.file_names();
        let number = |name: &String| {
            let name = name.strip_prefix("seg/")?.strip_suffix(".seg")?;
            u32::from_str_radix(name, 16).ok()
        };
        let number = names.iter().find_map(number).unwrap();
        assert!(number > last, "{number:x} after {last:x}");
        last = number;
        store.control(&Selection::Ids(vec![id]), Action::Delete).unwrap();
        store.shut();
        assert!(!disk.file_names().iter().any(|n| n.starts_with("seg/")), "nothing is left");
        disk.world().now += 10_000_000;
    }
}
