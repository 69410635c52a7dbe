//! Random steps of many sessions, as threads that take turns, on the store and on the model; then
//! a crash, or an orderly end; then a look. Everything follows from the seed.
//!
//! Whether it has teeth: rules of the store were taken out, one at a time, in a copy.
//!
//! *Noticed within ten seeds*: no sync of a segment before the answer; a noter that writes nothing (by "written"); a failed sync tried again on the
//! same file; a new segment's names, a big body, its name, not synced; logs not synced, or a failed sync
//! of one taken for a success; a log written anew not synced before it takes its name, or its name
//! not synced, or without a last word about what it accounts for; a segment's log removed before the
//! segment, or the segment's removal not synced in between; copies, or the log that names them, not
//! synced before the originals are said to be gone; waiters told that all is well when it is not; an answer to
//! an administrator before what was so already is durable; a body's checksum not looked at by recovery.
//!
//! *Noticed within some hundred*: `format` not synced before it takes its name; what a failed turn of copying
//! left not put right; records of a log whose sync failed not kept in memory; found records named
//! in another order than the segment's while a start looks only behind the last that a log names.
//!
//! *Noticed by `damage`*: checksum of a body not verified; state records that do not know their place.
//!
//! *Noticed by `points`*, a crash at each call of small stories: found records not synced at a start after a kill; copies that
//! no log knows; numbers of segments used twice.
//!
//! *Noticed by tests beside the code* (`disk/rewrite.rs`, `disk/keep.rs`): what was written to an old log meanwhile not copied to the
//! new one; holes punched by more of a log than is durable.
//!
//! *Not noticed, because another rule stands behind it*: the syncs of a new segment's and a new log's head; a segment not
//! sealed after a failed sync (the next batch takes the same place), or its Seal not written (it is walked); batches that
//! begin between blocks (bytes beside what is written do not change here).
//!
//! *Not seen noticed, neither in forty seconds each nor by `points`*: those that need a call that fails, and a crash before what failed
//! is done again: freeing or punching by a log that is to be written anew, or whose new name is not durable; a rename that failed and yet happened;
//! names of logs not synced before logs; dead segments removed before that is durable. Those that need two threads and a
//! crash between two calls: the Known after copies; reclaiming by a log with records still to be written. And at a start after a
//! kill: syncs of directories and of logs; removing bodies before those; the tail of a torn log left. Those wait for a run of hours.

pub use crate::counts::Counts;
use crate::model::{Model, View, Waiting};
use crate::simulated::{SimulatedDisk, TRACE};
use crate::turns::{self, Rng, Turns};
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use queue::disk::{Engine, Options};
use queue::{Action, Body, Outcome, RecipientState, Selection, StoreError, Summary};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

type Store = Arc<Engine<SimulatedDisk>>;

/// One thing that somebody does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A client sends a message.
    Receive,
    /// The committer's turn.
    Commit,
    /// The noter's turn.
    Note,
    /// The keeper's turn.
    Tend,
    /// The keeper makes all durable.
    Sync,
    /// The verifier's turn.
    Scrub,
    /// The scheduler takes what is due.
    Lease,
    /// Some recipients have it, or have not.
    Settle,
    /// A worker died.
    Blame,
    /// An administrator holds, releases, deletes, …
    Control,
    /// mailq.
    List,
    /// postcat.
    Read,
    /// Time passes, or the clock is set back.
    Clock,
    /// The disk is full, or no longer.
    Fill,
    /// The process ends, one way or another, and the next one starts.
    End,
}

/// A step of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its randomness comes from this.
    pub id: u64,
    pub what: What,
}

/// How often each thing is done, as far as all seeds are concerned.
const OFTEN: [(What, u64); 14] = [
    (What::Receive, 11),
    (What::Commit, 7),
    (What::Note, 1),
    (What::Tend, 2),
    (What::Sync, 2),
    (What::Scrub, 1),
    (What::Lease, 4),
    (What::Settle, 6),
    (What::Blame, 1),
    (What::Control, 3),
    (What::List, 1),
    (What::Read, 1),
    (What::Clock, 2),
    (What::Fill, 1),
];

