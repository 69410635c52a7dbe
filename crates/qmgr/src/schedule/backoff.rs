//! When a message is due again, when its sender is told that it is late, and when it is given up.
//!
//! Postfix looks at the deferred queue every `queue_run_delay`, so that a message is tried somewhat
//! later than its time has come, and many at once. Here each is tried at its own moment: up to a
//! tenth later than its time, by its name, so that what was put off together does not come back
//! together.

use proto::QueueId;

/// What main.cf says, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `minimal_backoff_time`.
    pub shortest: u64,
    /// `maximal_backoff_time`.
    pub longest: u64,
    /// `queue_run_delay`: nothing is due sooner.
    pub run: u64,
    /// `maximal_queue_lifetime`.
    pub lifetime: u64,
    /// `bounce_queue_lifetime`, for mail without a sender; never longer than `lifetime`.
    pub bounce_lifetime: u64,
    /// `delay_warning_time`; 0 for never.
    pub warning: u64,
}

impl Patience {
    /// How long from an attempt at `now` to the next: as long as the message is old, within the
    /// limits, so that the time between attempts doubles. qmgr(8)
    pub fn delay(&self, arrival: u64, now: u64) -> u64 {
        let age = now.saturating_sub(arrival);
        age.min(self.longest).max(self.shortest).max(self.run)
    }

    /// The moment of the next attempt of a message.
    pub fn next(&self, id: QueueId, arrival: u64, now: u64) -> u64 {
        let delay = self.delay(arrival, now);
        // Names are moments: their high bits say little about one message among others.
        let share = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        now.saturating_add(delay).saturating_add(delay / 10_240 * share)
    }

    /// How long a message is kept.
    pub fn lifetime(&self, null_sender: bool) -> u64 {
        if null_sender { self.bounce_lifetime.min(self.lifetime) } else { self.lifetime }
    }

    /// It was tried long enough. A lifetime of 0 allows one attempt.
    pub fn over(&self, arrival: u64, now: u64, null_sender: bool) -> bool {
        now.saturating_sub(arrival) >= self.lifetime(null_sender)
    }

    /// The sender is to hear that it is late.
    pub fn late(&self, arrival: u64, now: u64) -> bool {
        self.warning > 0 && now.saturating_sub(arrival) >= self.warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn patience() -> Patience {
        Patience {
            shortest: 300 * S,
            longest: 4_000 * S,
            run: 300 * S,
            lifetime: 432_000 * S,
            bounce_lifetime: 86_400 * S,
            warning: 14_400 * S,
        }
    }

    #[test]
    fn the_time_between_attempts_doubles_up_to_the_limit() {
        let p = patience();
        let (mut now, mut delays) = (0, Vec::new());
        for _ in 0..8 {
            let delay = p.delay(0, now);
            delays.push(delay / S);
            now += delay;
        }
        assert_eq!(delays, [300, 300, 600, 1200, 2400, 4000, 4000, 4000]);
    }

    #[test]
    fn attempts_over_five_days() {
        let p = patience();
        let (mut now, mut attempts) = (0, 0);
        while !p.over(0, now, false) {
            attempts += 1;
            now = p.next(QueueId(0), 0, now);
        }
        assert_eq!(attempts, 112);
        assert!(p.over(0, 86_400 * S, true) && !p.over(0, 86_399 * S, true));
    }

    #[test]
    fn what_was_put_off_together_does_not_come_back_together() {
        let p = patience();
        let all: Vec<u64> = (0..1_000).map(|n| p.next(QueueId(5_000 + n * 7), 0, 0)).collect();
        assert!(all.iter().all(|at| (300 * S..=330 * S).contains(at)));
        let most = (300..330).map(|s| all.iter().filter(|at| **at / S == s).count()).max();
        assert!(most < Some(60), "{most:?}");
    }

    #[test]
    fn late_and_clocks_that_go_back() {
        let p = patience();
        assert!(!p.late(0, 14_399 * S) && p.late(0, 14_400 * S));
        assert!(!Patience { warning: 0, ..p }.late(0, u64::MAX));
        assert_eq!(p.delay(50 * S, 0), 300 * S);
        assert!(!p.over(50 * S, 0, false));
    }
}
