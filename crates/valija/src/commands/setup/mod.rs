//! `valija setup`: a configuration for one of the five kinds of host that Debian's package knows, with
//! the same content the package writes for the same answers. A new main.cf is that content; one that
//! exists is edited, and keeps what the package would keep.
//!
//! Asks in a terminal for what no flag says; without a terminal it names what is missing. Everything
//! is checked before anything is written, and what is replaced is kept under a dated name. The rules
//! were compared with the package on many hosts; `as_debian.txt` beside this file holds what it wrote.
//! Left out: `html_directory` and `readme_directory` of the package postfix-doc, and NIS aliases.

mod host;
mod options;
mod plan;
mod submission;
#[cfg(test)]
mod tests;

use super::ask::{Asker, somebody};
use super::changes::{Access, Changes, Written, read};
use super::check;
use config::Config;
use config::directory::{self, Caller};
use host::Host;
use options::{Options, TYPES, Type};
pub(in crate::commands) use plan::Current;
use plan::{Files, Plan};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Wrong words on the command line. sysexits.h: EX_USAGE
const USAGE_STATUS: u8 = 64;

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    if let Some((first, rest)) = args.split_first()
        && first == "submission"
    {
        return submission::run(rest);
    }
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match options::read(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("valija setup: {what}; nothing was changed");
            eprintln!("`valija setup --help` lists the flags");
            return ExitCode::from(USAGE_STATUS);
        }
    };
    match go(options) {
        Ok(code) => code,
        Err(what) => {
            eprintln!("valija setup: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Where the files are.
struct Places {
    /// The directory of main.cf.
    config: PathBuf,
    mail_name: PathBuf,
    aliases: PathBuf,
    /// What all are below; `/` for this machine.
    root: PathBuf,
}

impl Places {
    fn of(options: &Options) -> Result<Places, String> {
        let root = PathBuf::from(options.root.as_deref().unwrap_or("/"));
        if !root.is_dir() {
            return Err(format!("--root: {} is no directory; nothing was changed", root.display()));
        }
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let config = match (&options.root, &options.directory) {
            (Some(_), named) => below(Path::new(named.as_deref().unwrap_or(directory::DEFAULT))),
            (None, named) => directory::decide(named.as_deref(), Caller::Same).map_err(|p| p.to_string())?,
        };
        let (mail_name, aliases) = (root.join("etc/mailname"), root.join("etc/aliases"));
        Ok(Places { config, mail_name, aliases, root })
    }

    fn main(&self) -> PathBuf {
        self.config.join("main.cf")
    }

    fn master(&self) -> PathBuf {
        self.config.join("master.cf")
    }

    fn here(&self) -> bool {
        self.root == Path::new("/")
    }
}

fn go(mut options: Options) -> Result<ExitCode, String> {
    let places = Places::of(&options)?;
    // Who may write is asked before any question is.
    if !options.dry_run && places.here() {
        writable(&places.config)?;
    }
    let old = Files {
        main: read(&places.main())?,
        master: read(&places.master())?,
        mail_name: read(&places.mail_name)?,
        aliases: read(&places.aliases)?,
    };
    let host = Host::look(&places.root);
    let config = match &old.main {
        Some(bytes) => Some(present(&places.config, bytes)?),
        None => None,
    };
    let current = |name: &str| config.as_ref().and_then(|c| c.get(name).ok());

    let mut confirm = false;
    if !options.yes && somebody() {
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        let mut input = stdin.lock();
        let mut asker = Asker::new(&mut input, &mut stderr);
        ask(&mut asker, &mut options, &host, &old, &current)?;
        confirm = asker.asked();
    }
    complete(&options, &host, &old, &current)?;

    let plan = plan::make(&options, &host, &old, &current);
    let checked = faults(&places, &plan);
    if !checked.is_empty() {
        return Err(format!(
            "with these answers the system would not start; nothing was changed:\n  {}",
            checked.join("\n  ")
        ));
    }
    let changes = changes(&places, &old, &plan.files);
    let title = options.kind.map_or("", Type::title);
    if options.dry_run || confirm {
        match changes.is_empty() {
            true => println!("{title}: every file is already as it should be."),
            false => print!("{}", changes.differences(!options.dry_run)),
        }
    }
    if options.dry_run {
        plan.notes.iter().for_each(|n| println!("note: {n}"));
        println!("Nothing was changed (--dry-run).");
        return Ok(ExitCode::SUCCESS);
    }
    if confirm && !changes.is_empty() {
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        let mut input = stdin.lock();
        if !Asker::new(&mut input, &mut stderr).confirm("Write this?")? {
            println!("Nothing was changed.");
            return Ok(ExitCode::FAILURE);
        }
    }
    let micros = sys::time::now_micros();
    let written = changes.commit(&stamp(micros)).map_err(|what| format!("{what}; nothing was changed"))?;
    println!("{}", said(title, &written));
    plan.notes.iter().for_each(|n| println!("note: {n}"));
    finish(&places, &options, &plan, &written)
}

/// Whether this user may change the files in `directory`.
pub(super) fn writable(directory: &Path) -> Result<(), String> {
    let me = sys::spawn::effective_uid();
    // What does not exist yet is made in the nearest directory that does.
    let owner = directory.ancestors().find_map(|d| std::fs::metadata(d).ok()).map(|m| m.uid());
    match me == 0 || owner == Some(me) {
        true => Ok(()),
        false => Err(format!("only root may change {}; run this as root (sudo)", directory.display())),
    }
}

/// A date for the names of copies: `20261121-130501`, local time.
pub(super) fn stamp(micros: u64) -> String {
    let seconds = (micros / 1_000_000) as i64;
    let zone = sys::time::zone_at(seconds);
    let text = proto::date::DateTime::new(seconds, zone.offset, &zone.name).stamp();
    match text.split_at_checked(8) {
        Some((day, time)) => format!("{day}-{time}"),
        None => text,
    }
}

/// The configuration that exists: it must be readable, or an edit could make it worse.
fn present(directory: &Path, bytes: &[u8]) -> Result<Config, String> {
    let text = String::from_utf8_lossy(bytes);
    Config::from_text(directory, &text).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!(
            "main.cf has faults; mend them first, or move it away: {}; nothing was changed",
            all.join("; ")
        )
    })
}

/// Asks for what no flag says.
fn ask(
    asker: &mut Asker,
    options: &mut Options,
    host: &Host,
    old: &Files,
    current: Current,
) -> Result<(), String> {
    if options.kind.is_none() {
        asker.say("What kind of host is this?");
        for (_, name, title, what) in TYPES {
            asker.say(&format!("  {name:<10} {title}: {what}"));
        }
        options.kind = Some(asker.ask("Type", Some("internet"), Type::read)?);
    }
    let kind = options.kind.unwrap_or(Type::None);
    if kind == Type::None {
        return Ok(());
    }
    if options.mail_name.is_none() {
        let now = old.main.as_ref().and_then(|_| current("myorigin"));
        let now = now.filter(|o| !o.is_empty() && !o.starts_with('/'));
        let proposed = now.clone().unwrap_or_else(|| host.proposed_mail_name());
        asker.say("The mail name is what addresses of this host end in: user@NAME.");
        let name = asker.ask("Mail name", Some(&proposed), options::mail_name)?;
        // What stays need not be written.
        options.mail_name = Some(name).filter(|n| now.as_ref() != Some(n));
    }
    if kind.relays() && options.relay_host.is_none() {
        let now = current("relayhost").filter(|r| !r.is_empty());
        let proposed = now.unwrap_or_else(|| host.proposed_relay());
        asker.say("The relay host takes the mail for elsewhere. In brackets its MX records are not asked.");
        let relay = asker.ask("Relay host", Some(&proposed), options::relay_hosts)?;
        options.relay_host = Some(relay);
    }
    let aliases = String::from_utf8_lossy(old.aliases.as_deref().unwrap_or_default()).into_owned();
    let root_row = aliases.lines().any(|l| l.split_once(':').is_some_and(|(key, _)| key.trim() == "root"));
    if options.root_mail.is_none() && !root_row {
        asker.say("Who reads the mail for root and postmaster? A user of this host, or an address.");
        options.root_mail = Some(asker.ask("Root's mail goes to", Some("none"), options::root_mail)?);
    }
    Ok(())
}

/// Whether everything is known now; if not, what is missing.
fn complete(options: &Options, host: &Host, old: &Files, current: Current) -> Result<(), String> {
    let Some(kind) = options.kind else {
        let names: Vec<&str> = TYPES.iter().map(|(_, name, ..)| *name).collect();
        return Err(format!(
            "there is no terminal to ask in; say which type of system: valija setup {}",
            names.join("|")
        ));
    };
    let mut missing = Vec::new();
    let relay_known = current("relayhost").is_some_and(|r| !r.is_empty());
    if kind.relays() && options.relay_host.is_none() && !relay_known && !options.yes {
        missing.push(format!("--relayhost HOST (or --yes for {})", host.proposed_relay()));
    }
    let name_known = host.proposed_mail_name().contains('.') || old.main.is_some();
    if kind != Type::None && options.mail_name.is_none() && !name_known && !options.yes {
        missing.push("--mailname NAME (this host has no name with a domain to propose)".to_string());
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "there is no terminal to ask in; still needed: {}; nothing was changed",
            missing.join(", ")
        )),
    }
}

