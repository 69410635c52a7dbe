//! Address verification: whether mail could be delivered to an address, tried with a probe that goes
//! the way of real mail and stops before the content. verify(8), ADDRESS_VERIFICATION_README
//!
//! One [`Verifier`] serves all listeners and lives through reloads. It knows what it found out
//! ([`cache`], kept in a [`file`]), asks for probes, and hears from the queue manager what became of
//! them; whoever waits is told at once.

pub mod cache;
pub(crate) mod file;

use cache::{Cache, Standing, Times};
use config::params::main::Main;
use config::params::master::Master;
use config::params::verify::Verify;
use config::{Config, Problem};
use events::Source;
use file::Journal;
use proto::Address;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

events::events! {
    /// What expired was forgotten.
    Cleaned { map: String, retained: usize, dropped: usize } Info "cache {map} full cleanup: retained={retained} dropped={dropped} entries"
    /// What was found out cannot be kept.
    NotKept { path: String, what: String } Warning "address_verify_map {path}: {what}; what is found out is kept in memory"
    /// address_verify_map is where the mail user may not write.
    Elsewhere { map: String, path: String } Warning "address_verify_map {map}: not below data_directory; {path} is used"
    /// A probe could not be sent.
    NoProbe { address: String, what: String } Warning "address verification probe to {address}: {what}"
}

/// How many addresses anything is known of.
const MOST: usize = 50_000;

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whether mail can be delivered to it.
    pub standing: Standing,
    /// The words of whoever said so.
    pub text: String,
}

impl Verified {
    /// A probe is under way, or none can be sent now.
    pub fn in_progress() -> Verified {
        Verified { standing: Standing::InProgress, text: "Address verification in progress".into() }
    }
}

/// What the configuration says.
#[derive(Clone)]
pub struct Settings {
    times: Times,
    /// How long a client waits for the result of a probe.
    patience: Duration,
    pending: usize,
    cleaning: Duration,
    sender: ProbeSender,
    map: String,
    path: Option<PathBuf>,
    say: Source,
}

impl Settings {
    /// Reads it.
    pub fn load(config: &Config) -> Result<Settings, Vec<Problem>> {
        let (verify, main, master) = (Verify::load(config)?, Main::load(config)?, Master::load(config)?);
        let say = Source::new(main.syslog_name(), "verify", std::process::id());
        let polls = u32::try_from(*verify.address_verify_poll_count()).unwrap_or(u32::MAX).saturating_sub(1);
        let map = verify.address_verify_map().clone();
        let path = place_of(&map, Path::new(master.data_directory().as_str()), &say);
        Ok(Settings {
            times: Times {
                positive_expire: verify.address_verify_positive_expire_time().as_secs(),
                positive_refresh: verify.address_verify_positive_refresh_time().as_secs(),
                negative_expire: verify.address_verify_negative_expire_time().as_secs(),
                negative_refresh: verify.address_verify_negative_refresh_time().as_secs(),
                negative_cache: *verify.address_verify_negative_cache(),
            },
            patience: verify.address_verify_poll_delay().saturating_mul(polls),
            pending: usize::try_from(*verify.address_verify_pending_request_limit()).unwrap_or(5000),
            cleaning: *verify.address_verify_cache_cleanup_interval(),
            sender: ProbeSender::of(&verify, main.myorigin()),
            map: if map.is_empty() { "internal:verify".into() } else { map },
            path,
            say,
        })
    }
}

/// The file of ours that stands for a map: beside it, below data_directory.
fn place_of(map: &str, data: &Path, say: &Source) -> Option<PathBuf> {
    let path = map.split_once(':').map_or(map, |(_, path)| path);
    let path = path.strip_prefix("btree:").or_else(|| path.strip_prefix("hash:")).unwrap_or(path);
    let name = Path::new(path).file_name().filter(|_| path.contains('/'))?;
    let mut name = name.to_os_string();
    name.push(".valija");
    if Path::new(path).parent() != Some(data) {
        let path = data.join(&name).display().to_string();
        say.say(&Elsewhere { map: map.to_string(), path });
    }
    Some(data.join(name))
}

/// Sends probes.
pub trait Prober: Send + Sync {
    /// Begins a probe of `address` from `sender`; tells the verifier its queue id before it is sent.
    fn probe(&self, sender: Address, address: Address);
}

