//! Crashes the store on a simulated disk for as long as one likes:
//! `cargo run -p queue --example crash -- --seconds 3600 --seed 1 [--log]`.
//! Stops at the first failure and names its seed; `--seed` with it repeats the run exactly.

#[path = "../tests/crash/model.rs"]
mod model;
#[allow(dead_code)] // the damage test uses the rest
#[path = "../tests/crash/simulated.rs"]
mod simulated;

use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let (mut seconds, mut seed) = (60, 1u64);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse::<u64>().ok());
        match arg.as_str() {
            "--seconds" => seconds = number().unwrap_or(seconds),
            "--seed" => seed = number().unwrap_or(seed),
            "--log" => events::install(events::Sink::Stderr),
            _ => {
                eprintln!("usage: crash [--seconds N] [--seed S] [--log]");
                return ExitCode::from(64);
            }
        }
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut acknowledged, mut crashes, mut forwarded) = (0, 0, 0);
    while Instant::now() < end {
        let result = std::panic::catch_unwind(|| {
            let mut run = model::Run::new(seed);
            run.rounds(12);
            (run.acknowledged, run.crashes, run.forwarded)
        });
        let Ok((a, c, f)) = result else {
            eprintln!("failing seed: {seed}");
            return ExitCode::FAILURE;
        };
        (acknowledged, crashes, forwarded) = (acknowledged + a, crashes + c, forwarded + f);
        seed += 1;
    }
    println!(
        "{acknowledged} messages acknowledged, {forwarded} copied forward, {crashes} crashes, all accounted for; next seed {seed}"
    );
    ExitCode::SUCCESS
}
