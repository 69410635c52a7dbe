//! What is known of addresses, and when it is too old: pure, the time comes in as an argument (seconds
//! since 1970). verify(8)

use std::collections::HashMap;

/// What a probe found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Mail can be delivered to it.
    Deliverable,
    /// Nobody can tell now.
    Deferred,
    /// Mail cannot be delivered to it.
    Undeliverable,
    /// Nothing is known yet.
    InProgress,
}

/// How old things may be, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Times {
    pub positive_expire: u64,
    pub positive_refresh: u64,
    pub negative_expire: u64,
    pub negative_refresh: u64,
    /// Failures are remembered, too.
    pub negative_cache: bool,
}

/// What is known of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was found out last that counts.
    pub standing: Standing,
    /// When it was probed without an answer since; 0 for never.
    pub probed: u64,
    /// When it was found out; 0 for never.
    pub updated: u64,
    /// The words of whoever said so.
    pub text: String,
}

/// A probe without answer for so long is forgotten.
const PROBE: u64 = 1000;
/// The longest address that anything is known of.
pub const LONGEST: usize = 512;
/// Of a text, so much is kept.
const WORDS: usize = 300;

/// All of them.
#[derive(Debug)]
pub struct Cache {
    entries: HashMap<String, Entry>,
    most: usize,
}

impl Entry {
    fn is_expired(&self, now: u64, times: &Times) -> bool {
        let limit = match self.standing {
            Standing::Deliverable => times.positive_expire,
            _ => times.negative_expire,
        };
        self.updated.saturating_add(limit) < now
    }

    fn is_old(&self, now: u64, times: &Times) -> bool {
        let limit = match self.standing {
            Standing::Deliverable => times.positive_refresh,
            _ => times.negative_refresh,
        };
        self.updated.saturating_add(limit) < now
    }

    /// No probe is under way. One of the future comes of a clock that was set back.
    fn is_idle(&self, now: u64) -> bool {
        self.probed > now || now - self.probed > PROBE
    }
}

impl Cache {
    /// Keeps `most` at a time.
    pub fn new(most: usize) -> Cache {
        Cache { entries: HashMap::new(), most }
    }

    /// What is known of an address, without asking for more.
    pub fn known(&self, address: &str, now: u64, times: &Times) -> Option<&Entry> {
        let entry = self.entries.get(address)?;
        let counts = entry.standing != Standing::InProgress && !entry.is_expired(now, times);
        counts.then_some(entry)
    }

    /// Whether an address should be probed now; if so, it counts as being probed.
    pub fn wants_probe(&mut self, address: &str, now: u64, times: &Times) -> bool {
        match self.entries.get_mut(address) {
            Some(entry) if !entry.is_idle(now) || !entry.is_old(now, times) => return false,
            Some(entry) => entry.probed = now,
            None => {
                self.make_room(now, times);
                let entry =
                    Entry { standing: Standing::InProgress, probed: now, updated: 0, text: String::new() };
                self.entries.insert(address.to_string(), entry);
            }
        }
        true
    }

    /// A probe could not be sent: the next question may try again.
    pub fn not_probed(&mut self, address: &str) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.probed = 0;
        }
    }

    /// A probe was answered. Gives back what is to be kept on disk, if anything changed that counts.
    /// An address that was deliverable stays so until that expires: other hosts have their troubles.
    pub fn heard(
        &mut self,
        address: &str,
        standing: Standing,
        text: &str,
        now: u64,
        times: &Times,
    ) -> Option<&Entry> {
        if standing != Standing::Deliverable {
            let held = self.known(address, now, times).is_some_and(|e| e.standing == Standing::Deliverable);
            if held {
                return None;
            }
            if !times.negative_cache {
                self.entries.remove(address);
                return None;
            }
        }
        if !self.entries.contains_key(address) {
            self.make_room(now, times);
        }
        self.put(address.to_string(), Entry { standing, probed: 0, updated: now, text: words(text) });
        self.entries.get(address)
    }

    /// Puts in what was kept on disk.
    pub fn put(&mut self, address: String, entry: Entry) {
        if address.len() <= LONGEST && (self.entries.len() < self.most || self.entries.contains_key(&address))
        {
            self.entries.insert(address, entry);
        }
    }

    /// Forgets what expired: how many stay, how many went.
    pub fn clean(&mut self, now: u64, times: &Times) -> (usize, usize) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !entry.is_expired(now, times) || !entry.is_idle(now));
        (self.entries.len(), before - self.entries.len())
    }

    /// All that is to be kept on disk.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter().filter(|(_, e)| e.standing != Standing::InProgress)
    }

    /// Room for one more: what expired goes, then a tenth, that which nobody needs first: what is not
    /// deliverable, and what is oldest.
    fn make_room(&mut self, now: u64, times: &Times) {
        if self.entries.len() < self.most {
            return;
        }
        self.clean(now, times);
        if self.entries.len() < self.most {
            return;
        }
        let worth = |e: &Entry| (e.standing == Standing::Deliverable, e.updated.max(e.probed));
        let mut all: Vec<_> = self.entries.iter().map(|(a, e)| (worth(e), a.clone())).collect();
        let go = (all.len() / 10).max(1);
        let last = go.min(all.len()).saturating_sub(1);
        all.select_nth_unstable(last);
        for (_, address) in all.into_iter().take(go) {
            self.entries.remove(&address);
        }
    }
}

