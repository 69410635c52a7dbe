//! Hashing passwords: at most so many at once, a few more waiting, and the rest is sent away. The
//! threads are those of the runtime for blocking work, which come when they are needed and go again.
//!
//! Whoever logged in lately from the same place has a lane of its own: guessers, however many they
//! are, fill the common one only.

use crate::attempts::network;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// So many wait for each place of a lane.
const WAITING: usize = 32;

/// Longer nobody waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many names and places are remembered, for so long.
const FAMILIAR: usize = 10_000;
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);

/// There is no place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The workers of a process.
#[derive(Debug)]
pub struct Workers {
    common: Lane,
    familiar: Lane,
    known: Mutex<HashMap<u64, Instant>>,
    seed: RandomState,
}

#[derive(Debug)]
struct Lane {
    places: Semaphore,
    waiting: AtomicUsize,
    most: usize,
}

/// One waits in a lane.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Workers {
    /// Half of the processors hash for strangers, so that the other half is there for mail; one more
    /// place is for whoever logged in lately.
    fn default() -> Workers {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Workers::new((processors / 2).clamp(1, 4))
    }
}

impl Workers {
    /// With so many places for strangers.
    pub fn new(places: usize) -> Workers {
        let lane = |places: usize| Lane {
            places: Semaphore::new(places),
            waiting: AtomicUsize::new(0),
            most: places * WAITING,
        };
        Workers {
            common: lane(places.max(1)),
            familiar: lane(1),
            known: Mutex::default(),
            seed: RandomState::new(),
        }
    }

    /// Does `job` on a worker for `user` at `address`, or says that there is no place.
    pub async fn run<T: Send + 'static>(
        &self,
        address: Option<IpAddr>,
        user: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let lane = if self.is_familiar(address, user) { &self.familiar } else { &self.common };
        if lane.waiting.fetch_add(1, Ordering::Relaxed) >= lane.most {
            lane.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        let waits = Waits(&lane.waiting);
        let place = tokio::time::timeout(PATIENCE, lane.places.acquire()).await;
        let place = place.map_err(|_| Full)?.map_err(|_| Full)?;
        drop(waits);
        let done = tokio::task::spawn_blocking(job).await.map_err(|_| Full);
        drop(place);
        done
    }

    /// This user logged in from there.
    pub fn succeeded(&self, address: Option<IpAddr>, user: &str) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= FAMILIAR {
            known.retain(|_, since| now.saturating_duration_since(*since) < REMEMBERED / 2);
        }
        if known.len() >= FAMILIAR {
            let mut ages: Vec<Instant> = known.values().copied().collect();
            let middle = ages.len() / 2;
            let oldest = *ages.select_nth_unstable(middle).1;
            known.retain(|_, since| *since > oldest);
        }
        known.insert(self.key(address, user), now);
    }

    /// Whether this user logged in from there lately.
    pub fn is_familiar(&self, address: Option<IpAddr>, user: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&self.key(address, user)).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    fn key(&self, address: Option<IpAddr>, user: &str) -> u64 {
        self.seed.hash_one((address.map(network), user.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc;

    #[tokio::test]
    async fn more_than_fit_are_sent_away_and_the_familiar_are_not() {
        let workers = Arc::new(Workers::new(1));
        let ip: Option<IpAddr> = "192.0.2.1".parse().ok();
        workers.succeeded(ip, "ana");
        let (go, gone) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let workers = workers.clone();
            async move { workers.run(None, "x", move || gone.recv().is_ok()).await }
        });
        while workers.common.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let workers = workers.clone();
                tokio::spawn(async move { workers.run(None, "x", || 7).await })
            })
            .collect();
        while workers.common.waiting.load(Ordering::Relaxed) < WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(None, "x", || 7).await, Err(Full));
        assert_eq!(workers.run(ip, "berta", || 7).await, Err(Full));
        assert_eq!(workers.run(ip, "ana", || 7).await, Ok(7));
        go.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(true));
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(7));
        }
        assert_eq!(workers.common.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(workers.run(None, "x", || 7).await, Ok(7));
    }

    #[test]
    fn many_places_do_not_make_the_last_ones_strange() {
        let workers = Workers::new(1);
        let ip = |n: usize| Some(IpAddr::from((n as u32).to_be_bytes()));
        for n in 0..=FAMILIAR {
            workers.succeeded(ip(n), "ana");
        }
        assert!(workers.is_familiar(ip(FAMILIAR - 10), "ana"));
        assert!(workers.known.lock().unwrap().len() <= FAMILIAR);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let workers = Arc::new(Workers::new(1));
        let all = workers.common.places.acquire().await.unwrap();
        assert_eq!(workers.run(None, "x", || 7).await, Err(Full));
        drop(all);
        assert_eq!(workers.common.waiting.load(Ordering::Relaxed), 0);
    }
}
