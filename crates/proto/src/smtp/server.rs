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

use super::chunk::Chunks;
use super::command::{self, Allowed, Attributes, Mail, Rcpt, Refused, Verb};
use super::data::Receiver;
use super::reply::Reply;
use crate::Address;
use std::fmt::Write;
use std::sync::Arc;

mod auth;
mod commands;
mod content;
mod settings;
#[cfg(test)]
mod tests;
mod transcript;

pub use settings::{Auth, Extensions, Footer, Gate, LineFilter, Settings, Starttls};
pub use transcript::{Faults, Transcript};

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
    /// A command that nobody knows, where the settings ask for it: a yes is the usual refusal.
    Unknown(String),
    /// STARTTLS: may encryption begin? After a yes the machine takes nothing until
    /// [`Session::encrypted`] tells how the handshake went.
    StartTls,
    /// AUTH: a client wants to log in. Answered by 334 (a response follows), by a yes (it is logged in),
    /// or by a refusal. RFC 4954 4.
    Auth {
        /// As the client wrote it.
        mechanism: String,
        /// The initial response, if there is one, in base64 (`=` for an empty one).
        initial: Option<String>,
    },
    /// What the client says to the challenge of a 334, in base64. Answered like AUTH.
    AuthResponse(String),
    /// Something for the log. No answer.
    Notice(Notice),
    /// The postmaster wants to hear of this part of the session, which goes on. No answer.
    Transcript(Transcript),
    /// The session ends once the output is written. No answer.
    Close(Reason),
}

impl Event<'_> {
    /// The machine waits for [`Session::answer`].
    pub fn wants_answer(&self) -> bool {
        !matches!(
            self,
            Event::Content(_) | Event::Abort | Event::Notice(_) | Event::Transcript(_) | Event::Close(_)
        )
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
    /// The command was longer than `line_length_limit`, or a response of a login than
    /// `smtpd_sasl_response_limit`.
    LongLine {
        /// Which is this much.
        limit: usize,
        /// How it began.
        text: String,
    },
    /// The client gave up its login (`*`), or its response was too long: forget the login.
    AuthAborted {
        /// The client's doing.
        given_up: bool,
    },
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
    /// `smtpd_command_filter` put a line in the place of another.
    Replaced {
        /// What the client said.
        line: String,
        /// What is read instead.
        by: String,
    },
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
    Unknown,
    StartTls,
    Auth,
}

