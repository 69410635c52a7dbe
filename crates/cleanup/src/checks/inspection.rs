//! One message under inspection.

use super::{Action, Checks, Finding, key, shown};
use proto::header::Field;
use proto::mime::{Fault, Part, Place, Scanner};
use std::sync::Arc;
use tables::Maps;

/// What becomes of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// A line to stand before it.
    pub before: Option<String>,
    /// What takes its place.
    pub line: Line,
}

/// See [`Edit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// Nothing does.
    #[default]
    Kept,
    /// It goes.
    Dropped,
    /// This does.
    Replaced(String),
}

/// The state of one message. Feed it the fields of the primary header, then the body.
#[derive(Debug)]
pub struct Inspection {
    checks: Arc<Checks>,
    scanner: Scanner,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing more is inspected.
    off: bool,
    findings: Vec<Finding>,
    /// An unfinished line of a body.
    line: Vec<u8>,
    /// So many bytes of this piece of the body were seen.
    seen: u64,
}

impl Inspection {
    /// For one message.
    pub fn new(checks: Arc<Checks>) -> Inspection {
        let strict = checks.manner.strict;
        let scanner = Scanner::new(checks.manner.limits, strict.headers || strict.body);
        Inspection { checks, scanner, state: State::default() }
    }

    /// What was found since the last call.
    pub fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.state.findings)
    }

    /// Judges a field of the primary header.
    pub fn field(&mut self, field: &Field<'_>) -> Edit {
        let (checks, state) = (&self.checks, &mut self.state);
        if state.off {
            return Edit::default();
        }
        if !checks.manner.flat {
            self.scanner.primary(field, &mut |part| state.fault(checks, part));
        } else if !field.raw().is_ascii() {
            state.refuse(checks, Fault::EightBitHeader, field.raw());
        }
        state.judge(checks, Place::Primary, field)
    }

    /// The primary header is complete. True when the body must be given to [`Inspection::body`].
    pub fn end_of_header(&mut self) -> bool {
        let (checks, state) = (&self.checks, &mut self.state);
        if state.off || !checks.in_body() {
            return false;
        }
        if !checks.manner.flat {
            self.scanner.end_of_primary(&mut |part| state.fault(checks, part));
        }
        true
    }

    /// Judges a piece of the body; appends to `out` what is left of it.
    pub fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (checks, state) = (&self.checks, &mut self.state);
        if state.off && state.line.is_empty() && self.scanner.all_text() {
            out.extend_from_slice(bytes);
        } else {
            self.scanner.feed(bytes, &mut |part| state.take(checks, part, out));
        }
    }

    /// The message is complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let (checks, state) = (&self.checks, &mut self.state);
        self.scanner.finish(&mut |part| state.take(checks, part, out));
        state.end_line(checks, out);
    }
}

impl State {
    fn fault(&mut self, checks: &Checks, part: Part<'_>) {
        if let Part::Fault(fault, line) = part {
            self.refuse(checks, fault, line);
        }
    }

    /// A rule of MIME was broken.
    fn refuse(&mut self, checks: &Checks, fault: Fault, line: &[u8]) {
        if self.off || !checks.manner.strict.refuses(fault) {
            return;
        }
        self.off = true;
        let text = format!("5.6.0 {}", fault.text());
        let content = shown(&line[..line.len().min(100)]);
        self.findings.extend([Finding::Mime { fault, content }, Finding::Reject(text)]);
    }

    fn take(&mut self, checks: &Checks, part: Part<'_>, out: &mut Vec<u8>) {
        match part {
            Part::Field(place, field) => {
                let edit = match self.off {
                    true => Edit::default(),
                    false => self.judge(checks, place, &field),
                };
                write(edit, field.raw(), out);
            }
            Part::EndOfHeader { blank, .. } => {
                self.seen = 0;
                if blank {
                    out.extend_from_slice(b"\r\n");
                }
            }
            Part::Boundary(line) => {
                self.seen = 0;
                self.text(checks, line, out);
                self.seen = 0;
            }
            Part::Text(bytes) => self.text(checks, bytes, out),
            Part::Fault(fault, line) => self.refuse(checks, fault, line),
        }
    }

    fn judge(&mut self, checks: &Checks, place: Place, field: &Field<'_>) -> Edit {
        let maps = checks.maps_of(place, field.name());
        self.ask(checks, maps, "header", field.raw())
    }

