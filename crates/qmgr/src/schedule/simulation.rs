//! A busy queue in simulated time: 10,000 messages to 500 destinations, of which 50 are dead, 50
//! greylist and 10 answer a byte a second. The live ones get their mail as if the bad ones were
//! not there.

use super::backoff::Patience;
use super::*;
use proto::status::{Code, Status};

const S: u64 = 1_000_000;
const MESSAGES: u64 = 10_000;
const DESTINATIONS: u64 = 500;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Live,
    Dead,
    Greylisting,
    Slow,
}

/// The bad ones stand between the live ones.
fn kind(destination: u64) -> Kind {
    match destination % 50 {
        0..5 => Kind::Dead,
        5..10 => Kind::Greylisting,
        10 => Kind::Slow,
        _ => Kind::Live,
    }
}

/// Numbers that look random and are the same in each run.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// How a delivery ends, and how long it takes.
fn delivery(live: (u64, u64), destination: u64, n: u64, now: u64) -> (u64, Feedback) {
    let (least, most) = live;
    let well = (least + mixed(n) % (most - least), Feedback::Reached);
    match kind(destination) {
        Kind::Live => well,
        Kind::Dead => (30 * S, Feedback::Failed(Status::new(Code(4, 4, 1), "Connection timed out"))),
        Kind::Greylisting if now < 300 * S => (S / 20 + mixed(n) % (S / 10), Feedback::Postponed),
        Kind::Greylisting => well,
        Kind::Slow => (200 * S, Feedback::Reached),
    }
}

#[derive(Default)]
struct Run {
    /// When each message arrived at a live destination.
    live: HashMap<u64, u64>,
    /// How often each message was delivered, whatever its destination.
    delivered: HashMap<u64, u32>,
    /// How often each was put off.
    put_off: HashMap<u64, u32>,
    most: usize,
}

impl Run {
    /// When so many of a hundred live messages had arrived.
    fn at(&self, percent: usize) -> f64 {
        let mut all: Vec<u64> = self.live.values().copied().collect();
        all.sort_unstable();
        all[(all.len() - 1) * percent / 100] as f64 / S as f64
    }
}

/// The way from the queue and back: what is put off comes again when its time has come.
fn run(with_bad: bool, limits: &Limits, live: (u64, u64)) -> Run {
    let until = 3_600 * S;
    let patience = Patience {
        shortest: 300 * S,
        longest: 4_000 * S,
        run: 300 * S,
        lifetime: 432_000 * S,
        bounce_lifetime: 432_000 * S,
        warning: 0,
    };
    let mut scheduler = Scheduler::new(HashMap::from([("smtp".to_string(), limits.clone())]), 20_000);
    // What comes: messages, arriving over two seconds; later, what was put off.
    let mut due: BTreeSet<(u64, u64)> = (0..MESSAGES).map(|n| (n * 2 * S / MESSAGES, n)).collect();
    let mut ends: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut doing: HashMap<u64, (u64, u64, Feedback)> = HashMap::new();
    let mut result = Run::default();
    loop {
        let next = [due.first().map(|d| d.0), ends.first().map(|e| e.0), scheduler.wake_at()];
        let Some(now) = next.into_iter().flatten().min().filter(|now| *now < until) else { break };
        let event = if ends.first().is_some_and(|e| e.0 <= now) {
            let (_, delivery) = ends.pop_first().unwrap();
            let (n, destination, feedback) = doing.remove(&delivery).unwrap();
            if feedback == Feedback::Reached {
                *result.delivered.entry(n).or_default() += 1;
                if kind(destination) == Kind::Live {
                    result.live.insert(n, now);
                }
            } else {
                *result.put_off.entry(n).or_default() += 1;
                due.insert((patience.next(QueueId(n), 0, now), n));
            }
            Event::Finished { delivery, feedback, mailbox: None }
        } else if due.first().is_some_and(|d| d.0 <= now) {
            let (_, n) = due.pop_first().unwrap();
            let destination = n % DESTINATIONS;
            if !with_bad && kind(destination) != Kind::Live {
                continue;
            }
            let name = destination.to_string();
            let group = Group {
                transport: "smtp".into(),
                nexthop: name.clone(),
                destination: name,
                recipients: vec![0],
                single: false,
                alone: false,
            };
            Event::Arrived(QueueId(n), 10_240, vec![group])
        } else {
            Event::Tick
        };
        for action in scheduler.on(event, now) {
            match action {
                Action::Start { delivery: number, id, nexthop, .. } => {
                    let destination = nexthop.parse().unwrap();
                    let (takes, feedback) = delivery(live, destination, id.0, now);
                    ends.insert((now + takes, number));
                    doing.insert(number, (id.0, destination, feedback));
                }
                Action::Defer { id, .. } => {
                    *result.put_off.entry(id.0).or_default() += 1;
                    due.insert((patience.next(id, 0, now), id.0));
                }
            }
        }
        result.most = result.most.max(scheduler.running());
    }
    result
}

#[test]
fn live_destinations_do_not_notice_bad_ones() {
    compare((S / 20, S * 3 / 10));
}

#[test]
fn nor_do_those_that_take_their_time() {
    compare((S, 3 * S));
}

fn compare(takes: (u64, u64)) {
    let limits = Limits {
        processes: 100,
        elastic: true,
        concurrency: 20,
        initial: 5,
        recipients: 50,
        cohorts: 1,
        dead_time: 300 * S,
        ..Limits::default()
    };
    let alone = run(false, &limits, takes);
    let among = run(true, &limits, takes);
    let live = (0..MESSAGES).filter(|n| kind(n % DESTINATIONS) == Kind::Live).count();
    assert_eq!((alone.live.len(), among.live.len()), (live, live));
    for percent in [25, 50, 75, 90, 99, 100] {
        let (a, b) = (alone.at(percent), among.at(percent));
        println!("{percent} of 100 live messages: {a:.3} s alone, {b:.3} s among bad ones");
    }
    println!("at most {} and {} deliveries at a time", alone.most, among.most);
    for percent in [50, 90, 100] {
        let (a, b) = (alone.at(percent), among.at(percent));
        assert!(b <= a * 1.02, "{percent}: {a} {b}");
    }
    // None lost, none twice; what is dead waits, what was put off once arrived.
    assert!(among.delivered.values().all(|n| *n == 1));
    for n in 0..MESSAGES {
        let (delivered, put_off) = (among.delivered.contains_key(&n), among.put_off.contains_key(&n));
        match kind(n % DESTINATIONS) {
            Kind::Live | Kind::Slow => assert!(delivered && !put_off, "{n}"),
            Kind::Dead => assert!(!delivered && put_off, "{n}"),
            Kind::Greylisting => assert!(delivered && among.put_off[&n] == 1, "{n}"),
        }
    }
    assert!(among.most <= 1_200);
}
