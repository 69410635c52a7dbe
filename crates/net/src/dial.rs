//! Connecting, with the words that Postfix has when it fails.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// From which of our addresses a connection is made: `smtp_bind_address` and its like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// To IPv4.
    pub v4: Option<Ipv4Addr>,
    /// To IPv6.
    pub v6: Option<Ipv6Addr>,
    /// `smtp_bind_address_enforce`: rather not at all than from another address.
    pub enforce: bool,
}

impl Source {
    /// The addresses written, or, for a family without one, this host's only address of that family in
    /// `inet_interfaces`: one of several hosts on a machine speaks from its own address.
    pub fn new(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>, enforce: bool, own: &[IpAddr]) -> Source {
        let only = |family: fn(&IpAddr) -> bool| {
            let mut all = own.iter().filter(|a| family(a));
            all.next().filter(|a| all.next().is_none() && !a.is_loopback()).copied()
        };
        let v4 = v4.or_else(|| if let Some(IpAddr::V4(a)) = only(IpAddr::is_ipv4) { Some(a) } else { None });
        let v6 = v6.or_else(|| if let Some(IpAddr::V6(a)) = only(IpAddr::is_ipv6) { Some(a) } else { None });
        Source { v4, v6, enforce }
    }

    fn towards(&self, address: SocketAddr) -> Option<IpAddr> {
        match address {
            SocketAddr::V4(_) => self.v4.map(IpAddr::V4),
            SocketAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Failure {
    /// The other side, or the way to it; and why not from the address written, for the log.
    Connect(io::Error, Option<String>),
    /// Our address cannot be used, and no other may be; for the log.
    Bind(String),
}

impl Failure {
    /// What the log should say beside the failure itself.
    pub fn warning(&self) -> Option<&String> {
        match self {
            Failure::Connect(_, warning) => warning.as_ref(),
            Failure::Bind(warning) => Some(warning),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(e, _) => f.write_str(&crate::plain(e)),
            Failure::Bind(..) => f.write_str("server configuration error"),
        }
    }
}

/// A connection, and what the log should say about how it came about.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub stream: TcpStream,
    /// The address written could not be used.
    pub warning: Option<String>,
}

/// Connects within `timeout`; zero means that only the system gives up.
pub async fn tcp(address: SocketAddr, source: &Source, timeout: Duration) -> Result<Dialled, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|e| Failure::Connect(e, None))?;
    let mut warning = None;
    if let Some(from) = source.towards(address)
        && let Err(e) = socket.bind(SocketAddr::new(from, 0))
    {
        let text = format!("smtp_connect_addr: bind {from}: {}", crate::plain(&e));
        if source.enforce {
            return Err(Failure::Bind(text));
        }
        warning = Some(text);
    }
    let stream = match within(timeout, socket.connect(address)).await {
        Ok(stream) => stream,
        Err(e) => return Err(Failure::Connect(e, warning)),
    };
    // What is written is written whole: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    Ok(Dialled { stream, warning })
}

/// Connects to a socket on this machine.
pub async fn unix(path: &Path, timeout: Duration) -> Result<UnixStream, Failure> {
    within(timeout, UnixStream::connect(path)).await.map_err(|e| Failure::Connect(e, None))
}

/// Whether this system has IPv6 at all.
pub fn ipv6_works() -> bool {
    TcpSocket::new_v6().is_ok()
}

async fn within<T>(timeout: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    if timeout.is_zero() {
        return future.await;
    }
    match tokio::time::timeout(timeout, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from_raw_os_error(TIMED_OUT)),
    }
}

/// ETIMEDOUT, so that the words are the system's.
pub(crate) const TIMED_OUT: i32 = 110;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(5);

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn connections_and_their_words() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let plain = tcp(address, &Source::default(), LONG).await.unwrap();
            assert!(plain.warning.is_none() && plain.stream.nodelay().unwrap());

            let from = Source { v4: Some(Ipv4Addr::new(127, 0, 0, 9)), ..Source::default() };
            let stream = tcp(address, &from, Duration::ZERO).await.unwrap().stream;
            assert_eq!(stream.local_addr().unwrap().ip(), Ipv4Addr::new(127, 0, 0, 9));

            let foreign = Source { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), ..Source::default() };
            let warned = tcp(address, &foreign, LONG).await.unwrap().warning.unwrap();
            assert_eq!(warned, "smtp_connect_addr: bind 192.0.2.1: Cannot assign requested address");
            let failure = tcp(address, &Source { enforce: true, ..foreign }, LONG).await.unwrap_err();
            assert_eq!(failure.to_string(), "server configuration error");
            assert_eq!(failure.warning(), Some(&warned));

            drop(listener);
            let failure = tcp(address, &Source::default(), LONG).await.unwrap_err();
            assert_eq!((failure.to_string().as_str(), failure.warning()), ("Connection refused", None));
            let failure = tcp(address, &foreign, LONG).await.unwrap_err();
            assert_eq!(
                (failure.to_string().as_str(), failure.warning()),
                ("Connection refused", Some(&warned))
            );
            let failure = unix(Path::new("/nonexistent/x"), LONG).await.unwrap_err();
            assert_eq!(failure.to_string(), "No such file or directory");
            let late = within(Duration::from_millis(1), std::future::pending::<io::Result<()>>()).await;
            assert_eq!(Failure::Connect(late.unwrap_err(), None).to_string(), "Connection timed out");
        });
    }

    #[test]
    fn a_host_with_one_address_speaks_from_it() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let of = |own: &[IpAddr]| {
            let source = Source::new(None, None, false, own);
            (source.v4, source.v6)
        };
        let one = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(of(&[ip("192.0.2.1")]), (one, None));
        assert_eq!(of(&[ip("192.0.2.1"), ip("::1")]), (one, None), "loopback is no source");
        assert_eq!(of(&[ip("127.0.0.1"), ip("192.0.2.1")]), (None, None));
        let other = Ipv4Addr::new(192, 0, 2, 7);
        assert_eq!(Source::new(Some(other), None, true, &[ip("192.0.2.1")]).v4, Some(other));
    }
}
