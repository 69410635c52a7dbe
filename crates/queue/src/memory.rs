//! The queue in memory, for tests of other crates: the same rules as the disk store, nothing
//! durable. Its clock can be moved forward, so that tests of retries need no patience.

use crate::ledger::{self, Choice, Ledger, Plan, Touched};
use crate::store::{Action, Body, Counts, Draft, Health, Leased, Selection, Store, StoreError, Summary};
use crate::{Outcome, RecipientState};
use proto::QueueId;
use proto::envelope::Envelope;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

struct Message {
    envelope: Arc<Envelope>,
    recipients: Vec<RecipientState>,
    body: Arc<Vec<u8>>,
}

#[derive(Default)]
struct Inner {
    ledger: Ledger<Message>,
    last_id: u64,
    ahead: u64,
    health: Option<StoreError>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// A queue in memory. Clones are the same queue.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty queue.
    pub fn new() -> MemoryStore {
        let shared = Arc::new(Shared::default());
        let weak = Arc::downgrade(&shared);
        // Wakes `lease` when the next message becomes due; looks now and then whether the store
        // is still there.
        std::thread::spawn(move || {
            while let Some(shared) = weak.upgrade() {
                let mut inner = shared.lock();
                let now = inner.now();
                let woken = inner.ledger.woken(now);
                let wait = match inner.ledger.next_due() {
                    Some(next) if inner.ledger.awaited() => Duration::from_micros(next.saturating_sub(now)),
                    _ => Duration::MAX,
                };
                let closed = inner.ledger.closed;
                if woken.is_empty() && !closed {
                    let wait = wait.min(Duration::from_millis(200));
                    drop(shared.changed.wait_timeout(inner, wait));
                } else {
                    drop(inner);
                    woken.into_iter().for_each(|w| w.wake());
                }
                if closed {
                    return;
                }
            }
        });
        MemoryStore { shared }
    }

    /// Moves the clock of this store forward: what is due within `by` becomes due now.
    pub fn advance(&self, by: Duration) {
        self.shared.lock().ahead += by.as_micros() as u64;
        self.shared.changed.notify_all();
    }

    /// Its clock, microseconds since 1970.
    pub fn now(&self) -> u64 {
        self.shared.lock().now()
    }

    /// From now on drafts are refused for this reason; `None` takes mail again.
    pub fn refuse(&self, why: Option<StoreError>) {
        self.shared.lock().health = why;
    }

    fn summary(id: QueueId, ledger: &Ledger<Message>) -> Option<Summary> {
        let entry = ledger.get(id)?;
        Some(Summary {
            id,
            queue: entry.queue(),
            expired: entry.plan.has(Plan::EXPIRED),
            envelope: entry.place.envelope.clone(),
            recipients: entry.place.recipients.clone(),
            next_attempt: entry.plan.next,
            tries: entry.plan.tries,
            delay_warned: entry.plan.has(Plan::WARNED),
        })
    }

    fn open(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.shared.lock();
        if inner.ledger.closed { Err(StoreError::Failing("the queue is closed".into())) } else { Ok(inner) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Inner {
    fn now(&self) -> u64 {
        sys::time::now_micros() + self.ahead
    }
}

struct Lease<'a> {
    shared: &'a Shared,
    n: usize,
}

impl Future for Lease<'_> {
    type Output = Vec<Leased>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Leased>> {
        let mut inner = self.shared.lock();
        if inner.ledger.closed {
            return Poll::Ready(Vec::new());
        }
        let now = inner.now();
        let due = inner.ledger.take_due(now, self.n);
        if due.is_empty() {
            inner.ledger.wait(context.waker());
            self.shared.changed.notify_all();
            return Poll::Pending;
        }
        let leased = due.into_iter().filter_map(|id| {
            let entry = inner.ledger.get(id)?;
            Some(Leased {
                id,
                envelope: entry.place.envelope.clone(),
                recipients: entry.place.recipients.clone(),
                tries: entry.plan.tries,
                crashes: entry.plan.crashes,
                delay_warned: entry.plan.has(Plan::WARNED),
                expired: entry.plan.has(Plan::EXPIRED),
                requeued: entry.plan.has(Plan::REQUEUED),
                flushed: entry.plan.has(Plan::FLUSHED),
                leased_at: now,
            })
        });
        Poll::Ready(leased.collect())
    }
}

impl Store for MemoryStore {
    type Draft = MemoryDraft;

    fn new_id(&self) -> QueueId {
        let mut inner = self.shared.lock();
        inner.last_id = QueueId::at(inner.now()).0.max(inner.last_id + 1);
        QueueId(inner.last_id)
    }

