//! The way to the `deliver` role: sends a job, reads what its child answers.
//!
//! What a child says is not trusted: it can only name recipients it was asked about; it is cut off
//! when it says too much, or nothing for too long. A child that dies leaves its recipients without
//! report, and the queue manager defers them.

use proto::job::{Ended, Frame, FrameReader, How, Job, LONGEST_JOB, Say, Target, frame_job, write_jobs};
use qmgr::agent::{Agent, Done, Report, Request};
use queue::store::Body;
use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sys::channel::Channel;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, oneshot};

events::events! {
    /// What a delivery process reports about itself.
    ChildSays { text: String } Info "{text}"
    /// What a delivery process warns of.
    ChildWarns { text: String } Warning "{text}"
    /// What a delivery process cannot do.
    ChildErrs { text: String } Error "{text}"
    /// Why a delivery process gave up.
    ChildFails { text: String } Fatal "{text}"
    /// A delivery process ended without finishing its answer.
    ChildDied { how: String } Warning "delivery process {how}; its recipients are tried again later"
    /// A delivery could not be started.
    NotStarted { what: String } Warning "cannot start a delivery: {what}"
}

/// How long a delivery waits for a deliver role, when the last one died: master's longest pause
/// before it starts another.
const ANOTHER: Duration = Duration::from_secs(60);

/// Who speaks for a transport: `postfix/local`.
pub type Voices = Arc<dyn Fn(&str) -> events::Source + Send + Sync>;

/// The agent for everything that a child of `deliver` delivers.
pub struct Deliver {
    link: Mutex<Option<Arc<Link>>>,
    /// Told whenever `link` is a new one.
    connected: Notify,
    next: AtomicU64,
    voices: Mutex<Voices>,
    patience: Duration,
}

impl Deliver {
    /// Without a channel yet; deliveries wait for [`Deliver::connect`]. `patience` is the longest
    /// that a child may take (`daemon_timeout`).
    pub fn new(voices: Voices, patience: Duration) -> Deliver {
        let (connected, voices) = (Notify::new(), Mutex::new(voices));
        Deliver { link: Mutex::new(None), connected, next: AtomicU64::new(1), voices, patience }
    }

    /// Uses a new channel; the old one carries what was begun on it to its end.
    pub fn connect(&self, channel: Channel) -> io::Result<()> {
        let link = Arc::new(Link { channel: super::orders::watched(channel)?, waiting: Mutex::default() });
        tokio::spawn(link.clone().listen());
        let old = lock(&self.link).replace(link);
        self.connected.notify_waiters();
        if let Some(old) = old {
            let _ = old.channel.get_ref().finish();
        }
        Ok(())
    }

    /// Uses other speakers after a reload.
    pub fn speak_as(&self, voices: Voices) {
        *lock(&self.voices) = voices;
    }

    async fn attempt(&self, request: Request) -> Done {
        let voice = (lock(&self.voices))(&request.transport);
        let begun = Instant::now();
        let mut done = Done::default();
        let mut rest = vec![request.recipients.clone()];
        while let Some(recipients) = rest.pop() {
            let Some(job) = job(&request, &recipients, 0).encode() else {
                // Too long for one message: two jobs of half the recipients.
                if recipients.len() > 1 {
                    let (first, second) = recipients.split_at(recipients.len() / 2);
                    rest.extend([second.to_vec(), first.to_vec()]);
                } else {
                    voice.say_of(request.id, &NotStarted { what: "the envelope is too long".into() });
                }
                continue;
            };
            let asked: Vec<usize> = recipients.iter().map(|(place, _)| *place).collect();
            let content = match &request.body {
                Body::Memory(bytes) => sys::memory_file::sealed(bytes).map(Arc::new),
                Body::File(file, _) => Ok(file.clone()),
            };
            let answer = match content {
                Ok(content) => self.one(&content, &job).await,
                Err(e) => Err(e),
            };
            match answer {
                Ok((mut answer, how)) => {
                    answer.say(&voice);
                    let reports = std::mem::take(&mut answer.reports);
                    take(reports.into_iter().map(|(_, report)| report), &asked, &mut done);
                    done.mailbox = answer.mailbox;
                    done.number = answer.number;
                    if let Some(how) = answer.died(how) {
                        answer.voice(&voice).say_of(request.id, &ChildDied { how });
                        // Only a child that began can have died of the message.
                        done.crashed = answer.number != 0;
                    }
                }
                Err(e) => voice.say_of(request.id, &NotStarted { what: e.to_string() }),
            }
        }
        done.transmit = begun.elapsed().as_micros() as u64;
        done
    }

