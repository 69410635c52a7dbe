//! The beginning of a child: what the job is, and which transport of master.cf delivers it.

use crate::answer::{Answer, Tell, say};
use crate::content::Content;
use crate::events::{BadJob, BadService, TableTrouble};
use crate::kept::Kept;
use crate::lookups::Lookups;
use crate::mail::Mail;
use crate::mbox_lock::Locks;
use crate::pipe;
use crate::resolve::Resolver;
use crate::switch::{Engine, Setting};
use crate::virtual_mailbox;
use config::master_cf::{self, Kind, Service};
use config::params::local::Local;
use config::value::Value;
use config::{Config, Problem};
use proto::job::{Action, Frame, Line, Report, Target, read_jobs};
use proto::status::{Code, Status};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The configuration, read by `deliver` once: children inherit it.
pub struct Setup {
    config: Config,
    services: Vec<Service>,
    kept: Kept,
}

impl Setup {
    /// Reads main.cf and master.cf in `directory`.
    pub fn load(directory: &Path) -> Result<Setup, Vec<Problem>> {
        let config = Config::load(directory)?;
        let services = master_cf::load(directory)?.all;
        Ok(Setup::of(config, services))
    }

    /// From what was read elsewhere.
    pub fn of(config: Config, services: Vec<Service>) -> Setup {
        let services: Vec<Service> =
            services.into_iter().filter(|s| s.kind == Kind::Unix || s.command() == "spawn").collect();
        let kept = Kept::of(&config, &services);
        Setup { config, services, kept }
    }

    /// main.cf.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The transports of master.cf.
    pub(crate) fn services(&self) -> &[Service] {
        &self.services
    }

    /// How tables are opened.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }
}

/// What a child does: delivers one job and answers on the pipe. Gives the exit status: 0 when the
/// answer is whole.
pub fn child(setup: &Setup, job: &[u8], content: OwnedFd, answer: OwnedFd) -> i32 {
    let answer = Answer::new(File::from(answer));
    answer.send(&Frame::Begin { number: std::process::id() });
    for what in setup.table_notices() {
        say(&answer, &TableTrouble { what });
    }
    let Some(jobs) = read_jobs(job) else {
        say(
            &answer,
            &BadJob { what: "a delivery job of another version; run `postfix stop`, then start".into() },
        );
        // No message is to blame for that: the recipients, without a report, are tried again.
        answer.send(&Frame::End);
        return 0;
    };
    let file = Content::new(File::from(content), 0, 0);
    let contents: Vec<Content> = jobs.iter().map(|job| file.beside(job.offset, job.length)).collect();
    let mut mails = Vec::new();
    for (job, content) in jobs.iter().zip(&contents) {
        match content.delivered_to() {
            Ok(loops) => mails.push(Mail { job, content, loops }),
            Err(e) => {
                say(&answer, &BadJob { what: format!("{}: reading the message: {e}", job.queue_id) });
                answer.send(&Frame::End);
                return 0;
            }
        }
    }
    together(setup, &mails, &answer);
    answer.send(&Frame::End);
    0
}

