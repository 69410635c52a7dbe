//! Transports of master.cf that hand mail to a command: pipe(8).
//!
//! The command, its user and its directory come from master.cf alone; macros put parts of the
//! envelope into its arguments, never through a shell.

use crate::answer::{Answer, say};
use crate::command::{self, Ran, Run};
use crate::content::Copier;
use crate::events::{BadService, Ignored, OneRecipient, UnknownMacro};
use crate::identity::{self, Rights};
use crate::leaf::{self, Record};
use crate::lookups::split_extension;
use crate::mail::{Headers, Item, Mail, headers, loop_status};
use crate::setup::{all, misconfigured, report};
use config::Config;
use config::master_cf::Service;
use config::value::unescape;
use config::value::{Time, Value};
use proto::Address;
use proto::job::{Action, Frame, Target};
use proto::status::{Code, Status};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use sys::users;

/// What a master.cf line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    flags: String,
    user: String,
    group: Option<String>,
    argv: Vec<String>,
    eol: Vec<u8>,
    directory: Option<PathBuf>,
    chroot: Option<String>,
    size: Option<u64>,
    null_sender: String,
}

const FLAGS: &str = "BDFORXhqu.>";

impl Attributes {
    /// Reads the words behind `pipe`. An error is told as Postfix does.
    pub fn read(words: &[String]) -> Result<Attributes, String> {
        let mut all = Attributes {
            flags: String::new(),
            user: String::new(),
            group: None,
            argv: Vec::new(),
            eol: b"\n".to_vec(),
            directory: None,
            chroot: None,
            size: None,
            null_sender: "MAILER-DAEMON".into(),
        };
        for (i, word) in words.iter().enumerate() {
            let Some((name, value)) = word.split_once('=') else {
                return Err(format!("unknown attribute name: {word}"));
            };
            match name {
                "flags" => {
                    if let Some(flag) = value.chars().find(|c| !FLAGS.contains(*c)) {
                        return Err(format!("unknown flag: {flag} (ignored)"));
                    }
                    all.flags = value.to_string();
                }
                "user" => match value.split_once(':') {
                    Some((user, group)) => {
                        all.user = user.to_string();
                        all.group = Some(group.to_string()).filter(|g| !g.is_empty());
                    }
                    None => all.user = value.to_string(),
                },
                "eol" => all.eol = unescape(value),
                "directory" => all.directory = Some(value.into()),
                "chroot" => all.chroot = Some(value.into()),
                "size" => {
                    all.size = Some(value.parse().map_err(|_| format!("bad size attribute value: {value}"))?);
                }
                "null_sender" => {
                    all.null_sender = String::from_utf8_lossy(&unescape(value)).into_owned();
                }
                "argv" => {
                    let rest = words.get(i + 1..).unwrap_or_default();
                    all.argv = [value.to_string()].into_iter().chain(rest.iter().cloned()).collect();
                    break;
                }
                _ => return Err(format!("unknown attribute name: {name}")),
            }
        }
        if all.user.is_empty() {
            return Err("missing user= command-line attribute".into());
        }
        if all.argv.first().is_none_or(String::is_empty) {
            return Err("missing argv= command-line attribute".into());
        }
        Ok(all)
    }

    /// Program and arguments.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    pub fn rights(&self, mail_owner: &str) -> Result<Rights, String> {
        let account = users::by_name(&self.user)
            .map_err(|e| format!("looking up user {}: {e}", self.user))?
            .ok_or_else(|| format!("get_service_attr: unknown username: {}", self.user))?;
        let gid = match &self.group {
            None => account.gid,
            Some(name) => sys::spawn::group_number(name)
                .map_err(|e| format!("looking up group {name}: {e}"))?
                .ok_or_else(|| format!("get_service_attr: unknown group: {name}"))?,
        };
        if account.uid == 0 {
            return Err("user= command-line attribute specifies root privileges".into());
        }
        if gid == 0 {
            return Err("user= command-line attribute specifies privileged group".into());
        }
        // In a set-up of an ordinary user everything is that user's.
        if identity::can_change() && account.name == mail_owner {
            return Err(format!("user= command-line attribute specifies mail system owner {mail_owner}"));
        }
        Ok(Rights { uid: account.uid, gid, home: None, shell: None })
    }
}

