//! The store on a merciless simulated disk, against a model. `QUEUE_CRASH_SECONDS` and
//! `QUEUE_CRASH_SEED` make longer runs; a failure names its seed.

mod damage;
mod full;
mod model;
mod simulated;

use std::time::{Duration, Instant};

#[test]
fn every_acknowledged_message_survives() {
    if std::env::var_os("QUEUE_CRASH_LOG").is_some() {
        events::install(events::Sink::Stderr);
    }
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seconds = number("QUEUE_CRASH_SECONDS").unwrap_or(3);
    let mut seed = number("QUEUE_CRASH_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut acknowledged, mut crashes, mut forwarded) = (0, 0, 0);
    while Instant::now() < end {
        let result = std::panic::catch_unwind(|| {
            let mut run = model::Run::new(seed);
            run.rounds(12);
            (run.acknowledged, run.crashes, run.forwarded)
        });
        match result {
            Ok((a, c, f)) => {
                (acknowledged, crashes, forwarded) = (acknowledged + a, crashes + c, forwarded + f)
            }
            Err(panic) => {
                eprintln!("failing seed: QUEUE_CRASH_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
        seed += 1;
    }
    eprintln!(
        "{acknowledged} messages acknowledged, {forwarded} copied forward, {crashes} crashes, seeds to {seed}"
    );
    assert!(acknowledged > 100 && crashes > 10 && forwarded > 10, "the test did nothing");
}