/// The steps that a seed makes. Each has its own taste, so that all come to unusual places.
pub fn plan(seed: u64) -> Vec<Step> {
    let mut rng = Rng(seed ^ 0x5eed);
    let taste = OFTEN.map(|(what, n)| (what, n * [1, 1, 2, 4][rng.below(4) as usize]));
    let all: u64 = taste.iter().map(|(_, n)| n).sum();
    let longest = [20, 60, 120][rng.below(3) as usize];
    let mut steps = Vec::new();
    while steps.len() < 450 {
        for _ in 0..3 + rng.below(longest) {
            let mut pick = rng.below(all);
            let what = taste.iter().find(|(_, n)| match pick.checked_sub(*n) {
                Some(rest) => {
                    pick = rest;
                    false
                }
                None => true,
            });
            let what = what.map_or(What::Receive, |(what, _)| *what);
            steps.push(Step { id: steps.len() as u64 + 1, what });
        }
        steps.push(Step { id: steps.len() as u64 + 1, what: What::End });
    }
    steps
}

thread_local! {
    /// Panics of this thread are told here, not shown.
    static TOLD: RefCell<Option<Arc<Mutex<String>>>> = const { RefCell::new(None) };
}

/// From now on, what threads of a run panic with is kept and not shown.
pub fn keep_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match TOLD.with_borrow(Clone::clone) {
            Some(told) => {
                let mut told = told.lock().unwrap_or_else(|e| e.into_inner());
                if told.is_empty() {
                    *told = info.to_string();
                }
            }
            None => before(info),
        }));
    });
}

/// Runs the steps; the error says what was wrong.
pub fn run(seed: u64, steps: &[Step]) -> Result<Counts, String> {
    keep_panics();
    let told = Arc::new(Mutex::new(String::new()));
    TOLD.set(Some(told.clone()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(seed, told.clone());
        for round in steps.split_inclusive(|s| s.what == What::End) {
            run.round(round);
        }
        let model = run.model();
        Counts { acknowledged: model.acknowledged, promised: model.promised, ..run.counts }
    }));
    TOLD.set(None);
    result.map_err(|_| told.lock().unwrap_or_else(|e| e.into_inner()).clone())
}

/// The fewest steps found, of those that fail, that still fail; the clock decides when to stop looking.
pub fn shrink(seed: u64, steps: &[Step], until: std::time::Instant) -> (Vec<Step>, String) {
    let mut best = steps.to_vec();
    let mut why = String::new();
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let (mut at, mut better) = (0, false);
        while at < best.len() {
            let mut fewer = best.clone();
            fewer.drain(at..(at + size).min(best.len()));
            match run(seed, &fewer) {
                Err(e) => (best, why, better) = (fewer, e, true),
                Ok(_) => at += size,
            }
            if std::time::Instant::now() > until {
                return (best, why);
            }
        }
        size = if size == 1 && better { 1 } else { size / 2 };
    }
    (best, why)
}

/// What is told of a seed that fails: why, which few of its steps are enough, how to see it again.
pub fn failure(seed: u64, steps: &[Step], why: &str) -> String {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(300);
    let (fewer, last) = shrink(seed, steps, until);
    let list: Vec<String> = fewer.iter().map(|s| s.id.to_string()).collect();
    let what: Vec<String> = fewer.iter().map(|s| format!("{} {:?}", s.id, s.what)).collect();
    format!(
        "seed {seed} fails: {why}\n{} of its {} steps are enough: {}\n{last}\nagain: cargo run --release -p crash -- --seed {seed} --steps {}",
        fewer.len(),
        steps.len(),
        what.join(", "),
        list.join(",")
    )
}

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

struct Run {
    seed: u64,
    disk: SimulatedDisk,
    /// None before the first start and between two.
    store: Option<Store>,
    model: Mutex<Model>,
    counts: Counts,
    told: Arc<Mutex<String>>,
}

