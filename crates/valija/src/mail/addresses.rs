//! The addresses at which this host receives mail.

use config::Config;
use config::params::master::Master;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

/// The addresses of `inet_interfaces`. Names are looked up; `all` are those of all interfaces.
pub fn own(config: &Config) -> Vec<IpAddr> {
    let mut all = Vec::new();
    let listed = Master::load(config).map(|m| m.inet_interfaces().0.clone()).unwrap_or_default();
    for name in &listed {
        match name.as_str() {
            "all" => {
                let found = sys::listen::own_addresses().unwrap_or_default();
                all.extend(found.iter().map(|o| o.address));
            }
            "loopback-only" => {
                all.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
            }
            name => {
                let host = name.trim_start_matches('[').trim_end_matches(']');
                let found = (host, 0).to_socket_addrs().into_iter().flatten();
                all.extend(found.map(|a| a.ip()));
            }
        }
    }
    all.dedup();
    all
}
