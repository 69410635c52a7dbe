//! Mail filters at the end of a message: its content waits apart from the queue until they have seen it, they change it,
//! and only then does it go to the queue. Mail that came without SMTP is shown to `non_smtpd_milters`, to whom a session
//! is played.

use super::{Door, Message, Refused, Source, one_line, store_refusal};
use crate::checks::{Finding, Inspection, inspection};
use crate::events::{BadCheck, MapProblem, MilterSays, NobodyLeft, QueueWrite};
use crate::lines::{Lines, Rules};
use crate::rewriting::{Context, Place};
use crate::size::Counter;
use milter::{Content, Session, Subject, Word};
use proto::Address;
use proto::address::parse;
use proto::envelope::Notify;
use proto::header::Field;
use proto::milter::Edit;
use proto::smtp::command;
use queue::{Draft, Store};
use std::net::{IpAddr, Ipv4Addr};

/// What the log calls the actions of `milter_header_checks`.
const ACTIONS: [(&str, &str); 11] = [
    ("bcc", "milter-header-bcc"),
    ("discard", "milter-header-discard"),
    ("filter", "milter-header-filter"),
    ("hold", "milter-header-hold"),
    ("info", "milter-header-info"),
    ("prepend", "milter-header-prepend"),
    ("redirect", "milter-header-redirect"),
    ("reject", "milter-header-reject"),
    ("replace", "milter-header-replace"),
    ("strip", "milter-header-strip"),
    ("warning", "milter-header-warning"),
];

/// How much of a body is copied at a time.
const PIECE: usize = 64 * 1024;

impl Door {
    /// Whether `internal_mail_filter_classes` names this class.
    fn filters_internal(&self, class: &str) -> bool {
        self.internal_classes.iter().any(|c| c == class)
    }
}

impl<S: Store> Message<S> {
    /// What was made here is inspected, too.
    pub(super) fn is_filtered_internal(&self) -> bool {
        self.origin.class.is_some_and(|class| self.door.filters_internal(class))
    }

    /// Whether filters will see the message: its content then waits apart.
    pub(super) fn is_shown(&self) -> bool {
        let off = self.origin.overrides.iter().any(|o| o == "no_milters");
        match self.origin.source {
            Source::Smtp { .. } => self.origin.milters,
            Source::Pickup { .. } => self.door.milters.is_some() && !off,
            Source::Internal => self.door.milters.is_some() && self.is_filtered_internal(),
        }
    }

    /// Shows the message to filters, has them change it, and gives what is left to the queue.
    pub(super) async fn show(&mut self, milters: Option<&mut Session>) {
        let Some(mut content) = self.content.take() else { return };
        content.finish();
        if let Some(error) = content.trouble() {
            return self.content_lost(&error);
        }
        if content.is_too_big() {
            self.reject(552, "5.3.4 Error: message header too big", "5.3.4 message header too big");
        }
        if self.refused.is_none() && self.bounce.is_none() && !self.discarded {
            content = self.ask(content, milters).await;
            if let Some(error) = content.trouble() {
                return self.content_lost(&error);
            }
        }
        if self.refused.is_some() || self.discarded {
            self.draft = None;
            return;
        }
        if self.recipients.is_empty() {
            self.speaker.say_of(self.id, &NobodyLeft {});
            self.discarded = true;
            return;
        }
        self.keep(&content).await;
    }

    async fn ask(&mut self, content: Box<Content>, milters: Option<&mut Session>) -> Box<Content> {
        let speaker = self.speaker.clone();
        let checks = self.door.milter_checks.clone();
        let inspection = checks.map(Inspection::new);
        let (found, content) = match milters {
            Some(session) => {
                session.macros.set("i", Some(self.id.to_string()));
                let mut work = Work { message: self, content, inspection, body: None };
                (session.content(&mut work, &speaker).await, work.content)
            }
            None => {
                let Some(plan) = self.door.milters.clone() else { return content };
                let mut session = Session::new(plan);
                let played = self.play(&mut session).await;
                let mut work = Work { message: self, content, inspection, body: None };
                let found = match played {
                    Played::Whole => session.content(&mut work, &speaker).await,
                    Played::Refused => milter::Found::default(),
                };
                let content = work.content;
                session.quit().await;
                (found, content)
            }
        };
        self.obey_milters("END-OF-MESSAGE", found, None);
        content
    }

