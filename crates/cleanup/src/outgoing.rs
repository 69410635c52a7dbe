//! What happens to a message while it is sent to another host: `smtp_header_checks` and its kin,
//! `smtp_generic_maps`, and the conversion to seven bits. For the SMTP and LMTP client.
//!
//! ```text
//! let rules = Outgoing::load(config, types, rewriter, Protocol::Smtp)?;     // once
//! let sender = rules.address(&sender)?;                                     // MAIL FROM, RCPT TO
//! match rules.message(downgrade) {
//!     None => …,                          // nothing to do: the content goes out as it is
//!     Some(mut message) => { message.feed(piece, &mut out); …; message.finish(&mut out)?; }
//! }
//! message.findings()                      // after each call: to be logged, see `say`
//! ```
//!
//! [`rules.changes_header`] tells before the first byte whether a message may change at all.
//!
//! [`rules.changes_header`]: Outgoing::changes_header

use crate::address_list;
use crate::checks::{Checks, Finding, Inspection, Manner, Side, Strict, inspection};
use crate::events::{BadCheck, OutgoingCheck};
use crate::headers::place_of;
use config::params::cleanup::Cleanup;
use config::params::outgoing::Outgoing as Params;
use config::{Config, Problem};
use proto::header::{Field, Part, Scanner};
use proto::mime::{self, downgrade::Downgrade};
use proto::status::{Code, Status};
use proto::{Address, QueueId};
use rewrite::Rewriter;
use std::sync::Arc;
use tables::{Maps, Types};

/// Whose parameters apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `smtp_…`
    Smtp,
    /// `lmtp_…`
    Lmtp,
}

/// The rules of one client service. Cheap to clone.
#[derive(Clone)]
pub struct Outgoing(Arc<Rules>);

struct Rules {
    checks: Option<Arc<Checks>>,
    generic: Maps,
    rewriter: Arc<Rewriter>,
    limits: mime::Limits,
    tokens: usize,
    convert: bool,
}

impl Outgoing {
    /// Reads the parameters and opens the tables.
    pub fn load(
        config: &Config,
        types: &Types,
        rewriter: Arc<Rewriter>,
        protocol: Protocol,
    ) -> Result<Outgoing, Vec<Problem>> {
        let (params, cleanup) = (Params::load(config)?, Cleanup::load(config)?);
        let size = |limit: i64| usize::try_from(limit).unwrap_or(usize::MAX);
        let limits = mime::Limits {
            nesting: size(*cleanup.mime_nesting_limit()),
            boundary: size(*cleanup.mime_boundary_length_limit()),
            header: size(*cleanup.header_size_limit()),
        };
        let manner = Manner {
            side: Side::Out,
            limits,
            body_limit: u64::try_from(*cleanup.body_checks_size_limit()).unwrap_or(0),
            line_limit: size(*cleanup.line_length_limit()),
            flat: false,
            strict: Strict::default(),
        };
        let (names, tables, generic) = match protocol {
            Protocol::Smtp => (
                [
                    "smtp_header_checks",
                    "smtp_mime_header_checks",
                    "smtp_nested_header_checks",
                    "smtp_body_checks",
                ],
                [
                    params.smtp_header_checks(),
                    params.smtp_mime_header_checks(),
                    params.smtp_nested_header_checks(),
                    params.smtp_body_checks(),
                ],
                ("smtp_generic_maps", params.smtp_generic_maps()),
            ),
            Protocol::Lmtp => (
                [
                    "lmtp_header_checks",
                    "lmtp_mime_header_checks",
                    "lmtp_nested_header_checks",
                    "lmtp_body_checks",
                ],
                [
                    params.lmtp_header_checks(),
                    params.lmtp_mime_header_checks(),
                    params.lmtp_nested_header_checks(),
                    params.lmtp_body_checks(),
                ],
                ("lmtp_generic_maps", params.lmtp_generic_maps()),
            ),
        };
        let checks = Checks::open(types, names, tables, manner);
        Ok(Outgoing(Arc::new(Rules {
            checks: (!checks.is_empty()).then(|| Arc::new(checks)),
            generic: Maps::of(types, generic.0, &generic.1.0),
            rewriter,
            limits,
            tokens: size(*cleanup.header_address_token_limit()),
            convert: !params.disable_mime_output_conversion(),
        })))
    }

    /// An envelope address as the other host is to see it. An error: a table could not answer, and
    /// the message waits.
    pub fn address(&self, address: &Address) -> Result<Address, Box<Status>> {
        self.0.rewriter.generic(&self.0.generic, address).map_err(|what| waits(&what))
    }

    /// Whether any message may change on its way, apart from the conversion to seven bits.
    pub fn changes_header(&self) -> bool {
        self.0.checks.is_some() || !self.0.generic.is_empty()
    }

    /// The state for one message; `None` when its content goes out as it is. `seven_bits`: the host does
    /// not take eight bits (and the message is not known to have only seven).
    pub fn message(&self, seven_bits: bool) -> Option<Message> {
        let downgrade = seven_bits && self.0.convert;
        if !downgrade && !self.changes_header() {
            return None;
        }
        Some(Message {
            scanner: Scanner::new(self.0.limits.header),
            editor: Editor {
                rules: self.0.clone(),
                inspection: self.0.checks.clone().map(Inspection::new),
                inspecting: false,
                findings: Vec::new(),
                fault: None,
            },
            downgrade: downgrade.then(|| Downgrade::new(self.0.limits)),
            edited: Vec::new(),
        })
    }
}

