//! Listening sockets and this host's own addresses.

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, listen, setsockopt, socket,
    sockopt,
};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

/// Binds and listens. An IPv6 socket takes IPv6 only, so that both families can be bound.
pub fn tcp(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    match address {
        SocketAddr::V4(a) => bind(fd.as_raw_fd(), &SockaddrIn::from(a))?,
        SocketAddr::V6(a) => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            bind(fd.as_raw_fd(), &SockaddrIn6::from(a))?;
        }
    }
    listen(&fd, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;
    Ok(TcpListener::from(fd))
}

/// Listens on a socket at `path`, in place of one that a process left behind. Everybody may connect
/// who can reach it. For programs of one thread: the mask for files changes for a moment.
pub fn unix(path: &std::path::Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o111));
    let made = std::os::unix::net::UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = made?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection of a listening socket that does not block; `WouldBlock` when there is none.
pub fn accept(listener: std::os::fd::BorrowedFd<'_>) -> io::Result<std::os::fd::OwnedFd> {
    let number = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the call just made this descriptor and nothing else owns it.
    Ok(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) })
}

/// An address of an interface with its network mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// The addresses of this host's interfaces that are up.
pub fn own_addresses() -> io::Result<Vec<Own>> {
    let ip = |s: &nix::sys::socket::SockaddrStorage| {
        s.as_sockaddr_in()
            .map(|a| IpAddr::V4(a.ip()))
            .or_else(|| s.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let mut all = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        if !interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address.as_ref().and_then(ip) else { continue };
        let prefix = match interface.netmask.as_ref().and_then(ip) {
            Some(IpAddr::V4(m)) => m.to_bits().count_ones() as u8,
            Some(IpAddr::V6(m)) => m.to_bits().count_ones() as u8,
            None => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
        };
        all.push(Own { address, prefix });
    }
    Ok(all)
}
