//! The text of a notice: three parts, laid out as Postfix does. RFC 3464, RFC 3461 6

use super::template::{Kind, Template};
use proto::Address;
use proto::date::DateTime;
use proto::envelope::{Envelope, Trace};
use proto::job::Action;
use proto::status::Status;
use proto::wrap::fold;

/// The longest line of what a person reads, columns.
const WIDTH: usize = 79;

/// What a notice says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Where it went.
    pub to: Address,
    /// As the client gave it.
    pub original: String,
    /// ORCPT, as received.
    pub orcpt: Option<String>,
    /// What became of it.
    pub status: Status,
    /// How it was delivered, when it was.
    pub action: Action,
}

/// How much of the message comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// All of it.
    Whole,
    /// Its headers.
    Headers,
}

/// Everything a notice is made of.
#[derive(Debug)]
pub struct Notice<'a> {
    /// What it tells.
    pub kind: Kind,
    /// It goes to the postmaster: other subject, no introduction.
    pub postmaster: bool,
    /// Its words.
    pub template: &'a Template,
    /// The introduction, expanded.
    pub introduction: &'a str,
    /// `myhostname`.
    pub myhostname: &'a str,
    /// The message it is about.
    pub id: &'a str,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// The sender as shown: the mail daemon for the null sender.
    pub sender: &'a str,
    /// When the message arrived.
    pub arrival: &'a DateTime,
    /// Until when it is tried.
    pub until: Option<&'a DateTime>,
    /// Now.
    pub date: &'a DateTime,
    /// Now, seconds since 1970.
    pub seconds: u64,
    /// To whom.
    pub to: &'a str,
    /// About whom.
    pub recipients: &'a [Reported],
    /// How much of the message comes along.
    pub returned: Returned,
}

