//! Who is at the other end: address, name, and what XCLIENT, XFORWARD and PROXY say of it.
//!
//! Names come from the system's name service, as in Postfix: the name that the address points to
//! counts as the client's only if it points back. A name that is slow to come is unknown for now.

use crate::names;
use std::net::IpAddr;

/// The other end of a stream; no address for `sendmail -bs`, which is this host itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Our end.
    pub here: Option<std::net::SocketAddr>,
}

impl Peer {
    /// Connected to this address of ours.
    pub fn at(self, here: std::net::SocketAddr) -> Peer {
        Peer { here: Some(here), ..self }
    }
}

impl From<std::net::SocketAddr> for Peer {
    fn from(address: std::net::SocketAddr) -> Peer {
        Peer { ip: Some(address.ip().to_canonical()), port: address.port(), here: None }
    }
}

/// How sure a name of a client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// It is known, or nobody asked.
    #[default]
    Yes,
    /// It could not be found out now.
    NotNow,
    /// There is none.
    No,
    /// The name does not point back to the address.
    Forged,
}

/// The client as restrictions and the log know it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Verified name, or `unknown`.
    pub name: String,
    /// Whether that is its name.
    pub known: Known,
    /// The name its address points to, verified or not, or `unknown`.
    pub reverse_name: String,
    /// Whether its address points to one.
    pub reverse_known: Known,
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
    /// The client behind `peer`, looked up if `look_up` says so; and what the log should hear of
    /// its name.
    pub async fn find(peer: Peer, look_up: bool, show_port: bool) -> (Client, Option<String>) {
        let Some(ip) = peer.ip else {
            let localhost = IpAddr::from([127, 0, 0, 1]);
            let client = Client {
                name: "localhost".into(),
                reverse_name: "localhost".into(),
                address: localhost.to_string(),
                ip: Some(localhost),
                port: "0".into(),
                show_port,
                ..Client::default()
            };
            return (client, None);
        };
        let found = if look_up { names::of(ip).await } else { names::Names::unknown(Known::No) };
        let client = Client {
            name: found.name,
            known: found.known,
            reverse_name: found.reverse_name,
            reverse_known: found.reverse_known,
            address: ip.to_string(),
            ip: Some(ip),
            port: peer.port.to_string(),
            show_port,
        };
        (client, found.warning)
    }

    /// `localhost[127.0.0.1]`, with `:port` when asked for.
    pub fn label(&self) -> String {
        let port = if self.show_port { format!(":{}", self.port) } else { String::new() };
        format!("{}[{}]{port}", self.name, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn labels() {
        let peer = Peer { ip: Some(IpAddr::from([192, 0, 2, 1])), port: 4711, here: None };
        let client = Client::find(peer, false, false).await.0;
        assert_eq!(client.label(), "unknown[192.0.2.1]");
        assert_eq!(Client { show_port: true, ..client }.label(), "unknown[192.0.2.1]:4711");
        assert_eq!(Client::find(Peer::default(), true, false).await.0.label(), "localhost[127.0.0.1]");
    }
}
