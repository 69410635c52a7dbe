//! Rules that would relay mail for the whole world. They stop a start and a reload unless
//! `valija_allow_open_relay = yes` is written in main.cf.
//!
//! The restriction lists of every SMTP service are walked as a stranger would meet them: a client
//! without a name, a password or a place in `mynetworks`, with mail for somewhere else. If no list
//! is sure to refuse, the rules are open. What only a table or a server knows is taken as "no
//! opinion", so a list must end in a refusal of its own. A restriction unknown here counts as no
//! opinion too.

use crate::master_cf::Service;
use crate::network::Network;
use crate::value::{self, List, split_list};
use crate::{Config, Problem};
use std::net::IpAddr;

/// From this share of a billion of an address family on, networks are the world: 1/64 of it.
const WORLD: u64 = 15_000_000;

/// How deep restriction classes may name classes.
const CLASS_DEPTH: usize = 16;

/// What a stranger meets in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Surely refused.
    Refused,
    /// Let through by this element.
    Permitted(String),
    /// The list ended without an answer.
    Passed,
}

/// What is dangerous in main.cf with the services of master.cf; empty when nothing is.
pub fn danger(config: &Config, services: &[Service]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let servers: Vec<&Service> = services.iter().filter(|s| program(s) == "smtpd").collect();
    if servers.is_empty() {
        problems.extend(of_view(config, None));
    }
    for service in servers {
        for problem in of_view(&service.config(config), Some(service)) {
            if !problems.iter().any(|p| p.name == problem.name && p.what == problem.what) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// [`danger`], unless main.cf has `valija_allow_open_relay = yes`: what stops a start.
pub fn refused(config: &Config, services: &[Service]) -> Vec<Problem> {
    let allowed = config.get("valija_allow_open_relay").is_ok_and(|v| v.eq_ignore_ascii_case("yes"));
    if allowed { Vec::new() } else { danger(config, services) }
}

fn program(service: &Service) -> &str {
    service.command().rsplit('/').next().unwrap_or_default()
}

fn of_view(config: &Config, service: Option<&Service>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut note = |name: &str, what: String, remedy: &str| {
        let at = service.map(|s| format!("; service {}", s.id())).unwrap_or_default();
        let remedy = format!("{remedy}, or write valija_allow_open_relay = yes");
        problems.push(config.placed(name, Problem::of(name, format!("{what}{at}"), remedy)));
    };
    if let Some(element) = everything(config, "relay_domains") {
        note("relay_domains", format!("{element} makes every domain one to relay for"), "name the domains");
    }
    // Not smtpd_helo_restrictions: a client that says no HELO never meets them.
    let early = ["smtpd_client_restrictions", "smtpd_sender_restrictions"];
    let late = ["smtpd_data_restrictions", "smtpd_end_of_data_restrictions"];
    if early.iter().chain(&late).any(|name| walk(config, name) == Outcome::Refused) {
        return problems;
    }
    let relay = walk(config, "smtpd_relay_restrictions");
    let recipient = walk(config, "smtpd_recipient_restrictions");
    if relay == Outcome::Refused || recipient == Outcome::Refused {
        return problems;
    }
    let networks = world(config);
    let by_networks =
        [&relay, &recipient].iter().any(|o| **o == Outcome::Permitted("permit_mynetworks".into()));
    match networks {
        Some(element) if by_networks => note(
            "mynetworks",
            format!("{element} takes in the whole internet, and permit_mynetworks relays for it"),
            "name only networks whose users you know",
        ),
        _ if service.is_some_and(|s| local_only(config, s)) => {}
        _ => {
            let name = if config.explicit("smtpd_recipient_restrictions").is_some()
                && config.explicit("smtpd_relay_restrictions").is_none()
            {
                "smtpd_recipient_restrictions"
            } else {
                "smtpd_relay_restrictions"
            };
            let why = match (&relay, &recipient) {
                (Outcome::Permitted(element), _) | (_, Outcome::Permitted(element)) => {
                    format!("{element} lets everybody through before reject_unauth_destination")
                }
                _ => "no restriction refuses mail from strangers to other domains".to_string(),
            };
            note(
                name,
                why,
                "put reject_unauth_destination behind permit_mynetworks permit_sasl_authenticated",
            );
        }
    }
    problems
}

/// Walks one list.
fn walk(config: &Config, name: &str) -> Outcome {
    let classes = split_list(&config.get("smtpd_restriction_classes").unwrap_or_default());
    list(config, &config.get(name).unwrap_or_default(), &classes, 0)
}

fn list(config: &Config, text: &str, classes: &[String], depth: usize) -> Outcome {
    if depth > CLASS_DEPTH {
        return Outcome::Passed;
    }
    let elements = split_list(text);
    let mut elements = elements.iter();
    while let Some(element) = elements.next() {
        let word = element.to_ascii_lowercase();
        match word.as_str() {
            // The refusal of the next one is only logged.
            "warn_if_reject" => {
                elements.next();
            }
            "permit" => return Outcome::Permitted(word),
            "permit_mynetworks" if world(config).is_some() => return Outcome::Permitted(word),
            "reject"
            | "defer"
            | "reject_unauth_destination"
            | "defer_unauth_destination"
            | "check_relay_domains" => {
                return Outcome::Refused;
            }
            _ if word.starts_with("check_") && word.ends_with("_access") => {
                let table = elements.next().map(String::as_str).unwrap_or_default();
                let answer = table.strip_prefix("static:").map(|a| a.trim_matches(['{', '}', ' ']));
                match answer.and_then(|a| a.split_whitespace().next()).map(str::to_ascii_uppercase) {
                    Some(a)
                        if matches!(a.as_str(), "OK" | "PERMIT" | "RELAY")
                            || a.parse::<u32>().is_ok_and(|n| !(400..600).contains(&n)) =>
                    {
                        return Outcome::Permitted(format!("{element} {table}"));
                    }
                    Some(a) if a == "REJECT" || a == "DEFER" => return Outcome::Refused,
                    _ => {}
                }
            }
            _ if classes.contains(element) => {
                match list(config, &config.get(element).unwrap_or_default(), classes, depth + 1) {
                    Outcome::Passed => {}
                    outcome => return outcome,
                }
            }
            _ => {}
        }
    }
    Outcome::Passed
}

/// The element of `mynetworks` that takes in the world, if one does, or all of them together do.
fn world(config: &Config) -> Option<String> {
    if let Some(element) = everything(config, "mynetworks") {
        return Some(element);
    }
    let (elements, _) = value::expand_files(&List(split_list(&config.get("mynetworks").unwrap_or_default())));
    let mut patterns: Vec<String> = Vec::new();
    for element in &elements {
        match element.strip_prefix("cidr:") {
            // A table's left sides are networks like any others.
            Some(inline) if inline.starts_with('{') => {
                patterns.extend(
                    inline.split(|c: char| c.is_whitespace() || "{},".contains(c)).map(str::to_string),
                );
            }
            Some(path) => {
                let text = std::fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                patterns.extend(text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_string));
            }
            None => patterns.push(element.clone()),
        }
    }
    let (mut four, mut six) = (0u64, 0u64);
    for pattern in &patterns {
        let (negated, text) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |t| (true, t));
        let Ok(network) = Network::read(text) else { continue };
        let sum = if matches!(network.address, IpAddr::V4(_)) { &mut four } else { &mut six };
        if negated && network.bits == 0 {
            // Nothing behind it counts any more for this family.
            *sum = 0;
            let v4 = network.address.is_ipv4();
            let before = patterns.iter().take_while(|p| *p != pattern);
            let rest = before.filter_map(|p| Network::read(p).ok()).filter(|n| n.address.is_ipv4() == v4);
            if rest.map(Network::share).sum::<u64>() < WORLD {
                continue;
            }
            return Some(pattern.clone());
        }
        if !negated {
            // A rule against the whole family that stands earlier has the first word.
            let shut = patterns
                .iter()
                .take_while(|p| *p != pattern)
                .filter_map(|p| Network::read(p.strip_prefix('!')?).ok())
                .any(|n| n.bits == 0 && n.address.is_ipv4() == network.address.is_ipv4());
            if shut {
                continue;
            }
            *sum = sum.saturating_add(network.share());
            if *sum >= WORLD {
                return Some(pattern.clone());
            }
        }
    }
    None
}

/// An element that matches whatever is asked: `static:…`.
fn everything(config: &Config, name: &str) -> Option<String> {
    let all = split_list(&config.get(name).unwrap_or_default());
    all.into_iter().find(|e| e.starts_with("static:") || e.starts_with("proxy:static:"))
}

/// Whether only this host can reach the service.
fn local_only(config: &Config, service: &Service) -> bool {
    use crate::master_cf::Kind;
    match service.kind {
        Kind::Inet => {}
        Kind::Pass => return false,
        _ => return true,
    }
    let local = |host: &str| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
    };
    match service.listen().and_then(|l| l.host) {
        Some(host) => local(&host),
        None => {
            let interfaces = split_list(&config.get("inet_interfaces").unwrap_or_default());
            !interfaces.is_empty() && interfaces.iter().all(|i| i == "loopback-only" || local(i))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    const SAFE: &str = "compatibility_level = 3.6\n";

    fn found(main: &str, master: &str) -> Vec<String> {
        let config = Config::from_text(Path::new("/etc/postfix"), &format!("{SAFE}{main}")).unwrap();
        let services = crate::master_cf::read("master.cf", master).unwrap();
        danger(&config, &services.all).into_iter().filter_map(|p| p.name).collect()
    }

    const SMTP: &str = "smtp inet n - y - - smtpd\n";

    #[test]
    fn open_relays_are_found() {
        for main in [
            "mynetworks = 0.0.0.0/0",
            "mynetworks = 127.0.0.0/8 [::]/0",
            "mynetworks = 0.0.0.0/1, 128.0.0.0/1",
            "mynetworks = 64.0.0.0/4",
            "mynetworks = [2000::]/3",
            "mynetworks = [::ffff:0.0.0.0]/96",
            "mynetworks = static:all",
            "mynetworks = !192.0.2.1, 0.0.0.0/0",
            "mynetworks = cidr:{{0.0.0.0/0 OK}}",
            "n = 0.0.0.0/0\nmynetworks = $n",
        ] {
            assert_eq!(found(main, SMTP), ["mynetworks"], "{main}");
        }
        for main in [
            "smtpd_relay_restrictions = permit",
            "smtpd_relay_restrictions = permit_mynetworks permit reject_unauth_destination",
            "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = reject_unknown_recipient_domain",
            "smtpd_relay_restrictions = warn_if_reject reject_unauth_destination",
            "smtpd_relay_restrictions = permit\nsmtpd_helo_restrictions = reject",
            "smtpd_relay_restrictions = check_client_access static:OK, reject",
            "smtpd_restriction_classes = open\nopen = permit\nsmtpd_relay_restrictions = open reject",
        ] {
            assert_eq!(found(main, SMTP), ["smtpd_relay_restrictions"], "{main}");
        }
        assert_eq!(found("relay_domains = static:x", SMTP), ["relay_domains"]);
        let service =
            "smtp inet n - y - - smtpd\n2525 inet n - y - - smtpd -o smtpd_relay_restrictions=permit\n";
        assert_eq!(found("", service), ["smtpd_relay_restrictions"]);
        let wide = "2525 inet n - y - - smtpd -o mynetworks=0.0.0.0/0\n";
        assert_eq!(found("", wide), ["mynetworks"]);
    }

    #[test]
    fn usual_rules_are_no_danger() {
        for main in [
            "",
            "mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 10.0.0.0/8 192.168.0.0/16 [fd00::]/8",
            "smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
            "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks reject_unauth_destination permit",
            "smtpd_recipient_restrictions = permit_mynetworks, reject_rbl_client x.example, permit",
            "mynetworks = !0.0.0.0/0, 0.0.0.0/0",
            "mynetworks = 0.0.0.0/0\nsmtpd_relay_restrictions = reject_unauth_destination",
            "smtpd_client_restrictions = permit_mynetworks, reject\nsmtpd_relay_restrictions = permit",
            "smtpd_restriction_classes = shut\nshut = reject\nsmtpd_relay_restrictions = shut permit",
        ] {
            assert_eq!(found(main, SMTP), [""; 0], "{main}");
        }
        let amavis = "127.0.0.1:10025 inet n - n - - smtpd -o smtpd_relay_restrictions= \
                      -o smtpd_recipient_restrictions=permit_mynetworks,reject -o mynetworks=127.0.0.0/8\n\
                      [::1]:26 inet n - n - - smtpd -o smtpd_relay_restrictions=permit\n";
        assert_eq!(found("", amavis), [""; 0]);
    }

    #[test]
    fn the_override_must_be_written_out() {
        let text = format!("{SAFE}mynetworks = 0.0.0.0/0\n");
        let config = Config::from_text(Path::new("/etc/postfix"), &text).unwrap();
        let problems = refused(&config, &[]);
        let said = problems[0].to_string();
        assert!(
            said.starts_with("/etc/postfix/main.cf, line 2: parameter mynetworks: 0.0.0.0/0 takes"),
            "{said}"
        );
        assert!(said.contains("valija_allow_open_relay = yes"));
        assert!(refused(&config.with([("valija_allow_open_relay", "yes")]), &[]).is_empty());
    }

    proptest! {
        #[test]
        fn no_list_panics(a in "[a-c!/.,0-9 \\[\\]:{}]{0,40}", b in "(permit|reject|warn_if_reject|static:OK|check_x_access|,| ){0,8}") {
            let text = format!("mynetworks = {a}\nsmtpd_relay_restrictions = permit_mynetworks {b}\n");
            if let Ok(config) = Config::from_text(Path::new("/x"), &text) {
                danger(&config, &[]);
            }
        }
    }
}
