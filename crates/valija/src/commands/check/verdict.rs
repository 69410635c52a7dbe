//! The verdict on one setting or one line of master.cf. "Same" is said only of what is declared in
//! `config::params`, which a house test holds to be obeyed.

use super::report::Verdict;
use super::{elements, encryption, words};
use config::catalogue::{self, Fate};
use config::master_cf::Service;
use config::value::{Value, split_list};
use config::{Config, params};
use std::collections::BTreeSet;

/// Knows the names of this configuration.
pub(super) struct Judge {
    service_names: BTreeSet<String>,
    user_names: BTreeSet<String>,
    classes: Vec<String>,
}

type Judgement = (Verdict, String);

impl Judge {
    pub(super) fn new(config: &Config, services: &[Service]) -> Judge {
        let (service_names, user_names) = crate::commands::postconf::other_names(config, services);
        let classes = split_list(&config.get("smtpd_restriction_classes").unwrap_or_default());
        Judge { service_names, user_names, classes }
    }

    /// On a setting of main.cf, or of a service when `config` is that service's.
    pub(super) fn setting(&self, config: &Config, name: &str) -> Judgement {
        let value = match config.get(name) {
            Ok(value) => value,
            Err(problem) => return (Verdict::Unsupported, format!("{}; {}", problem.what, problem.remedy)),
        };
        if let Some(declared) = params::find(name) {
            let transport = config.get("virtual_transport").unwrap_or_default();
            return match elements::not_for_root(name, &value, &transport).as_slice() {
                [] => self.declared(config, name, declared.kind, &value),
                odd => (Verdict::Unsupported, odd.join("; ")),
            };
        }
        if let Some(entry) = catalogue::find(name) {
            let default = config.defaults().expand(entry.default).unwrap_or_default();
            return match entry.fate {
                Fate::Accepted => (Verdict::Accepted, entry.note.to_string()),
                _ if entry.fate == Fate::Unsupported && value == default => {
                    (Verdict::Accepted, "this is the default".to_string())
                }
                _ => (Verdict::Unsupported, entry.note.to_string()),
            };
        }
        if config::computed::NAMES.contains(&name) {
            return (Verdict::Same, String::new());
        }
        if self.service_names.contains(name) {
            return of_service(name);
        }
        if self.user_names.contains(name) {
            let odd = elements::unsupported(name, &value, &self.classes);
            let verdict = if odd.is_empty() { Verdict::Same } else { Verdict::Differs };
            return (verdict, if odd.is_empty() { "a name of your own".into() } else { odd.join("; ") });
        }
        let note = match nearest(name) {
            Some(near) => format!("no such parameter, and nothing mentions it; did you mean {near}?"),
            None => "no such parameter, and nothing mentions it; remove it".to_string(),
        };
        (Verdict::Unknown, note)
    }

    fn declared(&self, config: &Config, name: &str, kind: &str, value: &str) -> Judgement {
        let bad = match kind {
            "boolean" => bool::read(name, value).err(),
            "number" => i64::read(name, value).err(),
            "time" => std::time::Duration::read(name, value).err(),
            _ => words::problem(name, value),
        };
        if let Some(problem) = bad {
            return (Verdict::Unsupported, format!("{}; {}", problem.what, problem.remedy));
        }
        if name == "smtpd_sasl_auth_enable"
            && value.eq_ignore_ascii_case("yes")
            && let Some(why) = login::choose::fault(config)
        {
            return (Verdict::Unsupported, format!("nobody can log in: {why}"));
        }
        if let Some(note) = encryption::note(name, value) {
            return (Verdict::Differs, note);
        }
        let odd = elements::unsupported(name, value, &self.classes);
        if odd.is_empty() { (Verdict::Same, String::new()) } else { (Verdict::Differs, odd.join("; ")) }
    }

    /// On a line of master.cf.
    pub(super) fn service(&self, service: &Service, config: &Config) -> Judgement {
        let program = service.command();
        let unsupported = |what: &str| (Verdict::Unsupported, what.to_string());
        match program {
            "smtpd" | "pickup" | "cleanup" | "qmgr" | "nqmgr" | "oqmgr" | "bounce" | "flush" | "showq"
            | "error" | "discard" | "spawn" | "local" | "pipe" | "virtual" | "smtp" | "lmtp" => {}
            "trivial-rewrite" | "proxymap" | "anvil" | "scache" | "tlsmgr" | "postlogd" | "verify" => {
                return (Verdict::Accepted, "its work is done without a process of its own".to_string());
            }
            "postscreen" | "dnsblog" | "tlsproxy" => {
                return unsupported("postscreen comes with a later version; use smtpd");
            }
            "qmqpd" => return unsupported("the QMQP protocol is not served; use SMTP"),
            other => return unsupported(&format!("{other:?} is no program of this mail system")),
        }
        if service.chroot(config) && program == "smtpd" {
            return (Verdict::Same, "the sandbox stands in for chroot".to_string());
        }
        (Verdict::Same, String::new())
    }
}

/// On an `-o` setting, given the verdict on the setting itself: some services look at main.cf alone.
pub(super) fn overridden(service: &Service, name: &str, (verdict, note): Judgement) -> Judgement {
    let own = match service.command() {
        "smtpd" | "pickup" | "cleanup" | "qmgr" | "local" | "pipe" | "virtual" | "smtp" | "lmtp" => true,
        "bounce" => service.name == "bounce",
        // Who speaks in the log.
        "error" | "discard" => name == "syslog_name" || verdict != Verdict::Same,
        _ => verdict != Verdict::Same,
    };
    if own {
        return (verdict, note);
    }
    (Verdict::Differs, format!("this service takes {name} from main.cf; set it there"))
}

/// `<transport>_<suffix>` is obeyed when the default it stands for is.
fn of_service(name: &str) -> Judgement {
    let suffixes = catalogue::TRANSPORT.iter().chain(&catalogue::COMMAND);
    let default = suffixes.filter(|(suffix, _)| name.ends_with(&format!("_{suffix}"))).map(|(_, d)| d).next();
    match default.and_then(|d| params::find(d.trim_start_matches('$'))) {
        Some(_) => (Verdict::Same, String::new()),
        None => (Verdict::Unsupported, "not obeyed yet; the default behaviour applies".to_string()),
    }
}

/// The parameter whose name is nearest, if one is near.
fn nearest(name: &str) -> Option<&'static str> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let declared = params::GROUPS.iter().flat_map(|g| g.iter()).map(|d| d.name);
    let all = declared.chain(catalogue::entries().map(|e| e.name)).chain(config::computed::NAMES);
    let (distance, near) = all.map(|n| (distance(&wanted, &n.to_ascii_lowercase()), n)).min()?;
    (distance <= 1 + name.len() / 8).then_some(near)
}

/// How many letters must be changed, added, removed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|r| r.get(j)).copied().unwrap_or(usize::MAX / 2)
    };
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let change = at(&rows, i, j) + usize::from(x != y);
            let remove = at(&rows, i, j + 1) + 1;
            let add = row.last().copied().unwrap_or(usize::MAX / 2) + 1;
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            let swap = if swapped { at(&rows, i - 1, j - 1) + 1 } else { usize::MAX };
            row.push(change.min(remove).min(add).min(swap));
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        assert_eq!(nearest("relay-domains"), Some("relay_domains"));
        assert_eq!(nearest("mydestinations"), Some("mydestination"));
        assert_eq!(nearest("smtpd_recipient_restriction"), Some("smtpd_recipient_restrictions"));
        assert_eq!(nearest("zzzzzz"), None);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