impl Notice<'_> {
    /// The text without the message, and what follows the message. CRLF lines.
    pub fn frame(&self) -> (Vec<u8>, Vec<u8>) {
        let boundary = format!("{}.{}/{}", self.id, self.seconds, self.myhostname);
        let mut lines: Vec<String> = Vec::new();
        let mut add = |line: String| lines.push(line);
        let (subject, auto) = if self.postmaster {
            (&self.template.postmaster_subject, "auto-generated")
        } else {
            (&self.template.subject, "auto-replied")
        };
        add(format!("Date: {}", self.date.rfc5322()));
        add(format!("From: {}", self.template.from));
        add(format!("Subject: {subject}"));
        add(one_line(&format!("To: {}", self.to)));
        add(format!("Auto-Submitted: {auto}"));
        add("MIME-Version: 1.0".into());
        add("Content-Type: multipart/report; report-type=delivery-status;".into());
        add(format!("\tboundary=\"{boundary}\""));
        add("Content-Transfer-Encoding: 8bit".into());
        add(String::new());
        add("This is a MIME-encapsulated message.".into());
        add(String::new());

        add(format!("--{boundary}"));
        add("Content-Description: Notification".into());
        add(format!("Content-Type: text/plain; charset={}", self.template.charset));
        add("Content-Transfer-Encoding: 8bit".into());
        add(String::new());
        if !self.postmaster {
            self.introduction.lines().for_each(|l| add(l.to_string()));
        }
        for r in self.recipients {
            add(String::new());
            let to = r.to.to_string();
            let from = if r.original.eq_ignore_ascii_case(&to) || r.original.is_empty() {
                String::new()
            } else {
                format!(" (expanded from <{}>)", r.original)
            };
            fold(&one_line(&format!("<{to}>{from}: {}", r.status.text)), WIDTH)
                .into_iter()
                .for_each(&mut add);
        }
        add(String::new());

        add(format!("--{boundary}"));
        add("Content-Description: Delivery report".into());
        let utf8 = self.envelope.smtputf8;
        if utf8 {
            // RFC 6533 3
            add("Content-Type: message/global-delivery-status".into());
            add("Content-Transfer-Encoding: 8bit".into());
        } else {
            add("Content-Type: message/delivery-status".into());
        }
        add(String::new());
        add(format!("Reporting-MTA: dns; {}", self.myhostname));
        if let Some(envid) = &self.envelope.dsn_envid {
            add(format!("Original-Envelope-Id: {}", one_line(&unxtext(envid))));
        }
        add(format!("X-Postfix-Queue-ID: {}", self.id));
        let kind = if utf8 && !self.sender.is_ascii() { "utf-8" } else { "rfc822" };
        add(one_line(&format!("X-Postfix-Sender: {kind}; {}", self.sender)));
        add(format!("Arrival-Date: {}", self.arrival.rfc5322()));
        for r in self.recipients {
            add(String::new());
            self.report(r, &mut add);
        }
        add(String::new());

        add(format!("--{boundary}"));
        let (description, plain, global) = match (self.kind, self.returned) {
            (Kind::Failure, Returned::Whole) => ("Undelivered Message", "message/rfc822", "message/global"),
            (Kind::Failure | Kind::Delay, _) => {
                ("Undelivered Message Headers", "text/rfc822-headers", "message/global-headers")
            }
            (_, Returned::Whole) => ("Message", "message/rfc822", "message/global"),
            _ => ("Message Headers", "text/rfc822-headers", "message/global-headers"),
        };
        add(format!("Content-Description: {description}"));
        add(format!("Content-Type: {}", if utf8 { global } else { plain }));
        add("Content-Transfer-Encoding: 8bit".into());
        add(String::new());
        add(one_line(&format!("Return-Path: <{}>", self.sender)));
        let head = lines.iter().flat_map(|l| l.bytes().chain(*b"\r\n")).collect();
        (head, format!("\r\n--{boundary}--\r\n").into_bytes())
    }

    /// The fields of one recipient. RFC 3464 2.3
    fn report(&self, r: &Reported, add: &mut dyn FnMut(String)) {
        let to = r.to.to_string();
        let kind = if self.envelope.smtputf8 && !to.is_ascii() { "utf-8" } else { "rfc822" };
        add(one_line(&format!("Final-Recipient: {kind}; {to}")));
        if let Some(orcpt) = &r.orcpt {
            let (kind, address) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
            add(format!("Original-Recipient: {};{}", one_line(kind), one_line(&unxtext(address))));
        }
        let action = match (self.kind, r.action) {
            (Kind::Failure, _) => "failed",
            (Kind::Delay, _) => "delayed",
            (Kind::Verify, _) if self.envelope.trace == Trace::Verify => match r.status.code.0 {
                2 => "deliverable",
                _ => "undeliverable",
            },
            (Kind::Verify, _) if r.status.code.0 == 5 => "failed",
            (Kind::Verify, _) if r.status.code.0 == 4 => "delayed",
            (_, Action::Delivered) => "delivered",
            (_, Action::Relayed | Action::Transferred) => "relayed",
            (_, Action::Expanded) => "expanded",
        };
        add(format!("Action: {action}"));
        add(format!("Status: {}", r.status.code));
        let (kind, text) = match &r.status.remote {
            Some(remote) => {
                if let Some((kind, name)) = &remote.mta {
                    add(one_line(&format!("Remote-MTA: {kind}; {name}")));
                }
                (remote.diagnostic.0.as_str(), remote.diagnostic.1.as_str())
            }
            None => ("X-Postfix", r.status.text.as_str()),
        };
        fold(&one_line(&format!("Diagnostic-Code: {kind}; {text}")), WIDTH).into_iter().for_each(&mut *add);
        if let Some(until) = self.until {
            add(format!("Will-Retry-Until: {}", until.rfc5322()));
        }
    }
}

/// What a stranger wrote must not begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

/// RFC 3461 4: `+` and two hexadecimal digits are one byte. What is not encoded so stays.
pub fn unxtext(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let byte = match (first, tail.split_at_checked(2)) {
            (b'+', Some((digits, after))) => std::str::from_utf8(digits)
                .ok()
                .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|d| u8::from_str_radix(d, 16).ok())
                .map(|b| (b, after)),
            _ => None,
        };
        let (byte, after) = byte.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the headers of a message end: the bytes before its empty line.
pub fn headers_end(content: &[u8]) -> usize {
    if content.starts_with(b"\r\n") {
        return 0;
    }
    content.windows(4).position(|w| w == b"\r\n\r\n").map_or(content.len(), |at| at + 2)
}

#[cfg(test)]
mod tests;
