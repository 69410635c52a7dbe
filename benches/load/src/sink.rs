//! Takes messages as fast as they come, and counts them by their serials: what is lost or comes twice
//! shows. One thread. A listener may behave badly.

use crate::source::MARK;
use crate::usage;
use crate::wire::{Got, Wire};
use memchr::memmem;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::{Connection, ServerConfig, ServerConnection};
use std::collections::{HashSet, VecDeque};
use std::net::{SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Good,
    /// The first time that a recipient is named: later.
    Greylisting,
    /// A byte a second.
    Slow,
}

/// What came.
#[derive(Debug, Default)]
pub struct Stats {
    run: u32,
    /// How often each serial came.
    times: Vec<u8>,
    /// Different serials of this run.
    pub unique: u64,
    /// Messages that came again.
    pub twice: u64,
    /// Messages of no run, or of another one.
    pub strange: u64,
    /// Connections.
    pub connections: u64,
    /// Those that changed to TLS.
    pub secured: u64,
    /// When the last new one came.
    pub last: Option<Instant>,
    /// Processor time of the sink, seconds.
    pub cpu: f64,
}

impl Stats {
    /// How many serials that a question is about have come, and when the last of them did.
    pub fn arrived(&self, about: impl Fn(u64) -> bool) -> u64 {
        self.times.iter().enumerate().filter(|(serial, n)| **n > 0 && about(*serial as u64)).count() as u64
    }

    fn message(&mut self, mark: Option<(u32, u64)>) {
        let slot = mark.filter(|(run, _)| *run == self.run).and_then(|(_, n)| self.times.get_mut(n as usize));
        match slot {
            None => self.strange += 1,
            Some(n) if *n == 0 => {
                *n = 1;
                self.unique += 1;
                self.last = Some(Instant::now());
            }
            Some(n) => {
                *n = n.saturating_add(1);
                self.twice += 1;
            }
        }
    }
}

/// A running sink.
pub struct Sink {
    stats: Arc<Mutex<Stats>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens, each address in its manner.
    pub fn start(listeners: &[(SocketAddrV4, Manner)]) -> Result<Sink, String> {
        Sink::start_with(listeners, None)
    }

    /// The same; offers STARTTLS when it is told how.
    pub fn start_with(
        listeners: &[(SocketAddrV4, Manner)],
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Sink, String> {
        let mut bound = Vec::new();
        for (address, manner) in listeners {
            let listener = TcpListener::bind(address).map_err(|e| format!("listen on {address}: {e}"))?;
            listener.set_nonblocking(true).map_err(|e| format!("{address}: {e}"))?;
            bound.push((listener, *manner));
        }
        let (stats, stop) = (Arc::new(Mutex::new(Stats::default())), Arc::new(AtomicBool::new(false)));
        let (theirs, stopped) = (stats.clone(), stop.clone());
        let run = move || {
            if let Err(e) = serve(&bound, tls.as_ref(), &theirs, &stopped) {
                eprintln!("load: the sink: {e}");
            }
        };
        let thread = std::thread::Builder::new().name("sink".into()).spawn(run).map_err(|e| e.to_string())?;
        Ok(Sink { stats, stop, thread: Some(thread) })
    }

    /// From now on messages of this run are counted, so many.
    pub fn expect(&self, run: u32, messages: u64) {
        let times = vec![0; messages as usize];
        let mut stats = self.stats();
        *stats = Stats { run, times, cpu: stats.cpu, ..Stats::default() };
    }

    /// What came so far.
    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Session {
    wire: Wire,
    manner: Manner,
    data: bool,
    mark: Option<(u32, u64)>,
    blocked: bool,
    quit: bool,
    /// What goes out byte by byte.
    slowly: VecDeque<u8>,
    deferred: bool,
}

fn serve(
    listeners: &[(TcpListener, Manner)],
    tls: Option<&Arc<ServerConfig>>,
    stats: &Mutex<Stats>,
    stop: &AtomicBool,
) -> Result<(), Box<dyn std::error::Error>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (n, (listener, _)) in listeners.iter().enumerate() {
        epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, n as u64))?;
    }
    let first = listeners.len();
    let mut sessions: Vec<Option<Session>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    let mut events = vec![EpollEvent::empty(); 256];
    let (mut ticked, mut counted) = (Instant::now(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let n = match epoll.wait(&mut events, EpollTimeout::from(100u16)) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        for event in &events[..n] {
            let place = event.data() as usize;
            if let Some((listener, manner)) = listeners.get(place) {
                while let Ok((stream, _)) = listener.accept() {
                    let mut wire = Wire::new(stream)?;
                    stats.lock().unwrap_or_else(PoisonError::into_inner).connections += 1;
                    let at = free.pop().unwrap_or_else(|| {
                        sessions.push(None);
                        sessions.len() - 1
                    });
                    let greeting: &[u8] = b"220 sink.test ESMTP\r\n";
                    let mut slowly = VecDeque::new();
                    if *manner == Manner::Slow {
                        slowly.extend(greeting);
                    } else {
                        wire.put(greeting);
                        wire.flush()?;
                    }
                    epoll.add(&wire.stream, EpollEvent::new(EpollFlags::EPOLLIN, (first + at) as u64))?;
                    sessions[at] = Some(Session {
                        wire,
                        manner: *manner,
                        data: false,
                        mark: None,
                        blocked: false,
                        quit: false,
                        slowly,
                        deferred: false,
                    });
                }
                continue;
            }
            let at = place - first;
            let Some(session) = sessions.get_mut(at).and_then(Option::as_mut) else { continue };
            let goes_on = turn(session, tls, stats, &mut known).unwrap_or(false);
            let done = goes_on && settle(session, &epoll, place as u64);
            if !done {
                let _ = epoll.delete(&session.wire.stream);
                sessions[at] = None;
                free.push(at);
            }
        }
        if ticked.elapsed() >= Duration::from_secs(1) {
            ticked = Instant::now();
            for session in sessions.iter_mut().flatten().filter(|s| s.manner == Manner::Slow) {
                if let Some(byte) = session.slowly.pop_front() {
                    session.wire.put(&[byte]);
                    // Whether it is gone shows when it is read next.
                    let _ = session.wire.flush();
                }
            }
        }
        // Asking costs a call of the kernel; nobody looks while mail comes.
        if n == 0 || counted.elapsed() > Duration::from_millis(50) {
            counted = Instant::now();
            stats.lock().unwrap_or_else(PoisonError::into_inner).cpu = usage::own_thread();
        }
    }
    Ok(())
}

