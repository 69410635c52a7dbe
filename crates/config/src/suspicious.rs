//! Elements of lists that cannot mean what they seem to: an address with a typing error in
//! `mynetworks`, markup copied from a web page, a host name where only addresses are compared. They
//! stop nothing; the log and `valija check` name them.

use crate::network::Network;
use crate::value::{self, List, split_list};
use crate::{Config, Problem};

/// Lists of client addresses.
const ADDRESSES: [&str; 4] =
    ["mynetworks", "proxy_interfaces", "smtpd_sasl_exceptions_networks", "permit_mx_backup_networks"];
/// Lists in which addresses and host names may stand.
const CLIENTS: [&str; 6] = [
    "inet_interfaces",
    "smtpd_authorized_xclient_hosts",
    "smtpd_authorized_xforward_hosts",
    "smtpd_client_event_limit_exceptions",
    "local_header_rewrite_clients",
    "debug_peer_list",
];
/// Lists of domains.
const DOMAINS: [&str; 6] = [
    "mydestination",
    "relay_domains",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
    "masquerade_domains",
    "fast_flush_domains",
];

/// Everything suspicious in main.cf.
pub fn suspicious(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in config.set_names().chain(config.override_names()) {
        let Ok(text) = config.get(name) else { continue };
        let mut note = |what: String, remedy: &str| {
            problems.push(config.placed(name, Problem::of(name, what, remedy)));
        };
        let group = |all: &[&str]| all.contains(&name);
        if !(group(&ADDRESSES) || group(&CLIENTS) || group(&DOMAINS) || name.ends_with("_restrictions")) {
            continue;
        }
        let (elements, unreadable) = value::expand_files(&List(split_list(&text)));
        unreadable.into_iter().for_each(|p| note(p.what, &p.remedy));
        for element in &elements {
            let pattern = element.trim_start_matches('!');
            if let Some(odd) = pattern
                .chars()
                .find(|c| matches!(c, '<' | '>' | '"' | '\'' | ';'))
                .filter(|_| !table(pattern))
            {
                note(
                    format!("{element:?} contains {odd}, which nothing is compared with"),
                    "remove the markup or quotes",
                );
            } else if group(&ADDRESSES)
                || group(&CLIENTS) && pattern.contains(['[', ']', '/']) && !table(pattern)
            {
                address(pattern, element, &mut note);
            } else if group(&DOMAINS) {
                domain(pattern, element, &mut note);
            }
        }
    }
    problems.extend(twice(config));
    problems
}

/// Lists of domains that exclude each other, the stronger first.
const CLASSES: [&str; 3] = ["mydestination", "virtual_alias_domains", "virtual_mailbox_domains"];

/// Domains that stand in two lists of which only the first counts.
fn twice(config: &Config) -> Vec<Problem> {
    let elements = |name: &str| -> Vec<String> {
        let (all, _) = value::expand_files(&List(split_list(&config.get(name).unwrap_or_default())));
        let plain = all.into_iter().filter(|e| !e.starts_with('!') && !table(e));
        plain.map(|e| e.to_ascii_lowercase()).collect()
    };
    let lists = CLASSES.map(|name| (name, elements(name)));
    let mut problems = Vec::new();
    for (n, (strong, first)) in lists.iter().enumerate() {
        for (weak, second) in lists.iter().skip(n + 1) {
            for domain in first.iter().filter(|d| second.contains(d)) {
                let what = format!("do not list domain {domain} in BOTH {strong} and {weak}");
                let remedy = format!("take it out of {weak}, whose word on it does not count");
                problems.push(config.placed(weak, Problem::of(weak, what, remedy)));
            }
        }
    }
    problems
}

/// `type:name`, where the type is a word; `::1` is none.
fn table(pattern: &str) -> bool {
    pattern.split_once(':').is_some_and(|(kind, name)| {
        kind.len() > 1
            && !name.is_empty()
            && !name.starts_with(':')
            && kind.chars().all(|c| c.is_ascii_lowercase())
            && u16::from_str_radix(kind, 16).is_err()
    })
}

fn address(pattern: &str, element: &str, note: &mut dyn FnMut(String, &str)) {
    if table(pattern) {
        return;
    }
    if let Err(why) = Network::read(pattern) {
        let name = pattern.chars().any(|c| c.is_ascii_alphabetic()) && !pattern.contains(['[', ':', '/']);
        if name {
            let what = format!("{element:?} is a host name, but only addresses are compared here");
            note(what, "write the address or network of that host");
        } else {
            note(
                format!("{element:?} never matches: {why}"),
                "write an address such as 192.0.2.1 or a network such as 192.0.2.0/24 or [2001:db8::]/32",
            );
        }
    }
}

fn domain(pattern: &str, element: &str, note: &mut dyn FnMut(String, &str)) {
    if table(pattern) || pattern.is_empty() {
        return;
    }
    if pattern.contains('@') {
        note(
            format!("{element:?} is an address, but only domains are compared here"),
            "write what stands behind the @",
        );
    } else if pattern.contains('*') {
        note(
            format!("{element:?} is no pattern; * stands for itself"),
            "write .example.com for the names below example.com, or a regexp: table",
        );
    } else if pattern.parse::<std::net::IpAddr>().is_ok() {
        note(
            format!("{element:?} is an address; mail is sent to [{pattern}]"),
            "write it in brackets, or leave it out",
        );
    } else if pattern.contains('_') || !pattern.chars().all(|c| c.is_alphanumeric() || "-.[]:".contains(c)) {
        note(format!("{element:?} is no domain name"), "correct the name");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn found(text: &str) -> Vec<String> {
        let config = Config::from_text(Path::new("/etc/postfix"), text).unwrap();
        suspicious(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn elements_that_cannot_match() {
        let said =
            found("myorigin = a\nmynetworks = 127.0.0.0/8 [::z1] localhost <b>10.0.0.0/8</b> 10.0.0.1/8\n");
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(
            said[0]
                .starts_with("/etc/postfix/main.cf, line 2: parameter mynetworks: \"[::z1]\" never matches")
        );
        assert!(said[1].contains("host name"));
        assert!(said[2].contains("contains <"));
        assert!(said[3].contains("the network is 10.0.0.0/8"));
        assert_eq!(found("mydestination = a.example, *.b.example, c@d.example, 192.0.2.1, <i>\n").len(), 4);
        assert_eq!(found("mynetworks = /no/such/file\n").len(), 1);
    }

    #[test]
    fn a_domain_has_one_class() {
        let said = found(
            "mydestination = a.example, b.example, hash:/x\nvirtual_alias_domains = $virtual_alias_maps, c.example\n\
             virtual_mailbox_domains = B.example c.example, hash:/x d.example\n",
        );
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("line 3") && said[0].contains("b.example in BOTH mydestination and"));
        assert!(said[1].contains("c.example in BOTH virtual_alias_domains and virtual_mailbox_domains"));
    }

    #[test]
    fn ordinary_lists_are_silent() {
        let text = "mydestination = $myhostname, localhost.$mydomain, localhost, [192.0.2.1], hash:/etc/x, !no.example, .b.example\n\
                    mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 ::1 cidr:/etc/n, !192.0.2.7\n\
                    inet_interfaces = all\nsmtpd_authorized_xclient_hosts = localhost 127.0.0.1\n";
        assert_eq!(found(text), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_list_panics(text in "[a-c!.,0-9 \\[\\]:{}<*@é]{0,40}") {
            found(&format!("mynetworks = {text}\nmydestination = {text}\n"));
        }
    }
}
