//! The drill with power cuts: queue, homes and mailboxes are on a disk that forgets any part of what was not synced.

use crate::account::Kill;
use crate::clock::now;
use crate::disk::Disk;
use crate::drill::{under_fire, wait_for_load};
use crate::options::Options;
use crate::rng::Rng;
use crate::sink::Sink;
use crate::system::{Kind, SINK, System};
use std::fs;
use std::time::{Duration, Instant};

/// Cuts, and a table.
pub fn run(options: &Options) -> Result<(), String> {
    let kind = if options.only.as_deref() == Some("postfix") { Kind::Postfix } else { Kind::Valija };
    let found = drill(kind, options, false)?;
    let verdict = &found.outcome.verdict;
    let pauses = &found.outcome.pauses;
    println!("\n| {}, {}, seed {} | |\n|---|---|", kind.name(), options.filesystem, options.seed);
    println!("| power cuts under load | {} |", found.outcome.kills.len());
    println!("| acknowledged | {} |", verdict.acknowledged);
    println!("| in doubt (no answer) | {} |", verdict.doubtful);
    println!("| **lost** (recipients of acknowledged letters) | {} |", verdict.lost.len());
    println!("| sectors written and not synced at the cuts | {} |", found.unsynced);
    println!(
        "| … of which reached the disk | {} ({} of them in an older version) |",
        found.kept, found.older
    );
    println!("| arrived twice, at hosts and commands | {} |", verdict.twice);
    let longest = verdict.late.iter().filter_map(|l| l.before).max().unwrap_or(0);
    println!("| … the longest before the cut, s | {:.2} |", longest as f64 / 1e6);
    println!("| arrived twice in mailboxes | {} |", verdict.twice_in_files);
    println!("| cut-off letters in the mbox, repeated | {} |", found.outcome.torn);
    let ms = |d: Option<&Duration>| d.map_or(0.0, Duration::as_secs_f64);
    println!(
        "| seconds from power to greeting: median, longest | {:.2}, {:.2} |",
        ms(pauses.get(pauses.len() / 2)),
        ms(pauses.last())
    );
    println!("| seconds in all | {:.0} |\n", found.outcome.taken.as_secs_f64());
    let mut faults = found.faults();
    // What became of a message is synced every second.
    if kind == Kind::Valija && verdict.late.iter().any(|l| l.before.is_none_or(|b| b > 5_000_000)) {
        faults.push("delivered again though it had been delivered more than 5 s before the cut".into());
    }
    if faults.is_empty() {
        if !options.keep {
            let _ = fs::remove_dir_all(&options.folder);
        }
        return Ok(());
    }
    Err(format!("seed {}: {}\nlogs: {}", options.seed, faults.join("\n"), options.folder.display()))
}

/// What was found.
pub struct Found {
    outcome: crate::drill::Outcome,
    unsynced: u64,
    kept: u64,
    older: u64,
}

impl Found {
    /// What may not be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.outcome.faults();
        if self.outcome.verdict.acknowledged == 0 || self.unsynced == 0 {
            faults.push("the drill did nothing".into());
        }
        faults
    }
}

/// The drill itself; on a disk that only pretends to sync, if it `lies`.
pub fn drill(kind: Kind, options: &Options, lies: bool) -> Result<Found, String> {
    let sink = Sink::start(SINK)?;
    let at = options.folder.join("disk");
    let _ = fs::remove_dir_all(&at);
    let mut disk = Disk::make(&options.folder.join("fuse"), &at, &options.filesystem)?;
    let system = System::lay_out(kind, options)?;
    disk.sync()?;
    let mut rng = Rng(options.seed);
    let (mut unsynced, mut kept, mut older) = (0, 0, 0);
    system.start()?;
    let outcome = under_fire(&system, &sink, options, &mut |ledger, outcome| {
        for round in 0..options.cuts {
            if lies {
                disk.lie();
            }
            wait_for_load(&system, ledger, 10 + rng.below(300))?;
            std::thread::sleep(Duration::from_micros(rng.below(1_200_000)));
            let left = disk.cut(&mut rng);
            let before = now();
            unsynced += left.unsynced;
            kept += left.kept;
            older += left.older;
            if system.kill("*", &mut rng).is_none() {
                return Err("nobody was there to be killed".into());
            }
            outcome.kills.push(Kill {
                who: "power".into(),
                before,
                after: now(),
                late: 0,
                alive: Vec::new(),
            });
            disk.power().map_err(|e| format!("cut {round}: {e}"))?;
            let begun = Instant::now();
            system.start().map_err(|e| format!("cut {round}: {e}"))?;
            outcome.pauses.push(begun.elapsed());
        }
        Ok(())
    });
    system.stop()?;
    let outcome = outcome.map_err(|e| format!("{}, seed {}: {e}", kind.name(), options.seed))?;
    Ok(Found { outcome, unsynced, kept, older })
}
