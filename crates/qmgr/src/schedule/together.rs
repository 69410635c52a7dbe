//! Messages for the same mailbox, delivered by one process one after the other.
//!
//! To begin a delivery on this machine costs far more than to append one more message: processes, tables, a lock, a sync. And
//! two that append to the same mailbox at the same moment are in each other's way: one of them waits for the lock. So, for
//! transports that can do it (`Limits::together`):
//!
//! - while a delivery to a destination is *fresh*, no other to it begins; those that come meanwhile wait for its end and then
//!   go together, in their order, as one delivery. One that finds nobody there starts at once.
//! - a delivery is fresh for [`FRESH`], which a mailbox does not need. What takes longer (a command, a mailbox that somebody
//!   has locked) delays no other message for longer than that: then others begin, as many as the concurrency limits allow.
//!   Only where a destination is a mailbox itself they wait up to [`OWN`] longer, as they would for its lock. One that goes
//!   alone because its mailbox was locked ([`super::Group::alone`]) delays nobody.
//! - only `Limits::writers` deliveries into mailboxes are fresh at a time. More would not be faster, as they
//!   are at work all the time, but in each other's way; and what waits for them makes the next ones longer.
//!
//! Whether a destination is a mailbox is known from the last delivery to it, or else guessed from the last one of the transport.
//! Where it is a command or an alias all is as in Postfix: a process for each message, as many at a time as the limits say. A
//! delivery of several messages counts once against each limit, as it does one after the other.

use super::Limits;
use super::destination::Destination;
use super::job::Job;
use super::places::Class;
use proto::QueueId;
use std::collections::{BTreeSet, HashMap};

/// How long a delivery is fresh, microseconds.
pub const FRESH: u64 = 100_000;

/// How much longer for its own mailbox alone, microseconds.
pub const OWN: u64 = 10_000_000;

/// What one process gets at most, bytes.
const MOST_BYTES: u64 = 4 << 20;

/// Messages larger than this are delivered on their own, bytes.
const LARGE: u64 = 512 << 10;

/// A delivery that is fresh.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    until: u64,
    /// It is one of the transport's writers.
    writes: bool,
    /// Its destination is one mailbox.
    own: bool,
}

/// What a transport knows of its mailboxes.
#[derive(Debug, Default)]
pub struct Known {
    /// Fresh deliveries by the moment when they are so no more.
    pub fresh: BTreeSet<(u64, u64)>,
    /// Fresh deliveries into mailboxes.
    pub writing: usize,
    /// The last delivery of the transport went into a mailbox, or did not.
    mailbox: Option<bool>,
}

impl Known {
    /// Whether a destination is a mailbox; `None` when nobody knows, and it could be.
    pub fn expects(&self, there: &Destination, limits: &Limits) -> Option<bool> {
        if limits.together <= 1 { Some(false) } else { there.mailbox.or(self.mailbox) }
    }

    /// A delivery begins, as [`Fresh`] unless it is to go `alone`.
    pub fn begins(
        &mut self,
        there: &mut Destination,
        (class, alone): (Class, bool),
        delivery: u64,
        now: u64,
        limits: &Limits,
    ) -> Option<Fresh> {
        if limits.together <= 1 || alone {
            return None;
        }
        let writes = class == Class::Mailbox;
        let fresh = Fresh { until: now.saturating_add(FRESH), writes, own: writes && limits.recipients == 1 };
        there.fresh += 1;
        self.writing += usize::from(writes);
        self.fresh.insert((fresh.until, delivery));
        Some(fresh)
    }

    /// Time has passed; gives what the delivery is now.
    pub fn ages(&mut self, there: &mut Destination, fresh: Fresh, delivery: u64) -> Option<Fresh> {
        self.forget(there, fresh, delivery);
        if there.mailbox.is_none() {
            // What takes so long is rarely a mailbox.
            self.mailbox = None;
        }
        if !fresh.own {
            return None;
        }
        let older = Fresh { until: fresh.until.saturating_add(OWN), writes: false, own: false };
        there.fresh += 1;
        self.fresh.insert((older.until, delivery));
        Some(older)
    }

    /// A delivery ended, and said what it was.
    pub fn ends(
        &mut self,
        there: &mut Destination,
        fresh: Option<Fresh>,
        delivery: u64,
        mailbox: Option<bool>,
    ) {
        if let Some(fresh) = fresh {
            self.forget(there, fresh, delivery);
        }
        if mailbox.is_some() {
            there.mailbox = mailbox;
            self.mailbox = mailbox;
        }
    }

    fn forget(&mut self, there: &mut Destination, fresh: Fresh, delivery: u64) {
        there.fresh -= there.fresh.min(1);
        self.writing -= self.writing.min(usize::from(fresh.writes));
        self.fresh.remove(&(fresh.until, delivery));
    }
}

/// Takes the messages that wait for a destination and may go along with one of `size` bytes that starts. Gives them, and the
/// bytes of all.
pub fn gather(
    there: &mut Destination,
    place: usize,
    jobs: &mut HashMap<QueueId, Job>,
    size: u64,
    limits: &Limits,
) -> (Vec<(QueueId, Vec<usize>)>, u64) {
    let (mut with, mut bytes) = (Vec::new(), size);
    if size > LARGE || limits.rate_delay > 0 || limits.transport_delay > 0 {
        return (with, bytes);
    }
    while with.len() + 1 < limits.together
        && let Some(id) = there.waiting.front().copied()
    {
        let Some(job) = jobs.get_mut(&id) else {
            there.waiting.pop_front();
            continue;
        };
        // Nobody overtakes the one that must go alone.
        if job.size > LARGE || bytes + job.size > MOST_BYTES || !job.is_sociable(place) {
            break;
        }
        there.waiting.pop_front();
        if let Some((_, recipients, _)) = job.take(place, limits.recipients) {
            bytes += job.size;
            there.entries = there.entries.saturating_sub(1);
            with.push((id, recipients));
        }
        if job.is_empty() {
            jobs.remove(&id);
        }
    }
    (with, bytes)
}
