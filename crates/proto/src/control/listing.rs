//! How the queue looks to an administrator: `mailq` and `postqueue -j`, column by column as Postfix.

use super::{Entry, Queue, State};
use crate::{Address, QueueId};

/// The line above all.
pub fn heading() -> &'static str {
    if QueueId::shows_long() {
        "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
    } else {
        "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
    }
}
/// What an empty queue shows.
pub const EMPTY: &str = "Mail queue is empty";

/// One message, lines ended by line feeds, an empty line last. `arrival` is
/// [`crate::date::DateTime::ctime_without_year`] of its arrival in local time.
pub fn entry(entry: &Entry, arrival: &str) -> String {
    let mark = match (entry.queue, entry.expired) {
        (_, true) => "#",
        (Queue::Active, _) => "*",
        (Queue::Hold, _) => "!",
        _ => "",
    };
    let (id, size) = (format!("{}{mark}", entry.id), entry.envelope.size);
    let sender = sender(&entry.envelope.sender);
    let (mut out, indent) = if QueueId::shows_long() {
        (format!("{id:<17} {size:>8} {arrival:<19} {sender}\n"), 47)
    } else {
        // Twenty characters of ctime(3): what follows the time is the space before the year.
        (format!("{id:<11} {size:>7} {arrival:<20} {sender}\n"), 41)
    };
    let mut groups: Vec<(&str, Vec<&Address>)> = Vec::new();
    for (recipient, state) in entry.envelope.recipients.iter().zip(&entry.states) {
        let reason = match state {
            State::Sent(_) | State::Bounced(_) => continue,
            State::Pending => "",
            State::Deferred(status) | State::Owed(status) => status.text.as_str(),
        };
        match groups.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, all)) => all.push(&recipient.address),
            None => groups.push((reason, vec![&recipient.address])),
        }
    }
    for (reason, recipients) in groups {
        if !reason.is_empty() {
            out.push_str(&format!("{:>78}\n", format!("({})", clean(reason.trim_end()))));
        }
        for address in recipients {
            out.push_str(&format!("{:indent$}{}\n", "", clean(&address.to_string())));
        }
    }
    out.push('\n');
    out
}

/// The last line: how much there is in all.
pub fn total(bytes: u64, messages: u64) -> String {
    let plural = if messages == 1 { "" } else { "s" };
    format!("-- {} Kbytes in {messages} Request{plural}.\n", bytes / 1024)
}

/// One message as an object of JSON, in one line, with its line feed.
pub fn json(entry: &Entry) -> String {
    json_in(entry.queue.name(), entry)
}

/// The same for a message of another place: `maildrop`.
pub fn json_in(queue: &str, entry: &Entry) -> String {
    let mut recipients = Vec::new();
    for (recipient, state) in entry.envelope.recipients.iter().zip(&entry.states) {
        let reason = match state {
            State::Sent(_) | State::Bounced(_) => continue,
            State::Pending => None,
            State::Deferred(status) | State::Owed(status) => Some(&status.text),
        };
        let mut object = format!("{{\"address\": \"{}\"", quoted(&recipient.address.to_string()));
        if let Some(reason) = reason {
            object.push_str(&format!(", \"delay_reason\": \"{}\"", quoted(reason)));
        }
        recipients.push(object + "}");
    }
    format!(
        "{{\"queue_name\": \"{}\", \"queue_id\": \"{}\", \"arrival_time\": {}, \"message_size\": {}, \
         \"forced_expire\": {}, \"sender\": \"{}\", \"recipients\": [{}]}}\n",
        queue,
        quoted(&entry.id),
        entry.envelope.arrival / 1_000_000,
        entry.envelope.size,
        entry.expired,
        quoted(&sender(&entry.envelope.sender)),
        recipients.join(", ")
    )
}

fn sender(address: &Address) -> String {
    if address.is_null() { "MAILER-DAEMON".into() } else { clean(&address.to_string()) }
}

/// What a stranger wrote must not move the cursor of a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// RFC 8259 7
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Envelope, Recipient};
    use crate::status::{Code, Status};

    fn message(reason: Option<&str>, queue: Queue) -> Entry {
        let state = reason.map_or(State::Pending, |r| State::Deferred(Status::new(Code(4, 4, 1), r)));
        let recipient = |t: &str| Recipient { address: Address::from_internal(t), ..Recipient::default() };
        Entry {
            id: "CBA3A45".into(),
            queue,
            expired: false,
            envelope: Envelope {
                sender: Address::from_internal("jose@josedomingo.org"),
                recipients: vec![recipient("x@ret.example"), recipient("y@ret.example")],
                size: 318,
                arrival: 1_795_255_685_000_000,
                ..Envelope::default()
            },
            states: vec![state.clone(), state],
            next_attempt: 0,
            tries: 1,
        }
    }

    #[test]
    fn columns_are_those_of_postfix() {
        let text =
            entry(&message(Some("mail transport unavailable"), Queue::Deferred), "Sat Nov 21 10:08:05");
        let expected = "CBA3A45         318 Sat Nov 21 10:08:05  jose@josedomingo.org\n\
            \x20                                                 (mail transport unavailable)\n\
            \x20                                        x@ret.example\n\
            \x20                                        y@ret.example\n\n";
        assert_eq!(text, expected);
        let active = entry(&message(None, Queue::Active), "Sat Nov 21 10:08:05");
        assert!(active.starts_with("CBA3A45*        318 Sat"));
        assert!(!active.contains('('));
        let mut held = message(None, Queue::Hold);
        assert!(entry(&held, "x").starts_with("CBA3A45!  "));
        held.expired = true;
        assert!(entry(&held, "x").starts_with("CBA3A45#  "));
        held.id = "89ABCDEF0123".into();
        assert!(entry(&held, "Sat Nov 21 10:08:05").starts_with("89ABCDEF0123#     318 "));
        assert_eq!(total(300, 1), "-- 0 Kbytes in 1 Request.\n");
        assert_eq!(total(4096, 3), "-- 4 Kbytes in 3 Requests.\n");
    }

    #[test]
    fn reasons_longer_than_the_line_start_in_column_one() {
        let long = "x".repeat(90);
        assert!(entry(&message(Some(&long), Queue::Deferred), "t").contains(&format!("\n({long})\n")));
    }

    #[test]
    fn json_as_postqueue_writes_it() {
        let mut m = message(Some("a \"b\"\u{1}"), Queue::Deferred);
        m.envelope.recipients.pop();
        assert_eq!(
            json(&m),
            "{\"queue_name\": \"deferred\", \"queue_id\": \"CBA3A45\", \"arrival_time\": 1795255685, \
             \"message_size\": 318, \"forced_expire\": false, \"sender\": \"jose@josedomingo.org\", \
             \"recipients\": [{\"address\": \"x@ret.example\", \"delay_reason\": \"a \\\"b\\\"\\u0001\"}]}\n"
        );
    }
}
