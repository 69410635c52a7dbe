//! The name of a client's address, confirmed by looking it up forward, from the system's name
//! service (`/etc/hosts`, DNS, whatever nsswitch.conf says).
//!
//! Bounded on all sides: a client waits [`PATIENCE`] for its greeting, [`MOST`] look-ups are under
//! way at a time and one for each address; what was found is remembered for [`MEMORY`].

use crate::client::Known;
use proto::address::parse::is_host_name;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sys::names::Unresolved;
use tokio::sync::{OnceCell, Semaphore};

/// How long the greeting may wait for a name.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a name is remembered, and of how many addresses.
const MEMORY: (Duration, usize) = (Duration::from_secs(60), 1000);
/// Each look-up occupies a thread: the rest of the program needs some, too.
const MOST: usize = 12;

/// What is known of an address's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) name: String,
    pub(crate) known: Known,
    pub(crate) reverse_name: String,
    pub(crate) reverse_known: Known,
    /// For the log.
    pub(crate) warning: Option<String>,
}

impl Names {
    /// No name, for this reason.
    pub(crate) fn unknown(why: Known) -> Names {
        let unknown = || "unknown".to_string();
        Names { name: unknown(), known: why, reverse_name: unknown(), reverse_known: why, warning: None }
    }
}

/// An address whose name was asked for, when, and what came of it.
type Asked = HashMap<IpAddr, (Instant, Arc<OnceCell<Names>>)>;

/// The names of `ip`; unknown for now when they take too long.
pub(crate) async fn of(ip: IpAddr) -> Names {
    let cell = cell_of(ip);
    if let Some(names) = cell.get() {
        return names.clone();
    }
    // A task of its own: when this client has waited long enough the answer still is of use.
    let task = tokio::spawn(async move {
        static PLACES: Semaphore = Semaphore::const_new(MOST);
        let find = || async {
            // Whoever waits no longer must not stand in the way of those who do.
            let place = tokio::time::timeout(PATIENCE, PLACES.acquire()).await;
            let Ok(Ok(_place)) = place else { return Names::unknown(Known::NotNow) };
            let found = tokio::task::spawn_blocking(move || find(ip, &System)).await;
            found.unwrap_or_else(|_| Names::unknown(Known::NotNow))
        };
        cell.get_or_init(find).await.clone()
    });
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(names)) => names,
        _ => Names::unknown(Known::NotNow),
    }
}

fn cell_of(ip: IpAddr) -> Arc<OnceCell<Names>> {
    static ASKED: LazyLock<Mutex<Asked>> = LazyLock::new(Default::default);
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((since, cell)) = asked.get(&ip)
        && since.elapsed() < MEMORY.0
        && cell.get().is_none_or(|names| names.known != Known::NotNow)
    {
        return cell.clone();
    }
    if asked.len() >= MEMORY.1 {
        asked.retain(|_, (since, _)| since.elapsed() < MEMORY.0);
        if asked.len() >= MEMORY.1 {
            asked.clear();
        }
    }
    let cell = Arc::new(OnceCell::new());
    asked.insert(ip, (Instant::now(), cell.clone()));
    cell
}

/// The two questions; tests answer them with a few lines of their own.
trait NameService {
    fn name_of(&self, ip: IpAddr) -> Result<String, Unresolved>;
    fn addresses_of(&self, name: &str, v6: bool) -> Result<Vec<IpAddr>, Unresolved>;
}

struct System;

impl NameService for System {
    fn name_of(&self, ip: IpAddr) -> Result<String, Unresolved> {
        sys::names::name_of(ip)
    }

    fn addresses_of(&self, name: &str, v6: bool) -> Result<Vec<IpAddr>, Unresolved> {
        sys::names::addresses_in(name, v6)
    }
}

