//! Which message is where, and due when: the index and the schedule of a queue, in memory. Reads
//! no clock, touches no file; what it costs per deferred message is an [`Entry`] and a line in the
//! schedule. `P` is where the store keeps the rest.

use crate::store::{Action, Counts, QueueName, Selection};
use proto::QueueId;
use proto::envelope::Envelope;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::task::Waker;

/// What is planned for a message; on disk a part of every state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Due at, microseconds since 1970.
    pub next: u64,
    /// How many leases ended with a result.
    pub tries: u32,
    /// How often a worker died over it.
    pub crashes: u8,
    /// A set of the constants below.
    pub flags: u8,
    /// What [`site`] makes of the domain that all recipients have; zero where they have several, and where it is not
    /// known.
    pub site: u16,
}

/// A number for a domain, never zero: few others have the same.
pub fn site(domain: &str) -> u16 {
    let domain = domain.to_ascii_lowercase();
    let sum = crc32fast::hash(domain.as_bytes());
    ((sum ^ (sum >> 16)) as u16).max(1)
}

/// What a plan says of these recipients.
pub fn site_of(envelope: &Envelope) -> u16 {
    let mut sites = envelope.recipients.iter().map(|r| r.address.domain().map(site));
    let Some(Some(first)) = sites.next() else { return 0 };
    if sites.all(|other| other == Some(first)) { first } else { 0 }
}

impl Plan {
    /// On hold.
    pub const HELD: u8 = 1;
    /// To be bounced at the next attempt.
    pub const EXPIRED: u8 = 2;
    /// Addresses go through rewriting again.
    pub const REQUEUED: u8 = 4;
    /// A delay warning was sent.
    pub const WARNED: u8 = 8;
    /// Some recipient is owed a notice.
    pub const OWED: u8 = 16;
    /// Flushed, and not tried since.
    pub const FLUSHED: u8 = 32;

    /// Whether `flag` is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sets or clears `flag`.
    pub fn set(&mut self, flag: u8, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Entry<P> {
    /// Its plan.
    pub plan: Plan,
    /// Given to a caller of `lease`.
    pub leased: bool,
    /// A requeue was asked for while it was leased: due as soon as the lease ends.
    pub hurry: bool,
    /// Where the store keeps it.
    pub place: P,
}

impl<P> Entry<P> {
    /// Which queue it shows up in.
    pub fn queue(&self) -> QueueName {
        if self.plan.has(Plan::HELD) {
            QueueName::Hold
        } else if self.leased {
            QueueName::Active
        } else if self.plan.tries == 0 {
            QueueName::Incoming
        } else {
            QueueName::Deferred
        }
    }

    fn scheduled(&self) -> bool {
        !self.leased && !self.plan.has(Plan::HELD)
    }
}

/// What [`Ledger::control`] did to a message.
pub enum Touched<P> {
    /// Its plan is now this.
    Planned,
    /// It is gone; this is where it was.
    Removed(Entry<P>),
}

/// What remains of a [`Selection`] that is worked through in slices, so that others get a turn between.
pub enum Choice {
    /// These, in id order.
    Ids(std::vec::IntoIter<QueueId>),
    /// Those after one name, up to another, in one queue or any.
    All {
        /// The queue.
        queue: Option<QueueName>,
        /// The last that was looked at.
        after: Option<QueueId>,
        /// What arrives while it goes on is not meant.
        upto: QueueId,
    },
    /// It is done.
    Nothing,
}

impl Choice {
    /// All of it.
    pub fn of(which: &Selection, upto: QueueId) -> Choice {
        match which {
            Selection::Ids(ids) => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids.dedup();
                Choice::Ids(ids.into_iter())
            }
            Selection::All(queue) => Choice::All { queue: *queue, after: None, upto },
        }
    }
}

/// The index and the schedule.
pub struct Ledger<P> {
    entries: BTreeMap<QueueId, Entry<P>>,
    schedule: BTreeSet<(u64, QueueId)>,
    counts: Counts,
    waiting: Vec<Waker>,
    /// The store takes no more calls.
    pub closed: bool,
}

impl<P> Default for Ledger<P> {
    fn default() -> Self {
        Ledger {
            entries: BTreeMap::new(),
            schedule: BTreeSet::new(),
            counts: Counts::default(),
            waiting: Vec::new(),
            closed: false,
        }
    }
}

impl<P> Ledger<P> {
    /// Adds a message, replacing one of the same name.
    pub fn insert(&mut self, id: QueueId, plan: Plan, place: P) {
        self.remove(id);
        let entry = Entry { plan, leased: false, hurry: false, place };
        *count(&mut self.counts, entry.queue()) += 1;
        if entry.scheduled() {
            self.schedule.insert((plan.next, id));
        }
        self.entries.insert(id, entry);
    }

