//! Scripted SMTP servers in the network of a world: they say what a file of the scenario tells them to, and write down
//! what the mail system said.
//!
//! ```text
//! listen = 10.77.4.10 [fd00:77::4:10]:587     where it is reached; port 25 unless said otherwise; or a path
//! name = mx.fake.org                          its name in the replies that it gives by itself
//! start = down                                nobody listens before the step `server NAME up`
//! show = sorted                               sessions are shown in the order of their text (they came at once)
//! show = pipelined                            a command that came along with the one before is shown as `C+`
//! protocol = lmtp                             greeted by LHLO; a reply for each recipient after the text
//! protocol = policy                           a policy server, see `remote/policy.rs`
//! EHLO = 250-mx.fake.org | 250 8BITMIME       the reply to lines that begin so; the longest beginning wins
//! RCPT TO:<uno@fake.org> = 450 4.2.0 Later // 250 2.1.5 Ok      the first time, and all further times
//! greeting = 421 4.3.2 busy | close           the reply to a connection; `text` one to the first line of a message;
//! . = 250 2.0.0 Accepted as FAKE%n            `.` to its end (for LMTP also `. ADDRESS`); %n counts the messages
//! ```
//! Instead of a line there may be an action: `close`, `reset` (a connection torn down), `silence` (nothing any more),
//! `pause MILLISECONDS`, `drip TEXT` (a line, byte by byte), `raw TEXT` (no line end but \r \n \xHH), `endless TEXT` (a
//! line again and again).

mod policy;

use crate::dialogue::unescape;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a server says, and where.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Where it listens.
    pub listen: Vec<Place>,
    /// Whether it listens from the beginning.
    pub up: bool,
    sorted: bool,
    pipelined: bool,
    lmtp: bool,
    policy: bool,
    rules: Vec<Rule>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the network.
    Address(SocketAddr),
    /// In the file system of the scenario's host.
    Path(PathBuf),
}

#[derive(Clone, Debug)]
struct Rule {
    beginning: String,
    turns: Vec<Vec<Action>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Line(String),
    Raw(Vec<u8>),
    Drip(String),
    Endless(String),
    Pause(u64),
    Close,
    Reset,
    Silence,
}

/// What is said where the file says nothing.
const DEFAULTS: &str = "greeting = 220 NAME ESMTP
EHLO = 250-NAME | 250 8BITMIME
LHLO = 250-NAME | 250-PIPELINING | 250-ENHANCEDSTATUSCODES | 250 8BITMIME
HELO = 250 NAME
MAIL = 250 2.1.0 Sender OK
RCPT = 250 2.1.5 Recipient OK
DATA = 354 Go ahead
. = 250 2.0.0 Accepted as FAKE%n
BDAT = 250 2.0.0 Chunk OK
RSET = 250 2.0.0 Reset
NOOP = 250 2.0.0 OK
QUIT = 221 2.0.0 Goodbye | close
 = 500 5.5.2 Unknown command";

impl Script {
    /// Reads a file; an error is the line that cannot be read.
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script { up: true, ..Script::default() };
        let mut name = "mx.fake.org";
        let mut rules = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            // What stands in a request has a sign of equality itself.
            let (key, value) = line.split_once(" =").ok_or(line)?;
            let (key, value) = (key.trim(), value.trim());
            match (key, value) {
                ("listen", addresses) => {
                    for address in addresses.split_whitespace() {
                        script.listen.push(place_of(address).ok_or(line)?);
                    }
                }
                ("name", value) => name = value,
                ("start", "down") => script.up = false,
                ("show", "sorted") => script.sorted = true,
                ("show", "pipelined") => script.pipelined = true,
                ("protocol", "lmtp") => script.lmtp = true,
                ("protocol", "policy") => script.policy = true,
                ("start" | "show" | "protocol", _) => return Err(line.to_string()),
                _ => rules.push(rule(key, value).ok_or(line)?),
            }
        }
        let defaults = if script.policy { policy::DEFAULTS } else { DEFAULTS };
        for line in defaults.lines() {
            let (key, value) = line.split_once(" = ").unwrap_or_default();
            if !rules.iter().any(|rule| rule.beginning == key) {
                rules.push(rule(key, &value.replace("NAME", name)).ok_or(line)?);
            }
        }
        script.rules = rules;
        Ok(script)
    }

    /// The rule with the longest beginning that fits.
    fn rule(&self, line: &str) -> Option<usize> {
        let fits = |rule: &Rule| {
            line.get(..rule.beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(&rule.beginning))
        };
        (0..self.rules.len())
            .filter(|number| fits(&self.rules[*number]))
            .max_by_key(|number| self.rules[*number].beginning.len())
    }
}

