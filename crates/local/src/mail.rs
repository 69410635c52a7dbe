//! What a delivery knows: the job, one of its recipients, and the headers put before a message.

use crate::content::Content;
use proto::Address;
use proto::date::DateTime;
use proto::job::Job;
use proto::status::{Code, Remote, Status};

/// A message on its way to one final destination.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The address delivered to, after aliases.
    pub to: Address,
    /// X-Original-To; empty for none.
    pub original: String,
    /// Delivered-To; `None` for none.
    pub delivered: Option<String>,
    /// Return-Path: the envelope sender, or the owner of a list.
    pub sender: Address,
    /// The bare name, in lower case.
    pub user: String,
    /// The whole part before the `@`, in lower case.
    pub local: String,
    /// What stands behind the delimiter.
    pub extension: Option<String>,
}

/// Everything that is the same for all recipients of a job.
pub(crate) struct Mail<'a> {
    pub job: &'a Job,
    pub content: &'a Content,
    /// Addresses in the message's Delivered-To headers.
    pub loops: Vec<String>,
}

/// Which headers are put before the message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers {
    pub from_line: bool,
    pub return_path: bool,
    pub original_to: bool,
    pub delivered_to: bool,
}

/// The envelope sender in the words of a From_ line: never empty.
fn visible(sender: &Address, null: &str) -> String {
    if sender.is_null() { null.to_string() } else { sender.to_string() }
}

/// The lines before the message. `null` stands for the null sender in the From_ line, `path` in
/// Return-Path; `eol` ends lines.
pub(crate) fn headers(item: &Item, which: Headers, null: &str, path: &str, eol: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line = |text: String| {
        // An address never breaks a line, whatever a client wrote.
        out.extend(text.bytes().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b'?' } else { b }));
        out.extend_from_slice(eol);
    };
    if which.from_line {
        let seconds = (sys::time::now_micros() / 1_000_000) as i64;
        let now = DateTime::new(seconds, sys::time::zone_at(seconds).offset, "");
        line(format!("From {}  {}", visible(&item.sender, null), now.ctime()));
    }
    if which.return_path {
        line(format!("Return-Path: <{}>", visible(&item.sender, path)));
    }
    if which.original_to && !item.original.is_empty() {
        line(format!("X-Original-To: {}", item.original));
    }
    if which.delivered_to
        && let Some(delivered) = &item.delivered
    {
        line(format!("Delivered-To: {delivered}"));
    }
    out
}

/// The status of an address that the message was already delivered to.
pub(crate) fn loop_status(address: &Address) -> Status {
    Status::new(Code(5, 4, 6), format!("mail forwarding loop for {address}"))
}

/// A status decided by a program of this host.
pub(crate) fn unix_status(code: Code, text: String, diagnostic: String) -> Status {
    let remote = Remote::of(None, ("x-unix".into(), diagnostic));
    Status { code, text, remote: Some(remote) }
}

/// An error of the operating system without the number that Rust adds.
pub(crate) fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text.get(..at).unwrap_or(&text).to_string(),
        None => text,
    }
}
