//! Asking policy services: connections that a session keeps until its end, and that wait for the
//! next one then. SMTPD_POLICY_README
//!
//! A service may remember what it was asked about a message; so the questions of one session go
//! over one connection, which nobody else uses meanwhile. What a service says is not trusted to be
//! short, to be text, or to come at all.

use crate::events::{PolicyMalformed, PolicyMissing, PolicyTrouble, PolicyUnreachable};
use crate::restrictions::policy::{Inquiry, Place, Server, Told};
use events::Source;
use net::dial;
use net::stream::Socket;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

/// The most that an answer may be.
const LONGEST: usize = 64 * 1024;
/// The most connections of a listener that wait at a time.
const MOST: usize = 1000;

/// A connection and its past.
struct Connection {
    stream: Socket,
    made: Instant,
    used: Instant,
    requests: u64,
}

/// Why there was no answer.
struct Failure {
    words: String,
    /// It is to be expected of a connection that waited: only the last attempt is told of.
    common: bool,
}

/// Connections that wait for a session, of one listener.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    by_element: HashMap<String, Vec<(Connection, Arc<Server>)>>,
    count: usize,
    /// Somebody closes those that waited too long.
    swept: bool,
}

/// The connections of one session.
pub(crate) struct Connections {
    pool: Arc<Pool>,
    open: Vec<(Arc<Server>, Connection)>,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(pool: Arc<Pool>) -> Connections {
        Connections { pool, open: Vec::new() }
    }

    /// Asks until there is an answer, as often as the service's settings say.
    pub(crate) async fn ask(&mut self, inquiry: &Inquiry, say: &Source) -> Told {
        let server = &inquiry.server;
        for attempt in 1..=server.try_limit {
            match self.attempt(inquiry, say).await {
                Ok(action) => return readable(action, server, say),
                Err(failure) => {
                    let last = attempt == server.try_limit;
                    if last || !failure.common {
                        say.say(&PolicyTrouble { server: server.label.clone(), what: failure.words });
                    }
                    if !last {
                        tokio::time::sleep(server.retry_delay).await;
                    }
                }
            }
        }
        None
    }

    async fn attempt(&mut self, inquiry: &Inquiry, say: &Source) -> Result<Vec<u8>, Failure> {
        let server = &inquiry.server;
        let mut connection = match self.waiting(server).await {
            Some(connection) => connection,
            None => connect(server, say).await?,
        };
        let (action, clean) = connection.exchange(inquiry, say).await?;
        let spent = server.request_limit > 0 && connection.requests >= server.request_limit;
        // What was said beyond the answer must not be taken for the next one.
        if clean && !spent {
            self.open.push((server.clone(), connection));
        }
        Ok(action)
    }

    /// One that this session had, or that waits.
    async fn waiting(&mut self, server: &Server) -> Option<Connection> {
        if let Some(at) = self.open.iter().position(|(s, _)| s.element == server.element) {
            let (_, mut connection) = self.open.swap_remove(at);
            if connection.is_usable(server).await {
                return Some(connection);
            }
        }
        while let Some(mut connection) = self.pool.take(&server.element) {
            if connection.is_usable(server).await {
                return Some(connection);
            }
        }
        None
    }
}

impl Connections {
    /// The session asks no more: the next one may have them, at the latest when the log says that this one has ended.
    pub(crate) fn give_back(&mut self) {
        for (server, connection) in self.open.drain(..) {
            self.pool.put(server, connection);
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.give_back();
    }
}

async fn connect(server: &Server, say: &Source) -> Result<Connection, Failure> {
    let made = match &server.place {
        Place::Unix(path) => match dial::unix(path, server.timeout).await {
            Ok(stream) => Ok(Socket::from(stream)),
            Err(failure) => Err(failure.to_string()),
        },
        Place::Inet(host, port) => inet(host, *port, server.timeout).await,
    };
    let now = Instant::now();
    made.map(|stream| Connection { stream, made: now, used: now, requests: 0 }).map_err(|words| {
        say.say(&PolicyUnreachable { server: server.label.clone(), what: words.clone() });
        let common = words == NOT_THERE;
        Failure { words, common }
    })
}

/// A service that is started on demand may not have made its socket yet.
const NOT_THERE: &str = "No such file or directory";

async fn inet(host: &str, port: u16, timeout: Duration) -> Result<Socket, String> {
    // Boxed: a session that waits should not carry it.
    let found = tokio::time::timeout(timeout, Box::pin(net::endpoint::addresses(host))).await;
    let addresses = found.map_err(|_| "Connection timed out".to_string())?.map_err(|e| e.to_string())?;
    let mut why = "no address found".to_string();
    for address in addresses {
        match dial::tcp(SocketAddr::new(address, port), &dial::Source::default(), timeout).await {
            Ok(dialled) => return Ok(Socket::from(dialled.stream)),
            Err(failure) => why = failure.to_string(),
        }
    }
    Err(why)
}

impl Connection {
    /// Young enough, and the service has neither closed it nor said something unasked.
    async fn is_usable(&mut self, server: &Server) -> bool {
        if self.made.elapsed() >= server.max_ttl || self.used.elapsed() >= server.max_idle {
            return false;
        }
        let mut byte = [0; 1];
        let stream = &mut self.stream;
        let heard = std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer).is_ready())
        });
        !heard.await
    }

    async fn exchange(&mut self, inquiry: &Inquiry, say: &Source) -> Result<(Vec<u8>, bool), Failure> {
        let late = || Failure { words: "Connection timed out".into(), common: false };
        let broken = |e: &std::io::Error| Failure {
            words: net::plain(e),
            common: matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
        };
        let nothing = || Failure { words: "Application error".into(), common: true };
        let timeout = inquiry.server.timeout;
        let question = format!("{}\n", inquiry.request);
        self.requests += 1;
        let written = tokio::time::timeout(timeout, self.stream.write_all(question.as_bytes())).await;
        written.map_err(|_| late())?.map_err(|e| broken(&e))?;
        let until = tokio::time::Instant::now() + timeout;
        let mut answer = Vec::new();
        loop {
            let read = tokio::time::timeout_at(until, self.stream.read_buf(&mut answer)).await;
            if read.map_err(|_| late())?.map_err(|e| broken(&e))? == 0 || answer.len() > LONGEST {
                return Err(nothing());
            }
            match parse(&answer) {
                Parsed::Unfinished => {}
                Parsed::Action(action, clean) => {
                    self.used = Instant::now();
                    return Ok((action, clean));
                }
                Parsed::Nothing => {
                    say.say(&PolicyMissing { server: inquiry.server.label.clone() });
                    return Err(nothing());
                }
            }
        }
    }
}

