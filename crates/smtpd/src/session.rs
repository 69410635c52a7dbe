//! One session: what it knows, and how the machine's events are decided.
//!
//! Everything said to the client goes through the machine; replies of a pipelined group leave in
//! one write. `serve` reads and writes, `admission` says who is let in, `verdicts` asks the restrictions.
//! The commands' own work is in `commands`, one file per verb.

mod admission;
mod serve;
mod verdicts;

pub use serve::serve;

use crate::auth;
use crate::backend::{Backend, Incoming};
use crate::client::Client;
use crate::events::{self as say, *};
use crate::footer::Shown;
use crate::policy::Connections;
use crate::restrictions::facts::Facts;
use crate::restrictions::{Rejection, Stage};
use crate::service::Service;
use ::events::Source;
use proto::Address;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Event, Faults, Notice, Reason, Session as Machine};
use std::sync::Arc;
use std::time::Duration;

/// The part of a session that the commands work on.
pub(crate) struct Session<B: Backend> {
    pub(crate) service: Arc<Service<B>>,
    pub(crate) source: Source,
    pub(crate) client: Client,
    pub(crate) label: String,
    pub(crate) unlimited: bool,
    pub(crate) helo: Option<String>,
    pub(crate) extended: bool,
    /// Attributes of XFORWARD, for the log.
    pub(crate) forwarded: Vec<(String, String)>,
    pub(crate) mail: Option<proto::smtp::command::Mail>,
    pub(crate) recipients: u64,
    pub(crate) message: Option<Box<B::Message>>,
    /// Filters that hear of everything.
    pub(crate) milters: Option<Box<crate::milters::Milters>>,
    /// `sendmail -bs`: nobody came from anywhere.
    pub(crate) standalone: bool,
    /// How many connections the client had when it came.
    pub(crate) open: u64,
    /// It goes through a filter instead.
    pub(crate) passage: Option<Box<crate::proxy::Passage>>,
    /// The message's name once it has one.
    pub(crate) id: Option<String>,
    pub(crate) discard: bool,
    /// What else restrictions want done with the message.
    pub(crate) orders: cleanup::Orders,
    pub(crate) first_recipient: Option<Address>,
    pub(crate) pipelined: bool,
    /// Warnings that one session gives but once.
    pub(crate) said: Vec<String>,
    /// What footers of refusals show.
    pub(crate) shown: Shown,
    /// The connection broke in a handshake that came first of all.
    pub(crate) lost: bool,
    /// The session is encrypted so.
    pub(crate) tls: Option<Box<net::tls::Summary>>,
    /// Who the client logged in as.
    pub(crate) login: Option<Box<auth::Login>>,
    /// The mechanisms it may use, once that was found out.
    pub(crate) mechanisms: Option<Arc<auth::Offered>>,
    /// A login that waits for the client.
    pub(crate) underway: Option<Box<auth::Underway>>,
    /// What name servers and others said to questions of this transaction.
    pub(crate) facts: Facts,
    /// Where the session is.
    pub(crate) stage: Stage,
    /// Our end of the connection.
    pub(crate) server: Option<std::net::SocketAddr>,
    /// What policy services call the message under way.
    pub(crate) instance: String,
    /// The size of the content that was received.
    pub(crate) received: u64,
    policy: Connections,
    /// What is to be refused for now at the next recipient, though the command it came of passed.
    pub(crate) deferred: Deferred,
    /// What went wrong with this command, for the postmaster.
    pub(crate) faults: Faults,
    /// To wait before the next reply (`sleep`).
    pub(crate) delay: Duration,
}

/// `defer_if_permit` of restrictions asked before a recipient is given (`smtpd_delay_reject = no`).
#[derive(Default)]
pub(crate) struct Deferred {
    client: Option<Rejection>,
    helo: Option<Rejection>,
    sender: Option<Rejection>,
}

impl Deferred {
    /// The first of them.
    pub(crate) fn first(&self) -> Option<Rejection> {
        [&self.client, &self.helo, &self.sender].into_iter().flatten().next().cloned()
    }
}

impl<B: Backend> Session<B> {
    fn new(service: Arc<Service<B>>, source: Source, client: Client) -> Session<B> {
        let policy = Connections::new(service.policies.clone());
        Session {
            unlimited: service.unlimited(&client, &source),
            label: client.label(),
            service,
            source,
            client,
            helo: None,
            extended: false,
            forwarded: Vec::new(),
            mail: None,
            recipients: 0,
            message: None,
            milters: None,
            standalone: false,
            open: 0,
            passage: None,
            id: None,
            discard: false,
            orders: cleanup::Orders::default(),
            first_recipient: None,
            pipelined: false,
            said: Vec::new(),
            shown: Shown::default(),
            lost: false,
            tls: None,
            login: None,
            mechanisms: None,
            underway: None,
            facts: Facts::default(),
            stage: Stage::Connect,
            server: None,
            instance: String::new(),
            received: 0,
            policy,
            deferred: Deferred::default(),
            faults: Faults::NONE,
            delay: Duration::ZERO,
        }
    }

