//! The supervisor and the deliver role: the only program that runs as root.
//!
//! `master` reads the configuration, makes the directories, binds the ports, starts the mail role
//! and the deliver role, restarts them, reloads and stops. It reads configuration and small control
//! messages, nothing else. Modules in reading order:

mod args;
mod deliver;
mod events;
mod files;
mod plan;
mod roles;
mod sockets;
mod spawned;
mod supervise;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let name = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    if name == roles::DELIVER {
        return deliver::main(&words);
    }
    let _ = sys::signals::expect_children();
    match args::parse(&words) {
        Ok(args) if args.test_lock => supervise::test_lock(&args),
        Ok(args) if args.wait => supervise::start_and_wait(&args, &words),
        Ok(args) => supervise::run(&args),
        Err(what) => {
            eprintln!("master: fatal: {what}");
            ExitCode::FAILURE
        }
    }
}
