//! Restrictions that look at the course of the session.

use super::{Rule, Verdict};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("reject_unauth_pipelining", |a| match a.q.pipelined {
        true => a.reject(503, "5.5.0", "Improper use of SMTP command pipelining"),
        false => Verdict::Dunno,
    }),
    ("reject_multi_recipient_bounce", |a| {
        let code = a.q.rules.multi_recipient_bounce_reject_code;
        let bounce = a.q.sender.is_some_and(|s| s.is_null());
        // At RCPT the present recipient comes on top of those accepted; at DATA it is the only one.
        let recipients =
            a.q.recipients + u64::from(a.q.recipient.is_some() && a.subject.class == "Recipient address");
        match bounce && recipients > 1 {
            true => a.reject(code, "5.5.3", "Multi-recipient bounce"),
            false => Verdict::Dunno,
        }
    }),
];
