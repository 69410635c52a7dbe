//! The drill with SIGKILL: each process, and all together, killed at random moments while mail flows, and started again at
//! once; a real Postfix first, then valija.

use crate::account::{GRACE, Late};
use crate::clients::Ledger;
use crate::drill::{Outcome, under_fire, wait_for_load};
use crate::options::Options;
use crate::rng::Rng;
use crate::sink::Sink;
use crate::system::{Kind, SINK, System};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Both systems, and a table.
pub fn run(options: &Options) -> Result<(), String> {
    let sink = Sink::start(SINK)?;
    let mut outcomes = Vec::new();
    for kind in [Kind::Postfix, Kind::Valija] {
        if options.only.as_deref().is_some_and(|only| only != kind.name()) {
            continue;
        }
        outcomes.push((kind, one(kind, &sink, options)?));
    }
    print(&outcomes, options);
    let mut faults = Vec::new();
    for (kind, outcome) in &outcomes {
        let verdict = &outcome.verdict;
        // Postfix is measured, not judged.
        if *kind == Kind::Postfix {
            continue;
        }
        faults.extend(outcome.faults());
        let most = GRACE + options.tolerate * 1000;
        let bad = |l: &&Late| !l.excused && l.before.is_none_or(|before| before > most);
        let late = verdict.late.iter().filter(bad);
        let late: Vec<_> = late.collect();
        if !late.is_empty() {
            faults
                .push(format!("delivered twice though the first time ended long before the kill: {late:?}"));
        }
        if verdict.acknowledged == 0 || outcome.kills.is_empty() {
            faults.push("the drill did nothing".into());
        }
    }
    if faults.is_empty() {
        if !options.keep {
            let _ = fs::remove_dir_all(&options.folder);
        }
        return Ok(());
    }
    Err(format!(
        "seed {}: {}\nleft for whoever must find out why: {}",
        options.seed,
        faults.join("\n"),
        options.folder.display()
    ))
}

fn one(kind: Kind, sink: &Sink, options: &Options) -> Result<Outcome, String> {
    let _ = fs::remove_dir_all(options.folder.join("disk"));
    let system = System::lay_out(kind, options)?;
    sink.forget();
    system.start()?;
    let mut rng = Rng(options.seed);
    let mut since_master: BTreeMap<&str, u64> = BTreeMap::new();
    let outcome = under_fire(&system, sink, options, &mut |ledger, outcome| {
        for round in 0..options.rounds {
            let who = victim(kind, &mut rng, &mut since_master);
            attack(&system, ledger, outcome, who, &mut rng)
                .map_err(|e| format!("round {round}, {who} killed: {e}"))?;
        }
        Ok(())
    });
    system.stop()?;
    outcome.map_err(|e| format!("{}, seed {}: {e}", kind.name(), options.seed))
}

/// Whoever is next. What dies again and again is started after longer and longer pauses, until a new master forgets that.
fn victim(kind: Kind, rng: &mut Rng, since: &mut BTreeMap<&'static str, u64>) -> &'static str {
    let mut number = rng.below(100);
    let mut who = "*";
    for (name, share) in kind.victims() {
        if number < *share {
            who = name;
            break;
        }
        number -= share;
    }
    let times = since.entry(who).or_insert(0);
    *times += 1;
    if matches!(who, "mail" | "deliver") && *times > 2 {
        who = "master";
    }
    if matches!(who, "master" | "*") {
        since.clear();
    }
    who
}

fn attack(
    system: &System,
    ledger: &Ledger,
    outcome: &mut Outcome,
    who: &str,
    rng: &mut Rng,
) -> Result<(), String> {
    // Not before mail is flowing.
    wait_for_load(system, ledger, 10 + rng.below(60))?;
    std::thread::sleep(Duration::from_micros(rng.below(400_000)));
    let mut kill = None;
    // Those that come and go are met soon.
    for _ in 0..10_000 {
        kill = system.kill(who, rng);
        if kill.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let Some(kill) = kill else { return Err("there is no such process".into()) };
    outcome.kills.push(kill);
    outcome.pauses.push(system.revive(who, rng)?);
    Ok(())
}

fn print(outcomes: &[(Kind, Outcome)], options: &Options) {
    let mut table = format!("| seed {} |", options.seed);
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    let mut cell = |name: &'static str, value: String| match rows.iter_mut().find(|(n, _)| *n == name) {
        Some((_, values)) => values.push(value),
        None => rows.push((name, vec![value])),
    };
    for (kind, outcome) in outcomes {
        table.push_str(&format!(" {} |", kind.name()));
        let verdict = &outcome.verdict;
        cell("rounds", outcome.kills.len().to_string());
        cell("acknowledged", verdict.acknowledged.to_string());
        cell("in doubt (no answer)", verdict.doubtful.to_string());
        cell("**lost** (recipients of acknowledged letters)", verdict.lost.len().to_string());
        cell("arrived twice, at hosts and commands", verdict.twice.to_string());
        cell("… whose delivery had ended more than 5 ms before the kill", verdict.late.len().to_string());
        let excused = verdict.late.iter().filter(|l| !l.excused).count();
        cell("… and longer before than the machine was late", excused.to_string());
        let longest = verdict.late.iter().filter_map(|l| l.before).max().unwrap_or(0);
        cell("… the longest before, ms", format!("{:.1}", longest as f64 / 1000.0));
        cell("most in one round (then under way)", format!("{} ({})", verdict.most.0, verdict.most.1));
        cell("arrived twice in mailboxes", verdict.twice_in_files.to_string());
        cell("cut-off letters in the mbox, repeated", outcome.torn.to_string());
        let pause = |at: usize| outcome.pauses.get(at.min(outcome.pauses.len().saturating_sub(1)));
        let ms = |d: Option<&Duration>| d.map_or("-".into(), |d| format!("{:.2}", d.as_secs_f64()));
        let (middle, last) = (pause(outcome.pauses.len() / 2), pause(usize::MAX));
        cell("seconds until it greets again: median, longest", format!("{}, {}", ms(middle), ms(last)));
        let mut who: BTreeMap<&str, u64> = BTreeMap::new();
        for kill in &outcome.kills {
            *who.entry(&kill.who).or_default() += 1;
        }
        let who: Vec<String> =
            who.iter().map(|(n, c)| format!("{} {c}", if *n == "*" { "all" } else { n })).collect();
        cell("killed", who.join(", "));
        cell("seconds in all", format!("{:.0}", outcome.taken.as_secs_f64()));
    }
    println!("\n{table}\n|---|{}", "---|".repeat(outcomes.len()));
    for (name, values) in rows {
        println!("| {name} | {} |", values.join(" | "));
    }
    println!();
}
