//! What becomes of the header of a message, field by field, as it streams by. Pure: addresses are
//! rewritten by whoever the caller passes; the moment and the queue id come in.
//!
//! As Postfix's cleanup(8) does: fields of `message_drop_headers` vanish; header addresses are
//! completed for local clients; missing fields are added *after* the last field, for local
//! clients only unless `always_add_missing_headers`; a header that ends without an empty line
//! gets one.

use crate::address_list;
use crate::checks::{Finding, Inspection, inspection};
use crate::rewriting::{Context, Place};
use proto::Address;
use proto::date::DateTime;
use proto::header::{Field, Part, Scanner};

/// How the header of one message is treated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rewrite header addresses in this context; `None` leaves them alone.
    pub rewrite: Option<Context>,
    /// Add missing fields.
    pub complete: bool,
    /// The envelope sender, completed.
    pub sender: Address,
    /// The sender's full name, for a From field made here.
    pub full_name: Option<String>,
    /// `header_from_format = obsolete`.
    pub obsolete_from: bool,
    /// `myhostname`, for the Message-Id.
    pub myhostname: String,
    /// The queue id.
    pub id: String,
    /// When it arrived, in the local zone.
    pub date: DateTime,
    /// When it arrived, `YYYYMMDDhhmmss` in UTC; empty where the queue id alone is unique.
    pub stamp: String,
    /// `undisclosed_recipients_header`.
    pub undisclosed: String,
    /// `message_drop_headers`.
    pub drop: Vec<String>,
    /// `hopcount_limit`.
    pub hopcount_limit: u64,
    /// `header_size_limit`.
    pub size_limit: usize,
    /// `header_address_token_limit`.
    pub token_limit: usize,
    /// `detect_8bit_encoding_header`.
    pub detect_8bit: bool,
    /// A first line `From …` is kept under another name (network mail).
    pub mailbox_line: bool,
}

/// What was found on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A Message-Id field, or the lack of one (`<>`).
    MessageId(String),
    /// A Resent-Message-Id field.
    ResentMessageId(String),
    /// Content-Transfer-Encoding: 8bit (or binary).
    EightBit,
    /// Too many Received fields.
    TooManyHops,
    /// What header_checks, body_checks and their kin found.
    Found(Finding),
}

/// Rewrites a header address: given one, in its place.
pub type Rewrite<'a> = &'a mut dyn FnMut(&Address, Place) -> Address;

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    from: bool,
    recipient: bool,
    date: bool,
    message_id: bool,
    resent: bool,
    resent_from: bool,
    resent_date: bool,
    resent_message_id: bool,
}

/// The header of one message, streaming.
#[derive(Debug)]
pub struct Headers {
    plan: Plan,
    scanner: Scanner,
    state: State,
    /// The first bytes, until it is known whether they are a `From ` line.
    start: Vec<u8>,
    at_start: bool,
}

#[derive(Debug, Default)]
struct State {
    inspection: Option<Inspection>,
    /// The body is inspected, too.
    inspecting: bool,
    seen: Seen,
    hops: u64,
    notes: Vec<Note>,
    ended: bool,
}

impl Headers {
    /// For one message. A Received field made here is not fed but counts as a hop.
    /// With an inspection, all content passes through it.
    pub fn new(plan: Plan, inspection: Option<Inspection>) -> Headers {
        let scanner = Scanner::new(plan.size_limit);
        let state = State { hops: 1, inspection, ..State::default() };
        let at_start = plan.mailbox_line;
        Headers { plan, scanner, state, start: Vec::new(), at_start }
    }

