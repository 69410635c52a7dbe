//! One connection to a Dovecot, shared by many logins, each of which has a number on it.
//!
//! A task reads: what Dovecot says to a number is passed to its login, and what it says to numbers
//! that nobody waits for is nothing. When the connection ends, every login on it hears so at once.

use super::wire::{self, Line};
use crate::offer::Offer;
use net::Endpoint;
use net::stream::Socket;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

/// How the words for a Dovecot that cannot be reached begin.
pub const UNREACHABLE: &str = "Connect to Dovecot auth socket";

/// How long connecting and the handshake may take.
const GREETING: Duration = Duration::from_secs(10);
/// How many mechanisms, and other lines of a handshake, are borne.
const MECHANISMS: usize = 64;
const LINES: usize = 200;
/// How many lines may wait to be written; with more, Dovecot does not read.
const UNWRITTEN: usize = 1024;

/// Where the answer to each login goes.
#[derive(Debug, Default)]
struct Waiting {
    by_number: HashMap<u32, oneshot::Sender<Line>>,
    ended: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// The mechanisms Dovecot told of.
    pub offers: Arc<[Offer]>,
    outgoing: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU32,
}

/// The connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Link {
    /// Connects. An error is words for the log, after the name of what was connected to.
    pub async fn open(endpoint: &Endpoint) -> Result<Link, String> {
        let unreachable = |why: &str| format!("{UNREACHABLE} '{endpoint}' failed: {why}");
        let greeted = tokio::time::timeout(GREETING, async {
            let mut socket = endpoint.connect(GREETING).await.map_err(|f| unreachable(&f.to_string()))?;
            let bad = |what: &str| format!("{endpoint}: {what}");
            socket.write_all(&wire::greeting(number())).await.map_err(|e| bad(&e.to_string()))?;
            let mut lines = wire::Lines::default();
            let offers = greet(&mut socket, &mut lines).await.map_err(|e| bad(&e))?;
            Ok((socket, lines, offers))
        });
        let (socket, lines, offers) =
            greeted.await.unwrap_or_else(|_| Err(unreachable("Connection timed out")))?;
        let (outgoing, unwritten) = mpsc::channel(UNWRITTEN);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (reader, writer) = tokio::io::split(socket);
        let served = waiting.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = listen(reader, lines, &served) => {}
                () = speak(writer, unwritten) => {}
            }
            let mut waiting = served.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.ended = true;
            waiting.by_number.clear();
        });
        Ok(Link { offers, outgoing, waiting, next: AtomicU32::new(1) })
    }

    /// Whether it is still there.
    pub fn is_open(&self) -> bool {
        !self.waiting().ended
    }

    /// A number for a login.
    pub fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Says a line about a login, and hears what Dovecot says to it. Dropped before that, the answer
    /// goes nowhere.
    pub async fn ask(&self, number: u32, line: Vec<u8>) -> Result<Line, Lost> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.ended {
                return Err(Lost);
            }
            waiting.by_number.insert(number, answer);
        }
        let _forget = Forget { link: self, number };
        self.outgoing.send(line).await.map_err(|_| Lost)?;
        answered.await.map_err(|_| Lost)
    }

    /// Says a line that nothing is said to. One that cannot be sent at once is not said.
    pub fn tell(&self, line: Vec<u8>) {
        let _ = self.outgoing.try_send(line);
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forget<'a> {
    link: &'a Link,
    number: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.waiting().by_number.remove(&self.number);
    }
}

/// A number that no other client of a Dovecot has: processes call themselves by their own, which ends
/// at 2^22.
fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    std::process::id() % (1 << 22) + (NEXT.fetch_add(1, Ordering::Relaxed) % 1000 + 1) * (1 << 22)
}

async fn greet(socket: &mut Socket, lines: &mut wire::Lines) -> Result<Arc<[Offer]>, String> {
    let (mut offers, mut greeted) = (Vec::new(), false);
    for _ in 0..LINES {
        let line = loop {
            match lines.next_line()? {
                Some(line) => break line,
                None => {
                    let mut bytes = [0; 4096];
                    match socket.read(&mut bytes).await.map_err(|e| e.to_string())? {
                        0 => return Err("connection closed in the handshake".into()),
                        n => lines.add(bytes.get(..n).unwrap_or_default()),
                    }
                }
            }
        };
        match wire::read(&line)? {
            Line::Version(1, _) => greeted = true,
            Line::Version(major, _) => return Err(format!("protocol version {major} is not spoken here")),
            Line::Mechanism(offer) => offers.extend(offer),
            Line::Done if greeted => return Ok(offers.into()),
            Line::Done => return Err("a handshake without a version".into()),
            Line::Challenge(..) | Line::Success(..) | Line::Failure(..) => {
                return Err("an answer before the handshake is over".into());
            }
            Line::Other => {}
        }
        if offers.len() > MECHANISMS {
            return Err("too many mechanisms".into());
        }
    }
    Err("a handshake without end".into())
}

async fn listen(mut reader: ReadHalf<Socket>, mut lines: wire::Lines, waiting: &Mutex<Waiting>) {
    let mut bytes = vec![0; 2048];
    loop {
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(_) => return,
            };
            let Ok(line) = wire::read(&line) else { return };
            let (Line::Challenge(number, _) | Line::Success(number, _) | Line::Failure(number, _)) = &line
            else {
                continue;
            };
            let heard = waiting.lock().unwrap_or_else(PoisonError::into_inner).by_number.remove(number);
            if let Some(heard) = heard {
                let _ = heard.send(line);
            }
        }
        match reader.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(n) => lines.add(bytes.get(..n).unwrap_or_default()),
        }
    }
}

async fn speak(mut writer: WriteHalf<Socket>, mut unwritten: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut line) = unwritten.recv().await {
        let written: io::Result<()> = async {
            writer.write_all(&line).await?;
            writer.flush().await
        }
        .await;
        // It may hold a password.
        line.fill(0);
        if written.is_err() {
            return;
        }
    }
}