    /// Lets the machine work as far as it can; `Some` when the session ends.
    async fn work(&mut self, machine: &mut Machine) -> Option<Reason> {
        loop {
            // Each is boxed: a session that only waits would pay for the memory of every command.
            let event = machine.next_event()?;
            self.stage = Stage::of(&event).unwrap_or(self.stage);
            let decision = match event {
                Event::Content(bytes) => {
                    if let Some(message) = self.message.as_mut() {
                        Box::pin(message.write(bytes)).await;
                    } else if self.passage.is_some() {
                        Box::pin(self.filter_content(bytes)).await;
                    }
                    continue;
                }
                Event::Abort => {
                    self.forget();
                    continue;
                }
                Event::Notice(notice) => {
                    self.notice(notice, machine);
                    continue;
                }
                Event::Transcript(transcript) => {
                    Box::pin(self.tell(transcript, None)).await;
                    continue;
                }
                Event::Close(reason) => return Some(reason),
                Event::Helo { extended, name } => {
                    Box::pin(self.offer_logins(machine)).await;
                    Box::pin(self.helo(extended, name)).await
                }
                Event::Auth { mechanism, initial } => {
                    if self.mechanisms.is_none() {
                        Box::pin(self.offer_logins(machine)).await;
                    }
                    match self.standing_of_milters() {
                        Some(reply) => no(reply),
                        None => Box::pin(self.auth(mechanism, initial)).await,
                    }
                }
                Event::AuthResponse(text) => Box::pin(self.auth_response(&text)).await,
                Event::Mail(mail) => {
                    let decision = Box::pin(self.mail(mail, machine.line())).await;
                    if decision == Decision::Accept {
                        self.pass_through(machine.line().to_string());
                    }
                    decision
                }
                Event::Rcpt(rcpt) => {
                    self.said_to_filter(machine.line());
                    Box::pin(self.rcpt(rcpt, machine.line())).await
                }
                Event::Data { chunked } => Box::pin(self.data(chunked)).await,
                Event::EndOfMessage { chunked, size } => Box::pin(self.end_of_message(chunked, size)).await,
                Event::Vrfy(text, address) => Box::pin(self.vrfy(&text, &address)).await,
                Event::Etrn(domain) => Box::pin(self.etrn(&domain)).await,
                Event::Unknown(line) => {
                    Box::pin(self.unknown_to_milters(&line)).await.map_or(Decision::Accept, no)
                }
                Event::Xclient(attributes) => {
                    let decision = Box::pin(self.xclient(attributes)).await;
                    machine.suppose_login(self.login.is_some());
                    let settings = machine.settings_mut();
                    self.service.adapt(settings, &self.client, &self.source);
                    settings.footer = self.service.footer(&self.client, &self.shown, &self.source);
                    // Logins are offered to, and counted for, another client now.
                    self.begin_logins(machine);
                    decision
                }
                Event::Xforward(attributes) => self.xforward(attributes),
                Event::StartTls => self.standing_of_milters().map_or(Decision::Accept, no),
            };
            machine.blame(std::mem::take(&mut self.faults));
            machine.answer(decision);
        }
    }

    /// The transaction is over.
    pub(crate) fn forget(&mut self) {
        self.abort_milters();
        (self.mail, self.message, self.id, self.recipients) = (None, None, None, 0);
        self.passage = None;
        self.discard = false;
        (self.orders, self.first_recipient) = (cleanup::Orders::default(), None);
        self.deferred.sender = None;
        self.instance.clear();
        self.received = 0;
        self.show();
        self.facts.clear();
        self.forwarded.clear();
    }

    fn notice(&mut self, notice: Notice, machine: &mut Machine) {
        let client = self.label.clone();
        let id = self.id.clone().unwrap_or_else(|| "NOQUEUE".into());
        match notice {
            Notice::Pipelining { after, text } => {
                self.pipelined = true;
                self.source.say(&Pipelining { place: after.into(), client, text });
            }
            Notice::LongLine { limit, text } => self.source.say(&LongLine { client, limit, text }),
            Notice::AuthAborted { given_up } => self.abandon(given_up),
            Notice::IllegalAddress { verb, text } => self.source.say(&IllegalAddress { client, verb, text }),
            Notice::NonSmtp(text) => self.source.say(&NonSmtp { client, text }),
            Notice::MalformedBdat(text) => self.source.say(&MalformedBdat { id, client, text }),
            Notice::NullBdat => self.source.say(&NullBdat { id, client }),
            Notice::BigBdat => self.source.say(&BigBdat { id, client }),
            Notice::BareNewline => {
                let rejecting = machine.settings_mut().bare_newline == proto::smtp::data::BareNewline::Reject;
                let what = if rejecting { "reject" } else { "note" };
                let about = self.about(self.first_recipient.as_ref());
                let place = place_of(Stage::EndOfMessage);
                self.source.say_of(id, &say::BareNewline { what, place, client, about });
            }
            Notice::Replaced { line, by } => self.source.say(&Replaced { client, line, by }),
            Notice::Discarding(words) => self.source.say(&DiscardingKeywords { words }),
        }
    }
}

/// A stage as the log names it.
pub(crate) fn place_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "CONNECT",
        Stage::Helo => "HELO",
        Stage::Ehlo => "EHLO",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data => "DATA",
        Stage::Bdat => "BDAT",
        Stage::EndOfMessage => "END-OF-MESSAGE",
        Stage::Vrfy => "VRFY",
        Stage::Etrn => "ETRN",
        Stage::Unknown => "UNKNOWN",
    }
}

/// A refusal as the machine takes it.
pub(crate) fn no(reply: Reply) -> Decision {
    // RFC 5321 3.8: these two announce that the connection ends.
    if matches!(reply.code, 421 | 521) { Decision::Close(reply) } else { Decision::Reply(reply) }
}
