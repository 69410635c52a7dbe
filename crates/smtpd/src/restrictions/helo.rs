//! Restrictions on the argument of HELO and EHLO. RFC 5321 4.1.1.1.

use super::{Asked, Rule, Subject, Verdict};
use proto::address::parse::{is_address_literal, is_host_name};

pub(super) const RULES: &[(&str, Rule)] =
    &[("reject_invalid_helo_hostname", invalid), ("reject_non_fqdn_helo_hostname", non_fqdn)];

/// Without HELO there is nothing to say about it.
fn invalid(a: &mut Asked<'_, '_>) -> Verdict {
    let Some(name) = a.q.helo else { return Verdict::Dunno };
    let valid = match name.strip_prefix('[') {
        Some(_) => is_address_literal(name),
        None => is_host_name(name.strip_suffix('.').unwrap_or(name), true),
    };
    if valid {
        return Verdict::Dunno;
    }
    let code = a.q.rules.invalid_hostname_reject_code;
    Verdict::Reject(a.refusal_of(&Subject::helo(name), code, "5.5.2", "Invalid name"))
}

fn non_fqdn(a: &mut Asked<'_, '_>) -> Verdict {
    let Some(name) = a.q.helo else { return Verdict::Dunno };
    let bare = name.strip_suffix('.').unwrap_or(name);
    if is_address_literal(name) || is_host_name(bare, true) && bare.contains('.') {
        return Verdict::Dunno;
    }
    let code = a.q.rules.non_fqdn_reject_code;
    Verdict::Reject(a.refusal_of(&Subject::helo(name), code, "5.5.2", "need fully-qualified hostname"))
}
