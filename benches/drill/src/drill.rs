//! What both drills share: clients that send meanwhile, the wait until everything has arrived, the judgement.

use crate::account::{Kill, Verdict, judge};
use crate::clients::{Ledger, client};
use crate::clock::Pulse;
use crate::letters::{Place, recipients};
use crate::options::Options;
use crate::sink::Sink;
use crate::system::{PATIENCE, System};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// So many letters may be on their way before the clients wait.
const ON_THE_WAY: u64 = 400;

/// What a drill came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The judgement.
    pub verdict: Verdict,
    /// Letters that were not whole, or that nobody sent.
    pub strange: Vec<String>,
    /// Cut-off letters in the mbox.
    pub torn: u64,
    /// What is in the queue although there was time enough.
    pub waiting: Option<String>,
    /// Who was killed, and when.
    pub kills: Vec<Kill>,
    /// How long it took until it greeted again, sorted.
    pub pauses: Vec<Duration>,
    /// How long everything took.
    pub taken: Duration,
}

impl Outcome {
    /// What may not be, however the system was stopped.
    pub fn faults(&self) -> Vec<String> {
        let verdict = &self.verdict;
        let mut faults = Vec::new();
        if let Some(waiting) = &self.waiting {
            faults.push(format!("the queue does not get empty: {waiting}"));
        }
        if !verdict.lost.is_empty() {
            let some = &verdict.lost[..verdict.lost.len().min(20)];
            faults.push(format!("{} are lost: {some:?}", verdict.lost.len()));
        }
        if !verdict.invented.is_empty() {
            faults.push(format!("nobody sent {:?}", verdict.invented));
        }
        if let Some(first) = self.strange.first() {
            faults.push(format!(
                "{} came that are not whole, or that nobody sent: {first}",
                self.strange.len()
            ));
        }
        faults
    }
}

/// Sends from many clients while `attack` does its worst; then waits until what was acknowledged has arrived.
pub fn under_fire(
    system: &System,
    sink: &Sink,
    options: &Options,
    attack: &mut dyn FnMut(&Ledger, &mut Outcome) -> Result<(), String>,
) -> Result<Outcome, String> {
    let (ledger, pulse, begun) = (Ledger::default(), Pulse::start(&options.folder), Instant::now());
    let mut outcome = Outcome::default();
    let result = std::thread::scope(|scope| {
        for _ in 0..options.clients {
            scope.spawn(|| client(system.address, &ledger));
        }
        scope.spawn(|| moderate(sink, &ledger));
        // Whatever fails in here, the clients end.
        let result = attack(&ledger, &mut outcome);
        ledger.enough.store(true, Ordering::Relaxed);
        result
    });
    result?;
    if let Some(strange) = ledger.strange.lock().map_err(|e| e.to_string())?.take() {
        return Err(strange);
    }
    let sent = std::mem::take(&mut *ledger.sent());
    // As long as something arrives there is hope.
    let (mut end, mut most) = (Instant::now() + PATIENCE, 0);
    let mut flushed = Instant::now();
    loop {
        let empty = system.is_empty();
        let (found, torn) = system.boxes();
        let mut arrivals = sink.seen().arrivals.clone();
        arrivals.extend(found.arrivals);
        if arrivals.len() > most {
            (end, most) = (Instant::now() + PATIENCE, arrivals.len());
        }
        outcome.verdict = judge(&sent, &arrivals, &outcome.kills);
        outcome.torn = torn;
        if empty || (Instant::now() > end) {
            System::weigh(&mut outcome.kills, &pulse);
            outcome.verdict = judge(&sent, &arrivals, &outcome.kills);
            outcome.waiting = (!empty).then(|| system.listing());
            outcome.strange = found.strange;
            outcome.strange.append(&mut sink.seen().strange);
            break;
        }
        if flushed.elapsed() > Duration::from_secs(3) {
            system.command("postqueue", &["-f"])?;
            flushed = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    outcome.pauses.sort_unstable();
    outcome.taken = begun.elapsed();
    Ok(outcome)
}

/// Lets the clients wait while too much is on its way.
fn moderate(sink: &Sink, ledger: &Ledger) {
    while !ledger.enough.load(Ordering::Relaxed) {
        let far = |n: u64| recipients(n).iter().any(|p| matches!(p, Place::Far(_)));
        let sent = ledger.sent().iter().filter(|(n, a)| a.is_some() && far(**n)).count() as u64;
        let here = sink.seen().letters;
        ledger.pause.store(sent > here + ON_THE_WAY, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until so many further letters were acknowledged.
pub fn wait_for_load(system: &System, ledger: &Ledger, more: u64) -> Result<(), String> {
    let wanted = ledger.count() + more;
    let end = Instant::now() + PATIENCE;
    while ledger.count() < wanted {
        if Instant::now() > end {
            return Err(format!("no mail is taken any more\n{}", system.tail()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
