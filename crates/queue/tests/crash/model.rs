//! What must be there: every acknowledged message, in one of the states that it may be in after a
//! crash. It knows nothing of how the store works, only what each call promises.

use proto::envelope::Envelope;
use proto::{Address, QueueId};
use queue::disk::draft::Committing;
use queue::{Action, Outcome, QueueName, RecipientState, Summary};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a listing shows of a message.
#[derive(Clone, PartialEq)]
pub struct View {
    pub recipients: Vec<RecipientState>,
    pub addresses: usize,
    pub held: bool,
    pub expired: bool,
    pub warned: bool,
    pub tries: u32,
    /// Where it is known.
    pub next: Option<u64>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for state in &self.recipients {
            match state {
                RecipientState::Pending => f.write_str("P ")?,
                RecipientState::Deferred(s) => write!(f, "D{} ", s.text.len())?,
                RecipientState::Owed(s) => write!(f, "O{} ", s.text.len())?,
                RecipientState::Sent(s) => write!(f, "S{} ", s.text.len())?,
                RecipientState::Bounced(s) => write!(f, "B{} ", s.text.len())?,
            }
        }
        let flag = |on, name| if on { name } else { "" };
        let flags =
            [flag(self.held, " held"), flag(self.expired, " expired"), flag(self.warned, " warned")].concat();
        write!(f, "of {}{flags}, {} tries, next {:?}", self.addresses, self.tries, self.next)
    }
}

impl View {
    pub fn fresh(envelope: &Envelope) -> View {
        View {
            recipients: vec![RecipientState::Pending; envelope.recipients.len()],
            addresses: envelope.recipients.len(),
            held: envelope.hold,
            expired: false,
            warned: false,
            tries: 0,
            next: None,
        }
    }

    pub fn of(s: &Summary) -> View {
        View {
            recipients: s.recipients.clone(),
            addresses: s.envelope.recipients.len(),
            held: s.queue == QueueName::Hold,
            expired: s.expired,
            warned: s.delay_warned,
            tries: s.tries,
            next: Some(s.next_attempt),
        }
    }

    /// Whether this is what was expected. A fresh message, and one that is owed something, is due
    /// at once after a start.
    fn is(&self, expected: &View) -> bool {
        let owed = expected.recipients.iter().any(|r| matches!(r, RecipientState::Owed(_)));
        let any = expected.next.is_none() || expected.tries == 0 || owed;
        View { next: None, ..self.clone() } == View { next: None, ..expected.clone() }
            && (any || self.next == expected.next)
    }

    /// After `action`.
    pub fn controlled(&self, action: Action) -> Option<View> {
        let mut view = self.clone();
        match action {
            Action::Hold => view.held = true,
            Action::Release => (view.held, view.next) = (false, None),
            Action::Requeue => (view.held, view.expired, view.next) = (false, false, None),
            Action::Expire => view.expired = true,
            Action::Flush => view.next = None,
            Action::Delete => return None,
        }
        Some(view)
    }

    /// After a lease ended or went on with `outcome`.
    pub fn settled(&self, outcome: &Outcome, keep: bool) -> Option<View> {
        let mut view = self.clone();
        if let Some(envelope) = &outcome.envelope {
            view.addresses = envelope.recipients.len();
            view.recipients = vec![RecipientState::Pending; view.addresses];
        }
        for (i, state) in &outcome.recipients {
            if !view.recipients[*i].settled() {
                view.recipients[*i] = state.clone();
            }
        }
        view.warned |= outcome.delay_warned;
        view.next = outcome.next_attempt.or(view.next);
        if !keep && (!outcome.recipients.is_empty() || outcome.next_attempt.is_some()) {
            view.tries += 1;
        }
        (!view.recipients.iter().all(RecipientState::settled)).then_some(view)
    }
}

pub struct Message {
    pub body: Arc<[u8]>,
    pub sender: Address,
    /// States it may be in after a crash; `None` is gone. The last is what it is in now.
    pub versions: Vec<Option<View>>,
    /// How many older ones were dropped.
    dropped: u64,
    /// The oldest that a killed process may leave, as a number.
    written: u64,
    pub leased: bool,
    /// A requeue while it was leased makes it due when that ends.
    pub hurry: bool,
    /// Calls under way that change it; and which version was the last when the first began.
    busy: u32,
    window: u64,
    pub controlled: bool,
    /// How often a call began or ended.
    pub touched: u64,
}

impl Message {
    pub fn new(body: Arc<[u8]>, sender: Address, view: View) -> Message {
        Message {
            body,
            sender,
            versions: vec![Some(view)],
            dropped: 0,
            written: 0,
            leased: false,
            hurry: false,
            busy: 0,
            window: 0,
            controlled: false,
            touched: 0,
        }
    }

    pub fn now(&self) -> Option<&View> {
        self.versions.last().and_then(Option::as_ref)
    }

    pub fn gone(&self) -> bool {
        self.versions.last() == Some(&None)
    }

    pub fn idle(&self) -> bool {
        self.busy == 0
    }

    /// The first version that it can be in at this moment.
    fn possible(&self) -> u64 {
        if self.busy > 0 { self.window } else { self.dropped + self.versions.len() as u64 - 1 }
    }