impl Run {
    fn new(seed: u64, told: Arc<Mutex<String>>) -> Run {
        turns::begin(seed, 0);
        let disk = SimulatedDisk::new();
        {
            let mut world = disk.world();
            (world.holes, world.prepares) = (!seed.is_multiple_of(3), !seed.is_multiple_of(5));
        }
        let mut run =
            Run { seed, disk, store: None, model: Mutex::default(), counts: Counts::default(), told };
        run.start(&mut Rng(seed));
        run
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it was started")
    }

    fn round(&mut self, steps: &[Step]) {
        let Some(end) = steps.last() else { return };
        let mut rng = self.rng(end.id);
        let doing = if end.what == What::End { &steps[..steps.len() - 1] } else { steps };
        {
            let mut world = self.disk.world();
            world.faults = if rng.one_in(3) { 15 + rng.below(200) } else { 0 };
            world.full = rng.one_in(12);
            // In the middle of one of the round's steps, if that is still there.
            let (first, span) = (end.id.saturating_sub(rng.below(steps.len() as u64 + 2)), rng.below(14));
            world.crash_at = rng.one_in(2).then_some((first, span));
        }
        let window = if rng.one_in(3) { 0 } else { 1 + rng.below(8) };
        self.together(doing, 1 + rng.below(5), window);
        self.counts.steps += doing.len() as u64;
        turns::begin(self.seed, end.id);
        self.end(&mut rng);
    }

    fn rng(&self, step: u64) -> Rng {
        let mut rng = Rng(self.seed.wrapping_mul(0x2545_f491) ^ step.rotate_left(32));
        Rng(rng.next())
    }

    /// Does the steps, those of different people and of the store's own threads at once.
    fn together(&self, steps: &[Step], people: u64, window: u64) {
        let who = |step: &Step| match step.what {
            What::Commit => 0,
            What::Tend | What::Sync => 1,
            What::Scrub => 2,
            What::Note => 3,
            _ => 4 + step.id % people,
        };
        let mut threads: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
        for step in steps {
            threads.entry(who(step)).or_default().push(*step);
        }
        let threads: Vec<Vec<Step>> = threads.into_values().collect();
        if threads.is_empty() {
            return;
        }
        let turns = Turns::new(threads.iter().map(|steps| steps[0].id).collect(), window);
        std::thread::scope(|scope| {
            for (me, steps) in threads.iter().enumerate() {
                let turns = turns.clone();
                scope.spawn(move || {
                    TOLD.set(Some(self.told.clone()));
                    turns::begin(self.seed, steps[0].id);
                    turns.enter(me);
                    let work = AssertUnwindSafe(|| {
                        for step in steps {
                            turns.begin_step(me, step.id);
                            if self.disk.world().dead {
                                break;
                            }
                            turns::begin(self.seed, step.id);
                            self.step(step);
                            self.model().answers();
                        }
                    });
                    if catch_unwind(work).is_err() {
                        // The others come to their ends.
                        self.disk.world().dead = true;
                    }
                    turns.leave(me);
                });
            }
        });
        let told = self.told.lock().unwrap_or_else(|e| e.into_inner()).clone();
        assert!(told.is_empty(), "{told}");
    }

    fn step(&self, step: &Step) {
        if TRACE.load(Ordering::Relaxed) {
            eprintln!("{} {:?}", step.id, step.what);
        }
        let mut rng = self.rng(step.id);
        match step.what {
            What::Receive => self.receive(step.id, &mut rng),
            What::Commit => drop(self.store().commit_waiting()),
            What::Note => {
                let marks = self.model().marks();
                if self.store().note() {
                    self.model().written(&marks);
                }
            }
            What::Tend => drop(self.store().tend(false)),
            What::Sync => {
                let marks = self.model().marks();
                if self.store().sync() {
                    self.model().durable(&marks);
                }
            }
            What::Scrub => drop(self.store().scrub()),
            What::Lease => self.lease(&mut rng),
            What::Settle => self.settle(&mut rng),
            What::Blame => self.blame(&mut rng),
            What::Control => self.control(&mut rng),
            What::List => self.list(),
            What::Read => self.read(&mut rng),
            What::Clock => {
                let mut world = self.disk.world();
                world.now += rng.below(2_000_000);
                if rng.one_in(10) {
                    world.now -= rng.below(1_000_000);
                }
            }
            What::Fill => {
                let full = rng.one_in(3);
                self.disk.world().full = full;
            }
            What::End => {}
        }
    }

