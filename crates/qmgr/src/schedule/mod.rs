//! Who is delivered next. Pure: time and events come in, actions go out.
//!
//! A [`job`] is what one message has for one transport; an *entry* of it is what goes to one
//! [`destination`]. An entry waits for the window of its destination, in the order the entries came; then it
//! is *admitted*, and waits for a place of its transport ([`places`]). A transport serves its jobs
//! in turns. So neither a message with ten thousand recipients nor a destination that does not
//! answer holds up the others: what waits for a destination is not looked at until its window has
//! room, and deliveries that hang do not keep the places of others. An event costs the same with
//! ten messages and with ten thousand.
//!
//! How many messages are worked on at a time is limited, too; one destination that is slow may have a
//! twentieth of them, and further messages for it wait in the queue like those that were tried.
//!
//! [`backoff`] says when a message that was not delivered is due again, and when it is given up.
//! What the scheduler does not know: addresses, results of single recipients, the queue.

pub mod backoff;
pub mod destination;
pub mod feedback;
pub mod job;
pub mod places;
pub mod together;

use destination::{Destination, Feedback};
use feedback::Share;
use job::{Entry, Job};
use places::{CLASSES, Class, Held, PerClass, Places};
use proto::QueueId;
use proto::status::{Code, Status};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Deliveries so close to each other, microseconds, follow each other.
const BACK_TO_BACK: u64 = 1_000_000;

/// What a transport of master.cf allows. A limit of 0 is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Deliveries at a time, all destinations together (`maxproc`, `default_process_limit`).
    pub processes: usize,
    /// The number of processes is but a default, and deliveries are tasks, not processes.
    pub elastic: bool,
    /// Deliveries at a time to one destination (`<transport>_destination_concurrency_limit`).
    pub concurrency: usize,
    /// With how many a destination is begun (`<transport>_initial_destination_concurrency`).
    pub initial: usize,
    /// What a delivery that reached its destination adds to them (`…_positive_feedback`).
    pub positive: Share,
    /// What one that did not takes away (`…_negative_feedback`).
    pub negative: Share,
    /// Recipients of one delivery (`<transport>_destination_recipient_limit`).
    pub recipients: usize,
    /// Failed cohorts after which a destination is left alone
    /// (`<transport>_destination_concurrency_failed_cohort_limit`).
    pub cohorts: usize,
    /// How long it is left alone then, microseconds (`minimal_backoff_time`).
    pub dead_time: u64,
    /// How long a destination rests after each delivery, microseconds (`…_destination_rate_delay`).
    pub rate_delay: u64,
    /// How long the transport rests after each start, microseconds (`…_transport_rate_delay`).
    pub transport_delay: u64,
    /// So many messages for one destination may be delivered by one process, one after the other ([`together`]).
    pub together: usize,
    /// So many deliveries into mailboxes begin at a time.
    pub writers: usize,
}

impl Default for Limits {
    /// What a transport gets that master.cf does not have.
    fn default() -> Limits {
        Limits {
            processes: 1,
            elastic: false,
            concurrency: 1,
            initial: 1,
            positive: Share::ONE,
            negative: Share::ONE,
            recipients: 1,
            cohorts: 0,
            dead_time: 0,
            rate_delay: 0,
            transport_delay: 0,
            together: 1,
            writers: 0,
        }
    }
}

/// What one message has for one transport and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// A service name of master.cf.
    pub transport: String,
    /// The next hop given to the transport.
    pub nexthop: String,
    /// What shares a concurrency limit: the next hop, or the recipient where a transport takes one
    /// at a time.
    pub destination: String,
    /// Places in the envelope.
    pub recipients: Vec<usize>,
    /// One recipient for each delivery, whatever the transport allows: the sender is another for each.
    pub single: bool,
    /// Never together with other messages: it is no usual one, or an attempt with others came to nothing.
    pub alone: bool,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message of so many bytes is to be delivered. One that is known gets further groups.
    Arrived(QueueId, u64, Vec<Group>),
    /// A delivery ended.
    Finished {
        /// The number from [`Action::Start`].
        delivery: u64,
        /// What it says about the destination.
        feedback: Feedback,
        /// It went into a mailbox, or did not; `None` when nobody knows.
        mailbox: Option<bool>,
    },
    /// What has not been started of this message is not to be.
    Forget(QueueId),
    /// Destinations thought dead are tried again: the queue was flushed.
    Revive,
    /// Time passed.
    Tick,
}

