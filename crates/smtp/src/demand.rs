//! Which destinations have more mail coming, so that their connections are worth keeping.
//!
//! As in Postfix: when deliveries to a destination overlap, or follow each other within a second, and
//! until that ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Deliveries within this time of each other follow each other.
const SOON: Duration = Duration::from_secs(1);
/// Beyond so many destinations those that rest are forgotten.
const MANY: usize = 1024;

#[derive(Default)]
struct Destination {
    running: u32,
    ended: Option<Instant>,
}

impl Destination {
    fn busy(&self, now: Instant) -> bool {
        self.running > 0 || self.ended.is_some_and(|e| now.duration_since(e) <= SOON)
    }
}

/// All destinations of a service.
#[derive(Default)]
pub struct Demand(Mutex<HashMap<String, Destination>>);

/// A delivery that is under way.
pub struct Visit<'a> {
    demand: &'a Demand,
    name: &'a str,
    /// There was, or is, other mail for the destination.
    followed: bool,
}

impl Demand {
    /// A delivery begins.
    pub fn visit<'a>(&'a self, name: &'a str) -> Visit<'a> {
        let now = Instant::now();
        let mut all = self.all();
        if all.len() > MANY {
            all.retain(|_, d| d.busy(now));
        }
        let followed = match all.get_mut(name) {
            Some(destination) => {
                let followed = destination.busy(now);
                destination.running += 1;
                followed
            }
            None => {
                all.insert(name.to_string(), Destination { running: 1, ended: None });
                false
            }
        };
        Visit { demand: self, name, followed }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Destination>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit<'_> {
    /// Whether a connection is worth keeping.
    pub fn is_followed(&self) -> bool {
        self.followed || self.demand.all().get(self.name).is_some_and(|d| d.running > 1)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(destination) = self.demand.all().get_mut(self.name) {
            destination.running = destination.running.saturating_sub(1);
            destination.ended = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_and_following() {
        let demand = Demand::default();
        let first = demand.visit("a");
        assert!(!first.is_followed() && !demand.visit("b").is_followed());
        let second = demand.visit("a");
        assert!(first.is_followed() && second.is_followed());
        drop((first, second));
        assert!(demand.visit("a").is_followed(), "within a second");
        let later = Instant::now() + SOON * 2;
        assert!(!demand.all()["a"].busy(later));
    }
}
