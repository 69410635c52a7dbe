//! Tests of `schedule`.

use super::*;
use proptest::prelude::*;
use proto::status::{Code, Status};
use std::collections::BTreeMap;

fn limits(processes: usize, concurrency: usize, recipients: usize) -> Limits {
    Limits {
        processes,
        concurrency,
        initial: 5,
        recipients,
        cohorts: 1,
        dead_time: 300_000_000,
        ..Limits::default()
    }
}

fn scheduler(all: &[(&str, Limits)]) -> Scheduler {
    Scheduler::new(all.iter().map(|(n, l)| (n.to_string(), l.clone())).collect(), 20_000)
}

fn group(transport: &str, destination: &str, recipients: std::ops::Range<usize>) -> Group {
    Group {
        transport: transport.into(),
        nexthop: destination.into(),
        destination: destination.into(),
        recipients: recipients.collect(),
        single: false,
        alone: false,
    }
}

/// Runs everything to its end in simulated time: a delivery takes as long as `takes` says. Gives
/// the order of starts and how often each recipient was started.
struct World {
    scheduler: Scheduler,
    now: u64,
    ends: BTreeSet<(u64, u64)>,
    doing: HashMap<u64, (QueueId, String, Vec<usize>)>,
    starts: Vec<(u64, QueueId, String)>,
    settled: BTreeMap<(QueueId, usize), usize>,
    most: HashMap<String, usize>,
    most_at: HashMap<(String, String), usize>,
    /// What deliveries say they were.
    mailbox: Option<bool>,
    /// Messages of each start.
    sizes: Vec<usize>,
}

impl World {
    fn new(scheduler: Scheduler) -> World {
        World {
            scheduler,
            now: 0,
            ends: BTreeSet::new(),
            doing: HashMap::new(),
            starts: Vec::new(),
            settled: BTreeMap::new(),
            most: HashMap::new(),
            most_at: HashMap::new(),
            mailbox: None,
            sizes: Vec::new(),
        }
    }

    fn feed(&mut self, event: Event, takes: &dyn Fn(&str) -> u64) {
        for action in self.scheduler.on(event, self.now) {
            match action {
                Action::Start { delivery, id, transport, nexthop, recipients, with, .. } => {
                    self.ends.insert((self.now + takes(&nexthop), delivery));
                    let transport = transport.to_string();
                    self.starts.push((self.now, id, nexthop.clone()));
                    self.sizes.push(1 + with.len());
                    for r in &recipients {
                        *self.settled.entry((id, *r)).or_default() += 1;
                    }
                    for (id, recipients) in with {
                        self.starts.push((self.now, id, nexthop.clone()));
                        for r in recipients {
                            *self.settled.entry((id, r)).or_default() += 1;
                        }
                    }
                    self.doing.insert(delivery, (id, format!("{transport} {nexthop}"), recipients));
                    let running: Vec<&String> = self.doing.values().map(|(_, t, _)| t).collect();
                    let all = running.iter().filter(|t| t.split(' ').next() == Some(&transport)).count();
                    let place = format!("{transport} {nexthop}");
                    let here = running.iter().filter(|t| ***t == place).count();
                    let most = self.most.entry(transport.clone()).or_default();
                    *most = all.max(*most);
                    let most = self.most_at.entry((transport, nexthop)).or_default();
                    *most = here.max(*most);
                }
                Action::Defer { id, recipients, .. } => {
                    for r in recipients {
                        *self.settled.entry((id, r)).or_default() += 1;
                    }
                }
            }
        }
    }

    fn run(&mut self, takes: &dyn Fn(&str) -> u64, feedback: &dyn Fn(&str) -> Feedback) {
        loop {
            let tick = self.scheduler.wake_at();
            match (self.ends.first().copied(), tick) {
                (Some((at, delivery)), tick) if tick.is_none_or(|t| at <= t) => {
                    self.ends.pop_first();
                    self.now = self.now.max(at);
                    let (_, place, _) = self.doing.remove(&delivery).unwrap();
                    let nexthop = place.split_once(' ').unwrap().1;
                    self.feed(
                        Event::Finished { delivery, feedback: feedback(nexthop), mailbox: self.mailbox },
                        takes,
                    );
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    self.feed(Event::Tick, takes);
                }
                (_, None) => break,
            }
        }
    }
}