/// Something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a delivery.
    Start {
        /// Its number, for [`Event::Finished`].
        delivery: u64,
        /// The message.
        id: QueueId,
        /// The transport.
        transport: Arc<str>,
        /// The next hop.
        nexthop: String,
        /// Places in the envelope.
        recipients: Vec<usize>,
        /// Messages that go along, in their order, and places in their envelopes.
        with: Vec<(QueueId, Vec<usize>)>,
        /// Another delivery there is under way, or just ended: a connection is worth keeping.
        followed: bool,
    },
    /// These wait without an attempt, for this reason: their destination is dead, or slow and many
    /// wait for it already.
    Defer {
        /// The message.
        id: QueueId,
        /// Places in the envelope.
        recipients: Vec<usize>,
        /// What the last attempt there ended with, or why there is none.
        status: Status,
    },
}

#[derive(Debug)]
struct Transport {
    name: Arc<str>,
    limits: Limits,
    places: Places,
    /// Jobs with an admitted entry, in turns.
    rings: PerClass<VecDeque<QueueId>>,
    jobs: HashMap<QueueId, Job>,
    destinations: HashMap<Arc<str>, usize>,
    /// Deliveries by the moment when they are late; those that ended are not in `running` any more.
    late: BTreeSet<(u64, u64)>,
    rests_until: u64,
    together: together::Known,
}

impl Transport {
    /// The class to start something of, if anything may start.
    fn next(&self) -> Option<Class> {
        CLASSES.into_iter().find(|c| {
            !self.rings.of(*c).is_empty()
                && self.places.room(*c, &self.limits)
                && (*c != Class::Mailbox || self.together.writing < self.limits.writers.max(1))
        })
    }

    fn wants(&self) -> bool {
        CLASSES.into_iter().any(|c| !self.rings.of(c).is_empty())
    }
}

#[derive(Debug)]
struct Running {
    destination: usize,
    held: Held,
    /// Others to its destination wait for it.
    fresh: Option<together::Fresh>,
}

/// The scheduler.
#[derive(Debug, Default)]
pub struct Scheduler {
    crowd: usize,
    limits: HashMap<String, Limits>,
    transports: Vec<Transport>,
    names: HashMap<String, usize>,
    destinations: Vec<Option<Destination>>,
    free: Vec<usize>,
    running: HashMap<u64, Running>,
    /// When destinations have rested.
    wakes: BTreeSet<(u64, usize)>,
    last: u64,
}

impl Scheduler {
    /// With the limits of the transports that there are, and how many messages are worked on at a
    /// time (`qmgr_message_active_limit`).
    pub fn new(limits: HashMap<String, Limits>, active: usize) -> Scheduler {
        Scheduler { limits, crowd: (active / 20).max(20), ..Scheduler::default() }
    }

    /// New limits; what runs goes on.
    pub fn set_limits(&mut self, limits: HashMap<String, Limits>) {
        for transport in &mut self.transports {
            if let Some(new) = limits.get(&*transport.name) {
                transport.limits = new.clone();
            }
        }
        self.limits = limits;
    }

    /// How many deliveries run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many messages have something that was not started.
    pub fn waiting(&self) -> usize {
        self.transports.iter().map(|t| t.jobs.len()).sum()
    }

    /// How many destinations something is known of.
    pub fn known(&self) -> usize {
        self.destinations.len() - self.free.len()
    }

    /// When [`Event::Tick`] is wanted, microseconds since 1970.
    pub fn wake_at(&self) -> Option<u64> {
        let mut at = self.wakes.first().map(|(at, _)| *at);
        let mut sooner = |other: u64| at = Some(at.map_or(other, |at: u64| at.min(other)));
        for transport in self.transports.iter().filter(|t| t.wants()) {
            // Nobody but who waits for a place minds one that hangs.
            if let Some((late, _)) = transport.late.first().filter(|_| transport.limits.elastic) {
                sooner(*late);
            }
            if transport.rests_until > 0 {
                sooner(transport.rests_until);
            }
        }
        for transport in self.transports.iter().filter(|t| !t.jobs.is_empty()) {
            if let Some((old, _)) = transport.together.fresh.first() {
                sooner(*old);
            }
        }
        at
    }

