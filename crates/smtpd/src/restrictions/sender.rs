//! Restrictions on the sender.

use super::{Asked, Rule, Subject, Verdict, recipient, unlisted};

pub(super) const RULES: &[(&str, Rule)] =
    &[("reject_non_fqdn_sender", non_fqdn), ("reject_unlisted_sender", unlisted)];

fn non_fqdn(a: &mut Asked<'_, '_>) -> Verdict {
    match a.q.sender {
        Some(sender) if !sender.is_null() => recipient::fully_qualified(a, sender, Subject::sender(sender)),
        _ => Verdict::Dunno,
    }
}

fn unlisted(a: &mut Asked<'_, '_>) -> Verdict {
    a.notes.sender_checked = true;
    match a.q.sender {
        Some(sender) => unlisted::check(a, sender, true),
        None => Verdict::Dunno,
    }
}