/// An address as an argument, by the flags h, q and u.
fn folded(address: &Address, flags: &Attributes) -> String {
    let local = if flags.has('u') { address.local().to_lowercase() } else { address.local().to_string() };
    let domain = address.domain().map(|d| if flags.has('h') { d.to_lowercase() } else { d.to_string() });
    let address = Address::new(local, domain);
    if flags.has('q') { address.to_string() } else { address.internal() }
}

/// The arguments: an element that names a recipient stands once for each.
fn arguments(
    attributes: &Attributes,
    mail: &Mail<'_>,
    delimiters: &str,
    special: bool,
) -> Result<Vec<OsString>, Wrong> {
    let (job, client) = (mail.job, &mail.job.client);
    let mut out = Vec::new();
    for word in &attributes.argv {
        for (n, target) in job.recipients.iter().enumerate() {
            let (mut each, mut unknown) = (false, None);
            let address = &target.recipient.address;
            let (user, extension) = split_extension(address.local(), delimiters, special);
            let lower =
                |text: &str, flag| if attributes.has(flag) { text.to_lowercase() } else { text.to_string() };
            let mut value = |name: &str| {
                each |= matches!(
                    name,
                    "recipient" | "original_recipient" | "user" | "extension" | "mailbox" | "domain"
                );
                Some(match name {
                    "recipient" => folded(address, attributes),
                    "original_recipient" => {
                        folded(&Address::from_internal(&target.recipient.original), attributes)
                    }
                    "user" => lower(user, 'u'),
                    "extension" => lower(extension.unwrap_or_default(), 'u'),
                    "mailbox" => lower(address.local(), 'u'),
                    "domain" => lower(address.domain().unwrap_or_default(), 'h'),
                    "nexthop" => lower(&job.nexthop, 'h'),
                    "sender" if job.sender.is_null() => match attributes.null_sender.as_str() {
                        "" => String::new(),
                        text if attributes.has('q') => Address::from_internal(text).to_string(),
                        text => text.to_string(),
                    },
                    "sender" if attributes.has('q') => job.sender.to_string(),
                    "sender" => job.sender.internal(),
                    "size" => job.size.to_string(),
                    "queue_id" => job.queue_id.clone(),
                    "client_address" => client.address.clone(),
                    "client_helo" => client.helo.clone(),
                    "client_hostname" => client.name.clone(),
                    "client_port" => client.port.clone(),
                    "client_protocol" => client.protocol.clone(),
                    "sasl_method" => client.sasl_method.clone(),
                    "sasl_sender" => client.sasl_sender.clone(),
                    "sasl_username" => client.sasl_username.clone(),
                    _ => {
                        unknown = Some(name.to_string());
                        return None;
                    }
                })
            };
            let text = config::expand::expand_once(word, &mut value).map_err(|p| Wrong::Syntax(p.what))?;
            if let Some(name) = unknown {
                return Err(Wrong::Unknown(name));
            }
            // An argument cannot hold a NUL.
            out.push(text.replace('\0', "?").into());
            if n == 0 && !each {
                break;
            }
        }
    }
    Ok(out)
}

enum Wrong {
    Unknown(String),
    Syntax(String),
}