    /// Plays the session that this message did not come by.
    async fn play(&mut self, session: &mut Session) -> Played {
        let rewriting = self.door.rewriting.clone();
        let address = if self.sender.is_null() { String::new() } else { self.sender.to_string() };
        let macros = &mut session.macros;
        macros.played = true;
        for (name, value) in [
            ("{daemon_addr}", "127.0.0.1"),
            ("{daemon_port}", "0"),
            ("j", self.door.main.myhostname().as_str()),
            ("_", "localhost [127.0.0.1]"),
            ("{client_addr}", "127.0.0.1"),
            ("{client_name}", "localhost"),
            ("{client_port}", "0"),
            ("{client_ptr}", "localhost"),
            ("{mail_addr}", address.as_str()),
        ] {
            macros.set(name, Some(value.to_string()));
        }
        macros.set("i", Some(self.id.to_string()));
        let speaker = self.speaker.clone();
        let ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let client = milter::Client { name: "localhost", ip, port: 0 };
        let nobody = Some("");
        let word = session.connect(client, &speaker).await;
        if self.is_refused("CONNECT", word, nobody) {
            return Played::Refused;
        }
        let word = session.helo("localhost", &speaker).await;
        if self.is_refused("EHLO", word, nobody) {
            return Played::Refused;
        }
        let word = session.mail(&[address], &speaker).await;
        if self.is_refused("MAIL", word, nobody) {
            return Played::Refused;
        }
        for (recipient, _, _) in self.recipients.clone() {
            let whole = rewriting.complete(&recipient, &Context::Local);
            let Some(whole) = self.canonical(whole, Place::EnvelopeRecipient) else { return Played::Refused };
            let whole = whole.to_string();
            session.macros.set("{rcpt_addr}", Some(whole.clone()));
            let to = format!(" to=<{}>", one_line(&whole));
            let word = session.rcpt(&[whole], &speaker).await;
            if matches!(word, Some(Word::Reply(_) | Word::Shutdown)) {
                // Nobody is there who could hear of one recipient alone.
                self.is_refused("RCPT", word, Some(&to));
                for what in [
                    "milter configuration error: can't reject recipient in non-smtpd(8) submission",
                    "message not accepted, try again later",
                ] {
                    speaker.say_of(self.id, &MapProblem { what: what.into() });
                }
                self.bounce = None;
                self.refused =
                    Some(Refused::new(451, "4.3.5 Server configuration problem - try again later"));
                return Played::Refused;
            }
            if self.is_refused("RCPT", word, Some(&to)) {
                return Played::Refused;
            }
        }
        let word = session.data(&speaker).await;
        match self.is_refused("DATA", word, None) {
            true => Played::Refused,
            false => Played::Whole,
        }
    }

    /// Obeys a word at a stage of a session that is played; whether it ends it.
    fn is_refused(&mut self, place: &'static str, word: Option<Word>, to: Option<&str>) -> bool {
        let hold = word == Some(Word::Hold);
        let ends = word.is_some() && !hold;
        self.obey_milters(place, milter::Found { word, hold }, to);
        ends
    }

    /// Says and does what filters found. `to`: the recipient in the log, when it is not the last one.
    fn obey_milters(&mut self, place: &'static str, found: milter::Found, to: Option<&str>) {
        let (action, text) = match found.word {
            Some(Word::Discard) => {
                self.discarded = true;
                ("milter-discard", "milter triggers DISCARD action".to_string())
            }
            Some(refusal @ (Word::Reply(_) | Word::Shutdown)) => {
                let (code, text) = match refusal {
                    Word::Reply(reply) => (reply.code, reply.text),
                    _ => (421, "4.7.0 Server closing connection".to_string()),
                };
                self.reject(code, &text, &text);
                ("milter-reject", text.replace('\n', &format!("??{code} ")))
            }
            _ if found.hold => {
                self.orders.hold = true;
                ("milter-hold", "milter triggers HOLD action".to_string())
            }
            _ => return,
        };
        let (origin, sender, last) = self.whence();
        let recipient = to.map_or(last, str::to_string);
        let client = &self.origin.client;
        let (client, via) = match &self.origin.source {
            Source::Smtp { .. } => (origin, format!(" proto={} helo=<{}>", client.protocol, client.helo)),
            _ => ("localhost[127.0.0.1]".to_string(), String::new()),
        };
        self.speaker.say_of(self.id, &MilterSays { action, place, client, text, sender, recipient, via });
    }