    /// Asks the tables about one line, and gathers what they order.
    fn ask(&mut self, checks: &Checks, maps: &Maps, class: &'static str, line: &[u8]) -> Edit {
        let mut edit = Edit::default();
        if maps.is_empty() || line.is_empty() {
            return edit;
        }
        let map = maps.parameter();
        let hit = match maps.lookup(&key(line)) {
            Ok(Some(hit)) => hit,
            Ok(None) => return edit,
            Err(error) => {
                self.off = true;
                self.findings.push(Finding::Unanswered { map: map.to_string(), error });
                return edit;
            }
        };
        let action = match Action::parse(&hit.value, map, class == "header", checks.manner.side) {
            Ok(action) => action,
            Err(warning) => {
                self.findings.push(Finding::Warning(warning));
                return edit;
            }
        };
        let mut log = |action: &'static str, text: &str| {
            self.findings.push(Finding::Log { action, class, content: shown(line), text: text.to_string() });
        };
        match action {
            Action::Dunno => {}
            Action::Ignore => edit.line = Line::Dropped,
            Action::Strip(text) => {
                log("strip", &text);
                edit.line = Line::Dropped;
            }
            Action::Warn(text) => log("warning", &text),
            Action::Info(text) => log("info", &text),
            Action::Prepend(text) => {
                log("prepend", &text);
                edit.before = Some(text);
            }
            Action::Replace(text) => {
                log("replace", &text);
                edit.line = Line::Replaced(text);
            }
            Action::Hold(text) => {
                log("hold", &text);
                self.findings.push(Finding::Hold);
            }
            Action::Filter(text) => {
                log("filter", &text);
                self.findings.push(Finding::Filter(text));
            }
            Action::Redirect(text) => {
                log("redirect", &text);
                // header_checks(5) has it otherwise, but so does cleanup(8).
                self.off = true;
                self.findings.push(Finding::Redirect(text));
            }
            Action::Bcc(text) => {
                log("bcc", &text);
                self.findings.push(Finding::Bcc(text));
            }
            Action::Pass(text) => {
                log("pass", &text);
                self.off = true;
            }
            Action::Discard(text) => {
                log("discard", &text);
                self.off = true;
                self.findings.push(Finding::Discard);
            }
            Action::Reject(text) => {
                log("reject", &text);
                self.off = true;
                self.findings.push(Finding::Reject(text));
            }
        }
        edit
    }

    fn text(&mut self, checks: &Checks, mut bytes: &[u8], out: &mut Vec<u8>) {
        if checks.body.is_empty() {
            return out.extend_from_slice(bytes);
        }
        let limit = checks.manner.line_limit.max(1);
        while !bytes.is_empty() {
            if self.line.is_empty() && (self.off || self.seen > checks.manner.body_limit) {
                return out.extend_from_slice(bytes);
            }
            // A carriage return may belong to the line end that comes next.
            let room = (limit + 1).saturating_sub(self.line.len()).max(1);
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            let (piece, rest) = bytes.split_at(end.min(room));
            bytes = rest;
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                self.end_line(checks, out);
            } else if self.line.len() > limit {
                let over = self.line.split_off(limit);
                self.end_line(checks, out);
                self.line = over;
            }
        }
    }

    /// Judges what was gathered of a line.
    fn end_line(&mut self, checks: &Checks, out: &mut Vec<u8>) {
        if self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").map_or(line.as_slice(), |l| l.strip_suffix(b"\r").unwrap_or(l));
        let edit = match !self.off && self.seen <= checks.manner.body_limit {
            true => self.ask(checks, &checks.body, "body", text),
            false => Edit::default(),
        };
        self.seen += text.len() as u64;
        if let Some(before) = edit.before {
            put(before.as_bytes(), out);
        }
        match edit.line {
            Line::Kept => out.extend_from_slice(&line),
            Line::Dropped => {}
            Line::Replaced(new) => {
                out.extend_from_slice(one_line(&new).as_bytes());
                out.extend_from_slice(&line[text.len()..]);
            }
        }
        self.line = line;
        self.line.clear();
    }
}

/// Writes a header field as it is after its judgement.
pub fn write(edit: Edit, raw: &[u8], out: &mut Vec<u8>) {
    if let Some(before) = edit.before {
        put(before.as_bytes(), out);
    }
    match edit.line {
        Line::Kept => put(raw, out),
        Line::Dropped => {}
        Line::Replaced(new) => put(new.as_bytes(), out),
    }
}

/// A line made by a table, and its end. A line feed that a table brings continues a header.
pub(crate) fn put(line: &[u8], out: &mut Vec<u8>) {
    let mut lines = line.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    out.extend_from_slice(lines.next().unwrap_or_default());
    for more in lines {
        out.extend_from_slice(if more.starts_with(b" ") || more.starts_with(b"\t") {
            b"\r\n"
        } else {
            b"\r\n "
        });
        out.extend_from_slice(more);
    }
    out.extend_from_slice(b"\r\n");
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
