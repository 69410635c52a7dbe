//! Who is at the other end: address, name, and what XCLIENT and XFORWARD say of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// The other end of a stream; no address for `sendmail -bs`, which is this host itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

impl From<std::net::SocketAddr> for Peer {
    fn from(address: std::net::SocketAddr) -> Peer {
        Peer { ip: Some(address.ip().to_canonical()), port: address.port() }
    }
}

/// The client as restrictions and the log know it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Verified name, or `unknown`.
    pub name: String,
    /// The name its address points to, verified or not, or `unknown`.
    pub reverse_name: String,
    /// Numeric address, or `unknown`.
    pub address: String,
    /// The same, when it is one.
    pub ip: Option<IpAddr>,
    /// Port, decimal, or `unknown`.
    pub port: String,
    /// Show the port in the log.
    pub show_port: bool,
}

impl Client {
    /// The client behind `peer`, looked up as `names` says.
    pub async fn find(peer: Peer, names: bool, show_port: bool) -> Client {
        let Some(ip) = peer.ip else {
            let localhost = IpAddr::from([127, 0, 0, 1]);
            return Client {
                name: "localhost".into(),
                reverse_name: "localhost".into(),
                address: localhost.to_string(),
                ip: Some(localhost),
                port: "0".into(),
                show_port,
            };
        };
        let (name, reverse_name) = if names { look_up(ip).await } else { unknown() };
        Client {
            name,
            reverse_name,
            address: ip.to_string(),
            ip: Some(ip),
            port: peer.port.to_string(),
            show_port,
        }
    }

    /// `localhost[127.0.0.1]`, with `:port` when asked for.
    pub fn label(&self) -> String {
        let port = if self.show_port { format!(":{}", self.port) } else { String::new() };
        format!("{}[{}]{port}", self.name, self.address)
    }
}

fn unknown() -> (String, String) {
    ("unknown".into(), "unknown".into())
}

/// How long the greeting may wait for a name.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a name is remembered, and how many are.
const MEMORY: (Duration, usize) = (Duration::from_secs(60), 1000);

type Names = HashMap<IpAddr, (Instant, (String, String))>;

/// Verified and reverse name. A slow resolver counts as none: the greeting must not wait for it.
async fn look_up(ip: IpAddr) -> (String, String) {
    static KNOWN: LazyLock<Mutex<Names>> = LazyLock::new(Default::default);
    let known = || KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    if let Some((since, names)) = known().get(&ip)
        && since.elapsed() < MEMORY.0
    {
        return names.clone();
    }
    let task = tokio::task::spawn_blocking(move || match sys::names::name_of(ip) {
        Some(name) if sys::names::has_address(&name, ip) => (name.clone(), name),
        Some(name) => ("unknown".to_string(), name),
        None => unknown(),
    });
    let Ok(Ok(names)) = tokio::time::timeout(PATIENCE, task).await else { return unknown() };
    let mut all = known();
    if all.len() >= MEMORY.1 {
        all.retain(|_, (since, _)| since.elapsed() < MEMORY.0);
        if all.len() >= MEMORY.1 {
            all.clear();
        }
    }
    all.insert(ip, (Instant::now(), names.clone()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn labels() {
        let peer = Peer { ip: Some(IpAddr::from([192, 0, 2, 1])), port: 4711 };
        let client = Client::find(peer, false, false).await;
        assert_eq!(client.label(), "unknown[192.0.2.1]");
        assert_eq!(Client { show_port: true, ..client }.label(), "unknown[192.0.2.1]:4711");
        assert_eq!(Client::find(Peer::default(), true, false).await.label(), "localhost[127.0.0.1]");
    }
}
