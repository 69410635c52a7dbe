//! One session: reads, drives the machine, has its events decided, writes.
//!
//! Everything said to the client goes through the machine; replies of a pipelined group leave in
//! one write. The commands' own work is in `commands`, one file per verb.

use crate::auth;
use crate::backend::{Backend, Incoming};
use crate::client::{Client, Peer};
use crate::events::{self as say, *};
use crate::footer::Shown;
use crate::inquiry::{self, Patience};
use crate::limits::Kind;
use crate::pace::Pace;
use crate::policy::Connections;
use crate::restrictions::facts::Facts;
use crate::restrictions::policy::About;
use crate::restrictions::{Notes, Question, Rejection, Stage, Subject, Verdict};
use crate::service::Service;
use ::events::Source;
use net::Stream;
use proto::Address;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Event, Faults, Notice, Reason, Session as Machine};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How much is read at a time: commands, content, and content of which there is much.
const READ: (usize, usize, usize) = (2048, 16 * 1024, 64 * 1024);

/// The part of a session that the commands work on.
pub(crate) struct Session<B: Backend> {
    pub(crate) service: Arc<Service<B>>,
    pub(crate) source: Source,
    pub(crate) client: Client,
    pub(crate) label: String,
    pub(crate) unlimited: bool,
    pub(crate) helo: Option<String>,
    pub(crate) extended: bool,
    /// Attributes of XFORWARD, for the log.
    pub(crate) forwarded: Vec<(String, String)>,
    pub(crate) mail: Option<proto::smtp::command::Mail>,
    pub(crate) recipients: u64,
    pub(crate) message: Option<Box<B::Message>>,
    /// Filters that hear of everything.
    pub(crate) milters: Option<Box<crate::milters::Milters>>,
    /// `sendmail -bs`: nobody came from anywhere.
    pub(crate) standalone: bool,
    /// How many connections the client had when it came.
    pub(crate) open: u64,
    /// It goes through a filter instead.
    pub(crate) passage: Option<Box<crate::proxy::Passage>>,
    /// The message's name once it has one.
    pub(crate) id: Option<String>,
    pub(crate) discard: bool,
    /// What else restrictions want done with the message.
    pub(crate) orders: cleanup::Orders,
    pub(crate) first_recipient: Option<Address>,
    pub(crate) pipelined: bool,
    /// Warnings that one session gives but once.
    pub(crate) said: Vec<String>,
    /// What footers of refusals show.
    pub(crate) shown: Shown,
    /// The connection broke in a handshake that came first of all.
    pub(crate) lost: bool,
    /// The session is encrypted so.
    pub(crate) tls: Option<Box<net::tls::Summary>>,
    /// Who the client logged in as.
    pub(crate) login: Option<Box<auth::Login>>,
    /// The mechanisms it may use, once that was found out.
    pub(crate) mechanisms: Option<Arc<auth::Offered>>,
    /// A login that waits for the client.
    pub(crate) underway: Option<Box<auth::Underway>>,
    /// What name servers and others said to questions of this transaction.
    pub(crate) facts: Facts,
    /// Where the session is.
    pub(crate) stage: Stage,
    /// Our end of the connection.
    pub(crate) server: Option<std::net::SocketAddr>,
    /// What policy services call the message under way.
    pub(crate) instance: String,
    /// The size of the content that was received.
    pub(crate) received: u64,
    policy: Connections,
    /// What is to be refused for now at the next recipient, though the command it came of passed.
    pub(crate) deferred: Deferred,
    /// What went wrong with this command, for the postmaster.
    pub(crate) faults: Faults,
    /// To wait before the next reply (`sleep`).
    pub(crate) delay: Duration,
}

/// `defer_if_permit` of restrictions asked before a recipient is given (`smtpd_delay_reject = no`).
#[derive(Default)]
pub(crate) struct Deferred {
    client: Option<Rejection>,
    helo: Option<Rejection>,
    sender: Option<Rejection>,
}

impl Deferred {
    /// The first of them.
    pub(crate) fn first(&self) -> Option<Rejection> {
        [&self.client, &self.helo, &self.sender].into_iter().flatten().next().cloned()
    }
}