    /// Gives the content as it is now to the queue.
    async fn keep(&mut self, content: &Content) {
        self.counter = Counter::new((*self.door.cleanup.line_length_limit()).max(1) as u64);
        let Some(mut draft) = self.draft.take() else { return };
        let (mut piece, mut at) = (content.header(), 0);
        loop {
            self.counter.feed(&piece);
            if let Err(e) = draft.write(&piece).await {
                self.refused = Some(store_refusal(&self.speaker, self.id, &e));
                return;
            }
            if let Err(error) = content.read_body(at, PIECE, &mut piece) {
                return self.content_lost(&error);
            }
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
        }
        self.draft = Some(draft);
    }

    fn content_lost(&mut self, error: &std::io::Error) {
        self.speaker.say_of(self.id, &QueueWrite { what: error.to_string() });
        self.draft = None;
        self.refused = Some(Refused::new(451, "4.3.0 Error: queue file write error"));
    }
}

/// How far a session could be played.
enum Played {
    Whole,
    Refused,
}

/// A message that filters may change.
struct Work<'m, S: Store> {
    message: &'m mut Message<S>,
    content: Box<Content>,
    /// `milter_header_checks`.
    inspection: Option<Inspection>,
    /// Line ends of a new body.
    body: Option<Lines>,
}

