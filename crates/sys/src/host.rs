//! Facts about this host.

/// The host's name as gethostname(2) gives it; `localhost` when it has none.
pub fn name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_string())
}

/// Lets this process have as many descriptors as whoever started it allows; gives that number. For
/// programs that use poll(2) or epoll(7): select(2) cannot take more than a thousand.
pub fn many_descriptors() -> std::io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Lets programs that this one starts have many descriptors if they ask for them; for root, who alone
/// may raise what others were given.
pub fn allow_descriptors() -> std::io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|t| t.trim().parse().ok());
    let wanted = most.unwrap_or(hard).min(MANY_DESCRIPTORS);
    if wanted > hard {
        setrlimit(Resource::RLIMIT_NOFILE, soft, wanted)?;
    }
    Ok(wanted.max(hard))
}

/// As many as systemd allows a service unless told otherwise.
const MANY_DESCRIPTORS: u64 = 524_288;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_up_to_the_hard_limit() {
        let hard = many_descriptors().unwrap();
        assert_eq!(many_descriptors().unwrap(), hard);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3], words[4], "{line}");
    }
}
