//! No target takes more time than its input is long: text eight times as long takes about eight times as long, where
//! something quadratic takes sixty-four times. Tried with every seed, every line of it, every word of its
//! dictionary and every character that opens something, said over and over.

use fuzz_targets::{TARGETS, Target};
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

const SHORT: usize = 4 << 10;
const TIMES: usize = 8;
/// Less than this is no matter, whatever it grew from.
const MUCH: Duration = Duration::from_millis(60);

/// Of this thread alone: other work on the machine does not count.
fn cpu() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock"))
}

fn took(target: Target, bytes: &[u8]) -> Duration {
    let began = cpu();
    target(bytes);
    cpu() - began
}

/// Words of a dictionary of libFuzzer: `"text"` with `\xNN` for what cannot be printed.
fn words(file: &Path) -> Vec<Vec<u8>> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let word = |text: &str| {
        let (mut out, mut rest) = (Vec::new(), text);
        while let Some(byte) = rest.bytes().next() {
            let hexadecimal =
                rest.strip_prefix("\\x").and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
            out.push(hexadecimal.unwrap_or(byte));
            rest = &rest[if hexadecimal.is_some() { 4 } else { 1 }..];
        }
        out
    };
    quoted.map(word).collect()
}

/// What is said over and over, after the switches with which the inputs of most targets begin.
fn repeated(fuzz: &Path, name: &str) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut switches = BTreeSet::from([vec![], vec![0, 0], vec![1, 1]]);
    for entry in fs::read_dir(fuzz.join("seeds").join(name)).expect("seeds") {
        let seed = fs::read(entry.expect("an entry").path()).expect("a seed");
        let (head, rest) = seed.split_at(seed.len().min(2));
        switches.insert(head.to_vec());
        found.insert((head.to_vec(), rest.to_vec()));
        for line in rest.split_inclusive(|b| *b == b'\n').take(8) {
            found.insert((head.to_vec(), line.to_vec()));
        }
    }
    let opening = b"(<\"[{\\,:;@. \t\n\r\0-=$%a".iter().map(|b| vec![*b]);
    for (n, word) in words(&fuzz.join("dictionaries").join(name)).into_iter().chain(opening).enumerate() {
        let head = switches.iter().nth(n % switches.len()).cloned().unwrap_or_default();
        found.insert((head, word));
    }
    found.retain(|(_, what)| !what.is_empty());
    found
}

/// A target, and what it is given: how often something is said, what stands before it, what is said, what comes behind it.
type Said = (&'static str, usize, &'static [u8], &'static [u8], &'static [u8]);

/// What was found so, or by reading: each looked at, or moved, all of it for each piece.
const FOUND: [Said; 3] = [
    // A list of groups that are never closed but by the last byte.
    ("address_list", 4000, b"", b"a:", b";"),
    // Each mailbox line at the start of a message moved all that came behind it.
    ("headers", 4000, b"\x08\x00", b"From\x20\n", b"\nx"),
    // Each byte of a line that came was a reason to look at all before it.
    ("dovecot", 900, b"\x01", b"\tx", b"\n"),
];

#[test]
fn what_grew_too_fast_no_longer_does() {
    for (name, times, head, what, tail) in FOUND {
        let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
        let input = |times: usize| [head, what.repeat(times).as_slice(), tail].concat();
        let least = |times: usize| (0..3).map(|_| took(*target, &input(times))).min().unwrap_or_default();
        let (quick, slow) = (least(times), least(times * 16));
        assert!(slow < quick * 64 + MUCH, "{name}: {quick:?} and {slow:?} for sixteen times as much");
    }
}

#[test]
#[ignore = "takes minutes: part of ./test all"]
fn time_grows_as_the_input_does() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let only = std::env::var("FUZZ_TARGET").ok();
    let (mut bad, mut tried) = (Vec::new(), 0);
    for (name, target) in TARGETS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        for (head, what) in repeated(&fuzz, name) {
            let input = |length: usize| -> Vec<u8> {
                head.iter().chain(what.iter().cycle().take(length.max(what.len()))).copied().collect()
            };
            let (short, long) = (input(SHORT), input(SHORT * TIMES));
            tried += 1;
            let slow = took(*target, &long);
            if slow < MUCH {
                continue;
            }
            let quick = (0..3).map(|_| took(*target, &short)).min().unwrap_or_default();
            let slow = (0..2).map(|_| took(*target, &long)).min().unwrap_or(slow).min(slow);
            if slow > MUCH && slow > quick * (TIMES * 3) as u32 {
                bad.push(format!("{name}: {:?} {quick:?} {slow:?}", String::from_utf8_lossy(&what)));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(tried > 20 * TARGETS.len() || only.is_some(), "too little was tried: {tried}");
}
