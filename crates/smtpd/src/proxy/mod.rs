//! A filter before the queue (`smtpd_proxy_filter`, SMTPD_PROXY_README): what a client says of a message goes
//! through it, and the client hears the filter's own replies. Nothing is queued here; the filter gives what
//! it lets pass to another listener, and 250 is the filter's word.

mod conversation;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub(crate) mod fuzz;
mod spool;

use crate::backend::Backend;
use crate::events::*;
use crate::restrictions::Stage;
use crate::session::{Session, no};
use config::params::filter::Proxy;
use config::params::main::Main;
use config::{Config, Problem};
use conversation::{Conversation, No, broken};
use net::Endpoint;
use proto::date::DateTime;
use proto::smtp::client::Stuffer;
use proto::smtp::command::Rcpt;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Faults};
use spool::Spool;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a listener obeys.
pub(crate) struct Settings {
    endpoint: Endpoint,
    ehlo: String,
    timeout: Duration,
    /// `speed_adjust`, and where messages wait until they are complete.
    spool: Option<PathBuf>,
    myhostname: String,
    mail_name: String,
}

impl Settings {
    /// `None` without a filter.
    pub(crate) fn load(config: &Config, main: &Main) -> Result<Option<Settings>, Vec<Problem>> {
        let p = Proxy::load(config)?;
        let name = "smtpd_proxy_filter";
        if p.smtpd_proxy_filter().is_empty() {
            return Ok(None);
        }
        let endpoint = Endpoint::parse(p.smtpd_proxy_filter(), Path::new(main.queue_directory()), false);
        let endpoint = endpoint.map_err(|what| {
            vec![config.placed(name, Problem::of(name, what, "write host:port or unix:path"))]
        })?;
        let mut spool = None;
        for option in &p.smtpd_proxy_options().0 {
            if option != "speed_adjust" {
                let (name, what) = ("smtpd_proxy_options", format!("unknown option {option:?}"));
                return Err(vec![config.placed(name, Problem::of(name, what, "write speed_adjust"))]);
            }
            spool = Some(queue::disk::directory(Path::new(main.queue_directory())));
        }
        Ok(Some(Settings {
            endpoint,
            spool,
            ehlo: p.smtpd_proxy_ehlo().clone(),
            timeout: *p.smtpd_proxy_timeout(),
            myhostname: main.myhostname().clone(),
            mail_name: main.mail_name().clone(),
        }))
    }
}

/// A message on its way through the filter.
pub(crate) struct Passage {
    /// MAIL as the client said it.
    mail: String,
    /// The last command of the client.
    line: String,
    conversation: Option<Conversation>,
    /// RCPT commands that wait with the message.
    recipients: Vec<String>,
    spool: Option<Spool>,
    stuffer: Option<Stuffer>,
    /// Bytes of content.
    size: u64,
    /// What the client hears in the end, whatever else it says.
    verdict: Option<Reply>,
}

impl<B: Backend> Session<B> {
    /// The client said MAIL, and may: what follows goes through the filter, if there is one.
    pub(crate) fn pass_through(&mut self, line: String) {
        let Some(settings) = &self.service.proxy else { return };
        self.passage = Some(Box::new(Passage {
            mail: line,
            line: String::new(),
            conversation: None,
            recipients: Vec::new(),
            spool: settings.spool.as_ref().map(|directory| Spool::new(directory)),
            stuffer: None,
            size: 0,
            verdict: None,
        }));
    }

    /// RCPT as the client said it.
    pub(crate) fn said_to_filter(&mut self, line: &str) {
        if let Some(passage) = &mut self.passage {
            line.clone_into(&mut passage.line);
        }
    }

    /// A recipient that restrictions permit.
    pub(crate) async fn filter_recipient(&mut self, rcpt: Rcpt) -> Decision {
        let Some(mut passage) = self.passage.take() else { return no(broken()) };
        let first = self.first_recipient.is_none();
        let result = match &mut passage.spool {
            Some(_) => {
                passage.recipients.push(std::mem::take(&mut passage.line));
                if first {
                    self.announce("NOQUEUE");
                }
                Ok(())
            }
            None => self.give_recipient(&mut passage).await,
        };
        self.passage = Some(passage);
        if let Err(reply) = result {
            return no(reply);
        }
        self.first_recipient.get_or_insert(rcpt.recipient);
        self.recipients += 1;
        Decision::Accept
    }

