//! Mail under fire. `cargo run --release -p drill -- help` says what it can do; `docs/durability.md` says what it found.
//!
//! Many clients send numbered letters to a whole mail system while its processes are killed with SIGKILL ([`kill`]), or
//! while its disk loses whatever was not synced ([`cut`]). Whatever got 250 must arrive, whole; what arrives twice is
//! counted and explained ([`account`]). Everything runs in network, mount and process namespaces of its own, which end with
//! it: no port and no name of the host is touched, and no device but a free loop device, which goes with its last user.
//!
//! In reading order: [`options`], [`kill`] and [`cut`] (the two drills), [`teeth`] (the disk does lose things),
//! [`account`] (what is judged), [`letters`], [`clients`], [`sink`] and [`boxes`] (what is sent, and where it arrives),
//! [`system`] (a mail system in a folder), [`disk`] (the one that can be cut), [`clock`], [`namespace`].

mod account;
mod boxes;
mod clients;
mod clock;
mod cut;
mod disk;
mod drill;
mod kill;
mod letters;
mod namespace;
mod options;
mod rng;
mod sink;
mod system;
mod teeth;

use options::{Options, What};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, to] = words.as_slice()
        && word == "take"
    {
        return boxes::take(std::path::Path::new(to));
    }
    let options = match Options::read(&words) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("drill: {why}\n\n{}", options::HELP);
            return ExitCode::from(64);
        }
    };
    let run = match options.what {
        What::Help => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        What::Kill => kill::run,
        What::Cut => cut::run,
        What::Teeth => teeth::run,
    };
    let result = if namespace::inside() {
        namespace::furnish(&options).and_then(|()| run(&options))
    } else {
        namespace::enter(&options)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("drill: {why}");
            ExitCode::FAILURE
        }
    }
}
