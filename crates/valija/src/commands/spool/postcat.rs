//! postcat: one message of the queue, in the layout of Postfix. postcat(1)
//!
//! There is no file per message: a message is named by its queue id, with `-q` or without.

use super::Command;
use proto::control::{Entry, Queue, State};
use proto::date::DateTime;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// Which parts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    envelope: bool,
    header: bool,
    body: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    directory: Option<String>,
    parts: Parts,
    verbose: bool,
    ids: Vec<String>,
}

/// Runs the command.
pub fn run(name: &str, args: &[String]) -> ExitCode {
    let Some(wishes) = options(args) else {
        eprintln!(
            "{name}: fatal: usage: {name} [-b (body text)] [-c config_dir] [-d (decimal record type)] \
             [-e (envelope records)] [-h (header text)] [-q (access queue)] [-v] [file(s)...]"
        );
        return ExitCode::FAILURE;
    };
    let command = match Command::new(name, wishes.directory.as_deref()) {
        Ok(command) => command,
        Err(why) => {
            eprintln!("{name}: fatal: {why}");
            return ExitCode::FAILURE;
        }
    };
    for id in &wishes.ids {
        if let Err(why) = show(&command, id, &wishes) {
            eprintln!("{name}: fatal: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn show(command: &Command, id: &str, wishes: &Wishes) -> Result<(), String> {
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        parts: wishes.parts,
        verbose: wishes.verbose,
        begun: false,
        in_body: false,
        line: Vec::new(),
    };
    match command.get(id, |entry, bytes| printer.content(entry, bytes)) {
        Ok(Some(entry)) => printer.end(&entry).map_err(|e| e.to_string()),
        Ok(None) => Err(format!("open queue file {id}: No such file or directory")),
        Err(why) if why.contains("not allowed") || why.contains("belongs to") => {
            Err(format!("open queue file {id}: Permission denied"))
        }
        Err(why) => Err(why),
    }
}

struct Printer<W: Write> {
    out: W,
    parts: Parts,
    verbose: bool,
    begun: bool,
    in_body: bool,
    line: Vec<u8>,
}

/// As Postfix names a queue file; only the queue and the id mean something here.
fn path(entry: &Entry) -> String {
    match entry.queue {
        Queue::Deferred => {
            let first: String = entry.id.chars().take(1).collect();
            format!("deferred/{first}/{}", entry.id)
        }
        queue => format!("{}/{}", queue.name(), entry.id),
    }
}

impl<W: Write> Printer<W> {
    /// Parts without the envelope are printed bare, as for a mail reader.
    fn bare(&self) -> bool {
        !self.parts.envelope
    }

    fn begin(&mut self, entry: &Entry) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) || self.bare() {
            return Ok(());
        }
        writeln!(self.out, "*** ENVELOPE RECORDS {} ***", path(entry))?;
        for (name, value) in records(entry) {
            writeln!(self.out, "{name}: {value}")?;
        }
        writeln!(self.out, "*** MESSAGE CONTENTS {} ***", path(entry))
    }

    fn content(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        self.begin(entry)?;
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                self.flush_line()?;
            }
        }
        Ok(())
    }

    fn flush_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let boundary = !self.in_body && text.is_empty();
        // The empty line between them belongs to the body.
        let shown = if self.in_body || boundary { self.parts.body } else { self.parts.header };
        self.in_body |= boundary;
        if shown {
            if self.verbose && !self.bare() {
                self.out.write_all(b"regular_text: ")?;
            }
            self.out.write_all(text)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn end(&mut self, entry: &Entry) -> io::Result<()> {
        self.begin(entry)?;
        if !self.line.is_empty() {
            self.flush_line()?;
        }
        if !self.bare() {
            writeln!(self.out, "*** HEADER EXTRACTED {} ***", path(entry))?;
            writeln!(self.out, "*** MESSAGE FILE END {} ***", path(entry))?;
        }
        self.out.flush()
    }
}