/// Delivers messages that came together: all for the same transport and destination. Who can only deliver one at a time
/// leaves the others to be tried again.
fn together(setup: &Setup, mails: &[Mail<'_>], answer: &Answer) {
    let Some(mail) = mails.first() else { return };
    let mails: Vec<&Mail<'_>> = mails.iter().take_while(|m| m.job.transport == mail.job.transport).collect();
    let service = setup.services.iter().find(|s| s.name == mail.job.transport);
    let program = service.map(|s| s.command().rsplit('/').next().unwrap_or_default());
    match (service, program) {
        (Some(service), Some("local")) => local(&service.config(&setup.config), &setup.kept, &mails, answer),
        (Some(service), Some("virtual")) => {
            virtual_mailbox::deliver(&service.config(&setup.config), &setup.kept, &mails, answer)
        }
        (Some(service), Some("pipe")) => pipe::deliver(service, &service.config(&setup.config), mail, answer),
        (Some(_), Some(program)) => {
            let name = &mail.job.transport;
            let what = format!("transport {name}: program {program} delivers nothing on this machine");
            say(answer, &BadService { what });
            all(mail, answer, &misconfigured());
        }
        _ => {
            let what = format!("transport {} is not in master.cf", mail.job.transport);
            say(answer, &BadService { what });
            all(mail, answer, &misconfigured());
        }
    }
}

pub(crate) fn misconfigured() -> Status {
    Status::new(Code(4, 3, 5), "mail system configuration error")
}

/// A report of one line.
pub(crate) fn report(mail: &Mail<'_>, target: &Target, status: &Status, action: Action) -> Report {
    let line = Line {
        to: target.recipient.address.clone(),
        orig_to: target.recipient.original.clone(),
        relay: mail.job.transport.clone(),
        status: status.clone(),
        action,
        forward: None,
        bounce_to: None,
    };
    Report {
        recipient: target.place as usize,
        lines: vec![line],
        result: status.clone(),
        forwards: Vec::new(),
        expanded: None,
        passes: Vec::new(),
    }
}

/// The same status for every recipient.
pub(crate) fn all(mail: &Mail<'_>, answer: &Answer, status: &Status) {
    for target in &mail.job.recipients {
        answer.send(&Frame::Report(Box::new(report(mail, target, status, Action::Delivered))));
    }
}

/// `daemon_timeout`. The mail role waits as long for the whole job, so a part must end sooner.
pub(crate) fn patience(config: &Config) -> Duration {
    let text = config.get("daemon_timeout").unwrap_or_default();
    let time = config::value::Time::read("daemon_timeout", &text).unwrap_or(Duration::from_secs(18_000));
    time / 10 * 9
}

fn local(config: &Config, kept: &Kept, mails: &[&Mail<'_>], answer: &Answer) {
    let [mail, others @ ..] = mails else { return };
    let fail = |what: String| {
        say(answer, &BadService { what });
        all(mail, answer, &misconfigured());
    };
    let params = match Local::load(config) {
        Ok(params) => params,
        Err(problems) => {
            return fail(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "));
        }
    };
    let locks = match Locks::of(&params) {
        Ok(locks) => locks,
        Err(what) => return fail(what),
    };
    let most = config.get("message_size_limit").ok().and_then(|t| t.trim().parse::<i64>().ok()).unwrap_or(0);
    let mailbox = *params.mailbox_size_limit();
    if mailbox > 0 && (most == 0 || most > mailbox) {
        say(
            answer,
            &BadService {
                what: "main.cf configuration error: mailbox_size_limit is smaller than message_size_limit"
                    .into(),
            },
        );
        return all(mail, answer, &Status::new(Code(4, 3, 0), "mail transport unavailable"));
    }
    let lookups = Lookups::open(config, kept, &params);
    let resolver = match Resolver::load(config) {
        Ok(resolver) => resolver,
        Err(problems) => {
            return fail(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "));
        }
    };
    let text = |name: &str| config.get(name).unwrap_or_default();
    let number = |name: &str, otherwise: usize| text(name).trim().parse().unwrap_or(otherwise);
    let list = |name: &str| tables::split_list(&text(name));
    let setting = Setting {
        config,
        params: &params,
        lookups: &lookups,
        locks,
        delimiter: text("recipient_delimiter"),
        resolver,
        owner_special: text("owner_request_special") != "no",
        queue_directory: text("queue_directory"),
        line_limit: number("line_length_limit", 2048),
        patience: patience(config),
        filter_limit: number("duplicate_filter_limit", 1000),
        propagate: list("propagate_unmatched_extensions"),
        header_for: params.prepend_delivered_header().0.clone(),
    };
    let tell: &dyn Tell = answer;
    let [target] = mail.job.recipients.as_slice() else {
        for target in &mail.job.recipients {
            let outcome = Engine::new(&setting, mail, target, tell).deliver(&[]);
            answer.send(&Frame::Report(Box::new(outcome.report)));
        }
        return answer.send(&Frame::Mailbox(false));
    };
    let to = &target.recipient.address;
    // All that is decided on the way to a mailbox depends on the recipient alone, but for loops and probes.
    let usual = |m: &Mail<'_>| {
        let same = matches!(m.job.recipients.as_slice(), [t] if t.recipient.address.internal().eq_ignore_ascii_case(&to.internal()));
        same && !m.job.probe && !Engine::is_loop(m, to)
    };
    let along: Vec<&Mail<'_>> = others.iter().copied().filter(|m| usual(mail) && usual(m)).collect();
    let outcome = Engine::new(&setting, mail, target, tell).deliver(&along);
    answer.send(&Frame::Report(Box::new(outcome.report)));
    for (mail, status) in along.iter().zip(&outcome.along) {
        let place = mails.iter().position(|m| std::ptr::eq(*m, *mail)).unwrap_or_default();
        if let Some(target) = mail.job.recipients.first() {
            answer.about(place);
            answer.send(&Frame::Report(Box::new(report(mail, target, status, Action::Delivered))));
        }
    }
    if let Some(yes) = outcome.mailbox {
        answer.send(&Frame::Mailbox(yes));
    }
}
