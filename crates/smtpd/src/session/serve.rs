//! One connection: reads what the client says, has it worked on, writes the replies.

use super::Session;
use crate::backend::Backend;
use crate::client::{Client, Peer};
use crate::events::*;
use crate::pace::Pace;
use crate::service::Service;
use ::events::Source;
use net::Stream;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Reason, Session as Machine};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How much is read at a time: commands, content, and content of which there is much.
const READ: (usize, usize, usize) = (2048, 16 * 1024, 64 * 1024);

/// A number for the brackets of the log: unique among the sessions of this process.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A system call.
    static BASE: LazyLock<u32> = LazyLock::new(std::process::id);
    let (base, n) = (*BASE, NEXT.fetch_add(1, Ordering::Relaxed));
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
    let shunned = peer.ip.filter(|_| !unheard).and_then(|ip| session.shun(ip));
    // Those who are counted when they go are those whom `admit` counted.
    let counting = counted.filter(|_| !unheard && shunned.is_none());
    let counting = counting.map(|ip| Counted { service: service.clone(), ip });
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
    // One in plain text is closed as it is dropped.
    if let Some(mut stream) = stream.filter(Stream::is_encrypted) {
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
    /// The session is over: the log, the filters and the postmaster hear of it.
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
}