fn rule(key: &str, value: &str) -> Option<Rule> {
    let turns = value.split(" // ").map(|turn| turn.split(" | ").map(action).collect::<Option<Vec<_>>>());
    Some(Rule { beginning: key.to_string(), turns: turns.collect::<Option<_>>()? })
}

fn action(text: &str) -> Option<Action> {
    let text = text.trim_start();
    Some(match text.split_once(' ').unwrap_or((text, "")) {
        ("close", "") => Action::Close,
        ("reset", "") => Action::Reset,
        ("silence", "") => Action::Silence,
        ("pause", time) => Action::Pause(time.parse().ok()?),
        ("raw", rest) => Action::Raw(unescape(rest)?),
        ("drip", rest) => Action::Drip(rest.to_string()),
        ("endless", rest) => Action::Endless(rest.to_string()),
        _ => Action::Line(text.to_string()),
    })
}

pub(crate) fn place_of(text: &str) -> Option<Place> {
    if text.starts_with('/') {
        return Some(Place::Path(text.into()));
    }
    let address = text.parse().ok().or_else(|| text.parse().ok().map(|ip| SocketAddr::new(ip, 25)));
    address.map(Place::Address)
}

/// A connection of either kind.
pub(crate) trait Stream: Read + Write + Send {
    fn patience(&self, limit: Duration);
    fn end(&self);
    fn tear(&self) {}
}

impl Stream for TcpStream {
    fn patience(&self, limit: Duration) {
        let _ = self.set_read_timeout(Some(limit));
        let _ = self.set_nodelay(true);
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }

    fn tear(&self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = nix::sys::socket::setsockopt(self, nix::sys::socket::sockopt::Linger, &linger);
    }
}

impl Stream for UnixStream {
    fn patience(&self, limit: Duration) {
        let _ = self.set_read_timeout(Some(limit));
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// A listening socket of either kind.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn bind(place: &Place) -> std::io::Result<Listener> {
        Ok(match place {
            Place::Address(address) => Listener::Tcp(TcpListener::bind(address)?),
            Place::Path(path) => {
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
                Listener::Unix(listener)
            }
        })
    }

    pub(crate) fn again(&self) -> std::io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(listener) => Listener::Tcp(listener.try_clone()?),
            Listener::Unix(listener) => Listener::Unix(listener.try_clone()?),
        })
    }

    /// The next connection, and from where.
    pub(crate) fn accept(&self) -> std::io::Result<(Box<dyn Stream>, Option<String>)> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                (Box::new(stream), Some(peer.ip().to_string()))
            }
            Listener::Unix(listener) => (Box::new(listener.accept()?.0), None),
        })
    }

    /// Refuses connections, and wakes the thread that accepts.
    pub(crate) fn shut(&self) {
        let socket = match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.as_raw_fd(),
        };
        let _ = nix::sys::socket::shutdown(socket, nix::sys::socket::Shutdown::Both);
    }
}

/// A server in the network of a world.
#[derive(Clone)]
pub struct Server {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    script: Script,
    used: HashMap<usize, usize>,
    messages: usize,
    /// What policy clients call messages, in the order in which they were heard of.
    instances: Vec<String>,
    sessions: Vec<Session>,
    listeners: Vec<Listener>,
}

#[derive(Default)]
struct Session {
    from: Option<String>,
    text: String,
    messages: Vec<(usize, String)>,
    ended: bool,
}

/// How long the end of the sessions is awaited before what was said is shown.
const FAREWELL: Duration = Duration::from_secs(12);
/// How long the mail system may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// What arrives within this time after a command came along with it.
const TOGETHER: Duration = Duration::from_millis(60);

impl Server {
    /// A server that does not listen yet.
    pub fn new(script: Script) -> Server {
        Server { shared: Arc::new((Mutex::new(State { script, ..State::default() }), Condvar::new())) }
    }