    /// The message of that name.
    pub fn get(&self, id: QueueId) -> Option<&Entry<P>> {
        self.entries.get(&id)
    }

    /// Takes it out.
    pub fn remove(&mut self, id: QueueId) -> Option<Entry<P>> {
        let entry = self.entries.remove(&id)?;
        *count(&mut self.counts, entry.queue()) -= 1;
        self.schedule.remove(&(entry.plan.next, id));
        Some(entry)
    }

    /// Changes one message and keeps schedule and counts right. `None` when there is none.
    pub fn change<R>(&mut self, id: QueueId, how: impl FnOnce(&mut Entry<P>) -> R) -> Option<R> {
        let entry = self.entries.get_mut(&id)?;
        *count(&mut self.counts, entry.queue()) -= 1;
        if entry.scheduled() {
            self.schedule.remove(&(entry.plan.next, id));
        }
        let result = how(entry);
        *count(&mut self.counts, entry.queue()) += 1;
        if entry.scheduled() {
            self.schedule.insert((entry.plan.next, id));
        }
        Some(result)
    }

    /// Leases up to `n` messages that are due.
    pub fn take_due(&mut self, now: u64, n: usize) -> Vec<QueueId> {
        let due: Vec<QueueId> =
            self.schedule.iter().take_while(|(next, _)| *next <= now).take(n).map(|(_, id)| *id).collect();
        for id in &due {
            self.change(*id, |e| e.leased = true);
        }
        due
    }

    /// When the next message becomes due.
    pub fn next_due(&self) -> Option<u64> {
        self.schedule.first().map(|(next, _)| *next)
    }

    /// Whoever waits in `lease` is to be woken when something is due.
    pub fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|w| w.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// Those to wake because something is due or the store is closed. To be woken without lock.
    #[must_use]
    pub fn woken(&mut self, now: u64) -> Vec<Waker> {
        if self.closed || self.next_due().is_some_and(|next| next <= now) {
            std::mem::take(&mut self.waiting)
        } else {
            Vec::new()
        }
    }

    /// Whether anybody waits.
    pub fn awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many are in each queue.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Names after `after` of deferred messages that may have recipients at a site, looking at `most`; and the last that was
    /// looked at, if there was one.
    pub fn sited(&self, after: Option<QueueId>, site: u16, most: usize) -> (Vec<QueueId>, Option<QueueId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut found, mut last) = (Vec::new(), None);
        for (id, entry) in self.entries.range((from, Bound::Unbounded)).take(most) {
            last = Some(*id);
            if entry.queue() == QueueName::Deferred && [0, site].contains(&entry.plan.site) {
                found.push(*id);
            }
        }
        (found, last)
    }