/// Delivers a job through a pipe(8) transport.
pub(crate) fn deliver(service: &Service, config: &Config, mail: &Mail<'_>, answer: &Answer) {
    let job = mail.job;
    let text = |name: &str| config.get(name).unwrap_or_default();
    let unusable = |what: String| {
        say(answer, &BadService { what });
        all(mail, answer, &Status::new(Code(4, 3, 0), "mail transport unavailable"));
    };
    let words = service.argv.get(1..).unwrap_or_default();
    let attributes = match Attributes::read(words) {
        Ok(attributes) => attributes,
        Err(what) => return unusable(what),
    };
    let rights = match attributes.rights(&text("mail_owner")) {
        Ok(rights) => rights,
        Err(what) => return unusable(what),
    };
    let time = config.of_transport(&job.transport, "time_limit");
    let time = time.and_then(|t| {
        let t = if t.is_empty() { text("command_time_limit") } else { t };
        Time::read(&format!("{}_time_limit", job.transport), &t)
    });
    let time = match time {
        Ok(time) => time,
        Err(problem) => return unusable(problem.to_string()),
    };
    if let Some(why) = identity::refusal(rights.uid) {
        return all(mail, answer, &Status::new(Code(5, 7, 1), why));
    }
    if let Some(root) = &attributes.chroot {
        let what = format!("service {}: chroot={root} has no effect", service.name);
        say(answer, &Ignored { what });
    }
    if attributes.size.is_some_and(|limit| job.size > limit) {
        return all(mail, answer, &Status::new(Code(5, 2, 3), "message too large"));
    }
    let several = job.recipients.len() > 1;
    if let Some(flag) = ['D', 'O'].into_iter().find(|f| several && attributes.has(*f)) {
        say(answer, &OneRecipient { flag, service: service.name.clone() });
        return all(mail, answer, &misconfigured());
    }
    let Some(first) = job.recipients.first() else { return };
    let address = &first.recipient.address;
    if attributes.has('D') && mail.loops.iter().any(|l| *l == address.internal().to_lowercase()) {
        return all(mail, answer, &loop_status(address));
    }
    let special = text("owner_request_special") != "no";
    let argv = match arguments(&attributes, mail, &text("recipient_delimiter"), special) {
        Ok(argv) => argv,
        Err(wrong) => {
            let file = config.directory().join("master.cf").display().to_string();
            match wrong {
                Wrong::Unknown(name) => {
                    say(answer, &UnknownMacro { file, service: service.name.clone(), name })
                }
                Wrong::Syntax(what) => {
                    say(
                        answer,
                        &BadService { what: format!("file {file}: service {}: {what}", service.name) },
                    );
                }
            }
            return all(mail, answer, &misconfigured());
        }
    };
    if job.probe {
        let program = attributes.argv.first().map(String::as_str).unwrap_or_default();
        return all(mail, answer, &crate::actions::would(format!("delivers to command: {program}")));
    }
    let export = tables::split_list(&text("export_environment"));
    let directory = attributes.directory.clone().unwrap_or_else(|| text("queue_directory").into());
    let environment = command::exported(&export, config.directory());
    let before = lines_before(&attributes, mail, first);
    let part = Part { attributes: &attributes, argv, environment, directory, time, before };
    let said = leaf::run(&rights, mail.content, 0, crate::setup::patience(config), |leaf| {
        leaf.send(&Record::Done(part.run(leaf)))
    });
    let mut status = None;
    match said {
        Ok(records) => {
            for record in records {
                match record {
                    Record::Log(level, text) => answer.send(&Frame::Log { say: level, text }),
                    Record::Done(done) => status = Some(done),
                    Record::Found(..) | Record::End => {}
                }
            }
        }
        Err(what) => say(answer, &crate::events::PartDied { what }),
    }
    let status = match status {
        None => Status::new(Code(4, 3, 0), "internal software error"),
        Some(s) if s.code.0 == 2 => {
            let output = s.text.trim_end();
            let output = if output.is_empty() { String::new() } else { format!(" ({output})") };
            Status::new(s.code, format!("delivered via {} service{output}", service.name))
        }
        Some(s) => s,
    };
    let action = if attributes.has('X') { Action::Delivered } else { Action::Relayed };
    for target in &job.recipients {
        answer.send(&Frame::Report(Box::new(report(mail, target, &status, action))));
    }
}

fn lines_before(attributes: &Attributes, mail: &Mail<'_>, first: &Target) -> Vec<u8> {
    let address = &first.recipient.address;
    let item = Item {
        to: address.clone(),
        original: first.recipient.original.clone(),
        delivered: Some(address.to_string()),
        sender: mail.job.sender.clone(),
        user: String::new(),
        local: String::new(),
        extension: None,
    };
    let which = Headers {
        from_line: attributes.has('F'),
        return_path: attributes.has('R'),
        original_to: attributes.has('O'),
        delivered_to: attributes.has('D'),
    };
    let null = attributes.null_sender.as_str();
    headers(&item, which, if null.is_empty() { "MAILER-DAEMON" } else { null }, null, &attributes.eol)
}

