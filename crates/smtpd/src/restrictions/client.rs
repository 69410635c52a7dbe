//! Restrictions on the client.

use super::{Asked, Rejection, Rule, Say, Subject, Verdict};
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("permit_mynetworks", permit_mynetworks),
    ("permit_inet_interfaces", permit_inet_interfaces),
    // Nobody is authenticated by certificate: none is asked for.
    ("permit_tls_all_clientcerts", |_| Verdict::Dunno),
    ("permit_tls_clientcerts", |_| Verdict::Dunno),
    ("reject_plaintext_session", |a| {
        if a.q.encrypted {
            return Verdict::Dunno;
        }
        let code = a.q.rules.plaintext_reject_code;
        let reply = Reply::new(code, "4.7.1 Session encryption is required");
        Verdict::Reject(Rejection { reply, why: a.why.clone(), fault: Faults::POLICY })
    }),
];

fn permit_mynetworks(a: &mut Asked<'_, '_>) -> Verdict {
    match a.q.rules.mynetworks.matches(a.q.client) {
        Ok(Some(element)) => {
            let subject = Subject::client(a.q.client);
            a.permit_of(&subject, Some(format!("mynetworks: {element}")))
        }
        Ok(None) => Verdict::Dunno,
        // Postfix: a table that fails permits nothing.
        Err(what) => {
            a.notes.says.push(Say::Trouble(what));
            Verdict::Dunno
        }
    }
}

fn permit_inet_interfaces(a: &mut Asked<'_, '_>) -> Verdict {
    match a.q.client.ip {
        Some(ip) if a.q.rules.own_addresses.contains(&ip) => {
            let subject = Subject::client(a.q.client);
            a.permit_of(&subject, Some(format!("inet_interfaces: {ip}")))
        }
        _ => Verdict::Dunno,
    }
}
