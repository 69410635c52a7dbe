//! The commands, one file each. A new one is a file and a line in `POSTFIX` or `OWN`.

mod ask;
mod changes;
mod check;
mod lab;
mod names;
mod newaliases;
mod postalias;
mod postconf;
mod postfix;
mod postlog;
mod postmap;
mod relay;
mod replace;
mod sendmail;
mod setup;
mod spool;
mod tls;
mod user;

use std::process::ExitCode;

/// A command by name.
pub struct Command {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a few words.
    pub what: &'static str,
    /// Runs it with the name it was called by and the words after that.
    pub run: fn(&str, &[String]) -> ExitCode,
}

/// Postfix's commands, found by the name of the program.
const POSTFIX: &[Command] = &[
    Command { name: "mailq", what: "list the queue", run: sendmail::run },
    Command { name: "postconf", what: "show and edit main.cf and master.cf", run: postconf::run },
    Command { name: "postfix", what: "start, stop, reload or look after the mail system", run: postfix::run },
    Command { name: "sendmail", what: "hand a message over", run: sendmail::run },
    Command { name: "newaliases", what: "check the alias tables", run: newaliases::run },
    Command { name: "postalias", what: "check, ask or change alias tables", run: postalias::run },
    Command { name: "postcat", what: "show a message of the queue", run: spool::postcat },
    Command { name: "postlog", what: "write a line to the mail log", run: postlog::run },
    Command { name: "postmap", what: "check, ask or change lookup tables", run: postmap::run },
    Command {
        name: "postsuper",
        what: "hold, release, requeue, delete or expire mail",
        run: spool::postsuper,
    },
];

/// Commands of valija's own: `valija NAME`.
const OWN: &[Command] = &[
    Command { name: "check", what: "what becomes of each setting of a configuration", run: check::run },
    Command { name: "lab", what: "a small Internet on this machine, to learn and try on", run: lab::run },
    Command { name: "relay", what: "try a relay host, and use it when it works", run: relay::run },
    Command { name: "setup", what: "configure this host, as Debian's package asks it", run: setup::run },
    Command {
        name: "tls",
        what: "try how mail to a domain is encrypted, and what its servers prove",
        run: tls::run,
    },
    Command { name: "user", what: "who may log in to send mail", run: user::run },
    Command { name: "queue-listing", what: "list the queue of a stopped system", run: spool::listing },
];

/// A command of Postfix's.
pub fn find(name: &str) -> Option<&'static Command> {
    POSTFIX.iter().find(|c| c.name == name)
}

/// A command of valija's own.
pub fn find_own(name: &str) -> Option<&'static Command> {
    OWN.iter().find(|c| c.name == name)
}

/// All commands with what they do.
pub fn overview() -> String {
    let line = |prefix: &str, c: &Command| format!("  {:<21} {}\n", format!("{prefix}{}", c.name), c.what);
    let mut text = String::from("valija, a mail transfer agent. Commands:\n");
    POSTFIX.iter().for_each(|c| text.push_str(&line("", c)));
    OWN.iter().for_each(|c| text.push_str(&line("valija ", c)));
    text
}
