//! Through a system and out again: the same load through each in turn, source to system to sink.
//!
//! `accepted/s` counts until the last 250 to the source, `drained/s` until the last message is at the sink. Each system gets
//! as many messages as keep it busy for some seconds; with `--messages` all get the same.

use crate::bench::{Bench, Fleet, SINK};
use crate::mta::{Mta, System};
use crate::options::Options;
use crate::samples::Samples;
use crate::sink::{Manner, Sink};
use crate::source::{self, Outcome, Plan};
use crate::tuned::{self, TUNED_TLS};
use crate::{client, durable, keys};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing came for so long: the rest is lost, or at least late.
const STALL: Duration = Duration::from_secs(20);

/// How busy the tools were.
const TOOLS: &str = "busier of source and sink, % of a processor";
/// And what was no part of the measurement.
const OTHERS: &str = "CPU of all others, % of the machine";

/// A scenario.
#[derive(Clone, Debug)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// Connections at a time.
    pub sessions: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages on a connection; 0 for all.
    pub per_connection: u64,
    /// Messages for valija.
    pub messages: u64,
    /// Messages for Postfix.
    pub others: u64,
    /// MAIL, RCPT and DATA together.
    pub pipelining: bool,
}

fn load(name: &str, sessions: usize, size: usize, per_connection: u64, counts: (u64, u64)) -> Load {
    let (messages, others) = counts;
    Load { name: name.into(), sessions, size, per_connection, messages, others, pipelining: false }
}

/// Those that have targets, in plain text.
pub fn named() -> Vec<Load> {
    vec![
        load("relay-100", 100, 10_240, 0, (24_000, 4_500)),
        load("relay-10", 10, 10_240, 0, (18_000, 4_500)),
        load("relay-1", 1, 10_240, 0, (6_000, 2_500)),
        load("relay-100-one", 100, 10_240, 1, (15_000, 3_000)),
        load("relay-1k", 100, 1_024, 0, (24_000, 4_500)),
        load("relay-100k", 100, 102_400, 0, (6_000, 2_500)),
    ]
}

/// The one with TLS on both sides.
pub fn encrypted() -> Load {
    load("relay-tls", 100, 10_240, 0, (15_000, 3_000))
}

/// What the options say.
pub fn custom(options: &Options) -> Vec<Load> {
    let each = |sessions: &usize| {
        let counts = if *sessions == 1 { (4_000, 2_000) } else { (12_000, 4_000) };
        let name = match (options.size, options.per_connection) {
            (10_240, 0) => format!("relay, {sessions} sessions"),
            (size, 0) => format!("relay, {sessions} sessions, {size} bytes"),
            (size, n) => format!("relay, {sessions} sessions, {size} bytes, {n} a connection"),
        };
        let load = load(&name, *sessions, options.size, options.per_connection, counts);
        Load { pipelining: options.pipelining, ..load }
    };
    options.sessions.iter().map(each).collect()
}

impl Load {
    /// Of these.
    pub fn about(&self) -> String {
        let one = if self.per_connection > 0 { ", one message per connection" } else { "" };
        format!("{} sessions, {} bytes{one}", self.sessions, self.size)
    }

    fn count(&self, system: System, options: &Options) -> u64 {
        options.count(if system == System::Valija { self.messages } else { self.others })
    }
}

/// Lines of main.cf that send everything to the sink.
pub fn settings() -> String {
    format!("relayhost = [{}]:{}\nsmtp_connection_cache_destinations = {0}\n", SINK.ip(), SINK.port())
}

/// The scenarios of these names in plain text, then whether anything is acknowledged before it is on disk.
pub fn plain(bench: &mut Bench, names: &[&str]) -> Result<(), String> {
    let mut loads: Vec<Load> = named().into_iter().filter(|l| names.contains(&l.name.as_str())).collect();
    if names.contains(&"relay") {
        loads.extend(custom(bench.options));
    }
    let sink = Sink::start(&[(SINK, Manner::Good)])?;
    let fleet = Fleet::start(bench.options, &|_| settings())?;
    rounds(bench, &fleet, &sink, &loads, None)?;
    if names.contains(&"durable") {
        durable::run(bench, &fleet, &sink)?;
    }
    Ok(())
}