/// What an answer amounts to so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Unfinished,
    /// The action, and whether nothing follows.
    Action(Vec<u8>, bool),
    /// It is whole, and no action is in it.
    Nothing,
}

/// `action=…`, other attributes, and an empty line.
pub(crate) fn parse(answer: &[u8]) -> Parsed {
    let mut action = None;
    let mut rest = answer;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let (line, further) = rest.split_at(end);
        rest = further.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let whole = |action: &[u8]| Parsed::Action(action.to_vec(), rest.is_empty());
            return action.map_or(Parsed::Nothing, whole);
        }
        if let Some(value) = line.strip_prefix(b"action=") {
            action.get_or_insert(value);
        }
    }
    Parsed::Unfinished
}

/// The action as text of one line.
fn readable(action: Vec<u8>, server: &Server, say: &Source) -> Told {
    match String::from_utf8(action) {
        Ok(text) => Some(text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()),
        Err(e) => {
            let plain = |b: &u8| if (b' '..=b'~').contains(b) { char::from(*b) } else { '?' };
            let text = e.as_bytes().iter().take(1000).map(plain).collect();
            say.say(&PolicyMalformed { server: server.name.clone(), text });
            None
        }
    }
}

impl Pool {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(self: &Arc<Pool>, server: Arc<Server>, connection: Connection) {
        let mut waiting = self.waiting();
        if waiting.count >= MOST {
            return;
        }
        waiting.count += 1;
        let key = server.element.clone();
        waiting.by_element.entry(key).or_default().push((connection, server));
        // Nobody sweeps where no runtime is left: the program ends.
        if !std::mem::replace(&mut waiting.swept, true)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// The one that was used last.
    fn take(&self, element: &str) -> Option<Connection> {
        let mut waiting = self.waiting();
        let (connection, _) = waiting.by_element.get_mut(element)?.pop()?;
        waiting.count -= 1;
        Some(connection)
    }
}

/// Closes what waited too long, while there is anything and anybody to use it.
async fn sweep(pool: std::sync::Weak<Pool>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut waiting = pool.waiting();
        waiting.by_element.retain(|_, list| {
            list.retain(|(connection, server)| {
                connection.used.elapsed() < server.max_idle && connection.made.elapsed() < server.max_ttl
            });
            !list.is_empty()
        });
        waiting.count = waiting.by_element.values().map(Vec::len).sum();
        if waiting.count == 0 {
            waiting.swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let of = |text: &str| parse(text.as_bytes());
        assert_eq!(of("action=DUNNO"), Parsed::Unfinished);
        assert_eq!(of("action=DUNNO\n"), Parsed::Unfinished);
        assert_eq!(of("action=DUNNO\n\n"), Parsed::Action(b"DUNNO".to_vec(), true));
        assert_eq!(of("action=DUNNO\r\n\r\n"), Parsed::Action(b"DUNNO".to_vec(), true));
        assert_eq!(of("x=y\naction=first\naction=second\n\nz"), Parsed::Action(b"first".to_vec(), false));
        assert_eq!(of("action=\n\n"), Parsed::Action(Vec::new(), true));
        assert_eq!(of("hola\n\n"), Parsed::Nothing);
        assert_eq!(of("\n"), Parsed::Nothing);
    }
}
