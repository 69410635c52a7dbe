//! Random operations of several sessions on the store and on a model; crashes; comparison.

use crate::simulated::{Rng, SimulatedDisk};
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::disk::draft::Committing;
use queue::disk::{Engine, Options};
use queue::{Action, Body, Outcome, QueueName, RecipientState, Selection, StoreError, Summary};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

type Store = Arc<Engine<SimulatedDisk>>;

/// What a listing shows of a message.
#[derive(Clone, Debug, PartialEq)]
struct View {
    recipients: Vec<RecipientState>,
    addresses: usize,
    held: bool,
    expired: bool,
    warned: bool,
    tries: u32,
    /// Where it says something after a crash too.
    next: Option<u64>,
}

impl View {
    fn of(s: &Summary) -> View {
        let owed = s.recipients.iter().any(|r| matches!(r, RecipientState::Owed(_)));
        View {
            recipients: s.recipients.clone(),
            addresses: s.envelope.recipients.len(),
            held: s.queue == QueueName::Hold,
            expired: s.expired,
            warned: s.delay_warned,
            tries: s.tries,
            next: (s.tries > 0 && !owed).then_some(s.next_attempt),
        }
    }
}

struct Message {
    body: Vec<u8>,
    sender: Address,
    /// States since the last that is surely durable; `None` is gone.
    versions: Vec<Option<View>>,
    leased: bool,
}

struct Waiting {
    id: QueueId,
    answer: Pin<Box<Committing>>,
    body: Vec<u8>,
    envelope: Envelope,
}

pub struct Run {
    seed: u64,
    rng: Rng,
    disk: SimulatedDisk,
    store: Store,
    messages: BTreeMap<QueueId, Message>,
    waiting: Vec<Waiting>,
    /// Never acknowledged: may turn up after a crash, whole, or not.
    doubtful: BTreeMap<QueueId, (Vec<u8>, Envelope)>,
    /// Surely gone.
    buried: BTreeSet<QueueId>,
    counter: u64,
    pub acknowledged: u64,
    pub crashes: u64,
    pub forwarded: u64,
    /// What others did in the middle of a step, and to what they may do it.
    meddled: Meddled,
    known: Arc<Mutex<Vec<QueueId>>>,
}

type Meddled = Arc<Mutex<Vec<(Vec<QueueId>, Action)>>>;

fn options() -> Options {
    Options {
        segment: Some(128 * 1024),
        threads: 1,
        crowd: Some(4),
        scrub_every: Some(5_000_000),
        ..Default::default()
    }
}

