//! `reject_unknown_…`: names that the DNS does not have.

use super::facts::{Kind, Lack, Record, Why};
use super::{Asked, Rejection, Rule, Say, Subject, Tempfail, Verdict};
use crate::client::Known;
use crate::world::Trouble;
use proto::Address;
use proto::address::parse::is_address_literal;
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;
use rewrite::Class;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("reject_unknown_client_hostname", |a| {
        let (known, what) = (a.q.client.known, "hostname");
        client(a, known, what, "4.7.25")
    }),
    ("reject_unknown_reverse_client_hostname", |a| {
        let (known, what) = (a.q.client.reverse_known, "reverse hostname");
        client(a, known, what, "4.7.1")
    }),
];

/// The rules of this file that look names up, which may be done ahead.
pub(super) const ASKING: &[(&str, Rule)] = &[
    ("reject_unknown_helo_hostname", helo),
    ("reject_unknown_sender_domain", |a| match a.q.sender {
        Some(sender) if !sender.is_null() => domain_of(a, sender, Subject::sender(sender), true),
        _ => Verdict::Dunno,
    }),
    ("reject_unknown_recipient_domain", |a| match a.q.recipient {
        Some(recipient) => domain_of(a, recipient, Subject::recipient(recipient), false),
        None => Verdict::Dunno,
    }),
];

fn client(a: &mut Asked<'_, '_>, known: Known, what: &str, enhanced: &str) -> Verdict {
    let code = match known {
        Known::Yes => return Verdict::Dunno,
        Known::NotNow => 450,
        Known::No | Known::Forged => a.q.rules.unknown_client_reject_code,
    };
    let class = if code >= 500 { "5" } else { "4" };
    let enhanced = format!("{class}{}", enhanced.get(1..).unwrap_or_default());
    let address = &a.q.client.address;
    let text = format!("{enhanced} Client host rejected: cannot find your {what}, [{address}]");
    let (reply, why) = (Reply::new(code, text), a.why.clone());
    Verdict::Reject(Rejection { reply, why, fault: Faults::POLICY })
}

/// RFC 5321 4.1.4 lets a server look the name up; whether it belongs to the client is not asked.
fn helo(a: &mut Asked<'_, '_>) -> Verdict {
    let Some(name) = a.q.helo else { return Verdict::Dunno };
    let subject = Subject::helo(name);
    if name.starts_with('[') {
        if is_address_literal(name) {
            return Verdict::Dunno;
        }
        let code = a.q.rules.invalid_hostname_reject_code;
        return Verdict::Reject(a.refusal_of(&subject, code, "5.5.2", "invalid ip address"));
    }
    let mut unsure = false;
    for kind in [Kind::A, Kind::Mx, Kind::Aaaa] {
        if kind == Kind::Aaaa && !a.q.rules.inet6 {
            continue;
        }
        match a.look_up(kind, name) {
            None => return Verdict::Wait,
            Some(Ok(_)) => return Verdict::Dunno,
            Some(Err(lack)) => unsure |= is_unsure(a, lack),
        }
    }
    match unsure {
        false => {
            let code = a.q.rules.unknown_hostname_reject_code;
            Verdict::Reject(a.refusal_of(&subject, code, "4.7.1", "Host not found"))
        }
        true => {
            let rejection = a.refusal_of(&subject, 450, "4.7.1", "Host not found");
            later(a, a.q.rules.unknown_helo_hostname_tempfail_action, rejection)
        }
    }
}

fn domain_of(a: &mut Asked<'_, '_>, address: &Address, subject: Subject, sender: bool) -> Verdict {
    let resolved = match a.q.world.resolve(address) {
        Ok(resolved) => resolved,
        Err(Trouble::Invalid) => return Verdict::Dunno,
        Err(trouble) => return a.trouble(trouble),
    };
    let ours = matches!(resolved.class, Class::Local | Class::VirtualAlias | Class::VirtualMailbox);
    if ours || resolved.domain.is_empty() || resolved.domain.starts_with('[') {
        return Verdict::Dunno;
    }
    let domain = &resolved.domain;
    let mut unsure = false;
    match a.look_up(Kind::Mx, domain) {
        None => return Verdict::Wait,
        Some(Ok(records)) if records.iter().any(|r| matches!(r, Record::Mx(_, host) if host.is_empty())) => {
            let (code, enhanced) = if sender { (550, "5.7.27") } else { (556, "5.1.10") };
            let text = format!("Domain {domain} does not accept mail (nullMX)");
            return Verdict::Reject(a.refusal_of(&subject, code, enhanced, &text));
        }
        Some(Ok(_)) => return Verdict::Dunno,
        Some(Err(lack)) => unsure |= is_unsure(a, lack),
    }
    for kind in [Kind::A, Kind::Aaaa] {
        if kind == Kind::Aaaa && !a.q.rules.inet6 {
            continue;
        }
        match a.look_up(kind, domain) {
            None => return Verdict::Wait,
            Some(Ok(_)) => return Verdict::Dunno,
            Some(Err(lack)) => unsure |= is_unsure(a, lack),
        }
    }
    let enhanced = if sender { "4.1.8" } else { "4.1.2" };
    match unsure {
        false => {
            let code = a.q.rules.unknown_address_reject_code;
            Verdict::Reject(a.refusal_of(&subject, code, enhanced, "Domain not found"))
        }
        true => {
            let rejection = a.refusal_of(&subject, 450, enhanced, "Domain not found");
            later(a, a.q.rules.unknown_address_tempfail_action, rejection)
        }
    }
}

/// Whether asking again may help. What the administrator should mend is logged: the reply does not
/// tell it from a fault of the name's.
fn is_unsure(a: &mut Asked<'_, '_>, lack: &Lack) -> bool {
    if lack.unreachable {
        a.notes.says.push(Say::Once(lack.words.clone()));
    }
    lack.why == Why::NotNow
}

/// What a `…_tempfail_action` says.
pub(super) fn later(a: &mut Asked<'_, '_>, action: Tempfail, rejection: Rejection) -> Verdict {
    match action {
        Tempfail::Defer => Verdict::Reject(rejection),
        Tempfail::DeferIfPermit => {
            a.notes.defer_if_permit.get_or_insert(rejection);
            Verdict::Dunno
        }
    }
}
