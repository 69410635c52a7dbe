//! A whole SMTP server session as a machine without sockets, clocks or waiting. RFC 5321.
//!
//! ```text
//! session.greet(reply);
//! session.receive(bytes);
//! while let Some(event) = session.next_event() { … session.answer(decision) … }
//! socket.write(session.output()); session.sent();
//! ```
//!
//! What the protocol alone decides (syntax, order, lengths, too many errors) is answered here and
//! never reaches the driver. An event that [`Event::wants_answer`] stops the machine until it is
//! answered, so replies keep the order of commands, and those of a pipelined group are written at
//! once. Not here: who may do what, which is the driver's, and time.

use super::chunk::{self, Chunks};
use super::command::{self, Allowed, Attributes, Mail, Rcpt, Refused, Verb};
use super::data::{BareNewline, Receiver, Step};
use super::reply::Reply;
use crate::Address;
use memchr::memchr;
use std::sync::Arc;

mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Extensions, Settings};

/// What happened, for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// HELO or EHLO.
    Helo {
        /// EHLO.
        extended: bool,
        /// The argument.
        name: String,
    },
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Rcpt),
    /// DATA, or the first BDAT: may content come?
    Data {
        /// BDAT.
        chunked: bool,
    },
    /// A piece of content: CRLF lines, unstuffed. No answer.
    Content(&'a [u8]),
    /// The content is complete; the answer says what became of the message.
    EndOfMessage {
        /// It came by BDAT.
        chunked: bool,
        /// Bytes of content.
        size: u64,
    },
    /// The transaction is over without result: forget it. No answer.
    Abort,
    /// VRFY: the text to repeat, the address.
    Vrfy(String, Address),
    /// ETRN: a domain.
    Etrn(String),
    /// XCLIENT, from a client that may.
    Xclient(Attributes),
    /// XFORWARD, from a client that may.
    Xforward(Attributes),
    /// Something for the log. No answer.
    Notice(Notice),
    /// The session ends once the output is written. No answer.
    Close(Reason),
}

impl Event<'_> {
    /// The machine waits for [`Session::answer`].
    pub fn wants_answer(&self) -> bool {
        !matches!(self, Event::Content(_) | Event::Abort | Event::Notice(_) | Event::Close(_))
    }
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Commands or data came before they might.
    Pipelining {
        /// The verb they followed.
        after: &'static str,
        /// The first of them, with control characters escaped.
        text: String,
    },
    /// The command was longer than `line_length_limit`.
    LongLine(String),
    /// `Illegal address syntax … in MAIL command`.
    IllegalAddress {
        /// The verb.
        verb: &'static str,
        /// What stood there.
        text: String,
    },
    /// Nonsense of `smtpd_forbidden_commands`, or what looks like a header.
    NonSmtp(String),
    /// BDAT could not be understood.
    MalformedBdat(String),
    /// BDAT 0 without LAST.
    NullBdat,
    /// BDAT announced more than `message_size_limit`.
    BigBdat,
    /// A bare LF in content (`smtpd_forbid_bare_newline = note` or `reject`).
    BareNewline,
    /// Keywords left out of the reply to EHLO.
    Discarding(String),
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// QUIT.
    Quit,
    /// `smtpd_hard_error_limit`.
    TooManyErrors,
    /// The machine or the driver ends it after its reply.
    Ended,
}

/// The driver's answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, with the usual reply.
    Accept,
    /// This reply; a positive one is a yes.
    Reply(Reply),
    /// This reply, and the session ends.
    Close(Reply),
}

#[derive(Debug, PartialEq, Eq)]
enum Pending {
    Helo { extended: bool },
    Mail { smtputf8: bool },
    Rcpt,
    Data,
    Bdat { size: u64, last: bool },
    EndOfMessage { chunked: bool },
    Vrfy(String),
    Etrn,
    Xclient,
    Xforward,
}

#[derive(Debug)]
enum Phase {
    Commands,
    Data(Receiver),
    /// A chunk is coming in.
    Chunk {
        last: bool,
        size: u64,
    },
    /// A chunk is thrown away and then answered so.
    Discard {
        left: u64,
        reply: Option<Reply>,
    },
    Closed,
}

