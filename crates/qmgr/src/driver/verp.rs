//! Variable envelope return paths: each recipient gets the message from a sender that names the
//! recipient, so that whatever bounces says whose copy it was. VERP_README

use proto::Address;
use proto::envelope::{Envelope, Recipient};
use std::sync::Arc;

/// Whether a message asks for it. Notices and other mail without a sender cannot.
pub(super) fn wanted(envelope: &Envelope) -> bool {
    envelope.verp.is_some() && !envelope.sender.is_null()
}

/// The envelope as the recipient at `place` gets it.
pub(super) fn envelope(envelope: &Arc<Envelope>, place: usize) -> Arc<Envelope> {
    match envelope.recipients.get(place) {
        Some(recipient) if wanted(envelope) => {
            Arc::new(Envelope { sender: sender(envelope, recipient), ..(**envelope).clone() })
        }
        _ => envelope.clone(),
    }
}

/// `list@example.org` to `jose@example.com`: `list+jose=example.com@example.org`. The recipient is
/// the one that the submitter wrote, whom it knows.
pub(super) fn sender(envelope: &Envelope, recipient: &Recipient) -> Address {
    let Some(delimiters) = envelope.verp.as_deref().filter(|_| wanted(envelope)) else {
        return envelope.sender.clone();
    };
    let mut delimiters = delimiters.chars();
    let (first, second) = (delimiters.next().unwrap_or('+'), delimiters.next().unwrap_or('='));
    let original = Address::from_internal(&recipient.original);
    let who = if original.is_null() { &recipient.address } else { &original };
    let mut local = format!("{}{first}{}", envelope.sender.local(), who.local());
    if let Some(domain) = who.domain() {
        local.push(second);
        local.push_str(domain);
    }
    Address::new(&local, envelope.sender.domain())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_names_the_recipient() {
        let show = |verp: Option<&str>, from: &str, to: &str, original: &str| {
            let recipient = Recipient {
                address: Address::from_internal(to),
                original: original.into(),
                ..Recipient::default()
            };
            let envelope = Envelope {
                sender: Address::from_internal(from),
                verp: verp.map(str::to_string),
                recipients: vec![recipient],
                ..Envelope::default()
            };
            super::envelope(&Arc::new(envelope), 0).sender.internal()
        };
        let list = "list@example.org";
        assert_eq!(show(Some("+="), list, "jose@a.example", ""), "list+jose=a.example@example.org");
        assert_eq!(show(Some("-:"), list, "x", "jose@b.example"), "list-jose:b.example@example.org");
        assert_eq!(show(Some("+="), list, "root", ""), "list+root@example.org");
        assert_eq!(show(Some("+="), "list", "jose@a.example", ""), "list+jose=a.example");
        assert_eq!(show(None, list, "jose@a.example", ""), list);
        assert_eq!(show(Some("+="), "", "jose@a.example", ""), "");
    }
}
