//! A message that is worked on.

use super::lock;
use crate::bounce::notice::Reported;
use crate::bounce::template::Kind;
use proto::envelope::{Envelope, Notify, Trace};
use proto::job::Action;
use proto::status::Status;
use proto::{Address, QueueId};
use queue::{Body, RecipientState, Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedSemaphorePermit;

/// Something that somebody is to be told about a recipient.
#[derive(Clone, Debug)]
pub struct News {
    /// Place in the envelope.
    pub place: usize,
    /// Failure or success.
    pub kind: Kind,
    /// What happened.
    pub reported: Reported,
}

/// A content of so many bytes takes a while to read.
const LONG: u64 = 128 * 1024;

/// One lease.
pub struct Message {
    /// Its name.
    pub id: QueueId,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// When it was taken up.
    pub active: u64,
    /// A delay warning was sent before.
    pub delay_warned: bool,
    /// What is reported to the sender about this attempt: `sendmail -v` means the first alone.
    pub trace: Trace,
    progress: Mutex<Progress>,
    _places: Vec<OwnedSemaphorePermit>,
}

struct Progress {
    remaining: usize,
    gone: bool,
    states: Vec<RecipientState>,
    /// Addresses after transport resolution.
    resolved: HashMap<usize, Address>,
    /// Transports that a recipient was passed to.
    passed: Vec<(usize, String)>,
    news: Vec<News>,
}

impl Message {
    /// A message with recipients in these states, of which `remaining` are to be delivered.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        id: QueueId,
        envelope: Arc<Envelope>,
        active: u64,
        delay_warned: bool,
        trace: Trace,
        states: Vec<RecipientState>,
        resolved: HashMap<usize, Address>,
        news: Vec<News>,
        places: Vec<OwnedSemaphorePermit>,
    ) -> Message {
        let remaining = resolved.len();
        let progress = Progress { remaining, gone: false, states, resolved, passed: Vec::new(), news };
        Message { id, envelope, active, delay_warned, trace, progress: Mutex::new(progress), _places: places }
    }

    /// The content. Whoever needs it holds it, and nobody else: messages that wait for their
    /// turn are many. The store gives those who need it at the same time the same bytes.
    pub async fn body<S: Store>(&self, store: &Arc<S>) -> Result<Body, StoreError> {
        if self.envelope.size < LONG {
            return store.body(self.id).await;
        }
        // It may have to be read from the disk, and others must go on meanwhile.
        let (store, id) = (store.clone(), self.id);
        let read = tokio::task::spawn_blocking(move || queue::block_on(store.body(id)));
        read.await.unwrap_or_else(|_| Err(StoreError::Failing("the content could not be read".into())))
    }

    /// The address after transport resolution.
    pub fn resolved(&self, place: usize) -> Address {
        let progress = lock(&self.progress);
        let known = progress.resolved.get(&place).cloned();
        drop(progress);
        known.or_else(|| self.envelope.recipients.get(place).map(|r| r.address.clone())).unwrap_or_default()
    }

    /// A recipient goes on by another transport; false when it was there before.
    pub fn pass(&self, place: usize, transport: &str) -> bool {
        let mut progress = lock(&self.progress);
        let mark = (place, transport.to_string());
        if progress.passed.contains(&mark) {
            return false;
        }
        progress.passed.push(mark);
        true
    }

    /// Keeps what became of recipients, and what is to be told about them.
    pub fn keep(&self, states: &[(usize, RecipientState)], news: Vec<News>) {
        let mut progress = lock(&self.progress);
        for (place, state) in states {
            if let Some(old) = progress.states.get_mut(*place) {
                *old = state.clone();
            }
        }
        progress.news.extend(news);
    }

    /// So many recipients need no more delivery; true when none is left.
    pub fn done(&self, n: usize) -> bool {
        let mut progress = lock(&self.progress);
        progress.remaining = progress.remaining.saturating_sub(n);
        progress.remaining == 0
    }

    /// An administrator deleted it, or it is no longer ours.
    pub fn set_gone(&self) {
        lock(&self.progress).gone = true;
    }

    /// See [`Message::set_gone`].
    pub fn is_gone(&self) -> bool {
        lock(&self.progress).gone
    }

    /// Looks at the states of all recipients.
    pub fn states<T>(&self, look: impl FnOnce(&[RecipientState]) -> T) -> T {
        look(&lock(&self.progress).states)
    }

    /// Takes what is to be told, in the order of the recipients' addresses whoever was done first.
    pub fn take_news(&self) -> Vec<News> {
        let mut news = std::mem::take(&mut lock(&self.progress).news);
        let address = |n: &News| self.envelope.recipients.get(n.place).map(|r| r.address.to_string());
        news.sort_by_cached_key(|n| address(n).map(|a| a.to_ascii_lowercase()));
        news
    }

    /// NOTIFY of a recipient.
    pub fn notify(&self, place: usize) -> Notify {
        self.envelope.recipients.get(place).map(|r| r.notify).unwrap_or_default()
    }

    /// A report about a recipient itself, not about where an alias led.
    pub fn report(&self, place: usize, status: Status, action: Action) -> Reported {
        let recipient = self.envelope.recipients.get(place);
        Reported {
            to: recipient.map(|r| r.address.clone()).unwrap_or_default(),
            original: recipient.map(|r| r.original.clone()).unwrap_or_default(),
            orcpt: recipient.and_then(|r| r.dsn_orcpt.clone()),
            status,
            action,
        }
    }
}