/// All that is known, and who is waited for.
pub struct Verifier {
    settings: RwLock<Settings>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    cache: Option<Cache>,
    journal: Option<Journal>,
    /// When what expired was forgotten last.
    cleaned: u64,
    /// Probes under way: which address, and since when.
    pending: HashMap<String, (String, u64)>,
}

/// So long a probe counts as under way.
const UNDER_WAY: u64 = 1000;

impl Verifier {
    /// Nothing is read before the first question.
    pub fn new(settings: Settings) -> Verifier {
        Verifier { settings: RwLock::new(settings), state: Mutex::default(), changed: Notify::new() }
    }

    /// Obeys another configuration from now on.
    pub fn reload(&self, settings: Settings) {
        let mut present = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        if present.path != settings.path {
            *self.state() = State::default();
        }
        *present = settings;
    }

    /// Whether failures are remembered.
    pub fn remembers_failures(&self) -> bool {
        self.settings().times.negative_cache
    }

    /// What is known of `address`; waits for the result of a probe as long as the settings say.
    pub async fn verify(&self, address: &Address, prober: &dyn Prober) -> Verified {
        let settings = self.settings();
        let Some(key) = key_of(address) else { return Verified::in_progress() };
        let known = {
            let mut state = self.state();
            let now = now();
            let State { cache, .. } = state.ready(&settings, now);
            let Some(cache) = cache else { return Verified::in_progress() };
            let known = cache.known(&key, now, &settings.times).map(of);
            let wanted = cache.wants_probe(&key, now, &settings.times);
            let room = state.pending.len() < settings.pending;
            if wanted && !room {
                state.pending.retain(|_, (_, since)| now.saturating_sub(*since) <= UNDER_WAY);
            }
            if wanted && (room || state.pending.len() < settings.pending) {
                drop(state);
                prober.probe(settings.sender.at(now), address.clone());
            } else if wanted && let Some(cache) = &mut state.cache {
                cache.not_probed(&key);
            }
            known
        };
        match known {
            Some(known) => known,
            None => self.wait(&key, &settings).await,
        }
    }

