//! `postconf`: shows and edits main.cf and master.cf, as postconf(1) describes.
//!
//! Shown values, their order and folding, exit codes and messages are those of Postfix 3.7, because
//! scripts read them; the differences are listed in `postconf/differs.tsv`.

mod edit_main;
mod edit_master;
mod entry;
mod file;
mod fold;
mod names;
mod options;
mod show_main;
mod show_master;
mod warn;

use config::directory::{self, Caller};
use options::{Mode, Options};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    match options::read(args).and_then(|o| go(&o)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{}: fatal: {text}", called());
            ExitCode::FAILURE
        }
    }
}

/// The names that services bring, and those the administrator made, in the light of both files.
pub(super) fn other_names(
    config: &config::Config,
    services: &[config::master_cf::Service],
) -> (BTreeSet<String>, BTreeSet<String>) {
    let all = names::Names::new(Some(config), services).all;
    let of = |class| all.iter().filter(|(_, c)| c.contains(&class)).map(|(n, _)| n.clone()).collect();
    (of(options::Class::Service), of(options::Class::User))
}

/// main.cf with these settings, as `postconf -e` would leave it.
pub(super) fn set_in_main(bytes: &[u8], settings: &[(String, String)]) -> Vec<u8> {
    edit_main::apply(options::Edit::Set, bytes, settings).0
}

/// main.cf without these settings, as `postconf -X` would leave it.
pub(super) fn remove_from_main(bytes: &[u8], names: &[&str]) -> Vec<u8> {
    let requests: Vec<(String, String)> = names.iter().map(|n| (n.to_string(), String::new())).collect();
    edit_main::apply(options::Edit::Remove, bytes, &requests).0
}

/// Done, or the text behind `postconf: fatal: `.
type Done = Result<(), String>;

fn go(options: &Options) -> Done {
    if options.listing('l') {
        print("flock\nfcntl\ndotlock\n");
        return Ok(());
    }
    if options.listing('m') {
        let types = pcre::register(tables::Types::builder()).build();
        types.names().iter().for_each(|name| print(&format!("{name}\n")));
        return Ok(());
    }
    if options.listing('a') {
        login::open::TYPES.iter().for_each(|name| print(&format!("{name}\n")));
        return Ok(());
    }
    if options.listing('A') {
        // What smtp_sasl_type may say: the client has one way to log in.
        print("cyrus\n");
        return Ok(());
    }
    // No TLS library of Postfix's is part of this build.
    if options.listing('T') {
        return Ok(());
    }
    let directory =
        directory::decide(options.directory.as_deref(), Caller::Same).map_err(|p| p.to_string())?;
    match (options.mode, options.edit) {
        (Mode::Main, None) => show_main::show(options, &directory),
        (Mode::Main, Some(edit)) => edit_main::edit(edit, &directory, &options.words),
        (_, None) => show_master::show(options, &directory),
        (mode, Some(edit)) => edit_master::edit(mode, edit, &directory, &options.words),
    }
}

/// Writes to standard output; a reader that went away is no error worth telling.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn warning(text: &str) {
    eprintln!("{}: warning: {text}", called());
}

/// The name that messages begin with: as this program was called.
fn called() -> String {
    let name = std::env::args().next().unwrap_or_default();
    if name.rsplit('/').next() == Some("postconf") { name } else { "postconf".to_string() }
}
