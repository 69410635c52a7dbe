//! Who is delivered next. Pure: time and events come in, actions go out.
//!
//! A [`job`] is what one message has for one transport; an *entry* of it is what goes to one
//! [`destination`]. A transport serves its jobs in turns, and a destination its entries in the
//! order they came, so that neither a message with ten thousand recipients nor a destination that
//! does not answer holds up the others. What waits for a destination is not looked at until a place
//! there is free: an event costs the same with ten messages and with ten thousand.
//!
//! [`backoff`] says when a message that was not delivered is due again, and when it is given up.
//! What the scheduler does not know: addresses, results of single recipients, the queue.

pub mod backoff;
pub mod destination;
pub mod job;

use destination::{Destination, Feedback};
use job::{Entry, Job};
use proto::QueueId;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// What a transport of master.cf allows. A limit of 0 is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deliveries at a time, all destinations together (`maxproc`, `default_process_limit`).
    pub processes: usize,
    /// Deliveries at a time to one destination (`<transport>_destination_concurrency_limit`).
    pub concurrency: usize,
    /// With how many a destination is begun (`initial_destination_concurrency`).
    pub initial: usize,
    /// Recipients of one delivery (`<transport>_destination_recipient_limit`).
    pub recipients: usize,
    /// Failures in a row after which a destination is left alone
    /// (`default_destination_concurrency_failed_cohort_limit`).
    pub cohorts: usize,
    /// How long it is left alone then, microseconds (`minimal_backoff_time`).
    pub dead_time: u64,
    /// How long a destination rests after each delivery, microseconds (`…_destination_rate_delay`).
    pub rate_delay: u64,
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
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message is to be delivered. One that is known gets further groups.
    Arrived(QueueId, Vec<Group>),
    /// A delivery ended.
    Finished {
        /// The number from [`Action::Start`].
        delivery: u64,
        /// What it says about the destination.
        feedback: Feedback,
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
        transport: String,
        /// The next hop.
        nexthop: String,
        /// Places in the envelope.
        recipients: Vec<usize>,
    },
    /// These wait without an attempt, for this reason: their destination is dead.
    Defer {
        /// The message.
        id: QueueId,
        /// The transport they would have gone by.
        transport: String,
        /// Places in the envelope.
        recipients: Vec<usize>,
        /// What the last attempt there ended with.
        status: proto::status::Status,
    },
}

type Key = (String, String);

#[derive(Debug)]
struct Transport {
    limits: Limits,
    running: usize,
    /// Jobs with an entry whose destination may have room, in turns.
    ring: VecDeque<QueueId>,
    jobs: HashMap<QueueId, Job>,
}

#[derive(Debug)]
struct Running {
    transport: String,
    destination: String,
}

/// The scheduler.
#[derive(Debug, Default)]
pub struct Scheduler {
    limits: HashMap<String, Limits>,
    transports: HashMap<String, Transport>,
    destinations: HashMap<Key, Destination>,
    running: HashMap<u64, Running>,
    wakes: BTreeSet<(u64, Key)>,
    last: u64,
}

impl Scheduler {
    /// With the limits of the transports that there are.
    pub fn new(limits: HashMap<String, Limits>) -> Scheduler {
        Scheduler { limits, ..Scheduler::default() }
    }

