//! Connections that wait a moment for the next message.

use crate::session::{Endpoint, Session};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most connections that wait at a time; others are closed.
const MOST: usize = 1000;

/// Of one service.
pub struct Pool {
    waiting: Mutex<Waiting>,
    idle: Duration,
    skip_quit: bool,
}

#[derive(Default)]
struct Waiting {
    /// By the destination and login they were made for; last come, first used.
    by_destination: HashMap<String, Vec<Idle>>,
    count: usize,
    /// Somebody closes those that waited too long.
    swept: bool,
}

struct Idle {
    session: Session,
    since: Instant,
}

impl Pool {
    /// Connections wait for `idle` at most.
    pub fn new(idle: Duration, skip_quit: bool) -> Arc<Pool> {
        Arc::new(Pool { waiting: Mutex::default(), idle, skip_quit })
    }

    /// Keeps a connection for `destination`.
    pub fn put(self: &Arc<Pool>, destination: &str, session: Session) {
        let mut waiting = self.waiting();
        if waiting.count >= MOST || self.idle.is_zero() {
            drop(waiting);
            return session.close(self.skip_quit);
        }
        let idle = Idle { session, since: Instant::now() };
        match waiting.by_destination.get_mut(destination) {
            Some(list) => list.push(idle),
            None => {
                waiting.by_destination.insert(destination.to_string(), vec![idle]);
            }
        }
        waiting.count += 1;
        if !std::mem::replace(&mut waiting.swept, true) {
            drop(waiting);
            tokio::spawn(self.clone().sweep());
        }
    }

    /// A connection that was kept for `destination` and leads to one of its best hosts.
    pub async fn take(&self, destination: &str, fits: impl Fn(&Session) -> bool) -> Option<Session> {
        self.usable(|waiting| waiting.remove(destination, |s| s.peer.best && fits(s))).await
    }

    /// One that leads to this host, whatever destination it was made for.
    pub async fn take_host(&self, host: &str, endpoint: &Endpoint, identity: &str) -> Option<Session> {
        let fits = |s: &Session| {
            s.peer.endpoint == *endpoint && s.peer.host.eq_ignore_ascii_case(host) && s.identity == identity
        };
        self.usable(|waiting| {
            let key = waiting.by_destination.iter().find(|(_, l)| l.iter().any(|i| fits(&i.session)));
            let key = key.map(|(k, _)| k.clone())?;
            waiting.remove(&key, fits)
        })
        .await
    }

    async fn usable(&self, mut find: impl FnMut(&mut Waiting) -> Option<Session>) -> Option<Session> {
        loop {
            let mut session = find(&mut self.waiting())?;
            if !session.is_stale().await {
                return Some(session);
            }
        }
    }

    /// Closes what waited too long, while there is anything.
    async fn sweep(self: Arc<Pool>) {
        let pause = (self.idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            let now = Instant::now();
            let mut waiting = self.waiting();
            let mut old = Vec::new();
            for list in waiting.by_destination.values_mut() {
                old.extend(list.extract_if(.., |i| now.duration_since(i.since) >= self.idle));
            }
            waiting.by_destination.retain(|_, list| !list.is_empty());
            waiting.count -= old.len();
            waiting.swept = waiting.count > 0;
            let more = waiting.swept;
            if !more {
                waiting.by_destination = HashMap::new();
            }
            drop(waiting);
            old.into_iter().for_each(|i| i.session.close(self.skip_quit));
            if !more {
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn remove(&mut self, destination: &str, fits: impl Fn(&Session) -> bool) -> Option<Session> {
        let list = self.by_destination.get_mut(destination)?;
        let at = list.iter().rposition(|i| fits(&i.session))?;
        self.count -= 1;
        Some(list.remove(at).session)
    }
}