/// Writes what is to be written; false when the session is over.
fn settle(session: &mut Session, epoll: &Epoll, place: u64) -> bool {
    let Ok(done) = session.wire.flush() else { return false };
    if done == session.blocked {
        session.blocked = !done;
        let mut wanted = EpollFlags::EPOLLIN;
        wanted.set(EpollFlags::EPOLLOUT, !done);
        if epoll.modify(&session.wire.stream, &mut EpollEvent::new(wanted, place)).is_err() {
            return false;
        }
    }
    !(session.quit && done && session.slowly.is_empty())
}

/// Takes what came; false at the end of the connection.
fn turn(
    session: &mut Session,
    tls: Option<&Arc<ServerConfig>>,
    stats: &Mutex<Stats>,
    known: &mut HashSet<Vec<u8>>,
) -> std::io::Result<bool> {
    if session.wire.read()? == Got::End {
        return Ok(false);
    }
    loop {
        if session.data {
            let input = session.wire.input();
            if session.mark.is_none() {
                session.mark = mark(input);
            }
            // The line end before the dot may be that of DATA, when there is no content at all.
            match memmem::find(input, b"\r\n.\r\n") {
                None => {
                    let keep = if session.mark.is_some() { 4 } else { 8192 };
                    let drop = input.len().saturating_sub(keep);
                    session.wire.used(drop);
                    return Ok(true);
                }
                Some(end) => {
                    session.wire.used(end + 5);
                    session.data = false;
                    stats.lock().unwrap_or_else(PoisonError::into_inner).message(session.mark.take());
                    say(session, b"250 2.0.0 Ok\r\n");
                }
            }
        }
        let Some((line, n)) = session.wire.line() else { return Ok(true) };
        let mut verb = [0; 4];
        for (to, from) in verb.iter_mut().zip(line) {
            *to = from.to_ascii_uppercase();
        }
        let grey = session.manner == Manner::Greylisting && &verb == b"RCPT";
        let named = if grey { named(line, stats) } else { Vec::new() };
        session.wire.used(n);
        match &verb {
            b"EHLO" => {
                let offer = if tls.is_some() && !session.wire.secured() { "250-STARTTLS\r\n" } else { "" };
                say(session, b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n");
                say(session, offer.as_bytes());
                say(session, b"250 8BITMIME\r\n");
            }
            b"STAR" if let Some(config) = tls => {
                say(session, b"220 2.0.0 Ready to start TLS\r\n");
                if !session.wire.flush()? {
                    return Ok(false);
                }
                let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
                session.wire.secure(Connection::Server(connection));
                stats.lock().unwrap_or_else(PoisonError::into_inner).secured += 1;
                return Ok(true);
            }
            b"MAIL" => {
                session.deferred = false;
                say(session, b"250 2.1.0 Ok\r\n");
            }
            b"RCPT" if grey && known.insert(named) => {
                session.deferred = true;
                say(session, b"450 4.2.0 Greylisted, try later\r\n");
            }
            b"RCPT" => say(session, b"250 2.1.5 Ok\r\n"),
            b"DATA" if session.deferred => say(session, b"554 5.5.1 No valid recipients\r\n"),
            b"DATA" => {
                session.data = true;
                say(session, b"354 go on\r\n");
            }
            b"QUIT" => {
                session.quit = true;
                say(session, b"221 2.0.0 Bye\r\n");
                return Ok(true);
            }
            _ => say(session, b"250 2.0.0 Ok\r\n"),
        }
    }
}

fn say(session: &mut Session, reply: &[u8]) {
    if session.manner == Manner::Slow {
        session.slowly.extend(reply);
    } else {
        session.wire.put(reply);
    }
}

/// A recipient is new in each run.
fn named(line: &[u8], stats: &Mutex<Stats>) -> Vec<u8> {
    let run = stats.lock().unwrap_or_else(PoisonError::into_inner).run;
    [&line.to_ascii_uppercase(), &run.to_le_bytes()[..]].concat()
}

/// Run and serial of a message.
fn mark(content: &[u8]) -> Option<(u32, u64)> {
    let at = memmem::find(content, MARK)? + MARK.len();
    let text = std::str::from_utf8(content.get(at..at + 16)?).ok()?;
    let (run, serial) = text.split_once('.')?;
    Some((run.parse().ok()?, serial.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Plan, Whom, send};
    use crate::{client, keys};
    use std::net::Ipv4Addr;

    fn free_port() -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port())
    }

    #[test]
    fn source_and_sink_agree_and_a_second_copy_shows() {
        let to = free_port();
        let sink = Sink::start(&[(to, Manner::Good)]).unwrap();
        for pipelining in [false, true] {
            sink.expect(7, 300);
            let plan = Plan { pipelining, per_connection: 11, run: 7, ..Plan::new(to, 5, 300, 30_000) };
            let outcome = send(&plan).unwrap();
            assert_eq!((outcome.accepted, outcome.failed), (300, 0), "{}", outcome.why);
            let stats = sink.stats();
            assert_eq!((stats.unique, stats.twice, stats.strange), (300, 0, 0));
            assert_eq!(stats.arrived(|n| n < 10), 10);
        }
        // The same serials again, and those of another run.
        for run in [7, 8] {
            let whom = Whom::Domains(3);
            let plan = Plan { pipelining: true, run, whom, ..Plan::new(to, 1, 5, 1_000) };
            send(&plan).unwrap();
        }
        let stats = sink.stats();
        assert_eq!((stats.unique, stats.twice, stats.strange), (300, 5, 5));
    }

    #[test]
    fn greylisting_ends() {
        let to = free_port();
        let sink = Sink::start(&[(to, Manner::Greylisting)]).unwrap();
        sink.expect(1, 1);
        let plan = Plan { run: 1, ..Plan::new(to, 1, 1, 1_000) };
        let first = send(&plan).unwrap();
        assert!(first.accepted == 0 && first.why.contains("450"), "{}", first.why);
        assert_eq!(send(&plan).unwrap().accepted, 1);
        assert_eq!(sink.stats().unique, 1);
    }

    #[test]
    fn both_sides_encrypt() {
        let to = free_port();
        let folder = std::env::temp_dir().join(format!("load-keys-{}", std::process::id()));
        let keys = keys::make(&folder, keys::P256).unwrap();
        let sink = Sink::start_with(&[(to, Manner::Good)], Some(keys.server().unwrap())).unwrap();
        sink.expect(1, 40);
        let tls = Some(client::config(client::Kind::New).unwrap());
        let plan = Plan { run: 1, tls, per_connection: 7, ..Plan::new(to, 3, 40, 300_000) };
        let outcome = send(&plan).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((outcome.accepted, outcome.failed), (40, 0), "{}", outcome.why);
        let stats = sink.stats();
        assert_eq!((stats.unique, stats.twice, stats.strange, stats.secured), (40, 0, 0, stats.connections));
    }
}