/// What was found, without borrowing from the session.
enum Found {
    Event(Event<'static>),
    /// Content in the input between these places.
    Range(usize, usize),
    Static(&'static [u8]),
    Nothing,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    input: Vec<u8>,
    at: usize,
    /// Throwing away the rest of a line that was too long.
    skipping: bool,
    output: Vec<u8>,
    phase: Phase,
    pending: Option<(Verb, Pending)>,
    /// Told before anything else: close, abort, notices.
    queued: std::collections::VecDeque<Event<'static>>,
    helo: Option<bool>,
    in_mail: bool,
    smtputf8: bool,
    recipients: u64,
    overshoot: i64,
    chunks: Option<Chunks>,
    /// A chunk failed: only RSET, HELO and EHLO help.
    chunk_error: bool,
    errors: i64,
    junk: i64,
    pipelining_noted: bool,
    place: &'static str,
    counts: [(u32, u32); Verb::ALL.len()],
}

impl Session {
    /// A session that has not greeted yet.
    pub fn new(settings: Settings) -> Session {
        Session {
            settings,
            input: Vec::new(),
            at: 0,
            skipping: false,
            output: Vec::new(),
            phase: Phase::Commands,
            pending: None,
            queued: Default::default(),
            helo: None,
            in_mail: false,
            smtputf8: false,
            recipients: 0,
            overshoot: 0,
            chunks: None,
            chunk_error: false,
            errors: 0,
            junk: 0,
            pipelining_noted: false,
            place: "CONNECT",
            counts: Default::default(),
        }
    }

    /// Says the greeting, or a refusal to serve.
    pub fn greet(&mut self, reply: &Reply) {
        reply.render(&mut self.output);
    }

    /// Says a last word that no command asked for, such as 421, and ends the session.
    pub fn end(&mut self, reply: &Reply) {
        reply.render(&mut self.output);
        self.phase = Phase::Closed;
    }

    /// Takes bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.read_buffer(0).extend_from_slice(bytes);
    }

    /// Where the driver may append what it reads from the client: room for `want` more bytes.
    pub fn read_buffer(&mut self, want: usize) -> &mut Vec<u8> {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        if self.input.is_empty() && self.input.capacity() > want.max(4096) {
            self.input = Vec::new();
        }
        self.input.reserve(want);
        &mut self.input
    }

    /// Gives back the memory of empty buffers: for a session that waits.
    pub fn shrink(&mut self) {
        if self.at == self.input.len() {
            (self.input, self.at) = (Vec::new(), 0);
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }

    /// What is to be written to the client.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// It was written.
    pub fn sent(&mut self) {
        self.output.clear();
    }

    /// The settings; some change after XCLIENT.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Nothing more is read or answered.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Content is coming in.
    pub fn in_content(&self) -> bool {
        matches!(self.phase, Phase::Data(_) | Phase::Chunk { .. } | Phase::Discard { .. })
    }

    /// Errors since the start, or since the last message was accepted.
    pub fn errors(&self) -> i64 {
        self.errors
    }

    /// Where the session stands, as `lost connection after …` says it.
    pub fn place(&self) -> String {
        match &self.phase {
            Phase::Data(data) => format!("{} ({} bytes)", self.place, data.size()),
            Phase::Chunk { .. } => {
                format!("{} ({} bytes)", self.place, self.chunks.as_ref().map_or(0, Chunks::size))
            }
            _ => self.place.to_string(),
        }
    }

    /// The same without a count of bytes.
    pub fn verb(&self) -> &'static str {
        self.place
    }

    /// ESMTP was chosen by EHLO.
    pub fn extended(&self) -> bool {
        self.helo == Some(true)
    }

    /// `ehlo=1 mail=3 rcpt=4/5 commands=8/9`, as the disconnect line has it.
    pub fn counts(&self) -> String {
        let (mut out, mut good, mut all) = (String::new(), 0, 0);
        let show = |name: &str, g: u32, t: u32| {
            if g == t && t > 0 { format!("{name}={g}") } else { format!("{name}={g}/{t}") }
        };
        for (verb, &(g, t)) in Verb::ALL.iter().zip(&self.counts).filter(|(_, (_, t))| *t > 0) {
            out.push_str(&show(&verb.name().to_ascii_lowercase(), g, t));
            out.push(' ');
            good += g;
            all += t;
        }
        out + &show("commands", good, all)
    }

    /// The next event; `None` when more input, or an answer, is needed.
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        let found = loop {
            if let Some(event) = self.queued.pop_front() {
                break Found::Event(event);
            }
            if self.pending.is_some() {
                break Found::Nothing;
            }
            let found = match self.phase {
                Phase::Closed => break Found::Nothing,
                Phase::Commands => self.command(),
                Phase::Discard { .. } => self.discard(),
                Phase::Data(_) | Phase::Chunk { .. } => self.content(),
            };
            match found {
                None => continue,
                Some(found) => break found,
            }
        };
        match found {
            Found::Event(event) => Some(event),
            Found::Range(from, to) => Some(Event::Content(&self.input[from..to])),
            Found::Static(text) => Some(Event::Content(text)),
            Found::Nothing => None,
        }
    }

