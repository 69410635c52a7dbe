//! Host names by the system's resolver (/etc/hosts first). Calls may block: not for async code.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The name that an address points to, unverified; `None` when it has none.
pub fn name_of(address: IpAddr) -> Option<String> {
    let address: nix::sys::socket::SockaddrStorage = SocketAddr::new(address, 0).into();
    let mut host = [0 as libc::c_char; 1025]; // NI_MAXHOST
    use nix::sys::socket::SockaddrLike;
    // SAFETY: the address outlives the call and its length is its own; the buffer is as long as
    // told, getnameinfo ends what it writes with a NUL, and no service name is asked for.
    let result = unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.len(),
            host.as_mut_ptr(),
            host.len() as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if result != 0 {
        return None;
    }
    // SAFETY: getnameinfo succeeded, so the buffer holds a NUL-terminated string; it outlives the use.
    let name = unsafe { CStr::from_ptr(host.as_ptr()) };
    name.to_str().ok().filter(|n| !n.is_empty()).map(str::to_string)
}

/// Whether a name has this address.
pub fn has_address(name: &str, address: IpAddr) -> bool {
    (name, 0)
        .to_socket_addrs()
        .is_ok_and(|mut all| all.any(|a| a.ip().to_canonical() == address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host() {
        if let Some(name) = name_of(IpAddr::from([127, 0, 0, 1])) {
            assert!(has_address(&name, IpAddr::from([127, 0, 0, 1])), "{name}");
            assert!(!has_address(&name, IpAddr::from([192, 0, 2, 1])));
        }
    }
}
