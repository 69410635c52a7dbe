//! The beginning of a child: what the job is, and which transport of master.cf delivers it.

use crate::answer::{Answer, Tell, say};
use crate::content::Content;
use crate::events::{BadJob, BadService, TableTrouble};
use crate::kept::Kept;
use crate::lookups::{Lookups, Named};
use crate::mail::Mail;
use crate::mbox_lock::Locks;
use crate::pipe;
use crate::resolve::Resolver;
use crate::switch::{Engine, Ready, Setting};
use crate::virtual_mailbox;
use config::master_cf::{self, Kind, Service};
use config::params::local::Local;
use config::value::Value;
use config::{Config, Problem};
use proto::job::{Action, Frame, Line, Report, Target, read_jobs};
use proto::status::{Code, Status};
use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The configuration, read by `deliver` once: children inherit it.
pub struct Setup {
    config: Config,
    services: Vec<Service>,
    /// Of each service, in the same order: worked out when the first job comes, and then inherited by all children.
    ready: Vec<Program>,
    kept: Kept,
}

/// Why a service cannot deliver: words for the log, and what becomes of recipients.
pub(crate) type Refused = Box<(String, Status)>;

/// What the deliveries of a service need of the configuration.
#[derive(Default)]
struct Program {
    local: OnceCell<Result<Ready, Refused>>,
    mailboxes: OnceCell<Result<virtual_mailbox::Ready, Refused>>,
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
        let ready = services.iter().map(|_| Program::default()).collect();
        Setup { config, services, ready, kept }
    }

    /// Works out what children need of the configuration, so that not each of them has to.
    pub fn prepare(&self) {
        for (service, program) in self.services.iter().zip(&self.ready) {
            match service.command().rsplit('/').next() {
                Some("local") => _ = self.local(service, program),
                Some("virtual") => _ = self.mailboxes(service, program),
                _ => {}
            }
        }
    }

    fn local<'a>(&self, service: &Service, program: &'a Program) -> &'a Result<Ready, Refused> {
        program.local.get_or_init(|| local_ready(service.config(&self.config)))
    }

    fn mailboxes<'a>(
        &self,
        service: &Service,
        program: &'a Program,
    ) -> &'a Result<virtual_mailbox::Ready, Refused> {
        program.mailboxes.get_or_init(|| virtual_mailbox::Ready::load(&service.config(&self.config)))
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
    let service = setup.services.iter().zip(&setup.ready).find(|(s, _)| s.name == mail.job.transport);
    let program = service.map(|(s, _)| s.command().rsplit('/').next().unwrap_or_default());
    match (service, program) {
        (Some((service, ready)), Some("local")) => {
            local(setup.local(service, ready), &setup.kept, &mails, answer)
        }
        (Some((service, ready)), Some("virtual")) => {
            virtual_mailbox::deliver(setup.mailboxes(service, ready), &setup.kept, &mails, answer)
        }
        (Some((service, _)), Some("pipe")) => {
            pipe::deliver(service, &service.config(&setup.config), mail, answer)
        }
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

/// What local delivery needs of the configuration.
fn local_ready(config: Config) -> Result<Ready, Refused> {
    let join =
        |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
    let params = Local::load(&config).map_err(|p| Box::new((join(p), misconfigured())))?;
    let locks = Locks::of(&params).map_err(|what| Box::new((what, misconfigured())))?;
    let most = config.get("message_size_limit").ok().and_then(|t| t.trim().parse::<i64>().ok()).unwrap_or(0);
    let mailbox = *params.mailbox_size_limit();
    if mailbox > 0 && (most == 0 || most > mailbox) {
        let what = "main.cf configuration error: mailbox_size_limit is smaller than message_size_limit";
        return Err(Box::new((what.into(), Status::new(Code(4, 3, 0), "mail transport unavailable"))));
    }
    let resolver = Resolver::load(&config).map_err(|p| Box::new((join(p), misconfigured())))?;
    let text = |name: &str| config.get(name).unwrap_or_default();
    let number = |name: &str, otherwise: usize| text(name).trim().parse().unwrap_or(otherwise);
    let list = |name: &str| tables::split_list(&text(name));
    Ok(Ready {
        locks,
        delimiter: text("recipient_delimiter"),
        resolver,
        owner_special: text("owner_request_special") != "no",
        queue_directory: text("queue_directory"),
        line_limit: number("line_length_limit", 2048),
        patience: patience(&config),
        filter_limit: number("duplicate_filter_limit", 1000),
        propagate: list("propagate_unmatched_extensions"),
        header_for: params.prepend_delivered_header().0.clone(),
        tables: Named::of(&config, &params),
        params,
        config,
    })
}

fn local(ready: &Result<Ready, Refused>, kept: &Kept, mails: &[&Mail<'_>], answer: &Answer) {
    let [mail, others @ ..] = mails else { return };
    let ready = match ready {
        Ok(ready) => ready,
        Err(refused) => {
            let (what, status) = &**refused;
            say(answer, &BadService { what: what.clone() });
            return all(mail, answer, status);
        }
    };
    let lookups = Lookups::open(&ready.tables, kept);
    let setting = Setting { ready, lookups: &lookups };
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