    /// The answer to the event that waits for one.
    pub fn answer(&mut self, decision: Decision) {
        let Some((verb, pending)) = self.pending.take() else { return };
        let (reply, close) = match decision {
            Decision::Accept => (None, false),
            Decision::Reply(reply) => (Some(reply), false),
            Decision::Close(reply) => (Some(reply), true),
        };
        let good = reply.as_ref().is_none_or(Reply::is_positive) && !close;
        match pending {
            Pending::Helo { extended } if good => {
                self.helo = Some(extended);
                let usual =
                    if extended { self.ehlo_reply() } else { Reply::new(250, &*self.settings.hostname) };
                self.say(reply.unwrap_or(usual));
            }
            Pending::Mail { smtputf8 } if good => {
                (self.in_mail, self.smtputf8) = (true, smtputf8);
                self.say(reply.unwrap_or_else(|| Reply::new(250, "2.1.0 Ok")));
            }
            Pending::Rcpt if good => {
                self.recipients += 1;
                self.say(reply.unwrap_or_else(|| Reply::new(250, "2.1.5 Ok")));
            }
            Pending::Data if good => {
                self.phase = Phase::Data(Receiver::data(self.settings.bare_newline));
                self.say(reply.unwrap_or_else(|| Reply::new(354, "End data with <CR><LF>.<CR><LF>")));
                return; // counted when the content has come
            }
            Pending::Bdat { size, last } if good => {
                self.chunks = Some(Chunks::new(self.settings.bare_newline));
                self.begin_chunk(size, last);
                return;
            }
            Pending::Bdat { size, .. } => {
                let reply = reply.unwrap_or_else(|| Reply::new(451, "4.3.0 Error: queue file write error"));
                self.drop_chunks();
                self.phase = Phase::Discard { left: size, reply: Some(reply) };
                if close {
                    self.close(Reason::Ended);
                }
                return;
            }
            Pending::EndOfMessage { .. } => {
                self.say(reply.unwrap_or_else(|| Reply::new(250, "2.0.0 Ok")));
                self.reset_transaction();
                self.place = "END-OF-MESSAGE";
                if good {
                    (self.errors, self.junk) = (0, 0);
                }
            }
            Pending::Vrfy(text) if good => {
                self.say(reply.unwrap_or_else(|| Reply::new(252, format!("2.0.0 {text}"))));
            }
            Pending::Xclient if good => {
                self.helo = None;
                self.reset_transaction();
                let usual = || Reply::new(220, &*self.settings.hostname);
                let reply = reply.unwrap_or_else(usual);
                self.say(reply);
                self.count(verb, false);
                return;
            }
            Pending::Etrn | Pending::Xforward if good => {
                self.say(reply.unwrap_or_else(|| Reply::new(250, "2.0.0 Ok")));
            }
            _ => {
                if let Some(reply) = reply {
                    self.say(reply);
                }
            }
        }
        self.done(verb, good);
        if close {
            self.close(Reason::Ended);
        }
    }

