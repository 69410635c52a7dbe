//! What encryption came to, counted by day and policy: the numbers of a TLS report (RFC 8460) to come.
//!
//! Only domains that publish a policy (TLSA records, MTA-STS) are counted. The numbers of a day are a
//! file below `data_directory`, written now and then while there is something new, and read again at the
//! first count after a start: what a crash loses is a minute.
//!
//! ```text
//! # policy domain mx result count
//! sts example.org mx.example.org certificate-expired 3
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What kind of policy was applied. RFC 8460 4.4
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// TLSA records.
    Tlsa,
    /// MTA-STS.
    Sts,
}

/// What came of it. RFC 8460 4.3
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Outcome {
    Success,
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    StsPolicyFetchError,
    StsPolicyInvalid,
    StsWebpkiInvalid,
}

const KINDS: [(Kind, &str); 2] = [(Kind::Tlsa, "tlsa"), (Kind::Sts, "sts")];

const OUTCOMES: [(Outcome, &str); 11] = [
    (Outcome::Success, "success"),
    (Outcome::StarttlsNotSupported, "starttls-not-supported"),
    (Outcome::CertificateHostMismatch, "certificate-host-mismatch"),
    (Outcome::CertificateExpired, "certificate-expired"),
    (Outcome::CertificateNotTrusted, "certificate-not-trusted"),
    (Outcome::ValidationFailure, "validation-failure"),
    (Outcome::TlsaInvalid, "tlsa-invalid"),
    (Outcome::DnssecInvalid, "dnssec-invalid"),
    (Outcome::StsPolicyFetchError, "sts-policy-fetch-error"),
    (Outcome::StsPolicyInvalid, "sts-policy-invalid"),
    (Outcome::StsWebpkiInvalid, "sts-webpki-invalid"),
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = OUTCOMES.iter().find(|(o, _)| o == self).map_or("", |(_, n)| *n);
        f.write_str(name)
    }
}

/// Policy, domain, exchanger, outcome.
type Key = (Kind, String, String, Outcome);

/// More lines a day has not: further domains are not counted.
const MOST: usize = 10_000;
/// A line is shorter, and so no file is longer.
const LARGEST: u64 = MOST as u64 * 600;
/// Days that are kept.
const DAYS: u64 = 7;
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;

/// The numbers of the day.
pub struct Ledger {
    directory: PathBuf,
    today: Mutex<Today>,
}

#[derive(Default)]
struct Today {
    /// Since 1970.
    day: u64,
    counts: BTreeMap<Key, u64>,
    /// Somebody will write them.
    due: bool,
}

/// Ledgers outlive reloads: there is one for each directory.
static ALL: LazyLock<Mutex<HashMap<PathBuf, Arc<Ledger>>>> = LazyLock::new(Mutex::default);

impl Ledger {
    /// The one of this directory.
    pub fn of(directory: &Path) -> Arc<Ledger> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Ledger { directory: directory.to_path_buf(), today: Mutex::default() });
        all.entry(directory.to_path_buf()).or_insert_with(new).clone()
    }

    /// Counts one. Within the runtime, since somebody has to write it down later.
    pub fn count(self: &Arc<Ledger>, kind: Kind, domain: &str, mx: &str, outcome: Outcome) {
        let day = now() / DAY;
        let mut today = self.today();
        if today.day != day {
            let old = std::mem::take(&mut *today);
            if old.due {
                let _ = write(&self.directory, old.day, &old.counts);
            }
            let due = old.due;
            *today = Today { day, counts: read(&self.directory, day).unwrap_or_default(), due };
        }
        let plain = |name: &str| -> String {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name.chars().filter(|c| c.is_ascii_graphic()).take(253).collect()
        };
        let key = (kind, plain(domain), plain(mx), outcome);
        let room = today.counts.len() < MOST;
        match today.counts.get_mut(&key) {
            Some(count) => *count = count.saturating_add(1),
            None if room => drop(today.counts.insert(key, 1)),
            None => return,
        }
        if !std::mem::replace(&mut today.due, true) {
            let own = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PAUSE).await;
                let _ = tokio::task::spawn_blocking(move || own.save()).await;
            });
        }
    }

    /// Writes the numbers down. What cannot be written is tried again with the next count.
    pub fn save(&self) -> io::Result<()> {
        let (day, counts) = {
            let mut today = self.today();
            today.due = false;
            (today.day, today.counts.clone())
        };
        write(&self.directory, day, &counts)
    }

    fn today(&self) -> MutexGuard<'_, Today> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// By the number of the day, so that the order of names is that of days.
