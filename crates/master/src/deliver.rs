//! The deliver role: forks a child for each delivery job of the mail role, and waits for none.
//!
//! It holds root's rights and therefore does next to nothing: it reads the configuration once and works out what children
//! need of it, and tables
//! that only root writes (`local` says which),
//! takes jobs from its channel without looking into them (their number apart), forks, and reports
//! how children ended. Name service calls, tables and mail are the children's business
//! (`local::child`). One thread; no runtime. At a reload `master` starts a fresh role; this one
//! ends when the mail role has closed the channel and the last child is gone.

use crate::args;
use local::Setup;
use proto::job::{Ended, How, split_job};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;
use sys::channel::Channel;
use sys::children::{self, fork, reap};
use sys::signals::{Signals, Told};

/// More children at once than any sane set of concurrency limits asks for.
const MOST_CHILDREN: usize = 2000;

/// Runs the role.
pub fn main(words: &[String]) -> ExitCode {
    // Before anything else opens files: the channel is descriptor 3.
    let channel = sys::spawn::inherited(3).map(Channel::from_descriptor);
    match run(words, channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("deliver: fatal: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String], channel: Option<Channel>) -> Result<(), String> {
    let args = args::parse(words)?;
    let mut listeners = Vec::new();
    for (service, number) in args.listen.iter().zip(4..) {
        let listener = sys::spawn::inherited(number).ok_or("a listener that was named is not there")?;
        listeners.push((service.clone(), listener));
    }
    let channel = channel.ok_or("this program is started by master, not by hand")?;
    let setup = Setup::load(&args.directory)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let signals = Signals::take().map_err(|e| format!("cannot wait for signals: {e}"))?;
    channel.set_nonblocking().map_err(|e| format!("the channel to the mail role: {e}"))?;
    let limits = limits(&args.directory);
    let role =
        Role { setup, listeners, limits, children: HashMap::new(), pending: VecDeque::new(), open: true };
    role.serve(&channel, &signals).map_err(|e| e.to_string())
}

/// What a child is for.
#[derive(PartialEq, Eq)]
enum Task {
    /// The delivery job of this number.
    Job(u64),
    /// A connection of this service.
    Connection(String),
}

/// How many programs each service of the command `spawn` may run at a time; 0 is without limit.
fn limits(directory: &std::path::Path) -> HashMap<String, usize> {
    let default = config::Config::load(directory).ok().and_then(|c| c.get("default_process_limit").ok());
    let default = default.and_then(|t| t.parse().ok()).unwrap_or(100);
    let services = config::master_cf::load(directory).map(|s| s.all).unwrap_or_default();
    let of = |s: &config::master_cf::Service| s.process_limit().map_or(default, |n| n as usize);
    services.iter().filter(|s| s.command() == "spawn").map(|s| (s.name.clone(), of(s))).collect()
}

struct Role {
    setup: Setup,
    /// Services that run a program for each connection.
    listeners: Vec<(String, OwnedFd)>,
    limits: HashMap<String, usize>,
    /// Process number, and what it is for.
    children: HashMap<u32, Task>,
    /// Messages that the mail role had no room for yet.
    pending: VecDeque<Vec<u8>>,
    /// The mail role may send further jobs.
    open: bool,
}

impl Role {
    fn serve(mut self, channel: &Channel, signals: &Signals) -> io::Result<()> {
        sys::program::forget_start();
        while self.open || !self.children.is_empty() {
            // A mail role that does not read is tried again soon; nothing else waits for it.
            let at_most = (!self.pending.is_empty()).then_some(Duration::from_millis(20));
            let mut watched = vec![signals.as_fd()];
            if self.open {
                watched.push(channel.as_fd());
            }
            // Who finds no room waits, as at a service of Postfix's.
            let served: Vec<usize> =
                (0..self.listeners.len()).filter(|n| self.open && self.has_room(*n)).collect();
            let first = watched.len();
            watched.extend(served.iter().filter_map(|n| self.listeners.get(*n)).map(|(_, fd)| fd.as_fd()));
            let ready = sys::poll::readable(&watched, at_most)?;
            if ready.first().copied().unwrap_or(false) {
                while let Some(told) = signals.next() {
                    match told {
                        Told::Stop(_) => self.open = false,
                        Told::Child | Told::Reload => {}
                    }
                }
            }
            self.bury();
            if self.open && ready.get(1).copied().unwrap_or(false) {
                self.receive(channel);
            }
            for (n, ready) in served.into_iter().zip(ready.into_iter().skip(first)) {
                if ready && self.open {
                    self.accept(n);
                }
            }
            self.tell(channel);
        }
        Ok(())
    }

    fn has_room(&self, n: usize) -> bool {
        let Some((service, _)) = self.listeners.get(n) else { return false };
        let running =
            self.children.values().filter(|t| matches!(t, Task::Connection(s) if s == service)).count();
        let limit = self.limits.get(service).copied().unwrap_or(100);
        // Whoever connects to services without a limit must leave room for deliveries.
        self.children.len() < MOST_CHILDREN / 2 && (limit == 0 || running < limit)
    }

    /// Starts a program for the next connection.
    fn accept(&mut self, n: usize) {
        let Some((service, listener)) = self.listeners.get(n) else { return };
        let Ok(connection) = sys::listen::accept(listener.as_fd()) else { return };
        let setup = &self.setup;
        let made = fork(vec![connection], |mut fds| match fds.pop() {
            Some(connection) => local::spawned(setup, service, connection),
            None => 1,
        });
        // Whoever connected learns by the end of the connection that nobody came.
        if let Ok(child) = made {
            self.children.insert(child.number(), Task::Connection(service.clone()));
        }
    }

    /// Takes the jobs that have arrived.
    fn receive(&mut self, channel: &Channel) {
        loop {
            match channel.receive() {
                Ok(Some((message, descriptors))) => self.start(&message, descriptors),
                Ok(None) => {
                    self.open = false;
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // A message that was cut off is no job; the mail role never hears of it again and
                // gives it up in its own time.
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {}
                Err(_) => {
                    self.open = false;
                    return;
                }
            }
        }
    }

    fn start(&mut self, message: &[u8], mut descriptors: Vec<OwnedFd>) {
        let Some((number, job)) = split_job(message) else { return };
        let not_started = |why: &str| Ended { number, how: How::NotStarted(why.to_string()) }.encode();
        if descriptors.len() != 2 {
            self.pending.push_back(not_started("a job comes with the message and a pipe"));
            return;
        }
        // A mail role that was killed after it sent the job has a successor, which sends it again.
        let answer = descriptors.last().map(|answer| sys::poll::is_unheard(answer.as_fd()));
        if matches!(answer, Some(Ok(true))) {
            self.pending.push_back(not_started("nobody waits for its answer"));
            return;
        }
        if self.children.len() >= MOST_CHILDREN {
            self.pending.push_back(not_started("too many deliveries at once"));
            return;
        }
        descriptors.truncate(2);
        let setup = &self.setup;
        setup.prepare();
        setup.keep_tables(&|path| crate::files::is_roots(path));
        let made = fork(descriptors, |mut fds| match (fds.pop(), fds.pop()) {
            (Some(answer), Some(content)) => local::child(setup, job, content, answer),
            _ => 1,
        });
        match made {
            Ok(child) => {
                // The child has them logged.
                setup.table_notices();
                self.children.insert(child.number(), Task::Job(number));
            }
            Err(e) => self.pending.push_back(not_started(&format!("cannot start a process: {e}"))),
        }
    }

    /// Collects children that ended.
    fn bury(&mut self) {
        while let Some((process, ended)) = reap() {
            let Some(Task::Job(number)) = self.children.remove(&process) else { continue };
            let how = match ended {
                children::Ended::Exit(status) => How::Exit(status),
                children::Ended::Signal(signal) => How::Signal(signal),
            };
            self.pending.push_back(Ended { number, how }.encode());
        }
    }

    /// Tells the mail role what it must know.
    fn tell(&mut self, channel: &Channel) {
        while let Some(message) = self.pending.front() {
            match channel.send(message, &[]) {
                Ok(()) => {
                    self.pending.pop_front();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // It is gone; its successor will find the recipients unsettled.
                Err(_) => return self.pending.clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use proto::job::{Frame, FrameReader, Job, frame_job};
    use std::io::Read;
    use std::path::Path;

    #[test]
    fn connections_leave_room_for_deliveries() {
        let config = Config::from_text(Path::new("/nowhere"), "").unwrap();
        let (listener, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let role = |running: u32| Role {
            setup: Setup::of(config.clone(), Vec::new()),
            listeners: vec![("x".into(), listener.try_clone().unwrap().into())],
            limits: HashMap::from([("x".to_string(), 0)]),
            children: (0..running).map(|n| (n, Task::Connection("x".into()))).collect(),
            pending: VecDeque::new(),
            open: true,
        };
        assert!(role(100).has_room(0));
        assert!(!role(1500).has_room(0));
    }

    #[test]
    fn a_job_is_answered_and_its_end_is_told() {
        let config = Config::from_text(Path::new("/nowhere"), "").unwrap();
        let setup = Setup::of(config, Vec::new());
        let (listeners, limits) = (Vec::new(), HashMap::new());
        let (children, pending) = (HashMap::new(), VecDeque::new());
        let mut role = Role { setup, listeners, limits, children, pending, open: true };
        let content = sys::memory_file::sealed(b"Subject: x\r\n\r\n").unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let job = Job {
            transport: "nope".into(),
            recipients: vec![Default::default()],
            length: 14,
            ..Job::default()
        };
        let message = frame_job(7, &job.encode().unwrap());
        role.start(&message, vec![content.into(), writer.into()]);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let mut frames = FrameReader::default();
        frames.receive(&bytes).unwrap();
        let mut got = Vec::new();
        while let Some(frame) = frames.next_frame().unwrap() {
            got.push(frame);
        }
        assert!(matches!(got.first(), Some(Frame::Begin { .. })), "{got:?}");
        assert!(matches!(got.last(), Some(Frame::End)), "{got:?}");
        let Some(Frame::Report(report)) = got.iter().find(|f| matches!(f, Frame::Report(_))) else {
            panic!()
        };
        assert_eq!(report.result.code.0, 4);
        while role.pending.is_empty() {
            role.bury();
            std::thread::yield_now();
        }
        let ended = Ended::decode(&role.pending.pop_front().unwrap()).unwrap();
        assert_eq!(ended, Ended { number: 7, how: How::Exit(0) });
        let content = sys::memory_file::sealed(b"Subject: x\r\n\r\n").unwrap();
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        role.start(&message, vec![content.into(), writer.into()]);
        assert!(role.children.is_empty(), "whoever sent it is gone");
        let ended = Ended::decode(&role.pending.pop_front().unwrap()).unwrap();
        assert!(matches!(ended.how, How::NotStarted(_)));
        role.start(&message, Vec::new());
        let ended = Ended::decode(&role.pending.pop_front().unwrap()).unwrap();
        assert!(matches!(ended.how, How::NotStarted(_)));
    }
}
