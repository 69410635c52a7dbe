//! `valija relay`: a relay host is tried first, with a test message, and written into main.cf only when
//! it took that message.
//!
//! Each step is said as it happens; the one that fails is named with the server's words and a remedy,
//! and nothing is written. Names are found as the SMTP client finds them. The password is never a word
//! of the command line, is kept in a table that root alone may read, and goes over the wire only
//! encrypted unless `--without-tls` says otherwise.

mod advice;
mod attempt;
mod certificate;
mod find;
mod login;
mod options;
mod present;
mod settings;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use super::ask::{Asker, first_line, secret, somebody};
use super::changes::{Access, Changes, read};
use super::names::RelayHost;
use super::{check, postconf, setup};
use advice::Trouble;
use attempt::{Attempt, Say, Success};
use config::Config;
use login::Login;
use net::dns::Resolver;
use net::tls::client::Roots;
use options::{Action, Options};
use present::{Present, bypasses, in_force};
use sasl::Secret;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// Wrong words on the command line. sysexits.h: EX_USAGE
const USAGE_STATUS: u8 = 64;

/// How long a server may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match options::read(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("valija relay: {what}; nothing was changed");
            eprintln!("`valija relay --help` lists the flags");
            return ExitCode::from(USAGE_STATUS);
        }
    };
    let done = match options.action {
        Some(Action::Set) => set_here(options),
        Some(Action::Test) => test_here(options),
        Some(Action::Unset) => unset(&options),
        _ => show(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("valija relay: {what}");
            ExitCode::FAILURE
        }
    }
}

/// What is outside of the files.
struct World {
    resolver: Resolver,
    roots: Arc<Roots>,
    patience: Duration,
}

impl World {
    fn of(present: &Present) -> World {
        World {
            resolver: Resolver::system(),
            roots: Arc::new(certificate::authorities(&present.text("smtp_tls_CAfile"))),
            patience: PATIENCE,
        }
    }
}

fn print_step(step: &str, what: &str) {
    println!("  {step:<12} {what}");
}

/// The failed step as lines.
fn told(trouble: &Trouble) -> String {
    format!("{} failed: {}\n  remedy: {}", trouble.step, trouble.what, trouble.remedy)
}

fn set_here(mut options: Options) -> Result<(), String> {
    let present = Present::load(&options)?;
    setup::writable(&present.directory)?;
    let login = who(&mut options, &present)?;
    let relay = options.relay.clone().ok_or("no relay host")?;
    println!("Trying {relay}:");
    let written = set(&options, &present, login, &World::of(&present), &mut print_step)?;
    println!("{written}");
    apply(&present, options.directory.as_deref())
}

/// The login, from flags, the terminal or standard input.
fn who(options: &mut Options, present: &Present) -> Result<Option<Login>, String> {
    let terminal = somebody();
    if options.user.is_none() && !options.no_login {
        if !terminal {
            return Err(
                "there is no terminal to ask in: say --user NAME (with --password-file FILE, or the \
                        password on standard input) or --no-login; nothing was changed"
                    .into(),
            );
        }
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        let mut input = stdin.lock();
        let mut asker = Asker::new(&mut input, &mut stderr);
        let name = asker.ask("User name at the relay host (none: no login)", Some("none"), |answer| {
            if answer == "none" { Ok(String::new()) } else { options::user(answer) }
        })?;
        options.user = Some(name).filter(|n| !n.is_empty());
        if options.to.is_none() {
            let proposed = proposed_sender(options, present)?;
            options.to = Some(asker.ask("Send the test message to", Some(&proposed), options::address)?);
        }
    }
    let Some(user) = options.user.clone() else { return Ok(None) };
    let text = match options.password_file.as_deref() {
        Some("-") => first_line(&mut std::io::stdin().lock(), "standard input")?,
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|e| format!("{path}: {e}; nothing was changed"))?;
            if file.metadata().is_ok_and(|m| m.mode() & 0o077 != 0) {
                eprintln!("note: others may read {path}; chmod 600 {path}");
            }
            first_line(&mut std::io::BufReader::new(file), path)?
        }
        None if terminal => secret(&format!("Password of {user}"))?,
        None => first_line(&mut std::io::stdin().lock(), "standard input")?,
    };
    let password = options::password(&text).map_err(|e| format!("{e}; nothing was changed"))?;
    Ok(Some(Login { user, password: Secret::from(password.as_str()) }))
}

