//! Doors for the fuzz targets alone; no other build has them.

use crate::policy::{Parsed, parse};
use crate::verify::cache::Cache;
use crate::verify::file;

/// A policy service's answer: it is understood at the same place however it arrives, and what came is enough.
pub fn policy(answer: &[u8], step: usize) {
    // Each piece reads all that came before it anew: the answers of no service are long.
    let answer = answer.get(..2000).unwrap_or(answer);
    let whole = parse(answer);
    let mut at = 0;
    let stepwise = loop {
        at = (at + step.max(1)).min(answer.len());
        match parse(&answer[..at]) {
            Parsed::Unfinished if at < answer.len() => {}
            parsed => break parsed,
        }
    };
    match (&whole, &stepwise) {
        (Parsed::Action(one, _), Parsed::Action(other, _)) => assert_eq!(one, other),
        (one, other) => assert_eq!(one, other),
    }
}

/// What a filter before the queue says, behind what the client does: a line of a command, `%%`, the content, `%%`.
pub fn filter(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |b| *b == b'\n');
    let (command, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let at = rest.windows(4).position(|w| w == b"\n%%\n").unwrap_or(rest.len());
    let (said, content) = (&rest[..at], rest.get(at + 4..).unwrap_or_default());
    crate::proxy::fuzz::filter(said, &String::from_utf8_lossy(command), content);
}

/// The file of verified addresses: what is read of it is written so that it is read again.
pub fn verified(text: &str) {
    let mut cache = Cache::new(100);
    for (address, entry) in text.lines().filter_map(file::read) {
        let again = file::line(&address, &entry);
        assert_eq!(again.matches('\n').count(), 1, "{again:?}");
        if !address.chars().any(char::is_control) {
            assert_eq!(file::read(again.trim_end_matches('\n')), Some((address.clone(), entry.clone())));
        }
        cache.put(address, entry);
    }
    assert!(cache.iter().count() <= 100);
}