    /// A call begins that may change it so. In which order two calls at once come does not matter
    /// to the result, but each may be on disk without the other.
    pub fn begin(&mut self, how: impl Fn(&View) -> Option<View>) {
        let first = self.possible();
        (self.window, self.busy) = (first, self.busy + 1);
        self.touched += 1;
        let now = self.versions[(first - self.dropped) as usize..].to_vec();
        self.versions.extend(now.iter().map(|v| v.as_ref().and_then(&how)));
    }

    pub fn end(&mut self) {
        self.busy -= 1;
        self.touched += 1;
    }

    /// Some things about it are no longer known.
    pub fn unsure(&mut self, how: impl Fn(&View) -> View) {
        let new = self.versions.last().cloned().flatten().map(|v| how(&v));
        if new.is_some() && self.versions.last() != Some(&new) {
            self.versions.push(new);
        }
    }

    /// What came before the version of that number is history.
    fn settle(&mut self, first: u64) {
        let n = first.saturating_sub(self.dropped).min(self.versions.len() as u64 - 1);
        self.versions.drain(..n as usize);
        self.dropped += n;
    }
}

/// Which version of each message is the oldest that may still be found, once something succeeds.
pub type Marks = Vec<(QueueId, u64)>;

pub struct Waiting {
    pub id: QueueId,
    pub answer: Pin<Box<Committing>>,
    pub body: Arc<[u8]>,
    pub envelope: Envelope,
}

type Promise = (Pin<Box<dyn Future<Output = Option<bool>> + Send>>, Marks);

#[derive(Default)]
pub struct Model {
    pub messages: BTreeMap<QueueId, Message>,
    pub waiting: Vec<Waiting>,
    /// Answers to administrators that are still to come.
    pub promises: Vec<Promise>,
    /// Never acknowledged: may turn up after a crash, whole, or not.
    pub doubtful: BTreeMap<QueueId, (Arc<[u8]>, Envelope)>,
    /// Surely gone.
    pub buried: BTreeSet<QueueId>,
    pub acknowledged: u64,
    pub promised: u64,
}

impl Model {
    pub fn marks(&self) -> Marks {
        self.messages.iter().map(|(id, m)| (*id, m.possible())).collect()
    }

    /// What was so then is durable.
    pub fn durable(&mut self, marks: &Marks) {
        for (id, first) in marks {
            if let Some(message) = self.messages.get_mut(id) {
                message.settle(*first);
            }
        }
        self.bury();
    }

    /// What was so then is in files, from which only the power can take it.
    pub fn written(&mut self, marks: &Marks) {
        for (id, first) in marks {
            if let Some(message) = self.messages.get_mut(id) {
                message.written = message.written.max(*first);
            }
        }
    }

    /// The power went, or files may not say what was written to them.
    pub fn unwritten(&mut self) {
        self.messages.values_mut().for_each(|m| m.written = 0);
    }

    /// Forgets what is surely gone, but for its name.
    fn bury(&mut self) {
        let gone = self.messages.iter().filter(|(_, m)| m.versions.iter().all(Option::is_none) && m.idle());
        self.buried.extend(gone.map(|(id, _)| *id).collect::<Vec<_>>());
        self.messages.retain(|id, _| !self.buried.contains(id));
    }

    /// Takes the answers that have come.
    pub fn answers(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for mut waiting in std::mem::take(&mut self.waiting) {
            match waiting.answer.as_mut().poll(&mut context) {
                Poll::Pending => self.waiting.push(waiting),
                Poll::Ready(Some(Ok(id))) => {
                    assert_eq!(id, waiting.id);
                    self.acknowledged += 1;
                    self.doubtful.remove(&id);
                    let view = View::fresh(&waiting.envelope);
                    let message = Message::new(waiting.body, waiting.envelope.sender, view);
                    self.messages.insert(id, message);
                }
                Poll::Ready(_) => {}
            }
        }
        for (mut answer, marks) in std::mem::take(&mut self.promises) {
            match answer.as_mut().poll(&mut context) {
                Poll::Pending => self.promises.push((answer, marks)),
                Poll::Ready(Some(true)) => {
                    self.promised += 1;
                    self.durable(&marks);
                }
                Poll::Ready(_) => {}
            }
        }
    }

    /// Nothing of the last process goes on.
    pub fn ended(&mut self) {
        self.answers();
        self.waiting.clear();
        self.promises.clear();
        for message in self.messages.values_mut() {
            (message.leased, message.hurry, message.busy, message.controlled) = (false, false, 0, false);
        }
    }

    /// Compares with all that a start found.
    pub fn compare(&mut self, seen: &BTreeMap<QueueId, Summary>) {
        for (id, message) in &mut self.messages {
            message.settle(message.written);
            let view = seen.get(id).map(View::of);
            let fits = |expected: &Option<View>| match (&view, expected) {
                (Some(view), Some(expected)) => view.is(expected),
                (None, None) => true,
                _ => false,
            };
            assert!(
                message.versions.iter().any(fits),
                "{id} is {view:?}, which is none of {:#?}",
                message.versions
            );
            message.dropped += message.versions.len() as u64;
            message.versions = vec![view];
        }
        self.bury();
        for (id, summary) in seen {
            if !self.messages.contains_key(id) {
                assert!(!self.buried.contains(id), "{id} is back from the dead");
                let found = self.doubtful.remove(id);
                let (body, envelope) = found.unwrap_or_else(|| panic!("{id} is invented"));
                assert_eq!(envelope, *summary.envelope);
                self.messages.insert(*id, Message::new(body, envelope.sender, View::of(summary)));
            }
        }
        self.doubtful.clear();
    }
}
