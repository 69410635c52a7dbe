//! Sends messages as fast as the other side takes them: one thread, many connections.

use crate::usage;
use crate::wire::{Got, Wire};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub to: SocketAddrV4,
    /// Connections at a time.
    pub sessions: usize,
    /// How many messages.
    pub messages: u64,
    /// Bytes of each.
    pub size: usize,
    /// MAIL, RCPT and DATA together.
    pub pipelining: bool,
    /// Messages on a connection; 0 for all.
    pub per_connection: u64,
    /// The number of the run: every message carries it, and its serial.
    pub run: u32,
    /// The recipients.
    pub whom: Whom,
    /// STARTTLS first.
    pub tls: Option<Arc<ClientConfig>>,
    /// Give up after so long.
    pub patience: Duration,
}

/// To whom messages go; each has one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// All to `user@sink.test`.
    One,
    /// All to `user@dead.test`, whose mail is deferred.
    Dead,
    /// In turn to so many domains, `d0.test` and on.
    Domains(u64),
    /// In turn to so many users here, `u0@local.test` and on.
    Users(u64),
}

impl Plan {
    /// Messages to one recipient, in plain text, as many on a connection as there are.
    pub fn new(to: SocketAddrV4, sessions: usize, messages: u64, size: usize) -> Plan {
        Plan {
            to,
            sessions,
            messages,
            size,
            pipelining: false,
            per_connection: 0,
            run: 0,
            whom: Whom::One,
            tls: None,
            patience: Duration::from_secs(300),
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Messages that got their 250.
    pub accepted: u64,
    /// Connections or messages that failed, and why the first did.
    pub failed: u64,
    /// See `failed`.
    pub why: String,
    /// When the first connection began.
    pub begun: Option<Instant>,
    /// From then to the last 250.
    pub taken: Duration,
    /// From the end of the data to its 250, in order of length.
    pub waits: Vec<Duration>,
    /// Processor time of the source, seconds.
    pub cpu: f64,
}

impl Outcome {
    /// Messages accepted in a second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.taken.as_secs_f64().max(1e-9)
    }

    /// The wait that so many of a hundred did not exceed, milliseconds.
    pub fn wait(&self, percent: usize) -> f64 {
        let at = (self.waits.len().saturating_sub(1)) * percent / 100;
        self.waits.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    }
}

/// The header that names run and serial of a message.
pub const MARK: &[u8] = b"X-Load: ";

/// Which reply is awaited.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Greeting,
    Ehlo,
    Starttls,
    Mail,
    Rcpt,
    Data,
    Dot,
    Quit,
}

struct Session {
    place: u64,
    wire: Wire,
    wait: Wait,
    here: u64,
    serial: u64,
    ended: Instant,
    blocked: bool,
}

/// Sends it all.
pub fn send(plan: &Plan) -> Result<Outcome, String> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
    let cpu = usage::own_thread();
    let begun = Instant::now();
    let mut work = Work {
        plan,
        epoll: &epoll,
        content: content(plan).into(),
        started: 0,
        open: 0,
        outcome: Outcome { begun: Some(begun), ..Outcome::default() },
    };
    let mut sessions: Vec<Option<Session>> = Vec::new();
    for n in 0..plan.sessions.min(usize::try_from(plan.messages).unwrap_or(usize::MAX)) {
        sessions.push(work.connect(n));
    }
    let mut events = vec![EpollEvent::empty(); 256];
    while work.open > 0 && begun.elapsed() < plan.patience {
        let n = match epoll.wait(&mut events, EpollTimeout::from(500u16)) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(e) => return Err(format!("epoll: {e}")),
        };
        for event in &events[..n] {
            let place = event.data() as usize;
            let Some(session) = sessions.get_mut(place).and_then(Option::as_mut) else { continue };
            match work.serve(session, event.events()) {
                Ok(true) => {}
                ended => {
                    if let Err(why) = ended {
                        work.fault(why);
                    }
                    let _ = epoll.delete(&session.wire.stream);
                    work.open -= 1;
                    let more = work.started < plan.messages && work.outcome.failed < 100;
                    sessions[place] = if more { work.connect(place) } else { None };
                }
            }
        }
    }
    let mut outcome = work.outcome;
    outcome.waits.sort_unstable();
    outcome.cpu = usage::own_thread() - cpu;
    Ok(outcome)
}

struct Work<'a> {
    plan: &'a Plan,
    epoll: &'a Epoll,
    content: Arc<[u8]>,
    started: u64,
    open: usize,
    outcome: Outcome,
}

