//! Answers the queue commands on `public/showq`: listing, flush, and for root and the mail owner
//! control and contents. The protocol is [`proto::control`]. Who asks is known from the socket.

use crate::driver::{Manager, piece};
use crate::events::{ControlRefused, Unresolved};
use crate::settings::Settings;
use config::user_list;
use proto::QueueId;
use proto::control::{self, Answer, Entry, Queue, Request, State};
use queue::{Action, QueueName, RecipientState, Selection, Store, StoreError, Summary};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Messages read from the queue at a time.
const PAGE: usize = 500;
const PIECE: usize = 64 * 1024;
/// Names of messages told at a time.
const TOUCHED: usize = 1000;
/// The longest that a client may keep us waiting for its question; ten times that for reading the
/// answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest question: `postsuper -d -` with many names.
const LONGEST_REQUEST: usize = 4 * 1024 * 1024;

/// So many clients at once that are neither root nor the mail owner: every user may ask, and must
/// not use up our descriptors.
const STRANGERS: usize = 50;

/// Serves clients until the listener fails. Clients do not wait for each other.
pub async fn serve<S: Store>(listener: UnixListener, manager: Manager<S>) {
    let places = Arc::new(Semaphore::new(STRANGERS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let manager = manager.clone();
                let uid = stream.peer_cred().map_or(u32::MAX, |c| c.uid());
                let trusted = uid == 0 || uid == sys::users::identities().euid;
                let place = if trusted { None } else { Some(places.clone().try_acquire_owned()) };
                if matches!(place, Some(Err(_))) {
                    continue; // closed unanswered: it may ask again
                }
                tokio::spawn(async move {
                    let _place = place;
                    // A client that went away needs no answer.
                    let _ = tokio::time::timeout(PATIENCE * 60, client(stream, &manager)).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn client<S: Store>(mut stream: UnixStream, manager: &Manager<S>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let settings = manager.settings();
    let request = match tokio::time::timeout(PATIENCE, read_request(&mut stream)).await {
        Ok(request) => request?,
        Err(_) => return Ok(()),
    };
    let mut out = BufWriter::with_capacity(PIECE, stream);
    let last = match request {
        None => Answer::Refused("this version of the program does not know the question".into()),
        Some(request) => match allowed(&settings, &request, uid).await {
            Err(why) => {
                settings.voice.say(&ControlRefused { why: why.clone() });
                Answer::Refused(why)
            }
            Ok(()) => match answer(manager, &settings, request, &mut out).await? {
                Ok(()) => Answer::End,
                Err(why) => Answer::Failed(why),
            },
        },
    };
    write(&mut out, &last).await?;
    out.flush().await
}

async fn read_request(stream: &mut UnixStream) -> io::Result<Option<Request>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let Some(length) = control::length(head).filter(|n| *n <= LONGEST_REQUEST) else { return Ok(None) };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Request::decode(&body))
}

async fn write(out: &mut BufWriter<UnixStream>, answer: &Answer) -> io::Result<()> {
    send(out, &control::frame(&answer.encode())).await
}

/// Hands frames over. A client may read slowly, as a pager does: what it keeps here is two pages.
async fn send(out: &mut BufWriter<UnixStream>, frames: &[u8]) -> io::Result<()> {
    for piece in frames.chunks(PIECE) {
        match tokio::time::timeout(PATIENCE * 10, out.write_all(piece)).await {
            Ok(result) => result?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Ok(())
}

/// A page of the listing, ready to be sent.
struct Page {
    frames: Vec<u8>,
    last: Option<QueueId>,
}

impl Page {
    /// Reads it on a thread that may wait for the disk; this begins at once.
    fn after<S: Store>(
        store: &Arc<S>,
        after: Option<QueueId>,
    ) -> impl Future<Output = Result<Page, StoreError>> + use<S> {
        let store = store.clone();
        let made = tokio::task::spawn_blocking(move || {
            let summaries = queue::block_on(store.list(after, PAGE))?;
            let last = summaries.last().map(|s| s.id);
            let mut frames = Vec::new();
            for summary in summaries {
                control::add_frame(&mut frames, &Answer::Entry(Box::new(entry(summary))));
            }
            Ok(Page { frames, last })
        });
        async move { made.await.unwrap_or_else(|_| Err(unread())) }
    }
}

fn unread() -> StoreError {
    StoreError::Failing("the queue could not be read".into())
}

/// Has the queue do something that may take a while, or wait for the disk.
async fn apart<S: Store, T: Send + 'static>(
    manager: &Manager<S>,
    work: impl FnOnce(&S) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = manager.store().clone();
    tokio::task::spawn_blocking(move || work(&store)).await.unwrap_or_else(|_| Err(unread()))
}

/// Whether this user may ask that.
async fn allowed(settings: &Settings, request: &Request, uid: u32) -> Result<(), String> {
    let (parameter, list, what) = match request {
        Request::List => {
            ("authorized_mailq_users", Some(settings.qmgr.authorized_mailq_users()), "view the mail queue")
        }
        Request::FlushAll | Request::FlushSite(_) | Request::FlushId(_) => {
            ("authorized_flush_users", Some(settings.qmgr.authorized_flush_users()), "flush the mail queue")
        }
        Request::Control { .. } | Request::Get(_) => ("", None, "do that: it is reserved for the superuser"),
    };
    // We are the mail owner, or whoever started all this.
    if uid == 0 || uid == sys::users::identities().euid {
        return Ok(());
    }
    let name = tokio::task::spawn_blocking(move || sys::users::by_id(uid)).await;
    let name = name.ok().and_then(Result::ok).flatten().map_or_else(|| "unknown".into(), |a| a.name);
    let permitted = match list {
        Some(list) => user_list::permits(parameter, list, &name).map_err(|p| p.to_string())?,
        None => false,
    };
    if permitted { Ok(()) } else { Err(format!("User {name}({uid}) is not allowed to {what}")) }
}

/// Answers; the inner error is told to the client, the outer one means that it is gone.
async fn answer<S: Store>(
    manager: &Manager<S>,
    settings: &Settings,
    request: Request,
    out: &mut BufWriter<UnixStream>,
) -> io::Result<Result<(), String>> {
    let store = manager.store();
    let done = match request {
        Request::List => {
            // While the client reads one page the next is made.
            let mut next = Page::after(store, None);
            loop {
                let page = match next.await {
                    Ok(page) => page,
                    Err(e) => return Ok(Err(e.to_string())),
                };
                let Some(last) = page.last else { return Ok(Ok(())) };
                next = Page::after(store, Some(last));
                send(out, &page.frames).await?;
            }
        }
        Request::FlushAll => flush(manager, Selection::All(None)).await.map_err(|e| e.to_string()),
        Request::FlushId(id) => match QueueId::parse(&id) {
            Some(id) => flush(manager, Selection::Ids(vec![id])).await.map_err(|e| e.to_string()),
            // Nothing of that name is in the queue; Postfix says nothing either.
            None if id.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(()),
            None => Err(format!("Cannot flush mail queue - invalid queue_id: \"{id}\"")),
        },
        Request::FlushSite(site) => match manager.flushable(&site) {
            Ok(true) => manager.flush_site(&site).await,
            Ok(false) => Err(format!("Flush service is not configured for destination \"{site}\"")),
            Err(why) => {
                settings.voice.say(&Unresolved { why });
                Err("Cannot flush mail queue - mail system is down".to_string())
            }
        },
        Request::Control { action, ids, queues } => match control(manager, action, &ids, &queues).await {
            Ok(touched) => {
                let none: Option<&[QueueId]> = touched.is_empty().then_some(&[]);
                for some in touched.chunks(TOUCHED).chain(none) {
                    let ids = some.iter().map(ToString::to_string).collect();
                    write(out, &Answer::Touched(ids)).await?;
                }
                Ok(())
            }
            Err(e) => Err(e.to_string()),
        },
        Request::Get(id) => {
            let found = match QueueId::parse(&id) {
                Some(id) => store.get(id).await,
                None => Ok(None),
            };
            match found {
                Ok(Some(summary)) => {
                    let id = summary.id;
                    write(out, &Answer::Entry(Box::new(entry(summary)))).await?;
                    match store.body(id).await {
                        Ok(body) => {
                            let mut offset = 0;
                            loop {
                                let bytes = piece(&body, offset, PIECE)?;
                                if bytes.is_empty() {
                                    break;
                                }
                                offset += bytes.len();
                                write(out, &Answer::Content(bytes)).await?;
                            }
                            Ok(())
                        }
                        Err(e) => Err(e.to_string()),
                    }
                }
                Ok(None) => Err(format!("open queue file {id}: No such file or directory")),
                Err(e) => Err(e.to_string()),
            }
        }
    };
    Ok(done)
}

async fn flush<S: Store>(manager: &Manager<S>, which: Selection) -> Result<(), StoreError> {
    manager.revive();
    apart(manager, |store| queue::block_on(store.control(which, Action::Flush))).await.map(drop)
}

/// Tries what waits for a destination. All that waits is looked at, and of messages to several domains each is read;
/// strangers may ask (ETRN): one at a time.
pub(crate) async fn flush_site<S: Store>(manager: &Manager<S>, site: &str) -> Result<(), String> {
    let Ok(_turn) = manager.looking().acquire().await else { return Ok(()) };
    let site = site.to_string();
    let wanted = site.clone();
    let waits = move |s: &Summary| {
        s.queue == QueueName::Deferred
            && s.envelope.recipients.iter().zip(&s.recipients).any(|(r, state)| {
                !state.settled() && r.address.domain().is_some_and(|d| d.eq_ignore_ascii_case(&wanted))
            })
    };
    let found = apart(manager, move |store| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let (some, last) = queue::block_on(store.deferred_for(&site, after))?;
            ids.extend(some.iter().filter(|s| waits(s)).map(|s| s.id));
            let Some(last) = last else { return Ok(ids) };
            after = Some(last);
        }
    });
    let ids = found.await.map_err(|e| e.to_string())?;
    flush(manager, Selection::Ids(ids)).await.map_err(|e| e.to_string())
}

async fn control<S: Store>(
    manager: &Manager<S>,
    action: control::Action,
    ids: &[String],
    queues: &[Queue],
) -> Result<Vec<QueueId>, StoreError> {
    let (ids, queues) = (ids.to_vec(), queues.to_vec());
    apart(manager, move |store| control_now(store, action, &ids, &queues)).await
}

fn control_now<S: Store>(
    store: &S,
    action: control::Action,
    ids: &[String],
    queues: &[Queue],
) -> Result<Vec<QueueId>, StoreError> {
    let get = |id| queue::block_on(store.get(id));
    let control = |which: &Selection, action| queue::block_on(store.control(which.clone(), action));
    let name = |q: &Queue| match q {
        Queue::Active => QueueName::Active,
        Queue::Incoming => QueueName::Incoming,
        Queue::Deferred => QueueName::Deferred,
        Queue::Hold => QueueName::Hold,
    };
    let mut selections = Vec::new();
    if !ids.is_empty() {
        let mut named: Vec<QueueId> = ids.iter().filter_map(|id| QueueId::parse(id)).collect();
        if !queues.is_empty() {
            let mut kept = Vec::new();
            for id in named {
                if get(id)?.is_some_and(|s| queues.iter().any(|q| name(q) == s.queue)) {
                    kept.push(id);
                }
            }
            named = kept;
        }
        selections.push(Selection::Ids(named));
    } else if queues.is_empty() {
        selections.push(Selection::All(None));
    } else {
        selections.extend(queues.iter().map(|q| Selection::All(Some(name(q)))));
    }
    let mut touched = Vec::new();
    for which in &selections {
        touched.extend(match action {
            control::Action::Hold => control(which, Action::Hold)?,
            control::Action::Release => control(which, Action::Release)?,
            control::Action::Requeue => control(which, Action::Requeue)?,
            control::Action::Delete => control(which, Action::Delete)?,
            control::Action::Expire => control(which, Action::Expire)?,
            control::Action::ExpireRelease => {
                let mut these = control(which, Action::Expire)?;
                these.extend(control(which, Action::Release)?);
                these
            }
        });
    }
    touched.sort_unstable();
    touched.dedup();
    Ok(touched)
}

/// A message as the protocol has it.
pub fn entry(summary: Summary) -> Entry {
    let state = |s: RecipientState| match s {
        RecipientState::Pending => State::Pending,
        RecipientState::Deferred(s) => State::Deferred(s),
        RecipientState::Owed(s) => State::Owed(s),
        RecipientState::Sent(s) => State::Sent(s),
        RecipientState::Bounced(s) => State::Bounced(s),
    };
    Entry {
        id: summary.id.to_string(),
        queue: match summary.queue {
            QueueName::Active => Queue::Active,
            QueueName::Incoming => Queue::Incoming,
            QueueName::Deferred => Queue::Deferred,
            QueueName::Hold => Queue::Hold,
        },
        expired: summary.expired,
        envelope: Arc::unwrap_or_clone(summary.envelope),
        states: summary.recipients.into_iter().map(state).collect(),
        next_attempt: summary.next_attempt,
        tries: summary.tries,
    }
}