    // ---- commands

    fn command(&mut self) -> Option<Found> {
        if self.skipping {
            let end = memchr(b'\n', &self.input[self.at..]);
            self.at = end.map_or(self.input.len(), |end| self.at + end + 1);
            self.skipping = end.is_none();
            if self.skipping {
                return Some(Found::Nothing);
            }
        }
        let unread = &self.input[self.at..];
        let limit = self.settings.line_limit.max(1);
        let (mut line, used, long) = match memchr(b'\n', &unread[..unread.len().min(limit + 1)]) {
            Some(end) => (&unread[..end], end + 1, false),
            None if unread.len() > limit => (&unread[..limit], limit, true),
            None => return Some(Found::Nothing),
        };
        while let [head @ .., b'\r'] = line {
            line = head;
        }
        // A byte 0 ends the line, as it does in Postfix.
        if let Some(end) = memchr(0, line) {
            line = &line[..end];
        }
        let text = match std::str::from_utf8(line) {
            Ok(text) => Ok(text.to_string()),
            // A character cut by the limit is no fault of the client's.
            Err(e) if long && e.error_len().is_none() => {
                Ok(String::from_utf8_lossy(&line[..e.valid_up_to()]).into_owned())
            }
            Err(_) if self.settings.smtputf8 => Err(()),
            Err(_) => Ok(line.iter().map(|&b| if b.is_ascii() { char::from(b) } else { '?' }).collect()),
        };
        self.at += used;
        self.skipping = long;
        if long {
            let start: String = text.as_deref().unwrap_or("").chars().take(30).collect();
            self.note(Notice::LongLine(start));
        }
        let Ok(text) = text else {
            self.say(Reply::new(500, "5.5.2 Error: bad UTF-8 syntax"));
            self.fault();
            return None;
        };
        self.obey(&text);
        None
    }