fn source() -> events::Source {
    events::Source::new("postfix", "queue", 1)
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let disk = SimulatedDisk::new(seed);
        disk.world().holes = !seed.is_multiple_of(3);
        let store = Arc::new(Engine::open(disk.clone(), &options(), source(), false).unwrap());
        store.forward_survivors();
        Run {
            seed,
            rng: Rng(seed ^ 0x5eed),
            disk,
            store,
            messages: BTreeMap::new(),
            waiting: Vec::new(),
            doubtful: BTreeMap::new(),
            buried: BTreeSet::new(),
            counter: 0,
            acknowledged: 0,
            crashes: 0,
            forwarded: 0,
            meddled: Meddled::default(),
            known: Arc::default(),
        }
    }

    /// Lets somebody hold, release and delete messages while files are synced.
    fn meddle(&mut self) {
        let store = Arc::downgrade(&self.store);
        let (meddled, known) = (self.meddled.clone(), self.known.clone());
        *known.lock().unwrap() = self.messages.keys().copied().collect();
        self.disk.world().meanwhile = Some(Box::new(move |random| {
            let known = known.lock().unwrap();
            let (Some(store), false) = (store.upgrade(), known.is_empty() || random % 3 != 0) else { return };
            let id = known[(random / 16) as usize % known.len()];
            let action = [Action::Hold, Action::Release, Action::Delete][(random / 4) as usize % 3];
            // Once in a step, so that no state goes unseen.
            let mut meddled = meddled.lock().unwrap();
            if !meddled.is_empty() {
                return;
            }
            if let Ok((touched, _)) = store.control(&Selection::Ids(vec![id]), action) {
                meddled.push((touched, action));
            }
        }));
    }

    /// Takes down what they did; whether that was anything.
    fn meddled(&mut self) -> bool {
        self.disk.world().meanwhile = None;
        let all = std::mem::take(&mut *self.meddled.lock().unwrap());
        let any = !all.is_empty();
        for (touched, action) in all {
            self.touched(touched, action);
        }
        any
    }

    /// `rounds` times: work, then a crash or a clean stop, then look.
    pub fn rounds(&mut self, rounds: u64) {
        for _ in 0..rounds {
            let steps = 10 + self.rng.below(120);
            {
                let (faulty, last, full) = (self.rng.one_in(3), self.rng.one_in(2), self.rng.one_in(12));
                let (faults, crash_in) = (20 + self.rng.below(200), self.rng.below(steps * 3));
                let mut world = self.disk.world();
                world.faults = if faulty { faults } else { 0 };
                world.crash_in = last.then_some(crash_in);
                world.full = full;
            }
            for _ in 0..steps {
                if self.disk.world().dead {
                    break;
                }
                self.step();
            }
            if self.rng.one_in(5) && !self.disk.world().dead {
                self.quietly(|run| run.store.shut());
                self.answers();
                for message in self.messages.values_mut() {
                    message.versions.drain(..message.versions.len() - 1);
                }
                self.reopen(false);
            } else {
                self.reopen(true);
            }
        }
    }

    /// Without faults and crashes.
    fn quietly<T>(&mut self, what: impl FnOnce(&mut Run) -> T) -> T {
        let was = {
            let mut world = self.disk.world();
            let crash_in = world.crash_in.take();
            (std::mem::take(&mut world.faults), std::mem::take(&mut world.full), crash_in)
        };
        let result = what(self);
        let mut world = self.disk.world();
        (world.faults, world.full, world.crash_in) = was;
        result
    }

    fn step(&mut self) {
        self.meddle();
        self.one_step();
        self.meddled();
    }

    fn one_step(&mut self) {
        match self.rng.below(17) {
            0..=4 => self.submit(),
            5..=7 => {
                self.store.commit_waiting();
                self.answers();
            }
            8 => {
                let by = self.rng.below(2_000_000);
                self.disk.world().now += by;
                if self.rng.below(3) == 0 {
                    self.store.note();
                } else {
                    self.store.tend(false);
                }
            }
            9 => {
                let well = self.store.sync();
                // What was done meanwhile may not be durable.
                if !self.meddled() && well {
                    for message in self.messages.values_mut() {
                        message.versions.drain(..message.versions.len() - 1);
                    }
                    self.bury();
                }
            }
            10 | 11 => self.lease(),
            12..=14 => self.settle(),
            15 => drop(self.store.scrub()),
            _ => self.control(),
        }
    }

    /// Forgets what is surely gone, but for its name.
    fn bury(&mut self) {
        let gone = self.messages.iter().filter(|(_, m)| m.versions == [None]).map(|(id, _)| *id);
        self.buried.extend(gone);
        self.messages.retain(|_, m| m.versions != [None]);
    }

    fn submit(&mut self) {
        self.counter += 1;
        let id = self.store.new_id();
        let length = match self.rng.below(40) {
            0 => (1 << 20) + self.rng.below(300_000),
            1..=4 => self.rng.below(200_000),
            _ => self.rng.below(6_000),
        };
        let mut bytes = Rng(self.counter);
        let body: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| bytes.next().to_le_bytes()).collect();
        let recipient = |i| Recipient {
            address: Address::new(format!("u{i}"), Some("example.org")),
            ..Default::default()
        };
        let envelope = Envelope {
            sender: Address::new(format!("s{}", self.counter), Some("example.com")),
            recipients: (0..1 + self.rng.below(4)).map(recipient).collect(),
            arrival: self.disk.world().now,
            hold: self.rng.one_in(15),
            ..Default::default()
        };
        let Ok(mut draft) = self.store.draft(id, length) else { return };
        for piece in body.chunks(100_000) {
            if draft.append(piece).is_err() {
                return;
            }
        }
        if self.rng.one_in(12) {
            return; // the client went away
        }
        self.doubtful.insert(id, (body.clone(), envelope.clone()));
        if let Ok(answer) = draft.submit(envelope.clone()) {
            self.waiting.push(Waiting { id, answer: Box::pin(answer), body, envelope });
        }
    }

    fn answers(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for mut waiting in std::mem::take(&mut self.waiting) {
            match waiting.answer.as_mut().poll(&mut context) {
                Poll::Pending => self.waiting.push(waiting),
                Poll::Ready(Some(Ok(id))) => {
                    assert_eq!(id, waiting.id);
                    self.acknowledged += 1;
                    self.doubtful.remove(&id);
                    let recipients = vec![RecipientState::Pending; waiting.envelope.recipients.len()];
                    let view = View {
                        addresses: recipients.len(),
                        recipients,
                        held: waiting.envelope.hold,
                        expired: false,
                        warned: false,
                        tries: 0,
                        next: None,
                    };
                    let message = Message {
                        body: waiting.body,
                        sender: waiting.envelope.sender,
                        versions: vec![Some(view)],
                        leased: false,
                    };
                    self.messages.insert(id, message);
                }
                Poll::Ready(_) => {}
            }
        }
    }

    /// Notes what the store says of a message now.
    fn note(&mut self, id: QueueId) {
        let view = self.quietly(|run| run.store.get(id)).unwrap().map(|s| View::of(&s));
        if let Some(message) = self.messages.get_mut(&id)
            && message.versions.last() != Some(&view)
        {
            message.versions.push(view);
        }
    }

    fn lease(&mut self) {
        let n = 1 + self.rng.below(3) as usize;
        let mut context = Context::from_waker(Waker::noop());
        let leased = self.store.poll_lease(n, &mut context);
        if self.disk.world().faults > 0 {
            // What could not be read waits for a while now.
            for id in self.messages.keys().copied().collect::<Vec<_>>() {
                self.note(id);
            }
        }
        let Poll::Ready(leased) = leased else { return };
        for one in leased {
            let seed = self.seed;
            let message = self.messages.get_mut(&one.id);
            let message = message.unwrap_or_else(|| panic!("seed {seed}: invented {}", one.id));
            assert!(!message.leased, "seed {seed}: leased twice");
            message.leased = true;
            let Some(Some(view)) = message.versions.last() else {
                panic!("seed {seed}: {} delivered after it was gone", one.id)
            };
            assert_eq!(view.recipients, one.recipients, "seed {seed}: {}", one.id);
            assert!(!view.held, "seed {seed}: {} was on hold", one.id);
            assert_eq!(message.sender, one.envelope.sender, "seed {seed}");
            match self.store.body(one.id) {
                Ok(Body::Memory(body)) => assert!(*body == *message.body, "seed {seed}: other content"),
                Ok(Body::File(..)) => panic!("no real files here"),
                Err(StoreError::Failing(_)) => {}
                Err(e) => panic!("seed {seed}: {e}"),
            }
        }
    }

    fn some_state(&mut self) -> RecipientState {
        let text = "x".repeat(self.rng.below(300) as usize);
        match self.rng.below(5) {
            0 => RecipientState::Owed(Status::new(Code(5, 1, 1), text)),
            1 => RecipientState::Bounced(Status::new(Code(5, 1, 1), text)),
            2 | 3 => RecipientState::Sent(Status::new(Code(2, 0, 0), text)),
            _ => RecipientState::Deferred(Status::new(Code(4, 0, 0), text)),
        }
    }

    fn settle(&mut self) {
        let leased: Vec<QueueId> =
            self.messages.iter().filter(|(_, m)| m.leased).map(|(id, _)| *id).collect();
        if leased.is_empty() {
            return;
        }
        let id = leased[self.rng.below(leased.len() as u64) as usize];
        let Some(Some(view)) = self.messages[&id].versions.last().cloned() else { return };
        let mut outcome = Outcome { delay_warned: self.rng.one_in(10), ..Default::default() };
        let mut expected = view.recipients.clone();
        if self.rng.one_in(10) {
            let n = 1 + self.rng.below(3) as usize;
            let mut new = Envelope { sender: self.messages[&id].sender.clone(), ..Default::default() };
            new.recipients = vec![Recipient::default(); n];
            outcome.envelope = Some(Box::new(new));
            expected = vec![RecipientState::Pending; n];
        }
        for (i, expected) in expected.iter_mut().enumerate() {
            if self.rng.one_in(2) {
                let state = self.some_state();
                outcome.recipients.push((i, state.clone()));
                if !expected.settled() {
                    *expected = state;
                }
            }
        }
        let keep = self.rng.one_in(3);
        if !keep || self.rng.one_in(2) {
            outcome.next_attempt = Some(self.disk.world().now + self.rng.below(3_000_000));
        }
        self.store.settle(id, outcome, keep).unwrap();
        let gone = expected.iter().all(RecipientState::settled);
        if let Some(message) = self.messages.get_mut(&id) {
            message.leased = keep && !gone;
            if gone {
                message.versions.push(None);
            }
        }
        self.note(id);
        let last = self.messages[&id].versions.last().unwrap();
        let recipients = last.as_ref().map(|v| v.recipients.clone());
        assert_eq!(recipients, (!gone).then_some(expected), "seed {}: {id}", self.seed);
    }

    fn control(&mut self) {
        let ids: Vec<QueueId> = self.messages.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let n = 1 + self.rng.below(3);
        let chosen: Vec<QueueId> = (0..n).map(|_| ids[self.rng.below(ids.len() as u64) as usize]).collect();
        let all =
            [Action::Hold, Action::Release, Action::Requeue, Action::Delete, Action::Expire, Action::Flush];
        let action = all[self.rng.below(6) as usize];
        let (touched, _durable) = self.store.control(&Selection::Ids(chosen), action).unwrap();
        self.touched(touched, action);
    }

    fn touched(&mut self, touched: Vec<QueueId>, action: Action) {
        for id in touched {
            if action == Action::Delete {
                let message = self.messages.get_mut(&id).unwrap();
                message.versions.push(None);
                message.leased = false;
            } else if self.disk.world().dead {
                // It cannot be read any more, but what was done may be durable.
                self.foresee(id, action);
                continue;
            }
            self.note(id);
        }
    }

    fn foresee(&mut self, id: QueueId, action: Action) {
        let now = self.disk.world().now;
        let Some(message) = self.messages.get_mut(&id) else { return };
        let Some(Some(mut view)) = message.versions.last().cloned() else { return };
        match action {
            Action::Hold => view.held = true,
            Action::Release => (view.held, view.next) = (false, view.next.map(|_| now)),
            _ => return,
        }
        message.versions.push(Some(view));
    }

    fn reopen(&mut self, crash: bool) {
        let seed = self.seed;
        self.crashes += u64::from(crash);
        self.answers();
        if crash || self.rng.one_in(2) {
            self.disk = self.disk.crash();
        }
        {
            let mut world = self.disk.world();
            (world.full, world.faults, world.crash_in) = (false, 0, None);
        }
        self.waiting.clear();
        self.forwarded += self.store.forwarded();
        // Recovery itself may meet errors and crashes; the one after that must do.
        if self.rng.one_in(3) {
            let (faults, crash_in) = (3 + self.rng.below(60), self.rng.below(60));
            {
                let mut world = self.disk.world();
                world.faults = faults;
                world.crash_in = Some(crash_in);
            }
            let _ = Engine::open(self.disk.clone(), &options(), source(), false);
            self.disk = self.disk.crash();
        }
        let opened = Engine::open(self.disk.clone(), &options(), source(), false);
        self.store = Arc::new(opened.unwrap_or_else(|e| panic!("seed {seed}: {e}")));
        self.store.forward_survivors();
        let mut seen = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.list(after, 7).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.into_iter().map(|s| (s.id, s)));
        }
        assert_eq!(self.store.counts().total(), seen.len() as u64, "seed {seed}");
        for (id, message) in &mut self.messages {
            let view = seen.get(id).map(View::of);
            assert!(
                message.versions.contains(&view),
                "seed {seed}: {id} is {view:#?}, which is none of {:#?}",
                message.versions
            );
            message.versions = vec![view];
            message.leased = false;
        }
        self.bury();
        for (id, summary) in &seen {
            if !self.messages.contains_key(id) {
                assert!(!self.buried.contains(id), "seed {seed}: {id} is back from the dead");
                let found = self.doubtful.remove(id);
                let (body, envelope) = found.unwrap_or_else(|| panic!("seed {seed}: {id} is invented"));
                assert_eq!(envelope, *summary.envelope, "seed {seed}");
                let message = Message {
                    body,
                    sender: envelope.sender,
                    versions: vec![Some(View::of(summary))],
                    leased: false,
                };
                self.messages.insert(*id, message);
            }
            match self.store.body(*id) {
                Ok(Body::Memory(body)) => {
                    assert!(*body == *self.messages[id].body, "seed {seed}: {id} has other content");
                }
                other => panic!("seed {seed}: {id}: {other:?}"),
            }
        }
        self.doubtful.clear();
    }
}