    /// Listens, in the network namespace of the calling thread, with threads of its own.
    pub fn up(&self) -> Result<(), String> {
        let mut state = lock(&self.shared.0);
        for address in state.script.listen.clone() {
            let failed = |error: std::io::Error| format!("{address:?}: {error}");
            let listener = Listener::bind(&address).map_err(failed)?;
            state.listeners.push(listener.again().map_err(failed)?);
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || {
                while let Ok((stream, peer)) = listener.accept() {
                    let session = Session { from: peer, ..Session::default() };
                    let mut state = lock(&shared.0);
                    let number = state.sessions.len();
                    state.sessions.push(session);
                    drop(state);
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        let (unread, line_end) = (Vec::new(), "\r\n".as_bytes());
                        let mut talk = Talk { stream, shared, number, unread, line_end, closed: false };
                        talk.whole();
                        let mut state = lock(&talk.shared.0);
                        state.sessions[number].ended = true;
                        talk.shared.1.notify_all();
                    });
                }
            });
        }
        Ok(())
    }

    /// Refuses connections from now on; those that are open stay.
    pub fn down(&self) {
        lock(&self.shared.0).listeners.drain(..).for_each(|listener| listener.shut());
    }

    /// Says from now on what another script tells.
    pub fn replace(&self, script: &Script) {
        let mut state = lock(&self.shared.0);
        state.script.rules.clone_from(&script.rules);
        state.used.clear();
    }

    /// Waits until all sessions are over, and shows them. `home` are the addresses that need no mention.
    pub fn text(&self, home: &[String]) -> String {
        let end = Instant::now() + FAREWELL;
        let mut state = lock(&self.shared.0);
        // Policy clients keep their connections for an hour of need, each as long as it likes.
        let kept = state.script.policy;
        while !kept && state.sessions.iter().any(|session| !session.ended) && Instant::now() < end {
            state = match self.shared.1.wait_timeout(state, Duration::from_millis(100)) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let mut shown: Vec<(String, String)> = state
            .sessions
            .iter()
            .map(|session| {
                let from = match &session.from {
                    Some(address) if !home.contains(address) => format!(" from {address}"),
                    _ => String::new(),
                };
                let mut text = session.text.clone();
                if !session.ended && !kept {
                    text.push_str("# still open\n");
                }
                for (number, message) in &session.messages {
                    text.push_str(&format!("# message {number}\n{message}"));
                }
                (from, text)
            })
            .collect();
        if state.script.sorted {
            shown.sort();
        }
        let shown = shown.iter().enumerate();
        shown.map(|(number, (from, text))| format!("# session {}{from}\n{text}", number + 1)).collect()
    }
}

/// One session.
struct Talk {
    stream: Box<dyn Stream>,
    shared: Arc<(Mutex<State>, Condvar)>,
    number: usize,
    unread: Vec<u8>,
    line_end: &'static [u8],
    closed: bool,
}

const LEFT: &str = "# connection closed by the client\n";

impl Talk {
    fn whole(&mut self) {
        self.stream.patience(SILENCE);
        if lock(&self.shared.0).script.policy {
            return self.policy();
        }
        self.reply("greeting", None);
        let mut recipients: Vec<String> = Vec::new();
        let mut message = String::new();
        while !self.closed {
            let along = !self.unread.is_empty();
            let Some(line) = self.line() else { return };
            let pipelined = along && lock(&self.shared.0).script.pipelined;
            let mark = if pipelined { "C+" } else { "C:" };
            let upper = line.to_ascii_uppercase();
            if let Some(chunk) = upper.strip_prefix("BDAT ") {
                let last = chunk.ends_with(" LAST");
                let size = chunk.split(' ').next().and_then(|size| size.parse().ok()).unwrap_or(0);
                self.note(&format!("{mark} BDAT <SIZE>{}\n", if last { " LAST" } else { "" }));
                let Some(bytes) = self.bytes(size) else { return };
                message.push_str(&shown(&bytes));
                if last {
                    self.end(&mut message, &recipients);
                } else {
                    self.reply("BDAT", None);
                }
                continue;
            }
            self.note(&format!("{mark} {line}\n"));
            let code = self.reply(&line, None);
            if upper.starts_with("MAIL") || upper.starts_with("RSET") {
                recipients.clear();
            } else if upper.starts_with("RCPT") && code.starts_with('2') {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                recipients.push(address.to_string());
            } else if upper == "DATA" && code.starts_with("354") && !self.closed {
                match self.data() {
                    Some(text) => message = text,
                    None => return,
                }
                self.end(&mut message, &recipients);
            }
        }
    }

