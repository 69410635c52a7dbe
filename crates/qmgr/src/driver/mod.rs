//! The queue manager at work: takes messages from the queue, asks the pure scheduler, starts
//! deliveries, settles what comes back.
//!
//! One task owns the [`Scheduler`] and hears of events through a channel; another takes leases from
//! the store while there is room. Each delivery is a task of its own ([`delivery`]), which settles
//! its recipients before it tells the scheduler that it ended. The last delivery of a message does
//! what remains ([`finish`]): notices, warning, expiry, the next attempt. A recipient that is to
//! be told about is `Owed` on disk until its notice is durable; after a crash [`taking`] finds it
//! and goes on from there.

mod delivery;
mod finish;
mod guard;
mod message;
mod notices;
mod reports;
mod taking;
mod verp;

pub(crate) use notices::piece;

use crate::agent::Agent;
use crate::router::Router;
use crate::schedule::{Action, Event, Scheduler};
use crate::settings::Settings;
use crate::verification::Verification;
use cleanup::Intake;
use message::Message;
use proto::QueueId;
use queue::Store;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Everything that a reload replaces.
pub struct Parts<S: Store> {
    /// The configuration.
    pub settings: Settings,
    /// The door for notices and forwards.
    pub intake: Intake<S>,
    /// Where recipients go.
    pub router: Arc<dyn Router>,
    /// Means of delivery by the program that a transport of master.cf runs, such as `local`.
    /// Programs without one are "not served": their mail waits.
    pub agents: HashMap<String, Arc<dyn Agent>>,
    /// Who hears of probes, and where they go.
    pub verification: Option<Verification>,
}

/// The queue manager. Clones are the same one.
pub struct Manager<S: Store>(Arc<Shared<S>>);

impl<S: Store> Clone for Manager<S> {
    fn clone(&self) -> Self {
        Manager(self.0.clone())
    }
}

struct Shared<S: Store> {
    store: Arc<S>,
    parts: RwLock<Arc<Parts<S>>>,
    inbox: mpsc::UnboundedSender<Note>,
    messages: Arc<Semaphore>,
    recipients: Arc<Semaphore>,
    recipient_limit: u32,
    /// Transports that were warned about.
    warned: Mutex<HashSet<String>>,
    stop: watch::Sender<bool>,
    /// Whoever looks through the whole queue for somebody has this.
    looking: Semaphore,
}

enum Note {
    Event(Event),
    Arrived(Arc<Message>, Vec<crate::schedule::Group>),
    Gone(QueueId),
    Limits(HashMap<String, crate::schedule::Limits>),
    Drain(oneshot::Sender<()>),
}

impl<S: Store> Manager<S> {
    /// Starts it; call inside the runtime.
    pub fn start(store: Arc<S>, parts: Parts<S>) -> Manager<S> {
        let (inbox, notes) = mpsc::unbounded_channel();
        let limit = |n: &i64| u32::try_from(*n).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        let messages = limit(parts.settings.qmgr.qmgr_message_active_limit());
        let recipient_limit = limit(parts.settings.qmgr.qmgr_message_recipient_limit());
        parts.settings.warn();
        let scheduler = Scheduler::new(parts.settings.limits(), messages as usize);
        let shared = Arc::new(Shared {
            store,
            parts: RwLock::new(Arc::new(parts)),
            inbox,
            messages: Arc::new(Semaphore::new(messages as usize)),
            recipients: Arc::new(Semaphore::new(recipient_limit as usize)),
            recipient_limit,
            warned: Mutex::default(),
            stop: watch::Sender::new(false),
            looking: Semaphore::new(1),
        });
        tokio::spawn(guard::vital(schedule(shared.clone(), scheduler, notes)));
        tokio::spawn(guard::vital(taking::run(shared.clone())));
        Manager(shared)
    }

    /// Works with another configuration from now on; deliveries under way end as they began. The
    /// limits of messages and recipients worked on stay those of the start.
    pub fn reload(&self, parts: Parts<S>) {
        parts.settings.warn();
        let limits = parts.settings.limits();
        *self.0.parts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parts);
        lock(&self.0.warned).clear();
        let _ = self.0.inbox.send(Note::Limits(limits));
    }

    /// Starts nothing more and waits for what runs, at most so long.
    pub async fn drain(&self, patience: Duration) {
        let _ = self.0.stop.send(true);
        let (done, wait) = oneshot::channel();
        if self.0.inbox.send(Note::Drain(done)).is_ok() {
            let _ = tokio::time::timeout(patience, wait).await;
        }
    }

    /// The queue.
    pub fn store(&self) -> &Arc<S> {
        &self.0.store
    }

    /// One looks through the whole queue at a time.
    pub(crate) fn looking(&self) -> &Semaphore {
        &self.0.looking
    }

    /// The present configuration.
    pub fn settings(&self) -> Settings {
        self.0.parts().settings.clone()
    }

    /// Whether mail that waits for a destination may be tried at anybody's wish.
    pub fn flushable(&self, site: &str) -> Result<bool, String> {
        self.0.parts().router.flushable(bare(site))
    }

    /// Tries what waits for a destination (`postqueue -s`, ETRN).
    pub async fn flush_site(&self, site: &str) -> Result<(), String> {
        crate::showq::flush_site(self, bare(site)).await
    }

    /// Something is about to be flushed: dead destinations are tried again.
    pub fn revive(&self) {
        let _ = self.0.inbox.send(Note::Event(Event::Revive));
    }
}