fn find(ip: IpAddr, service: &dyn NameService) -> Names {
    let why = |e: &Unresolved, no: Known| if e.temporary { Known::NotNow } else { no };
    let reverse = match service.name_of(ip) {
        Ok(name) if plausible(&name) => name,
        Ok(name) => {
            let numeric = name.parse::<IpAddr>().is_ok();
            let warning = numeric.then(|| format!("numeric hostname: {name}"));
            return Names { warning, ..Names::unknown(Known::No) };
        }
        Err(e) => return Names::unknown(why(&e, Known::No)),
    };
    let (known, warning) = match service.addresses_of(&reverse, ip.is_ipv6()) {
        Ok(all) if all.iter().any(|a| a.to_canonical() == ip) => {
            return Names {
                name: reverse.clone(),
                known: Known::Yes,
                reverse_name: reverse,
                reverse_known: Known::Yes,
                warning: None,
            };
        }
        Ok(_) => (Known::Forged, format!("hostname {reverse} does not resolve to address {ip}")),
        Err(e) => {
            let words = format!("hostname {reverse} does not resolve to address {ip}: {}", e.words);
            (why(&e, Known::Forged), words)
        }
    };
    let unknown = Names::unknown(known);
    Names { reverse_name: reverse, reverse_known: Known::Yes, warning: Some(warning), ..unknown }
}

/// What may stand in logs, headers and access tables as a name: whoever owns the reverse zone of an
/// address can write anything there, the address of somebody else for one.
fn plausible(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    bare.len() <= 255 && is_host_name(bare, true) && bare.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Result<&'static str, bool>, Result<&'static str, bool>);

    fn no(temporary: bool) -> Unresolved {
        Unresolved { temporary, words: "words".into() }
    }

    impl NameService for Fake {
        fn name_of(&self, _: IpAddr) -> Result<String, Unresolved> {
            self.0.map(str::to_string).map_err(no)
        }

        fn addresses_of(&self, _: &str, _: bool) -> Result<Vec<IpAddr>, Unresolved> {
            self.1.map(|a| a.split(' ').filter_map(|a| a.parse().ok()).collect()).map_err(no)
        }
    }

    #[test]
    fn only_what_points_back_is_a_name() {
        use Known::*;
        let long = Box::leak(format!("{}.org", "a".repeat(300)).into_boxed_str());
        for (reverse, forward, known, reverse_known, warned) in [
            (Ok("pc.example.org"), Ok("10.0.0.9 192.0.2.1"), Yes, Yes, false),
            (Ok("pc.example.org"), Ok("::ffff:192.0.2.1"), Yes, Yes, false),
            (Ok("pc.example.org"), Ok("192.0.2.2"), Forged, Yes, true),
            (Ok("pc.example.org"), Err(false), Forged, Yes, true),
            (Ok("pc.example.org"), Err(true), NotNow, Yes, true),
            (Err(false), Err(false), No, No, false),
            (Err(true), Err(false), NotNow, NotNow, false),
            (Ok("192.0.2.7"), Ok("192.0.2.1"), No, No, true),
            (Ok("a b"), Ok("192.0.2.1"), No, No, false),
            (Ok("a\nb.org"), Ok("192.0.2.1"), No, No, false),
            (Ok("a]: b"), Ok("192.0.2.1"), No, No, false),
            (Ok(&*long), Ok("192.0.2.1"), No, No, false),
        ] {
            let names = find(IpAddr::from([192, 0, 2, 1]), &Fake(reverse, forward));
            assert_eq!((names.known, names.reverse_known), (known, reverse_known), "{reverse:?}");
            assert_eq!(names.warning.is_some(), warned, "{reverse:?}");
            assert_eq!(names.name == "unknown", known != Yes, "{reverse:?}");
        }
        let names = find(IpAddr::from([192, 0, 2, 1]), &Fake(Ok("pc.example.org"), Err(true)));
        let text = "hostname pc.example.org does not resolve to address 192.0.2.1: words";
        assert_eq!((names.warning.as_deref(), names.reverse_name.as_str()), (Some(text), "pc.example.org"));
    }

    #[tokio::test]
    async fn one_question_at_a_time_for_an_address() {
        let ip = IpAddr::from([198, 51, 100, 77]);
        assert!(Arc::ptr_eq(&cell_of(ip), &cell_of(ip)));
    }
}
