//! The relay rule: who may send where. Mail for others only with permission.

use super::{Asked, Rejection, Rule, Verdict};
use crate::world::Trouble;
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;
use rewrite::Class;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("reject_unauth_destination", |a| {
        let code = a.q.rules.relay_domains_reject_code;
        foreign(a, code)
    }),
    ("defer_unauth_destination", |a| {
        let code = a.q.rules.relay_domains_reject_code;
        foreign(a, if code >= 500 { code - 100 } else { code })
    }),
    ("permit_auth_destination", |a| match is_ours(a) {
        Ok(true) => a.permit(None),
        Ok(false) => Verdict::Dunno,
        Err(trouble) => a.trouble(trouble),
    }),
];

fn foreign(a: &mut Asked<'_, '_>, code: u16) -> Verdict {
    match is_ours(a) {
        Ok(true) => Verdict::Dunno,
        Ok(false) => {
            let recipient = a.q.recipient.map(|r| r.internal()).unwrap_or_default();
            let text = format!("{}.7.1 <{recipient}>: Relay access denied", code / 100);
            let (reply, why) = (Reply::new(code, text), a.why.clone());
            Verdict::Reject(Rejection { reply, why, fault: Faults::POLICY })
        }
        Err(trouble) => a.trouble(trouble),
    }
}

/// The domain is local, virtual or relayed for, and the local part does not route further.
fn is_ours(a: &Asked<'_, '_>) -> Result<bool, Trouble> {
    let Some(recipient) = a.q.recipient else { return Ok(true) };
    match a.q.world.resolve(recipient) {
        Ok(resolved) => Ok(resolved.class != Class::Default && !resolved.routed),
        Err(Trouble::Invalid) => Ok(false),
        Err(trouble) => Err(trouble),
    }
}