fn proposed_sender(options: &Options, present: &Present) -> Result<String, String> {
    if let Some(sender) = &options.sender {
        return Ok(sender.clone());
    }
    match &options.user {
        Some(user) if options::address(user).is_ok() => Ok(user.clone()),
        _ => present.sender(),
    }
}

/// Tries the relay host and, when it works, writes it; says what was written.
fn set(
    options: &Options,
    present: &Present,
    login: Option<Login>,
    world: &World,
    say: Say<'_>,
) -> Result<String, String> {
    let relay = options.relay.as_ref().ok_or("no relay host")?;
    // What cannot be written need not be tried.
    let current = |name: &str| present.get(name);
    let table = login.as_ref().map(|_| settings::table(&present.directory, &current)).transpose()?;
    let wrapped = options.tls_at_once || relay.port_number(25) == 465;
    let success = tried(options, present, relay, &login, wrapped, world, say)
        .map_err(|trouble| format!("{}\nNothing was written.", told(&trouble)))?;

    let works = settings::Works { relay, login: login.is_some(), encrypted: success.encrypted, wrapped };
    let name = table.as_ref().map_or("", |(name, _)| name.as_str());
    let list = settings::of(&works, name, &current);
    let main = postconf::set_in_main(&present.main, &list);
    let mut changes = Changes::default();
    if let (Some(login), Some((_, path))) = (&login, &table) {
        let old = read(path)?;
        let value = format!("{}:{}", login.user, login.text());
        let new = settings::with_row(old.as_deref().unwrap_or_default(), &relay.to_string(), Some(&value));
        changes.add(path.clone(), old, new, Access::Secret);
    }
    changes.add(present.directory.join("main.cf"), Some(present.main.clone()), main.clone(), Access::Public);
    let same = changes.is_empty();
    let mut said = commit(present, changes, &main)?;
    for (name, value) in list.iter().filter(|_| !same) {
        said.push_str(&format!("\n    {name} = {value}"));
    }
    for warning in bypasses(present) {
        said.push_str(&format!("\nnote: {warning}"));
    }
    Ok(said)
}

/// Writes, unless the system would not start with it.
fn commit(present: &Present, changes: Changes, main: &[u8]) -> Result<String, String> {
    let master = read(&present.directory.join("master.cf"))?.unwrap_or_default();
    let (main, master) = (String::from_utf8_lossy(main), String::from_utf8_lossy(&master));
    let before: Vec<String> =
        check::faults(&present.directory, &String::from_utf8_lossy(&present.main), &master, None);
    let after = check::faults(&present.directory, &main, &master, None);
    let new: Vec<&String> = after.iter().filter(|f| !before.contains(f)).collect();
    if let Some(fault) = new.first() {
        return Err(format!("with these settings the system would not start: {fault}; nothing was written"));
    }
    let stamp = setup::stamp(sys::time::now_micros());
    let written = changes.commit(&stamp).map_err(|what| format!("{what}; nothing was written"))?;
    Ok(setup::said("The relay host", &written))
}

fn tried(
    options: &Options,
    present: &Present,
    relay: &RelayHost,
    login: &Option<Login>,
    wrapped: bool,
    world: &World,
    say: Say<'_>,
) -> Result<Success, Trouble> {
    let of = |what: String| Trouble::new("main.cf", what, "correct main.cf first");
    let sender = proposed_sender(options, present).map_err(of)?;
    let sender = options::address(&sender).map_err(of)?;
    let to = options.to.clone().unwrap_or_else(|| sender.clone());
    let helo = present.helo();
    super::names::host_name(&helo).map_err(of)?;
    let attempt = Attempt {
        relay,
        resolver: &world.resolver,
        route: present.route(),
        roots: world.roots.clone(),
        message: message(&helo, &sender, &to, relay),
        helo,
        login: login.clone(),
        sender,
        to,
        wrapped,
        mandatory: settings::mandatory(&present.text("smtp_tls_security_level")),
        accept_certificate: options.accept_certificate,
        without_tls: options.without_tls,
        patience: world.patience,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Trouble::new("start", e.to_string(), "try again"))?;
    runtime.block_on(attempt.run(say))
}

/// The test message. RFC 5322 3.6
fn message(helo: &str, sender: &str, to: &str, relay: &RelayHost) -> String {
    let micros = sys::time::now_micros();
    let seconds = (micros / 1_000_000) as i64;
    let zone = sys::time::zone_at(seconds);
    let date = proto::date::DateTime::new(seconds, zone.offset, &zone.name).rfc5322();
    let process = std::process::id();
    [
        &format!("Date: {date}"),
        &format!("From: <{sender}>"),
        &format!("To: <{to}>"),
        "Subject: Test of the relay host",
        &format!("Message-ID: <{micros}.{process}.relay@{helo}>"),
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        &format!("{helo} sent this through {relay} to see whether it passes mail on."),
        "It does.",
        "",
    ]
    .join("\r\n")
}