    fn obey(&mut self, line: &str) {
        let line = line.trim_matches([' ', '\t']);
        let (word, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if word.is_empty() {
            self.say(Reply::new(500, "5.5.2 Error: bad syntax"));
            return self.fault();
        }
        if self.settings.noop_commands.iter().any(|w| w.eq_ignore_ascii_case(word)) {
            self.say(Reply::new(250, "2.0.0 Ok"));
            self.junk += 1;
            if self.junk > self.settings.junk_limit {
                self.fault();
            }
            return;
        }
        let verb = Verb::of(word);
        self.place = verb.name();
        if verb == Verb::Unknown {
            let header = crate::header::name_len(word.as_bytes()).is_some();
            if header || (self.settings.forbidden)(word) {
                self.note(Notice::NonSmtp(line.to_string()));
                self.say(Reply::new(221, "2.7.0 Error: I can break rules, too. Goodbye."));
                self.count(verb, false);
                return self.close(Reason::Ended);
            }
            return self.refuse(verb, Reply::new(500, "5.5.2 Error: command not recognized"));
        }
        if let Some(reply) = self.settings.denied.clone().filter(|_| verb != Verb::Quit) {
            return self.refuse(verb, reply);
        }
        if self.out_of_turn(verb) {
            return;
        }
        if verb.is_junk() {
            self.junk += 1;
            if self.junk > self.settings.junk_limit {
                self.errors += 1;
            }
        }
        match verb {
            Verb::Helo | Verb::Ehlo => self.helo(verb, arguments),
            Verb::Mail => self.mail(arguments),
            Verb::Rcpt => self.rcpt(arguments),
            Verb::Data => self.data(arguments),
            Verb::Bdat => self.bdat(line, arguments),
            Verb::Rset if !arguments.trim().is_empty() => {
                self.refuse(verb, Reply::new(501, "5.5.4 Syntax: RSET"));
            }
            Verb::Rset => {
                self.abort();
                self.accept(verb, Reply::new(250, "2.0.0 Ok"));
            }
            Verb::Noop => self.accept(verb, Reply::new(250, "2.0.0 Ok")),
            Verb::Quit => {
                self.accept(verb, Reply::new(221, "2.0.0 Bye"));
                self.close(Reason::Quit);
            }
            Verb::Vrfy => self.vrfy(arguments),
            Verb::Etrn => self.etrn(arguments),
            Verb::Xclient | Verb::Xforward => self.extension(verb, arguments),
            // Neither is offered yet; the replies are those of a server that has none.
            Verb::Starttls => self.refuse(verb, Reply::new(502, "5.5.1 Error: command not implemented")),
            Verb::Auth => self.refuse(verb, Reply::new(503, "5.5.1 Error: authentication not enabled")),
            Verb::Unknown => {}
        }
    }

    /// Notes a client that did not wait for its turn; true when that ends the session.
    fn out_of_turn(&mut self, verb: Verb) -> bool {
        let waits = verb.ends_group() || self.helo != Some(true) && verb != Verb::Quit;
        let early = &self.input[self.at..];
        // Chunk data may follow its command at once.
        if early.is_empty() || !waits || verb == Verb::Bdat && self.helo == Some(true) {
            return false;
        }
        if !self.pipelining_noted {
            self.pipelining_noted = true;
            let text = String::from_utf8_lossy(&early[..early.len().min(100)]);
            let mut shown = String::new();
            for c in text.chars() {
                match c {
                    '\r' => shown.push_str("\\r"),
                    '\n' => shown.push_str("\\n"),
                    '\t' => shown.push_str("\\t"),
                    '\\' => shown.push_str("\\\\"),
                    c if c.is_control() => shown.push_str(&format!("\\{:03o}", u32::from(c))),
                    c => shown.push(c),
                }
            }
            self.note(Notice::Pipelining { after: verb.name(), text: shown });
        }
        if !self.settings.forbid_unauth_pipelining {
            return false;
        }
        self.say(Reply::new(554, "5.5.0 Error: SMTP protocol synchronization"));
        self.count(verb, false);
        self.close(Reason::Ended);
        true
    }

    fn helo(&mut self, verb: Verb, arguments: &str) {
        let name = arguments.split([' ', '\t']).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        if name.is_empty() {
            return self.refuse(verb, Reply::new(501, format!("Syntax: {} hostname", verb.name())));
        }
        self.abort();
        let extended = verb == Verb::Ehlo;
        self.ask(verb, Pending::Helo { extended }, Event::Helo { extended, name });
    }

    fn mail(&mut self, arguments: &str) {
        let reply = match () {
            () if self.helo_missing() => Reply::new(503, "5.5.1 Error: send HELO/EHLO first"),
            () if self.in_mail => Reply::new(503, "5.5.1 Error: nested MAIL command"),
            () if self.chunk_error => Reply::new(503, "5.5.1 Error: MAIL after BDAT"),
            () => {
                return match command::mail(arguments, self.allowed()) {
                    Ok(mail) => {
                        let smtputf8 = mail.smtputf8;
                        self.ask(Verb::Mail, Pending::Mail { smtputf8 }, Event::Mail(mail));
                    }
                    Err(refused) => self.refuse_arguments(Verb::Mail, refused),
                };
            }
        };
        self.refuse(Verb::Mail, reply);
    }

    fn rcpt(&mut self, arguments: &str) {
        let reply = match () {
            () if !self.in_mail => Reply::new(503, "5.5.1 Error: need MAIL command"),
            () if self.chunks.is_some() || self.chunk_error => {
                Reply::new(503, "5.5.1 Error: RCPT after BDAT")
            }
            () => match command::rcpt(arguments, self.allowed(), self.smtputf8) {
                Err(refused) => return self.refuse_arguments(Verb::Rcpt, refused),
                Ok(_) if self.recipients >= self.settings.recipient_limit => {
                    self.say(Reply::new(452, "4.5.3 Error: too many recipients"));
                    self.count(Verb::Rcpt, false);
                    self.overshoot += 1;
                    if self.overshoot > self.settings.recipient_overshoot_limit {
                        self.fault();
                    }
                    return;
                }
                Ok(rcpt) => return self.ask(Verb::Rcpt, Pending::Rcpt, Event::Rcpt(rcpt)),
            },
        };
        self.refuse(Verb::Rcpt, reply);
    }

    fn no_recipients(&self) -> Option<Reply> {
        (self.recipients == 0).then(|| match self.in_mail {
            true => Reply::new(554, "5.5.1 Error: no valid recipients"),
            false => Reply::new(503, "5.5.1 Error: need RCPT command"),
        })
    }

    fn data(&mut self, arguments: &str) {
        if self.chunks.is_some() || self.chunk_error {
            return self.refuse(Verb::Data, Reply::new(503, "5.5.1 Error: DATA after BDAT"));
        }
        if let Some(reply) = self.no_recipients() {
            return self.refuse(Verb::Data, reply);
        }
        if !arguments.trim().is_empty() {
            return self.refuse(Verb::Data, Reply::new(501, "5.5.4 Syntax: DATA"));
        }
        self.ask(Verb::Data, Pending::Data, Event::Data { chunked: false });
    }

    fn bdat(&mut self, line: &str, arguments: &str) {
        if !self.offers().chunking {
            return self.refuse(Verb::Bdat, Reply::new(502, "5.5.1 Error: command not implemented"));
        }
        let Some(bdat) = chunk::arguments(arguments) else {
            // Chunk data cannot be told from commands now.
            self.note(Notice::MalformedBdat(line.to_string()));
            self.say(Reply::new(521, "5.5.4 Syntax: BDAT count [LAST]"));
            self.count(Verb::Bdat, false);
            return self.close(Reason::Ended);
        };
        if bdat.size == 0 && !bdat.last {
            self.note(Notice::NullBdat);
            self.drop_chunks();
            return self.refuse(Verb::Bdat, Reply::new(551, "5.7.1 Null BDAT request"));
        }
        let so_far = self.chunks.as_ref().map_or(0, Chunks::announced);
        let limit = self.settings.size_limit;
        let refusal = if self.chunk_error {
            Some(Reply::new(551, format!("5.0.0 Discarded {} bytes after earlier error", bdat.size)))
        } else if let Some(reply) = self.no_recipients() {
            Some(reply)
        } else if limit > 0 && so_far.saturating_add(bdat.size) > limit {
            self.note(Notice::BigBdat);
            Some(Reply::new(552, "5.3.4 Chunk exceeds message size limit"))
        } else {
            None
        };
        match refusal {
            Some(reply) => {
                self.drop_chunks();
                self.phase = Phase::Discard { left: bdat.size, reply: Some(reply) };
            }
            None if self.chunks.is_some() => self.begin_chunk(bdat.size, bdat.last),
            None => {
                let pending = Pending::Bdat { size: bdat.size, last: bdat.last };
                self.ask(Verb::Bdat, pending, Event::Data { chunked: true });
            }
        }
    }

    /// The message cannot be completed; what chunks follow are thrown away.
    fn drop_chunks(&mut self) {
        self.abort();
        self.chunk_error = true;
    }

    fn begin_chunk(&mut self, size: u64, last: bool) {
        if let Some(chunks) = self.chunks.as_mut() {
            chunks.begin(size);
            self.phase = Phase::Chunk { last, size };
        }
    }

    fn vrfy(&mut self, arguments: &str) {
        if self.settings.disable_vrfy {
            return self.refuse(Verb::Vrfy, Reply::new(502, "5.5.1 VRFY command is disabled"));
        }
        if self.helo_missing() {
            return self.refuse(Verb::Vrfy, Reply::new(503, "5.5.1 Error: send HELO/EHLO first"));
        }
        match command::vrfy(arguments, self.allowed()) {
            Ok((text, address)) => {
                self.ask(Verb::Vrfy, Pending::Vrfy(text.clone()), Event::Vrfy(text, address));
            }
            Err(refused) => self.refuse_arguments(Verb::Vrfy, refused),
        }
    }

    fn etrn(&mut self, arguments: &str) {
        if self.helo_missing() {
            return self.refuse(Verb::Etrn, Reply::new(503, "Error: send HELO/EHLO first"));
        }
        if self.in_mail {
            return self.refuse(Verb::Etrn, Reply::new(503, "Error: MAIL transaction in progress"));
        }
        match command::etrn(arguments) {
            Ok(domain) => self.ask(Verb::Etrn, Pending::Etrn, Event::Etrn(domain)),
            Err(reply) => self.refuse(Verb::Etrn, reply),
        }
    }

    fn extension(&mut self, verb: Verb, arguments: &str) {
        let (may, known, pending) = match verb {
            Verb::Xclient => (self.settings.xclient, command::XCLIENT, Pending::Xclient),
            _ => (self.settings.xforward, command::XFORWARD, Pending::Xforward),
        };
        if self.in_mail {
            return self.refuse(verb, Reply::new(503, "5.5.1 Error: MAIL transaction in progress"));
        }
        if !may {
            return self.refuse(verb, Reply::new(550, "5.7.0 Error: insufficient authorization"));
        }
        match command::attributes(verb.name(), known, arguments) {
            Ok(attributes) => {
                let event = match verb {
                    Verb::Xclient => Event::Xclient(attributes),
                    _ => Event::Xforward(attributes),
                };
                self.ask(verb, pending, event);
            }
            Err(reply) => self.refuse(verb, reply),
        }
    }

    // ---- content

    fn content(&mut self) -> Option<Found> {
        let (from, chunked) = (self.at, matches!(self.phase, Phase::Chunk { .. }));
        let input = &self.input[from..];
        let (used, step, bare) = match (&mut self.phase, &mut self.chunks) {
            (Phase::Data(data), _) => {
                let (used, step) = data.next(input);
                (used, step, data.saw_bare_newline())
            }
            (Phase::Chunk { .. }, Some(chunks)) => {
                let (used, step) = chunks.next(input);
                (used, step, chunks.saw_bare_newline())
            }
            _ => return Some(Found::Nothing),
        };
        let found = match step {
            Step::Text(text) => Some(Found::Range(from + used - text.len(), from + used)),
            Step::Added(text) => Some(Found::Static(text)),
            Step::More => Some(Found::Nothing),
            Step::End => None,
        };
        self.at += used;
        if bare && self.settings.bare_newline == BareNewline::Reject {
            self.note(Notice::BareNewline);
            let code = self.settings.bare_newline_code;
            self.say(Reply::new(code, "5.5.2 Error: bare <LF> received"));
            self.count(if chunked { Verb::Bdat } else { Verb::Data }, false);
            self.abort();
            self.close(Reason::Ended);
            return None;
        }
        if found.is_none() {
            if bare && self.settings.bare_newline == BareNewline::Note {
                self.note(Notice::BareNewline);
            }
            self.end_content();
        }
        found
    }

    fn end_content(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Commands) {
            Phase::Data(data) => {
                let event = Event::EndOfMessage { chunked: false, size: data.size() };
                self.ask(Verb::Data, Pending::EndOfMessage { chunked: false }, event);
            }
            Phase::Chunk { last: false, size } => {
                self.accept(Verb::Bdat, Reply::new(250, format!("2.0.0 Ok: {size} bytes")));
            }
            Phase::Chunk { last: true, .. } => {
                let Some(mut chunks) = self.chunks.take() else { return };
                let tail = chunks.finish();
                if !tail.is_empty() {
                    self.queued.push_back(Event::Content(tail));
                }
                let event = Event::EndOfMessage { chunked: true, size: chunks.size() };
                self.ask(Verb::Bdat, Pending::EndOfMessage { chunked: true }, event);
            }
            phase => self.phase = phase,
        }
    }

