//! Restrictions on the client.

use super::{Asked, Rejection, Rule, Say, Subject, Verdict};
use crate::world::Trouble;
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("permit_mynetworks", permit_mynetworks),
    ("permit_inet_interfaces", permit_inet_interfaces),
    ("permit_tls_all_clientcerts", |a| permit_tls_clientcerts(a, true)),
    ("permit_tls_clientcerts", |a| permit_tls_clientcerts(a, false)),
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

/// By a fingerprint in `relay_clientcerts`, whoever vouches for the certificate; or by that alone.
fn permit_tls_clientcerts(a: &mut Asked<'_, '_>, all: bool) -> Verdict {
    let rules = a.q.rules;
    if !rules.asks_clients {
        let name = a.why.element.clone();
        a.notes.says.push(Say::Trouble(format!("{name} is requested, but \"smtpd_tls_ask_ccert = no\"")));
        return Verdict::Dunno;
    }
    let Some(tls) = a.q.tls else { return Verdict::Dunno };
    if let Some(peer) = tls.trusted_peer().filter(|_| all) {
        return a.permit(Some(format!("verified certificate of {}", peer.subject)));
    }
    let Some(peer) = &tls.peer else { return Verdict::Dunno };
    for print in [&peer.fingerprint, &peer.key_fingerprint] {
        match rules.relay_clientcerts.lookup(print) {
            Ok(Some(hit)) => {
                let line = hit.place.1.map_or(String::new(), |line| format!(", line {line}"));
                return a.permit(Some(format!("relay_clientcerts: {}{line}", hit.place.0)));
            }
            Ok(None) => {}
            Err(error) => {
                a.notes.says.push(Say::Trouble(error.to_string()));
                let (own, key) = (&peer.fingerprint, &peer.key_fingerprint);
                let what = format!(
                    "relay_clientcerts: lookup error for fingerprint '{own}', pkey fingerprint {key}"
                );
                return a.trouble(Trouble::Unavailable(what));
            }
        }
    }
    Verdict::Dunno
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
