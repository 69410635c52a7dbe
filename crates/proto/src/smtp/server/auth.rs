//! AUTH and the responses that follow it. RFC 4954
//!
//! Base64 is passed on as it came, `=` for an empty initial response included; only `*` and the length
//! of a response are decided here. What is said in a login goes into no transcript.

use super::{Auth, Event, Faults, Found, Notice, Pending, Phase, Session};
use crate::smtp::command::Verb;
use crate::smtp::reply::Reply;
use memchr::memchr;
use std::borrow::Cow;

impl Session {
    /// How clients may log in, if they may.
    pub(super) fn auth(&self) -> Option<&Auth> {
        self.settings.auth.as_ref().filter(|_| self.settings.extensions.auth)
    }

    pub(super) fn auth_command(&mut self, arguments: &str) {
        if let Some(reply) = self.settings.auth_gate.as_ref().and_then(|gate| gate()) {
            return self.refuse_for(Faults::POLICY, Verb::Auth, reply);
        }
        if self.helo_missing() {
            return self.send_helo_first(Verb::Auth, "5.5.1 ");
        }
        let reply = match () {
            () if self.auth().is_none() => Reply::new(503, "5.5.1 Error: authentication not enabled"),
            () if self.in_mail => Reply::new(503, "5.5.1 Error: MAIL transaction in progress"),
            () if self.logged_in => Reply::new(503, "5.5.1 Error: already authenticated"),
            () => {
                let mut words = arguments.split([' ', '\t']).filter(|w| !w.is_empty());
                match (words.next(), words.next(), words.next()) {
                    (Some(mechanism), initial, None) => {
                        let (mechanism, initial) = (mechanism.to_string(), initial.map(str::to_string));
                        return self.ask(Verb::Auth, Pending::Auth, Event::Auth { mechanism, initial });
                    }
                    _ => Reply::new(501, "5.5.4 Syntax: AUTH mechanism"),
                }
            }
        };
        self.refuse(Verb::Auth, reply);
    }

    /// Takes the line that answers a challenge.
    pub(super) fn auth_response(&mut self) -> Option<Found> {
        let unread = self.input.get(self.at..).unwrap_or_default();
        let limit = self.auth().map_or(0, |auth| auth.response_limit).max(1);
        let within = unread.get(..unread.len().min(limit + 1)).unwrap_or_default();
        let Some(end) = memchr(b'\n', within) else {
            if unread.len() <= limit {
                return Some(Found::Nothing);
            }
            let start = String::from_utf8_lossy(unread.get(..30).unwrap_or(unread)).into_owned();
            self.at += limit;
            (self.skipping, self.phase) = (true, Phase::Commands);
            self.note(Notice::LongLine { limit, text: start });
            self.note(Notice::AuthAborted { given_up: false });
            self.refuse(Verb::Auth, Reply::new(500, "5.5.6 SASL response limit exceeded"));
            return None;
        };
        let mut line = within.get(..end).unwrap_or_default();
        while let [head @ .., b'\r'] = line {
            line = head;
        }
        let text = String::from_utf8_lossy(line).into_owned();
        // The buffer may live long; what was said in it need not.
        if let Some(said) = self.input.get_mut(self.at..self.at + end) {
            said.fill(0);
        }
        self.at += end + 1;
        self.phase = Phase::Commands;
        if self.settings.notify != Faults::NONE {
            self.transcript.client(if text == "*" { "*" } else { HIDDEN });
        }
        if text == "*" {
            self.note(Notice::AuthAborted { given_up: true });
            self.refuse(Verb::Auth, Reply::new(501, "5.7.0 Authentication aborted"));
        } else {
            self.ask(Verb::Auth, Pending::Auth, Event::AuthResponse(text));
        }
        None
    }
}

/// Stands for what is nobody else's business.
const HIDDEN: &str = "(not shown)";

/// A command without the initial response of AUTH.
pub(super) fn without_secret(line: &str) -> Cow<'_, str> {
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(auth), Some(mechanism), Some(_)) if auth.eq_ignore_ascii_case("AUTH") => {
            Cow::Owned(format!("{auth} {mechanism} {HIDDEN}"))
        }
        _ => Cow::Borrowed(line),
    }
}