    fn discard(&mut self) -> Option<Found> {
        let Phase::Discard { left, reply } = &mut self.phase else { return None };
        let have = self.input.len() - self.at;
        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(have);
        self.at += take;
        *left -= take as u64;
        if *left > 0 {
            return Some(Found::Nothing);
        }
        let reply = reply.take();
        self.phase = Phase::Commands;
        if let Some(reply) = reply {
            self.refuse(Verb::Bdat, reply);
        }
        None
    }

    // ---- small things

    fn allowed(&self) -> Allowed {
        let offers = self.offers();
        Allowed {
            strict: self.settings.strict_rfc821_envelopes,
            dsn: offers.dsn,
            smtputf8: offers.smtputf8,
            size: offers.size,
            eight_bit: offers.eight_bit_mime,
        }
    }

    fn offers(&self) -> Extensions {
        let mut offers = self.settings.extensions;
        offers.smtputf8 &= self.settings.smtputf8;
        offers
    }

    fn ehlo_reply(&mut self) -> Reply {
        if let Some(words) = self.settings.discarding.clone() {
            self.note(Notice::Discarding(words));
        }
        let (s, offers) = (&self.settings, self.offers());
        let mut text = s.hostname.to_string();
        let mut line = |wanted: bool, words: &str| {
            if wanted {
                text.push('\n');
                text.push_str(words);
            }
        };
        line(offers.pipelining, "PIPELINING");
        let size = if s.size_limit > 0 { format!("SIZE {}", s.size_limit) } else { "SIZE".to_string() };
        line(offers.size, &size);
        line(offers.vrfy && !s.disable_vrfy, "VRFY");
        line(offers.etrn, "ETRN");
        line(offers.xclient && s.xclient, &format!("XCLIENT {}", command::XCLIENT.join(" ")));
        line(offers.xforward && s.xforward, &format!("XFORWARD {}", command::XFORWARD.join(" ")));
        line(offers.enhanced_status_codes, "ENHANCEDSTATUSCODES");
        line(offers.eight_bit_mime, "8BITMIME");
        line(offers.dsn, "DSN");
        line(offers.smtputf8, "SMTPUTF8");
        line(offers.chunking, "CHUNKING");
        Reply::new(250, text)
    }