    fn receive(&self, step: u64, rng: &mut Rng) {
        let length = match rng.below(60) {
            0 => (1 << 20) + rng.below(200_000),
            1..=6 => rng.below(100_000),
            _ => rng.below(6_000),
        };
        let mut bytes = Rng(step);
        let body: Arc<[u8]> = (0..length.div_ceil(8)).flat_map(|_| bytes.next().to_le_bytes()).collect();
        let recipient = |i| Recipient {
            address: Address::new(format!("u{i}"), Some("example.org")),
            ..Default::default()
        };
        let envelope = Envelope {
            sender: Address::new(format!("s{step}"), Some("example.com")),
            recipients: (0..1 + rng.below(4)).map(recipient).collect(),
            arrival: self.disk.world().now,
            hold: rng.one_in(15),
            ..Default::default()
        };
        let id = self.store().new_id();
        let Ok(mut draft) = self.store().draft(id, length) else { return };
        for piece in body.chunks(100_000) {
            if draft.append(piece).is_err() {
                return;
            }
        }
        if rng.one_in(12) {
            return; // the client went away
        }
        self.model().doubtful.insert(id, (body.clone(), envelope.clone()));
        if let Ok(answer) = draft.submit(envelope.clone()) {
            self.model().waiting.push(Waiting { id, answer: Box::pin(answer), body, envelope });
        }
    }

    fn lease(&self, rng: &mut Rng) {
        let before: BTreeMap<QueueId, (u64, bool)> =
            self.model().messages.iter().map(|(id, m)| (*id, (m.touched, m.idle()))).collect();
        let mut context = Context::from_waker(Waker::noop());
        let leased = self.store().poll_lease(1 + rng.below(3) as usize, &mut context);
        let mut model = self.model();
        model.answers();
        if self.disk.world().faults > 0 {
            // What could not be read waits for a while now.
            for message in model.messages.values_mut().filter(|m| !m.leased) {
                message.unsure(|v| View { next: None, ..v.clone() });
            }
        }
        let Poll::Ready(leased) = leased else { return };
        let mut ids = Vec::new();
        for one in leased {
            assert!(
                !model.buried.contains(&one.id),
                "{} delivered after that it was gone was durable",
                one.id
            );
            let Some(message) = model.messages.get_mut(&one.id) else { panic!("invented {}", one.id) };
            assert!(!message.leased, "{} leased twice", one.id);
            assert_eq!(message.sender, one.envelope.sender);
            let undisturbed = before
                .get(&one.id)
                .is_none_or(|(touched, idle)| *idle && message.idle() && *touched == message.touched);
            message.leased = true;
            if undisturbed {
                let Some(view) = message.now() else { panic!("{} delivered after it was gone", one.id) };
                assert_eq!(view.recipients, one.recipients, "{}", one.id);
                assert!(!view.held, "{} was on hold", one.id);
                ids.push(one.id);
            }
        }
        drop(model);
        ids.into_iter().for_each(|id| self.look(id));
    }

    /// Its content is what it was.
    fn look(&self, id: QueueId) {
        let Some(body) = self.model().messages.get(&id).map(|m| m.body.clone()) else { return };
        match self.store().body(id) {
            Ok(Body::Memory(there)) => assert!(*there == *body, "{id} has other content"),
            Ok(Body::File(..)) => panic!("no real files here"),
            Err(StoreError::LeaseLost) => {
                let gone = self.model().messages.get(&id).is_none_or(|m| m.gone() || !m.idle());
                assert!(gone, "{id} is gone");
            }
            Err(e) => {
                let world = self.disk.world();
                assert!(world.faults > 0 || world.dead, "{id}: {e}");
            }
        }
    }

