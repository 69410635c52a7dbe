//! One question put to one server after another, over UDP, and over TCP where the answer is cut off or
//! somebody guesses.
//!
//! Each question has a socket and a number of its own, so that an answer forged from afar has to hit
//! both; one that does not fit is passed over, and too many of them mean TCP.

use super::read::{self, Meaning};
use super::servers::{Live, Settings};
use super::wire::{self, Reply};
use super::{Kind, Zone};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Where answers come from.
pub(super) enum Source {
    /// The servers that a file names.
    File(Live),
    /// These.
    Given(Arc<Settings>),
    /// No server at all.
    Zone(Zone),
}

impl Source {
    pub fn settings(&self) -> Arc<Settings> {
        match self {
            Source::File(file) => file.settings(),
            Source::Given(settings) => settings.clone(),
            Source::Zone(_) => Arc::new(Settings::default()),
        }
    }
}

/// A source, and what is known about its servers.
pub(super) struct Exchange {
    pub source: Source,
    silent: Mutex<Vec<(SocketAddr, Instant)>>,
    turn: AtomicUsize,
    slots: Semaphore,
}

/// Sockets at a time.
const MOST_OPEN: usize = 256;
/// Answers that do not fit before UDP is left.
const MOST_FOREIGN: usize = 16;
/// For how long a silent server is asked last.
const SHUNNED: Duration = Duration::from_secs(30);

impl Exchange {
    pub fn new(source: Source) -> Exchange {
        let silent = Mutex::new(Vec::new());
        Exchange { source, silent, turn: AtomicUsize::new(0), slots: Semaphore::const_new(MOST_OPEN) }
    }

    /// Puts a question. Also says whether the server vouches for the answer.
    pub async fn ask(&self, asked: &Name, kind: Kind) -> (Meaning, bool) {
        let asked_type = wire::record_type(kind);
        let vouched = |m: &Message| m.metadata.authentic_data;
        if let Source::Zone(zone) = &self.source {
            return match in_zone(zone, asked, asked_type) {
                Ok(message) => (read::meaning(&message, asked, kind), vouched(&message)),
                Err(why) => (why, false),
            };
        }
        let settings = self.source.settings();
        let mut trouble = Meaning::Trouble("no name server".to_string());
        for attempt in 0..settings.attempts {
            let mut all_answered = true;
            for server in self.in_order(&settings) {
                let got = self.one(server, asked, asked_type, settings.timeout, attempt == 0).await;
                let (meaning, secure) = match got {
                    Ok(message) => (read::meaning(&message, asked, kind), vouched(&message)),
                    Err(why) => {
                        all_answered = false;
                        trouble = why;
                        continue;
                    }
                };
                match meaning {
                    Meaning::Trouble(why) if why.is_empty() => trouble = Meaning::Trouble(why),
                    Meaning::Trouble(why) => {
                        trouble = Meaning::Trouble(format!("name server {}: {why}", shown(server)));
                    }
                    Meaning::TooModern => {
                        let why = format!("name server {} does not understand the question", shown(server));
                        trouble = Meaning::Trouble(why);
                    }
                    meaning => return (meaning, secure),
                }
            }
            if all_answered {
                break;
            }
        }
        (trouble, false)
    }

