//! `sendmail`, `mailq`, `newaliases`: the interface that programs know since the seventies.
//!
//! A message becomes a record stream (`text`) that postdrop takes into the maildrop (`submit`),
//! whether or not the mail system runs. `-bs` speaks SMTP instead (`smtp`). Other modes are handed
//! to the programs that do them. Exit statuses are those of sysexits(3).

mod options;
mod smtp;
mod submit;
mod text;

use cleanup::address_list;
use cleanup::verp::Delimiters;
use config::params::main::Main;
use config::params::submission::Submission as Parameters;
use config::programs::{Program, find};
use config::{Config, directory, user_list};
use options::{Mode, Options};
use proto::Address;
use proto::envelope::Encoding;
use proto::record::{self, attribute, kind};
use std::io::{IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use submit::{EX_CONFIG, EX_NOPERM, EX_TEMPFAIL, EX_USAGE, Failure, Submission};
use sys::users::{self, Account};
use text::{Endings, Text};

events::events! {
    /// sendmail could not do what it was asked for.
    Failed { what: String } Fatal "{what}"
    /// sendmail ignores something.
    Ignored { what: String } Warning "{what}"
}

/// Runs the command.
pub fn run(name: &str, args: &[String]) -> ExitCode {
    let options = match options::read(name, args) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("sendmail: fatal: {text}");
            return ExitCode::from(EX_USAGE);
        }
    };
    let result = configuration(&options).and_then(|config| {
        let voice = Voice::new(&config, &options);
        options.warnings.iter().for_each(|w| voice.say(&Ignored { what: w.clone() }));
        let result = act(&config, &options);
        if let Err((_, what)) = &result {
            voice.log(&Failed { what: what.clone() });
        }
        result
    });
    match result {
        Ok(code) => code,
        Err((code, what)) => {
            eprintln!("sendmail: fatal: {what}");
            ExitCode::from(code)
        }
    }
}

/// Speaks to the user and the log.
struct Voice {
    source: events::Source,
    sink: Option<events::Sink>,
}

impl Voice {
    fn new(config: &Config, options: &Options) -> Voice {
        let name = options
            .label
            .clone()
            .or_else(|| Main::load(config).ok().map(|m| m.syslog_name().clone()))
            .unwrap_or_else(|| "postfix".into());
        let sink = super::postlog::sink(config).ok();
        Voice { source: events::Source::new(&name, "sendmail", std::process::id()), sink }
    }

    fn say(&self, event: &Ignored) {
        eprintln!("sendmail: warning: {event}");
        self.log(event);
    }

    fn log<E: events::Event>(&self, event: &E) {
        if let Some(sink) = self.sink.clone() {
            events::install(sink);
            self.source.say(event);
        }
    }
}

/// `-C` names main.cf or its directory.
fn configuration(options: &Options) -> Result<Config, Failure> {
    let named = options.config.as_deref().map(|c| c.strip_suffix("/main.cf").unwrap_or(c));
    let wrong = |e: String| (EX_CONFIG, e);
    let dir = directory::decide(named, directory::Caller::Same).map_err(|p| wrong(p.to_string()))?;
    // postdrop is given the name, too, perhaps from another directory.
    let dir: PathBuf = std::path::absolute(&dir).unwrap_or(dir);
    Config::load(&dir).map_err(|p| wrong(p.first().map(ToString::to_string).unwrap_or_default()))
}

fn act(config: &Config, options: &Options) -> Result<ExitCode, Failure> {
    let dir = config.directory().display().to_string();
    let postqueue = |args: &[&str]| {
        let program = find(Program::Postqueue, Some(config)).map_err(|e| (EX_TEMPFAIL, e))?;
        Err((EX_TEMPFAIL, execute(&program, "postqueue", &[&["-c", &dir], args].concat())))
    };
    let command = |name: &str, args: &[&str]| {
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        match super::find(name) {
            Some(command) => Ok((command.run)(name, &args)),
            None => Err((EX_TEMPFAIL, format!("this build has no command {name}"))),
        }
    };
    match &options.mode {
        Mode::List => postqueue(&["-p"]),
        Mode::Flush => postqueue(&["-f"]),
        Mode::FlushSite(site) => postqueue(&["-s", site]),
        Mode::FlushId(id) => postqueue(&["-i", id]),
        Mode::Aliases => command("newaliases", &["-C", &dir]),
        Mode::Daemon => command("postfix", &["-c", &dir, "start"]),
        Mode::Nothing => Ok(ExitCode::SUCCESS),
        Mode::Smtp => {
            let (who, _) = caller(config)?;
            smtp::serve(config, who)
        }
        Mode::Verify | Mode::Mail => mail(config, options),
    }
}

