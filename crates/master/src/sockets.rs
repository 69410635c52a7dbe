//! Which ports to bind, and binding them.

use crate::events::Note;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// A listener that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The service as master.cf names it.
    pub service: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// `inet_interfaces` and `inet_protocols` of a service, expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    /// Elements of `inet_interfaces`.
    pub interfaces: Vec<String>,
    /// Elements of `inet_protocols`.
    pub protocols: Vec<String>,
}

/// The addresses that an `inet` service named `service` listens on. master(5): `port`,
/// `host:port`, `[address]:port`; without a host, on `inet_interfaces`.
pub fn wanted(service: &str, on: &Interfaces) -> Result<Vec<Wanted>, String> {
    let (host, port) = match service.rsplit_once(':') {
        Some((host, port)) => (Some(host.trim_start_matches('[').trim_end_matches(']')), port),
        None => (None, service),
    };
    let port = port_number(port)?;
    let v4 = on.protocols.iter().any(|p| p == "all" || p == "ipv4");
    let v6 = on.protocols.iter().any(|p| p == "all" || p == "ipv6") && ipv6_works();
    let mut addresses = Vec::new();
    match host {
        Some(host) if !host.is_empty() => addresses.extend(resolve(host)?),
        _ => {
            for name in &on.interfaces {
                match name.as_str() {
                    "all" => addresses
                        .extend([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]),
                    "loopback-only" => {
                        addresses.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)])
                    }
                    name => addresses.extend(resolve(name.trim_start_matches('[').trim_end_matches(']'))?),
                }
            }
        }
    }
    addresses.retain(|a| if a.is_ipv4() { v4 } else { v6 });
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(format!(
            "service {service}: no address to listen on; see inet_interfaces and inet_protocols"
        ));
    }
    let address = |a: IpAddr| Wanted { service: service.to_string(), address: SocketAddr::new(a, port) };
    Ok(addresses.into_iter().map(address).collect())
}

fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = (host, 0).to_socket_addrs();
    let found = found.map_err(|e| format!("host {host}: {e}; write an address, or a name in /etc/hosts"))?;
    Ok(found.map(|a| a.ip()).collect())
}

fn ipv6_works() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn port_number(name: &str) -> Result<u16, String> {
    sys::services::port(name)
        .ok_or_else(|| format!("unknown service {name}; write a port number, or add it to /etc/services"))
}

/// The bound listeners, by what asked for them.
#[derive(Default)]
pub struct Listeners(BTreeMap<Wanted, TcpListener>);

impl Listeners {
    /// Binds what is new and keeps what is bound already. All or nothing: on a fault the present
    /// ones stay as they are.
    pub fn change(&mut self, wanted: &[Wanted], backlog: i32, say: &events::Source) -> Result<(), String> {
        let mut new = BTreeMap::new();
        for want in wanted.iter().filter(|w| !self.0.contains_key(w)) {
            match sys::listen::tcp(want.address, backlog) {
                Ok(listener) => drop(new.insert(want.clone(), listener)),
                Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable && want.address.is_ipv6() => {
                    say.say(&Note { what: format!("IPv6 address {} is not available: {e}", want.address) });
                }
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && self.holds_port(want) => {
                    let (ip, port) = (want.address.ip(), want.address.port());
                    let remedy = "stop and start it when inet_interfaces or inet_protocols change";
                    return Err(format!(
                        "bind {ip} port {port}: the running system listens there itself; {remedy}"
                    ));
                }
                Err(e) => return Err(bind_fault(want, &e)),
            }
        }
        self.0.retain(|w, _| wanted.contains(w));
        self.0.append(&mut new);
        Ok(())
    }

    /// Whether a listener of ours has the port, at another address.
    fn holds_port(&self, want: &Wanted) -> bool {
        self.0.keys().any(|w| w.address.port() == want.address.port())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Wanted, &TcpListener)> {
        self.0.iter()
    }
}

fn bind_fault(want: &Wanted, e: &std::io::Error) -> String {
    let (ip, port) = (want.address.ip(), want.address.port());
    let remedy = match e.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; `ss -ltnp` names it",
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root; choose a higher one in master.cf"
        }
        _ => "see inet_interfaces and master.cf",
    };
    format!("bind {ip} port {port}: {e}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(interfaces: &[&str], protocols: &[&str]) -> Interfaces {
        let own = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
        Interfaces { interfaces: own(interfaces), protocols: own(protocols) }
    }

    #[test]
    fn addresses_of_services() {
        let of = |service: &str, on: &Interfaces| {
            wanted(service, on).map(|l| l.iter().map(|w| w.address.to_string()).collect::<Vec<_>>())
        };
        let v4 = on(&["all"], &["ipv4"]);
        assert_eq!(of("smtp", &v4).unwrap(), ["0.0.0.0:25"]);
        assert_eq!(of("127.0.0.1:10025", &v4).unwrap(), ["127.0.0.1:10025"]);
        assert_eq!(of("587", &on(&["loopback-only"], &["ipv4"])).unwrap(), ["127.0.0.1:587"]);
        assert_eq!(
            of("smtp", &on(&["10.0.0.1", "127.0.0.1"], &["ipv4"])).unwrap(),
            ["10.0.0.1:25", "127.0.0.1:25"]
        );
        assert!(of("[::1]:2525", &v4).unwrap_err().contains("no address"));
        assert!(of("nosuchservice", &v4).unwrap_err().contains("/etc/services"));
    }

    #[test]
    fn a_failed_change_keeps_what_is_bound() {
        let say = events::Source::new("postfix", "master", 1);
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = first.local_addr().unwrap();
        let free = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let want = |a: SocketAddr| Wanted { service: a.port().to_string(), address: a };
        let mut all = Listeners::default();
        all.change(&[want(free)], 5, &say).unwrap();
        assert!(all.change(&[want(taken)], 5, &say).unwrap_err().contains("another program"));
        assert_eq!(all.iter().map(|(w, _)| w.address).collect::<Vec<_>>(), [free]);
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), free.port());
        assert!(all.change(&[want(everywhere)], 5, &say).unwrap_err().contains("stop and start"));
        all.change(&[], 5, &say).unwrap();
        assert_eq!(all.iter().count(), 0);
    }
}
