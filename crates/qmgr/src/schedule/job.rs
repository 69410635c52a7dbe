//! What one message has for one transport: an entry for each destination.

use std::collections::{HashMap, VecDeque};

/// What goes to one destination.
#[derive(Debug)]
pub struct Entry {
    /// The destination's name.
    pub destination: String,
    /// The next hop given to the transport.
    pub nexthop: String,
    /// Places in the envelope, not started yet.
    pub recipients: VecDeque<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// In the list of those to look at.
    Ready,
    /// The same, and a place at the destination is kept for it.
    Reserved,
    /// Waits in the destination's list.
    Parked,
}

/// The entries of one message.
#[derive(Debug, Default)]
pub struct Job {
    entries: HashMap<String, (Entry, Stand)>,
    ready: VecDeque<String>,
    listed: bool,
}

impl Job {
    /// Adds an entry; true when there is one for that destination, which then grew.
    pub fn add(&mut self, entry: Entry) -> bool {
        if let Some((old, _)) = self.entries.get_mut(&entry.destination) {
            old.recipients.extend(entry.recipients);
            return true;
        }
        self.ready.push_back(entry.destination.clone());
        self.entries.insert(entry.destination.clone(), (entry, Stand::Ready));
        false
    }

    /// Nothing is left to start.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Something may be started.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The job shall have a turn; false when it already waits for one.
    pub fn enlist(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    /// Its turn is now.
    pub fn delist(&mut self) {
        self.listed = false;
    }

    /// The next destination to look at.
    pub fn next_ready(&mut self) -> Option<String> {
        while let Some(name) = self.ready.pop_front() {
            if self.entries.get(&name).is_some_and(|(_, stand)| *stand != Stand::Parked) {
                return Some(name);
            }
        }
        None
    }

    /// A place was kept for it; now it is used or given back.
    pub fn take_reservation(&mut self, destination: &str) -> bool {
        match self.entries.get_mut(destination) {
            Some((_, stand)) if *stand == Stand::Reserved => {
                *stand = Stand::Ready;
                true
            }
            _ => false,
        }
    }

    /// The destinations that keep a place for it.
    pub fn reservations(&self) -> impl Iterator<Item = String> + '_ {
        self.entries.iter().filter(|(_, (_, s))| *s == Stand::Reserved).map(|(name, _)| name.clone())
    }

    /// All its destinations.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// It waits at its destination.
    pub fn park(&mut self, destination: &str) {
        if let Some((_, stand)) = self.entries.get_mut(destination) {
            *stand = Stand::Parked;
        }
    }

    /// It waited and got a place; false when it does not wait there.
    pub fn unpark(&mut self, destination: &str) -> bool {
        match self.entries.get_mut(destination) {
            Some((_, stand)) if *stand == Stand::Parked => {
                *stand = Stand::Reserved;
                self.ready.push_back(destination.to_string());
                true
            }
            _ => false,
        }
    }

    /// It has more for a destination it was just looked at for.
    pub fn ready_again(&mut self, destination: &str) {
        self.ready.push_back(destination.to_string());
    }

    /// Up to `limit` recipients (0: all) of an entry, and whether there are more; without more the
    /// entry is gone.
    pub fn take(&mut self, destination: &str, limit: usize) -> Option<(String, Vec<usize>, bool)> {
        let (entry, _) = self.entries.get_mut(destination)?;
        let n = if limit == 0 { entry.recipients.len() } else { limit.min(entry.recipients.len()) };
        let recipients: Vec<usize> = entry.recipients.drain(..n).collect();
        let nexthop = entry.nexthop.clone();
        let more = !entry.recipients.is_empty();
        if !more {
            self.entries.remove(destination);
        }
        Some((nexthop, recipients, more))
    }
}