/// Why a system with these files would not start.
fn faults(places: &Places, plan: &Plan) -> Vec<String> {
    let Some(main) = &plan.files.main else { return Vec::new() };
    let text =
        |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    let name = text(&plan.files.mail_name);
    let name = name.lines().next().unwrap_or_default().trim();
    check::faults(&places.config, &String::from_utf8_lossy(main), &text(&plan.files.master), Some(name))
}

fn changes(places: &Places, old: &Files, new: &Files) -> Changes {
    let mut changes = Changes::default();
    // The name first: main.cf refers to it.
    for (path, before, after) in [
        (places.mail_name.clone(), &old.mail_name, &new.mail_name),
        (places.aliases.clone(), &old.aliases, &new.aliases),
        (places.master(), &old.master, &new.master),
        (places.main(), &old.main, &new.main),
    ] {
        if let Some(after) = after {
            changes.add(path, before.clone(), after.clone(), Access::Public);
        }
    }
    changes
}

/// What was written.
pub(super) fn said(title: &str, written: &[Written]) -> String {
    if written.is_empty() {
        return format!("{title}: every file was already as it should be; nothing was changed.");
    }
    let mut lines = vec![format!("{title}:")];
    for file in written {
        let copy = match &file.copy {
            Some(copy) => format!("; what was there is kept in {}", copy.display()),
            None => String::new(),
        };
        lines.push(format!("  wrote {}{copy}", file.path.display()));
    }
    lines.join("\n")
}

