//! The mail role and the administrator's commands, chosen by the name the program is called with.
//!
//! `valija NAME …` runs any of them too; the commands of valija's own (`valija check`) have no
//! other name.

mod commands;
mod mail;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let name = called.rsplit('/').next().unwrap_or_default();
    let mut args: Vec<String> = words.collect();
    if name == mail::NAME {
        return mail::main(&args);
    }
    // Commands start others and wait for them, whatever their own caller ignores.
    let _ = sys::signals::expect_children();
    if let Some(command) = commands::find(name) {
        return (command.run)(name, &args);
    }
    if args.is_empty() {
        print!("{}", commands::overview());
        return ExitCode::from(64);
    }
    let name = args.remove(0);
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        print!("{}", commands::overview());
        return ExitCode::SUCCESS;
    }
    match commands::find(&name).or_else(|| commands::find_own(&name)) {
        Some(command) => (command.run)(&name, &args),
        None => {
            eprintln!("valija: no command {name:?}; `valija` without arguments lists them all");
            ExitCode::from(64)
        }
    }
}
