//! Side by side: the same load through each system in turn, several rounds, and a table of ratios.

use crate::mta::{self, Mta, System};
use crate::namespace;
use crate::options::Options;
use crate::sink::{Manner, Sink};
use crate::source::{self, Outcome, Plan};
use crate::table;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2525);
/// Nothing came for so long: the rest is lost, or at least late.
const STALL: Duration = Duration::from_secs(20);

/// What one run through one system gave.
#[derive(Clone, Debug)]
struct Run {
    sessions: usize,
    system: System,
    accept: f64,
    drain: f64,
    cpu: f64,
    pss: f64,
    flushes: f64,
    written: f64,
    wait50: f64,
    wait99: f64,
    lost: u64,
    twice: u64,
    foreign: f64,
}

/// A column of the table: its name, how it is taken from a run, and whether more is better.
type Measure = (&'static str, fn(&Run) -> f64, bool);

const MEASURES: [Measure; 8] = [
    ("accepted/s", |r| r.accept, true),
    ("drained/s", |r| r.drain, true),
    ("CPU us/message", |r| r.cpu, false),
    ("PSS kB", |r| r.pss, false),
    ("flushes/message", |r| r.flushes, false),
    ("disk bytes/message", |r| r.written, false),
    ("dot to 250 ms, p50", |r| r.wait50, false),
    ("dot to 250 ms, p99", |r| r.wait99, false),
];

fn plan(options: &Options, to: SocketAddrV4, sessions: usize, run: u32) -> Plan {
    Plan {
        to,
        sessions,
        messages: if sessions == 1 { (options.messages / 5).max(1) } else { options.messages },
        size: options.size,
        pipelining: options.pipelining,
        per_connection: options.per_connection,
        run,
        destinations: 0,
        patience: Duration::from_secs(300),
    }
}

/// The tools alone.
pub fn ceiling(options: &Options) -> Result<(), String> {
    let sink = Sink::start(&[(SINK, Manner::Good)])?;
    for (run, sessions) in options.sessions.iter().enumerate() {
        let plan = plan(options, SINK, *sessions, run as u32);
        sink.expect(run as u32, plan.messages);
        let before = sink.stats().cpu;
        let outcome = source::send(&plan)?;
        std::thread::sleep(Duration::from_millis(150));
        let cpu = sink.stats().cpu - before;
        let each = |seconds: f64| seconds * 1e6 / outcome.accepted.max(1) as f64;
        println!(
            "{sessions:4} sessions: {:.0} messages/s; CPU us/message: source {:.0}, sink {:.0}",
            outcome.rate(),
            each(outcome.cpu),
            each(cpu)
        );
    }
    Ok(())
}

/// All of it.
pub fn run(options: &Options) -> Result<(), String> {
    namespace::furnish()?;
    let sink = Sink::start(&[(SINK, Manner::Good)])?;
    let settings =
        format!("relayhost = [{}]:{}\nsmtp_connection_cache_destinations = {0}\n", SINK.ip(), SINK.port());
    let wanted = |s: &System| match &options.only {
        Some(only) => only == s.name(),
        None => *s != System::Debian || options.debian,
    };
    let mut systems = Vec::new();
    for (system, port) in [(System::Postfix, 2601), (System::Debian, 2602), (System::Valija, 2603)] {
        if wanted(&system) {
            systems.push(mta::start(system, port, &settings, options)?);
        }
    }
    let mut runs = Vec::new();
    let mut number = 0;
    for round in 0..options.rounds {
        for sessions in &options.sessions {
            // Nobody is always the first.
            let turn = round % systems.len().max(1);
            let order: Vec<&Mta> = systems.iter().cycle().skip(turn).take(systems.len()).collect();
            for mta in order {
                number += 1;
                let one = measure(options, mta, &sink, *sessions, number)?;
                println!(
                    "round {} {:>8} {sessions:4} sessions: accepted {:6.0}/s, drained {:6.0}/s, {:5.0} us, lost {}, twice {}, others used {:.0} % of the machine",
                    round + 1,
                    one.system.name(),
                    one.accept,
                    one.drain,
                    one.cpu,
                    one.lost,
                    one.twice,
                    one.foreign * 100.0
                );
                runs.push(one);
            }
        }
    }
    println!();
    for sessions in &options.sessions {
        let title = format!("{} bytes, {sessions} sessions, {} rounds", options.size, options.rounds);
        let of = runs.iter().filter(|r| r.sessions == *sessions);
        let values = of.map(|r| (r.system, MEASURES.iter().map(|(_, take, _)| take(r)).collect()));
        let measures = MEASURES.map(|(name, _, more)| (name, more));
        table::print(&title, &measures, &values.collect::<Vec<_>>());
    }
    let (lost, twice): (u64, u64) = (runs.iter().map(|r| r.lost).sum(), runs.iter().map(|r| r.twice).sum());
    println!("lost {lost}, twice {twice}; logs in {}", options.folder.display());
    drop(systems);
    if !options.keep {
        for system in [System::Postfix, System::Debian, System::Valija] {
            let _ = std::fs::remove_dir_all(options.folder.join(system.name()).join("queue"));
        }
    }
    if lost > 0 { Err(format!("{lost} messages were lost")) } else { Ok(()) }
}

fn measure(options: &Options, mta: &Mta, sink: &Sink, sessions: usize, number: u32) -> Result<Run, String> {
    let plan = plan(options, mta.address, sessions, number);
    sink.expect(number, plan.messages);
    let (before, sunk) = (mta.usage(), sink.stats().cpu);
    let begun = Instant::now();
    let outcome: Outcome = source::send(&plan)?;
    if outcome.accepted == 0 {
        return Err(format!(
            "{} accepted nothing: {}; see {}",
            mta.system.name(),
            outcome.why,
            mta.folder().display()
        ));
    }
    let (mut seen, mut moved) = (0, Instant::now());
    loop {
        let unique = sink.stats().unique;
        if unique >= outcome.accepted || moved.elapsed() > STALL {
            break;
        }
        if unique != seen {
            (seen, moved) = (unique, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // The last settlements, and the disk's share of them.
    std::thread::sleep(Duration::from_millis(200));
    let (after, wall) = (mta.usage(), begun.elapsed().as_secs_f64());
    let (pss, _) = mta.memory();
    let stats = sink.stats();
    let drained =
        stats.last.and_then(|l| outcome.begun.map(|b| l.duration_since(b))).unwrap_or(Duration::MAX);
    let n = outcome.accepted as f64;
    let cpu = after.cpu - before.cpu;
    let foreign = (after.machine - before.machine - cpu - outcome.cpu - (stats.cpu - sunk)).max(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    if outcome.failed > 0 {
        println!("  {} failed at the source: {}", outcome.failed, outcome.why);
    }
    Ok(Run {
        sessions,
        system: mta.system,
        accept: outcome.rate(),
        drain: stats.unique as f64 / drained.as_secs_f64(),
        cpu: cpu * 1e6 / n,
        pss: pss as f64,
        flushes: (after.flushes - before.flushes) as f64 / n,
        written: (after.written - before.written) as f64 / n,
        wait50: outcome.wait(50),
        wait99: outcome.wait(99),
        lost: outcome.accepted.saturating_sub(stats.unique),
        twice: stats.twice,
        foreign: foreign / wall / processors,
    })
}