    fn read(&self, rng: &mut Rng) {
        let ids: Vec<QueueId> = self.model().messages.keys().copied().collect();
        if !ids.is_empty() {
            self.look(ids[rng.below(ids.len() as u64) as usize]);
        }
    }

    fn list(&self) {
        let quiet = |world: &crate::simulated::World| world.faults == 0 && !world.dead;
        let before: BTreeMap<QueueId, u64> = {
            let model = self.model();
            model.messages.iter().filter(|(_, m)| m.idle()).map(|(id, m)| (*id, m.touched)).collect()
        };
        let seen = all(self.store());
        let model = self.model();
        for (id, touched) in before {
            let Some(message) = model.messages.get(&id) else { continue };
            if message.touched == touched && message.idle() && quiet(&self.disk.world()) {
                let same = match (message.now(), seen.get(&id).map(View::of)) {
                    (Some(now), Some(seen)) => {
                        View { next: None, ..now.clone() } == View { next: None, ..seen }
                    }
                    (None, None) => true,
                    _ => false,
                };
                assert!(same, "{id} is listed as {:#?}, not as {:#?}", seen.get(&id), message.now());
            }
        }
    }

    fn some_state(&self, rng: &mut Rng) -> RecipientState {
        let text = "x".repeat(rng.below(300) as usize);
        match rng.below(5) {
            0 => RecipientState::Owed(Status::new(Code(5, 1, 1), text)),
            1 => RecipientState::Bounced(Status::new(Code(5, 1, 1), text)),
            2 | 3 => RecipientState::Sent(Status::new(Code(2, 0, 0), text)),
            _ => RecipientState::Deferred(Status::new(Code(4, 0, 0), text)),
        }
    }

    /// One that is being delivered, and nobody else settles now.
    fn some_leased(&self, rng: &mut Rng) -> Option<QueueId> {
        let mut model = self.model();
        let leased: Vec<QueueId> =
            model.messages.iter().filter(|(_, m)| m.leased && !m.gone()).map(|(id, _)| *id).collect();
        let id = *leased.get(rng.below(leased.len() as u64) as usize)?;
        // Its worker has it until it is settled.
        model.messages.get_mut(&id)?.leased = false;
        Some(id)
    }

    fn settle(&self, rng: &mut Rng) {
        let Some(id) = self.some_leased(rng) else { return };
        if TRACE.load(Ordering::Relaxed) {
            eprintln!("settle {id}");
        }
        let mut outcome = Outcome { delay_warned: rng.one_in(10), ..Default::default() };
        let keep = rng.one_in(3);
        let now = self.disk.world().now;
        {
            let mut model = self.model();
            let Some(message) = model.messages.get_mut(&id) else { return };
            let Some(view) = message.now().cloned() else { return };
            let mut n = view.recipients.len();
            if rng.one_in(10) {
                n = 1 + rng.below(3) as usize;
                let recipients = vec![Recipient::default(); n];
                let new = Envelope { sender: message.sender.clone(), recipients, ..Default::default() };
                outcome.envelope = Some(Box::new(new));
            }
            for i in 0..n {
                if rng.one_in(2) {
                    outcome.recipients.push((i, self.some_state(rng)));
                }
            }
            if !keep || rng.one_in(2) {
                outcome.next_attempt = Some(now + rng.below(3_000_000));
            }
            let unsure = !message.idle() || message.hurry;
            let told = outcome.clone();
            message.begin(|v| {
                let mut view = v.settled(&told, keep)?;
                if unsure {
                    view.next = None;
                }
                Some(view)
            });
        }
        let result = self.store().settle(id, outcome, keep);
        let mut model = self.model();
        let Some(message) = model.messages.get_mut(&id) else { return };
        message.end();
        match result {
            Ok(()) => {
                let gone = message.gone();
                message.leased = keep && !gone;
                message.hurry &= keep;
            }
            Err(StoreError::LeaseLost) => assert!(message.gone(), "{id} lost its lease"),
            Err(e) => panic!("{id}: {e}"),
        }
    }