/// TLS on both sides.
pub fn tls(bench: &mut Bench) -> Result<(), String> {
    let keys = keys::make(&bench.options.folder.join("keys"), keys::P256)?;
    let sink = Sink::start_with(&[(SINK, Manner::Good)], Some(keys.server()?))?;
    let fleet = Fleet::start(bench.options, &|system| {
        let more = if system == System::Debian { String::new() } else { tuned::lines(TUNED_TLS) };
        format!("{}{}smtp_tls_security_level = encrypt\n{more}", settings(), keys.smtpd())
    })?;
    rounds(bench, &fleet, &sink, &[encrypted()], Some(client::config(client::Kind::New)?))
}

fn rounds(
    bench: &mut Bench,
    fleet: &Fleet,
    sink: &Sink,
    loads: &[Load],
    tls: Option<Arc<ClientConfig>>,
) -> Result<(), String> {
    for round in 0..bench.options.rounds {
        for load in loads {
            for mta in fleet.turn(round) {
                let messages = load.count(mta.system, bench.options);
                let plan = Plan {
                    pipelining: load.pipelining,
                    per_connection: load.per_connection,
                    run: bench.run_number(),
                    tls: tls.clone(),
                    ..Plan::new(mta.address, load.sessions, messages, load.size)
                };
                let values = measure(bench, mta, sink, &plan)?;
                bench.add(&load.name, mta.system, round, values);
            }
        }
    }
    for load in loads {
        let encrypted = if tls.is_some() { ", TLS on both sides" } else { "" };
        bench.table(&load.name, &format!("{}{encrypted}", load.about()));
    }
    Ok(())
}

/// Whether the tools or other work on the machine held the systems up.
pub fn fairness(samples: &Samples) -> String {
    let (Some(tools), Some(others)) =
        (samples.extent(System::Valija, TOOLS), samples.extent(System::Valija, OTHERS))
    else {
        return String::new();
    };
    let machine = match samples.extent(System::Postfix, OTHERS) {
        Some((_, theirs)) => format!("{:.0} % (tuned Postfix: {theirs:.0} %)", others.1),
        None => format!("{:.0} %", others.1),
    };
    format!(
        "While mail was relayed by valija the busier of source and sink used {:.0} % of one processor at most; everything else on \
         the machine took {machine} of it in the median run.\n",
        tools.0
    )
}

/// One run through one system.
pub fn measure(
    bench: &mut Bench,
    mta: &Mta,
    sink: &Sink,
    plan: &Plan,
) -> Result<Vec<(&'static str, f64)>, String> {
    sink.expect(plan.run, plan.messages);
    let (before, sunk) = (mta.usage(), sink.stats().cpu);
    let begun = Instant::now();
    let outcome: Outcome = source::send(plan)?;
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
    let (cpu, sink_cpu) = (after.cpu - before.cpu, stats.cpu - sunk);
    let foreign = (after.machine - before.machine - cpu - outcome.cpu - sink_cpu).max(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let lost = outcome.accepted.saturating_sub(stats.unique);
    bench.lost += lost;
    bench.twice += stats.twice;
    if outcome.failed + lost + stats.twice > 0 {
        println!(
            "  {} failed at the source: {}; {lost} lost, {} twice",
            outcome.failed, outcome.why, stats.twice
        );
    }
    let busiest = (outcome.cpu / outcome.taken.as_secs_f64()).max(sink_cpu / drained.as_secs_f64());
    Ok(vec![
        ("accepted/s", outcome.rate()),
        ("drained/s", stats.unique as f64 / drained.as_secs_f64()),
        ("CPU us/message", cpu * 1e6 / n),
        ("dot to 250 ms, p50", outcome.wait(50)),
        ("dot to 250 ms, p99", outcome.wait(99)),
        ("PSS MiB", pss as f64 / 1024.0),
        ("flushes/message", (after.flushes - before.flushes) as f64 / n),
        ("disk bytes/message", (after.written - before.written) as f64 / n),
        ("source CPU us/message", outcome.cpu * 1e6 / n),
        ("sink CPU us/message", sink_cpu * 1e6 / n),
        ("messages on each connection to the sink", stats.unique as f64 / stats.connections.max(1) as f64),
        (TOOLS, busiest * 100.0),
        (OTHERS, foreign / wall / processors * 100.0),
    ])
}
