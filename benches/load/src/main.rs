//! The benchmark of the whole: valija beside a well-tuned Postfix and Debian's, as ratios with targets. `cargo run --release
//! -p load -- help` says what it can do; `docs/performance.md` says what it found.
//!
//! Everything runs in network, mount and process namespaces of its own, which end with it: no
//! port and no name of the host is touched, nothing gets out, and nothing stays behind but the
//! folder with logs and queues.
//!
//! In reading order: [`goals`] (what is wanted of which scenario), [`bench`] (the systems in turn, what was measured), [`samples`]
//! (best, median, worst, ratios), [`report`] (markdown); the scenarios [`relay`], [`durable`] (nothing is acknowledged before it is on
//! disk), [`memory`], [`deferred`] (a full queue), [`mailbox`] (local delivery), [`tls`] (handshakes, idle connections), [`bad`]
//! (a busy queue with bad destinations), [`logins`] (guessed passwords), [`curves`] (how cost grows), [`ceiling`] (the tools alone);
//! what they use: [`mta`] (an instance of Postfix or valija, configured in the same way), [`tuned`] (the settings, with reasons),
//! [`source`] and [`sink`] (the load; one thread each, no more than epoll), [`wire`], [`client`] (sessions that take their
//! time), [`keys`], [`usage`] (what a system cost), [`namespace`].

mod bad;
mod bench;
mod ceiling;
mod client;
mod curves;
mod deferred;
mod durable;
mod goals;
mod keys;
mod logins;
mod mailbox;
mod memory;
mod mta;
mod namespace;
mod options;
mod relay;
mod report;
mod samples;
mod sink;
mod source;
mod tls;
mod tuned;
mod usage;
mod wire;

use bench::Bench;
use mta::System;
use options::Options;
use std::process::ExitCode;
use std::time::Instant;