    fn blame(&self, rng: &mut Rng) {
        let Some(id) = self.some_leased(rng) else { return };
        {
            let mut model = self.model();
            let Some(message) = model.messages.get_mut(&id) else { return };
            let before = message.versions.last().cloned().flatten();
            message.begin(|v| Some(View { held: true, ..v.clone() }));
            message.versions.push(before);
        }
        let result = self.store().blame(id);
        let mut model = self.model();
        let Some(message) = model.messages.get_mut(&id) else { return };
        match result {
            Ok(crashes) => {
                message.leased = true;
                if crashes >= 2 {
                    message.unsure(|v| View { held: true, ..v.clone() });
                }
            }
            Err(StoreError::LeaseLost) => assert!(message.gone(), "{id} lost its lease"),
            Err(e) => panic!("{id}: {e}"),
        }
        message.end();
    }

    fn control(&self, rng: &mut Rng) {
        let all =
            [Action::Hold, Action::Release, Action::Requeue, Action::Delete, Action::Expire, Action::Flush];
        let action = all[rng.below(6) as usize];
        let chosen: Vec<QueueId> = {
            let mut model = self.model();
            let ids: Vec<QueueId> =
                model.messages.iter().filter(|(_, m)| !m.controlled).map(|(id, _)| *id).collect();
            if ids.is_empty() {
                return;
            }
            let n = 1 + rng.below(3);
            let mut chosen: Vec<QueueId> =
                (0..n).map(|_| ids[rng.below(ids.len() as u64) as usize]).collect();
            chosen.sort_unstable();
            chosen.dedup();
            // Of what is gone already nothing is promised.
            chosen.retain(|id| model.messages.get(id).is_some_and(|m| !m.gone()));
            for id in &chosen {
                let Some(message) = model.messages.get_mut(id) else { continue };
                message.controlled = true;
                message.begin(|v| v.controlled(action));
                message.hurry |= action == Action::Requeue;
            }
            chosen
        };
        if TRACE.load(Ordering::Relaxed) {
            eprintln!("{action:?} {chosen:?}");
        }
        let result = self.store().control(&Selection::Ids(chosen.clone()), action);
        let mut model = self.model();
        for id in &chosen {
            let Some(message) = model.messages.get_mut(id) else { continue };
            message.end();
            message.controlled = false;
        }
        let (touched, durable) = result.expect("the store is open");
        let mut marks = model.marks();
        let gone = |id: &QueueId| model.messages.get(id).is_none_or(|m| m.gone());
        marks.retain(|(id, _)| touched.contains(id) || chosen.contains(id) && !gone(id));
        model.promises.push((Box::pin(durable), marks));
    }

    /// The process ends in one of many ways; the next one starts.
    fn end(&mut self, rng: &mut Rng) {
        self.model().answers();
        let dead = self.disk.world().dead;
        self.counts.forwarded += self.store().forwarded();
        self.counts.calls += std::mem::take(&mut self.disk.world().calls);
        self.counts.failed += std::mem::take(&mut self.disk.world().failed);
        let way = if dead { rng.below(6) } else { rng.below(10) };
        if way >= 6 {
            // An orderly end; sometimes the disk does not play its part.
            let well = {
                let mut world = self.disk.world();
                world.crash_at = None;
                if rng.one_in(3) {
                    world.faults = 5 + rng.below(40);
                    false
                } else {
                    (world.faults, world.full) = (0, false);
                    true
                }
            };
            let before = self.model().marks();
            self.store().shut();
            self.counts.stops += 1;
            let mut model = self.model();
            if well {
                model.answers();
                let marks = model.marks();
                model.durable(&marks);
            } else {
                drop(before);
                model.answers();
            }
        }
        self.store = None;
        self.model().ended();
        self.lose(rng, way < 4 || way % 2 == 0);
        self.start(rng);
        if rng.one_in(4) {
            self.tools(rng);
        }
    }

