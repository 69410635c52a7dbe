//! Routing, held to the answers of a real trivial-rewrite 3.7: `tests/resolve.txt`, which
//! `tests/resolve.py` records. Blocks of settings (`# name = value`), then lines of sender, recipient,
//! transport, next hop, recipient and flags, separated by tabs.

use config::Config;
use proto::Address;
use rewrite::{Class, Rewriter};
use std::path::Path;
use tables::Types;

const BASE: &str = "myhostname = mail2.josedomingo.org\nmydomain = josedomingo.org\nmyorigin = josedomingo.org\n\
    mydestination = $myhostname, josedomingo.org, localhost\nrecipient_delimiter = +\ncompatibility_level = 3.6\n";

/// `transport|nexthop|recipient|class`, or `bad`, or `failed`.
fn here(rewriter: &Rewriter, sender: &str, recipient: &str) -> String {
    let address = |text: &str| Address::from_internal(text);
    match rewriter.resolve(&address(recipient), &address(sender)) {
        Err(_) => "failed".into(),
        Ok(r) if r.bad.is_some() => "bad".into(),
        Ok(r) => {
            let class = match r.class {
                Class::Local => "local",
                Class::VirtualAlias => "alias",
                Class::VirtualMailbox => "virtual",
                Class::Relay => "relay",
                Class::Default => "default",
            };
            let routed = if r.routed { " routed" } else { "" };
            format!("{}|{}|{}|{class}{routed}", r.transport, r.nexthop, r.recipient.internal())
        }
    }
}

fn there(fields: &[&str]) -> String {
    let flags: u32 = fields[3].parse().unwrap();
    if flags & 8 != 0 {
        return "failed".into();
    }
    if flags & 4 != 0 {
        return "bad".into();
    }
    let classes = [(256, "local"), (512, "alias"), (1024, "virtual"), (2048, "relay"), (4096, "default")];
    let class = classes.iter().find(|(bit, _)| flags & bit != 0).map_or("none", |(_, word)| word);
    let routed = if flags & 2 != 0 { " routed" } else { "" };
    // Its answers quote what needs quotes.
    let recipient = Address::from_internal(&fields[2].replace('"', ""));
    format!("{}|{}|{}|{class}{routed}", fields[0], fields[1], recipient.internal())
}

#[test]
fn as_trivial_rewrite_resolves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resolve.txt");
    let table = std::fs::read_to_string(path).unwrap();
    let (mut asked, mut wrong) = (0, Vec::new());
    for block in table.split("\n\n") {
        let (settings, lines): (Vec<&str>, Vec<&str>) = block.lines().partition(|l| l.starts_with('#'));
        let settings: Vec<&str> = settings.iter().map(|l| l.trim_start_matches(['#', ' '])).collect();
        let text = format!("{BASE}{}\n", settings.join("\n"));
        let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
        let own = ["127.0.0.1".parse().unwrap()];
        let rewriter = Rewriter::open(&config, &Types::builder().build(), &own).unwrap();
        let before = wrong.len();
        for line in lines {
            let fields: Vec<&str> = line.split('\t').collect();
            let (sender, recipient) = (fields[0], fields[1]);
            asked += 1;
            let (got, expected) = (here(&rewriter, sender, recipient), there(&fields[2..]));
            if got != expected {
                wrong.push(format!("  <{sender}> <{recipient}>: Postfix {expected}, here {got}"));
            }
        }
        if wrong.len() > before {
            wrong.insert(before, settings.join("; "));
        }
    }
    assert!(asked > 4000, "{asked} questions");
    assert!(wrong.is_empty(), "{} of {asked}\n{}", wrong.len(), wrong.join("\n"));
}
