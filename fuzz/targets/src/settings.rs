//! What administrators write.

use crate::{text, two};
use config::Config;
use std::path::Path;
use tables::matchlist::{AddressList, DomainList, StringList};
use tables::{Grammar, Options, Types, bdb, cdb, split_list};

const NOWHERE: &str = "/nowhere";

/// Any text is read, or refused with its line; every value expands, or says why not.
pub fn main_cf(bytes: &[u8]) {
    match Config::from_text(Path::new(NOWHERE), &text(bytes)) {
        Ok(config) => {
            for name in config.set_names() {
                let _ = config.get(name);
            }
            let _ = config.compatibility_level();
            let _ = config::suspicious(&config);
            let _ = config::params::main::Main::load(&config);
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
}

/// Any text is read or refused; what was read has a command.
pub fn master_cf(bytes: &[u8]) {
    let Ok(config) = Config::from_text(Path::new(NOWHERE), "") else { return };
    match config::master_cf::read("master.cf", &text(bytes)) {
        Ok(services) => {
            for service in &services.all {
                let own = service.config(&config);
                let _ = (service.command(), service.id(), service.wakeup(), service.process_limit());
                let _ = own.get("syslog_name");
            }
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
}

fn types() -> Types {
    pcre::register(Types::builder()).build()
}

/// Compiled tables, and the texts of tables of each type: read or refused. A key that a table lists is found
/// in it.
pub fn tables(bytes: &[u8]) {
    let _ = bdb::rows(bytes);
    if cdb::is_sound(bytes) {
        let _ = cdb::records(bytes).count();
    }
    let _ = cdb::get(bytes, b"key");
    for grammar in [Grammar::Map, Grammar::Alias, Grammar::Auto] {
        let _ = tables::text::parse(bytes, grammar);
    }
    let (rules, key) = two(bytes);
    let (rules, key) = (text(rules), text(key));
    // Rules line by line; those with a brace would end the text.
    let lines = rules.lines().filter(|l| !l.contains(['{', '}'])).take(20);
    let within: String = lines.clone().map(|l| format!("{{{l}}}")).collect::<Vec<_>>().join(", ");
    if within.len() < 2000 {
        for kind in ["regexp", "pcre", "cidr", "inline"] {
            if let Ok(table) = types().open(&format!("{kind}:{{{within}}}")) {
                let _ = (table.lookup(&key), table.lookup("10.0.0.1"), table.lookup("aaaa"));
                if kind == "inline"
                    && let Ok(Some(rows)) = table.rows()
                {
                    assert!(rows.iter().all(|(key, _)| matches!(table.lookup(key), Ok(Some(_)))));
                }
            }
        }
    }
    // The name of a table itself; files of this machine are nobody's business.
    if let Some(name) = rules.lines().next().filter(|n| !n.contains('/') && n.len() < 500)
        && let Ok(table) = types().open_as(name, Options { fold: false, ..Options::default() })
    {
        let _ = table.lookup(&key);
    }
}

/// Lists of hosts, domains, addresses and words.
pub fn lists(bytes: &[u8]) {
    let (list, keys) = two(bytes);
    let list = text(list);
    if list.contains('/') && !list.split('/').skip(1).all(|p| p.starts_with(|c: char| c.is_ascii_digit())) {
        return;
    }
    let (types, elements, keys) = (types(), split_list(&list), text(keys));
    let domains = DomainList::open(&types, "mydestination", &elements, true);
    let addresses = AddressList::open(&types, "mynetworks", &elements, false);
    let words = StringList::open(&types, "x", &elements);
    for key in keys.lines() {
        let _ = (domains.matches(key), words.matches(key), addresses.matches_text("a.example", key));
        if let Ok(address) = key.parse() {
            let _ = addresses.matches("unknown", address);
        }
    }
    for (net, _) in addresses.nets() {
        // Addresses that IPv6 has for IPv4 count as IPv4, and are in no block of IPv6.
        assert!(net.contains(net.address()) || net.address().to_canonical().is_ipv4());
        assert_eq!(tables::Net::parse(&net.to_string()), Ok(*net));
    }
}

/// Rows of TLS policy tables.
pub fn tls_policy(bytes: &[u8]) {
    smtp::fuzz::tls_policy(&text(bytes));
}

/// Next hops.
pub fn nexthop(bytes: &[u8]) {
    use smtp::route::{Protocol, list, parse};
    for one in list(&text(bytes)) {
        let _ = parse(one, Protocol::Smtp, 25);
        let _ = parse(one, Protocol::Lmtp, 24);
    }
    let _ = net::Endpoint::parse(&text(bytes), Path::new("/q"), false);
}

/// resolv.conf: within the bounds of the C library.
pub fn resolv_conf(bytes: &[u8]) {
    let settings = net::dns::servers::Settings::parse(&text(bytes));
    assert!((1..=3).contains(&settings.servers.len()) && settings.search.len() <= 16);
}

/// Templates of notices.
pub fn bounce_template(bytes: &[u8]) {
    use qmgr::bounce::template::{Kind, Templates};
    let Ok(config) = Config::from_text(Path::new(NOWHERE), "myhostname = h.example\n") else { return };
    if let Ok(templates) = Templates::read("file", &text(bytes)) {
        for kind in [Kind::Failure, Kind::Delay, Kind::Success, Kind::Verify] {
            let _ = templates.get(kind).expanded(&config);
        }
    }
}