impl<S: Store> Subject for Work<'_, S> {
    fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    fn edit(&mut self, edit: Edit, leading_space: bool) -> Result<(), &'static str> {
        match edit {
            Edit::Sender { address, parameters } => self.sender(&address, &parameters),
            Edit::AddRecipient { address, parameters } => self.recipient(&address, &parameters),
            Edit::DeleteRecipient(address) => {
                if let Some(address) = self.address(&address) {
                    self.message.recipients.retain(|(known, _, _)| *known != address);
                }
            }
            Edit::Body(bytes) => return self.new_body(&bytes),
            header => {
                if let Some(edit) = self.checked(header, leading_space)
                    && !self.content.change_header(&edit, leading_space)
                {
                    return Err("header fields");
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, good: bool) {
        if let Some(mut lines) = self.body.take() {
            let mut rest = Vec::new();
            lines.finish(&mut rest);
            self.content.replace(&rest);
        }
        self.content.settle(good);
    }
}

impl<S: Store> Work<'_, S> {
    /// An address as filters write it: with brackets or without.
    fn address(&mut self, written: &[u8]) -> Option<Address> {
        let text = String::from_utf8_lossy(written);
        let address = parse::envelope(text.trim(), parse::Rules { strict: false, utf8: true });
        if address.is_err() {
            let what = format!("a filter names an address that is none: {}", one_line(&text));
            self.message.speaker.say(&BadCheck { what });
        }
        address.ok().map(|address| super::visible(&address))
    }

    fn sender(&mut self, written: &[u8], parameters: &[u8]) {
        let Some(address) = self.address(written) else { return };
        let allowed = command::Allowed { dsn: true, ..command::Allowed::default() };
        for word in words(parameters) {
            match command::mail(&format!("FROM:<> {word}"), allowed) {
                Ok(mail) if mail.ret.is_some() => self.message.origin.dsn_ret = mail.ret,
                Ok(mail) if mail.envid.is_some() => self.message.origin.dsn_envid = mail.envid,
                _ => self.ignored(&word, "SMFI_CHGFROM"),
            }
        }
        let whole = self.message.door.rewriting.complete(&address, &Context::Local);
        if let Some(sender) = self.message.canonical(whole, Place::EnvelopeSender) {
            self.message.sender = sender;
        }
    }

    fn recipient(&mut self, written: &[u8], parameters: &[u8]) {
        let Some(address) = self.address(written).filter(|a| !a.is_null()) else { return };
        let (mut orcpt, mut notify) = (None, Notify::default());
        let allowed = command::Allowed { dsn: true, ..command::Allowed::default() };
        for word in words(parameters) {
            match command::rcpt(&format!("TO:<x@y> {word}"), allowed, false) {
                Ok(rcpt) if rcpt.orcpt.is_some() => orcpt = rcpt.orcpt,
                Ok(rcpt) if rcpt.notify != Notify::default() => notify = rcpt.notify,
                _ => self.ignored(&word, "SMFIR_ADDRCPT_PAR"),
            }
        }
        self.message.recipient(address, orcpt, notify);
    }

    fn ignored(&self, word: &str, request: &str) {
        let what = format!("Ignoring bad ESMTP parameter \"{word}\" in {request} request");
        self.message.speaker.say(&BadCheck { what });
    }

    fn new_body(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let limit = self.message.door.size_limit().unwrap_or(u64::MAX);
        let replace_stray = *self.message.door.cleanup.cleanup_replace_stray_cr_lf();
        let lines = self.body.get_or_insert_with(|| Lines::new(Rules { replace_stray, ..Rules::default() }));
        let mut clean = Vec::new();
        lines.feed(bytes, &mut clean);
        self.content.replace(&clean);
        let sent = self.content.replaced().unwrap_or(0);
        // A new body may be a little longer than what clients may send.
        if sent / 2 > limit { Err("body pieces") } else { Ok(()) }
    }

    /// Says and does what `milter_header_checks` found, in words of its own.
    fn found(&mut self, finding: Finding) {
        match finding {
            Finding::Log { action: "pass", text, .. } => {
                let what = format!("unsupported command in milter_header_checks map: PASS {text}");
                self.message.speaker.say(&BadCheck { what });
                // What is added next is looked at all the same.
                self.inspection = self.message.door.milter_checks.clone().map(Inspection::new);
            }
            Finding::Log { action, class, content, text } => {
                let known = ACTIONS.iter().find(|(word, _)| *word == action);
                let action = known.map_or(action, |(_, word)| *word);
                self.message.obey_finding(Finding::Log { action, class, content, text });
            }
            Finding::Warning(what) => {
                let what = what.replacen("unknown command", "unsupported command", 1);
                self.message.obey_finding(Finding::Warning(what));
            }
            other => self.message.obey_finding(other),
        }
    }

    /// What `milter_header_checks` leave of a change of the header.
    fn checked(&mut self, edit: Edit, leading_space: bool) -> Option<Edit> {
        let Some(inspection) = self.inspection.as_mut() else { return Some(edit) };
        let (Edit::Add { name, value } | Edit::Insert { name, value, .. } | Edit::Change { name, value, .. }) =
            &edit
        else {
            return Some(edit);
        };
        if value.is_empty() && matches!(edit, Edit::Change { .. }) {
            return Some(edit);
        }
        let space: &[u8] = if leading_space { b":" } else { b": " };
        let line = [name.as_slice(), space, value.as_slice()].concat();
        let Some(field) = Field::new(&line) else { return Some(edit) };
        let verdict = inspection.field(&field);
        for finding in inspection.findings() {
            self.found(finding);
        }
        if verdict.before.is_some() {
            let what = "the milter_header/body_checks prepend action is not implemented".to_string();
            self.message.speaker.say(&BadCheck { what });
        }
        let replaced = match verdict.line {
            inspection::Line::Kept => return Some(edit),
            inspection::Line::Dropped => return None,
            inspection::Line::Replaced(text) => text,
        };
        let (new_name, new_value) = replaced.split_once(':')?;
        let new_value = if leading_space { new_value } else { new_value.trim_start() };
        let (name, value) = (new_name.trim_end().as_bytes().to_vec(), new_value.as_bytes().to_vec());
        Some(match edit {
            Edit::Insert { at, .. } => Edit::Insert { at, name, value },
            Edit::Change { at, .. } => Edit::Change { at, name, value },
            _ => Edit::Add { name, value },
        })
    }
}

fn words(parameters: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(parameters).split_ascii_whitespace().map(one_line).collect()
}
