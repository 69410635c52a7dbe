//! The hosts behind a relay host's name, found as the SMTP client finds them: by MX records unless the
//! name stands in brackets, then by address records. RFC 5321 5.1

use super::advice::Trouble;
use crate::commands::names::RelayHost;
use net::dns::{Failure, Kind, Resolver};
use std::net::{IpAddr, SocketAddr};

/// A host to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name, which its certificate should have.
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

/// How names become addresses.
pub(super) struct Ways<'a> {
    pub(super) resolver: &'a Resolver,
    /// IPv4 and IPv6, of `inet_protocols`.
    pub(super) protocols: (bool, bool),
    /// `smtp_host_lookup` has `dns`, and it has `native`.
    pub(super) lookup: (bool, bool),
}

/// No more addresses than this are tried.
const MOST: usize = 10;

/// The hosts of `relay`, the best first, and a sentence about them.
pub(super) async fn targets(
    ways: &Ways<'_>,
    relay: &RelayHost,
    port: u16,
) -> Result<(Vec<Target>, String), Trouble> {
    let name = relay.host.as_str();
    let plain = name.strip_prefix("ipv6:").or(name.strip_prefix("IPv6:")).unwrap_or(name);
    if let Ok(address) = plain.parse::<IpAddr>() {
        let target = Target { name: plain.to_string(), address: SocketAddr::new(address, port) };
        return Ok((vec![target], format!("{name} is an address, nothing to look up")));
    }
    let (hosts, how) = match relay.brackets || !ways.lookup.0 {
        true => (vec![name.to_string()], String::new()),
        false => exchangers(ways.resolver, name).await?,
    };
    let mut found = Vec::new();
    let mut failure = None;
    for host in &hosts {
        match addresses(ways, host).await {
            Ok(all) => found.extend(
                all.into_iter().map(|a| Target { name: host.clone(), address: SocketAddr::new(a, port) }),
            ),
            Err(trouble) => failure = failure.or(Some(trouble)),
        }
        if found.len() >= MOST {
            break;
        }
    }
    found.truncate(MOST);
    match (found.is_empty(), failure) {
        (true, Some(trouble)) => Err(trouble),
        (true, None) => Err(no_address(name)),
        (false, _) => {
            let list: Vec<String> =
                found.iter().map(|t| format!("{} [{}]", t.name, t.address.ip())).collect();
            Ok((found, format!("{how}{}", list.join(", "))))
        }
    }
}

/// The mail exchangers of a name, or the name itself when it has none.
async fn exchangers(resolver: &Resolver, name: &str) -> Result<(Vec<String>, String), Trouble> {
    match resolver.mx(name).await {
        Ok(answer) => {
            let mut all = answer.records;
            all.sort();
            if all.iter().any(|m| m.host.is_empty()) {
                return Err(Trouble::new(
                    "DNS",
                    format!("{name} has a null MX record: it takes no mail"),
                    format!("if it is the relay host nevertheless, write it in brackets: [{name}]"),
                ));
            }
            let hosts: Vec<String> = all.into_iter().map(|m| m.host).collect();
            Ok((hosts, format!("the MX records of {name} name: ")))
        }
        Err(Failure::NoData) => {
            Ok((vec![name.to_string()], format!("{name} has no MX record, so it is asked itself: ")))
        }
        Err(failure) => Err(failed(&failure, name, Kind::Mx)),
    }
}

async fn addresses(ways: &Ways<'_>, host: &str) -> Result<Vec<IpAddr>, Trouble> {
    let mut found = Vec::new();
    let mut failure: Option<(Failure, Kind)> = None;
    if ways.lookup.0 {
        for (wanted, v6, kind) in [(ways.protocols.0, false, Kind::A), (ways.protocols.1, true, Kind::Aaaa)] {
            if !wanted {
                continue;
            }
            match ways.resolver.addresses(host, v6).await {
                Ok(answer) => found.extend(answer.records),
                // That a name has addresses of one family only is nothing to tell.
                Err(Failure::NoData) => {}
                Err(f) => failure = failure.or(Some((f, kind))),
            }
        }
    }
    if found.is_empty() && ways.lookup.1 {
        found.extend(native(ways, host).await);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let mut trouble = match failure {
        Some((failure, kind)) => failed(&failure, host, kind),
        None => no_address(host),
    };
    if !ways.lookup.1 && !native(ways, host).await.is_empty() {
        trouble.remedy = "the name is in /etc/hosts, which mail delivery does not read: write \
                          postconf -e 'smtp_host_lookup = dns, native', or the address in brackets"
            .into();
    }
    Err(trouble)
}

/// What the system's resolver knows, /etc/hosts included.
async fn native(ways: &Ways<'_>, host: &str) -> Vec<IpAddr> {
    let Ok(all) = tokio::net::lookup_host((host, 0)).await else { return Vec::new() };
    let mut found: Vec<IpAddr> = all.map(|a| a.ip()).collect();
    found.retain(|a| if a.is_ipv4() { ways.protocols.0 } else { ways.protocols.1 });
    found.dedup();
    found
}

fn no_address(host: &str) -> Trouble {
    Trouble::new("DNS", format!("{host} has no address"), "check the spelling; see inet_protocols too")
}

fn failed(failure: &Failure, name: &str, kind: Kind) -> Trouble {
    let remedy = match failure {
        Failure::NotFound | Failure::BadName => "check the spelling of the name",
        Failure::Temporary(_) => {
            "check /etc/resolv.conf and the network (getent hosts example.org should answer), then try again"
        }
        _ => {
            "the domain's name servers are set up wrongly; write a host of it in brackets: [mail.example.net]"
        }
    };
    Trouble::new("DNS", failure.words(name, kind), remedy)
}