    fn helo_missing(&self) -> bool {
        self.settings.helo_required && self.helo.is_none()
    }

    fn ask(&mut self, verb: Verb, pending: Pending, event: Event<'static>) {
        self.pending = Some((verb, pending));
        self.queued.push_back(event);
    }

    fn note(&mut self, notice: Notice) {
        self.queued.push_back(Event::Notice(notice));
    }

    fn say(&mut self, reply: Reply) {
        reply.render(&mut self.output);
    }

    fn accept(&mut self, verb: Verb, reply: Reply) {
        self.say(reply);
        self.done(verb, true);
    }

    fn refuse(&mut self, verb: Verb, reply: Reply) {
        self.say(reply);
        self.done(verb, false);
    }

    fn refuse_arguments(&mut self, verb: Verb, refused: Refused) {
        if let Some(text) = refused.address {
            self.note(Notice::IllegalAddress { verb: verb.name(), text });
        }
        self.refuse(verb, refused.reply);
    }

    fn count(&mut self, verb: Verb, good: bool) {
        if let Some((g, t)) = self.counts.get_mut(verb as usize) {
            *g += u32::from(good);
            *t += 1;
        }
    }

    fn done(&mut self, verb: Verb, good: bool) {
        self.count(verb, good);
        if !good {
            self.errors += 1;
        }
        self.check_errors();
    }

    fn fault(&mut self) {
        self.errors += 1;
        self.check_errors();
    }

    fn check_errors(&mut self) {
        if self.errors >= self.settings.hard_error_limit && !matches!(self.phase, Phase::Closed) {
            let text = format!("4.7.0 {} Error: too many errors", self.settings.hostname);
            self.say(Reply::new(421, text));
            self.close(Reason::TooManyErrors);
        }
    }

    fn close(&mut self, reason: Reason) {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            self.queued.push_back(Event::Close(reason));
        }
    }

    /// Ends the transaction, and says so if there was one.
    fn abort(&mut self) {
        if self.in_mail {
            self.queued.push_back(Event::Abort);
        }
        self.reset_transaction();
    }

    fn reset_transaction(&mut self) {
        (self.in_mail, self.smtputf8, self.recipients, self.overshoot) = (false, false, 0, 0);
        (self.chunks, self.chunk_error) = (None, false);
    }
}

/// Whether a word is forbidden (`smtpd_forbidden_commands`).
pub type WordTest = Arc<dyn Fn(&str) -> bool + Send + Sync>;