/// Becomes another program; comes back only with what went wrong.
fn execute(program: &Path, name: &str, args: &[&str]) -> String {
    let error = std::process::Command::new(program).arg0(name).args(args).exec();
    format!("unable to execute {}: {error}", program.display())
}

/// Who calls (the login name), and the account if there is one.
fn caller(config: &Config) -> Result<(String, Option<Account>), Failure> {
    let uid = users::identities().uid;
    let account = users::by_id(uid).map_err(|e| (EX_TEMPFAIL, format!("user {uid}: {e}")))?;
    let name = account.as_ref().map_or_else(|| "unknown".to_string(), |a| a.name.clone());
    let parameters = Parameters::load(config)
        .map_err(|p| (EX_CONFIG, p.first().map(ToString::to_string).unwrap_or_default()))?;
    let list = parameters.authorized_submit_users();
    let allowed = uid == 0
        || user_list::permits("authorized_submit_users", list, &name)
            .map_err(|p| (EX_CONFIG, p.to_string()))?;
    if !allowed {
        return Err((EX_NOPERM, format!("User {name}({uid}) is not allowed to submit mail")));
    }
    Ok((name, account))
}

fn mail(config: &Config, options: &Options) -> Result<ExitCode, Failure> {
    let uid = users::identities().uid;
    let (login, account) = caller(config)?;
    let sender = match &options.sender {
        Some(text) => sender(text),
        None if account.is_none() => {
            return Err((EX_TEMPFAIL, format!("unable to look up login name for user ID {uid}")));
        }
        None => login,
    };
    let shown = format!("{sender}({uid})");
    let recipients: Vec<Address> = options.recipients.iter().flat_map(|r| recipient(r)).collect();
    if recipients.is_empty() && !options.extract {
        let what =
            "Recipient addresses must be specified on the command line or via the -t option".to_string();
        return Err((EX_USAGE, format!("{shown}: {what}")));
    }
    let probe = options.mode == Mode::Verify;
    if options.verbose == 1 || probe {
        println!("Mail Delivery Status Report will be mailed to <{sender}>.");
    }
    let verp = match &options.verp {
        None => None,
        Some(asked) => {
            let delimiters = Delimiters::load(config)
                .map_err(|p| (EX_CONFIG, p.first().map(ToString::to_string).unwrap_or_default()))?;
            let which = delimiters.choose(asked).map_err(|what| (EX_USAGE, format!("-V requires {what}")))?;
            Some(which)
        }
    };
    let records = envelope(options, verp.as_deref(), account.as_ref(), &sender, &recipients);
    let result = Submission::start(config).and_then(|mut submission| {
        submission.write(&records);
        if probe {
            submission.write(&probe_content(&sender, &recipients));
        } else {
            content(config, options, &mut submission, &recipients)?;
        }
        submission.finish()
    });
    result.map(|_| ExitCode::SUCCESS).map_err(|(code, what)| (code, format!("{shown}: {what}")))
}