/// Checks what is in force now, and says what to do next.
fn finish(places: &Places, options: &Options, plan: &Plan, written: &[Written]) -> Result<ExitCode, String> {
    if plan.files.main.is_none() {
        println!("There is no main.cf, and the system does not start before there is one:");
        println!("  valija setup internet|smarthost|satellite|local");
        return Ok(ExitCode::SUCCESS);
    }
    if !places.here() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    if written.iter().any(|w| w.path == places.aliases) && sys::spawn::effective_uid() == 0 {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let done = Command::new(program).args(["newaliases", "-C"]).arg(&places.config).status();
        if !done.is_ok_and(|status| status.success()) {
            code = ExitCode::FAILURE;
        }
    }
    let report = check::look(&places.config);
    for line in report.odd() {
        println!("check: {line}");
    }
    println!("check: {} (`valija check` shows each)", report.summary());
    let config = Config::load(&places.config)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    next(places, options, &config, written);
    Ok(code)
}

/// What to do next.
fn next(places: &Places, options: &Options, config: &Config, written: &[Written]) {
    let dir = match places.config == Path::new(directory::DEFAULT) {
        true => String::new(),
        false => format!(" -c {}", places.config.display()),
    };
    for (kind, name, there) in accounts(config) {
        if !there {
            println!("missing: the {kind} {name}; make it with: {kind}add --system {name}");
        }
    }
    println!("Next:");
    let changed = written.iter().any(|w| w.path == places.main() || w.path == places.master());
    match super::postfix::running(config) {
        Some(_) if changed => {
            println!(
                "  postfix{dir} stop; postfix{dir} start      (reload is enough unless inet_interfaces changed)"
            )
        }
        Some(_) => println!("  the system is running, and nothing it reads has changed"),
        None => println!("  postfix{dir} start"),
    }
    let relay = config.get("relayhost").unwrap_or_default();
    if options.kind.is_some_and(Type::relays) {
        println!(
            "  valija relay set {}      (tries the relay host, with a login if it wants one)",
            first(&relay)
        );
    }
    println!(
        "  printf 'Subject: test\\n\\nIt works.\\n' | sendmail{} {}      (a first message)",
        dir.replace("-c", "-C"),
        first_reader(options)
    );
    println!("  mailq; journalctl -u postfix, or /var/log/mail.log      (what became of it)");
}

/// Somebody who can read a first message: not root, whose mail goes to `nobody` unless an alias says where to.
fn first_reader(options: &Options) -> String {
    let caller = std::env::var("SUDO_USER").ok().filter(|name| {
        name != "root" && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    match options.root_mail.as_deref().filter(|target| !target.is_empty()) {
        Some(_) => "root@localhost".into(),
        None => format!("{}@localhost", caller.as_deref().unwrap_or("USER")),
    }
}

fn first(relay: &str) -> &str {
    relay.split(',').next().unwrap_or_default().trim()
}

/// The user and the group that the system runs with, and whether they exist.
fn accounts(config: &Config) -> Vec<(&'static str, String, bool)> {
    let of = |name: &str| config.get(name).unwrap_or_default();
    let (owner, group) = (of("mail_owner"), of("setgid_group"));
    if sys::spawn::effective_uid() != 0 {
        return Vec::new();
    }
    let user_there = sys::users::by_name(&owner).is_ok_and(|a| a.is_some());
    let group_there = sys::spawn::group_number(&group).is_ok_and(|g| g.is_some());
    vec![("user", owner, user_there), ("group", group, group_there)]
}
