//! Sessions of servers, to be resumed: by service, destination and policy, not by name alone, so that
//! what was agreed under one policy is never used under another. Bounded: the oldest goes.

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many destinations are remembered, and how many tickets of each.
const DESTINATIONS: usize = 512;
const TICKETS: usize = 4;

#[derive(Default)]
struct Entry {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of one destination.
    pub fn of(self: &Arc<Sessions>, key: &str) -> Arc<Own> {
        Arc::new(Own { all: self.clone(), key: key.into(), closed: AtomicBool::new(false) })
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }
}

impl Inner {
    fn edit(&mut self, key: &Arc<str>, change: impl FnOnce(&mut Entry)) {
        if !self.entries.contains_key(key) {
            self.order.push_back(key.clone());
            if self.order.len() > DESTINATIONS
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
        }
        change(self.entries.entry(key.clone()).or_default());
    }
}

/// The sessions of one destination, as the library asks for them.
pub(super) struct Own {
    all: Arc<Sessions>,
    key: Arc<str>,
    /// What comes of this connection is not remembered.
    closed: AtomicBool,
}

impl Own {
    /// Forgets the destination, and whatever this connection may bring yet.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.all.lock().edit(&self.key, |e| (e.tls12, e.tls13) = Default::default());
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({})", self.key)
    }
}

impl ClientSessionStore for Own {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.all.lock().edit(&self.key, |e| e.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.all.lock().entries.get(&self.key).and_then(|e| e.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        if !self.closed.load(Ordering::Relaxed) {
            self.all.lock().edit(&self.key, |e| e.tls12 = Some(value));
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.all.lock().entries.get(&self.key).and_then(|e| e.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.all.lock().edit(&self.key, |e| e.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        self.all.lock().edit(&self.key, |e| {
            if e.tls13.len() >= TICKETS {
                e.tls13.pop_front();
            }
            e.tls13.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.all.lock().entries.get_mut(&self.key).and_then(|e| e.tls13.pop_back())
    }
}
