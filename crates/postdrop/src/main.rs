//! The set-gid programs, chosen by the name they are called with: `postdrop` takes a message into
//! the maildrop, `postqueue` talks to the queue manager.
//!
//! They run with the rights of a group that their caller lacks, so they take nothing on trust:
//! not the configuration directory, not the environment (nothing is looked up by it), not the
//! input. No program is started, but for root who lists the queue of a stopped system.

mod drop;
mod log;
mod postqueue;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let mut name = called.rsplit('/').next().unwrap_or_default().to_string();
    let mut args: Vec<String> = words.collect();
    if !matches!(name.as_str(), "postdrop" | "postqueue") && !args.is_empty() {
        name = args.remove(0);
    }
    match name.as_str() {
        "postdrop" => drop::run(&args),
        "postqueue" => postqueue::run(&args),
        _ => {
            eprintln!("{name}: call this program as postdrop or postqueue");
            ExitCode::from(64)
        }
    }
}
