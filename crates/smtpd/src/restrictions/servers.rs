//! Access tables asked about a domain's servers: `check_sender_mx_access`, `check_helo_ns_access`,
//! `check_client_a_access` and their kin. Names of servers are looked up first, then addresses.
//!
//! A stranger chooses the domain and so what is looked up here: no more than [`MOST`] servers and
//! [`STEPS`] parents of a name count.

use super::access::{Access, Of, client_address_keys, domain_keys};
use super::facts::{Kind, Record, Why};
use super::{Asked, Say, Subject, Verdict};
use std::net::IpAddr;
use tables::net::address_of;

/// Which servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    A,
    Mx,
    Ns,
}

/// How many servers of a domain count.
const MOST: usize = 20;
/// How many parents of a name are asked for name servers.
const STEPS: usize = 10;

/// The meaning of a name such as `check_sender_mx_access`.
pub(super) fn meaning(name: &str) -> Option<(Of, Via)> {
    let middle = name.strip_prefix("check_")?.strip_suffix("_access")?;
    let (of, via) = middle.rsplit_once('_')?;
    let via = match via {
        "a" => Via::A,
        "mx" => Via::Mx,
        "ns" => Via::Ns,
        _ => return None,
    };
    let of = match of {
        "client" => Of::Client,
        "reverse_client_hostname" => Of::ReverseClient,
        "helo" => Of::Helo,
        "sender" => Of::Sender,
        "recipient" => Of::Recipient,
        _ => return None,
    };
    Some((of, via))
}

impl Via {
    fn name(self) -> &'static str {
        match self {
            Via::A => "A",
            Via::Mx => "MX",
            Via::Ns => "NS",
        }
    }
}

/// Asks `access` about the servers of what `of` names.
pub(super) fn ask(access: &Access, of: Of, via: Via, a: &mut Asked<'_, '_>) -> Verdict {
    let Some((domain, subject)) = domain_of(a, of) else { return Verdict::Dunno };
    if let Some(literal) = domain.strip_prefix('[') {
        let address = literal.strip_suffix(']').and_then(address_of);
        return match address {
            Some(address) if via != Via::Ns => decide(access, a, &subject, client_address_keys(&address)),
            _ => Verdict::Dunno,
        };
    }
    let servers = match servers(a, via, &domain, &subject) {
        Ok(servers) => servers,
        Err(verdict) => return verdict,
    };
    // All addresses are wanted at once.
    let kinds: &[Kind] = if a.q.rules.inet6 { &[Kind::A, Kind::Aaaa] } else { &[Kind::A] };
    let mut found = Vec::new();
    let mut waits = false;
    for server in &servers {
        for kind in kinds {
            match a.look_up(*kind, server) {
                Some(answer) => found.push((server, answer)),
                None => waits = true,
            }
        }
    }
    if waits {
        return Verdict::Wait;
    }
    for server in &servers {
        let verdict = decide(access, a, &subject, domain_keys(server));
        if verdict != Verdict::Dunno {
            return verdict;
        }
        let answers: Vec<_> = found.iter().filter(|(s, _)| *s == server).map(|(_, answer)| *answer).collect();
        let addresses: Vec<IpAddr> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().ok())
            .flatten()
            .filter_map(|r| if let Record::Address(ip) = r { Some(*ip) } else { None })
            .collect();
        if addresses.is_empty() {
            if via != Via::A {
                let lacks = answers.iter().filter_map(|answer| answer.as_ref().err());
                let words = words_of(lacks.map(|l| l.why));
                let (class, value) = (subject.class, &subject.value);
                let text =
                    format!("Unable to look up {} host {server} for {class} {value}: {words}", via.name());
                a.notes.says.push(Say::Trouble(text));
            }
            continue;
        }
        for address in addresses {
            let verdict = decide(access, a, &subject, client_address_keys(&address));
            if verdict != Verdict::Dunno {
                return verdict;
            }
        }
    }
    Verdict::Dunno
}

/// What getaddrinfo(3) says of such failures.
pub(super) fn words_of(lacks: impl Iterator<Item = Why>) -> &'static str {
    let mut words = "Name or service not known";
    for why in lacks {
        match why {
            Why::NotNow => return "Temporary failure in name resolution",
            Why::NoData => words = "No address associated with hostname",
            Why::NoName | Why::Nonsense => {}
        }
    }
    words
}