impl Work<'_> {
    fn fault(&mut self, why: String) {
        self.outcome.failed += 1;
        if self.outcome.why.is_empty() {
            self.outcome.why = why;
        }
    }

    fn connect(&mut self, place: usize) -> Option<Session> {
        let made = begin(self.plan.to).and_then(Wire::new).and_then(|wire| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
            self.epoll.add(&wire.stream, event)?;
            Ok(wire)
        });
        match made {
            Ok(wire) => {
                self.open += 1;
                let now = Instant::now();
                let place = place as u64;
                Some(Session {
                    place,
                    wire,
                    wait: Wait::Greeting,
                    here: 0,
                    serial: 0,
                    ended: now,
                    blocked: false,
                })
            }
            Err(e) => {
                self.fault(format!("connect to {}: {e}", self.plan.to));
                None
            }
        }
    }

    /// False when the session is over.
    fn serve(&mut self, session: &mut Session, flags: EpollFlags) -> Result<bool, String> {
        if flags.contains(EpollFlags::EPOLLIN)
            || flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
        {
            let got = session.wire.read().map_err(|e| e.to_string())?;
            while let Some((line, n)) = session.wire.line() {
                let last = line.get(3) != Some(&b'-');
                let good = matches!(line.first(), Some(b'2' | b'3'));
                if !good {
                    return Err(format!("the answer was {:?}", String::from_utf8_lossy(line)));
                }
                session.wire.used(n);
                if last && !self.reply(session)? {
                    return Ok(false);
                }
            }
            if got == Got::End {
                return Err("the other side closed the connection".into());
            }
        }
        let done = session.wire.flush().map_err(|e| e.to_string())?;
        if done == session.blocked {
            session.blocked = !done;
            let mut wanted = EpollFlags::EPOLLIN;
            wanted.set(EpollFlags::EPOLLOUT, !done);
            let mut event = EpollEvent::new(wanted, session.place);
            self.epoll.modify(&session.wire.stream, &mut event).map_err(|e| e.to_string())?;
        }
        Ok(true)
    }

    /// A good reply came; false when it was the last.
    fn reply(&mut self, session: &mut Session) -> Result<bool, String> {
        let wire = &mut session.wire;
        session.wait = match session.wait {
            Wait::Greeting => {
                wire.put(b"EHLO source.test\r\n");
                Wait::Ehlo
            }
            Wait::Ehlo if self.plan.tls.is_some() && !wire.secured() => {
                wire.put(b"STARTTLS\r\n");
                Wait::Starttls
            }
            Wait::Ehlo => return Ok(self.next(session)),
            Wait::Starttls => {
                let config = self.plan.tls.clone().ok_or("TLS was not asked for")?;
                let name = ServerName::try_from("mta.bench.test").map_err(|e| e.to_string())?;
                let connection = ClientConnection::new(config, name).map_err(|e| format!("TLS: {e}"))?;
                wire.secure(Connection::Client(connection));
                wire.put(b"EHLO source.test\r\n");
                Wait::Ehlo
            }
            Wait::Mail => {
                if !self.plan.pipelining {
                    let to = self.recipient(session.serial);
                    session.wire.put(&to);
                }
                Wait::Rcpt
            }
            Wait::Rcpt => {
                if !self.plan.pipelining {
                    wire.put(b"DATA\r\n");
                }
                Wait::Data
            }
            Wait::Data => {
                wire.put(MARK);
                wire.put(format!("{:05}.{:010}\r\n", self.plan.run, session.serial).as_bytes());
                wire.put_body(&self.content);
                session.ended = Instant::now();
                Wait::Dot
            }
            Wait::Dot => {
                self.outcome.accepted += 1;
                self.outcome.waits.push(session.ended.elapsed());
                self.outcome.taken = self.outcome.begun.map_or(Duration::ZERO, |b| b.elapsed());
                return Ok(self.next(session));
            }
            Wait::Quit => return Ok(false),
        };
        Ok(true)
    }

    fn next(&mut self, session: &mut Session) -> bool {
        let plan = self.plan;
        if self.started >= plan.messages || plan.per_connection > 0 && session.here >= plan.per_connection {
            session.wire.put(b"QUIT\r\n");
            session.wait = Wait::Quit;
            return true;
        }
        session.serial = self.started;
        self.started += 1;
        session.here += 1;
        session.wire.put(b"MAIL FROM:<source@source.test>\r\n");
        if plan.pipelining {
            let to = self.recipient(session.serial);
            session.wire.put(&to);
            session.wire.put(b"DATA\r\n");
        }
        session.wait = Wait::Mail;
        true
    }

    fn recipient(&self, serial: u64) -> Vec<u8> {
        match self.plan.whom {
            Whom::One => b"RCPT TO:<user@sink.test>\r\n".to_vec(),
            Whom::Dead => b"RCPT TO:<user@dead.test>\r\n".to_vec(),
            Whom::Domains(n) => format!("RCPT TO:<user{serial}@d{}.test>\r\n", serial % n).into_bytes(),
            Whom::Users(n) => format!("RCPT TO:<u{}@local.test>\r\n", serial % n).into_bytes(),
        }
    }
}

/// A connection that is being made: it waits for nobody, since a server may let it wait for its turn.
fn begin(to: SocketAddrV4) -> std::io::Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let handle = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    match connect(handle.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(handle)),
        Err(e) => Err(e.into()),
    }
}

/// What comes after the line with run and serial, the end included: a message of the size wanted in all.
fn content(plan: &Plan) -> Vec<u8> {
    let mut content = b"From: <source@source.test>\r\nTo: <user@sink.test>\r\nSubject: load\r\n".to_vec();
    content.extend_from_slice(
        b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-Id: <load@source.test>\r\n\r\n",
    );
    let size = plan.size.saturating_sub(MARK.len() + 18);
    let mut column = 0;
    while content.len() + 2 < size {
        if column == 72 {
            content.extend_from_slice(b"\r\n");
            column = 0;
        } else {
            content.push(b'a' + (content.len() % 26) as u8);
            column += 1;
        }
    }
    content.extend_from_slice(b"\r\n.\r\n");
    content
}
