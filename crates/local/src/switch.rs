//! The order of local delivery: aliases, `.forward`, mailbox, fallback, unknown. local(8).
//!
//! An [`Engine`] delivers one recipient of a job. An alias may lead to several destinations; each
//! is a [`State`] of its own. Addresses that are not delivered here, or that an owner, an
//! `:include:` or a `.forward` file names, go into new messages; the mail role commits those before
//! the recipient is settled.

use crate::answer::{Tell, say};
use crate::events::{RequiredAlias, TableTrouble};
use crate::identity::{self, Rights};
use crate::lookups::{Lookups, Named, split_extension};
use crate::mail::{Item, Mail, loop_status, os_text};
use crate::mbox_lock::Locks;
use crate::resolve::{Found, Resolver};
use crate::tokens::{self, Token};
use config::Config;
use config::params::local::Local;
use proto::Address;
use proto::envelope::{Notify, Recipient};
use proto::job::{Action, Forward, Line, Pass, Report, Target};
use proto::status::{Code, Status};
use std::collections::HashSet;
use std::time::Duration;
use sys::users::{self, Account};

/// What led to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The envelope.
    Envelope,
    /// An alias.
    Alias,
    /// A user's `.forward` file.
    Forward,
    /// An `:include:` file.
    Include,
}

impl Via {
    /// The word for it in `allow_mail_to_commands` and `allow_mail_to_files`.
    pub fn word(self) -> &'static str {
        match self {
            Via::Envelope => "",
            Via::Alias => "alias",
            Via::Forward => "forward",
            Via::Include => "include",
        }
    }
}

/// One destination on its way.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub to: Address,
    pub level: u32,
    pub via: Via,
    /// The alias or user that named it.
    pub from: Option<String>,
    /// The owner of a list, who is its sender.
    pub owner: Option<Address>,
    /// The owner is that of the alias expanded last, not of one before.
    pub owns: bool,
    pub delivered: Option<Address>,
    /// An extension to be added to the addresses found next.
    pub unmatched: Option<String>,
    /// Whose rights commands and files have; `default_privs` when nobody's.
    pub rights: Option<Rights>,
}

/// What is the same for all deliveries of a service.
pub(crate) struct Ready {
    pub config: Config,
    pub params: Local,
    pub tables: Named,
    pub locks: Locks,
    pub delimiter: String,
    pub resolver: Resolver,
    pub queue_directory: String,
    /// `owner_request_special`.
    pub owner_special: bool,
    pub line_limit: usize,
    /// `daemon_timeout`: how long a process of a user may take.
    pub patience: Duration,
    pub filter_limit: usize,
    /// Maps whose extensions go on to what was found (`propagate_unmatched_extensions`).
    pub propagate: Vec<String>,
    /// Headers wanted before files and commands.
    pub header_for: Vec<String>,
}

/// Values that are the same for all recipients.
pub(crate) struct Setting<'a> {
    pub ready: &'a Ready,
    pub lookups: &'a Lookups,
}

impl std::ops::Deref for Setting<'_> {
    type Target = Ready;

    fn deref(&self) -> &Ready {
        self.ready
    }
}

/// Delivers one recipient.
pub(crate) struct Engine<'a> {
    pub set: &'a Setting<'a>,
    pub mail: &'a Mail<'a>,
    pub target: &'a Target,
    pub tell: &'a dyn Tell,
    seen: HashSet<String>,
    lines: Vec<Line>,
    forwards: Vec<Forward>,
    expanded: Option<(Action, Status)>,
    passes: Vec<Pass>,
    notify: Notify,
    /// Messages for the same recipient that may go along into the mailbox.
    pub along: &'a [&'a Mail<'a>],
    /// What became of the first of them: of all, or of none.
    pub went_along: Vec<Status>,
    /// It was the recipient's mailbox that was delivered to, or something else.
    pub mailbox: Option<bool>,
}

