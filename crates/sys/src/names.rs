//! Host names by the system's resolver (/etc/hosts first). Calls may block: not for async code.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Why the name service gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Asking again later may help.
    pub temporary: bool,
    /// The system's words for it.
    pub words: String,
}

impl Unresolved {
    fn of(code: libc::c_int) -> Unresolved {
        // SAFETY: gai_strerror takes any number and returns a string that is never freed.
        let words = unsafe { CStr::from_ptr(libc::gai_strerror(code)) }.to_string_lossy().into_owned();
        let temporary = matches!(code, libc::EAI_AGAIN | libc::EAI_MEMORY | libc::EAI_SYSTEM);
        Unresolved { temporary, words }
    }

    /// There is no such name.
    fn none() -> Unresolved {
        Unresolved::of(libc::EAI_NONAME)
    }
}

/// The name that an address points to, unverified.
pub fn name_of(address: IpAddr) -> Result<String, Unresolved> {
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
        return Err(Unresolved::of(result));
    }
    // SAFETY: getnameinfo succeeded, so the buffer holds a NUL-terminated string; it outlives the use.
    let name = unsafe { CStr::from_ptr(host.as_ptr()) };
    name.to_str().ok().filter(|n| !n.is_empty()).map(str::to_string).ok_or_else(Unresolved::none)
}

/// The addresses of a name, of the one family asked for.
pub fn addresses_in(name: &str, v6: bool) -> Result<Vec<IpAddr>, Unresolved> {
    let name = std::ffi::CString::new(name).map_err(|_| Unresolved::none())?;
    // SAFETY: addrinfo is plain data for which all zeroes is a valid value.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: name and hints outlive the call, no service is asked for, and list receives a pointer.
    let result = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &hints, &mut list) };
    if result != 0 {
        return Err(Unresolved::of(result));
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: next is an entry of the list that getaddrinfo made, which lives until it is freed.
        let entry = unsafe { &*next };
        // SAFETY: the length tells how much of the address there is, which lives as long as the list.
        let address = unsafe {
            use nix::sys::socket::SockaddrLike;
            nix::sys::socket::SockaddrStorage::from_raw(entry.ai_addr, Some(entry.ai_addrlen))
        };
        found.extend(address.and_then(|a| {
            let four = a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            four.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        }));
        next = entry.ai_next;
    }
    if !list.is_null() {
        // SAFETY: list came from getaddrinfo and nothing borrowed from it is kept.
        unsafe { libc::freeaddrinfo(list) };
    }
    Ok(found)
}

/// The full name of a host as the resolver completes it, which is what `hostname --fqdn` prints for
/// this host's name; `None` when the name cannot be resolved.
pub fn canonical(name: &str) -> Option<String> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: addrinfo is plain data for which all zeroes is a valid value.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_CANONNAME;
    hints.ai_socktype = libc::SOCK_DGRAM;
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: name and hints outlive the call, no service is asked for, and list receives a pointer.
    let result = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &hints, &mut list) };
    if result != 0 || list.is_null() {
        return None;
    }
    // SAFETY: getaddrinfo succeeded, so list points to at least one entry, which lives until freed.
    let text = unsafe { (*list).ai_canonname };
    let found = (!text.is_null()).then(|| {
        // SAFETY: a canonical name that is not null is a NUL-terminated string owned by the list.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    });
    // SAFETY: list came from getaddrinfo and nothing borrowed from it is kept.
    unsafe { libc::freeaddrinfo(list) };
    found.filter(|n| !n.is_empty())
}

/// Why the system has no address for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAddress {
    /// Asking again later may help.
    pub temporary: bool,
    /// The name may not exist, as opposed to: exists without an address, or the system failed.
    pub absent: bool,
    /// As getaddrinfo(3) says it.
    pub words: String,
}

/// The addresses of a name, each once.
pub fn addresses_of(name: &str) -> Result<Vec<IpAddr>, NoAddress> {
    let all = (name, 0).to_socket_addrs().map_err(|e| {
        let text = e.to_string();
        // The library keeps the code to itself and gives the words of gai_strerror(3).
        let words = text.rsplit_once("information: ").map_or(text.as_str(), |(_, w)| w).to_string();
        let again = words == "Temporary failure in name resolution";
        let system = e.raw_os_error().is_some() || words == "Memory allocation failure";
        NoAddress { temporary: again || system, absent: again || words == "Name or service not known", words }
    })?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in all.map(|a| a.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_names() {
        assert!(canonical("localhost").is_some());
        assert_eq!(canonical("no such name"), None);
        assert_eq!(canonical("nul\0inside"), None);
    }

    #[test]
    fn this_host() {
        let here = IpAddr::from([127, 0, 0, 1]);
        if let Ok(name) = name_of(here) {
            let all = addresses_in(&name, false).unwrap();
            assert!(all.contains(&here) && all.iter().all(IpAddr::is_ipv4), "{name}: {all:?}");
        }
        let no = addresses_in("no such name", false).unwrap_err();
        assert!(!no.words.is_empty());
        assert!(addresses_in("nul\0inside", true).is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(addresses_of("192.0.2.1"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        let failure = addresses_of("no such host").unwrap_err();
        assert!(failure.absent && !failure.words.is_empty(), "{failure:?}");
    }
}
