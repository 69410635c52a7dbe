//! The store on a merciless simulated disk, against a model (`run`); damage; full disks.

mod counts;
mod damage;
mod full;
mod model;
mod points;
mod run;
mod simulated;
mod turns;

use std::time::Instant;

/// How many seeds each run of the tests tries.
const SEEDS: u64 = 100;

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
