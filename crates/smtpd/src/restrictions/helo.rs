//! Restrictions on the argument of HELO and EHLO. RFC 5321 4.1.1.1.

use super::{Asked, Rule, Subject, Verdict};
use proto::address::parse::{is_address_literal, is_host_name};

pub(super) const RULES: &[(&str, Rule)] =
    &[("reject_invalid_helo_hostname", invalid), ("reject_non_fqdn_helo_hostname", non_fqdn)];

/// Without HELO there is nothing to say about it.
fn invalid(a: &mut Asked<'_, '_>) -> Verdict {
    let Some(name) = a.q.helo else { return Verdict::Dunno };
    let (valid, what) = match name.strip_prefix('[') {
        Some(_) => (is_address_literal(name), "invalid ip address"),
        None => (is_host_name(name.strip_suffix('.').unwrap_or(name), true), "Invalid name"),
    };
    if valid {
        return Verdict::Dunno;
    }
    let code = a.q.rules.invalid_hostname_reject_code;
    Verdict::Reject(a.refusal_of(&Subject::helo(name), code, "5.5.2", what))
}

fn non_fqdn(a: &mut Asked<'_, '_>) -> Verdict {
    let Some(name) = a.q.helo else { return Verdict::Dunno };
    if name.starts_with('[') {
        return invalid(a);
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let numeric = bare.parse::<std::net::Ipv4Addr>().is_ok();
    if is_host_name(bare, true) && bare.contains('.') && !numeric {
        return Verdict::Dunno;
    }
    let code = a.q.rules.non_fqdn_reject_code;
    Verdict::Reject(a.refusal_of(&Subject::helo(name), code, "5.5.2", "need fully-qualified hostname"))
}