    /// What was found since the last call.
    pub fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.state.notes)
    }

    /// In which context header addresses are rewritten, if they are.
    pub fn context(&self) -> Option<&Context> {
        self.plan.rewrite.as_ref()
    }

    /// True when the next bytes are body, which passes unchanged.
    pub fn in_body(&self) -> bool {
        self.state.ended && !self.state.inspecting
    }

    /// Takes a field that was made here, such as Received: it is inspected, nothing else.
    pub fn made_here(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        match Field::new(raw) {
            Some(field) => {
                let edit = self.state.judge(&field);
                inspection::write(edit, field.raw(), out);
            }
            None => {
                out.extend_from_slice(raw);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Takes the next piece, lines ended by CRLF; appends to `out` what the queue keeps, and gives what of
    /// the piece follows that as it is.
    #[must_use]
    pub fn feed<'a>(&mut self, bytes: &'a [u8], rewrite: Rewrite<'_>, out: &mut Vec<u8>) -> &'a [u8] {
        if self.state.ended {
            return self.state.rest(bytes, out);
        }
        // Most messages show at once that they begin with a field.
        let other =
            |b: &[u8]| !matches!(b, [b'>', ..]) && !b"From ".starts_with(b) && !b.starts_with(b"From ");
        if self.start.is_empty() && other(bytes) {
            self.at_start = false;
        }
        if !self.at_start {
            return self.scan(bytes, rewrite, out);
        }
        self.start.extend_from_slice(bytes);
        let mut start = std::mem::take(&mut self.start);
        let mut at = 0;
        while self.at_start {
            let left = &start[at..];
            let rest = left.iter().position(|b| *b != b'>').unwrap_or(left.len());
            let tail = &left[rest..];
            // Nothing here depends on how much came at once: `>` beyond a number are not quotes, and a line
            // beyond the limit is the last that is kept so.
            let few = rest < 1000;
            if few && tail.len() < 5 && b"From ".starts_with(tail) {
                break; // more is needed to tell
            }
            if !few || !tail.starts_with(b"From ") {
                self.at_start = false;
                break;
            }
            let most = self.plan.size_limit;
            let Some(end) = memchr::memchr(b'\n', left.get(..most).unwrap_or(left)) else {
                if left.len() >= most {
                    self.at_start = false;
                    start.splice(at..at, *b"X-Mailbox-Line: ");
                }
                break;
            };
            self.scan_all(&[b"X-Mailbox-Line: ", &left[..=end]].concat(), rewrite, out);
            at += end + 1;
        }
        // What is read is taken away at once, not line by line: each time all that follows it moves.
        start.drain(..at);
        if self.at_start {
            self.start = start;
        } else {
            self.scan_all(&start, rewrite, out);
        }
        &[]
    }

    /// The content is complete.
    pub fn finish(&mut self, rewrite: Rewrite<'_>, out: &mut Vec<u8>) {
        let start = std::mem::take(&mut self.start);
        if !start.is_empty() {
            self.at_start = false;
            self.scan_all(&start, rewrite, out);
        }
        if !self.state.ended {
            let (plan, state) = (&self.plan, &mut self.state);
            self.scanner.finish(&mut |part| match part {
                Part::Field(field) => state.field(plan, &field, rewrite, out),
                // Nothing follows the header, so no empty line is needed.
                Part::EndOfHeader { .. } => state.end(plan, out),
                Part::Body(bytes) => {
                    // An unfinished first line that is no header.
                    out.extend_from_slice(b"\r\n");
                    state.body(bytes, out);
                }
            });
        }
        self.state.finish(out);
    }

    fn scan<'a>(&mut self, bytes: &'a [u8], rewrite: Rewrite<'_>, out: &mut Vec<u8>) -> &'a [u8] {
        let (plan, state) = (&self.plan, &mut self.state);
        let rest = self.scanner.header(bytes, &mut |part| match part {
            Part::Field(field) => state.field(plan, &field, rewrite, out),
            Part::EndOfHeader { .. } => {
                state.end(plan, out);
                out.extend_from_slice(b"\r\n");
            }
            Part::Body(bytes) => state.body(bytes, out),
        });
        state.rest(rest, out)
    }

    fn scan_all(&mut self, bytes: &[u8], rewrite: Rewrite<'_>, out: &mut Vec<u8>) {
        let rest = self.scan(bytes, rewrite, out);
        out.extend_from_slice(rest);
    }
}

impl State {
    fn judge(&mut self, field: &Field<'_>) -> inspection::Edit {
        let Some(inspection) = self.inspection.as_mut() else { return inspection::Edit::default() };
        let edit = inspection.field(field);
        self.notes.extend(inspection.findings().into_iter().map(Note::Found));
        edit
    }

    fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.inspection.as_mut().filter(|_| self.inspecting) {
            Some(inspection) => {
                inspection.body(bytes, out);
                self.notes.extend(inspection.findings().into_iter().map(Note::Found));
            }
            None => out.extend_from_slice(bytes),
        }
    }

    /// Body: given back where nobody looks at it.
    fn rest<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if !self.inspecting {
            return bytes;
        }
        self.body(bytes, out);
        &[]
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(inspection) = self.inspection.as_mut().filter(|_| self.inspecting) {
            inspection.finish(out);
            self.notes.extend(inspection.findings().into_iter().map(Note::Found));
        }
    }

    /// Inspects a field of the message, and takes what is left of it.
    fn field(&mut self, plan: &Plan, field: &Field<'_>, rewrite: Rewrite<'_>, out: &mut Vec<u8>) {
        let edit = self.judge(field);
        if let Some(before) = edit.before {
            let before = inspection::Edit { before: Some(before), line: inspection::Line::Dropped };
            inspection::write(before, b"", out);
        }
        match edit.line {
            inspection::Line::Kept => self.accepted(plan, field, rewrite, out),
            inspection::Line::Dropped => {}
            inspection::Line::Replaced(text) => {
                let mut line = Vec::new();
                inspection::put(text.as_bytes(), &mut line);
                if let Some(field) = Field::new(&line) {
                    self.accepted(plan, &field, rewrite, out);
                }
            }
        }
    }

    fn accepted(&mut self, plan: &Plan, field: &Field<'_>, rewrite: Rewrite<'_>, out: &mut Vec<u8>) {
        let name = field.name();
        let lower = name.to_ascii_lowercase();
        let seen = &mut self.seen;
        seen.resent |= lower.starts_with("resent-");
        match lower.as_str() {
            "from" => seen.from = true,
            "date" => seen.date = true,
            "to" | "cc" | "bcc" => seen.recipient = true,
            "resent-from" => seen.resent_from = true,
            "resent-date" => seen.resent_date = true,
            "message-id" => {
                seen.message_id = true;
                self.notes.push(Note::MessageId(text(&field.unfolded())));
            }
            "resent-message-id" => {
                seen.resent_message_id = true;
                self.notes.push(Note::ResentMessageId(text(&field.unfolded())));
            }
            "received" => {
                self.hops += 1;
                if self.hops == plan.hopcount_limit {
                    self.notes.push(Note::TooManyHops);
                }
            }
            "content-transfer-encoding" if plan.detect_8bit => {
                let value = field.unfolded();
                if value.eq_ignore_ascii_case(b"8bit") || value.eq_ignore_ascii_case(b"binary") {
                    self.notes.push(Note::EightBit);
                }
            }
            _ => {}
        }
        if plan.drop.iter().any(|d| d.eq_ignore_ascii_case(name)) {
            return;
        }
        // A field ends at a NUL, and no white space stays before its colon.
        let value = field.value();
        let value = &value[..memchr::memchr(0, value).unwrap_or(value.len())];
        if let (Some(_), Some(place)) = (&plan.rewrite, place_of(&lower)) {
            let mut each = |address: &Address| rewrite(address, place);
            if let Some(new) = address_list::rewrite(name, value, plan.token_limit, &mut each) {
                put(out, name, &[b" ", new.as_slice()].concat());
                return;
            }
        }
        put(out, name, value);
    }

    fn end(&mut self, plan: &Plan, out: &mut Vec<u8>) {
        self.ended = true;
        if let Some(inspection) = self.inspection.as_mut() {
            self.inspecting = inspection.end_of_header();
            self.notes.extend(inspection.findings().into_iter().map(Note::Found));
        }
        let seen = self.seen;
        if plan.complete {
            let prefix = if seen.resent { "Resent-" } else { "" };
            if !(if seen.resent { seen.resent_message_id } else { seen.message_id }) {
                let dot = if plan.stamp.is_empty() { "" } else { "." };
                let id = format!("<{}{dot}{}@{}>", plan.stamp, plan.id, plan.myhostname);
                put(out, &format!("{prefix}Message-Id"), format!(" {id}").as_bytes());
                if seen.resent {
                    self.notes.push(Note::ResentMessageId(id));
                } else {
                    self.seen.message_id = true;
                    self.notes.push(Note::MessageId(id));
                }
            }
            if !(if seen.resent { seen.resent_date } else { seen.date }) {
                put(out, &format!("{prefix}Date"), format!(" {}", plan.date).as_bytes());
            }
            if !(if seen.resent { seen.resent_from } else { seen.from }) {
                put(out, &format!("{prefix}From"), format!(" {}", from_value(plan)).as_bytes());
            }
        }
        if !seen.recipient && !plan.undisclosed.is_empty() {
            out.extend_from_slice(plan.undisclosed.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if !self.seen.message_id {
            self.notes.push(Note::MessageId("<>".into()));
        }
    }
}

/// The fields whose addresses are rewritten, with the class that Postfix gives them.
pub(crate) fn place_of(lower: &str) -> Option<Place> {
    match lower {
        "from"
        | "sender"
        | "reply-to"
        | "resent-from"
        | "resent-sender"
        | "errors-to"
        | "return-receipt-to"
        | "disposition-notification-to"
        | "mail-followup-to" => Some(Place::HeaderSender),
        "to" | "cc" | "bcc" | "resent-to" | "resent-cc" | "resent-bcc" | "resent-reply-to"
        | "apparently-to" => Some(Place::HeaderRecipient),
        _ => None,
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The value of a From field made from the envelope sender and the user's full name.
fn from_value(plan: &Plan) -> String {
    if plan.sender.is_null() {
        return "MAILER-DAEMON".into();
    }
    let address = plan.sender.to_string();
    match plan.full_name.as_deref().map(str::trim).filter(|n| !n.is_empty()) {
        None => address,
        Some(name) if plan.obsolete_from => format!("{address} ({name})"),
        Some(name) => {
            let special = |c: char| c.is_ascii_control() || "()<>[]:;@\\,.\"".contains(c);
            if name.contains(special) {
                let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
                format!("\"{quoted}\" <{address}>")
            } else {
                format!("{name} <{address}>")
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