    /// Several messages: their contents lie one after the other, and one child gets them all.
    async fn attempt_together(&self, requests: Vec<Request>) -> Vec<Done> {
        let untried = Done { untried: true, ..Done::default() };
        let mut all = vec![untried; requests.len()];
        let Some(first) = requests.first() else { return all };
        let voice = (lock(&self.voices))(&first.transport);
        let begun = Instant::now();
        // A job each, of those that are in memory, as many as one message can hold.
        let (mut jobs, mut contents, mut asked, mut length) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut offset = 0;
        for request in &requests {
            let Body::Memory(bytes) = &request.body else { break };
            let job = job(request, &request.recipients, offset);
            length += job.encode().map_or(LONGEST_JOB, |bytes| bytes.len() + 4);
            if length + 16 > LONGEST_JOB && !jobs.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            jobs.push(job);
            contents.push(bytes.as_slice());
            asked.push(request.recipients.iter().map(|(place, _)| *place).collect::<Vec<usize>>());
        }
        if jobs.len() < 2 {
            if let (Some(request), Some(done)) = (requests.into_iter().next(), all.first_mut()) {
                *done = self.attempt(request).await;
            }
            return all;
        }
        let answer = match (write_jobs(&jobs), sys::memory_file::sealed_pieces(&contents)) {
            (Some(jobs), Ok(content)) => self.one(&content, &jobs).await,
            (_, Err(e)) => Err(e),
            (None, _) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the envelopes are too long")),
        };
        let (mut answer, how) = match answer {
            Ok(answer) => answer,
            Err(e) => {
                voice.say_of(first.id, &NotStarted { what: e.to_string() });
                // As each of them would be told that is tried alone.
                return vec![Done::default(); requests.len()];
            }
        };
        answer.say(&voice);
        let transmit = begun.elapsed().as_micros() as u64;
        let (number, mailbox) = (answer.number, answer.mailbox);
        let mut reports = std::mem::take(&mut answer.reports);
        // A child may say anything in any order.
        reports.sort_by_key(|(about, _)| *about);
        let mut reports = reports.into_iter().peekable();
        for (message, (done, asked)) in all.iter_mut().zip(&asked).enumerate() {
            *done = Done { number, mailbox, transmit, ..Done::default() };
            let of_it = std::iter::from_fn(|| reports.next_if(|(about, _)| *about <= message));
            take(of_it.map(|(_, report)| report), asked, done);
            // Half an answer would leave recipients behind that another attempt reaches.
            done.untried = done.reports.is_empty();
        }
        if let Some(how) = answer.died(how) {
            // Which of them it died of is found out when each is tried on its own.
            answer.voice(&voice).say_of(first.id, &ChildDied { how });
        }
        all
    }

    /// One message to the role: the frames answered and how the child ended.
    async fn one(&self, content: &File, job: &[u8]) -> io::Result<(Answer, Option<How>)> {
        let (ours, theirs) = io::pipe()?;
        let mut ours = pipe::Receiver::from_owned_fd(ours.into())?;
        let deadline = tokio::time::Instant::now() + ANOTHER;
        let ended = loop {
            let mut connected = pin!(self.connected.notified());
            connected.as_mut().enable();
            match self.send(job, &[content.as_fd(), theirs.as_fd()]).await {
                Ok(ended) => break ended,
                // Nobody has seen the job; there will be another role soon.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    tokio::time::timeout_at(deadline, connected).await.map_err(|_| e)?;
                }
                Err(e) => return Err(e),
            }
        };
        drop(theirs);
        let answer = tokio::time::timeout(self.patience, read(&mut ours)).await;
        drop(ours);
        let answer = answer.unwrap_or_else(|_| Answer { garbage: true, ..Answer::default() });
        if answer.ended && !answer.garbage {
            // How the child ends matters no more; what it delivered is recorded without waiting for that.
            return Ok((answer, None));
        }
        // The pipe is closed when the child is gone, so its end is known at once.
        let how = tokio::time::timeout(Duration::from_secs(10), ended).await.ok().and_then(Result::ok);
        Ok((answer, how))
    }

    /// Hands a job to the role; gives where its child's end is told.
    async fn send(&self, job: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<oneshot::Receiver<How>> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the deliver role is not there");
        let link = lock(&self.link).clone().ok_or_else(gone)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, ended) = oneshot::channel();
        lock(&link.waiting).insert(number, tell);
        let message = frame_job(number, job);
        let send = |c: &Channel| c.send(&message, descriptors);
        match link.channel.async_io(Interest::WRITABLE, send).await {
            Ok(()) => Ok(ended),
            Err(e) => {
                lock(&link.waiting).remove(&number);
                Err(e)
            }
        }
    }
}

/// Keeps what was said of those who were asked about, once each.
fn take(reports: impl Iterator<Item = Report>, asked: &[usize], done: &mut Done) {
    let mut seen = Vec::new();
    for report in reports {
        if asked.contains(&report.recipient) && !seen.contains(&report.recipient) {
            seen.push(report.recipient);
            done.reports.push(report);
        }
    }
}

