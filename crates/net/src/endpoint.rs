//! Where a service of the administrator is reached, as parameters write it: `inet:host:port`, `host:port`,
//! `unix:path`, a path. For filters before the queue, policy services, milters, login services.

use crate::dial::{self, Failure, Source};
use crate::stream::Socket;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Over TCP.
    Inet {
        /// A name or address; this host when nothing was written.
        host: String,
        /// The port.
        port: u16,
        /// As written, without the type.
        written: String,
    },
    /// On this machine.
    Unix {
        /// The whole path.
        path: PathBuf,
        /// As written, without the type.
        written: String,
    },
}

impl Endpoint {
    /// Reads `text`; a relative path is below `queue_directory`. What has no type is `host:port` or a port, or, as
    /// `path` says, the path of a socket. The error says what is wrong.
    pub fn parse(text: &str, queue_directory: &Path, path: bool) -> Result<Endpoint, String> {
        let text = text.trim();
        let (kind, rest) = match text.split_once(':') {
            Some((kind @ ("inet" | "unix" | "local"), rest)) => (kind, rest),
            _ if path => ("unix", text),
            _ => ("inet", text),
        };
        if rest.is_empty() {
            return Err(format!("{text:?} names no socket"));
        }
        let written = rest.to_string();
        if kind != "inet" {
            // An absolute path replaces the directory.
            return Ok(Endpoint::Unix { path: queue_directory.join(rest), written });
        }
        let (host, service) = match rest.strip_prefix('[').and_then(|r| r.split_once("]:")) {
            Some(pair) => pair,
            None => rest.rsplit_once(':').unwrap_or(("", rest)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match sys::services::port(service) {
            Some(port) => Ok(Endpoint::Inet { host: host.to_string(), port, written }),
            None => Err(format!("{text:?} has no valid port: {service:?}")),
        }
    }

    /// Connects to the first address that answers, all of it within `timeout`.
    pub async fn connect(&self, timeout: Duration) -> Result<Socket, Failure> {
        let trying = async {
            match self {
                Endpoint::Unix { path, .. } => dial::unix(path, Duration::ZERO).await.map(Socket::from),
                Endpoint::Inet { host, port, .. } => {
                    let mut failure = Failure::Connect(io::ErrorKind::AddrNotAvailable.into(), None);
                    for address in Box::pin(addresses(host)).await.map_err(|e| Failure::Connect(e, None))? {
                        let to = SocketAddr::new(address, *port);
                        match dial::tcp(to, &Source::default(), Duration::ZERO).await {
                            Ok(dialled) => return Ok(Socket::from(dialled.stream)),
                            Err(e) => failure = e,
                        }
                    }
                    Err(failure)
                }
            }
        };
        match tokio::time::timeout(timeout, trying).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Connect(io::Error::from_raw_os_error(dial::TIMED_OUT), None)),
        }
    }
}

/// As written, without the type.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Endpoint::Inet { written, .. } | Endpoint::Unix { written, .. }) = self;
        f.write_str(written)
    }
}

/// The addresses of a host of the administrator's; this host's where none is named.
pub async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if host.is_empty() {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // In /etc/hosts more often than not: the system's own look-up.
    let look = |host: &str| sys::names::addresses_of(host).map_err(|failure| failure.words);
    looked_up(host, look).await.map_err(io::Error::other)
}

/// What a look-up found, or the words for why it found nothing.
type Found = Result<Vec<IpAddr>, String>;

/// Look-ups under way, by name. The system's may take half a minute where a name server is dead, and each
/// keeps a thread that others need: one at a time for each name, and not many at all.
static UNDER_WAY: Mutex<BTreeMap<String, watch::Receiver<Option<Found>>>> = Mutex::new(BTreeMap::new());
static PLACES: Semaphore = Semaphore::const_new(8);

/// A look-up that is under way until this is dropped.
struct LookUp(String, watch::Sender<Option<Found>>);

