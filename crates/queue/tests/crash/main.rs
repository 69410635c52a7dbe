//! The store on a merciless simulated disk, against a model (`run`); damage; full disks.

mod counts;
mod damage;
mod full;
mod model;
mod points;
mod run;
mod simulated;
mod sites;
mod turns;

use std::time::Instant;

/// How many seeds each run of the tests tries.
const SEEDS: u64 = 100;

/// What long runs found: the seed, and which of its steps are enough.
const FOUND: [(u64, &[u64]); 1] = [
    // A start after a kill could not sync a log, wrote it anew, and read states from the file that had lost them.
    (
        601,
        &[
            7, 35, 37, 38, 106, 112, 121, 122, 153, 338, 339, 361, 362, 363, 364, 365, 366, 367, 368, 369,
            370, 371, 372, 373, 374, 375, 376, 377, 378, 379, 380, 381, 382, 383, 384, 385, 386, 387, 388,
            389, 390, 391, 392, 393, 394, 395, 396, 397, 398, 399, 400, 401, 402, 403, 404,
        ],
    ),
];

#[test]
fn what_was_found_is_mended() {
    for (seed, wanted) in FOUND {
        let steps: Vec<_> = run::plan(seed).into_iter().filter(|s| wanted.contains(&s.id)).collect();
        if let Err(why) = run::run(seed, &steps) {
            panic!("{}", run::failure(seed, &steps, &why));
        }
    }
}

#[test]
fn every_acknowledged_message_survives() {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("QUEUE_CRASH_SEED").unwrap_or(1);
    let seeds = number("QUEUE_CRASH_SEEDS").unwrap_or(SEEDS);
    let mut counts = run::Counts::default();
    let began = Instant::now();
    for seed in first..first + seeds {
        let steps = run::plan(seed);
        match run::run(seed, &steps) {
            Ok(more) => counts.add(&more),
            Err(why) => panic!("{}", run::failure(seed, &steps, &why)),
        }
    }
    eprintln!("{seeds} seeds in {:.1} s: {counts}", began.elapsed().as_secs_f32());
    assert!(counts.acknowledged > 100 && counts.cuts > 10 && counts.forwarded > 10, "the test did nothing");
}

/// What the simulated disk does not see cannot be tested on it.
#[test]
fn all_that_touches_a_disk_goes_through_its_interface() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![source.clone()];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_string();
            let words: &[&str] = match name.as_str() {
                // The interface itself; and what Postfix left behind, which is only looked at.
                "disk/device.rs" | "leftovers.rs" => continue,
                // The lock, and the directory that holds all the rest.
                "disk/mod.rs" => &["fs::write", "rename", "remove_", "set_len", "fs::copy"],
                // Who owns the lock; the type of a big body that is handed out to be read.
                "offline.rs" => &["File", "OpenOptions", "write(", "rename", "remove_"],
                "store.rs" | "memory.rs" => &["OpenOptions", "File::", "fs::write", "fs::rename", "remove_"],
                _ => &["std::fs", "OpenOptions", "DirBuilder", "sys::durable", "nix::"],
            };
            if name.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            seen += 1;
            for word in words {
                assert!(!text.contains(word), "{name} has {word}: ask `Disk` for it");
            }
        }
    }
    assert!(seen > 15);
}