/// The envelope as Postfix's records name it.
fn records(entry: &Entry) -> Vec<(&'static str, String)> {
    let e = &entry.envelope;
    let seconds = (e.arrival / 1_000_000) as i64;
    let zone = sys::time::zone_at(seconds);
    let arrival = DateTime::new(seconds, zone.offset, &zone.name).ctime();
    let attribute = |name: &str, value: &str| ("named_attribute", format!("{name}={value}"));
    let mut all = vec![
        (
            "message_size",
            format!(
                "{:>15} {:>15} {:>15} {:>15} {:>15} {:>15}",
                e.size,
                0,
                e.recipients.len(),
                0,
                e.size,
                u8::from(e.smtputf8)
            ),
        ),
        ("message_arrival_time", arrival.clone()),
        ("create_time", arrival),
        attribute("log_ident", &entry.id),
        attribute("rewrite_context", "local"),
    ];
    if let Some(envid) = &e.dsn_envid {
        all.push(attribute("envelope_id", envid));
    }
    all.push(("sender", e.sender.to_string()));
    let c = &e.client;
    for (name, value) in [
        ("client_name", &c.name),
        ("reverse_client_name", &c.reverse_name),
        ("client_address", &c.address),
        ("client_port", &c.port),
        ("helo_name", &c.helo),
        ("protocol_name", &c.protocol),
        ("sasl_method", &c.sasl_method),
        ("sasl_username", &c.sasl_username),
        ("sasl_sender", &c.sasl_sender),
    ] {
        if !value.is_empty() {
            all.push(attribute(name, value));
        }
    }
    if let Some(filter) = &e.filter {
        all.push(("content_filter", filter.clone()));
    }
    for (recipient, state) in e.recipients.iter().zip(&entry.states) {
        if let Some(orcpt) = &recipient.dsn_orcpt {
            all.push(attribute("dsn_orig_rcpt", orcpt));
        }
        let n = recipient.notify;
        let flags: u8 = [n.never, n.success, n.failure, n.delay]
            .iter()
            .enumerate()
            .map(|(i, set)| u8::from(*set) << i)
            .sum();
        if flags != 0 {
            all.push(attribute("notify_flags", &flags.to_string()));
        }
        all.push(("original_recipient", recipient.original.clone()));
        let done = matches!(state, State::Sent(_) | State::Bounced(_));
        all.push((if done { "done_recipient" } else { "recipient" }, recipient.address.to_string()));
    }
    all
}

fn options(args: &[String]) -> Option<Wishes> {
    let nothing = Parts { envelope: false, header: false, body: false };
    let mut wishes = Wishes { directory: None, parts: nothing, verbose: false, ids: Vec::new() };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            wishes.ids.push(word.clone());
            continue;
        };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            match letter {
                'b' => wishes.parts.body = true,
                'h' => wishes.parts.header = true,
                'e' => wishes.parts.envelope = true,
                'v' => wishes.verbose = true,
                'q' | 'd' | 'o' | 'f' | 'r' | 's' => {}
                'c' => {
                    let joined: String = rest.by_ref().collect();
                    wishes.directory = Some(if joined.is_empty() { words.next()?.clone() } else { joined });
                }
                _ => return None,
            }
        }
    }
    if wishes.parts == nothing {
        wishes.parts = Parts { envelope: true, header: true, body: true };
    }
    Some(wishes).filter(|w| !w.ids.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Address;
    use proto::envelope::{Envelope, Recipient};

    fn entry() -> Entry {
        Entry {
            id: "D032F50".into(),
            queue: Queue::Deferred,
            expired: false,
            envelope: Envelope {
                sender: Address::from_internal("jose@josedomingo.org"),
                recipients: vec![Recipient {
                    address: Address::from_internal("x@ret.example"),
                    original: "x@ret.example".into(),
                    dsn_orcpt: Some("rfc822;x@ret.example".into()),
                    ..Recipient::default()
                }],
                size: 318,
                ..Envelope::default()
            },
            states: vec![State::Pending],
            next_attempt: 0,
            tries: 0,
        }
    }

    fn print(letters: &str) -> String {
        let wishes = options(&["-q".into(), letters.into(), "D032F50".into()]).unwrap();
        let mut out = Vec::new();
        let mut printer = Printer {
            out: &mut out,
            parts: wishes.parts,
            verbose: wishes.verbose,
            begun: false,
            in_body: false,
            line: Vec::new(),
        };
        printer.content(&entry(), b"Subject: t\r\n\r\nho").unwrap();
        printer.content(&entry(), b"la\r\n").unwrap();
        printer.end(&entry()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts() {
        assert_eq!(print("-bh"), "Subject: t\n\nhola\n");
        assert_eq!(print("-b"), "\nhola\n");
        assert_eq!(print("-h"), "Subject: t\n");
        let whole = print("-q");
        assert!(whole.starts_with(
            "*** ENVELOPE RECORDS deferred/D/D032F50 ***\nmessage_size:             318               0"
        ));
        assert!(whole.contains("\nsender: jose@josedomingo.org\n"));
        assert!(whole.contains(
            "dsn_orig_rcpt=rfc822;x@ret.example\noriginal_recipient: x@ret.example\nrecipient: x@ret"
        ));
        assert!(whole.ends_with(
            "*** MESSAGE CONTENTS deferred/D/D032F50 ***\nSubject: t\n\nhola\n\
             *** HEADER EXTRACTED deferred/D/D032F50 ***\n*** MESSAGE FILE END deferred/D/D032F50 ***\n"
        ));
        assert!(!print("-e").contains("Subject"));
        assert!(print("-v").contains("regular_text: hola\n"));
        assert_eq!(options(&["-q".into()]), None);
    }
}