fn file(directory: &Path, day: u64) -> PathBuf {
    directory.join(format!("day-{day:06}"))
}

fn write(directory: &Path, day: u64, counts: &BTreeMap<Key, u64>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut text = String::from("# policy domain mx result count\n");
    for ((kind, domain, mx, outcome), count) in counts {
        let kind = KINDS.iter().find(|(k, _)| k == kind).map_or("", |(_, n)| *n);
        let mx = if mx.is_empty() { "-" } else { mx };
        let _ = writeln!(text, "{kind} {domain} {mx} {outcome} {count}");
    }
    let path = file(directory, day);
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, &path)?;
    for entry in fs::read_dir(directory)?.flatten() {
        let old = entry.file_name().to_str().and_then(|n| n.strip_prefix("day-")?.parse::<u64>().ok());
        if old.is_some_and(|old| old + DAYS < day) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn read(directory: &Path, day: u64) -> Option<BTreeMap<Key, u64>> {
    let mut text = String::new();
    fs::File::open(file(directory, day)).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, domain, mx, outcome, count] = words.as_slice() else { return None };
        let kind = KINDS.iter().find(|(_, n)| n == kind)?.0;
        let outcome = OUTCOMES.iter().find(|(_, n)| n == outcome)?.0;
        let mx = if *mx == "-" { "" } else { mx };
        Some(((kind, domain.to_string(), mx.to_string(), outcome), count.parse().ok()?))
    };
    Some(text.lines().filter_map(line).take(MOST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_survive_a_start() {
        let directory = std::env::temp_dir().join(format!("valija-report-{}", std::process::id()));
        let ledger = Ledger::of(&directory);
        ledger.count(Kind::Sts, "Example.org.", "mx.example.org", Outcome::CertificateExpired);
        ledger.count(Kind::Sts, "example.org", "mx.example.org", Outcome::CertificateExpired);
        ledger.count(Kind::Tlsa, "example.net", "", Outcome::Success);
        ledger.save().unwrap();
        let day = ledger.today().day;
        let text = fs::read_to_string(file(&directory, day)).unwrap();
        assert!(text.contains("sts example.org mx.example.org certificate-expired 2\n"), "{text}");
        let again = Arc::new(Ledger { directory: directory.clone(), today: Mutex::default() });
        again.count(Kind::Tlsa, "example.net", "", Outcome::Success);
        assert_eq!(again.today().counts.values().copied().collect::<Vec<_>>(), [2, 2]);
        // A file of nonsense counts as none; old days go.
        fs::write(file(&directory, day), "what\nsts a b c d\nsts a b success x\n").unwrap();
        fs::write(file(&directory, day - DAYS - 1), "").unwrap();
        assert_eq!(read(&directory, day).unwrap().len(), 0);
        again.save().unwrap();
        assert!(!file(&directory, day - DAYS - 1).exists());
        assert!(Arc::ptr_eq(&ledger, &Ledger::of(&directory)));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn bounded() {
        let directory = std::env::temp_dir().join(format!("valija-report-{}-b", std::process::id()));
        let ledger = Arc::new(Ledger { directory, today: Mutex::default() });
        for n in 0..MOST + 10 {
            ledger.count(Kind::Sts, &format!("d{n}.org"), "mx", Outcome::Success);
        }
        assert_eq!(ledger.today().counts.len(), MOST);
    }

    #[test]
    fn all_have_names() {
        for (outcome, name) in OUTCOMES {
            assert_eq!(outcome.to_string(), name);
        }
    }
}