    async fn give_recipient(&mut self, passage: &mut Passage) -> Result<(), Reply> {
        if let Some(reply) = &passage.verdict {
            return Err(reply.clone());
        }
        if passage.conversation.is_none() {
            let opened = self.open(&passage.mail).await;
            passage.conversation = Some(opened.map_err(|why| self.blame(why, None))?);
            self.announce("NOQUEUE");
        }
        let Some(conversation) = &mut passage.conversation else { return Err(broken()) };
        let given = conversation.command(&passage.line, &self.source).await;
        given.map_err(|why| self.blame(why, Some(&mut passage.verdict)))
    }

    async fn open(&self, mail: &str) -> Result<Conversation, No> {
        let Some(settings) = &self.service.proxy else { return Err(No::Unwilling) };
        let source = &self.source;
        Conversation::open(settings, &self.introduction(), mail, source).await
    }

    /// Who the client is.
    fn introduction(&self) -> [(&'static str, String); 7] {
        let told = |name: &str, own: &str| {
            let forwarded = self.forwarded.iter().find(|(n, _)| n == name);
            forwarded.map_or_else(|| own.to_string(), |(_, value)| value.clone())
        };
        let client = &self.client;
        let local = self.rewrites_headers();
        let address = if client.address.contains(':') { "IPv6:" } else { "" };
        [
            ("NAME", told("NAME", &client.name)),
            ("ADDR", told("ADDR", &format!("{address}{}", client.address))),
            ("PORT", told("PORT", &client.port)),
            ("HELO", told("HELO", self.helo.as_deref().unwrap_or_default())),
            ("IDENT", told("IDENT", "")),
            ("PROTO", told("PROTO", self.protocol())),
            ("SOURCE", told("SOURCE", if local { "LOCAL" } else { "REMOTE" })),
        ]
    }

    /// What the client hears; and from now on always, when nothing more can be said to the filter.
    fn blame(&mut self, why: No, verdict: Option<&mut Option<Reply>>) -> Reply {
        match why {
            No::Refused(reply) => reply,
            No::Unwilling => broken(),
            No::Broken => {
                self.faults = self.faults | Faults::SOFTWARE;
                if let Some(verdict) = verdict {
                    *verdict = Some(broken());
                }
                broken()
            }
        }
    }

    /// DATA or the first BDAT, which restrictions permit.
    pub(crate) async fn filter_data(&mut self) -> Decision {
        let Some(mut passage) = self.passage.take() else { return no(broken()) };
        let ready = match (&passage.verdict, &mut passage.conversation, &passage.spool) {
            (Some(reply), ..) => Err(No::Refused(reply.clone())),
            (None, Some(conversation), _) => conversation.data(&self.source).await,
            (None, None, Some(_)) => Ok(()),
            (None, None, None) => Err(No::Broken),
        };
        if let Err(why) = ready {
            let reply = self.blame(why, Some(&mut passage.verdict));
            self.passage = Some(passage);
            return no(reply);
        }
        passage.stuffer = Some(Stuffer::new(0));
        let head = self.head();
        self.forward(&mut passage, head.as_bytes()).await;
        self.passage = Some(passage);
        Decision::Accept
    }

    /// What stands above the client's own header.
    fn head(&mut self) -> String {
        let mut head = String::new();
        for line in std::mem::take(&mut self.orders).prepend {
            head.push_str(&format!("{line}\r\n"));
        }
        let Some(settings) = &self.service.proxy else { return head };
        let seconds = (sys::time::now_micros() / 1_000_000) as i64;
        let zone = sys::time::zone_at(seconds);
        let date = DateTime::new(seconds, zone.offset, &zone.name);
        let (myhostname, mail_name) = (&settings.myhostname, &settings.mail_name);
        let here = cleanup::received::Here { myhostname, mail_name, id: "", date: &date };
        let only = self.first_recipient.as_ref().filter(|_| self.recipients == 1).map(|a| a.to_string());
        let origin = self.origin(self.sender().cloned().unwrap_or_default());
        head.push_str(&cleanup::received::header(&origin, &here, only.as_deref()));
        head.push_str("\r\n");
        head
    }

    /// A piece of content.
    pub(crate) async fn filter_content(&mut self, bytes: &[u8]) {
        let Some(mut passage) = self.passage.take() else { return };
        passage.size += bytes.len() as u64;
        let limit = self.service.size_limit;
        if limit > 0 && passage.size > limit && passage.verdict.is_none() {
            self.source.say_of("NOQUEUE", &ProxySize {});
            self.faults = self.faults | Faults::BOUNCE;
            passage.give_up(Reply::new(552, "5.3.4 Error: message file too big"));
        }
        self.forward(&mut passage, bytes).await;
        self.passage = Some(passage);
    }

    async fn forward(&mut self, passage: &mut Passage, bytes: &[u8]) {
        if passage.verdict.is_some() {
            return;
        }
        if let Some(spool) = &mut passage.spool {
            if let Err(error) = spool.write(bytes) {
                let what =
                    format!("smtpd_proxy_options = speed_adjust: cannot write: {}", net::plain(&error));
                self.source.say(&TableTrouble { what });
                self.faults = self.faults | Faults::RESOURCE;
                passage.give_up(Reply::new(452, "4.3.1 Insufficient system storage"));
            }
            return;
        }
        let (Some(conversation), Some(stuffer)) = (&mut passage.conversation, &mut passage.stuffer) else {
            return;
        };
        if let Err(why) = conversation.content(bytes, stuffer, &self.source).await {
            let reply = self.blame(why, None);
            passage.give_up(reply);
        }
    }

    /// The message is complete.
    pub(crate) async fn filter_end(&mut self) -> Decision {
        let Some(mut passage) = self.passage.take() else { return no(broken()) };
        let answered = match (passage.verdict.take(), &passage.spool) {
            (Some(reply), _) => Err(No::Refused(reply)),
            (None, Some(_)) => self.give_all(&mut passage).await,
            (None, None) => passage.finish(&self.source).await,
        };
        let (what, text, reply) = match answered {
            Ok(answer) => {
                let what = if answer.is_positive() { "proxy-accept" } else { "proxy-reject" };
                (what, conversation::shown(&answer), conversation::reply(&answer))
            }
            Err(why) => {
                let reply = self.blame(why, None);
                let mut wire = Vec::new();
                reply.render(&mut wire);
                let text = String::from_utf8_lossy(&wire).trim_end().replace("\r\n", "??");
                ("proxy-reject", text, reply)
            }
        };
        let about = self.about(self.first_recipient.as_ref());
        self.source.say(&ProxyVerdict {
            what,
            place: crate::session::place_of(Stage::EndOfMessage),
            text,
            about,
        });
        no(reply)
    }

    /// `speed_adjust`: all of it at once.
    async fn give_all(&mut self, passage: &mut Passage) -> Result<proto::smtp::client::Answer, No> {
        let mut conversation = self.open(&passage.mail).await?;
        for line in &passage.recipients {
            conversation.command(line, &self.source).await?;
        }
        conversation.data(&self.source).await?;
        let mut stuffer = Stuffer::new(0);
        if let Some(spool) = &mut passage.spool {
            let unreadable = |error: std::io::Error| {
                let what = format!("smtpd_proxy_options = speed_adjust: cannot read: {}", net::plain(&error));
                self.source.say(&TableTrouble { what });
                No::Broken
            };
            spool.rewind().map_err(unreadable)?;
            loop {
                let piece = spool.next().map_err(unreadable)?;
                if piece.is_empty() {
                    break;
                }
                conversation.content(&piece, &mut stuffer, &self.source).await?;
            }
        }
        conversation.end(stuffer, &self.source).await
    }
}

impl Passage {
    /// Nothing more goes to the filter, which must not take what it has for the whole.
    fn give_up(&mut self, reply: Reply) {
        self.conversation = None;
        self.verdict = Some(reply);
        self.spool = self.spool.take().map(|_| Spool::new(Path::new("/")));
    }

    async fn finish(&mut self, source: &::events::Source) -> Result<proto::smtp::client::Answer, No> {
        match (&mut self.conversation, self.stuffer.take()) {
            (Some(conversation), Some(stuffer)) => conversation.end(stuffer, source).await,
            _ => Err(No::Broken),
        }
    }
}