    /// The text of a message up to its dot. RFC 5321 4.5.2
    fn data(&mut self) -> Option<String> {
        let mut text = String::new();
        self.note("C: (message text)\n");
        while let Some(line) = self.line() {
            if text.is_empty() && self.has_rule("text") {
                self.reply("text", None);
                if self.closed {
                    return None;
                }
            }
            if line == "." {
                self.note("C: .\n");
                return Some(text);
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
        None
    }

    /// The answer to the end of a message, which is kept when it is accepted. Its number is taken before it is
    /// answered, and only if it will be accepted: whoever hears the answer may send the next one at once.
    fn end(&mut self, message: &mut String, recipients: &[String]) {
        let keys: Vec<String> = if lock(&self.shared.0).script.lmtp {
            let own = recipients.iter().map(|recipient| format!(". {recipient}"));
            own.map(|own| if self.has_rule(&own) { own } else { ".".to_string() }).collect()
        } else {
            vec![".".to_string()]
        };
        let kept = keys.iter().any(|key| self.will_accept(key));
        let text = std::mem::take(message);
        let number = {
            let mut state = lock(&self.shared.0);
            if kept {
                state.messages += 1;
                let number = state.messages;
                state.sessions[self.number].messages.push((number, text));
            }
            state.messages
        };
        for key in keys {
            self.reply(&key, Some(number));
        }
    }

    /// Whether the next reply to this line ends with a yes.
    fn will_accept(&self, line: &str) -> bool {
        let state = lock(&self.shared.0);
        let Some(rule) = state.script.rule(line) else { return false };
        let used = state.used.get(&rule).copied().unwrap_or(0);
        let turns = &state.script.rules[rule].turns;
        let said = turns[used.min(turns.len() - 1)].iter().rev().find_map(|action| match action {
            Action::Line(text) | Action::Drip(text) => Some(text.starts_with('2')),
            _ => None,
        });
        said.unwrap_or(false)
    }

    fn has_rule(&self, key: &str) -> bool {
        lock(&self.shared.0).script.rules.iter().any(|rule| rule.beginning == key)
    }

    /// Says what the script wants as the reply to a line; gives back the last line said.
    fn reply(&mut self, line: &str, number: Option<usize>) -> String {
        let turn = {
            let mut state = lock(&self.shared.0);
            let Some(rule) = state.script.rule(line) else { return String::new() };
            let used = state.used.entry(rule).or_default();
            *used += 1;
            let used = *used;
            let turns = &state.script.rules[rule].turns;
            turns[(used - 1).min(turns.len() - 1)].clone()
        };
        let number = number.map_or_else(String::new, |number| number.to_string());
        let leaving = line.eq_ignore_ascii_case("QUIT");
        let mut last = String::new();
        for action in turn {
            match action {
                Action::Line(text) => {
                    let text = text.replace("%n", &number);
                    if leaving {
                        // A client need not wait for this reply.
                        self.note(&format!("S: {text}\n"));
                        let _ = self.stream.write_all(format!("{text}\r\n").as_bytes());
                    } else if self.line_end == b"\n" {
                        self.say(&format!("S: {text}\n"), format!("{text}\n\n").as_bytes());
                    } else {
                        self.say(&format!("S: {text}\n"), format!("{text}\r\n").as_bytes());
                    }
                    last = text;
                }
                Action::Raw(bytes) => self.say(&format!("S> {}\n", bytes.escape_ascii()), &bytes),
                Action::Drip(text) => {
                    self.note(&format!("S: {text}\n"));
                    for byte in format!("{text}\r\n").bytes() {
                        std::thread::sleep(Duration::from_millis(40));
                        self.say("", &[byte]);
                    }
                    last = text;
                }
                Action::Endless(text) => {
                    self.note(&format!("S: {text} (without end)\n"));
                    let block = format!("{text}\r\n").repeat(1000);
                    while !self.closed {
                        self.say("", block.as_bytes());
                    }
                }
                Action::Pause(time) => std::thread::sleep(Duration::from_millis(time)),
                Action::Silence => {
                    let mut sink = [0; 4096];
                    while matches!(self.stream.read(&mut sink), Ok(1..)) {}
                    if !lock(&self.shared.0).script.policy {
                        self.note(LEFT);
                    }
                    self.closed = true;
                }
                Action::Close => {
                    self.stream.end();
                    if !leaving {
                        self.note("# connection closed by the server\n");
                    }
                    self.closed = true;
                }
                Action::Reset => {
                    self.stream.tear();
                    self.note("# connection reset by the server\n");
                    self.closed = true;
                }
            }
            if self.closed {
                break;
            }
        }
        last
    }

    fn say(&mut self, note: &str, bytes: &[u8]) {
        self.note(note);
        if self.stream.write_all(bytes).is_err() {
            self.closed = true;
            self.note(LEFT);
        }
    }

    fn note(&self, text: &str) {
        lock(&self.shared.0).sessions[self.number].text.push_str(text);
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(self.line_end.len()).position(|w| w == self.line_end) {
                let line =
                    String::from_utf8_lossy(&self.unread[..end]).replace('\r', "<CR>").replace('\n', "<LF>");
                self.unread.drain(..end + self.line_end.len());
                return Some(line);
            }
            self.more()?;
        }
    }

    fn bytes(&mut self, size: usize) -> Option<Vec<u8>> {
        while self.unread.len() < size {
            self.more()?;
        }
        Some(self.unread.drain(..size).collect())
    }

    /// Reads more, and where it matters what came together, all that did.
    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(length @ 1..) => self.unread.extend(&buffer[..length]),
            _ => {
                if !lock(&self.shared.0).script.policy {
                    self.note(LEFT);
                }
                self.closed = true;
                return None;
            }
        }
        if lock(&self.shared.0).script.pipelined {
            self.stream.patience(TOGETHER);
            while let Ok(length @ 1..) = self.stream.read(&mut buffer) {
                self.unread.extend(&buffer[..length]);
            }
            self.stream.patience(SILENCE);
        }
        Some(())
    }
}

