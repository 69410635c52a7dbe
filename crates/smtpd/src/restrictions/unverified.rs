//! `reject_unverified_…`: addresses that a probe found to be of no use.
//! ADDRESS_VERIFICATION_README

use super::{Asked, Rejection, Rule, Subject, Tempfail, Verdict, later};
use crate::verify::cache::Standing;
use proto::Address;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("reject_unverified_sender", |a| match a.q.sender {
        Some(sender) => check(a, sender, true),
        None => Verdict::Dunno,
    }),
    ("reject_unverified_recipient", |a| match a.q.recipient {
        Some(recipient) => check(a, recipient, false),
        None => Verdict::Dunno,
    }),
];

/// Codes, words and manners of `unverified_sender_…` or `unverified_recipient_…`.
#[derive(Clone, Debug)]
pub struct Manner {
    /// `…_defer_code`.
    pub defer_code: u16,
    /// `…_reject_code`.
    pub reject_code: u16,
    /// `…_reject_reason`.
    pub reason: String,
    /// `…_tempfail_action`.
    pub tempfail: Tempfail,
}

impl Default for Manner {
    fn default() -> Manner {
        let tempfail = Tempfail::DeferIfPermit;
        Manner { defer_code: 450, reject_code: 450, reason: String::new(), tempfail }
    }
}

fn check(a: &mut Asked<'_, '_>, address: &Address, sender: bool) -> Verdict {
    if address.is_null() {
        return Verdict::Dunno;
    }
    // Probes are not sent ahead of their turn: another restriction may make them needless.
    if a.notes.ahead {
        return Verdict::Wait;
    }
    let Some(known) = a.q.facts.verified(address) else {
        a.notes.unverified = Some(address.clone());
        return Verdict::Wait;
    };
    let rules = a.q.rules;
    let (manner, subject, enhanced) = match sender {
        true => (&rules.unverified_sender, Subject::sender(address), "4.1.7"),
        false => (&rules.unverified_recipient, Subject::recipient(address), "4.1.1"),
    };
    let (code, what) = match known.standing {
        Standing::Deliverable => return Verdict::Dunno,
        Standing::Undeliverable => (manner.reject_code, "undeliverable"),
        Standing::Deferred | Standing::InProgress => (manner.defer_code, "unverified"),
    };
    // 250: it is taken all the same.
    if code < 400 {
        return Verdict::Dunno;
    }
    let why = if manner.reason.is_empty() { &known.text } else { &manner.reason };
    let why: String = why.chars().take(250).collect();
    let rejection: Rejection = a.refusal_of(&subject, code, enhanced, &format!("{what} address: {why}"));
    match known.standing {
        Standing::Undeliverable => Verdict::Reject(rejection),
        _ => later(a, manner.tempfail, rejection),
    }
}