    /// Names after `after`, at most `n`.
    pub fn page(&self, after: Option<QueueId>, n: usize) -> Vec<QueueId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((from, Bound::Unbounded)).take(n).map(|(id, _)| *id).collect()
    }

    /// Those of these names, both included, in id order.
    pub fn within(&self, first: QueueId, last: QueueId) -> impl Iterator<Item = (QueueId, &Entry<P>)> {
        self.entries.range(first..=last.max(first)).map(|(id, entry)| (*id, entry))
    }

    /// Their places, which may change: schedule and counts know nothing of them.
    pub fn places(&mut self, first: QueueId, last: QueueId) -> impl Iterator<Item = (QueueId, &mut P)> {
        self.entries.range_mut(first..=last.max(first)).map(|(id, entry)| (*id, &mut entry.place))
    }

    /// The same in less memory, after many were put in at once: a tree that grew has nodes that are half
    /// empty. `between` is called when nothing but a list of them is left: new nodes in the places of old
    /// ones would keep all their pages.
    pub fn pack(&mut self, between: impl FnOnce()) {
        let entries: Vec<_> = std::mem::take(&mut self.entries).into_iter().collect();
        let schedule: Vec<_> = std::mem::take(&mut self.schedule).into_iter().collect();
        between();
        self.entries = entries.into_iter().collect();
        self.schedule = schedule.into_iter().collect();
    }

    /// The messages chosen, in id order, a slice at a time: at most `most` are looked at. `rest` is what
    /// remains to be asked, which is nothing after the last slice.
    pub fn chosen(&self, rest: &mut Choice, most: usize) -> Vec<QueueId> {
        match rest {
            Choice::Ids(ids) => {
                let these: Vec<QueueId> = ids.by_ref().take(most).collect();
                if ids.as_slice().is_empty() {
                    *rest = Choice::Nothing;
                }
                these.into_iter().filter(|id| self.entries.contains_key(id)).collect()
            }
            Choice::All { queue, after, upto } => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                // A range that ends before it begins is none.
                let some = after.is_none_or(|after| after < *upto);
                let range = some.then(|| self.entries.range((from, Bound::Included(*upto))));
                let (mut these, mut seen, mut last) = (Vec::new(), 0, *after);
                for (id, entry) in range.into_iter().flatten().take(most) {
                    (seen, last) = (seen + 1, Some(*id));
                    if queue.is_none_or(|q| entry.queue() == q) {
                        these.push(*id);
                    }
                }
                *after = last;
                if seen < most {
                    *rest = Choice::Nothing;
                }
                these
            }
            Choice::Nothing => Vec::new(),
        }
    }

    /// Does `action` to one message; `None` when it already is as asked.
    pub fn control(&mut self, id: QueueId, action: Action, now: u64) -> Option<Touched<P>> {
        if action == Action::Delete {
            return self.remove(id).map(Touched::Removed);
        }
        self.change(id, |e| {
            let before = e.plan;
            let hurried = e.hurry;
            match action {
                Action::Hold => e.plan.set(Plan::HELD, true),
                Action::Release if e.plan.has(Plan::HELD) => {
                    e.plan.set(Plan::HELD, false);
                    e.plan.next = now;
                }
                Action::Requeue => {
                    e.plan.set(Plan::HELD | Plan::EXPIRED, false);
                    e.plan.set(Plan::REQUEUED, true);
                    e.plan.next = now;
                    e.hurry = e.leased;
                }
                Action::Expire => e.plan.set(Plan::EXPIRED, true),
                Action::Flush if e.scheduled() => {
                    e.plan.set(Plan::FLUSHED, true);
                    e.plan.next = e.plan.next.min(now);
                }
                Action::Release | Action::Flush | Action::Delete => {}
            }
            (e.plan != before || e.hurry != hurried).then_some(Touched::Planned)
        })
        .flatten()
    }
}

fn count(counts: &mut Counts, queue: QueueName) -> &mut u64 {
    match queue {
        QueueName::Incoming => &mut counts.incoming,
        QueueName::Active => &mut counts.active,
        QueueName::Deferred => &mut counts.deferred,
        QueueName::Hold => &mut counts.hold,
    }
}

/// How a lease ends, or goes on: the plan after `outcome`, given whether the message is kept.
pub fn after_settling(plan: Plan, outcome: &crate::Outcome, keep: bool, hurry: bool, owed: bool) -> Plan {
    let mut plan = plan;
    if let Some(next) = outcome.next_attempt {
        plan.next = next;
    }
    if outcome.delay_warned {
        plan.set(Plan::WARNED, true);
    }
    if let Some(envelope) = &outcome.envelope {
        plan.set(Plan::REQUEUED, false);
        plan.site = site_of(envelope);
    }
    plan.set(Plan::OWED, owed);
    if !keep {
        if hurry && plan.has(Plan::REQUEUED) {
            plan.next = 0;
        }
        if !outcome.recipients.is_empty() || outcome.next_attempt.is_some() {
            plan.set(Plan::FLUSHED, false);
            plan.tries = plan.tries.saturating_add(1);
        }
    }
    plan
}

/// The recipients' states after `outcome`, or why it makes no sense.
pub fn apply(
    states: &mut Vec<crate::RecipientState>,
    outcome: &crate::Outcome,
) -> Result<(), crate::StoreError> {
    let length = outcome.envelope.as_ref().map_or(states.len(), |e| e.recipients.len());
    if let Some((bad, _)) = outcome.recipients.iter().find(|(i, _)| *i >= length) {
        return Err(crate::StoreError::Failing(format!("there is no recipient {bad} of {length}")));
    }
    if outcome.envelope.is_some() {
        states.clear();
        states.resize(length, crate::RecipientState::Pending);
    }
    for (i, state) in &outcome.recipients {
        if let Some(old) = states.get_mut(*i).filter(|s| !s.settled()) {
            *old = state.clone();
        }
    }
    Ok(())
}