fn envelope(
    options: &Options,
    verp: Option<&str>,
    account: Option<&Account>,
    sender: &str,
    recipients: &[Address],
) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(id) = &options.envid {
        record::put_attribute(&mut out, attribute::ENVELOPE_ID, id);
    }
    if let Some(ret) = options.ret {
        record::put_attribute(&mut out, attribute::RET_FLAGS, &record::ret_flags(ret).to_string());
    }
    let context = if options.gateway { "remote" } else { "local" };
    record::put_attribute(&mut out, attribute::REWRITE_CONTEXT, context);
    let full_name = options
        .full_name
        .clone()
        .or_else(|| std::env::var("NAME").ok().filter(|n| !n.is_empty()))
        .or_else(|| account.map(Account::full_name))
        .unwrap_or_default();
    if !full_name.is_empty() {
        let one_line: String = full_name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        record::put(&mut out, kind::FULL_NAME, one_line.as_bytes());
    }
    record::put(&mut out, kind::SENDER, sender.as_bytes());
    if let Some(verp) = verp {
        record::put(&mut out, kind::VERP, verp.as_bytes());
    }
    if let Some(encoding) = options.encoding {
        let value = if encoding == Encoding::EightBit { "8bit" } else { "7bit" };
        record::put_attribute(&mut out, attribute::ENCODING, value);
    }
    let trace = match options.mode {
        Mode::Verify => record::TRACE_VERIFY,
        _ if options.verbose == 1 => record::TRACE_RECORD,
        _ => 0,
    };
    if trace != 0 {
        record::put_attribute(&mut out, attribute::TRACE_FLAGS, &trace.to_string());
    }
    recipients.iter().for_each(|r| put_recipient(&mut out, options, r));
    record::put(&mut out, kind::CONTENT, b"");
    out
}

fn put_recipient(out: &mut Vec<u8>, options: &Options, address: &Address) {
    if let Some(notify) = options.notify {
        record::put_attribute(out, attribute::NOTIFY_FLAGS, &record::notify_flags(notify).to_string());
    }
    record::put(out, kind::RECIPIENT, address.internal().as_bytes());
}

/// The message of a probe, of which the report returns the header.
fn probe_content(sender: &str, recipients: &[Address]) -> Vec<u8> {
    let shown: Vec<String> = recipients.iter().map(Address::to_string).collect();
    let mut out = Vec::new();
    let from = Address::from_internal(sender);
    let text = format!("From: {from}\nSubject: probe\nTo:\t{}\n", shown.join(",\n\t"));
    for line in text.lines() {
        record::put(&mut out, kind::LINE, line.as_bytes());
    }
    record::put(&mut out, kind::EXTRACTED, b"");
    record::put(&mut out, kind::END, b"");
    out
}

/// Standard input into content records, then what the header named.
fn content(
    config: &Config,
    options: &Options,
    submission: &mut Submission,
    recipients: &[Address],
) -> Result<(), Failure> {
    let parameters = Parameters::load(config)
        .map_err(|p| (EX_CONFIG, p.first().map(ToString::to_string).unwrap_or_default()))?;
    let mut input = std::io::stdin().lock();
    // A human who types ends with a dot or with end of file.
    let dot_ends = options.dot_ends || (options.extract && input.is_terminal());
    let mut text = Text::new(options.extract, dot_ends, Endings::of(parameters.sendmail_fix_line_endings()));
    let (mut piece, mut records) = (vec![0; 64 * 1024], Vec::new());
    while !text.ended() {
        let n = match input.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err((EX_TEMPFAIL, format!("error reading input: {e}"))),
        };
        text.feed(&piece[..n], &mut records);
        submission.write(&records);
        records.clear();
    }
    text.finish(&mut records);
    record::put(&mut records, kind::EXTRACTED, b"");
    let named = text.recipients();
    if recipients.is_empty() && named.is_empty() {
        return Err((EX_USAGE, "No recipient addresses found in message header".into()));
    }
    named.iter().for_each(|r| put_recipient(&mut records, options, r));
    record::put(&mut records, kind::END, b"");
    submission.write(&records);
    Ok(())
}

/// `-f`'s argument: an address in any form; the null sender when empty.
fn sender(text: &str) -> String {
    address_list::addresses(text.as_bytes()).first().map(Address::internal).unwrap_or_default()
}

/// A word of the command line: one address or several.
fn recipient(text: &str) -> Vec<Address> {
    let found = address_list::addresses(text.as_bytes());
    if found.is_empty() && !text.trim().is_empty() {
        return vec![Address::from_internal(text.trim())];
    }
    found
}