fn domain_of(a: &Asked<'_, '_>, of: Of) -> Option<(String, Subject)> {
    let q = &a.q;
    let known = |name: &str| (!name.is_empty() && name != "unknown").then(|| name.to_string());
    Some(match of {
        Of::Client => (known(&q.client.name)?, Subject::client(q.client)),
        Of::ReverseClient => (known(&q.client.reverse_name)?, Subject::reverse_client(q.client)),
        Of::Helo => (known(q.helo?)?, Subject::helo(q.helo?)),
        Of::Sender => {
            let sender = q.sender.filter(|s| !s.is_null())?;
            (sender.domain().unwrap_or(&q.rules.myorigin).to_string(), Subject::sender(sender))
        }
        Of::Recipient => {
            let recipient = q.recipient?;
            (recipient.domain().unwrap_or(&q.rules.myorigin).to_string(), Subject::recipient(recipient))
        }
        Of::Subject | Of::Etrn | Of::Login | Of::Certificate => return None,
    })
}

/// The servers, best first; the error is the verdict when there are none.
fn servers(a: &mut Asked<'_, '_>, via: Via, domain: &str, subject: &Subject) -> Result<Vec<String>, Verdict> {
    let unfound = |a: &mut Asked<'_, '_>, name: &str, words: &str| {
        let text = format!("Unable to look up {} host for {name}: {words}", via.name());
        a.notes.says.push(Say::Trouble(text));
        Err(Verdict::Dunno)
    };
    match via {
        Via::A => Ok(vec![domain.to_string()]),
        Via::Mx => match a.look_up(Kind::Mx, domain) {
            None => Err(Verdict::Wait),
            Some(Ok(records)) => {
                let mut all: Vec<(u16, String)> = records
                    .iter()
                    .filter_map(|r| match r {
                        Record::Mx(preference, host) => Some((*preference, host.clone())),
                        _ => None,
                    })
                    .collect();
                all.sort_by_key(|(preference, _)| *preference);
                Ok(all.into_iter().map(|(_, host)| host).filter(|h| !h.is_empty()).take(MOST).collect())
            }
            Some(Err(lack)) if lack.why == Why::NotNow => unfound(a, domain, "Host not found, try again"),
            // RFC 5321 5.1: a domain without MX is its own mail host.
            Some(Err(_)) => Ok(vec![domain.to_string()]),
        },
        Via::Ns => {
            let (mut name, mut last) = (domain, Why::NoName);
            for _ in 0..STEPS {
                match a.look_up(Kind::Ns, name) {
                    None => return Err(Verdict::Wait),
                    Some(Ok(records)) => {
                        let hosts = records.iter().filter_map(|r| match r {
                            Record::Name(host) => Some(host.clone()),
                            _ => None,
                        });
                        return Ok(hosts.take(MOST).collect());
                    }
                    Some(Err(lack)) if lack.why == Why::NotNow => {
                        return unfound(a, name, "Host not found, try again");
                    }
                    Some(Err(lack)) => last = lack.why,
                }
                match name.split_once('.') {
                    Some((_, parent)) if !parent.is_empty() => name = parent,
                    _ => break,
                }
            }
            let words = match last {
                Why::NoData => "Host found but no data record of requested type",
                _ => "Host not found",
            };
            unfound(a, &subject.value, words)
        }
    }
}

/// What the rows say of these keys; permission may not hang on what a stranger's DNS says.
fn decide(access: &Access, a: &mut Asked<'_, '_>, subject: &Subject, keys: super::access::Keys) -> Verdict {
    match access.decide(a, subject, keys) {
        Verdict::Permit(_) => {
            let name = a.why.element.split(' ').next().unwrap_or_default().to_string();
            for text in [
                format!("restriction {name} returns OK for {}", subject.value),
                "this is not allowed for security reasons".to_string(),
                "use DUNNO instead of OK if you want to make an exception".to_string(),
            ] {
                a.notes.says.push(Say::Trouble(text));
            }
            a.server_error()
        }
        verdict => verdict,
    }
}
