//! Lines and commands: what the protocol alone decides about each.

use super::auth::{before_secrets, without_secret};
use super::{Event, Faults, Found, Notice, Pending, Phase, Reason, Session, Starttls};
use crate::smtp::chunk::{self, Chunks};
use crate::smtp::command::{self, Verb};
use crate::smtp::reply::Reply;
use memchr::memchr;

impl Session {
    pub(super) fn command(&mut self) -> Option<Found> {
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
        // A byte 0 ends the line, as it does in Postfix: a telnet that reads from a pipe sends CR NUL CR LF.
        if let Some(end) = memchr(0, line) {
            line = &line[..end];
        }
        while let [head @ .., b'\r'] = line {
            line = head;
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
            let start = without_secret(text.as_deref().unwrap_or("")).chars().take(30).collect();
            self.note(Notice::LongLine { limit, text: start });
        }
        let Ok(text) = text else {
            if self.settings.notify != Faults::NONE {
                let line = &self.input[self.at - used..self.at];
                self.transcript.client(String::from_utf8_lossy(line).trim_end());
            }
            self.say(Reply::new(500, "5.5.2 Error: bad UTF-8 syntax"));
            self.fault();
            return None;
        };
        let filtered = match &self.settings.filter {
            None => Ok(None),
            Some(filter) => filter(&text),
        };
        match filtered {
            Ok(None) => self.obey(&text),
            Ok(Some(by)) => {
                let shown = |line: &str| without_secret(line).into_owned();
                self.note(Notice::Replaced { line: shown(&text), by: shown(&by) });
                self.obey(&by);
            }
            Err(()) => self.give_up(),
        }
        None
    }

    /// A table that the whole session hangs on cannot answer.
    fn give_up(&mut self) {
        let text = format!("4.3.0 {} Server local data error", self.settings.hostname);
        self.say(Reply::new(421, text));
        self.close(Reason::Ended);
    }

    pub(super) fn obey(&mut self, line: &str) {
        if self.settings.notify != Faults::NONE {
            self.transcript.client(&without_secret(line));
        }
        if self.settings.keep_line {
            self.line.clear();
            self.line.push_str(&without_secret(line));
        }
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
            if self.settings.tell_unknown {
                return self.ask(verb, Pending::Unknown, Event::Unknown(line.to_string()));
            }
            return self.refuse(verb, not_recognized());
        }
        if let Some(reply) = self.settings.denied.clone().filter(|_| verb != Verb::Quit) {
            return self.refuse_for(Faults::POLICY, verb, reply);
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
        if self.settings.encrypted_only && !self.encrypted && verb.is_of_transaction() {
            let reply = Reply::new(530, "5.7.0 Must issue a STARTTLS command first");
            return self.refuse_for(Faults::POLICY, verb, reply);
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
                self.flush_transcript(true);
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
            Verb::Starttls => self.starttls(arguments),
            Verb::Auth => self.auth_command(arguments),
            Verb::Unknown => {}
        }
    }