fn reached(_: &str) -> Feedback {
    Feedback::Reached
}

#[test]
fn limits_of_transport_destination_and_recipients_hold() {
    let mut world = World::new(scheduler(&[("smtp", limits(10, 4, 3))]));
    for n in 0..200 {
        let groups = (0..5).map(|d| group("smtp", &format!("d{d}"), d * 4..d * 4 + 4)).collect();
        world.feed(Event::Arrived(QueueId(n), 1, groups), &|_| 1000);
    }
    world.run(&|_| 1000, &reached);
    assert_eq!(world.most["smtp"], 10);
    assert!(world.most_at.values().all(|n| *n <= 4));
    assert_eq!(world.settled.len(), 200 * 20);
    assert!(world.settled.values().all(|n| *n == 1));
    assert_eq!((world.scheduler.waiting(), world.scheduler.running()), (0, 0));
    assert!(world.scheduler.known() == 0, "idle destinations are forgotten");
}

#[test]
fn a_message_with_thousands_of_recipients_does_not_hold_up_others() {
    let mut world = World::new(scheduler(&[("local", limits(10, 2, 1))]));
    let many = (0..5_000).map(|r| group("local", &format!("user{r}"), r..r + 1)).collect();
    world.feed(Event::Arrived(QueueId(1), 1, many), &|_| 1000);
    for n in 2..12 {
        world.feed(Event::Arrived(QueueId(n), 1, vec![group("local", "jose", 0..1)]), &|_| 1000);
    }
    world.run(&|_| 1000, &reached);
    let last_small = world.starts.iter().rposition(|(_, id, _)| id.0 > 1).unwrap();
    assert!(last_small < 80, "{last_small}");
    assert_eq!(world.settled.len(), 5_010);
}

#[test]
fn a_slow_destination_does_not_hold_up_others() {
    let mut world = World::new(scheduler(&[("smtp", limits(20, 5, 50))]));
    let takes = |d: &str| if d == "slow" { 300_000_000 } else { 1_000 };
    for n in 0..2_000 {
        let d = if n % 2 == 0 { "slow" } else { "fast" };
        world.feed(Event::Arrived(QueueId(n), 1, vec![group("smtp", d, 0..1)]), &takes);
    }
    world.run(&takes, &reached);
    let last_fast = world.starts.iter().filter(|(_, _, d)| d == "fast").map(|(t, _, _)| *t).max().unwrap();
    assert!(last_fast < 300_000_000, "{last_fast}");
    assert_eq!(world.settled.len(), 2_000);
}

#[test]
fn entries_of_a_destination_go_in_their_order() {
    let mut world = World::new(scheduler(&[("smtp", limits(100, 1, 50))]));
    for n in 0..500 {
        world.feed(Event::Arrived(QueueId(n), 1, vec![group("smtp", "d", 0..1)]), &|_| 10);
    }
    world.run(&|_| 10, &reached);
    let order: Vec<u64> = world.starts.iter().map(|(_, id, _)| id.0).collect();
    assert_eq!(order, (0..500).collect::<Vec<_>>());
}

#[test]
fn a_dead_destination_defers_all_and_is_tried_again_later() {
    let mut world = World::new(scheduler(&[("smtp", Limits { initial: 1, ..limits(10, 5, 50) })]));
    let why = Status::new(Code(4, 4, 1), "refused");
    for n in 0..50 {
        world.feed(Event::Arrived(QueueId(n), 1, vec![group("smtp", "d", 0..2)]), &|_| 10);
    }
    let failed = why.clone();
    world.run(&|_| 10, &move |_| Feedback::Failed(failed.clone()));
    assert_eq!(world.starts.len(), 1, "one failure with a window of one");
    assert_eq!(world.settled.len(), 100);
    let mut scheduler = scheduler(&[("smtp", Limits { initial: 1, ..limits(10, 5, 50) })]);
    scheduler.on(Event::Arrived(QueueId(1), 1, vec![group("smtp", "d", 0..1)]), 0);
    scheduler.on(Event::Finished { delivery: 1, feedback: Feedback::Failed(why.clone()), mailbox: None }, 0);
    let again =
        |s: &mut Scheduler, n, now| s.on(Event::Arrived(QueueId(n), 1, vec![group("smtp", "d", 0..1)]), now);
    assert!(matches!(&again(&mut scheduler, 2, 1)[..], [Action::Defer { status, .. }] if *status == why));
    assert!(matches!(&again(&mut scheduler, 3, 300_000_000)[..], [Action::Start { .. }]));
    scheduler.on(
        Event::Finished { delivery: 2, feedback: Feedback::Failed(why.clone()), mailbox: None },
        300_000_001,
    );
    scheduler.on(Event::Revive, 300_000_002);
    assert!(matches!(&again(&mut scheduler, 4, 300_000_003)[..], [Action::Start { .. }]));
}

