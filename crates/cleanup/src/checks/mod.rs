//! `header_checks`, `body_checks` and their kin: rules over lines, and what they order. Pure but for
//! the tables. header_checks(5)
//!
//! One [`Checks`] holds the tables of a service, for mail that comes in or (`smtp_header_checks` …)
//! goes out; one [`Inspection`] goes with each message. It is given the fields of the primary header
//! and the bytes of the body, and gives back what is left of them; what else was ordered or is to be
//! logged is a list of [`Finding`]s for the driver.

pub mod action;
pub mod inspection;

pub use action::{Action, Side};
pub use inspection::{Edit, Inspection};

use config::value::List;
use proto::mime::{Fault, Limits, Place};
use tables::{Maps, TableError, Types};

/// What an inspection found, for the driver to say and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// To be logged as Postfix logs an action.
    Log {
        /// `reject`, `warning`, `prepend` …
        action: &'static str,
        /// `header` or `body`.
        class: &'static str,
        /// The line, shortened, without control characters.
        content: String,
        /// The text of the action; may be empty.
        text: String,
    },
    /// A rule of MIME was broken that is enforced.
    Mime {
        /// Which.
        fault: Fault,
        /// What shows it, as the log does.
        content: String,
    },
    /// A row that means nothing, in Postfix's words.
    Warning(String),
    /// Refuse the message with this enhanced code and text. Nothing more is inspected.
    Reject(String),
    /// Take the message and forget it. Nothing more is inspected.
    Discard,
    /// Keep it until it is released.
    Hold,
    /// `transport:nexthop` for the whole message.
    Filter(String),
    /// Send it there instead.
    Redirect(String),
    /// Send it there, too.
    Bcc(String),
    /// A table could not answer: the message cannot be taken (or sent) now.
    Unanswered {
        /// The parameter.
        map: String,
        /// Why.
        error: TableError,
    },
}

/// Which MIME rules are enforced on mail that comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strict {
    /// `strict_7bit_headers`, or `strict_8bitmime`.
    pub headers: bool,
    /// `strict_8bitmime_body`, or `strict_8bitmime`.
    pub body: bool,
    /// `strict_mime_encoding_domain`.
    pub domain: bool,
}

impl Strict {
    /// Whether a fault is one that is refused.
    fn refuses(self, fault: Fault) -> bool {
        match fault {
            Fault::EightBitHeader => self.headers,
            Fault::EightBitBody => self.body,
            Fault::EncodingDomain => self.domain,
            Fault::Nesting | Fault::LongHeader => false,
        }
    }

    fn any(self) -> bool {
        self != Strict::default()
    }
}

/// How the tables are asked, besides the tables.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// For mail that comes in, or goes out.
    pub side: Side,
    /// How much of a message the scanner follows.
    pub limits: Limits,
    /// Of each piece of a body, so many bytes are inspected (`body_checks_size_limit`).
    pub body_limit: u64,
    /// Longer lines are inspected in pieces of so many bytes (`line_length_limit`).
    pub line_limit: usize,
    /// All that follows the primary header is text (`disable_mime_input_processing`).
    pub flat: bool,
    /// What is refused besides.
    pub strict: Strict,
}

/// The tables of one service.
#[derive(Debug)]
pub struct Checks {
    header: Maps,
    mime: Maps,
    nested: Maps,
    body: Maps,
    manner: Manner,
}

/// The names of a service's four parameters: header, mime, nested, body.
pub type Names = [&'static str; 4];

/// Of mail that comes in.
pub const RECEIVING: Names = ["header_checks", "mime_header_checks", "nested_header_checks", "body_checks"];

impl Checks {
    /// Opens the tables of the parameters `names`.
    pub fn open(types: &Types, names: Names, tables: [&List; 4], manner: Manner) -> Checks {
        let maps = |at: usize| Maps::of(types, names[at], &tables[at].0);
        Checks { header: maps(0), mime: maps(1), nested: maps(2), body: maps(3), manner }
    }

    /// True when nothing is to be inspected.
    pub fn is_empty(&self) -> bool {
        self.header.is_empty() && !self.in_body()
    }

    /// Whether anything looks into bodies: else they need not be scanned at all.
    fn in_body(&self) -> bool {
        let headers = !self.mime.is_empty() || !self.nested.is_empty();
        !self.body.is_empty() || (headers && !self.manner.flat) || self.manner.strict.any()
    }

    /// The tables for a field: those that describe content have their own.
    fn maps_of(&self, place: Place, name: &str) -> &Maps {
        match place {
            _ if describes_content(name) => &self.mime,
            Place::Primary => &self.header,
            Place::Mime => &self.mime,
            Place::Nested => &self.nested,
        }
    }
}

/// The fields that mime_header_checks sees wherever they stand. header_checks(5)
fn describes_content(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "content-description",
        "content-disposition",
        "content-id",
        "content-transfer-encoding",
        "content-type",
        "mime-version",
    ];
    NAMES.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Bytes as a key of tables: line ends as in files, and what is no UTF-8 as if it were ISO 8859-1.
fn key(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|b| char::from(*b)));
    }
    match out.contains('\r') {
        true => out.replace("\r\n", "\n"),
        false => out,
    }
}

/// Bytes as the log shows them: the first 200, `?` for what cannot be printed.
fn shown(bytes: &[u8]) -> String {
    let (mut out, mut left) = (String::new(), 200usize);
    let mut rest = bytes;
    while let (Some(first), true) = (rest.first(), left > 0) {
        if rest.starts_with(b"\r\n") {
            rest = &rest[1..];
            continue;
        }
        let valid = rest.utf8_chunks().next().and_then(|c| c.valid().chars().next());
        let (c, length) = match valid {
            Some(c) if !c.is_control() => (c, c.len_utf8()),
            _ => ('?', valid.map_or(1, char::len_utf8)),
        };
        debug_assert!(!first.is_ascii_control() || c == '?');
        let Some(less) = left.checked_sub(length) else { break };
        left = less;
        out.push(c);
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests;