    /// Notes a client that did not wait for its turn; true when that ends the session.
    pub(super) fn out_of_turn(&mut self, verb: Verb) -> bool {
        let waits = verb.ends_group() || self.helo != Some(true) && verb != Verb::Quit;
        let early = &self.input[self.at..];
        // Chunk data may follow its command at once; of a line that is too long the rest comes.
        if early.is_empty() || self.skipping || !waits || verb == Verb::Bdat && self.helo == Some(true) {
            return false;
        }
        if !self.pipelining_noted {
            self.pipelining_noted = true;
            let text = String::from_utf8_lossy(&early[..early.len().min(100)]);
            let text = before_secrets(verb, &text);
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

    pub(super) fn helo(&mut self, verb: Verb, arguments: &str) {
        let name = arguments.split([' ', '\t']).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        if name.is_empty() {
            return self.refuse(verb, Reply::new(501, format!("Syntax: {} hostname", verb.name())));
        }
        self.abort();
        self.flush_transcript(true);
        let extended = verb == Verb::Ehlo;
        if extended && self.settings.no_offers {
            self.count(verb, false);
            return self.give_up();
        }
        self.ask(verb, Pending::Helo { extended }, Event::Helo { extended, name });
    }

    pub(super) fn mail(&mut self, arguments: &str) {
        if self.helo_missing() {
            return self.send_helo_first(Verb::Mail, "5.5.1 ");
        }
        let reply = match () {
            () if self.in_mail => Reply::new(503, "5.5.1 Error: nested MAIL command"),
            () if self.chunk_error => Reply::new(503, "5.5.1 Error: MAIL after BDAT"),
            () => {
                return match command::mail(arguments, self.allowed()) {
                    Ok(mut mail) => {
                        if mail.size == 0 {
                            mail.size = self.declared;
                        }
                        self.declared = mail.size;
                        let smtputf8 = mail.smtputf8;
                        self.ask(Verb::Mail, Pending::Mail { smtputf8 }, Event::Mail(mail));
                    }
                    Err(refused) => self.refuse_arguments(Verb::Mail, refused),
                };
            }
        };
        self.refuse(Verb::Mail, reply);
    }

    fn starttls(&mut self, arguments: &str) {
        let offered = if self.offers().starttls { self.settings.starttls } else { Starttls::Absent };
        let reply = match offered {
            _ if !arguments.trim().is_empty() => Reply::new(501, "5.5.4 Syntax: STARTTLS"),
            _ if self.encrypted => Reply::new(554, "5.5.1 Error: TLS already active"),
            Starttls::Absent => Reply::new(502, "5.5.1 Error: command not implemented"),
            Starttls::Broken => {
                let reply = Reply::new(454, "4.7.0 TLS not available due to local problem");
                return self.refuse_for(Faults::RESOURCE, Verb::Starttls, reply);
            }
            Starttls::Offered => return self.ask(Verb::Starttls, Pending::StartTls, Event::StartTls),
        };
        self.refuse(Verb::Starttls, reply);
    }

    pub(super) fn send_helo_first(&mut self, verb: Verb, enhanced: &str) {
        let reply = Reply::new(503, format!("{enhanced}Error: send HELO/EHLO first"));
        self.refuse_for(Faults::POLICY, verb, reply);
    }

    pub(super) fn rcpt(&mut self, arguments: &str) {
        let reply = match () {
            () if !self.in_mail => Reply::new(503, "5.5.1 Error: need MAIL command"),
            () if self.chunks.is_some() || self.chunk_error => {
                Reply::new(503, "5.5.1 Error: RCPT after BDAT")
            }
            () => match command::rcpt(arguments, self.allowed(), self.smtputf8) {
                Err(refused) => return self.refuse_arguments(Verb::Rcpt, refused),
                Ok(_) if self.recipients >= self.settings.recipient_limit => {
                    self.say(Reply::new(452, "4.5.3 Error: too many recipients"));
                    self.overshoot += 1;
                    let fault = self.overshoot > self.settings.recipient_overshoot_limit;
                    self.count(Verb::Rcpt, !fault);
                    if fault {
                        self.fault();
                    }
                    return;
                }
                Ok(rcpt) => return self.ask(Verb::Rcpt, Pending::Rcpt, Event::Rcpt(rcpt)),
            },
        };
        self.refuse(Verb::Rcpt, reply);
    }

    pub(super) fn no_recipients(&self) -> Option<Reply> {
        (self.recipients == 0).then(|| match self.in_mail {
            true => Reply::new(554, "5.5.1 Error: no valid recipients"),
            false => Reply::new(503, "5.5.1 Error: need RCPT command"),
        })
    }

    pub(super) fn data(&mut self, arguments: &str) {
        if self.chunks.is_some() || self.chunk_error {
            return self.refuse(Verb::Data, Reply::new(503, "5.5.1 Error: DATA after BDAT"));
        }
        if let Some(reply) = self.no_recipients() {
            let faults = if self.in_mail { Faults::NONE } else { Faults::PROTOCOL };
            return self.refuse_for(faults, Verb::Data, reply);
        }
        if !arguments.trim().is_empty() {
            return self.refuse(Verb::Data, Reply::new(501, "5.5.4 Syntax: DATA"));
        }
        self.ask(Verb::Data, Pending::Data, Event::Data { chunked: false });
    }

    pub(super) fn bdat(&mut self, line: &str, arguments: &str) {
        if !self.offers().chunking {
            return self.refuse(Verb::Bdat, Reply::new(502, "5.5.1 Error: command not implemented"));
        }
        let Some(bdat) = chunk::arguments(arguments) else {
            // Chunk data cannot be told from commands now.
            self.note(Notice::MalformedBdat(line.to_string()));
            self.blame(Faults::PROTOCOL);
            self.say(Reply::new(521, "5.5.4 Syntax: BDAT count [LAST]"));
            self.count(Verb::Bdat, false);
            return self.close(Reason::Ended);
        };
        if bdat.size == 0 && !bdat.last {
            self.note(Notice::NullBdat);
            self.drop_chunks();
            return self.refuse_for(Faults::NONE, Verb::Bdat, Reply::new(551, "5.7.1 Null BDAT request"));
        }
        let so_far = self.chunks.as_ref().map_or(0, Chunks::announced);
        let limit = self.settings.size_limit;
        let refusal = if self.chunk_error {
            Some(Reply::new(551, format!("5.0.0 Discarded {} bytes after earlier error", bdat.size)))
        } else if let Some(reply) = self.no_recipients() {
            self.blame(if self.in_mail { Faults::NONE } else { Faults::PROTOCOL });
            Some(reply)
        } else if limit > 0 && so_far.saturating_add(bdat.size) > limit {
            self.note(Notice::BigBdat);
            self.blame(Faults::POLICY);
            Some(Reply::new(552, "5.3.4 Chunk exceeds message size limit"))
        } else {
            None
        };
        match refusal {
            Some(reply) => {
                self.drop_chunks();
                self.phase = Phase::Discard { left: bdat.size, last: bdat.last, reply: Some(reply) };
            }
            None if self.chunks.is_some() => self.begin_chunk(bdat.size, bdat.last),
            None => {
                let pending = Pending::Bdat { size: bdat.size, last: bdat.last };
                self.ask(Verb::Bdat, pending, Event::Data { chunked: true });
            }
        }
    }

    /// The message cannot be completed; what chunks follow are thrown away.
    pub(super) fn drop_chunks(&mut self) {
        if self.in_mail && !self.chunk_error {
            self.queued.push_back(Event::Abort);
        }
        (self.chunks, self.chunk_error) = (None, true);
    }

    pub(super) fn begin_chunk(&mut self, size: u64, last: bool) {
        if let Some(chunks) = self.chunks.as_mut() {
            chunks.begin(size);
            self.phase = Phase::Chunk { last, size };
        }
    }

    pub(super) fn vrfy(&mut self, arguments: &str) {
        if self.settings.disable_vrfy {
            let reply = Reply::new(502, "5.5.1 VRFY command is disabled");
            return self.refuse_for(Faults::POLICY, Verb::Vrfy, reply);
        }
        match command::vrfy(arguments, self.allowed()) {
            Ok((text, address)) => {
                self.ask(Verb::Vrfy, Pending::Vrfy(text.clone()), Event::Vrfy(text, address));
            }
            Err(refused) => self.refuse_arguments(Verb::Vrfy, refused),
        }
    }

    pub(super) fn etrn(&mut self, arguments: &str) {
        if self.helo_missing() {
            return self.send_helo_first(Verb::Etrn, "");
        }
        if self.in_mail {
            return self.refuse(Verb::Etrn, Reply::new(503, "Error: MAIL transaction in progress"));
        }
        match command::etrn(arguments) {
            Ok(domain) => self.ask(Verb::Etrn, Pending::Etrn, Event::Etrn(domain)),
            Err(reply) => self.refuse(Verb::Etrn, reply),
        }
    }

    pub(super) fn extension(&mut self, verb: Verb, arguments: &str) {
        let (may, known, pending) = match verb {
            Verb::Xclient => (self.settings.xclient, command::XCLIENT, Pending::Xclient),
            _ => (self.settings.xforward, command::XFORWARD, Pending::Xforward),
        };
        if self.in_mail {
            return self.refuse(verb, Reply::new(503, "5.5.1 Error: MAIL transaction in progress"));
        }
        if !may {
            let reply = Reply::new(550, "5.7.0 Error: insufficient authorization");
            return self.refuse_for(Faults::POLICY, verb, reply);
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
}

/// To a command that nobody knows.
pub(super) fn not_recognized() -> Reply {
    Reply::new(500, "5.5.2 Error: command not recognized")
}