#[test]
fn a_destination_rests_between_deliveries() {
    let slow = Limits { rate_delay: 1_000_000, ..limits(10, 5, 1) };
    let mut world = World::new(scheduler(&[("smtp", slow)]));
    world.feed(Event::Arrived(QueueId(1), 1, vec![group("smtp", "d", 0..10)]), &|_| 10);
    world.run(&|_| 10, &reached);
    let times: Vec<u64> = world.starts.iter().map(|(t, _, _)| *t).collect();
    assert_eq!(times.len(), 10);
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 1_000_000), "{times:?}");
}

#[test]
fn a_forgotten_message_gives_its_places_back() {
    let mut s = scheduler(&[("smtp", limits(1, 1, 1))]);
    s.on(Event::Arrived(QueueId(1), 1, vec![group("smtp", "d", 0..3)]), 0);
    s.on(Event::Arrived(QueueId(2), 1, vec![group("smtp", "d", 0..1)]), 0);
    assert!(s.on(Event::Forget(QueueId(1)), 0).is_empty());
    let next = s.on(Event::Finished { delivery: 1, feedback: Feedback::Reached, mailbox: None }, 0);
    assert!(matches!(next[..], [Action::Start { id: QueueId(2), .. }]), "{next:?}");
    s.on(Event::Finished { delivery: 2, feedback: Feedback::Reached, mailbox: None }, 0);
    assert!(s.waiting() == 0 && s.running() == 0 && s.known() == 0);
}

#[test]
fn one_slow_destination_does_not_fill_the_active_queue() {
    let l = Limits { elastic: true, ..limits(100, 20, 50) };
    let limits = HashMap::from([("smtp".to_string(), l)]);
    let mut scheduler = Scheduler::new(limits, 2_000);
    let mut actions = Vec::new();
    for n in 0..500 {
        let event = Event::Arrived(QueueId(n), 1, vec![group("smtp", "slow", 0..1)]);
        actions.extend(scheduler.on(event, n * 10_000));
    }
    let put_off = actions.iter().filter(|a| matches!(a, Action::Defer { .. })).count();
    // The first five are on their way; until it shows that they are late all may wait.
    assert_eq!((scheduler.running(), scheduler.waiting(), put_off), (5, 100, 395));
    let fast = Event::Arrived(QueueId(1_000), 1, vec![group("smtp", "fast", 0..1)]);
    assert!(matches!(scheduler.on(fast, 6_000_000)[..], [Action::Start { .. }]));
}

#[test]
fn a_transport_rests_after_each_start() {
    let slow = Limits { transport_delay: 20_000_000, ..limits(10, 5, 50) };
    let mut world = World::new(scheduler(&[("smtp", slow)]));
    for n in 0..5 {
        let d = format!("d{n}");
        world.feed(Event::Arrived(QueueId(n), 1, vec![group("smtp", &d, 0..1)]), &|_| 10);
    }
    world.run(&|_| 10, &reached);
    let times: Vec<u64> = world.starts.iter().map(|(t, _, _)| *t / 1_000_000).collect();
    assert_eq!(times, [0, 20, 40, 60, 80]);
}

#[test]
fn a_single_group_is_delivered_one_by_one() {
    let mut world = World::new(scheduler(&[("smtp", limits(10, 5, 50))]));
    let one = Group { single: true, ..group("smtp", "d", 0..7) };
    world.feed(Event::Arrived(QueueId(1), 1, vec![one]), &|_| 10);
    world.run(&|_| 10, &reached);
    assert_eq!((world.starts.len(), world.settled.len()), (7, 7));
}