    fn draft(&self, id: QueueId, _size_hint: u64) -> Result<MemoryDraft, StoreError> {
        match self.open()?.health.clone() {
            Some(why) => Err(why),
            None => Ok(MemoryDraft { store: self.clone(), id, body: Vec::new() }),
        }
    }

    fn lease(&self, n: usize) -> impl Future<Output = Vec<Leased>> + Send {
        Lease { shared: &self.shared, n }
    }

    async fn body(&self, id: QueueId) -> Result<Body, StoreError> {
        let inner = self.open()?;
        inner.ledger.get(id).map(|e| Body::Memory(e.place.body.clone())).ok_or(StoreError::LeaseLost)
    }

    async fn settle(&self, id: QueueId, outcome: Outcome, keep: bool) -> Result<(), StoreError> {
        let mut inner = self.open()?;
        if !inner.ledger.get(id).is_some_and(|e| e.leased) {
            return Err(StoreError::LeaseLost);
        }
        let gone = inner
            .ledger
            .change(id, |e| {
                ledger::apply(&mut e.place.recipients, &outcome)?;
                let owed = e.place.recipients.iter().any(|r| matches!(r, RecipientState::Owed(_)));
                e.plan = ledger::after_settling(e.plan, &outcome, keep, e.hurry, owed);
                if let Some(new) = outcome.envelope {
                    e.place.envelope = Arc::new(*new);
                }
                if !keep {
                    e.leased = false;
                    e.hurry = false;
                }
                Ok(e.place.recipients.iter().all(RecipientState::settled))
            })
            .unwrap_or(Err(StoreError::LeaseLost))?;
        if gone {
            inner.ledger.remove(id);
        }
        self.shared.changed.notify_all();
        Ok(())
    }

    async fn blame(&self, id: QueueId) -> Result<u8, StoreError> {
        let mut inner = self.open()?;
        let count = inner.ledger.change(id, |e| {
            e.plan.crashes = e.plan.crashes.saturating_add(1);
            if e.plan.crashes >= 2 {
                e.plan.set(Plan::HELD, true);
            }
            e.plan.crashes
        });
        count.ok_or(StoreError::LeaseLost)
    }

    async fn list(&self, after: Option<QueueId>, n: usize) -> Result<Vec<Summary>, StoreError> {
        let inner = self.open()?;
        let page = inner.ledger.page(after, n);
        Ok(page.into_iter().filter_map(|id| Self::summary(id, &inner.ledger)).collect())
    }

    async fn get(&self, id: QueueId) -> Result<Option<Summary>, StoreError> {
        Ok(Self::summary(id, &self.open()?.ledger))
    }

    async fn control(&self, which: Selection, action: Action) -> Result<Vec<QueueId>, StoreError> {
        let mut inner = self.open()?;
        let now = inner.now();
        let mut touched = inner.ledger.chosen(&mut Choice::of(&which, QueueId(u64::MAX)), usize::MAX);
        touched.retain(|id| match inner.ledger.control(*id, action, now) {
            Some(Touched::Planned | Touched::Removed(_)) => true,
            None => false,
        });
        self.shared.changed.notify_all();
        Ok(touched)
    }

    fn counts(&self) -> Counts {
        self.shared.lock().ledger.counts()
    }

    fn health(&self) -> Health {
        match self.open().and_then(|i| i.health.clone().map_or(Ok(()), Err)) {
            Ok(()) => Health::Open { free: 1 << 40 },
            Err(why) => Health::Closed(why),
        }
    }

    async fn close(&self) {
        self.shared.lock().ledger.closed = true;
        self.shared.changed.notify_all();
    }
}

/// A message being written into a [`MemoryStore`].
pub struct MemoryDraft {
    store: MemoryStore,
    id: QueueId,
    body: Vec<u8>,
}

impl Draft for MemoryDraft {
    async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.body.extend_from_slice(chunk);
        Ok(())
    }

    async fn commit(self, envelope: Envelope) -> Result<QueueId, StoreError> {
        let mut inner = self.store.open()?;
        let mut plan = Plan::default();
        plan.set(Plan::HELD, envelope.hold);
        let recipients = vec![RecipientState::Pending; envelope.recipients.len()];
        let message = Message { envelope: Arc::new(envelope), recipients, body: self.body.into() };
        inner.ledger.insert(self.id, plan, message);
        drop(inner);
        self.store.shared.changed.notify_all();
        Ok(self.id)
    }
}

#[cfg(test)]
mod tests;
