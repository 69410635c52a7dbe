//! What was learnt, and who waits for what. Exactly the question that was put is kept, with what came
//! of it.

use super::exchange::{Exchange, Source};
use super::read::Meaning;
use super::{Completion, Failure, Kind, Reply, name, wire};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, WeakShared};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) type Outcome = Result<Arc<Reply>, Failure>;
type Key = (Box<str>, Kind);

/// What clones of a resolver share.
pub(super) struct Shared {
    exchange: Exchange,
    known: Mutex<Known>,
    open: Mutex<Open>,
}

/// Questions whose answer is on its way, each with a number.
#[derive(Default)]
struct Open {
    last: u64,
    questions: HashMap<Key, (u64, WeakShared<BoxFuture<'static, Outcome>>)>,
}

/// Names that an alias may lead through.
const MOST_ALIASES: usize = 10;

impl Shared {
    pub fn new(source: Source) -> Shared {
        Shared {
            exchange: Exchange::new(source),
            known: Mutex::new(Known::default()),
            open: Mutex::new(Open::default()),
        }
    }

    /// The answer for a name, or for the first of its completions that has one.
    pub async fn find(self: &Arc<Self>, text: &str, kind: Kind, completion: Completion) -> Outcome {
        if completion == Completion::default() {
            return self.exactly(text, kind).await;
        }
        let mut worst = Failure::NotFound;
        for candidate in candidates(text, completion, &self.exchange.source.settings()) {
            match self.exactly(&candidate, kind).await {
                Err(Failure::NotFound) => {}
                Err(Failure::NoData) => worst = Failure::NoData,
                other => return other,
            }
        }
        Err(worst)
    }

    async fn exactly(self: &Arc<Self>, text: &str, kind: Kind) -> Outcome {
        let ascii = match text {
            // The root is no host and has no mail, but it has name servers.
            "." if kind == Kind::Ns => String::new(),
            _ => name::ascii(text).ok_or(Failure::BadName)?,
        };
        let key = (ascii.into_boxed_str(), kind);
        if let Some(known) = lock(&self.known).get(&key, Instant::now()) {
            return known;
        }
        let question = {
            let mut open = lock(&self.open);
            match open.questions.get(&key).and_then(|(_, q)| q.upgrade()) {
                Some(question) => question,
                None => {
                    open.last += 1;
                    let guard = Guard { shared: self.clone(), key: key.clone(), number: open.last };
                    let question = guard.ask().boxed().shared();
                    if let Some(weak) = question.downgrade() {
                        let number = open.last;
                        open.questions.insert(key, (number, weak));
                    }
                    question
                }
            }
        };
        question.await
    }