/// `[host]` and `host` are one destination.
fn bare(site: &str) -> &str {
    site.trim_start_matches('[').trim_end_matches(']')
}

impl<S: Store> Shared<S> {
    fn parts(&self) -> Arc<Parts<S>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says once that a transport cannot be had.
    fn first_time(&self, transport: &str) -> bool {
        lock(&self.warned).insert(transport.to_string())
    }
}

/// So many notes are taken at a time; a timer is set between, not for each.
const TOGETHER: usize = 64;

/// The one owner of the scheduler.
async fn schedule<S: Store>(
    shared: Arc<Shared<S>>,
    mut scheduler: Scheduler,
    mut notes: mpsc::UnboundedReceiver<Note>,
) {
    let mut active: HashMap<QueueId, Arc<Message>> = HashMap::new();
    let mut draining: Vec<oneshot::Sender<()>> = Vec::new();
    let mut heard = Vec::new();
    // What was put off for a minute must not wait for a year because the clock was set back.
    let (started, origin) = (std::time::Instant::now(), sys::time::now_micros());
    let clock = || origin.saturating_add(started.elapsed().as_micros() as u64);
    loop {
        if heard.is_empty() {
            match scheduler.wake_at() {
                None => _ = notes.recv_many(&mut heard, TOGETHER).await,
                Some(at) => {
                    let pause = Duration::from_micros(at.saturating_sub(clock()));
                    tokio::select! {
                        n = notes.recv_many(&mut heard, TOGETHER) => if n == 0 { return },
                        () = tokio::time::sleep(pause) => heard.push(Note::Event(Event::Tick)),
                    }
                }
            }
            heard.reverse();
        }
        let Some(note) = heard.pop() else { return };
        let now = clock();
        let actions = match note {
            Note::Event(event) => scheduler.on(event, now),
            Note::Arrived(..) if !draining.is_empty() => Vec::new(),
            Note::Arrived(message, groups) => {
                let (id, size) = (message.id, message.envelope.size);
                active.insert(id, message);
                scheduler.on(Event::Arrived(id, size, groups), now)
            }
            Note::Gone(id) => {
                active.remove(&id);
                scheduler.on(Event::Forget(id), now)
            }
            Note::Limits(limits) => {
                scheduler.set_limits(limits);
                Vec::new()
            }
            Note::Drain(done) => {
                draining.push(done);
                Vec::new()
            }
        };
        for action in actions {
            match action {
                Action::Start { delivery, id, transport, nexthop, recipients, with, followed } => {
                    let message = active.get(&id).filter(|_| draining.is_empty());
                    let Some(message) = message.cloned() else {
                        let feedback = crate::schedule::destination::Feedback::Nothing;
                        let _ = shared.inbox.send(Note::Event(Event::Finished {
                            delivery,
                            feedback,
                            mailbox: None,
                        }));
                        continue;
                    };
                    let others = with.into_iter().filter_map(|(id, recipients)| {
                        Some(delivery::Parcel { message: active.get(&id)?.clone(), recipients })
                    });
                    let mut parcels = vec![delivery::Parcel { message, recipients }];
                    parcels.extend(others);
                    let work = delivery::Work { delivery, transport, nexthop, parcels, followed };
                    tokio::spawn(delivery::work_off(shared.clone(), work));
                }
                Action::Defer { id, recipients, status } => {
                    if let Some(message) = active.get(&id).cloned() {
                        let (shared, after) = (shared.clone(), message.clone());
                        tokio::spawn(async move {
                            let (id, arrival) = (after.id, after.envelope.arrival);
                            let work = delivery::defer(shared.clone(), message, recipients, status);
                            if guard::guarded(id, work).await.is_none() {
                                guard::give_up(&shared, id, arrival, Some(&after)).await;
                            }
                        });
                    }
                }
            }
        }
        if scheduler.running() == 0 {
            for done in draining.iter_mut() {
                let (unused, _) = oneshot::channel();
                let _ = std::mem::replace(done, unused).send(());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
