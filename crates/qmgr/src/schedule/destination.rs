//! Where mail goes to by one transport: how much at a time, and whether it is alive.
//!
//! The window starts at `initial_destination_concurrency`. A delivery that reached the destination
//! opens it by one place, up to the limit; one that did not closes it by one. After so many
//! failures in a row that whole windows failed (`…_failed_cohort_limit`), the destination is dead
//! for a while and nothing is tried there.

use super::Limits;
use proto::QueueId;
use proto::status::Status;
use std::collections::VecDeque;

/// What a delivery says about its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It answers, whatever it said of the recipients.
    Reached,
    /// It could not be reached, for this reason.
    Failed(Status),
    /// Nothing: no attempt was made.
    Nothing,
}

/// One destination.
#[derive(Debug)]
pub struct Destination {
    /// Deliveries under way.
    pub running: usize,
    /// Places kept for entries that were told to go on.
    pub reserved: usize,
    /// Entries known, started or not.
    pub entries: usize,
    /// Messages that wait for a place.
    pub waiting: VecDeque<QueueId>,
    window: usize,
    limit: usize,
    failures: usize,
    dead: Option<(u64, Status)>,
    rests_until: u64,
}

impl Destination {
    /// Nothing is known of it.
    pub fn new(limits: &Limits) -> Destination {
        Destination {
            running: 0,
            reserved: 0,
            entries: 0,
            waiting: VecDeque::new(),
            window: start(limits),
            limit: limits.concurrency,
            failures: 0,
            dead: None,
            rests_until: 0,
        }
    }

    /// A delivery may start.
    pub fn has_room(&self, now: u64) -> bool {
        let window = if self.limit == 0 { usize::MAX } else { self.window };
        now >= self.rests_until && self.running + self.reserved < window
    }

    /// The reason why nothing is tried there now.
    pub fn dead(&self, now: u64) -> Option<Status> {
        self.dead.as_ref().filter(|(until, _)| *until > now).map(|(_, status)| status.clone())
    }

    /// It is dead until then.
    pub fn dead_until(&self) -> Option<u64> {
        self.dead.as_ref().map(|(until, _)| *until)
    }

    /// Somebody wants it tried again.
    pub fn revive(&mut self) {
        self.dead = None;
        self.failures = 0;
    }

    /// When its rest after a delivery is over.
    pub fn rests_until(&self, now: u64) -> Option<u64> {
        Some(self.rests_until).filter(|at| *at > now)
    }

    /// Learns from a delivery.
    pub fn feedback(&mut self, feedback: Feedback, limits: &Limits, now: u64) {
        self.limit = limits.concurrency;
        if limits.rate_delay > 0 && feedback != Feedback::Nothing {
            self.rests_until = now.saturating_add(limits.rate_delay);
            self.window = 1;
        }
        match feedback {
            Feedback::Reached => {
                self.failures = 0;
                self.dead = None;
                if self.limit > 0 && limits.rate_delay == 0 {
                    self.window = (self.window + 1).min(self.limit);
                }
            }
            Feedback::Failed(status) => {
                self.failures += 1;
                if self.window > 1 {
                    self.window -= 1;
                }
                // One cohort is as many failures as the window has places.
                if limits.cohorts > 0 && self.failures >= limits.cohorts.saturating_mul(self.window) {
                    self.dead = Some((now.saturating_add(limits.dead_time), status));
                    self.window = start(limits);
                    self.failures = 0;
                }
            }
            Feedback::Nothing => {}
        }
    }

    /// Nothing is lost by forgetting it.
    pub fn forgettable(&self, now: u64) -> bool {
        self.running == 0
            && self.reserved == 0
            && self.entries == 0
            && self.rests_until <= now
            && self.dead(now).is_none()
    }
}

fn start(limits: &Limits) -> usize {
    if limits.rate_delay > 0 {
        return 1;
    }
    let initial = limits.initial.max(1);
    if limits.concurrency == 0 { initial } else { initial.min(limits.concurrency) }
}