/// Message text with the line ends of a file.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(text: &str) -> (Server, TcpStream) {
        let mut script = Script::parse(text).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        script.listen = vec![Place::Address(free)];
        let server = Server::new(script);
        server.up().unwrap();
        (server, TcpStream::connect(free).unwrap())
    }

    fn exchange(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    }

    #[test]
    fn a_session_is_written_down_with_its_message() {
        let (server, mut stream) = served("name = mx.a\nRCPT TO:<b@b> = 550 5.1.1 no\n");
        exchange(
            &mut stream,
            "EHLO c\r\nMAIL FROM:<a@a>\r\nRCPT TO:<b@b>\r\nRCPT TO:<c@c>\r\nDATA\r\nhola\r\n..x\r\n.\r\nQUIT\r\n",
        );
        assert_eq!(
            server.text(&["127.0.0.1".into()]),
            "# session 1\nS: 220 mx.a ESMTP\nC: EHLO c\nS: 250-mx.a\nS: 250 8BITMIME\nC: MAIL FROM:<a@a>\n\
             S: 250 2.1.0 Sender OK\nC: RCPT TO:<b@b>\nS: 550 5.1.1 no\nC: RCPT TO:<c@c>\nS: 250 2.1.5 Recipient OK\n\
             C: DATA\nS: 354 Go ahead\nC: (message text)\nC: .\nS: 250 2.0.0 Accepted as FAKE1\nC: QUIT\n\
             S: 221 2.0.0 Goodbye\n# message 1\nhola\n.x\n"
        );
    }

    #[test]
    fn replies_have_turns_and_actions() {
        let (server, mut stream) =
            served("NOOP = 450 later // 250 now\nVRFY = raw 250 x\\r\\n | close\nshow = pipelined\n");
        exchange(&mut stream, "NOOP\r\nNOOP\r\nVRFY\r\nQUIT\r\n");
        assert_eq!(
            server.text(&[]),
            "# session 1 from 127.0.0.1\nS: 220 mx.fake.org ESMTP\nC: NOOP\nS: 450 later\nC+ NOOP\nS: 250 now\nC+ VRFY\n\
             S> 250 x\\r\\n\n# connection closed by the server\n"
        );
    }

    #[test]
    fn lmtp_answers_for_each_recipient_and_a_server_goes_down() {
        let (server, mut stream) = served("protocol = lmtp\n. b@b = 452 4.2.2 full\n");
        let address = stream.peer_addr().unwrap();
        exchange(
            &mut stream,
            "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@b>\r\nRCPT TO:<c@c>\r\nBDAT 3 LAST\r\nab\nQUIT\r\n",
        );
        let text = server.text(&[]);
        assert!(
            text.contains("C: BDAT <SIZE> LAST\nS: 452 4.2.2 full\nS: 250 2.0.0 Accepted as FAKE1\n"),
            "{text}"
        );
        server.down();
        assert!(TcpStream::connect(address).is_err());
        assert!(Script::parse("listen = nowhere").is_err() && Script::parse("show = all").is_err());
    }
}