/// One line of bounded length.
fn words(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::Standing::*;
    use super::*;
    use proptest::prelude::*;

    const TIMES: Times = Times {
        positive_expire: 31 * 86_400,
        positive_refresh: 7 * 86_400,
        negative_expire: 3 * 86_400,
        negative_refresh: 3 * 3600,
        negative_cache: true,
    };
    const START: u64 = 1_700_000_000;

    fn standing(cache: &Cache, now: u64) -> Standing {
        cache.known("a@b", now, &TIMES).map_or(InProgress, |e| e.standing)
    }

    #[test]
    fn probed_once_and_again_when_it_is_old() {
        let mut cache = Cache::new(10);
        let mut now = START;
        assert!(cache.wants_probe("a@b", now, &TIMES));
        assert_eq!(standing(&cache, now), InProgress);
        assert!(!cache.wants_probe("a@b", now + 1000, &TIMES), "one is under way");
        assert!(cache.wants_probe("a@b", now + 1001, &TIMES), "nobody answered");
        now += 1002;
        cache.heard("a@b", Deliverable, "250 ok", now, &TIMES);
        assert_eq!(standing(&cache, now), Deliverable);
        assert!(!cache.wants_probe("a@b", now + TIMES.positive_refresh, &TIMES));
        now += TIMES.positive_refresh + 1;
        assert!(cache.wants_probe("a@b", now, &TIMES));
        assert_eq!(standing(&cache, now), Deliverable, "believed in meanwhile");
        assert!(cache.heard("a@b", Undeliverable, "550 no", now, &TIMES).is_none());
        assert_eq!(standing(&cache, now), Deliverable, "one failure proves nothing");
        now = START + 1002 + TIMES.positive_expire + 1;
        assert_eq!(standing(&cache, now), InProgress);
        assert!(cache.wants_probe("a@b", now, &TIMES));
        cache.heard("a@b", Undeliverable, "550 no", now, &TIMES);
        assert_eq!(standing(&cache, now), Undeliverable);
        assert!(!cache.wants_probe("a@b", now + TIMES.negative_refresh, &TIMES));
        assert!(cache.wants_probe("a@b", now + TIMES.negative_refresh + 1, &TIMES));
        cache.heard("a@b", Deferred, "450\r\nlater", now + 20_000, &TIMES);
        assert_eq!(cache.known("a@b", now + 20_000, &TIMES).unwrap().text, "450  later");
        assert_eq!(standing(&cache, now + 20_000 + TIMES.negative_expire + 1), InProgress);
        assert_eq!(cache.clean(now + 20_000 + TIMES.negative_expire + 1, &TIMES), (0, 1));
    }

    #[test]
    fn failures_may_be_forgotten_at_once() {
        let times = Times { negative_cache: false, ..TIMES };
        let mut cache = Cache::new(10);
        assert!(cache.wants_probe("a@b", START, &times));
        assert!(cache.heard("a@b", Undeliverable, "no", START, &times).is_none());
        assert!(cache.wants_probe("a@b", START, &times));
        cache.not_probed("a@b");
        assert!(cache.wants_probe("a@b", START + 1, &times), "one that could not be sent is none");
    }

    #[test]
    fn a_clock_that_was_set_back_blocks_nothing() {
        let mut cache = Cache::new(10);
        assert!(cache.wants_probe("a@b", START, &TIMES));
        assert!(cache.wants_probe("a@b", START - 100, &TIMES));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_room() {
        let mut cache = Cache::new(100);
        for n in 0..50 {
            let address = format!("good{n}@b");
            cache.wants_probe(&address, START, &TIMES);
            cache.heard(&address, Deliverable, "ok", START, &TIMES);
        }
        for n in 0..10_000 {
            assert!(cache.wants_probe(&format!("flood{n}@b"), START + n, &TIMES));
            assert!(cache.entries.len() <= 100);
        }
        let good = cache.entries.keys().filter(|a| a.starts_with("good")).count();
        assert_eq!(good, 50, "what is known to be deliverable stays");
    }

    proptest! {
        #[test]
        fn never_too_many_and_never_known_beyond_its_time(
            steps in prop::collection::vec((0..30u8, 0..4u8, 0..2_000_000u64), 1..200)
        ) {
            let (mut cache, mut now) = (Cache::new(12), START);
            for (who, what, pause) in steps {
                now += pause;
                let address = format!("a{who}@b");
                match what {
                    0 => _ = cache.wants_probe(&address, now, &TIMES),
                    1 => _ = cache.heard(&address, Deliverable, "ok", now, &TIMES),
                    2 => _ = cache.heard(&address, Undeliverable, "no", now, &TIMES),
                    _ => _ = cache.clean(now, &TIMES),
                }
                prop_assert!(cache.entries.len() <= 12);
                if let Some(entry) = cache.known(&address, now, &TIMES) {
                    prop_assert!(entry.updated + TIMES.positive_expire >= now);
                }
            }
        }
    }
}
