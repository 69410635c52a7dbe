//! Crashes the queue on a simulated disk for as long as one likes:
//! `cargo run --release -p crash -- --hours 8 [--seed S] [--log]`.
//!
//! What is done is in `crates/queue/tests/crash`. It stops at the first failure, names its seed, looks for the fewest
//! steps that still fail, and says how to repeat both: the same seed makes the same run, to the last sector.

#[path = "../../../crates/queue/tests/crash/counts.rs"]
mod counts;
#[path = "../../../crates/queue/tests/crash/model.rs"]
mod model;
#[path = "../../../crates/queue/tests/crash/run.rs"]
mod run;
#[path = "../../../crates/queue/tests/crash/simulated.rs"]
#[allow(dead_code)] // the damage test uses the rest
mod simulated;
#[path = "../../../crates/queue/tests/crash/turns.rs"]
mod turns;

use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: crash [--hours N | --seconds N | --seeds N] [--seed S [--steps A,B,…]] [--log]";

struct Arguments {
    time: Duration,
    seeds: u64,
    seed: u64,
    steps: Option<Vec<u64>>,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments { time: Duration::MAX, seeds: u64::MAX, seed: 1, steps: None };
    let mut bounded = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hours" => {
                let hours: f64 = words.next()?.parse().ok()?;
                found.time = Duration::try_from_secs_f64(hours * 3600.0).ok()?;
            }
            "--seconds" => found.time = Duration::from_secs(words.next()?.parse().ok()?),
            "--seeds" => found.seeds = words.next()?.parse().ok()?,
            "--seed" => {
                found.seed = words.next()?.parse().ok()?;
                continue;
            }
            "--steps" => {
                found.steps = Some(words.next()?.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?);
            }
            "--log" => {
                events::install(events::Sink::Stderr);
                simulated::TRACE.store(true, std::sync::atomic::Ordering::Relaxed);
                continue;
            }
            _ => return None,
        }
        bounded = true;
    }
    if !bounded {
        found.time = Duration::from_secs(60);
    }
    Some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let mut seed = arguments.seed;
    if let Some(wanted) = arguments.steps {
        let steps: Vec<_> = run::plan(seed).into_iter().filter(|s| wanted.contains(&s.id)).collect();
        return match run::run(seed, &steps) {
            Ok(counts) => {
                println!("seed {seed}, {} steps: {counts}; all accounted for", steps.len());
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("seed {seed}, {} steps: {why}", steps.len());
                ExitCode::FAILURE
            }
        };
    }
    let mut counts = run::Counts::default();
    let (began, mut told) = (Instant::now(), Instant::now());
    let first = seed;
    while began.elapsed() < arguments.time && seed - first < arguments.seeds {
        let steps = run::plan(seed);
        match run::run(seed, &steps) {
            Ok(more) => counts.add(&more),
            Err(why) => {
                println!("{}", run::failure(seed, &steps, &why));
                return ExitCode::FAILURE;
            }
        }
        seed += 1;
        if told.elapsed() > Duration::from_secs(600) {
            told = Instant::now();
            println!("{} s, seeds to {}: {counts}", began.elapsed().as_secs(), seed - 1);
        }
    }
    println!(
        "{} seeds ({first} to {}) in {} s: {counts}; all accounted for",
        seed - first,
        seed - 1,
        began.elapsed().as_secs()
    );
    ExitCode::SUCCESS
}