impl Agent for Deliver {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(self.attempt(request))
    }

    fn deliver_together(
        &self,
        requests: Vec<Request>,
    ) -> Pin<Box<dyn Future<Output = Vec<Done>> + Send + '_>> {
        Box::pin(self.attempt_together(requests))
    }
}

struct Link {
    channel: AsyncFd<Channel>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<How>>>,
}

impl Link {
    /// Tells each delivery how its child ended, until the role is gone.
    async fn listen(self: Arc<Link>) {
        while let Ok(Some((bytes, _))) = self.channel.async_io(Interest::READABLE, |c| c.receive()).await {
            if let Some(ended) = Ended::decode(&bytes)
                && let Some(tell) = lock(&self.waiting).remove(&ended.number)
            {
                let _ = tell.send(ended.how);
            }
        }
        // Those who wait learn by the dropped senders that nobody will answer.
        lock(&self.waiting).clear();
    }
}

#[derive(Default)]
struct Answer {
    number: u32,
    log: Vec<(Say, String)>,
    /// With the place of the message among those that came together.
    reports: Vec<(usize, Report)>,
    mailbox: Option<bool>,
    ended: bool,
    garbage: bool,
}

impl Answer {
    /// Who speaks for the child.
    fn voice(&self, voice: &events::Source) -> events::Source {
        if self.number == 0 { voice.clone() } else { voice.numbered(self.number) }
    }

    /// Logs what the child had to say.
    fn say(&mut self, voice: &events::Source) {
        let voice = self.voice(voice);
        for (say, text) in std::mem::take(&mut self.log) {
            match say {
                Say::Info => voice.say(&ChildSays { text }),
                Say::Warning => voice.say(&ChildWarns { text }),
                Say::Error => voice.say(&ChildErrs { text }),
                Say::Fatal => voice.say(&ChildFails { text }),
            }
        }
    }

    /// How the child ended, if it did so before its answer was whole.
    fn died(&self, how: Option<How>) -> Option<String> {
        if self.ended && !self.garbage {
            return None;
        }
        Some(match how {
            Some(How::Exit(code)) => format!("ended with status {code}"),
            Some(How::Signal(signal)) => format!("was killed by signal {signal}"),
            Some(How::NotStarted(why)) => format!("could not be started: {why}"),
            None if self.garbage => "said what means nothing, or took too long".to_string(),
            None => "vanished".to_string(),
        })
    }
}

async fn read(from: &mut pipe::Receiver) -> Answer {
    let (mut answer, mut about) = (Answer::default(), 0);
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; 4096];
    loop {
        let got = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return answer,
            Ok(n) => n,
        };
        if frames.receive(&buffer[..got]).is_err() {
            answer.garbage = true;
            return answer;
        }
        loop {
            match frames.next_frame() {
                Ok(Some(Frame::Begin { number })) => answer.number = number,
                Ok(Some(Frame::Log { say, text })) => answer.log.push((say, text)),
                Ok(Some(Frame::Report(report))) => answer.reports.push((about, *report)),
                Ok(Some(Frame::About(message))) => about = message as usize,
                Ok(Some(Frame::Mailbox(yes))) => answer.mailbox = Some(yes),
                Ok(Some(Frame::End)) => {
                    answer.ended = true;
                    return answer;
                }
                Ok(None) => break,
                Err(_) => {
                    answer.garbage = true;
                    return answer;
                }
            }
        }
    }
}

/// The job of one message whose content begins at `offset`.
fn job(request: &Request, recipients: &[(usize, proto::Address)], offset: u64) -> Job {
    let envelope = &request.envelope;
    let targets = recipients.iter().filter_map(|(place, address)| {
        let recipient = envelope.recipients.get(*place)?;
        let recipient = proto::envelope::Recipient { address: address.clone(), ..recipient.clone() };
        Some(Target { place: u32::try_from(*place).ok()?, recipient })
    });
    Job {
        transport: request.transport.clone(),
        nexthop: request.nexthop.clone(),
        queue_id: request.id.to_string(),
        sender: envelope.sender.clone(),
        recipients: targets.collect(),
        client: envelope.client.clone(),
        size: envelope.size,
        arrival: envelope.arrival,
        encoding: envelope.encoding,
        smtputf8: envelope.smtputf8,
        dsn_envid: envelope.dsn_envid.clone(),
        dsn_ret: envelope.dsn_ret,
        probe: envelope.trace.is_probe(),
        shallow: envelope.trace == proto::envelope::Trace::Probe,
        offset,
        length: match &request.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        },
    }
}

/// A value that was being changed when its thread died is still whole here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