    /// Puts the question, follows aliases. Also for how long the outcome may be kept.
    async fn ask(&self, asked: &str, kind: Kind) -> (Outcome, Option<Duration>) {
        let mut current = asked.to_string();
        let (mut all_secure, mut shortest) = (true, Duration::MAX);
        for _ in 0..=MOST_ALIASES {
            let Some(name) = wire::name(&current) else { return (Err(Failure::BadName), None) };
            let (meaning, secure) = self.exchange.ask(&name, kind).await;
            all_secure &= secure;
            return match meaning {
                Meaning::Found { records, canonical, warnings, ttl } => {
                    let ttl = ttl.min(shortest);
                    let reply = Reply { records, canonical, warnings, secure: all_secure };
                    (Ok(Arc::new(reply)), Some(ttl))
                }
                Meaning::Alias { target, ttl } => {
                    shortest = shortest.min(ttl);
                    current = target;
                    continue;
                }
                Meaning::NoData(ttl) => (Err(Failure::NoData), ttl.map(|t| t.min(shortest))),
                Meaning::NotFound(ttl) => (Err(Failure::NotFound), ttl.map(|t| t.min(shortest))),
                Meaning::Invalid { warnings } => (Err(Failure::Invalid(warnings)), None),
                Meaning::Garbage => (Err(Failure::Garbage), None),
                Meaning::Loop => break,
                Meaning::TooModern => (Err(Failure::Temporary(String::new())), None),
                Meaning::Trouble(why) => (Err(Failure::Temporary(why)), None),
            };
        }
        (Err(Failure::Temporary(format!("Name server loop for {asked}"))), None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names to try, as resolver(3) completes them.
fn candidates(text: &str, completion: Completion, settings: &super::servers::Settings) -> Vec<String> {
    if text.ends_with('.') {
        return vec![text.to_string()];
    }
    let dots = text.matches('.').count();
    let domains: &[String] = match (completion.dnsrch, completion.defnames && dots == 0) {
        (true, _) => &settings.search,
        (false, true) => settings.search.get(..1).unwrap_or_default(),
        (false, false) => &[],
    };
    let mut all: Vec<String> = domains.iter().map(|d| format!("{text}.{d}")).collect();
    match dots >= settings.ndots {
        true => all.insert(0, text.to_string()),
        false => all.push(text.to_string()),
    }
    all
}

/// An open question. Its number is struck off when it is answered, and when nobody waits any more.
struct Guard {
    shared: Arc<Shared>,
    key: Key,
    number: u64,
}

impl Guard {
    async fn ask(self) -> Outcome {
        let (outcome, ttl) = self.shared.ask(&self.key.0, self.key.1).await;
        if let Some(ttl) = ttl.filter(|t| !t.is_zero()) {
            lock(&self.shared.known).put(self.key.clone(), outcome.clone(), Instant::now() + ttl);
        }
        outcome
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = lock(&self.shared.open);
        if open.questions.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            open.questions.remove(&self.key);
            if open.questions.is_empty() {
                open.questions.shrink_to(64);
            }
        }
    }
}

/// The memory: two generations. When the young one is full the old one is forgotten and the young
/// one is old; what is used of the old one is young again. So the size is bounded, and what is used
/// stays.
#[derive(Default)]
struct Known {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    outcomes: HashMap<Key, (Instant, Outcome)>,
    bytes: usize,
}

/// Of one generation.
const MOST_OUTCOMES: usize = 4096;
const MOST_BYTES: usize = 1024 * 1024;
/// A longer answer is not kept.
const LARGEST: usize = 16 * 1024;

impl Known {
    fn get(&mut self, key: &Key, now: Instant) -> Option<Outcome> {
        if let Some((until, outcome)) = self.young.outcomes.get(key) {
            return (now < *until).then(|| outcome.clone());
        }
        let (until, outcome) = self.old.outcomes.remove(key)?;
        if now >= until {
            return None;
        }
        self.put(key.clone(), outcome.clone(), until);
        Some(outcome)
    }

    fn put(&mut self, key: Key, outcome: Outcome, until: Instant) {
        let bytes = size(&key, &outcome);
        if bytes > LARGEST {
            return;
        }
        if self.young.outcomes.len() >= MOST_OUTCOMES || self.young.bytes + bytes > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += bytes;
        self.young.outcomes.insert(key, (until, outcome));
    }
}

/// Roughly what an outcome takes.
fn size(key: &Key, outcome: &Outcome) -> usize {
    use super::Record;
    let record = |r: &Record| {
        std::mem::size_of::<Record>()
            + match r {
                Record::A(_) | Record::Aaaa(_) => 0,
                Record::Mx(mx) => mx.host.len(),
                Record::Name(text) | Record::Txt(text) => text.len(),
                Record::Tlsa(tlsa) => tlsa.data.len(),
            }
    };
    let reply = |r: &Arc<Reply>| {
        let warnings: usize = r.warnings.iter().map(|w| w.len() + 24).sum();
        r.records.iter().map(record).sum::<usize>() + r.canonical.len() + warnings + 96
    };
    128 + key.0.len() + outcome.as_ref().map_or(0, reply)
}
