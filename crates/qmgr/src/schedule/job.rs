//! What one message has for one transport: an entry for each destination.

use super::places::{Class, PerClass};
use std::collections::{HashMap, VecDeque};

/// What goes to one destination.
#[derive(Debug)]
pub struct Entry {
    /// The next hop given to the transport.
    pub nexthop: String,
    /// Places in the envelope, not started yet.
    pub recipients: VecDeque<usize>,
    /// One recipient for each delivery.
    pub single: bool,
    /// Never together with other messages.
    pub alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Waits for its destination's window.
    Waiting,
    /// In the list of those to start, of this class.
    Admitted(Class),
}

/// The entries of one message.
#[derive(Debug, Default)]
pub struct Job {
    /// Bytes of the content.
    pub size: u64,
    entries: HashMap<usize, (Entry, Stand)>,
    ready: PerClass<VecDeque<usize>>,
    listed: PerClass<bool>,
}

impl Job {
    /// Adds an entry for a destination; false when there is one, which then grew.
    pub fn add(&mut self, destination: usize, entry: Entry) -> bool {
        if let Some((old, _)) = self.entries.get_mut(&destination) {
            old.recipients.extend(entry.recipients);
            return false;
        }
        self.entries.insert(destination, (entry, Stand::Waiting));
        true
    }

    /// An entry may be started together with those of other messages: it is one recipient, whose fate is that of the entry.
    pub fn is_sociable(&self, destination: usize) -> bool {
        let fits = |e: &Entry| !e.single && !e.alone && e.recipients.len() == 1;
        self.entries.get(&destination).is_some_and(|(entry, _)| fits(entry))
    }

    /// An entry is to go alone.
    pub fn is_alone(&self, destination: usize) -> bool {
        self.entries.get(&destination).is_some_and(|(entry, _)| entry.alone)
    }

    /// Nothing is left to start.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All its destinations.
    pub fn destinations(&self) -> impl Iterator<Item = usize> {
        self.entries.keys().copied()
    }

    /// An entry that waits may start when there is a place of this class; false when none waits.
    pub fn admit(&mut self, destination: usize, class: Class) -> bool {
        match self.entries.get_mut(&destination) {
            Some((_, stand)) if *stand == Stand::Waiting => {
                *stand = Stand::Admitted(class);
                self.ready.of_mut(class).push_back(destination);
                true
            }
            _ => false,
        }
    }

    /// An admitted entry shall start in another class.
    pub fn reclass(&mut self, destination: usize, class: Class) -> bool {
        match self.entries.get_mut(&destination) {
            Some((_, stand)) if *stand != Stand::Waiting && *stand != Stand::Admitted(class) => {
                *stand = Stand::Admitted(class);
                self.ready.of_mut(class).push_back(destination);
                true
            }
            _ => false,
        }
    }

    /// The job shall have a turn; false when it already waits for one.
    pub fn enlist(&mut self, class: Class) -> bool {
        !std::mem::replace(self.listed.of_mut(class), true)
    }

    /// Its turn is now: the next destination to start.
    pub fn turn(&mut self, class: Class) -> Option<usize> {
        *self.listed.of_mut(class) = false;
        while let Some(destination) = self.ready.of_mut(class).pop_front() {
            let stand = self.entries.get(&destination).map(|(_, stand)| *stand);
            if stand == Some(Stand::Admitted(class)) {
                return Some(destination);
            }
        }
        None
    }

    /// It has more of a class.
    pub fn has_ready(&self, class: Class) -> bool {
        !self.ready.of(class).is_empty()
    }

    /// Up to `limit` recipients (0: all) of an entry, and whether there are more, which then wait;
    /// without more the entry is gone.
    pub fn take(&mut self, destination: usize, limit: usize) -> Option<(String, Vec<usize>, bool)> {
        let (entry, stand) = self.entries.get_mut(&destination)?;
        let limit = if entry.single { 1 } else { limit };
        if limit == 0 || limit >= entry.recipients.len() {
            let (entry, _) = self.entries.remove(&destination)?;
            return Some((entry.nexthop, entry.recipients.into(), false));
        }
        let recipients: Vec<usize> = entry.recipients.drain(..limit).collect();
        *stand = Stand::Waiting;
        Some((entry.nexthop.clone(), recipients, true))
    }
}