/// What is written is made known: tables are adopted, a running system reads its configuration again.
fn apply(present: &Present, directory: Option<&str>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let config = Config::load(&present.directory)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let current = |name: &str| config.get(name).ok();
    if let Ok((table, path)) = settings::table(&present.directory, &current)
        && path.exists()
    {
        let table = table.strip_prefix("proxy:").unwrap_or(&table);
        let status =
            Command::new(&program).args(["postmap", "-c"]).arg(&present.directory).arg(table).status();
        if !table.starts_with("texthash:") && !status.is_ok_and(|s| s.success()) {
            return Err(format!("postmap {table} failed; run it again, then postfix reload"));
        }
    }
    super::postfix::reread(&present.directory, &config, directory)
}

fn test_here(options: Options) -> Result<(), String> {
    let present = Present::load(&options)?;
    let (relay, found) = in_force(&present)?;
    let relay = relay.ok_or("main.cf names no relay host; valija relay set HOST tries and sets one")?;
    let mut options = options;
    let login = match &options.user {
        Some(_) => who(&mut options, &present)?,
        None => found.filter(|_| !options.no_login),
    };
    if options.user.is_none() {
        options.user = login.as_ref().map(|l| l.user.clone());
    }
    let wrapped = options.tls_at_once || present.text("smtp_tls_wrappermode").eq_ignore_ascii_case("yes");
    println!("Trying {relay}:");
    tried(&options, &present, &relay, &login, wrapped, &World::of(&present), &mut print_step)
        .map_err(|trouble| told(&trouble))?;
    println!("The relay host works; nothing was written.");
    Ok(())
}

fn show(options: &Options) -> Result<(), String> {
    let present = Present::load(options)?;
    let text = present.text("relayhost");
    if text.trim().is_empty() {
        println!("There is no relay host; mail for elsewhere is delivered directly.");
    } else {
        println!("relay host   {text}");
        let login = match in_force(&present) {
            Ok((_, Some(login))) => format!("as {}", login.user),
            Ok((_, None)) => "none".to_string(),
            Err(what) => format!("not known: {what}"),
        };
        println!("login        {login}");
        let level = present.text("smtp_tls_security_level");
        let wrapped = present.text("smtp_tls_wrappermode").eq_ignore_ascii_case("yes");
        println!(
            "encryption   {}{}",
            if level.trim().is_empty() { "none" } else { level.trim() },
            if wrapped { ", from the first byte" } else { "" }
        );
    }
    bypasses(&present).iter().for_each(|n| println!("note: {n}"));
    Ok(())
}

fn unset(options: &Options) -> Result<(), String> {
    let present = Present::load(options)?;
    setup::writable(&present.directory)?;
    println!("{}", without(&present)?);
    apply(&present, options.directory.as_deref())
}

/// Takes the relay host and its password away; says what was written.
fn without(present: &Present) -> Result<String, String> {
    let text = present.text("relayhost");
    let mut list = vec![("relayhost".to_string(), String::new())];
    let mut changes = Changes::default();
    let current = |name: &str| present.get(name);
    if let Ok((_, path)) = settings::table(&present.directory, &current)
        && let Some(old) = read(&path)?
    {
        let mut new = old.clone();
        for relay in text.split(',').map(str::trim).filter(|r| !r.is_empty()) {
            new = settings::with_row(&new, relay, None);
        }
        let left = tables::text::parse(&new, tables::Grammar::Map).rows.len();
        if left == 0 && present.text("smtp_sasl_auth_enable").eq_ignore_ascii_case("yes") {
            list.push(("smtp_sasl_auth_enable".to_string(), "no".to_string()));
        }
        if new != old {
            changes.add(path, Some(old), new, Access::Secret);
        }
    }
    if present.text("smtp_tls_wrappermode").eq_ignore_ascii_case("yes") {
        list.push(("smtp_tls_wrappermode".to_string(), "no".to_string()));
    }
    let main = postconf::set_in_main(&present.main, &list);
    changes.add(present.directory.join("main.cf"), Some(present.main.clone()), main.clone(), Access::Public);
    commit(present, changes, &main)
}