    /// Takes an event at `now` (microseconds since 1970); gives what is to be done.
    pub fn on(&mut self, event: Event, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Arrived(id, size, groups) => {
                let mut touched = Vec::new();
                for group in groups {
                    if let Some(transport) = self.arrived((id, size), group, now, &mut actions)
                        && !touched.contains(&transport)
                    {
                        touched.push(transport);
                    }
                }
                touched.into_iter().for_each(|t| self.run(t, now, &mut actions));
            }
            Event::Finished { delivery, feedback, mailbox } => {
                self.finished(delivery, feedback, mailbox, now, &mut actions);
            }
            Event::Forget(id) => self.forget(id, now, &mut actions),
            Event::Revive => self.destinations.iter_mut().flatten().for_each(Destination::revive),
            Event::Tick => {
                while let Some((_, destination)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
                    self.wakes.pop_first();
                    self.admit(destination, now);
                    self.tidy(destination, now);
                }
                (0..self.transports.len()).for_each(|t| self.run(t, now, &mut actions));
            }
        }
        actions
    }

    /// The place of a transport in the list.
    fn transport(&mut self, name: String) -> usize {
        if let Some(known) = self.names.get(&name) {
            return *known;
        }
        let limits = self.limits.get(&name).cloned().unwrap_or_default();
        self.transports.push(Transport {
            name: name.as_str().into(),
            limits,
            places: Places::default(),
            rings: PerClass::default(),
            jobs: HashMap::new(),
            destinations: HashMap::new(),
            late: BTreeSet::new(),
            rests_until: 0,
            together: together::Known::default(),
        });
        self.names.insert(name, self.transports.len() - 1);
        self.transports.len() - 1
    }

    /// The place of a destination in the list.
    fn destination(&mut self, at: usize, name: &str) -> usize {
        let Some(transport) = self.transports.get_mut(at) else { return usize::MAX };
        if let Some(known) = transport.destinations.get(name) {
            return *known;
        }
        let name: Arc<str> = name.into();
        let new = Some(Destination::new(at, name.clone(), &transport.limits));
        let place = match self.free.pop().and_then(|free| Some((free, self.destinations.get_mut(free)?))) {
            Some((free, slot)) => {
                *slot = new;
                free
            }
            None => {
                self.destinations.push(new);
                self.destinations.len() - 1
            }
        };
        transport.destinations.insert(name, place);
        place
    }

    fn arrived(
        &mut self,
        (id, size): (QueueId, u64),
        group: Group,
        now: u64,
        actions: &mut Vec<Action>,
    ) -> Option<usize> {
        let Group { transport, nexthop, destination, recipients, single, alone } = group;
        let at = self.transport(transport);
        let place = self.destination(at, &destination);
        let there = self.destinations.get_mut(place)?.as_mut()?;
        if let Some(status) = there.dead(now) {
            actions.push(Action::Defer { id, recipients, status: status.clone() });
            return None;
        }
        if there.entries >= self.crowd && there.late > 0 && !there.proven {
            let text = format!("{} messages wait already for a destination that is slow", there.entries);
            actions.push(Action::Defer { id, recipients, status: Status::new(Code(4, 4, 5), text) });
            return None;
        }
        let job = self.transports.get_mut(at)?.jobs.entry(id).or_default();
        job.size = size;
        if job.add(place, Entry { nexthop, recipients: recipients.into(), single, alone }) {
            there.entries += 1;
            there.waiting.push_back(id);
            self.admit(place, now);
        }
        Some(at)
    }

    /// Admits those who wait for a destination, in their order, as far as its window has room.
    fn admit(&mut self, place: usize, now: u64) {
        let Some(there) = self.destinations.get_mut(place).and_then(Option::as_mut) else { return };
        let Some(transport) = self.transports.get_mut(there.transport) else { return };
        let mailbox = transport.together.expects(there, &transport.limits);
        while there.has_room(now) {
            // What comes while one begins goes along with the next.
            if mailbox != Some(false) && (there.fresh > 0 || !there.admitted.is_empty()) {
                break;
            }
            let Some(id) = there.waiting.pop_front() else { break };
            let Some(job) = transport.jobs.get_mut(&id) else { continue };
            let class = if mailbox == Some(true) {
                Class::Mailbox
            } else if !transport.limits.elastic || there.proven {
                Class::Proven
            } else if there.running + there.admitted.len() == 0 {
                Class::First
            } else {
                Class::More
            };
            if !job.admit(place, class) {
                continue;
            }
            there.admitted.push_back(id);
            if job.enlist(class) {
                transport.rings.of_mut(class).push_back(id);
            }
        }
        if !there.waiting.is_empty()
            && let Some(at) = there.rests_until(now)
        {
            self.wakes.insert((at, place));
        }
    }

    /// Starts what a transport has places for.
    fn run(&mut self, at: usize, now: u64, actions: &mut Vec<Action>) {
        self.look_for_late(at, now);
        self.look_for_old(at, now);
        loop {
            let Some(transport) = self.transports.get_mut(at) else { return };
            // A clock that was set back must not stop it.
            if transport.rests_until > now && transport.rests_until - now <= transport.limits.transport_delay
            {
                return;
            }
            transport.rests_until = 0;
            let Some(class) = transport.next() else { return };
            let Some(id) = transport.rings.of_mut(class).pop_front() else { return };
            let Some(job) = transport.jobs.get_mut(&id) else { continue };
            let Some(place) = job.turn(class) else { continue };
            if job.has_ready(class) && job.enlist(class) {
                transport.rings.of_mut(class).push_back(id);
            }
            let Some(there) = self.destinations.get_mut(place).and_then(Option::as_mut) else { continue };
            let (size, limit) = (job.size, transport.limits.recipients);
            let sociable = class == Class::Mailbox && job.is_sociable(place);
            let alone = job.is_alone(place);
            let Some((nexthop, recipients, more)) = job.take(place, limit) else { continue };
            let empty = job.is_empty();
            if empty {
                transport.jobs.remove(&id);
            }
            if let Some(n) = there.admitted.iter().position(|a| *a == id) {
                there.admitted.remove(n);
            }
            there.running += 1;
            let followed =
                there.running > 1 || there.ended.is_some_and(|e| now.saturating_sub(e) <= BACK_TO_BACK);
            self.last += 1;
            let (with, bytes) = match sociable {
                true => together::gather(there, place, &mut transport.jobs, size, &transport.limits),
                false => (Vec::new(), size),
            };
            let held = transport.places.take(class, bytes, now);
            transport.late.insert((held.late_at, self.last));
            let fresh = transport.together.begins(there, (class, alone), self.last, now, &transport.limits);
            self.running.insert(self.last, Running { destination: place, held, fresh });
            let transport_name = transport.name.clone();
            actions.push(Action::Start {
                delivery: self.last,
                id,
                transport: transport_name,
                nexthop,
                recipients,
                with,
                followed,
            });
            if transport.limits.transport_delay > 0 {
                transport.rests_until = now.saturating_add(transport.limits.transport_delay);
            }
            if more {
                // The rest of it waits behind the other messages for that destination.
                there.waiting.push_back(id);
                self.admit(place, now);
            } else {
                there.entries = there.entries.saturating_sub(1);
            }
        }
    }

    /// Deliveries that are late give their places back.
    fn look_for_late(&mut self, at: usize, now: u64) {
        let Some(transport) = self.transports.get_mut(at) else { return };
        while let Some((_, delivery)) = transport.late.first().copied().filter(|(late, _)| *late <= now) {
            transport.late.pop_first();
            let Some(running) = self.running.get_mut(&delivery) else { continue };
            transport.places.late(&mut running.held, &transport.limits);
            let there = self.destinations.get_mut(running.destination).and_then(Option::as_mut);
            let Some(there) = there else { continue };
            there.late += 1;
            if running.held.hangs_at > now {
                continue;
            }
            let proven = there.proven;
            there.doubt();
            if proven != there.proven {
                reclass(there, running.destination, transport);
            }
        }
    }

    /// Deliveries that are fresh no more let others begin.
    fn look_for_old(&mut self, at: usize, now: u64) {
        while let Some(transport) = self.transports.get_mut(at)
            && let Some((_, delivery)) =
                transport.together.fresh.first().copied().filter(|(old, _)| *old <= now)
        {
            transport.together.fresh.pop_first();
            let Some(running) = self.running.get_mut(&delivery) else { continue };
            let place = running.destination;
            if let Some(there) = self.destinations.get_mut(place).and_then(Option::as_mut) {
                let fresh = running.fresh.take();
                running.fresh = fresh.and_then(|fresh| transport.together.ages(there, fresh, delivery));
            }
            self.admit(place, now);
        }
    }

    fn finished(
        &mut self,
        delivery: u64,
        feedback: Feedback,
        mailbox: Option<bool>,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(Running { destination: place, held, fresh }) = self.running.remove(&delivery) else {
            return;
        };
        let Some(there) = self.destinations.get_mut(place).and_then(Option::as_mut) else { return };
        let at = there.transport;
        let Some(transport) = self.transports.get_mut(at) else { return };
        transport.places.give_back(&held);
        transport.late.remove(&(held.late_at, delivery));
        transport.together.ends(there, fresh, delivery, mailbox);
        there.feedback(feedback, held.hangs_at <= now, &transport.limits, now);
        there.running = there.running.saturating_sub(1);
        there.ended = Some(now);
        there.late -= there.late.min(usize::from(held.late));
        if let Some(status) = there.dead(now).cloned() {
            // Whoever waits for it hears the same.
            for id in there.admitted.drain(..).chain(there.waiting.drain(..)) {
                let Some(job) = transport.jobs.get_mut(&id) else { continue };
                let mut left = Vec::new();
                while let Some((_, recipients, more)) = job.take(place, 0) {
                    left.extend(recipients);
                    if !more {
                        there.entries = there.entries.saturating_sub(1);
                    }
                }
                if job.is_empty() {
                    transport.jobs.remove(&id);
                }
                if !left.is_empty() {
                    actions.push(Action::Defer { id, recipients: left, status: status.clone() });
                }
            }
            self.wakes.insert((now.saturating_add(transport.limits.dead_time), place));
        } else {
            reclass(there, place, transport);
        }
        self.admit(place, now);
        self.run(at, now, actions);
        self.tidy(place, now);
    }

    fn forget(&mut self, id: QueueId, now: u64, actions: &mut Vec<Action>) {
        for at in 0..self.transports.len() {
            let Some(job) = self.transports.get_mut(at).and_then(|t| t.jobs.remove(&id)) else { continue };
            let places: Vec<usize> = job.destinations().collect();
            for place in places {
                if let Some(there) = self.destinations.get_mut(place).and_then(Option::as_mut) {
                    there.entries = there.entries.saturating_sub(1);
                    there.admitted.retain(|a| *a != id);
                    there.waiting.retain(|a| *a != id);
                }
                self.admit(place, now);
                self.tidy(place, now);
            }
            self.run(at, now, actions);
        }
    }

    /// A destination that nothing is known of needs no memory.
    fn tidy(&mut self, place: usize, now: u64) {
        let Some(slot) = self.destinations.get_mut(place) else { return };
        let Some(there) = slot.take_if(|d| d.forgettable(now)) else { return };
        if let Some(transport) = self.transports.get_mut(there.transport) {
            transport.destinations.remove(&there.name);
            if transport.destinations.capacity() > 1024
                && transport.destinations.len() * 8 < transport.destinations.capacity()
            {
                transport.destinations.shrink_to_fit();
            }
        }
        self.free.push(place);
    }
}

/// What is admitted for a destination counts as what it is now.
fn reclass(there: &mut Destination, place: usize, transport: &mut Transport) {
    if !transport.limits.elastic {
        return;
    }
    let first = there.running == 0;
    for (n, id) in there.admitted.iter().enumerate() {
        let class = match (there.proven, first && n == 0) {
            (true, _) => Class::Proven,
            (false, true) => Class::First,
            (false, false) => Class::More,
        };
        let Some(job) = transport.jobs.get_mut(id) else { continue };
        if job.reclass(place, class) && job.enlist(class) {
            transport.rings.of_mut(class).push_back(*id);
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
