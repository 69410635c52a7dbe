//! Facts about this host.

/// The host's name as gethostname(2) gives it; `localhost` when it has none.
pub fn name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_string())
}

/// For `OpenOptionsExt::custom_flags`: a symbolic link in the last place is an error.
pub const O_NOFOLLOW: i32 = libc::O_NOFOLLOW;
/// open(2) does not wait, for a fifo say.
pub const O_NONBLOCK: i32 = libc::O_NONBLOCK;

/// The addresses of this host's network interfaces with the length of their network's prefix, IPv4
/// before IPv6 as Postfix lists them. Empty when the system does not tell.
pub fn interfaces() -> Vec<(std::net::IpAddr, u8)> {
    use std::net::IpAddr;
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let up = nix::net::if_::InterfaceFlags::IFF_UP;
    let mut out: Vec<(IpAddr, u8)> = all
        .filter(|i| i.flags.contains(up))
        .filter_map(|i| {
            let (address, mask) = (i.address?, i.netmask?);
            if let (Some(a), Some(m)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
                return Some((IpAddr::V4(a.ip()), u32::from(m.ip()).leading_ones() as u8));
            }
            let (a, m) = (address.as_sockaddr_in6()?, mask.as_sockaddr_in6()?);
            Some((IpAddr::V6(a.ip()), u128::from(m.ip()).leading_ones() as u8))
        })
        .collect();
    out.sort_by_key(|(a, _)| a.is_ipv6());
    out.dedup();
    out
}
