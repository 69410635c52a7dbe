//! Where mail goes to by one transport: how much at a time, and whether it is alive.
//!
//! As SCHEDULER_README describes it. The window starts at `initial_destination_concurrency`. A
//! delivery that reached the destination adds its share ([`super::feedback`]), and a whole one
//! opens the window by a place; one that did not reach it takes its share away, and the place goes
//! at the *beginning* of a sequence of failures, so that too much is corrected at once. What
//! is apart from it: each failure is a part of a cohort as large as the window, and after so many
//! cohorts (`…_failed_cohort_limit`) without a success between them the destination is dead for a
//! while and nothing is tried there.

use super::Limits;
use proto::QueueId;
use proto::status::Status;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a delivery says about its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It took mail, or refused it for good.
    Reached,
    /// It answers, but everything must wait.
    Postponed,
    /// It could not be reached, for this reason.
    Failed(Status),
    /// Nothing: no attempt was made.
    Nothing,
}

/// One destination.
#[derive(Debug)]
pub struct Destination {
    /// The transport's place in the scheduler's list.
    pub transport: usize,
    /// Its name there.
    pub name: Arc<str>,
    /// Deliveries under way.
    pub running: usize,
    /// Messages that may start as soon as the transport has a place for them.
    pub admitted: VecDeque<QueueId>,
    /// Messages that wait for the window.
    pub waiting: VecDeque<QueueId>,
    /// Entries known, started or not.
    pub entries: usize,
    /// Deliveries under way that are late.
    pub late: usize,
    /// Deliveries under way that began just now ([`super::together`]).
    pub fresh: usize,
    /// The last delivery went into a mailbox, or did not.
    pub mailbox: Option<bool>,
    /// It took mail lately, without delay.
    pub proven: bool,
    /// When the last delivery there ended.
    pub ended: Option<u64>,
    doubts: u8,
    window: usize,
    limit: usize,
    gained: f64,
    lost: f64,
    cohorts: f64,
    dead: Option<(u64, Status)>,
    rests_until: u64,
}

impl Destination {
    /// Nothing is known of it.
    pub fn new(transport: usize, name: Arc<str>, limits: &Limits) -> Destination {
        Destination {
            transport,
            name,
            running: 0,
            admitted: VecDeque::new(),
            waiting: VecDeque::new(),
            entries: 0,
            late: 0,
            fresh: 0,
            mailbox: None,
            proven: false,
            ended: None,
            doubts: 0,
            window: start(limits),
            limit: limits.concurrency,
            gained: 0.0,
            lost: 0.0,
            cohorts: 0.0,
            dead: None,
            rests_until: 0,
        }
    }

    /// One more may be admitted.
    pub fn has_room(&self, now: u64) -> bool {
        let window = if self.limit == 0 { usize::MAX } else { self.window };
        now >= self.rests_until && self.running + self.admitted.len() < window
    }

    /// How many deliveries at a time are thought right.
    #[cfg(test)]
    pub fn window(&self) -> usize {
        self.window
    }

    /// The reason why nothing is tried there now.
    pub fn dead(&self, now: u64) -> Option<&Status> {
        self.dead.as_ref().filter(|(until, _)| *until > now).map(|(_, status)| status)
    }

    /// Somebody wants it tried again.
    pub fn revive(&mut self) {
        self.dead = None;
    }

    /// When its rest after a delivery is over.
    pub fn rests_until(&self, now: u64) -> Option<u64> {
        Some(self.rests_until).filter(|at| *at > now)
    }

    /// A delivery hangs, or ended with nothing taken: once may happen to anybody.
    pub fn doubt(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
        self.proven &= self.doubts < 2;
    }

    /// Learns from a delivery that just ended and still counts as running; `hung` says that it
    /// took long.
    pub fn feedback(&mut self, feedback: Feedback, hung: bool, limits: &Limits, now: u64) {
        self.limit = limits.concurrency;
        if limits.rate_delay > 0 && feedback != Feedback::Nothing {
            self.rests_until = now.saturating_add(limits.rate_delay);
        }
        match feedback {
            Feedback::Reached => {
                if !hung {
                    (self.proven, self.doubts) = (true, 0);
                }
                self.succeeded(limits);
            }
            Feedback::Postponed => {
                self.doubt();
                self.succeeded(limits);
            }
            Feedback::Failed(status) => {
                self.proven = false;
                self.failed(status, limits, now);
            }
            Feedback::Nothing => {}
        }
    }