    /// New limits; what runs goes on.
    pub fn set_limits(&mut self, limits: HashMap<String, Limits>) {
        for (name, transport) in &mut self.transports {
            if let Some(new) = limits.get(name) {
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
        self.transports.values().map(|t| t.jobs.len()).sum()
    }

    /// When [`Event::Tick`] is wanted, microseconds since 1970.
    pub fn wake_at(&self) -> Option<u64> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Takes an event at `now` (microseconds since 1970); gives what is to be done.
    pub fn on(&mut self, event: Event, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Arrived(id, groups) => {
                let mut touched = Vec::new();
                for group in groups {
                    touched.push(group.transport.clone());
                    self.arrived(id, group, now, &mut actions);
                }
                touched.sort();
                touched.dedup();
                touched.iter().for_each(|t| self.run(t, now, &mut actions));
            }
            Event::Finished { delivery, feedback } => self.finished(delivery, feedback, now, &mut actions),
            Event::Forget(id) => self.forget(id, now, &mut actions),
            Event::Revive => {
                for destination in self.destinations.values_mut() {
                    destination.revive();
                }
            }
            Event::Tick => {
                while let Some((at, key)) = self.wakes.first().cloned() {
                    if at > now {
                        break;
                    }
                    self.wakes.pop_first();
                    self.wake(&key, now);
                    self.run(&key.0, now, &mut actions);
                    self.tidy(&key, now);
                }
            }
        }
        actions
    }

    fn arrived(&mut self, id: QueueId, group: Group, now: u64, actions: &mut Vec<Action>) {
        let Group { transport: name, nexthop, destination, recipients } = group;
        let limits = self.limits.get(&name).cloned().unwrap_or(Limits {
            processes: 1,
            concurrency: 1,
            initial: 1,
            recipients: 1,
            cohorts: 0,
            dead_time: 0,
            rate_delay: 0,
        });
        let key = (name.clone(), destination);
        let place = self.destinations.entry(key.clone()).or_insert_with(|| Destination::new(&limits));
        if let Some(status) = place.dead(now) {
            actions.push(Action::Defer { id, transport: name, recipients, status });
            return;
        }
        let transport = self.transports.entry(name).or_insert_with(|| Transport {
            limits,
            running: 0,
            ring: VecDeque::new(),
            jobs: HashMap::new(),
        });
        let job = transport.jobs.entry(id).or_default();
        let known = job.add(Entry { destination: key.1, nexthop, recipients: recipients.into() });
        if !known {
            place.entries += 1;
            if job.enlist() {
                transport.ring.push_back(id);
            }
        }
    }

    /// Starts what a transport has room for.
    fn run(&mut self, name: &str, now: u64, actions: &mut Vec<Action>) {
        let Some(transport) = self.transports.get_mut(name) else { return };
        while transport.limits.processes == 0 || transport.running < transport.limits.processes {
            let Some(id) = transport.ring.pop_front() else { break };
            let Some(job) = transport.jobs.get_mut(&id) else { continue };
            job.delist();
            while let Some(entry) = job.next_ready() {
                let key = (name.to_string(), entry);
                let Some(place) = self.destinations.get_mut(&key) else { continue };
                let reserved = job.take_reservation(&key.1);
                if reserved {
                    place.reserved = place.reserved.saturating_sub(1);
                } else if !place.has_room(now) {
                    job.park(&key.1);
                    place.waiting.push_back(id);
                    if let Some(at) = place.rests_until(now) {
                        self.wakes.insert((at, key));
                    }
                    continue;
                }
                let Some((nexthop, recipients, more)) = job.take(&key.1, transport.limits.recipients) else {
                    continue;
                };
                if more {
                    job.ready_again(&key.1);
                } else {
                    place.entries = place.entries.saturating_sub(1);
                }
                self.last += 1;
                place.running += 1;
                transport.running += 1;
                self.running
                    .insert(self.last, Running { transport: name.to_string(), destination: key.1.clone() });
                actions.push(Action::Start {
                    delivery: self.last,
                    id,
                    transport: name.to_string(),
                    nexthop,
                    recipients,
                });
                break;
            }
            if job.is_empty() {
                transport.jobs.remove(&id);
            } else if job.has_ready() && job.enlist() {
                transport.ring.push_back(id);
            }
        }
    }

    fn finished(&mut self, delivery: u64, feedback: Feedback, now: u64, actions: &mut Vec<Action>) {
        let Some(Running { transport: name, destination }) = self.running.remove(&delivery) else { return };
        let key = (name.clone(), destination);
        let Some(transport) = self.transports.get_mut(&name) else { return };
        transport.running = transport.running.saturating_sub(1);
        if let Some(place) = self.destinations.get_mut(&key) {
            place.running = place.running.saturating_sub(1);
            place.feedback(feedback, &transport.limits, now);
            if let (Some(status), Some(until)) = (place.dead(now), place.dead_until()) {
                // Whoever waits for it hears the same.
                place.waiting.clear();
                let mut all: Vec<QueueId> = transport.jobs.keys().copied().collect();
                all.sort();
                for id in all {
                    defer(transport, place, id, &key, &status, actions);
                }
                self.wakes.insert((until, key.clone()));
            }
        }
        self.wake(&key, now);
        self.run(&name, now, actions);
        self.tidy(&key, now);
    }

    /// Gives free places of a destination to those who wait for it, in their order.
    fn wake(&mut self, key: &Key, now: u64) {
        let (Some(place), Some(transport)) =
            (self.destinations.get_mut(key), self.transports.get_mut(&key.0))
        else {
            return;
        };
        while place.has_room(now) {
            let Some(id) = place.waiting.pop_front() else { break };
            let Some(job) = transport.jobs.get_mut(&id) else { continue };
            if !job.unpark(&key.1) {
                continue;
            }
            place.reserved += 1;
            if job.enlist() {
                transport.ring.push_back(id);
            }
        }
        if !place.waiting.is_empty()
            && let Some(at) = place.rests_until(now)
        {
            self.wakes.insert((at, key.clone()));
        }
    }

    fn forget(&mut self, id: QueueId, now: u64, actions: &mut Vec<Action>) {
        let mut freed = Vec::new();
        for (name, transport) in &mut self.transports {
            let Some(job) = transport.jobs.remove(&id) else { continue };
            let reserved: Vec<String> = job.reservations().collect();
            for destination in job.destinations() {
                let key = (name.clone(), destination.to_string());
                if let Some(place) = self.destinations.get_mut(&key) {
                    place.entries = place.entries.saturating_sub(1);
                    place.reserved -= usize::from(place.reserved > 0 && reserved.contains(&key.1));
                }
                freed.push(key);
            }
        }
        for key in freed {
            self.wake(&key, now);
            self.run(&key.0, now, actions);
            self.tidy(&key, now);
        }
    }

    /// A destination that nothing is known of needs no memory.
    fn tidy(&mut self, key: &Key, now: u64) {
        if self.destinations.get(key).is_some_and(|d| d.forgettable(now)) {
            self.destinations.remove(key);
        }
    }
}

/// Takes what `id` has for a dead destination out of its job.
fn defer(
    transport: &mut Transport,
    place: &mut Destination,
    id: QueueId,
    key: &Key,
    status: &proto::status::Status,
    actions: &mut Vec<Action>,
) {
    let Some(job) = transport.jobs.get_mut(&id) else { return };
    if job.take_reservation(&key.1) {
        place.reserved = place.reserved.saturating_sub(1);
    }
    if let Some((_, recipients, _)) = job.take(&key.1, 0) {
        place.entries = place.entries.saturating_sub(1);
        let status = status.clone();
        actions.push(Action::Defer { id, transport: key.0.clone(), recipients, status });
    }
    if job.is_empty() {
        transport.jobs.remove(&id);
    }
}

#[cfg(test)]
mod tests;