fn waits(what: &str) -> Box<Status> {
    Box::new(Status::new(Code(4, 3, 0), format!("table lookup problem: {what}")))
}

/// One message on its way out.
pub struct Message {
    scanner: Scanner,
    editor: Editor,
    downgrade: Option<Downgrade>,
    edited: Vec<u8>,
}

struct Editor {
    rules: Arc<Rules>,
    inspection: Option<Inspection>,
    inspecting: bool,
    findings: Vec<Finding>,
    fault: Option<Box<Status>>,
}

impl Message {
    /// Takes the next piece of the content, cut anywhere, lines ended by CRLF; appends to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let editor = &mut self.editor;
        match self.downgrade.as_mut() {
            None => self.scanner.feed(bytes, &mut |part| editor.take(part, out)),
            Some(downgrade) => {
                let edited = &mut self.edited;
                self.scanner.feed(bytes, &mut |part| editor.take(part, edited));
                downgrade.feed(edited, out);
                edited.clear();
            }
        }
    }

    /// The content is complete. An error: it must not be sent (so the client ends the session instead
    /// of the message), and this is why.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        let editor = &mut self.editor;
        let edited = &mut self.edited;
        self.scanner.finish(&mut |part| editor.take(part, edited));
        editor.finish(edited);
        match self.downgrade.as_mut() {
            None => out.append(edited),
            Some(downgrade) => {
                downgrade.feed(edited, out);
                edited.clear();
                if let Err(fault) = downgrade.finish(out) {
                    let refused = Box::new(Status::new(Code(5, 6, 0), fault.text()));
                    self.editor.fault = self.editor.fault.take().or(Some(refused));
                }
            }
        }
        self.editor.fault.take().map_or(Ok(()), Err)
    }

    /// What is to be logged since the last call.
    pub fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.editor.findings)
    }
}

/// Logs what was found in a message, as smtp(8) does.
pub fn say(speaker: &events::Source, id: QueueId, findings: Vec<Finding>) {
    for finding in findings {
        match finding {
            Finding::Log { action, class, content, text } => {
                let more = if text.is_empty() { String::new() } else { format!(": {text}") };
                speaker.say_of(id, &OutgoingCheck { action, class, content, more });
            }
            Finding::Warning(what) => speaker.say(&BadCheck { what }),
            _ => {}
        }
    }
}

impl Editor {
    fn take(&mut self, part: Part<'_>, out: &mut Vec<u8>) {
        match part {
            Part::Field(field) => self.field(&field, out),
            Part::EndOfHeader { .. } => {
                self.inspecting = self.inspection.as_mut().is_some_and(Inspection::end_of_header);
                self.gather();
                out.extend_from_slice(b"\r\n");
            }
            Part::Body(bytes) => match self.inspection.as_mut().filter(|_| self.inspecting) {
                Some(inspection) => {
                    inspection.body(bytes, out);
                    self.gather();
                }
                None => out.extend_from_slice(bytes),
            },
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(inspection) = self.inspection.as_mut().filter(|_| self.inspecting) {
            inspection.finish(out);
            self.gather();
        }
    }

    fn gather(&mut self) {
        for finding in self.inspection.as_mut().map(Inspection::findings).unwrap_or_default() {
            match finding {
                Finding::Unanswered { map, error } => {
                    let what = format!("{map}: {error}");
                    self.fault = self.fault.take().or_else(|| Some(waits(&what)));
                }
                finding => self.findings.push(finding),
            }
        }
    }

    fn field(&mut self, field: &Field<'_>, out: &mut Vec<u8>) {
        let edit = match self.inspection.as_mut() {
            Some(inspection) => inspection.field(field),
            None => inspection::Edit::default(),
        };
        self.gather();
        if let Some(before) = edit.before {
            inspection::put(before.as_bytes(), out);
        }
        match edit.line {
            inspection::Line::Kept => self.generic(field, out),
            inspection::Line::Dropped => {}
            inspection::Line::Replaced(text) => {
                let mut line = Vec::new();
                inspection::put(text.as_bytes(), &mut line);
                if let Some(field) = Field::new(&line) {
                    self.generic(&field, out);
                }
            }
        }
    }

    /// Rewrites the addresses of a field.
    fn generic(&mut self, field: &Field<'_>, out: &mut Vec<u8>) {
        let name = field.name();
        if !self.rules.generic.is_empty() && place_of(&name.to_ascii_lowercase()).is_some() {
            let (rules, fault) = (&self.rules, &mut self.fault);
            let mut each = |address: &Address| {
                rules.rewriter.generic(&rules.generic, address).unwrap_or_else(|what| {
                    fault.get_or_insert_with(|| waits(&what));
                    address.clone()
                })
            };
            if let Some(new) = address_list::rewrite(name, field.value(), rules.tokens, &mut each) {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(&new);
                out.extend_from_slice(b"\r\n");
                return;
            }
        }
        out.extend_from_slice(field.raw());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests;