    fn succeeded(&mut self, limits: &Limits) {
        self.cohorts = 0.0;
        self.dead = None;
        if limits.rate_delay > 0 {
            self.window = 1;
            return;
        }
        // A window that is not used says nothing, and would make a correction come late.
        if self.limit == 0 || self.window < self.running + limits.initial.max(1) {
            let share = limits.positive.at(self.window);
            self.gained += share;
            // As Postfix rounds: half a share does not make the difference.
            while self.gained + share / 2.0 >= 1.0 {
                self.window += 1;
                self.gained -= 1.0;
                self.lost = 0.0;
            }
            if self.limit > 0 {
                self.window = self.window.min(self.limit);
            }
        }
    }

    fn failed(&mut self, status: Status, limits: &Limits, now: u64) {
        self.cohorts += 1.0 / self.window.max(1) as f64;
        if limits.cohorts > 0 && self.cohorts + 1e-9 >= limits.cohorts as f64 {
            self.dead = Some((now.saturating_add(limits.dead_time), status));
            self.window = start(limits);
            (self.gained, self.lost, self.cohorts) = (0.0, 0.0, 0.0);
            return;
        }
        let share = limits.negative.at(self.window);
        self.lost -= share;
        // The same here, which makes whole shares count double at first.
        while self.lost - share / 2.0 < 0.0 {
            self.window = self.window.saturating_sub(1);
            self.lost += 1.0;
            self.gained = 0.0;
        }
        self.window = self.window.max(1);
    }

    /// Nothing is lost by forgetting it.
    pub fn forgettable(&self, now: u64) -> bool {
        self.running == 0
            && self.entries == 0
            && self.admitted.is_empty()
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

#[cfg(test)]
mod tests {
    use super::super::feedback::Share;
    use super::*;
    use proto::status::Code;

    fn limits(positive: &str, negative: &str, cohorts: usize) -> Limits {
        Limits {
            concurrency: 20,
            initial: 5,
            positive: Share::read(positive).unwrap(),
            negative: Share::read(negative).unwrap(),
            cohorts,
            dead_time: 1_000,
            ..Limits::default()
        }
    }

    /// The windows after a text of `+` (reached) and `-` (failed), with everything in use; `X` is
    /// where it died.
    fn windows(limits: &Limits, events: &str) -> String {
        let mut d = Destination::new(0, "d".into(), limits);
        let mut out = Vec::new();
        for event in events.chars() {
            d.running = d.window;
            let feedback = match event {
                '+' => Feedback::Reached,
                _ => Feedback::Failed(Status::new(Code(4, 4, 1), "x")),
            };
            d.feedback(feedback, false, limits, 0);
            out.push(if d.dead(0).is_some() { "X".to_string() } else { d.window.to_string() });
            d.revive();
        }
        out.join(" ")
    }

    #[test]
    fn whole_steps() {
        let l = limits("1", "1", 1);
        assert_eq!(windows(&l, "+++"), "6 7 8");
        // As Postfix 3.7 did it: three attempts, of which the last completes a cohort.
        assert_eq!(windows(&l, "---"), "3 2 X");
        assert_eq!(windows(&l, "--+--"), "3 2 3 1 X");
        assert_eq!(windows(&Limits { initial: 1, ..l }, "-"), "X");
        assert_eq!(windows(&limits("1", "1", 0), "-------"), "3 2 1 1 1 1 1");
    }

    #[test]
    fn parts_of_steps() {
        // Linear growth; a place goes at the start of a sequence of failures.
        let l = limits("1/concurrency", "1/concurrency", 100);
        assert_eq!(windows(&l, "++++++++++++"), "5 5 5 5 6 6 6 6 6 6 7 7");
        assert_eq!(windows(&l, "---------"), "4 4 4 3 3 3 2 2 1");
        assert_eq!(windows(&l, "-+-"), "4 4 4");
        let root = limits("1/sqrt_concurrency", "0", 2);
        assert_eq!(windows(&root, "+++++"), "5 6 6 6 7");
        // No negative feedback: two cohorts of five.
        assert_eq!(windows(&root, "----------"), "5 5 5 5 5 5 5 5 5 X");
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let l = limits("1", "1", 1);
        let mut d = Destination::new(0, "d".into(), &l);
        for _ in 0..100 {
            d.running = 1;
            d.feedback(Feedback::Reached, false, &l, 0);
        }
        assert_eq!(d.window, 6);
    }
}