/// Scenarios in the order in which they are run: name, and what it is.
const SCENARIOS: &[(&str, &str)] = &[
    ("relay-100", "source to system to sink, 100 sessions, 10 KiB"),
    ("relay-10", "the same with 10 sessions"),
    ("relay-1", "the same with one"),
    ("relay-100-one", "100 sessions, a new connection for each message"),
    ("relay-1k", "100 sessions, 1 KiB"),
    ("relay-100k", "100 sessions, 100 KiB"),
    ("durable", "whether the disk was flushed between each final dot and its 250"),
    ("relay-tls", "100 sessions, 10 KiB, TLS on both sides"),
    ("handshakes", "new TLS handshakes"),
    ("memory", "PSS fresh, with 1,000 and with 10,000 idle sessions"),
    ("maildir", "local delivery to 20 Maildirs"),
    ("mbox", "local delivery to one mbox"),
    ("mbox-20", "local delivery to 20 mboxes"),
    ("deferred", "100,000 deferred messages: mailq, memory, start"),
    ("million", "1,000,000 deferred messages, valija alone: start, first line of mailq"),
];
/// What else can be named; the first three belong to `all`.
const OTHERS: &[&str] = &["ceiling", "bad", "logins", "relay", "tls", "curves"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = Options::read(&words).and_then(|options| {
        let known = |n: &String| {
            let n = n.as_str();
            ["all", "help", "settings"].contains(&n)
                || OTHERS.contains(&n)
                || curves::NAMES.contains(&n)
                || SCENARIOS.iter().any(|(s, _)| *s == n)
        };
        match options.names.iter().find(|n| !known(n)) {
            Some(name) => Err(format!("there is no scenario {name}")),
            None => Ok(options),
        }
    });
    let options = match result {
        Ok(options) => options,
        Err(why) => {
            eprintln!("load: {why}\n\n{}", help());
            return ExitCode::from(64);
        }
    };
    let result = match options.names.first().map(String::as_str) {
        Some("help") => {
            println!("{}", help());
            Ok(())
        }
        Some("settings") => {
            let (plain, tls) = (tuned::table(tuned::TUNED), tuned::table(tuned::TUNED_TLS));
            println!("{plain}\nWith TLS:\n\n{tls}");
            Ok(())
        }
        _ => prepare(&options).and_then(|inside| if inside { run(&options) } else { Ok(()) }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let scenarios: String = SCENARIOS.iter().map(|(name, about)| format!("  {name:<15} {about}\n")).collect();
    format!("{}{}", options::HELP, scenarios.trim_end())
}

/// Builds what is to be measured, then runs this program again in namespaces; true in there.
fn prepare(options: &Options) -> Result<bool, String> {
    if namespace::inside() {
        return Ok(true);
    }
    let tree = match &options.tree {
        Some(tree) => std::path::absolute(tree).map_err(|e| format!("{}: {e}", tree.display()))?,
        None if options.has(System::Valija) => mta::build(options)?,
        None => options.folder.clone(),
    };
    namespace::enter(&tree).map(|()| false)
}

fn run(options: &Options) -> Result<(), String> {
    namespace::furnish()?;
    let begun = Instant::now();
    let mut bench = Bench::new(options);
    let result = scenarios(&mut bench, options);
    let mut summary = goals::table(&bench.samples, options);
    summary.push_str(&format!("\n{}", relay::fairness(&bench.samples)));
    summary.push_str(&format!(
        "\nLost {}, twice {}; {:.1} minutes in all.\n",
        bench.lost,
        bench.twice,
        begun.elapsed().as_secs_f64() / 60.0
    ));
    if let Err(why) = &result {
        summary.push_str(&format!("\n**Not finished: {why}**\n"));
    }
    println!("\n{summary}\nLogs are in {}.", options.folder.display());
    if let Some(file) = &options.markdown {
        std::fs::write(file, bench.report.markdown(&summary))
            .map_err(|e| format!("{}: {e}", file.display()))?;
    }
    if !options.keep {
        for system in [System::Postfix, System::Debian, System::Valija] {
            let _ = std::fs::remove_dir_all(options.folder.join(system.name()).join("queue"));
        }
    }
    if bench.lost > 0 { Err(format!("{} messages were lost", bench.lost)) } else { result }
}

/// Some scenarios that belong together.
type Step<'a> = &'a dyn Fn(&mut Bench) -> Result<(), String>;

/// One that fails does not keep the others from being measured.
fn scenarios(bench: &mut Bench, options: &Options) -> Result<(), String> {
    let all = options.names.iter().any(|n| n == "all");
    let named = |name: &str| options.names.iter().any(|n| n == name);
    let mut names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).filter(|n| all || named(n)).collect();
    names.extend(OTHERS.iter().chain(curves::NAMES).copied().filter(|n| named(n)));
    let any = |of: &[&str]| names.iter().any(|n| of.contains(n));
    let plain =
        ["relay-100", "relay-10", "relay-1", "relay-100-one", "relay-1k", "relay-100k", "durable", "relay"];
    let valija = options.has(System::Valija);
    // One round of these says what there is to say; more when they are asked for.
    let (long, bad_rounds) = (all && valija && !options.quick, if all { 1 } else { options.rounds });
    let steps: [(bool, Step); 11] = [
        (any(&plain), &|bench| relay::plain(bench, &names)),
        (any(&["relay-tls"]), &relay::tls),
        (any(&["handshakes"]), &tls::new_ones),
        (any(&["memory"]), &memory::run),
        (any(&["maildir", "mbox", "mbox-20"]), &|bench| mailbox::run(bench, &names)),
        (any(&["deferred", "million"]), &|bench| deferred::run(bench, &names)),
        (all || any(&["ceiling"]), &|bench| ceiling::run(bench, !all)),
        (any(&["tls"]), &tls::run),
        (any(&["curves"]) || any(curves::NAMES), &|bench| curves::run(bench, &names)),
        (any(&["bad"]) || long, &|bench| bad::run(bench, bad_rounds)),
        (any(&["logins"]) || long, &logins::run),
    ];
    let mut faults = Vec::new();
    for (wanted, step) in steps {
        if wanted && let Err(why) = step(bench) {
            eprintln!("load: {why}");
            faults.push(why);
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}