#[test]
fn a_promised_limit_holds_whatever_hangs_and_another_stretches_to_a_bottom() {
    for (elastic, most) in [(false, 10), (true, 110)] {
        let l = Limits { elastic, ..limits(10, 20, 50) };
        let mut world = World::new(scheduler(&[("smtp", l)]));
        for n in 0..1_000 {
            let d = format!("d{}", n % 200);
            world.feed(Event::Arrived(QueueId(n), 1, vec![group("smtp", &d, 0..1)]), &|_| 60_000_000);
        }
        world.run(&|_| 60_000_000, &reached);
        assert!(world.most["smtp"] <= most, "{elastic} {}", world.most["smtp"]);
        assert!(elastic == (world.most["smtp"] > 50));
        assert_eq!(world.settled.len(), 1_000);
    }
}

/// Mail for mailboxes.
fn mailboxes(concurrency: usize) -> World {
    let l = Limits { together: 100, writers: 4, initial: 5, ..limits(100, concurrency, 1) };
    let mut world = World::new(scheduler(&[("local", l)]));
    world.mailbox = Some(true);
    world
}

#[test]
fn what_comes_while_a_mailbox_is_written_goes_together_in_its_order() {
    let mut world = mailboxes(2);
    let to = |n, d: &str| Event::Arrived(QueueId(n), 10_000, vec![group("local", d, 0..1)]);
    for n in 0..50 {
        world.feed(to(n, "jose"), &|_| 3_000);
    }
    assert_eq!(world.sizes, [1], "a lonely message waits for nobody");
    world.run(&|_| 3_000, &reached);
    assert_eq!(world.sizes, [1, 49]);
    let order: Vec<u64> = world.starts.iter().map(|(_, id, _)| id.0).collect();
    assert_eq!(order, (0..50).collect::<Vec<_>>());
    // Never more than one process is given, and one that must go alone goes alone and is not overtaken.
    let mut world = mailboxes(2);
    for n in 0..250 {
        let mut event = to(n, "jose");
        if let (150, Event::Arrived(_, _, groups)) = (n, &mut event) {
            groups[0].alone = true;
        }
        world.feed(event, &|_| 3_000);
    }
    world.run(&|_| 3_000, &reached);
    assert_eq!(world.sizes, [1, 100, 49, 1, 99]);
    let order: Vec<u64> = world.starts.iter().map(|(_, id, _)| id.0).collect();
    assert_eq!(order, (0..250).collect::<Vec<_>>());
    assert_eq!(world.most_at.values().max(), Some(&1));
    // 10 messages of 400,000 bytes are enough for one.
    let mut world = mailboxes(2);
    for n in 0..31 {
        let event = Event::Arrived(QueueId(n), 400_000, vec![group("local", "jose", 0..1)]);
        world.feed(event, &|_| 3_000);
    }
    world.run(&|_| 3_000, &reached);
    assert_eq!(world.sizes, [1, 10, 10, 10]);
}

#[test]
fn commands_get_a_process_for_each_message_and_as_many_as_allowed() {
    for (takes, mailbox) in [(1_000, Some(false)), (30_000_000, Some(false)), (30_000_000, None)] {
        let mut world = mailboxes(2);
        world.mailbox = mailbox;
        for n in 0..40 {
            let event = Event::Arrived(QueueId(n), 1, vec![group("local", "jose", 0..1)]);
            world.feed(event, &|_| takes);
        }
        world.run(&|_| takes, &reached);
        assert_eq!(world.sizes, [1; 40]);
        assert_eq!(world.most_at.values().max(), Some(&2), "{takes}");
        // The second waits for the first a moment, and no other.
        assert!(world.now <= 20 * takes + 2 * super::together::FRESH, "{takes} {}", world.now);
    }
}

