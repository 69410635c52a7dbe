//! Questions and answers as they travel, RFC 1035 4. What an answer means for the question is in
//! `read`.

use super::Kind;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};

/// What fits a packet that is not split on its way, as the DNS Flag Day of 2020 agreed.
pub(super) const UDP_BYTES: u16 = 1232;

pub(super) fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
        Kind::Txt => RecordType::TXT,
        Kind::Ns => RecordType::NS,
        Kind::Tlsa => RecordType::TLSA,
        Kind::Cname => RecordType::CNAME,
    }
}

/// A name as [`super::name::ascii`] gives it. `None` should it not fit the wire.
pub(super) fn name(text: &str) -> Option<Name> {
    let labels = text.split('.').filter(|l| !l.is_empty()).map(str::as_bytes);
    let mut name = Name::from_labels(labels).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A question under this number. With `edns` it says that long answers are welcome, and that a word
/// about authenticity is (RFC 3225, RFC 6840 5.7).
pub(super) fn question(id: u16, name: &Name, kind: RecordType, edns: bool) -> Option<Vec<u8>> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = edns;
    message.add_query(Query::query(name.clone(), kind));
    if edns {
        let mut options = Edns::new();
        options.set_max_payload(UDP_BYTES).set_version(0);
        options.set_dnssec_ok(true);
        message.set_edns(options);
    }
    message.to_vec().ok()
}

/// What came in reply to a question.
pub(super) enum Reply {
    /// Not an answer to it: nothing may be concluded from it.
    Foreign,
    /// An answer that makes no sense.
    Garbage,
    /// An answer; whether cut off is in its header.
    Answer(Box<Message>),
}

/// Judges bytes: the number, the header and the question must be ours.
pub(super) fn answer(bytes: &[u8], id: u16, name: &Name, kind: RecordType) -> Reply {
    let header = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let numbered = bytes.len() >= 12 && u16::from_be_bytes([header(0), header(1)]) == id;
    if !numbered || header(2) & 0x80 == 0 {
        return Reply::Foreign;
    }
    let Ok(message) = Message::from_vec(bytes) else {
        // What cannot be read may still have been sent by somebody who guessed the number.
        return if asked_at(bytes, name, kind) { Reply::Garbage } else { Reply::Foreign };
    };
    let meta = &message.metadata;
    if meta.message_type != MessageType::Response || meta.op_code != OpCode::Query {
        return Reply::Foreign;
    }
    let ours = match message.queries.as_slice() {
        [q] => q.name() == name && q.query_type() == kind && q.query_class() == DNSClass::IN,
        // Servers that do not understand the question repeat nothing of it.
        [] => u16::from(meta.response_code) != 0 && message.answers.is_empty(),
        _ => false,
    };
    if ours { Reply::Answer(Box::new(message)) } else { Reply::Foreign }
}

/// Whether the question stands where it must, bytes compared without regard to case.
fn asked_at(bytes: &[u8], name: &Name, kind: RecordType) -> bool {
    let Some(asked) = question(0, name, kind, false) else { return false };
    match (asked.get(12..), bytes.get(12..asked.len())) {
        (Some(asked), Some(got)) => asked.eq_ignore_ascii_case(got),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours() {
        let asked = name("mail.example.org").unwrap();
        let mut reply = question(7, &asked, RecordType::MX, true).unwrap();
        assert!(matches!(answer(&reply, 7, &asked, RecordType::MX), Reply::Foreign), "a question");
        reply[2] |= 0x80;
        assert!(matches!(answer(&reply, 7, &asked, RecordType::MX), Reply::Answer(_)));
        let upper = name("MAIL.example.ORG").unwrap();
        assert!(matches!(answer(&reply, 7, &upper, RecordType::MX), Reply::Answer(_)));
        assert!(matches!(answer(&reply, 8, &asked, RecordType::MX), Reply::Foreign));
        assert!(matches!(answer(&reply, 7, &asked, RecordType::A), Reply::Foreign));
        assert!(matches!(answer(&reply, 7, &name("example.org").unwrap(), RecordType::MX), Reply::Foreign));
        for cut in 0..reply.len() {
            let got = answer(&reply[..cut], 7, &asked, RecordType::MX);
            assert!(matches!(got, Reply::Foreign | Reply::Garbage), "{cut}");
        }
        reply[7] = 9; // nine answers that are not there
        assert!(matches!(answer(&reply, 7, &asked, RecordType::MX), Reply::Garbage));
    }

    #[test]
    fn a_refusal_without_the_question() {
        let asked = name("a.b").unwrap();
        let refusal = [0, 9, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(answer(&refusal, 9, &asked, RecordType::A), Reply::Answer(_)));
        let nothing = [0, 9, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(answer(&nothing, 9, &asked, RecordType::A), Reply::Foreign));
    }
}