    async fn wait(&self, key: &str, settings: &Settings) -> Verified {
        let end = tokio::time::Instant::now() + settings.patience;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let known = {
                let state = self.state();
                state.cache.as_ref().and_then(|c| c.known(key, now(), &settings.times).map(of))
            };
            if let Some(known) = known {
                return known;
            }
            if tokio::time::timeout_at(end, changed).await.is_err() {
                return Verified::in_progress();
            }
        }
    }

    /// A probe of `address` has this queue id.
    pub fn sent(&self, id: &str, address: &Address) {
        if let Some(key) = key_of(address) {
            self.state().pending.insert(id.to_string(), (key, now()));
        }
    }

    /// A probe of `address` could not be sent.
    pub fn not_sent(&self, id: &str, address: &Address, what: String) {
        let settings = self.settings();
        settings.say.say(&NoProbe { address: address.to_string(), what });
        let mut state = self.state();
        state.pending.remove(id);
        if let (Some(cache), Some(key)) = (&mut state.cache, key_of(address)) {
            cache.not_probed(&key);
        }
    }

    /// A probe was answered: about `original`, the address that was asked about.
    pub fn heard(&self, id: &str, original: &Address, standing: Standing, text: &str) {
        let settings = self.settings();
        let now = now();
        let mut state = self.state();
        let asked = state.pending.remove(id).map(|(key, _)| key);
        let Some(key) = asked.or_else(|| key_of(original)) else { return };
        let State { cache: Some(cache), journal, .. } = state.ready(&settings, now) else { return };
        let entry = cache.heard(&key, standing, text, now, &settings.times);
        if let (Some(entry), Some(file)) = (entry, journal.as_mut()) {
            let mut kept = file.add(&key, entry);
            if kept.is_ok() && file.is_long() {
                kept = file.rewrite(cache);
            }
            if let Err(e) = kept {
                not_kept(&settings, &e);
                *journal = None;
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn settings(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// With what was kept, and without what expired.
    fn ready(&mut self, settings: &Settings, now: u64) -> &mut State {
        if self.cache.is_none() {
            let mut cache = Cache::new(MOST);
            self.journal = settings
                .path
                .as_ref()
                .and_then(|path| Journal::open(path, &mut cache).map_err(|e| not_kept(settings, &e)).ok());
            self.cache = Some(cache);
        } else if settings.cleaning.is_zero()
            || now.saturating_sub(self.cleaned) < settings.cleaning.as_secs()
        {
            return self;
        }
        self.cleaned = now;
        if let Some(cache) = &mut self.cache {
            let (retained, dropped) = cache.clean(now, &settings.times);
            settings.say.say(&Cleaned { map: settings.map.clone(), retained, dropped });
            if let Some(journal) = &mut self.journal
                && let Err(e) = journal.rewrite(cache)
            {
                not_kept(settings, &e);
                self.journal = None;
            }
        }
        self
    }
}

fn not_kept(settings: &Settings, e: &std::io::Error) {
    let path = settings.path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    settings.say.say(&NotKept { path, what: net::plain(e) });
}

fn of(entry: &cache::Entry) -> Verified {
    Verified { standing: entry.standing, text: entry.text.clone() }
}

/// Domains know no case; local parts may.
fn key_of(address: &Address) -> Option<String> {
    let key = match address.domain() {
        Some(domain) => format!("{}@{}", address.local(), domain.to_ascii_lowercase()),
        None => address.local().to_string(),
    };
    Some(key).filter(|k| !k.is_empty() && k.len() <= cache::LONGEST)
}

/// The sender of probes; with `address_verify_sender_ttl` one that changes, so that whoever collects
/// addresses has no use of it.
#[derive(Clone, Debug)]
pub(crate) struct ProbeSender {
    address: Address,
    ttl: u64,
}

impl ProbeSender {
    pub(crate) fn of(verify: &Verify, myorigin: &str) -> ProbeSender {
        let address = Address::from_internal(verify.address_verify_sender());
        let address = match address.domain() {
            None if !address.is_null() => Address::new(address.local(), Some(myorigin)),
            _ => address,
        };
        ProbeSender { address, ttl: verify.address_verify_sender_ttl().as_secs() }
    }

    /// What it is at that time.
    fn at(&self, now: u64) -> Address {
        let Some(mut epoch) = now.checked_div(self.ttl).filter(|_| !self.address.is_null()) else {
            return self.address.clone();
        };
        // Without vowels, so that no words come out.
        const DIGITS: &[u8] = b"0123456789bcdfghjklmnpqrstvwxyz";
        let mut digits = Vec::new();
        while epoch > 0 {
            digits.push(*DIGITS.get((epoch % DIGITS.len() as u64) as usize).unwrap_or(&b'0'));
            epoch /= DIGITS.len() as u64;
        }
        let suffix: String = digits.iter().rev().map(|b| char::from(*b)).collect();
        Address::new(format!("{}{suffix}", self.address.local()), self.address.domain())
    }

    /// Whether probes come from there, or did a moment ago.
    pub(crate) fn is(&self, address: &Address) -> bool {
        self.is_at(address, now())
    }

    fn is_at(&self, address: &Address, now: u64) -> bool {
        // All that it ever is begins alike.
        let begins = address.local().bytes().zip(self.address.local().bytes());
        if self.address.is_null() || !begins.into_iter().all(|(a, b)| a.eq_ignore_ascii_case(&b)) {
            return false;
        }
        let same = |sender: &Address| sender.internal().eq_ignore_ascii_case(&address.internal());
        [now, now.saturating_sub(self.ttl), now.saturating_add(self.ttl)].iter().any(|at| same(&self.at(*at)))
    }
}

fn now() -> u64 {
    sys::time::now_micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn settings(text: &str) -> Settings {
        let text = format!("address_verify_map =\n{text}");
        Settings::load(&Config::from_text(Path::new("/nowhere"), &text).unwrap()).unwrap()
    }

    /// Notes the probes; the answer to each comes by hand.
    #[derive(Default)]
    struct Noted(Mutex<Vec<(String, String)>>);

    impl Prober for Noted {
        fn probe(&self, sender: Address, address: Address) {
            self.0.lock().unwrap().push((sender.to_string(), address.to_string()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_wait_for_the_answer_and_no_longer() {
        let _log = events::memory();
        let verifier = Arc::new(Verifier::new(settings("")));
        let (prober, a) = (Arc::new(Noted::default()), Address::from_internal("a@B.org"));
        let begun = tokio::time::Instant::now();
        assert_eq!(verifier.verify(&a, &*prober).await, Verified::in_progress());
        assert_eq!(begun.elapsed(), Duration::from_secs(6));
        let waiting = tokio::spawn({
            let (verifier, prober, a) = (verifier.clone(), prober.clone(), a.clone());
            async move { verifier.verify(&a, &*prober).await }
        });
        tokio::task::yield_now().await;
        verifier.sent("Q1", &a);
        // What the address became is not what was asked about.
        verifier.heard("Q1", &Address::from_internal("x@y"), Standing::Deliverable, "250 ok");
        let known = Verified { standing: Standing::Deliverable, text: "250 ok".into() };
        assert_eq!(waiting.await.unwrap(), known);
        assert_eq!(verifier.verify(&Address::from_internal("a@b.ORG"), &*prober).await, known);
        let sender = verifier.settings().sender.at(0).to_string();
        assert_eq!(*prober.0.lock().unwrap(), [(sender, "a@B.org".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_are_limited() {
        let _log = events::memory();
        let verifier = Verifier::new(settings("address_verify_pending_request_limit = 2\n"));
        let prober = Noted::default();
        for n in 0..5 {
            let address = Address::from_internal(&format!("a{n}@b"));
            verifier.verify(&address, &prober).await;
            verifier.sent(&n.to_string(), &address);
            if n >= 2 {
                verifier.heard(&n.to_string(), &address, Standing::Deferred, "");
            }
        }
        assert_eq!(prober.0.lock().unwrap().len(), 2);
        verifier.heard("0", &Address::from_internal("a0@b"), Standing::Deferred, "later");
        verifier.verify(&Address::from_internal("new@b"), &prober).await;
        assert_eq!(prober.0.lock().unwrap().len(), 3);
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let _log = events::memory();
        let data = std::env::temp_dir().join(format!("valija-verify-long-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let file = data.join("cache.valija");
        std::fs::write(&file, format!("a@b\tundeliverable\t{}\tx\n", now()).repeat(4 * MOST + 1)).unwrap();
        let text = format!("data_directory = {0}\naddress_verify_map = btree:{0}/cache\n", data.display());
        let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
        let mut settings = Settings::load(&config).unwrap();
        settings.cleaning = Duration::ZERO;
        let verifier = Verifier::new(settings);
        let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
        verifier.heard("Q", &Address::from_internal("c@d"), Standing::Deliverable, "ok");
        // The first question wrote it anew; from then on every line counts.
        for n in 0..4 * MOST + 10 {
            let address = Address::from_internal(&format!("a{}@b", n % 10));
            verifier.heard("Q", &address, Standing::Undeliverable, "no");
        }
        assert!(lines() < MOST, "{}", lines());
        std::fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn senders_change() {
        let of = |text: &str| settings(&format!("myorigin = o.org\n{text}")).sender;
        let plain = of("address_verify_sender = prober\n");
        assert_eq!(plain.at(5000).to_string(), "prober@o.org");
        assert!(plain.is(&Address::from_internal("Prober@O.org")));
        assert!(!plain.is(&Address::from_internal("prober")));
        let changing = of("address_verify_sender = p@b\naddress_verify_sender_ttl = 100s\n");
        assert_eq!(changing.at(3100).to_string(), "p10@b");
        assert!(changing.is_at(&changing.at(3100), 3250), "answers take a while");
        assert!(!changing.is_at(&changing.at(3100), 3350));
        assert!(!changing.is_at(&Address::from_internal("p@b"), 3100));
        let null = of("address_verify_sender =\naddress_verify_sender_ttl = 1h\n");
        assert!(null.at(1).is_null() && !null.is(&Address::null()));
    }

    #[test]
    fn files_stay_below_the_data_directory() {
        let (data, say) = (Path::new("/var/lib/postfix"), Source::new("postfix", "verify", 1));
        let _log = events::memory();
        let of = |map: &str| place_of(map, data, &say).map(|p| p.display().to_string());
        let here = Some("/var/lib/postfix/verify_cache.valija".to_string());
        assert_eq!(of("btree:/var/lib/postfix/verify_cache"), here);
        assert_eq!(of("proxy:btree:/var/lib/postfix/verify_cache"), here);
        assert_eq!(of("btree:/etc/postfix/verify_cache"), here);
        assert_eq!(of(""), None);
        assert_eq!(of("internal:verify"), None);
    }
}