#[test]
fn few_mailboxes_are_written_at_a_time_and_a_locked_one_delays_no_other() {
    let mut world = mailboxes(20);
    let takes = |d: &str| if d == "locked" { 20_000_000 } else { 5_000 };
    for n in 0..2_000 {
        let d = if n % 40 == 0 { "locked".to_string() } else { format!("u{}", n % 20) };
        world.feed(Event::Arrived(QueueId(n), 1, vec![group("local", &d, 0..1)]), &takes);
    }
    world.run(&takes, &reached);
    assert_eq!(world.settled.len(), 2_000);
    let others = world.starts.iter().filter(|(_, _, d)| d != "locked");
    let last = others.map(|(at, _, _)| *at).max().unwrap();
    assert!(last < 500_000, "{last}");
    // Those whose kind was not known yet all began at once.
    assert!(world.sizes.len() < 21 + 20 + 6, "{:?}", world.sizes);
    assert_eq!(world.most_at[&("local".to_string(), "u1".to_string())], 1);
}

#[test]
fn the_first_deliveries_of_a_transport_begin_at_once() {
    let mut world = mailboxes(20);
    for n in 0..60 {
        let event = Event::Arrived(QueueId(n), 1, vec![group("local", &format!("u{n}"), 0..1)]);
        world.feed(event, &|_| 5_000);
    }
    assert_eq!(world.sizes.len(), 60);
    world.run(&|_| 5_000, &reached);
    for n in 60..120 {
        let event = Event::Arrived(QueueId(n), 1, vec![group("local", &format!("u{n}"), 0..1)]);
        world.feed(event, &|_| 5_000);
    }
    assert_eq!(world.sizes.len(), 64, "now they are known to be mailboxes, and there are four writers");
    world.run(&|_| 5_000, &reached);
    assert_eq!(world.settled.len(), 120);
}

#[test]
fn content_in_memory_is_bounded() {
    let l = Limits { elastic: true, ..limits(100, 20, 50) };
    let mut world = World::new(scheduler(&[("smtp", l)]));
    for n in 0..1_000 {
        let d = format!("d{n}");
        let event = Event::Arrived(QueueId(n), 1 << 20, vec![group("smtp", &d, 0..1)]);
        world.feed(event, &|_| 600_000_000);
    }
    world.run(&|_| 600_000_000, &reached);
    assert!(world.most["smtp"] <= 64, "{}", world.most["smtp"]);
    assert_eq!(world.settled.len(), 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whatever comes, limits hold and every recipient is started or deferred exactly once.
    #[test]
    fn nothing_starves(
        processes in 0usize..6, concurrency in 0usize..4, recipients in 0usize..4, initial in 1usize..4,
        rate in 0u64..2, elastic: bool, between in 0u64..2, seed in prop::collection::vec((0u64..40, 0usize..6, 1usize..6, 0u64..50), 1..60),
        fails in 0usize..7,
        together in 1usize..5, mailbox in prop::option::of(any::<bool>()), slow: bool,
    ) {
        let transport_delay = between * 3;
        let rate_delay = rate * 7;
        let limits = Limits {
            initial, rate_delay, elastic, transport_delay, together, writers: 2, ..limits(processes, concurrency, recipients)
        };
        let mut world = World::new(scheduler(&[("t", limits)]));
        world.mailbox = mailbox;
        let mut expected = BTreeMap::new();
        let mut next: HashMap<u64, usize> = HashMap::new();
        let takes = |d: &str| d.len() as u64 * if slow { 50_000 } else { 3 } + 1;
        for (id, d, n, pause) in seed {
            let from = *next.get(&id).unwrap_or(&0);
            next.insert(id, from + n);
            for r in from..from + n {
                expected.insert((QueueId(id), r), 1);
            }
            let name = "d".repeat(d + 1);
            world.feed(Event::Arrived(QueueId(id), 1, vec![group("t", &name, from..from + n)]), &takes);
            if pause > 40 {
                world.run(&takes, &reached);
            }
        }
        let dead = "d".repeat(fails);
        let feedback = move |d: &str| if d == dead {
            Feedback::Failed(Status::new(Code(4, 4, 1), "x"))
        } else {
            Feedback::Reached
        };
        world.run(&takes, &feedback);
        prop_assert_eq!(&world.settled, &expected);
        let most = if elastic { 12 * processes } else { processes };
        prop_assert!(processes == 0 || world.most.values().all(|n| *n <= most));
        prop_assert!(concurrency == 0 || world.most_at.iter().all(|(_, n)| *n <= concurrency));
        prop_assert!(world.sizes.iter().all(|n| *n <= together));
        prop_assert_eq!(world.scheduler.waiting(), 0);
    }
}
