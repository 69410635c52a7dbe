//! Restrictions on the recipient.

use super::{Asked, Rule, Subject, Verdict, unlisted};
use proto::Address;
use proto::address::parse::{is_address_literal, is_host_name};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("reject_non_fqdn_recipient", |a| match a.q.recipient {
        Some(recipient) => fully_qualified(a, recipient, Subject::recipient(recipient)),
        None => Verdict::Dunno,
    }),
    ("reject_unlisted_recipient", |a| {
        a.notes.recipient_checked = true;
        match a.q.recipient {
            Some(recipient) => unlisted::check(a, recipient, false),
            None => Verdict::Dunno,
        }
    }),
];

/// Refuses an address without domain, or with one that is not written in full.
pub(super) fn fully_qualified(a: &mut Asked<'_, '_>, address: &Address, subject: Subject) -> Verdict {
    let domain = address.domain().unwrap_or("");
    let bare = domain.strip_suffix('.').unwrap_or(domain);
    if is_address_literal(domain) || is_host_name(bare, true) && bare.contains('.') {
        return Verdict::Dunno;
    }
    let code = a.q.rules.non_fqdn_reject_code;
    Verdict::Reject(a.refusal_of(&subject, code, "5.5.2", "need fully-qualified address"))
}