/// A number for the brackets of the log: unique among the sessions of this process.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (base, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    1 + base.wrapping_add(n) % 4_194_303
}

/// How long the last words of an encrypted connection may take.
const PARTING: Duration = Duration::from_secs(1);

/// Runs one session until the client or the server ends it.
pub async fn serve<IO, B>(mut stream: IO, peer: Peer, service: Arc<Service<B>>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    B: Backend,
{
    let source = service.source.numbered(next_number());
    let names = *service.smtpd.smtpd_peername_lookup();
    let said = match service.upstream {
        Some((families, timeout)) => Box::pin(net::proxy::receive(&mut stream, families, timeout)).await,
        None => Ok(None),
    };
    // From here on the client is who the proxy says, for limits and networks, too.
    let (peer, unheard) = match said {
        Ok(Some(ends)) => (Peer::from(ends.client).at(ends.server), false),
        Ok(None) => (peer, false),
        Err(what) => {
            source.say(&Odd { what });
            (peer, true)
        }
    };
    let unit = peer.ip.map(sys::board::Unit::of_host).unwrap_or_default();
    sys::board::watch(unit, attend(stream, peer, service, source, (names, unheard))).await;
}

/// The session itself. `unheard`: the proxy did not say who the client is.
async fn attend<IO, B>(
    stream: IO,
    peer: Peer,
    service: Arc<Service<B>>,
    source: Source,
    (names, unheard): (bool, bool),
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    B: Backend,
{
    let (client, odd) = Box::pin(Client::find(peer, names, *service.smtpd.smtpd_client_port_logging())).await;
    if let Some(what) = odd {
        source.say(&Odd { what });
    }
    let mut machine = Machine::new(service.settings_for(&client, &source));
    let mut session = Session::new(service.clone(), source, client);
    session.server = peer.here;
    session.standalone = peer.ip.is_none();
    let label = session.label.clone();
    session.source.say(&Connect { client: label });

    let counted = session.client.ip.filter(|_| peer.ip.is_some() && !session.unlimited);
    let shown = session.shown.clone();
    machine.settings_mut().footer = service.footer(&session.client, &shown, &session.source);
    let counting = counted.filter(|_| !unheard).map(|ip| Counted { service: service.clone(), ip });
    let shunned = peer.ip.filter(|_| !unheard).and_then(|ip| session.shun(ip));
    let greeting = match counted {
        _ if shunned.is_some() => shunned,
        _ if unheard => {
            let hostname = service.hostname();
            Some(Reply::new(421, format!("4.3.0 {hostname} Server local error")))
        }
        Some(ip) => session.admit(ip),
        None => None,
    };
    let mut stream = Some(Stream::Plain(stream));
    if service.tls.wrapper {
        // Who is refused costs no handshake, and in plain text nothing is said.
        stream = match greeting.is_none() {
            true => Box::pin(session.wrap(stream, &mut machine)).await,
            false => None,
        };
    }
    match greeting {
        _ if stream.is_none() || machine.is_closed() => {}
        Some(refusal) => machine.end(&refusal),
        None => match Box::pin(session.greet()).await {
            Ok(greeting) => machine.greet(&greeting),
            // RFC 5321 3.8: these two announce that the connection ends.
            Err(refusal) if matches!(refusal.code, 421 | 521) => machine.end(&refusal),
            Err(refusal) => {
                machine.greet(&refusal);
                machine.settings_mut().denied = Some(session.denied());
            }
        },
    }
    session.begin_logins(&mut machine);
    let ended = match stream.is_none() && !session.lost {
        true => Ended::ByServer(Reason::Ended),
        false => talk(&mut stream, &mut machine, &mut session).await,
    };
    session.report(ended, &mut machine).await;
    drop(counting);
    if let Some(mut stream) = stream {
        // Encrypted, it is something to be written: a client that reads nothing must not keep its place.
        let _ = tokio::time::timeout(PARTING, stream.shutdown()).await;
    }
}

/// A session that counts among its client's, whatever ends it.
struct Counted<B: Backend> {
    service: Arc<Service<B>>,
    ip: std::net::IpAddr,
}

impl<B: Backend> Drop for Counted<B> {
    fn drop(&mut self) {
        self.service.limits.disconnect(&self.service.name, self.ip, Instant::now());
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    ByServer(Reason),
    Lost,
    Timeout,
}

async fn talk<IO, B>(
    connection: &mut Option<Stream<IO>>,
    machine: &mut Machine,
    session: &mut Session<B>,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    B: Backend,
{
    let mut pace = Pace::new(&session.service);
    let mut much = false;
    loop {
        let Some(stream) = connection.as_mut() else { return Ended::Lost };
        let ended = session.work(machine).await;
        if session.milters.is_some() {
            Box::pin(session.finish_aborts()).await;
        }
        if machine.errors() >= *session.service.smtpd.smtpd_soft_error_limit() && !machine.output().is_empty()
        {
            session.delay += *session.service.smtpd.smtpd_error_sleep_time();
        }
        let delay = std::mem::take(&mut session.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        pace.restart(!machine.output().is_empty());
        match write(stream, machine, pace.left()).await {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::TimedOut => return Ended::Timeout,
            Err(_) => return Ended::Lost,
        }
        if let Some(reason) = ended.or(machine.is_closed().then_some(Reason::Ended)) {
            return Ended::ByServer(reason);
        }
        if machine.wants_handshake() {
            if let Some(Stream::Plain(io)) = connection.take() {
                *connection = session.starttls(io, machine).await;
            }
            session.begin_logins(machine);
            continue;
        }
        if !machine.in_content() {
            machine.shrink();
        }
        match tokio::time::timeout(pace.left(), read(stream, machine, much)).await {
            Ok(Ok(0) | Err(_)) => return Ended::Lost,
            Ok(Ok(n)) => {
                much = n >= READ.1;
                pace.took(n, machine.in_content());
            }
            Err(_) => {
                let hostname = &machine.settings_mut().hostname;
                let reply = Reply::new(421, format!("4.4.2 {hostname} Error: timeout exceeded"));
                machine.end(&reply);
                let _ = write(stream, machine, Duration::from_secs(1)).await;
                return Ended::Timeout;
            }
        }
    }
}

/// Reads what the client says. One that says nothing holds no buffer.
async fn read<IO: AsyncRead + Unpin>(
    stream: &mut IO,
    machine: &mut Machine,
    much: bool,
) -> io::Result<usize> {
    if machine.in_content() {
        // Most messages fit in the smaller one, which costs the allocator much less.
        let want = if much { READ.2 } else { READ.1 };
        return stream.read_buf(machine.read_buffer(want)).await;
    }
    poll_fn(|context| {
        let mut space = [MaybeUninit::uninit(); READ.0];
        let mut said = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut said))?;
        let said = said.filled();
        machine.read_buffer(said.len()).extend_from_slice(said);
        Poll::Ready(Ok(said.len()))
    })
    .await
}

async fn write<IO: AsyncWrite + Unpin>(
    stream: &mut IO,
    machine: &mut Machine,
    limit: Duration,
) -> io::Result<()> {
    if machine.output().is_empty() {
        return Ok(());
    }
    let done = tokio::time::timeout(limit, async {
        stream.write_all(machine.output()).await?;
        stream.flush().await
    });
    done.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    machine.sent();
    Ok(())
}

impl<B: Backend> Session<B> {
    fn new(service: Arc<Service<B>>, source: Source, client: Client) -> Session<B> {
        let policy = Connections::new(service.policies.clone());
        Session {
            unlimited: service.unlimited(&client, &source),
            label: client.label(),
            service,
            source,
            client,
            helo: None,
            extended: false,
            forwarded: Vec::new(),
            mail: None,
            recipients: 0,
            message: None,
            milters: None,
            standalone: false,
            open: 0,
            passage: None,
            id: None,
            discard: false,
            orders: cleanup::Orders::default(),
            first_recipient: None,
            pipelined: false,
            said: Vec::new(),
            shown: Shown::default(),
            lost: false,
            tls: None,
            login: None,
            mechanisms: None,
            underway: None,
            facts: Facts::default(),
            stage: Stage::Connect,
            server: None,
            instance: String::new(),
            received: 0,
            policy,
            deferred: Deferred::default(),
            faults: Faults::NONE,
            delay: Duration::ZERO,
        }
    }

    /// Counts the connection; a refusal when there are too many.
    /// This process died over the client more than once: it waits for a while.
    fn shun(&self, ip: std::net::IpAddr) -> Option<Reply> {
        let seconds = sys::board::shunned(sys::board::Peer::Host(ip), sys::time::now_micros() / 1_000_000)?;
        self.source.say(&Shunned { client: self.label.clone(), seconds });
        Some(Reply::new(421, format!("4.3.0 {} Server local error", self.service.hostname())))
    }

    fn admit(&mut self, ip: std::net::IpAddr) -> Option<Reply> {
        let (service, smtpd) = (&self.service, &self.service.smtpd);
        let (open, rate) = service.limits.connect(&service.name, ip, Instant::now());
        self.open = open;
        let beyond = |n: u64, limit: &i64| *limit > 0 && n > *limit as u64;
        let (client, name) = (self.label.clone(), service.name.clone());
        if beyond(open, smtpd.smtpd_client_connection_count_limit()) {
            self.source.say(&TooManyConnections { count: open, client, service: name });
        } else if beyond(rate, smtpd.smtpd_client_connection_rate_limit()) {
            self.source.say(&TooFrequent { count: rate, client, service: name });
        } else {
            return None;
        }
        self.faults = self.faults | Faults::POLICY;
        let (hostname, client) = (self.service.hostname(), &self.client.address);
        Some(Reply::new(421, format!("4.7.0 {hostname} Error: too many connections from {client}")))
    }

    /// Counts a message or recipient; true when there are too many.
    pub(crate) fn too_many(&mut self, kind: Kind) -> bool {
        let (service, smtpd) = (&self.service, &self.service.smtpd);
        let limit = match kind {
            Kind::Messages => *smtpd.smtpd_client_message_rate_limit(),
            Kind::Recipients => *smtpd.smtpd_client_recipient_rate_limit(),
            Kind::Connections | Kind::Logins | Kind::Handshakes => 0,
        };
        let Some(ip) = self.client.ip.filter(|_| limit > 0 && !self.unlimited) else { return false };
        let count = service.limits.count(kind, &service.name, ip, Instant::now());
        if count <= limit as u64 {
            return false;
        }
        self.faults = self.faults | Faults::POLICY;
        let (client, service) = (self.label.clone(), service.name.clone());
        match kind {
            Kind::Recipients => self.source.say(&TooManyRecipients { count, client, service }),
            _ => self.source.say(&TooManyMessages { count, client, service }),
        }
        true
    }

    /// The greeting, or what smtpd_client_restrictions say.
    async fn greet(&mut self) -> Result<Reply, Reply> {
        let service = self.service.clone();
        if !*service.smtpd.smtpd_delay_reject() && !service.lists.client.is_empty() {
            let (verdict, notes) = self
                .decide(|s, notes| {
                    service.lists.client.ask(s.question(None, None), Subject::client(&s.client), notes)
                })
                .await;
            self.settle(Stage::Connect, None, verdict, notes)?;
        }
        let banner = || Reply::new(220, service.smtpd.smtpd_banner().clone());
        self.meet_milters(self.open).await.unwrap_or_else(|| Ok(banner()))
    }

    fn denied(&self) -> Reply {
        Reply::new(503, format!("5.7.0 Error: access denied for {}", self.label))
    }

    /// Lets the machine work as far as it can; `Some` when the session ends.
    async fn work(&mut self, machine: &mut Machine) -> Option<Reason> {
        loop {
            // Each is boxed: a session that only waits would pay for the memory of every command.
            let event = machine.next_event()?;
            self.stage = Stage::of(&event).unwrap_or(self.stage);
            let decision = match event {
                Event::Content(bytes) => {
                    if let Some(message) = self.message.as_mut() {
                        Box::pin(message.write(bytes)).await;
                    } else if self.passage.is_some() {
                        Box::pin(self.filter_content(bytes)).await;
                    }
                    continue;
                }
                Event::Abort => {
                    self.forget();
                    continue;
                }
                Event::Notice(notice) => {
                    self.notice(notice, machine);
                    continue;
                }
                Event::Transcript(transcript) => {
                    Box::pin(self.tell(transcript, None)).await;
                    continue;
                }
                Event::Close(reason) => return Some(reason),
                Event::Helo { extended, name } => {
                    Box::pin(self.offer_logins(machine)).await;
                    Box::pin(self.helo(extended, name)).await
                }
                Event::Auth { mechanism, initial } => {
                    if self.mechanisms.is_none() {
                        Box::pin(self.offer_logins(machine)).await;
                    }
                    match self.standing_of_milters() {
                        Some(reply) => no(reply),
                        None => Box::pin(self.auth(mechanism, initial)).await,
                    }
                }
                Event::AuthResponse(text) => Box::pin(self.auth_response(&text)).await,
                Event::Mail(mail) => {
                    let decision = Box::pin(self.mail(mail, machine.line())).await;
                    if decision == Decision::Accept {
                        self.pass_through(machine.line().to_string());
                    }
                    decision
                }
                Event::Rcpt(rcpt) => {
                    self.said_to_filter(machine.line());
                    Box::pin(self.rcpt(rcpt, machine.line())).await
                }
                Event::Data { chunked } => Box::pin(self.data(chunked)).await,
                Event::EndOfMessage { chunked, size } => Box::pin(self.end_of_message(chunked, size)).await,
                Event::Vrfy(text, address) => Box::pin(self.vrfy(&text, &address)).await,
                Event::Etrn(domain) => Box::pin(self.etrn(&domain)).await,
                Event::Unknown(line) => {
                    Box::pin(self.unknown_to_milters(&line)).await.map_or(Decision::Accept, no)
                }
                Event::Xclient(attributes) => {
                    let decision = Box::pin(self.xclient(attributes)).await;
                    machine.suppose_login(self.login.is_some());
                    let settings = machine.settings_mut();
                    self.service.adapt(settings, &self.client, &self.source);
                    settings.footer = self.service.footer(&self.client, &self.shown, &self.source);
                    // Logins are offered to, and counted for, another client now.
                    self.begin_logins(machine);
                    decision
                }
                Event::Xforward(attributes) => self.xforward(attributes),
                Event::StartTls => self.standing_of_milters().map_or(Decision::Accept, no),
            };
            machine.blame(std::mem::take(&mut self.faults));
            machine.answer(decision);
        }
    }

    /// The transaction is over.
    pub(crate) fn forget(&mut self) {
        self.abort_milters();
        (self.mail, self.message, self.id, self.recipients) = (None, None, None, 0);
        self.passage = None;
        self.discard = false;
        (self.orders, self.first_recipient) = (cleanup::Orders::default(), None);
        self.deferred.sender = None;
        self.instance.clear();
        self.received = 0;
        self.show();
        self.facts.clear();
        self.forwarded.clear();
    }

    fn notice(&mut self, notice: Notice, machine: &mut Machine) {
        let client = self.label.clone();
        let id = self.id.clone().unwrap_or_else(|| "NOQUEUE".into());
        match notice {
            Notice::Pipelining { after, text } => {
                self.pipelined = true;
                self.source.say(&Pipelining { place: after.into(), client, text });
            }
            Notice::LongLine { limit, text } => self.source.say(&LongLine { client, limit, text }),
            Notice::AuthAborted { given_up } => self.abandon(given_up),
            Notice::IllegalAddress { verb, text } => self.source.say(&IllegalAddress { client, verb, text }),
            Notice::NonSmtp(text) => self.source.say(&NonSmtp { client, text }),
            Notice::MalformedBdat(text) => self.source.say(&MalformedBdat { id, client, text }),
            Notice::NullBdat => self.source.say(&NullBdat { id, client }),
            Notice::BigBdat => self.source.say(&BigBdat { id, client }),
            Notice::BareNewline => {
                let rejecting = machine.settings_mut().bare_newline == proto::smtp::data::BareNewline::Reject;
                let what = if rejecting { "reject" } else { "note" };
                let about = self.about(self.first_recipient.as_ref());
                let place = place_of(Stage::EndOfMessage);
                self.source.say_of(id, &say::BareNewline { what, place, client, about });
            }
            Notice::Replaced { line, by } => self.source.say(&Replaced { client, line, by }),
            Notice::Discarding(words) => self.source.say(&DiscardingKeywords { words }),
        }
    }

    async fn report(&mut self, ended: Ended, machine: &mut Machine) {
        machine.break_off();
        let (place, client) = (machine.place(), self.label.clone());
        match ended {
            Ended::Lost => self.source.say(&LostConnection { place, client }),
            Ended::Timeout => self.source.say(&Timeout { place, client }),
            Ended::ByServer(Reason::TooManyErrors) => {
                self.source.say(&TooManyErrors { place: machine.verb().into(), client });
            }
            Ended::ByServer(_) => {}
        }
        if self.milters.is_some() {
            self.unsay_helo();
            Box::pin(self.leave_milters()).await;
        }
        machine.blame(std::mem::take(&mut self.faults));
        if let Some(transcript) = machine.take_transcript() {
            let aborted = match ended {
                Ended::Lost => Some("lost connection"),
                Ended::Timeout => Some("timeout"),
                Ended::ByServer(Reason::TooManyErrors) => Some("too many errors"),
                Ended::ByServer(_) => None,
            };
            Box::pin(self.tell(transcript, aborted)).await;
        }
        self.policy.give_back();
        self.source.say(&Disconnect { client: self.label.clone(), counts: machine.counts() });
    }

    // ---- questions and answers

    /// Tells footers where the session stands.
    pub(crate) fn show(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shown.helo.clone_from(self.helo.as_ref().unwrap_or(&String::new()));
        shown.sender = self.mail.as_ref().map(|m| m.sender.internal()).unwrap_or_default();
    }

    /// Asks restrictions until they know all they want from name servers.
    pub(crate) async fn decide(
        &mut self,
        judge: impl Fn(&Session<B>, &mut Notes) -> Verdict,
    ) -> (Verdict, Notes) {
        let mut patience = Patience::default();
        if self.facts.len() > inquiry::KEPT {
            self.facts.clear();
        }
        self.facts.begin();
        loop {
            let mut notes = Notes::default();
            match judge(self, &mut notes) {
                Verdict::Wait => {
                    if let Some(inquiry) = notes.inquiry {
                        let told = Box::pin(self.policy.ask(&inquiry, &self.source)).await;
                        self.facts.tell(inquiry, told);
                        continue;
                    }
                    let world = self.service.world.clone();
                    if let Some(address) = notes.unverified {
                        let verified = world.verify(&address).await;
                        self.facts.verify(address, verified);
                        continue;
                    }
                    let look_up = inquiry::find_out(&*world, notes.wanted, &mut self.facts, &mut patience);
                    // Rarely under way, and not to be paid for by each session that only waits.
                    Box::pin(look_up).await;
                }
                verdict => return (verdict, notes),
            }
        }
    }

    pub(crate) fn sender(&self) -> Option<&Address> {
        self.mail.as_ref().map(|m| &m.sender)
    }

    pub(crate) fn question<'a>(
        &'a self,
        sender: Option<&'a Address>,
        recipient: Option<&'a Address>,
    ) -> Question<'a> {
        Question {
            rules: &self.service.rules,
            world: &*self.service.world,
            facts: &self.facts,
            client: &self.client,
            helo: self.helo.as_deref(),
            sender,
            recipient,
            recipients: self.recipients,
            etrn: "",
            pipelined: self.pipelined,
            encrypted: self.tls.is_some(),
            tls: self.tls.as_deref(),
            login: self.login.as_deref(),
            about: About {
                stage: self.stage,
                protocol: self.protocol(),
                server: self.server,
                sender: self.sender(),
                id: self.id.as_deref().unwrap_or_default(),
                instance: &self.instance,
                size: if self.received > 0 {
                    self.received
                } else {
                    self.mail.as_ref().map_or(0, |m| m.size)
                },
                tls: self.tls.as_deref(),
            },
            logins_fail: self.logins_fail(),
        }
    }

    /// Logs what was gathered and turns a verdict into a yes or the reply to say no with.
    pub(crate) fn settle(
        &mut self,
        stage: Stage,
        recipient: Option<&Address>,
        verdict: Verdict,
        mut notes: Notes,
    ) -> Result<(), Reply> {
        self.delay += notes.delay;
        let deferred = notes.defer_if_permit.take();
        let early = match stage {
            Stage::Connect => Some(&mut self.deferred.client),
            Stage::Helo | Stage::Ehlo => Some(&mut self.deferred.helo),
            Stage::Mail => Some(&mut self.deferred.sender),
            _ => None,
        };
        // Before a recipient is given nothing is known to be permitted.
        let deferred = match early {
            Some(kept) => {
                *kept = deferred;
                None
            }
            None => deferred,
        };
        let verdict = match (verdict, deferred) {
            (Verdict::Reject(rejection), _) | (_, Some(rejection)) => Some(rejection),
            _ => None,
        };
        self.tell_log(stage, recipient, std::mem::take(&mut notes.says));
        for warning in std::mem::take(&mut notes.warnings) {
            self.faults = self.faults | warning.fault;
            self.refusal("reject_warning", stage, recipient, &warning.reply);
        }
        if stage != Stage::Vrfy {
            self.discard |= notes.discard.is_some();
            self.orders.add(notes.orders);
        }
        match verdict {
            None => Ok(()),
            Some(Rejection { reply, fault, .. }) => {
                self.faults = self.faults | fault;
                self.refusal("reject", stage, recipient, &reply);
                Err(reply)
            }
        }
    }

    /// `NOQUEUE: reject: RCPT from …: 550 …; from=<…> to=<…> proto=SMTP helo=<…>`
    pub(crate) fn refusal(
        &self,
        what: &'static str,
        stage: Stage,
        recipient: Option<&Address>,
        reply: &Reply,
    ) {
        let id = self.id.as_deref().unwrap_or("NOQUEUE");
        let (client, about) = (self.label.clone(), self.about(recipient));
        let mut reply = reply.clone();
        if self.service.soft_bounce() {
            reply.soften();
        }
        let reply = reply.to_string();
        self.source.say_of(id, &Reject { what, place: place_of(stage), client, reply, about });
    }

    pub(crate) fn about(&self, recipient: Option<&Address>) -> String {
        let mut out = String::new();
        if let Some(sender) = self.sender() {
            out.push_str(&format!("from=<{sender}> "));
        }
        if let Some(recipient) = recipient {
            out.push_str(&format!("to=<{recipient}> "));
        }
        out.push_str(&format!("proto={}", self.protocol()));
        if let Some(helo) = &self.helo {
            out.push_str(&format!(" helo=<{helo}>"));
        }
        out
    }

    pub(crate) fn protocol(&self) -> &'static str {
        if self.extended { "ESMTP" } else { "SMTP" }
    }
}

/// A stage as the log names it.
pub(crate) fn place_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "CONNECT",
        Stage::Helo => "HELO",
        Stage::Ehlo => "EHLO",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data => "DATA",
        Stage::Bdat => "BDAT",
        Stage::EndOfMessage => "END-OF-MESSAGE",
        Stage::Vrfy => "VRFY",
        Stage::Etrn => "ETRN",
        Stage::Unknown => "UNKNOWN",
    }
}

/// A refusal as the machine takes it.
pub(crate) fn no(reply: Reply) -> Decision {
    // RFC 5321 3.8: these two announce that the connection ends.
    if matches!(reply.code, 421 | 521) { Decision::Close(reply) } else { Decision::Reply(reply) }
}