/// What came of a recipient, and of those that went along.
pub(crate) struct Outcome {
    pub report: Report,
    /// Of those that went along.
    pub along: Vec<Status>,
    /// See `Frame::Mailbox`.
    pub mailbox: Option<bool>,
}

/// Aliases nested deeper than this are taken for a loop.
pub(crate) const DEEPEST: u32 = 100;

impl<'a> Engine<'a> {
    pub fn new(
        set: &'a Setting<'a>,
        mail: &'a Mail<'a>,
        target: &'a Target,
        tell: &'a dyn Tell,
    ) -> Engine<'a> {
        Engine {
            set,
            mail,
            target,
            tell,
            seen: HashSet::new(),
            lines: Vec::new(),
            forwards: Vec::new(),
            expanded: None,
            passes: Vec::new(),
            notify: target.recipient.notify,
            along: &[],
            went_along: Vec::new(),
            mailbox: None,
        }
    }

    /// Whether the message came here before.
    pub fn is_loop(mail: &Mail<'_>, to: &Address) -> bool {
        let (internal, external) = (to.internal().to_lowercase(), to.to_string().to_lowercase());
        mail.loops.iter().any(|l| *l == internal || *l == external)
    }

    /// Delivers, and says what became of it. `along` are messages for the same recipient that may go along.
    pub fn deliver(mut self, along: &'a [&'a Mail<'a>]) -> Outcome {
        self.along = along;
        let state = State {
            to: self.target.recipient.address.clone(),
            level: 0,
            via: Via::Envelope,
            from: None,
            owner: None,
            owns: false,
            delivered: None,
            unmatched: None,
            rights: None,
        };
        self.recipient(state);
        for n in 0..self.forwards.len() {
            let status = Status::new(Code(2, 0, 0), "forwarded as");
            let to = self.target.recipient.address.clone();
            let line = self.line(to, status, Action::Relayed, Some(n));
            self.lines.push(line);
        }
        let class = |class: u8| self.lines.iter().map(|l| &l.status).find(|s| s.code.0 == class);
        // A destination that must wait makes the whole recipient wait.
        let result = class(4).or_else(|| class(5)).or_else(|| class(2)).cloned();
        let looped = Engine::is_loop(self.mail, &self.target.recipient.address);
        let report = Report {
            recipient: self.target.place as usize,
            result: result.unwrap_or_else(|| Status::new(Code(2, 0, 0), "")),
            lines: self.lines,
            forwards: self.forwards,
            expanded: self.expanded,
            passes: self.passes,
        };
        // A loop ends before anybody looks where it leads.
        let mailbox = self.mailbox.or(if looped { None } else { Some(false) });
        Outcome { report, along: self.went_along, mailbox }
    }

    fn line(&self, to: Address, status: Status, action: Action, forward: Option<usize>) -> Line {
        let relay = self.mail.job.transport.clone();
        Line {
            to,
            orig_to: self.target.recipient.original.clone(),
            relay,
            status,
            action,
            forward,
            bounce_to: None,
        }
    }

    /// A destination is settled.
    pub fn done(&mut self, state: &State, status: Status) {
        let mut line = self.line(state.to.clone(), status, Action::Delivered, None);
        if let Some(owner) = &state.owner {
            // The list is the end of the sender's interest. RFC 3461 5.2.7.3
            line.orig_to = String::new();
            line.bounce_to = state.owns.then(|| owner.clone());
        }
        self.lines.push(line);
    }

    /// True the first time. What comes after `duplicate_filter_limit` names is not remembered.
    pub fn first_time(&mut self, key: String) -> bool {
        if self.seen.contains(&key) {
            return false;
        }
        if self.set.filter_limit == 0 || self.seen.len() < self.set.filter_limit {
            self.seen.insert(key);
        }
        true
    }

    /// Delivers to an address of this transport.
    pub fn recipient(&mut self, mut state: State) {
        let address = state.to.internal();
        if !self.first_time(format!("recipient {} {}", state.level, address.to_lowercase())) {
            return;
        }
        if Engine::is_loop(self.mail, &state.to) {
            return self.done(&state, loop_status(&state.to));
        }
        if state.delivered.is_none() || !self.set.params.frozen_delivered_to() {
            state.delivered = Some(state.to.clone());
        }
        let local = state.to.local().to_lowercase();
        if let Some(user) = local.strip_prefix('\\') {
            return self.user_mailbox(&state, user.to_string());
        }
        let (user, extension) = split_extension(&local, &self.set.delimiter, self.set.owner_special);
        state.unmatched = None;
        if self.alias(&state, &local, false) {
            return;
        }
        if extension.is_some() {
            if self.set.propagate.iter().any(|p| p == "alias") {
                state.unmatched = extension.map(str::to_string);
            }
            if self.alias(&state, user, true) {
                return;
            }
            state.unmatched = extension.map(str::to_string);
        }
        // Mail that a list with an owner, or another user, sends here gets a message of its own,
        // so that it has its own fate.
        let own = state.from.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(user));
        let indirect = match state.via {
            Via::Include => true,
            Via::Forward => !own,
            Via::Alias => state.owner.is_some(),
            Via::Envelope => false,
        };
        if indirect {
            return self.send_on(&state);
        }
        let account = match users::by_name(user) {
            Ok(account) => account,
            Err(e) => {
                let text = format!("error looking up passwd info for {user}: {}", os_text(&e));
                return self.done(&state, Status::new(Code(4, 0, 0), text));
            }
        };
        if let Some(account) = &account {
            if *self.set.params.require_home_directory()
                && let Err(e) = std::fs::metadata(&account.home)
            {
                let text =
                    format!("cannot access home directory {}: {}", account.home.display(), os_text(&e));
                return self.done(&state, Status::new(Code(4, 3, 0), text));
            }
            if !(state.via == Via::Forward && own) && self.forward(&state, account) {
                return;
            }
        }
        self.mailbox_or_unknown(&state, account);
    }

    fn user_mailbox(&mut self, state: &State, whole: String) {
        // The same name that the mailbox will have: never one account's rights, another's file.
        let (user, _) = split_extension(&whole, &self.set.delimiter, self.set.owner_special);
        match users::by_name(user) {
            Ok(account) => {
                let to = Address::new(whole, state.to.domain());
                self.mailbox_or_unknown(&State { to, ..state.clone() }, account);
            }
            Err(e) => {
                let text = format!("error looking up passwd info for {user}: {}", os_text(&e));
                self.done(state, Status::new(Code(4, 0, 0), text));
            }
        }
    }

    fn mailbox_or_unknown(&mut self, state: &State, account: Option<Account>) {
        if !self.mailbox(state, account.as_ref()) {
            self.unknown(state);
        }
    }

    /// The parts of an address that a delivery uses.
    pub fn item(&self, state: &State) -> Item {
        let local = state.to.local().to_lowercase();
        let special = self.set.owner_special;
        let (user, extension) = split_extension(&local, &self.set.delimiter, special);
        Item {
            user: user.to_string(),
            extension: extension.map(str::to_string),
            to: state.to.clone(),
            original: match state.owner {
                // A list delivers in its owner's name.
                Some(_) => String::new(),
                None => self.target.recipient.original.clone(),
            },
            delivered: state.delivered.as_ref().map(Address::to_string),
            sender: state.owner.clone().unwrap_or_else(|| self.mail.job.sender.clone()),
            local,
        }
    }

    /// Asks a table of transports or commands for a user. An error settles the destination.
    pub fn by_user(&mut self, maps: &tables::Maps, state: &State, user: &str) -> Result<Option<String>, ()> {
        if maps.is_empty() {
            return Ok(None);
        }
        match maps.lookup(user) {
            Ok(hit) => Ok(hit.map(|h| h.value)),
            Err(e) => {
                say(self.tell, &TableTrouble { what: e.to_string() });
                let status = Status::new(Code(4, 3, 0), "mail system configuration error");
                self.done(state, status);
                Err(())
            }
        }
    }

    /// Another transport shall deliver it.
    pub fn pass_to(&mut self, state: &State, value: &str) {
        let (transport, nexthop) = value.split_once(':').unwrap_or((value, ""));
        self.passes.push(Pass {
            to: state.to.clone(),
            transport: transport.trim().into(),
            nexthop: nexthop.trim().into(),
        });
    }

    /// Nobody has that name.
    fn unknown(&mut self, state: &State) {
        let item = self.item(state);
        let lookups = self.set.lookups;
        match self.by_user(&lookups.fallback_transport, state, &item.user) {
            Err(()) => return,
            Ok(Some(value)) => return self.pass_to(state, &value),
            Ok(None) => {}
        }
        let fallback = self.set.params.fallback_transport();
        if !fallback.is_empty() {
            return self.pass_to(state, fallback);
        }
        let relay = &self.set.params.luser_relay().0;
        // A relay address that is unknown itself would lead here again.
        if !relay.is_empty() && self.first_time("luser_relay".into()) {
            match self.expand(relay, &item, None, None) {
                Ok(text) => {
                    let state = State { unmatched: None, ..state.clone() };
                    for token in tokens::parse(&text) {
                        if let Token::Address(text) = token {
                            self.address(&state, &text, state.via);
                        }
                    }
                }
                Err(what) => self.misconfigured(state, format!("parameter luser_relay: {what}")),
            }
            return;
        }
        if ["mailer-daemon", "postmaster", "double-bounce"].contains(&item.user.as_str()) {
            say(self.tell, &RequiredAlias { name: item.user });
            return self.done(state, Status::new(Code(2, 0, 0), "discarded"));
        }
        let text = format!("unknown user: \"{}\"", item.user);
        self.done(state, Status::new(Code(5, 1, 1), text));
    }

    /// The configuration is at fault: the mail waits until that is mended.
    pub fn misconfigured(&mut self, state: &State, what: String) {
        say(self.tell, &crate::events::BadParameter { what });
        self.done(state, Status::new(Code(4, 3, 5), "mail system configuration error"));
    }

    /// `$user $home …` in a parameter; characters that `filter` lacks become `_`.
    pub fn expand(
        &self,
        text: &str,
        item: &Item,
        rights: Option<&Rights>,
        filter: Option<&str>,
    ) -> Result<String, String> {
        let clean = |v: String| filter.map_or(v.clone(), |f| crate::command::filtered(&v, f));
        let mut value = |name: &str| {
            Some(clean(match name {
                "user" => item.user.clone(),
                "home" => rights.and_then(|r| r.home.as_ref()).map(|h| h.display().to_string())?,
                "shell" => rights.and_then(|r| r.shell.as_ref()).map(|h| h.display().to_string())?,
                "recipient" => item.to.internal(),
                "extension" => item.extension.clone()?,
                "domain" => item.to.domain().map(str::to_lowercase)?,
                "local" => item.local.clone(),
                "recipient_delimiter" => {
                    let used = item.local.get(item.user.len()..).and_then(|r| r.chars().next());
                    used.map_or_else(String::new, String::from)
                }
                _ => return None,
            }))
        };
        config::expand::expand_once(text, &mut value).map_err(|p| p.what)
    }

    /// A destination that an alias or file named.
    pub fn token(&mut self, state: &State, token: Token, via: Via) {
        match token {
            Token::Address(text) => self.address(state, &text, via),
            Token::Command(command) => self.command(state, &command, via),
            Token::File(path) => self.file(state, &path, via),
            Token::Include(path) => self.include(state, &path),
        }
    }

    /// An address found on the way: completed, and delivered here or sent on.
    pub fn address(&mut self, state: &State, text: &str, via: Via) {
        let extended = state.unmatched.as_ref().filter(|_| !text.is_empty()).map(|extension| {
            let delimiter: String = self.set.delimiter.chars().take(1).collect();
            let to = Address::from_internal(text);
            Address::new(format!("{}{delimiter}{extension}", to.local()), to.domain()).internal()
        });
        let text = extended.as_deref().unwrap_or(text);
        let transport = &self.mail.job.transport;
        let found = self.set.resolver.find(text, self.set.lookups, transport);
        let next = |to| State { to, level: state.level + 1, via, ..state.clone() };
        match found {
            Ok(Found::Ours(to)) => self.recipient(next(to)),
            Ok(Found::Elsewhere(to)) => self.send_on(&next(to)),
            Ok(Found::Bad(text)) => {
                let what = format!("bad recipient address syntax: {text}");
                self.done(state, Status::new(Code(5, 1, 3), what));
            }
            Err(e) => {
                // Whoever takes the new message in finds out, or waits until the table answers.
                say(self.tell, &TableTrouble { what: e.to_string() });
                self.send_on(&next(self.set.resolver.complete(text)));
            }
        }
    }

    /// Puts an address into a new message.
    pub fn send_on(&mut self, state: &State) {
        if !self.first_time(format!("indirect {}", state.to.internal().to_lowercase())) {
            return;
        }
        if self.mail.job.probe {
            let status = crate::actions::would(format!("forwards to {}", state.to));
            let mut line = self.line(state.to.clone(), status, Action::Delivered, None);
            if state.owner.is_some() {
                line.orig_to = state.to.to_string();
            }
            return self.lines.push(line);
        }
        let wanted = self.set.header_for.iter().any(|w| w == "forward");
        let delivered = state.delivered.as_ref().filter(|_| wanted).map(Address::to_string);
        let delivered_to = delivered.unwrap_or_default();
        let sender = state.owner.clone().unwrap_or_else(|| self.mail.job.sender.clone());
        let given = &self.target.recipient;
        let recipient = match state.owner {
            // The list is the end of the sender's interest. RFC 3461 5.2.7.3
            Some(_) => {
                Recipient { address: state.to.clone(), original: state.to.internal(), ..Recipient::default() }
            }
            None => Recipient {
                address: state.to.clone(),
                original: given.original.clone(),
                dsn_orcpt: given.dsn_orcpt.clone(),
                notify: self.notify,
            },
        };
        match self.forwards.iter_mut().find(|f| f.sender == sender && f.delivered_to == delivered_to) {
            Some(forward) => forward.recipients.push(recipient),
            None => self.forwards.push(Forward { sender, recipients: vec![recipient], delivered_to }),
        }
    }

    /// An alias was found: the sender who asked for success is told so, once. RFC 3461 5.2.7.3
    pub fn alias_expanded(&mut self, has_owner: bool) {
        if self.notify.success {
            let action = if has_owner { Action::Delivered } else { Action::Expanded };
            self.expanded = Some((action, Status::new(Code(2, 0, 0), "alias expanded")));
            self.notify.success = false;
            if self.notify == Notify::default() {
                self.notify.never = true;
            }
        }
    }

    /// The rights of a destination, or those of `default_privs`. An error settles it.
    pub fn rights(&mut self, state: &State) -> Option<Rights> {
        let rights = match &state.rights {
            Some(rights) if rights.uid != 0 => Ok(rights.clone()),
            _ => Rights::default_of(self.set.params.default_privs()),
        };
        match rights {
            Err(what) => {
                self.misconfigured(state, what);
                None
            }
            Ok(rights) => self.permitted(state, rights.uid).then_some(rights),
        }
    }

    /// Whether this process can act for `uid`; if not, the destination is settled.
    pub fn permitted(&mut self, state: &State, uid: u32) -> bool {
        match identity::refusal(uid) {
            None => true,
            Some(why) => {
                self.done(state, Status::new(Code(5, 7, 1), why));
                false
            }
        }
    }
}
