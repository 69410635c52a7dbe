//! Content on its way through: DATA, chunks, and what is thrown away.

use super::{Event, Faults, Found, Notice, Pending, Phase, Reason, Session};
use crate::smtp::command::Verb;
use crate::smtp::data::{BareNewline, Step};
use crate::smtp::reply::Reply;

impl Session {
    pub(super) fn content(&mut self) -> Option<Found> {
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
        let complete = found.is_none() && !matches!(self.phase, Phase::Chunk { last: false, .. });
        if complete && bare && self.settings.bare_newline == BareNewline::Reject {
            self.phase = Phase::Commands;
            self.note(Notice::BareNewline);
            self.blame(Faults::PROTOCOL);
            let code = self.settings.bare_newline_code;
            let text = format!("5.5.2 {} Error: bare <LF> received", self.settings.hostname);
            self.say(Reply::new(code, text));
            self.abort();
            self.done(if chunked { Verb::Bdat } else { Verb::Data }, false);
            if matches!(code, 421 | 521) {
                self.close(Reason::Ended);
            }
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

    pub(super) fn end_content(&mut self) {
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

    pub(super) fn discard(&mut self) -> Option<Found> {
        let Phase::Discard { left, last, reply } = &mut self.phase else { return None };
        let have = self.input.len() - self.at;
        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(have);
        self.at += take;
        *left -= take as u64;
        if *left > 0 {
            return Some(Found::Nothing);
        }
        let (last, reply) = (*last, reply.take());
        self.phase = Phase::Commands;
        if last {
            self.reset_transaction();
        }
        if let Some(reply) = reply {
            // Who refused has said which fault it is.
            self.refuse_for(Faults::NONE, Verb::Bdat, reply);
        }
        None
    }
}