/// What the process that runs the command must know.
struct Part<'a> {
    attributes: &'a Attributes,
    argv: Vec<OsString>,
    environment: BTreeMap<String, OsString>,
    directory: PathBuf,
    time: Time,
    before: Vec<u8>,
}

impl Part<'_> {
    fn run(&self, leaf: &leaf::Leaf) -> Status {
        let shown = self.argv.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let copier = Copier::new(&self.attributes.eol)
            .quoting_from(self.attributes.has('>'))
            .doubling_dots(self.attributes.has('.'));
        let run = Run {
            argv: self.argv.clone(),
            shown: &shown,
            program: ("pipe", "pipe_command: "),
            environment: self.environment.clone(),
            directory: &self.directory,
            time: self.time,
            before: self.before.clone(),
            copier,
            after: if self.attributes.has('B') { self.attributes.eol.clone() } else { Vec::new() },
        };
        match command::run(run, &leaf.content, leaf) {
            Ran::Well(output) => Status::new(Code(2, 0, 0), output),
            Ran::Badly(status) => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;
    use proto::envelope::Recipient;
    use proto::job::Job;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn attributes() {
        let read = |text: &str| Attributes::read(&words(text));
        let a = read("flags=DRXhu user=vmail:mail eol=\\r\\n size=10 argv=/usr/bin/maildrop -d ${recipient}")
            .unwrap();
        assert_eq!((a.user.as_str(), a.group.as_deref(), a.size), ("vmail", Some("mail"), Some(10)));
        assert_eq!((a.eol.as_slice(), a.argv.len()), (&b"\r\n"[..], 3));
        assert_eq!(read("flags=Z user=x argv=y").unwrap_err(), "unknown flag: Z (ignored)");
        assert_eq!(read("argv=y").unwrap_err(), "missing user= command-line attribute");
        assert_eq!(read("user=x").unwrap_err(), "missing argv= command-line attribute");
        assert_eq!(unescape("a\\040b\\\\\\x"), b"a b\\x");
        let root = read("user=root argv=y").unwrap().rights("postfix");
        assert_eq!(root.unwrap_err(), "user= command-line attribute specifies root privileges");
    }

    fn argv(line: &str, job: &Job) -> Vec<String> {
        let attributes = Attributes::read(&words(line)).unwrap();
        let content = Content::new(std::fs::File::open("/dev/null").unwrap(), 0, 0);
        let mail = Mail { job, content: &content, loops: Vec::new() };
        match arguments(&attributes, &mail, "+", true) {
            Ok(argv) => argv.into_iter().map(|a| a.to_string_lossy().into_owned()).collect(),
            Err(Wrong::Unknown(name)) => vec![format!("unknown {name}")],
            Err(Wrong::Syntax(what)) => vec![what],
        }
    }

    #[test]
    fn macros() {
        let target = |a: &str| Target {
            place: 0,
            recipient: Recipient {
                address: Address::from_internal(a),
                original: a.to_string(),
                ..Recipient::default()
            },
        };
        let mut job = Job {
            recipients: vec![target("U+Ext@PX.org"), target("a b@x.org")],
            sender: Address::from_internal("c d@y.org"),
            nexthop: "HoP".into(),
            size: 7,
            queue_id: "ABC".into(),
            ..Job::default()
        };
        let check = |line: &str, job: &Job, expected: &[&str]| {
            assert_eq!(argv(&format!("user=x argv={line}"), job), expected, "{line}");
        };
        check("p a-$recipient z", &job, &["p", "a-U+Ext@PX.org", "a-a b@x.org", "z"]);
        check("p ${user}/${extension}/${mailbox}", &job, &["p", "U/Ext/U+Ext", "a b//a b"]);
        check(
            "p -f$sender $nexthop $size ${queue_id} $$x",
            &job,
            &["p", "-fc d@y.org", "HoP", "7", "ABC", "$x"],
        );
        check("p ${nope}", &job, &["unknown nope"]);
        job.sender = Address::null();
        check("p $(sender)", &job, &["p", "MAILER-DAEMON"]);
        let folded = argv("flags=hqu user=x null_sender= argv=p $sender $recipient $nexthop", &job);
        assert_eq!(folded, ["p", "", "u+ext@px.org", "\"a b\"@x.org", "hop"]);
    }
}
