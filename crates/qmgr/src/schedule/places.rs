//! How many deliveries of one transport run at a time, and which of them count against which limit.
//!
//! In Postfix a delivery is a process, and `default_process_limit` says how many the machine can
//! afford; a hundred deliveries that wait for servers which do not answer stop all others. Here
//! a delivery of mail to another host is a task that costs some kilobytes, so what must be shared
//! is something else. A transport is *elastic* when its deliveries are such tasks and its line
//! in master.cf names no limit of its own. There,
//!
//! - deliveries to destinations that took mail lately and without delay (*proven*) have as many
//!   places as the process limit says, for themselves alone;
//! - the others have as many again. One that takes longer than [`SHORT`] gives its place to the
//!   next and goes on; so do at most [`STRETCH`] times as many as the limit says, and
//!   [`HELD_BYTES`] of their content. Of these, half are for the *first* delivery to a destination:
//!   one that answers is proven by it, and many deliveries to few dead destinations
//!   cannot keep the first to a live one from starting.
//!
//! So what destinations do that hang, are dead, or put everything off, is paid for out of another
//! purse than the mail for live ones; and the purse has a bottom. Should a proven destination
//! begin to hang, its deliveries give their places back after [`LONG`], and it is proven no more.
//!
//! A number in master.cf is a promise (`slow unix - - n - 1 smtp`: never more than one connection),
//! and deliveries by a process of their own cost what they cost in Postfix: such transports are not elastic, and
//! their limit holds for all deliveries together, in turns.

use super::Limits;

/// How many times the limit may hang, see above.
pub const STRETCH: usize = 10;

/// How much content those may hold that are not proven.
pub const HELD_BYTES: u64 = 64 << 20;

/// A content longer than this is in a file, not in memory.
const IN_MEMORY: u64 = 1 << 20;

/// How long a delivery keeps its place that is not to a proven destination, microseconds.
pub const SHORT: u64 = 500_000;
/// How long any delivery may take without hanging, microseconds; and a microsecond more for each
/// byte, up to [`LONGEST`] for all of them.
pub const LONG: u64 = 10_000_000;
/// See [`LONG`].
const LONGEST: u64 = 60_000_000;

/// What a delivery counts as when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// To a proven destination; all, where the transport is not elastic.
    Proven,
    /// The only one to a destination that is not.
    First,
    /// A further one.
    More,
    /// Into a mailbox ([`super::together`]); like a proven one, but few begin at a time.
    Mailbox,
}

/// The classes in the order in which they are served. Those into mailboxes are so few at a time that they may be first.
pub const CLASSES: [Class; 4] = [Class::Mailbox, Class::Proven, Class::First, Class::More];

/// Something for each class.
#[derive(Debug, Default)]
pub struct PerClass<T>([T; 4]);

impl<T> PerClass<T> {
    /// That of a class.
    pub fn of(&self, class: Class) -> &T {
        let [proven, first, more, mailbox] = &self.0;
        match class {
            Class::Proven => proven,
            Class::First => first,
            Class::More => more,
            Class::Mailbox => mailbox,
        }
    }

    /// See [`PerClass::of`].
    pub fn of_mut(&mut self, class: Class) -> &mut T {
        let [proven, first, more, mailbox] = &mut self.0;
        match class {
            Class::Proven => proven,
            Class::First => first,
            Class::More => more,
            Class::Mailbox => mailbox,
        }
    }
}

/// One delivery, as far as places matter.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    class: Class,
    /// It still has its place.
    placed: bool,
    bytes: u64,
    /// It was, see [`Places::late`].
    pub late: bool,
    /// When it gives its place back.
    pub late_at: u64,
    /// When it hangs.
    pub hangs_at: u64,
}

/// The places of one transport.
#[derive(Debug, Default)]
pub struct Places {
    proven: usize,
    others: usize,
    hanging: usize,
    bytes: u64,
}

impl Places {
    /// How many run.
    pub fn running(&self) -> usize {
        self.proven + self.others + self.hanging
    }

    /// Whether one more of a class may start.
    pub fn room(&self, class: Class, limits: &Limits) -> bool {
        let most = limits.processes;
        if most == 0 {
            return true;
        }
        if !limits.elastic {
            return self.running() < most;
        }
        let bottom = most.saturating_mul(STRETCH);
        match class {
            Class::Proven | Class::Mailbox => self.proven < most && self.hanging < bottom,
            Class::First => self.others < most && self.hanging < bottom && self.bytes < HELD_BYTES,
            Class::More => {
                self.proven <= most / 2
                    && self.others < most
                    && self.hanging < bottom / 2
                    && self.bytes < HELD_BYTES / 2
            }
        }
    }

    /// One starts.
    pub fn take(&mut self, class: Class, size: u64, now: u64) -> Held {
        let bytes = if size > IN_MEMORY { 0 } else { size };
        match class {
            Class::Proven | Class::Mailbox => self.proven += 1,
            Class::First | Class::More => {
                self.others += 1;
                self.bytes += bytes;
            }
        }
        let most = size.min(LONGEST - LONG);
        let hangs_at = now.saturating_add(LONG + most);
        let late_at = if matches!(class, Class::Proven | Class::Mailbox) {
            hangs_at
        } else {
            now.saturating_add(SHORT + most)
        };
        Held { class, placed: true, bytes, late: false, late_at, hangs_at }
    }

    /// It is late; where the transport is elastic it gives its place to another.
    pub fn late(&mut self, held: &mut Held, limits: &Limits) {
        held.late = true;
        if !limits.elastic || !std::mem::replace(&mut held.placed, false) {
            return;
        }
        match held.class {
            Class::Proven | Class::Mailbox => {
                self.proven -= self.proven.min(1);
                self.bytes += held.bytes;
            }
            Class::First | Class::More => self.others -= self.others.min(1),
        }
        self.hanging += 1;
    }

    /// It ended.
    pub fn give_back(&mut self, held: &Held) {
        match (held.placed, held.class) {
            (true, Class::Proven | Class::Mailbox) => {
                self.proven -= self.proven.min(1);
                return;
            }
            (true, _) => self.others -= self.others.min(1),
            (false, _) => self.hanging -= self.hanging.min(1),
        }
        self.bytes -= self.bytes.min(held.bytes);
    }
}