    /// Those that were silent a moment ago come last.
    fn in_order(&self, settings: &Settings) -> Vec<SocketAddr> {
        let mut servers = settings.servers.clone();
        if settings.rotate && !servers.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % servers.len();
            servers.rotate_left(turn);
        }
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|(server, since)| since.elapsed() < SHUNNED && servers.contains(server));
        servers.sort_by_key(|s| silent.iter().any(|(server, _)| server == s));
        servers
    }

    fn note(&self, server: SocketAddr, answered: bool) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|(s, _)| *s != server);
        if !answered {
            silent.push((server, Instant::now()));
        }
    }

    /// An answer of this server, whatever it says, or why there is none. Some old servers are silent
    /// where they do not understand EDNS.
    async fn one(
        &self,
        server: SocketAddr,
        asked: &Name,
        kind: RecordType,
        timeout: Duration,
        mut edns: bool,
    ) -> Result<Message, Meaning> {
        let trouble = |why: String| Err(Meaning::Trouble(why));
        let Ok(_slot) = self.slots.acquire().await else { return trouble("no more questions".into()) };
        loop {
            let got = tokio::time::timeout(timeout, once(server, asked, kind, edns)).await;
            let message = match got {
                Err(_) => trouble(format!("no answer from name server {}", shown(server))),
                Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidData => Err(Meaning::Garbage),
                Ok(Err(e)) => trouble(format!("name server {}: {}", shown(server), words(&e))),
                Ok(Ok(message)) => Ok(message),
            };
            self.note(server, !matches!(message, Err(Meaning::Trouble(_))));
            match message {
                Ok(m) if edns && too_modern(&m) => edns = false,
                other => return other,
            }
        }
    }
}

/// The answer of a server that does not know EDNS.
fn too_modern(message: &Message) -> bool {
    use hickory_proto::op::ResponseCode::{BADVERS, FormErr, NotImp};
    matches!(message.metadata.response_code, FormErr | NotImp | BADVERS)
}

fn in_zone(zone: &Zone, asked: &Name, kind: RecordType) -> Result<Message, Meaning> {
    let once = |edns| {
        let question = wire::question(0, asked, kind, edns)?;
        zone.respond(&question, true)
    };
    let put = |edns| match once(edns) {
        Some(answer) => Ok(wire::answer(&answer, 0, asked, kind)),
        None => Err(Meaning::Trouble("no answer from name server".into())),
    };
    let answer = match put(true)? {
        Reply::Answer(m) if too_modern(&m) => put(false)?,
        other => other,
    };
    match answer {
        Reply::Answer(message) => Ok(*message),
        Reply::Foreign | Reply::Garbage => Err(Meaning::Garbage),
    }
}

/// UDP, then TCP where that does not do.
async fn once(server: SocketAddr, asked: &Name, kind: RecordType, edns: bool) -> io::Result<Message> {
    let id = random()?;
    let question = wire::question(id, asked, kind, edns).ok_or(io::ErrorKind::InvalidInput)?;
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = vec![0; 4096];
    for _ in 0..MOST_FOREIGN {
        let length = socket.recv(&mut buffer).await?;
        if length == buffer.len() {
            break; // longer than we said we would take
        }
        match wire::answer(buffer.get(..length).unwrap_or_default(), id, asked, kind) {
            Reply::Answer(message) if message.metadata.truncation => break,
            Reply::Answer(message) => return Ok(*message),
            // A message cut off in the middle says so in its header.
            Reply::Garbage if buffer.get(2).is_some_and(|flags| flags & 2 != 0) => break,
            Reply::Garbage => return Err(io::ErrorKind::InvalidData.into()),
            Reply::Foreign => {}
        }
    }
    drop(socket);
    over_tcp(server, asked, kind, edns).await
}

async fn over_tcp(server: SocketAddr, asked: &Name, kind: RecordType, edns: bool) -> io::Result<Message> {
    let id = random()?;
    let question = wire::question(id, asked, kind, edns).ok_or(io::ErrorKind::InvalidInput)?;
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = Vec::with_capacity(question.len() + 2);
    framed.extend_from_slice(&(question.len() as u16).to_be_bytes());
    framed.extend_from_slice(&question);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    match wire::answer(&answer, id, asked, kind) {
        Reply::Answer(message) if !message.metadata.truncation => Ok(*message),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(u16::from_ne_bytes(bytes))
}

/// Without the port that is understood.
fn shown(server: SocketAddr) -> String {
    match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    }
}

fn words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the answer is cut off".to_string();
    }
    crate::plain(error)
}
