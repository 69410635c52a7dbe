//! The log of the set-gid programs: why they gave up, and what they warn of. With `maillog_file` their lines go through
//! the running system, as they may not write the file.

use config::params::main::Main;
use config::params::master::Master;
use config::{Config, directory};

events::events! {
    /// A program could not do what it was asked for.
    Failed { what: String } Fatal "{what}"
    /// It did what it was asked for, but not all is well.
    Warned { what: String } Warning "{what}"
}

/// Logs why the program `name` gives up. Without a configuration nobody hears it but the caller.
pub fn failed(name: &str, what: &str) {
    say(name, &Failed { what: what.into() });
}

/// Tells the caller and the log that not all is well.
pub fn warn(name: &str, what: &str) {
    eprintln!("{name}: warning: {what}");
    say(name, &Warned { what: what.into() });
}

fn say(name: &str, event: &impl events::Event) {
    let who = sys::users::identities();
    let stranger = who.borrowed() && who.uid != 0;
    let caller = if stranger { directory::Caller::Stranger } else { directory::Caller::Same };
    let Ok(config) =
        directory::decide(None, caller).map_err(|_| ()).and_then(|d| Config::load(&d).map_err(|_| ()))
    else {
        return;
    };
    let (Ok(main), Ok(master)) = (Main::load(&config), Master::load(&config)) else { return };
    let (file, prefixes) = (master.maillog_file(), &master.maillog_file_prefixes().0);
    if let Ok(sink) =
        events::sink_of_program(file, prefixes, master.syslog_facility(), main.queue_directory())
    {
        events::install(sink);
        events::Source::new(main.syslog_name(), name, std::process::id()).say(event);
    }
}
