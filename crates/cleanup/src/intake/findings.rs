//! What checks found in a message: said in the log, and done.

use super::{Message, Refused, Source, one_line};
use crate::checks::Finding;
use crate::events::{BadCheck, Check, ChecksProblem, MimeError};
use crate::rewriting::{Context, Place};
use proto::Address;
use queue::Store;

impl<S: Store> Message<S> {
    /// Says and does what checks found.
    pub(super) fn obey_finding(&mut self, finding: Finding) {
        match finding {
            Finding::Log { action, class, content, text } => {
                let more = if text.is_empty() { String::new() } else { format!(": {text}") };
                let (origin, sender, recipient) = self.whence();
                let client = &self.origin.client;
                let via = match &self.origin.source {
                    Source::Smtp { .. } => format!(" proto={} helo=<{}>", client.protocol, client.helo),
                    _ => String::new(),
                };
                let said = Check { action, class, content, origin, sender, recipient, via, more };
                self.speaker.say_of(self.id, &said);
            }
            Finding::Mime { fault, content } => {
                let (origin, sender, recipient) = self.whence();
                let what = fault.text();
                self.speaker.say_of(self.id, &MimeError { what, content, origin, sender, recipient });
            }
            Finding::Warning(what) => self.speaker.say(&BadCheck { what }),
            Finding::Reject(text) => {
                let code = if text.starts_with('4') { 451 } else { 550 };
                self.reject(code, &text, &text);
            }
            Finding::Discard => self.discarded = true,
            Finding::Hold => self.orders.hold = true,
            Finding::Filter(to) => self.orders.filter = Some(to),
            Finding::Redirect(to) => self.orders.redirect = Some(Address::from_internal(&to)),
            Finding::Bcc(to) => {
                // A rule may match each line of a body.
                let to = Address::from_internal(&to);
                if !self.orders.bcc.contains(&to) {
                    self.orders.bcc.push(to);
                }
            }
            Finding::Unanswered { map, error } => {
                self.speaker.say_of(self.id, &ChecksProblem { map, what: error.to_string() });
                self.refused = Some(Refused::new(451, "4.3.0 Error: queue file write error"));
            }
        }
    }

    /// Client, sender and last recipient (`-t` names them after the first header fields), as the log shows them beside
    /// what checks found.
    pub(super) fn whence(&self) -> (String, String, String) {
        let client = &self.origin.client;
        let origin = match &self.origin.source {
            Source::Smtp { .. } => format!("{}[{}]", client.name, client.address),
            _ => "local".to_string(),
        };
        let last = self.recipients.last().map(|(address, _, _)| {
            let whole = self.door.rewriting.complete(address, &Context::Local);
            if self.unmapped() {
                return whole;
            }
            self.door.rewriting.canonical(whole.clone(), Place::EnvelopeRecipient).unwrap_or(whole)
        });
        let shown = |address: &Address| one_line(&address.internal());
        (origin, shown(&self.sender), last.map(|last| format!(" to=<{}>", shown(&last))).unwrap_or_default())
    }
}