    /// The power goes, or only the process.
    fn lose(&mut self, rng: &mut Rng, power: bool) {
        // What a process finds after a sync that failed in another one cannot be known.
        let power = power || self.disk.world().lied;
        if TRACE.load(Ordering::Relaxed) {
            eprintln!("{}", if power { "the power goes" } else { "the process is killed" });
        }
        self.disk = if power { self.disk.cut() } else { self.disk.killed() };
        if power {
            self.model().unwritten();
            self.counts.cuts += 1;
        } else {
            self.counts.kills += 1;
        }
        let mut world = self.disk.world();
        world.now += rng.below(1_000_000);
        (world.full, world.faults, world.crash_at) = (false, 0, None);
    }

    /// Starts it, perhaps after starts that come to nothing, and looks at everything.
    fn start(&mut self, rng: &mut Rng) {
        let tries = if rng.one_in(2) { rng.below(4) } else { 0 };
        let step = turns::now_in().0;
        for _ in 0..tries {
            let gone = rng.one_in(2);
            {
                let mut world = self.disk.world();
                world.faults = if gone && rng.one_in(2) { 0 } else { 3 + rng.below(60) };
                world.full = rng.one_in(8);
                world.crash_at = gone.then_some((step, rng.below(80)));
            }
            self.disk.world().counted_anew();
            if let Ok(engine) = Engine::open(self.disk.clone(), &options(), source(), false) {
                engine.warm_up();
                engine.tend(false);
                if rng.one_in(2) {
                    engine.shut();
                }
            }
            self.counts.recoveries_cut += 1;
            let power = rng.one_in(2);
            self.lose(rng, power);
        }
        let opened = Engine::open(self.disk.clone(), &options(), source(), false);
        let store = Arc::new(opened.unwrap_or_else(|e| panic!("it does not start: {e}")));
        store.forward_survivors();
        self.store = Some(store);
        self.check();
        self.disk.world().lied = false;
    }

    fn check(&self) {
        let seen = all(self.store());
        if TRACE.load(Ordering::Relaxed) {
            seen.iter().for_each(|(id, s)| eprintln!("there: {id} {:?}", View::of(s)));
        }
        assert_eq!(self.store().counts().total(), seen.len() as u64);
        self.model().compare(&seen);
        for id in seen.keys() {
            self.look(*id);
        }
        let big = self.disk.file_names().into_iter().filter_map(|n| n.strip_prefix("big/").map(String::from));
        for name in big {
            let owner = QueueId::parse(&name).filter(|id| seen.contains_key(id));
            assert!(owner.is_some(), "big/{name} belongs to nobody");
        }
    }

    /// Tools while no daemon runs: a reader that changes nothing, and an administrator.
    fn tools(&mut self, rng: &mut Rng) {
        let marks = {
            self.store().shut();
            self.store = None;
            let mut model = self.model();
            let marks = model.marks();
            model.durable(&marks);
            marks
        };
        drop(marks);
        let before: Vec<(String, Vec<u8>)> =
            self.disk.file_names().into_iter().map(|n| (n.clone(), self.disk.bytes(&n))).collect();
        let reader = Engine::open(self.disk.clone(), &options(), source(), true).expect("it can be read");
        let seen = all(&reader);
        self.model().compare(&seen);
        drop(reader);
        for (name, bytes) in before {
            assert!(self.disk.bytes(&name) == bytes, "a reader changed {name}");
        }
        let writer = Engine::open(self.disk.clone(), &options(), source(), false).expect("it can be opened");
        self.store = Some(Arc::new(writer));
        self.control(rng);
        assert!(self.store().sync(), "nothing fails now");
        self.model().answers();
        if rng.one_in(2) {
            self.store().shut();
        }
        self.store = None;
        self.model().ended();
        let power = rng.one_in(2);
        self.lose(rng, power);
        self.start(rng);
    }
}

/// All messages of a store.
pub fn all(store: &Engine<SimulatedDisk>) -> BTreeMap<QueueId, Summary> {
    let (mut seen, mut after) = (BTreeMap::new(), None);
    while let Ok(page) = store.list(after, 7)
        && let Some(last) = page.last()
    {
        after = Some(last.id);
        seen.extend(page.into_iter().map(|s| (s.id, s)));
    }
    seen
}
