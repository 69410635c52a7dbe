//! `permit_mx_backup`: mail for domains whose MX records name this host, but not first.

use super::facts::{Kind, Record, Why};
use super::servers::words_of;
use super::{Asked, Rule, Subject, Verdict};
use crate::world::Trouble;
use rewrite::Class;
use std::net::IpAddr;

pub(super) const ASKING: &[(&str, Rule)] = &[("permit_mx_backup", permit)];

/// The addresses of a host, or why there are none.
type Found = Result<Vec<IpAddr>, Why>;

/// A stranger's domain has no more mail hosts than this.
const MOST: usize = 20;

fn permit(a: &mut Asked<'_, '_>) -> Verdict {
    let Some(recipient) = a.q.recipient else { return Verdict::Dunno };
    let subject = Subject::recipient(recipient);
    let domain = match a.q.world.resolve(recipient) {
        Ok(resolved) if resolved.routed => return Verdict::Dunno,
        Ok(resolved) if resolved.class != Class::Default => return a.permit(None),
        Ok(resolved) => resolved.domain,
        Err(Trouble::Invalid) => return Verdict::Dunno,
        Err(trouble) => return a.trouble(trouble),
    };
    if domain.starts_with('[') || domain.is_empty() {
        return Verdict::Dunno;
    }
    let mut hosts: Vec<(u16, &str)> = match a.look_up(Kind::Mx, &domain) {
        None => return Verdict::Wait,
        Some(Ok(records)) => records
            .iter()
            .filter_map(|r| match r {
                Record::Mx(preference, host) if !host.is_empty() => Some((*preference, host.as_str())),
                _ => None,
            })
            .collect(),
        Some(Err(lack)) if lack.why == Why::NotNow => {
            return unsure(a, &subject, "information: Host not found, try again");
        }
        Some(Err(_)) => return Verdict::Dunno,
    };
    hosts.sort_by_key(|(preference, _)| *preference);
    hosts.truncate(MOST);
    let best = hosts.first().map(|(preference, _)| *preference);
    let mut known: Vec<(bool, &str, Found)> = Vec::new();
    let mut waits = false;
    for (preference, host) in &hosts {
        match addresses(a, host) {
            Some(found) => known.push((Some(*preference) == best, host, found)),
            None => waits = true,
        }
    }
    if waits {
        return Verdict::Wait;
    }
    let rules = a.q.rules;
    let ours = |host: &str, found: &Found| {
        host.eq_ignore_ascii_case(&rules.myhostname)
            || found.as_ref().is_ok_and(|all| {
                all.iter().any(|ip| rules.own_addresses.contains(ip) || rules.proxy_addresses.contains(ip))
            })
    };
    if known.iter().any(|(first, host, found)| *first && ours(host, found)) {
        return Verdict::Dunno; // First of all: mail would come back to us.
    }
    if !known.iter().any(|(_, host, found)| ours(host, found)) {
        let failed = known.iter().find_map(|(_, host, found)| Some((host, *found.as_ref().err()?)));
        return match failed {
            Some((host, why)) => {
                let words = words_of(std::iter::once(why));
                unsure(a, &subject, &format!("host {host}: {words}"))
            }
            None => Verdict::Dunno,
        };
    }
    if let Some(networks) = &rules.permit_mx_backup_networks {
        for (_, host, found) in known.iter().filter(|(first, ..)| *first) {
            let listed = match found {
                Ok(all) => !all.is_empty() && all.iter().all(|ip| networks.has_address(ip)),
                Err(why) => {
                    let words = words_of(std::iter::once(*why));
                    return unsure(a, &subject, &format!("host {host}: {words}"));
                }
            };
            if !listed {
                return Verdict::Dunno;
            }
        }
    }
    a.permit(None)
}

fn unsure(a: &mut Asked<'_, '_>, subject: &Subject, what: &str) -> Verdict {
    let text = format!("Unable to look up mail exchanger {what}");
    let rejection = a.refusal_of(subject, 450, "4.4.4", &text);
    a.notes.defer_if_reject.get_or_insert(rejection);
    Verdict::Dunno
}

/// All addresses of a host; `None` while they are not known.
fn addresses(a: &mut Asked<'_, '_>, host: &str) -> Option<Found> {
    let four = a.look_up(Kind::A, host);
    let six = if a.q.rules.inet6 { Some(a.look_up(Kind::Aaaa, host)?) } else { None };
    let (mut all, mut why) = (Vec::new(), Why::NoName);
    for answer in [Some(four?), six].into_iter().flatten() {
        match answer {
            Ok(records) => all.extend(records.iter().filter_map(|r| match r {
                Record::Address(ip) => Some(*ip),
                _ => None,
            })),
            Err(lack) if lack.why == Why::NotNow || why == Why::NoName => why = lack.why,
            Err(_) => {}
        }
    }
    Some(if all.is_empty() { Err(why) } else { Ok(all) })
}