impl Drop for LookUp {
    fn drop(&mut self) {
        UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

async fn looked_up(host: &str, look: impl FnOnce(&str) -> Found + Send + 'static) -> Found {
    let mut answer = {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let (tell, answer) = watch::channel(None);
            let under_way = LookUp(host.to_string(), tell);
            // A task of its own: it goes on when whoever asked first waits no longer.
            tokio::spawn(async move {
                let Ok(place) = PLACES.acquire().await else { return };
                let looking = tokio::task::spawn_blocking(move || {
                    let LookUp(host, tell) = &under_way;
                    let _ = tell.send(Some(look(host)));
                });
                let _ = looking.await;
                drop(place);
            });
            answer
        };
        under_way.entry(host.to_string()).or_insert_with(begin).clone()
    };
    match answer.wait_for(Option::is_some).await.map(|found| found.clone()) {
        Ok(Some(found)) => found,
        _ => Err("the look-up was given up".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, path: bool) -> Result<String, String> {
        Endpoint::parse(text, Path::new("/var/spool/postfix"), path).map(|e| match e {
            Endpoint::Inet { host, port, .. } => format!("{host} {port}"),
            Endpoint::Unix { path, .. } => path.display().to_string(),
        })
    }

    #[test]
    fn forms() {
        let cases = [
            ("10.0.0.1:10025", false, "10.0.0.1 10025"),
            ("inet:localhost:10025", false, "localhost 10025"),
            ("inet:[::1]:25", true, "::1 25"),
            ("10025", false, " 10025"),
            ("inet:10025", true, " 10025"),
            ("inet::10025", true, " 10025"),
            ("host:smtp", false, "host 25"),
            ("unix:private/policy", false, "/var/spool/postfix/private/policy"),
            ("local:/run/x", false, "/run/x"),
            ("private/auth", true, "/var/spool/postfix/private/auth"),
            ("/run/y", true, "/run/y"),
        ];
        for (text, path, expected) in cases {
            assert_eq!(read(text, path).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "inet:", "unix:", "host:", "host:nothing-like-a-port", "host:70000"] {
            assert!(read(bad, false).is_err(), "{bad}");
        }
        let one = Endpoint::parse("inet:a:25", Path::new("/"), false).unwrap();
        assert_eq!(one.to_string(), "a:25");
    }

    #[test]
    fn a_name_that_nobody_answers_for_keeps_one_thread() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static LOOKED: AtomicUsize = AtomicUsize::new(0);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
        let here = vec![IpAddr::from([127, 0, 0, 7])];
        let (answer, silence) = std::sync::mpsc::channel::<Vec<IpAddr>>();
        let silence = std::sync::Arc::new(Mutex::new(silence));
        let dead = |_| {
            let silence = silence.clone();
            looked_up("dead.test", move |_: &str| {
                LOOKED.fetch_add(1, Ordering::SeqCst);
                let answer = silence.lock().unwrap().recv_timeout(Duration::from_secs(30));
                answer.map_err(|e| e.to_string())
            })
        };
        runtime.block_on(async {
            let many: Vec<_> = (0..100).map(dead).map(tokio::spawn).collect();
            while LOOKED.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let (other, expected) = (here.clone(), here.clone());
            let live = looked_up("live.test", move |_: &str| Ok(other));
            assert_eq!(tokio::time::timeout(Duration::from_secs(10), live).await, Ok(Ok(expected)));
            answer.send(here.clone()).unwrap();
            for one in many {
                assert_eq!(one.await.unwrap(), Ok(here.clone()));
            }
            assert_eq!(LOOKED.load(Ordering::SeqCst), 1);
        });
        assert!(UNDER_WAY.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn connecting() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limit = Duration::from_secs(5);
        for host in ["", "127.0.0.1:", "localhost:"] {
            let endpoint = Endpoint::parse(&format!("inet:{host}{port}"), Path::new("/"), false).unwrap();
            // A name may mean ::1 first, where nobody listens.
            assert!(endpoint.connect(limit).await.is_ok(), "{host}");
        }
        drop(listener);
        let endpoint = Endpoint::parse(&format!("127.0.0.1:{port}"), Path::new("/"), false).unwrap();
        assert_eq!(endpoint.connect(limit).await.unwrap_err().to_string(), "Connection refused");
        let none = Endpoint::parse("unix:nothing/here", Path::new("/nonexistent"), false).unwrap();
        assert_eq!(none.connect(limit).await.unwrap_err().to_string(), "No such file or directory");
    }
}