#[derive(Debug)]
enum Phase {
    Commands,
    /// A response to a challenge is awaited.
    Auth,
    /// The driver encrypts the connection.
    Handshake,
    Data(Receiver),
    /// A chunk is coming in.
    Chunk {
        last: bool,
        size: u64,
    },
    /// A chunk is thrown away and then answered so.
    Discard {
        left: u64,
        last: bool,
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
    /// The last command, when the settings keep it.
    line: String,
    helo: Option<bool>,
    encrypted: bool,
    logged_in: bool,
    in_mail: bool,
    smtputf8: bool,
    recipients: u64,
    /// SIZE of this transaction's first MAIL, accepted or not: it holds until the next one or RSET.
    declared: u64,
    overshoot: i64,
    chunks: Option<Chunks>,
    /// A chunk failed: only RSET, HELO and EHLO help.
    chunk_error: bool,
    errors: i64,
    junk: i64,
    pipelining_noted: bool,
    place: &'static str,
    /// How many bytes of content had come when the session broke off within it.
    interrupted: Option<u64>,
    transcript: Transcript,
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
            line: String::new(),
            helo: None,
            encrypted: false,
            logged_in: false,
            in_mail: false,
            smtputf8: false,
            recipients: 0,
            declared: 0,
            overshoot: 0,
            chunks: None,
            chunk_error: false,
            errors: 0,
            junk: 0,
            pipelining_noted: false,
            place: "CONNECT",
            interrupted: None,
            transcript: Transcript::default(),
            counts: Default::default(),
        }
    }

    /// Says the greeting, or a refusal to serve.
    pub fn greet(&mut self, reply: &Reply) {
        self.write(reply);
    }

    /// Says a last word that no command asked for, such as 421, and ends the session.
    pub fn end(&mut self, reply: &Reply) {
        self.write(reply);
        self.break_off();
        self.phase = Phase::Closed;
    }

    /// The client is gone, or will not be listened to: content that is coming in stays unfinished,
    /// and the command that began it counts as failed.
    pub fn break_off(&mut self) {
        let verb = match &self.phase {
            Phase::Data(data) => {
                self.interrupted = Some(data.whole_lines());
                Verb::Data
            }
            Phase::Chunk { .. } => {
                self.interrupted = Some(self.chunks.as_ref().map_or(0, Chunks::size));
                Verb::Bdat
            }
            Phase::Discard { .. } => Verb::Bdat,
            Phase::Auth => Verb::Auth,
            _ => return,
        };
        self.count(verb, false);
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

    /// The driver shall write the output, encrypt the connection and say so by
    /// [`Session::encrypted`].
    pub fn wants_handshake(&self) -> bool {
        matches!(self.phase, Phase::Handshake)
    }

    /// The connection is encrypted from its beginning, as on port 465. RFC 8314 3.3
    pub fn begin_encrypted(&mut self) {
        self.encrypted = true;
    }

    /// The handshake is over. A good one begins a fresh session (RFC 3207 4.2); after another nothing
    /// is listened to.
    pub fn encrypted(&mut self, good: bool) {
        if !self.wants_handshake() {
            return;
        }
        self.count(Verb::Starttls, good);
        (self.encrypted, self.helo, self.logged_in) = (good, None, false);
        (self.input, self.at, self.skipping) = (Vec::new(), 0, false);
        self.phase = if good { Phase::Commands } else { Phase::Closed };
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

    /// Whether somebody has logged in, where the driver knows it from elsewhere (XCLIENT).
    pub fn suppose_login(&mut self, logged_in: bool) {
        self.logged_in = logged_in;
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
        let bytes = match &self.phase {
            Phase::Data(data) => Some(data.whole_lines()),
            Phase::Chunk { .. } => Some(self.chunks.as_ref().map_or(0, Chunks::size)),
            _ => self.interrupted,
        };
        bytes.map_or_else(|| self.place.to_string(), |bytes| format!("{} ({bytes} bytes)", self.place))
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
        let (mut out, mut good, mut all) = (String::with_capacity(64), 0, 0);
        let show = |out: &mut String, name: &str, g: u32, t: u32| {
            out.extend(name.chars().map(|c| c.to_ascii_lowercase()));
            let _ = if g == t && t > 0 { write!(out, "={g}") } else { write!(out, "={g}/{t}") };
        };
        for (verb, &(g, t)) in Verb::ALL.iter().zip(&self.counts).filter(|(_, (_, t))| *t > 0) {
            show(&mut out, verb.name(), g, t);
            out.push(' ');
            good += g;
            all += t;
        }
        show(&mut out, "commands", good, all);
        out
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
                Phase::Closed | Phase::Handshake => break Found::Nothing,
                Phase::Commands => self.command(),
                Phase::Auth => self.auth_response(),
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

    /// The last command as it came, when the settings keep it; else empty.
    pub fn line(&self) -> &str {
        &self.line
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
                self.helo = Some(extended || self.helo == Some(true));
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
            Pending::Bdat { size, last } => {
                let reply = reply.unwrap_or_else(|| Reply::new(451, "4.3.0 Error: queue file write error"));
                self.drop_chunks();
                self.phase = Phase::Discard { left: size, last, reply: Some(reply) };
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
                    self.transcript.faults = Faults::NONE;
                }
                self.flush_transcript(true);
            }
            Pending::Vrfy(text) if good => {
                self.say(reply.unwrap_or_else(|| Reply::new(252, format!("2.0.0 {text}"))));
            }
            Pending::Auth if reply.as_ref().is_some_and(|r| r.code == 334) => {
                self.phase = Phase::Auth;
                reply.into_iter().for_each(|reply| self.say(reply));
                return; // counted when the login is over
            }
            Pending::Auth if good => {
                self.logged_in = true;
                self.say(reply.unwrap_or_else(|| Reply::new(235, "2.7.0 Authentication successful")));
            }
            Pending::Xclient if good => {
                self.helo = None;
                self.reset_transaction();
                self.flush_transcript(false);
                let usual = || Reply::new(220, &*self.settings.hostname);
                let reply = reply.unwrap_or_else(usual);
                self.say(reply);
                self.count(verb, false);
                return;
            }
            Pending::StartTls if good => {
                self.abort();
                self.flush_transcript(false);
                self.say(reply.unwrap_or_else(|| Reply::new(220, "2.0.0 Ready to start TLS")));
                // What came before the handshake was said by anybody (RFC 3207 4, CVE-2011-0411).
                (self.input, self.at) = (Vec::new(), 0);
                self.phase = Phase::Handshake;
                return; // counted when the handshake is over
            }
            Pending::Etrn | Pending::Xforward if good => {
                self.say(reply.unwrap_or_else(|| Reply::new(250, "2.0.0 Ok")));
            }
            Pending::Unknown => {
                self.say(reply.unwrap_or_else(commands::not_recognized));
                self.blame(Faults::PROTOCOL);
                self.done(verb, false);
                if close {
                    self.close(Reason::Ended);
                }
                return;
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

    fn allowed(&self) -> Allowed {
        let offers = self.offers();
        Allowed {
            strict: self.settings.strict_rfc821_envelopes,
            dsn: offers.dsn,
            smtputf8: offers.smtputf8,
            size: offers.size,
            eight_bit: offers.eight_bit_mime,
            verp: offers.verp && self.settings.verp,
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
        let mut text = String::with_capacity(256);
        text.push_str(&s.hostname);
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
        let starttls = offers.starttls && s.starttls != Starttls::Absent && !self.encrypted;
        line(starttls, "STARTTLS");
        if let Some(auth) = self.auth().filter(|auth| !auth.offered.is_empty()) {
            line(true, &format!("AUTH {}", auth.offered));
            line(auth.old_syntax, &format!("AUTH={}", auth.offered));
        }
        line(offers.verp && s.verp, "XVERP");
        if offers.xclient && s.xclient {
            line(true, &format!("XCLIENT {}", command::XCLIENT.join(" ")));
        }
        if offers.xforward && s.xforward {
            line(true, &format!("XFORWARD {}", command::XFORWARD.join(" ")));
        }
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

    fn say(&mut self, mut reply: Reply) {
        if self.settings.soft_bounce {
            reply.soften();
        }
        self.write(&reply);
    }

    fn write(&mut self, reply: &Reply) {
        let before = self.output.len();
        let footer = self.settings.footer.as_ref().filter(|_| reply.code >= 400).and_then(|f| f(reply));
        match footer {
            Some(footer) => reply.with_footer(&footer).render(&mut self.output),
            None => reply.render(&mut self.output),
        }
        if self.settings.notify != Faults::NONE {
            self.transcript.server(self.output.get(before..).unwrap_or_default());
        }
    }

    /// Something went wrong: the postmaster may want to know.
    pub fn blame(&mut self, faults: Faults) {
        self.transcript.faults = self.transcript.faults | faults;
    }

    /// What was said since the last time, if the postmaster wants to hear of it.
    pub fn take_transcript(&mut self) -> Option<Transcript> {
        let transcript = std::mem::take(&mut self.transcript);
        transcript.faults.meets(self.settings.notify).then_some(transcript)
    }

    /// A transaction is over: a long transcript is told, or forgotten.
    fn flush_transcript(&mut self, long_only: bool) {
        if (self.transcript.is_long() || !long_only)
            && let Some(transcript) = self.take_transcript()
        {
            self.queued.push_back(Event::Transcript(transcript));
        }
    }

    fn accept(&mut self, verb: Verb, reply: Reply) {
        self.say(reply);
        self.done(verb, true);
    }

    fn refuse(&mut self, verb: Verb, reply: Reply) {
        self.refuse_for(Faults::PROTOCOL, verb, reply);
    }

    fn refuse_for(&mut self, faults: Faults, verb: Verb, reply: Reply) {
        self.blame(faults);
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
        self.blame(Faults::PROTOCOL);
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
        (self.chunks, self.chunk_error, self.declared) = (None, false, 0);
    }
}

/// Whether a word is forbidden (`smtpd_forbidden_commands`).
pub type WordTest = Arc<dyn Fn(&str) -> bool + Send + Sync>;
