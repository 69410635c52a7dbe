//! The store on a merciless simulated disk, against a model (`run`); damage; full disks.

mod damage;
mod full;
mod model;
mod run;
mod simulated;
mod turns;

use std::time::Instant;

/// How many seeds each run of the tests tries.
const SEEDS: u64 = 60;

#[test]
fn every_acknowledged_message_survives() {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("QUEUE_CRASH_SEED").unwrap_or(1);
    let seeds = number("QUEUE_CRASH_SEEDS").unwrap_or(SEEDS);
    let mut counts = run::Counts::default();
    let began = Instant::now();
    for seed in first..first + seeds {
        let steps = run::plan(seed);
        match run::run(seed, &steps) {
            Ok(more) => counts.add(&more),
            Err(why) => panic!("{}", run::failure(seed, &steps, &why)),
        }
    }
    eprintln!("{seeds} seeds in {:.1} s: {counts}", began.elapsed().as_secs_f32());
    assert!(counts.acknowledged > 100 && counts.cuts > 10 && counts.forwarded > 10, "the test did nothing");
}
