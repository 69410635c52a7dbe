//! Restrictions on who has logged in, and on who may send as whom (`smtpd_sender_login_maps`).

use super::{Asked, Rejection, Rule, Say, Subject, Verdict};
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("permit_sasl_authenticated", permit),
    ("reject_sender_login_mismatch", |a| match mismatch(a, Of::Authenticated) {
        Verdict::Dunno => mismatch(a, Of::Unauthenticated),
        verdict => verdict,
    }),
    ("reject_authenticated_sender_login_mismatch", |a| mismatch(a, Of::Authenticated)),
    ("reject_unauthenticated_sender_login_mismatch", |a| mismatch(a, Of::Unauthenticated)),
    ("reject_known_sender_login_mismatch", |a| mismatch(a, Of::Known)),
];

fn permit(a: &mut Asked<'_, '_>) -> Verdict {
    if let Some(login) = a.q.login {
        let subject = Subject { value: login.user.clone(), class: "SASL login name" };
        return a.permit_of(&subject, Some(format!("{} {}", login.method, login.user)));
    }
    if a.q.logins_fail {
        // Who is refused for want of a login shall come back when logins are possible again.
        let text =
            format!("4.7.0 <{}>: {} rejected: Nobody can log in now", a.subject.value, a.subject.class);
        let (reply, why) = (Reply::new(454, text), a.why.clone());
        a.notes.defer_if_reject.get_or_insert(Rejection { reply, why, fault: Faults::DATA });
    }
    Verdict::Dunno
}

/// Which clients and senders are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Who has logged in may use no address but their own.
    Authenticated,
    /// Who has not may use no address that somebody owns.
    Unauthenticated,
    /// Nobody may use what somebody else owns.
    Known,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Authenticated => "reject_authenticated_sender_login_mismatch",
            Of::Unauthenticated => "reject_unauthenticated_sender_login_mismatch",
            Of::Known => "reject_known_sender_login_mismatch",
        }
    }
}

fn mismatch(a: &mut Asked<'_, '_>, of: Of) -> Verdict {
    if !a.q.rules.sasl {
        a.notes.says.push(Say::NoSaslSupport(of.name().to_string()));
        return Verdict::Dunno;
    }
    let Some(sender) = a.q.sender.filter(|s| !s.is_null()) else { return Verdict::Dunno };
    match (of, a.q.login) {
        (Of::Authenticated, None) | (Of::Unauthenticated, Some(_)) => return Verdict::Dunno,
        _ => {}
    }
    let owners = match a.q.world.owners(&a.q.rules.sender_logins, sender) {
        Ok(owners) => owners,
        Err(trouble) => return a.trouble_of(trouble, &Subject::sender(sender)),
    };
    let text = match (owners, a.q.login) {
        (None, Some(login)) if of == Of::Authenticated => format!("not owned by user {}", login.user),
        (None, _) => return Verdict::Dunno,
        (Some(owners), Some(login)) => {
            let mut names = owners.value.split([',', ' ', '\t', '\r', '\n']);
            if names.any(|name| name.eq_ignore_ascii_case(&login.user)) {
                return Verdict::Dunno;
            }
            let line = owners.place.1.map_or(String::new(), |line| format!(", line {line}"));
            a.why.row = Some(format!("{}{line}", owners.place.0));
            format!("not owned by user {}", login.user)
        }
        (Some(owners), None) => {
            let line = owners.place.1.map_or(String::new(), |line| format!(", line {line}"));
            a.why.row = Some(format!("{}{line}", owners.place.0));
            "not logged in".to_string()
        }
    };
    Verdict::Reject(a.refusal_of(&Subject::sender(sender), 553, "5.7.1", &text))
}
