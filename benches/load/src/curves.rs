//! How cost grows: messages a second and processor time per message along sessions, size, deferred mail, destinations and TLS.
//!
//! A cost that is more than a quarter above the lowest one before it on its curve is marked: there the curve bends upward, and
//! `docs/performance.md` has to say why. The cost of a size is counted by the KiB.

use crate::bench::{Bench, Fleet, SINK};
use crate::client::{self, Kind};
use crate::deferred;
use crate::keys;
use crate::mta::System;
use crate::relay::{measure, settings};
use crate::samples::digits;
use crate::sink::{Manner, Sink};
use crate::source::{Plan, Whom};
use crate::tuned::{self, TUNED_TLS};
use std::net::{Ipv4Addr, SocketAddrV4};

/// More than that is a bend.
const BEND: f64 = 1.25;

/// A point of a curve: what it is called, and how much of the cost's unit a message is.
struct Point {
    label: &'static str,
    units: f64,
}

const fn point(label: &'static str) -> Point {
    Point { label, units: 1.0 }
}

/// Their names.
pub const NAMES: &[&str] =
    &["curve-sessions", "curve-sizes", "curve-deferred", "curve-destinations", "curve-tls"];

/// The curves of these names; `curves` are all.
pub fn run(bench: &mut Bench, names: &[&str]) -> Result<(), String> {
    let curves = [sessions, sizes, waiting, destinations, tls];
    for (name, curve) in NAMES.iter().zip(curves) {
        if names.contains(name) || names.contains(&"curves") {
            curve(bench)?;
        }
    }
    Ok(())
}

/// Postfix gets a fourth or so: it takes as long.
fn count(bench: &Bench, system: System, usual: u64) -> u64 {
    bench.options.count(if system == System::Valija { usual } else { usual / 5 })
}

fn sessions(bench: &mut Bench) -> Result<(), String> {
    let sink = Sink::start(&[(SINK, Manner::Good)])?;
    let fleet = Fleet::start(bench.options, &|_| format!("{}default_process_limit = 1200\n", settings()))?;
    let all = [(1, "1", 5_000), (10, "10", 15_000), (100, "100", 20_000), (1_000, "1,000", 20_000)];
    for (sessions, label, messages) in all {
        rounds(bench, &fleet, &sink, &name("sessions", label), &|bench, mta| {
            Plan::new(mta.address, sessions, count(bench, mta.system, messages), 10_240)
        })?;
    }
    table(bench, "sessions", "us/message", &all.map(|(_, label, _)| point(label)));
    Ok(())
}

fn sizes(bench: &mut Bench) -> Result<(), String> {
    let sink = Sink::start(&[(SINK, Manner::Good)])?;
    let fleet = Fleet::start(bench.options, &|_| settings())?;
    let all = [
        (1_024, "1 KiB", 20_000),
        (10_240, "10 KiB", 20_000),
        (102_400, "100 KiB", 6_000),
        (10_485_760, "10 MiB", 150),
    ];
    for (size, label, messages) in all {
        rounds(bench, &fleet, &sink, &name("size", label), &|bench, mta| {
            // Of these, few suffice, and the other systems get as many.
            let messages = if size > 1 << 20 {
                bench.options.count(messages)
            } else {
                count(bench, mta.system, messages)
            };
            Plan::new(mta.address, 100, messages, size)
        })?;
    }
    let points = all.map(|(size, label, _)| Point { label, units: size as f64 / 1024.0 });
    table(bench, "size", "us/KiB", &points);
    Ok(())
}

/// With mail that waits in the queue.
fn waiting(bench: &mut Bench) -> Result<(), String> {
    let sink = Sink::start(&[(SINK, Manner::Good)])?;
    let fleet = Fleet::start(bench.options, &|_| format!("{}{}", settings(), deferred::SETTINGS))?;
    // Postfix would need a quarter of an hour for a million.
    let all = [
        ("0", 0, 0),
        ("10,000", 10_000, 10_000),
        ("1,000,000 (Postfix: 100,000)", bench.options.million, 100_000),
    ];
    let (mut own, mut others) = (0_u64, 0_u64);
    for (label, messages, for_others) in all {
        for mta in fleet.turn(0) {
            let (wanted, has) =
                if mta.system == System::Valija { (messages, own) } else { (for_others, others) };
            let more: u64 = wanted.saturating_sub(has);
            if more > 0 {
                deferred::add(bench, mta, more)?;
            }
        }
        (own, others) = (own.max(messages), others.max(for_others));
        rounds(bench, &fleet, &sink, &name("deferred", label), &|bench, mta| {
            Plan::new(mta.address, 100, count(bench, mta.system, 20_000), 10_240)
        })?;
    }
    table(bench, "deferred", "us/message", &all.map(|(label, _, _)| point(label)));
    Ok(())
}

/// Each destination is an address of its own.
fn destinations(bench: &mut Bench) -> Result<(), String> {
    let everywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SINK.port());
    let sink = Sink::start(&[(everywhere, Manner::Good)])?;
    let file = bench.options.folder.join("transport");
    let all = [(1_u64, "1"), (100, "100"), (10_000, "10,000")];
    for (domains, label) in all {
        let line = |d| format!("d{d}.test smtp:[127.{}.{}.1]:{}\n", 1 + d / 250, d % 250, SINK.port());
        let lines: String = (0..domains).map(line).collect();
        std::fs::write(&file, lines).map_err(|e| format!("{}: {e}", file.display()))?;
        let settings = format!("transport_maps = texthash:{}\n", file.display());
        let fleet = Fleet::start(bench.options, &|_| settings.clone())?;
        rounds(bench, &fleet, &sink, &name("destinations", label), &|bench, mta| {
            let messages = count(bench, mta.system, 20_000).max(domains.min(bench.options.count(10_000)));
            Plan { whom: Whom::Domains(domains), ..Plan::new(mta.address, 100, messages, 10_240) }
        })?;
    }
    table(bench, "destinations", "us/message", &all.map(|(_, label)| point(label)));
    Ok(())
}

fn tls(bench: &mut Bench) -> Result<(), String> {
    let keys = keys::make(&bench.options.folder.join("keys"), keys::P256)?;
    let sink = Sink::start_with(&[(SINK, Manner::Good)], Some(keys.server()?))?;
    let config = client::config(Kind::New)?;
    for (label, outside) in [("none", "none"), ("both", "encrypt")] {
        let fleet = Fleet::start(bench.options, &|system| {
            let more = if system == System::Debian { String::new() } else { tuned::lines(TUNED_TLS) };
            format!("{}{}{more}smtp_tls_security_level = {outside}\n", settings(), keys.smtpd())
        })?;
        let labels = if label == "none" {
            [(false, "none"), (true, "in")]
        } else {
            [(false, "out"), (true, "in and out")]
        };
        for (inside, label) in labels {
            let tls = inside.then(|| config.clone());
            rounds(bench, &fleet, &sink, &name("TLS", label), &|bench, mta| {
                let messages = count(bench, mta.system, 15_000);
                Plan { tls: tls.clone(), ..Plan::new(mta.address, 100, messages, 10_240) }
            })?;
        }
    }
    table(bench, "TLS", "us/message", &["none", "in", "out", "in and out"].map(point));
    Ok(())
}

fn name(curve: &str, label: &str) -> String {
    format!("curve {curve}: {label}")
}

fn rounds(
    bench: &mut Bench,
    fleet: &Fleet,
    sink: &Sink,
    scenario: &str,
    plan: &dyn Fn(&Bench, &crate::mta::Mta) -> Plan,
) -> Result<(), String> {
    for round in 0..bench.options.rounds {
        for mta in fleet.turn(round) {
            let run = bench.run_number();
            let plan = Plan { run, ..plan(bench, mta) };
            let values = measure(bench, mta, sink, &plan)?;
            bench.add(scenario, mta.system, round, values);
        }
    }
    Ok(())
}

fn table(bench: &mut Bench, curve: &str, unit: &str, points: &[Point]) {
    let mut text = format!("### curve: {curve}\n\n| {curve} |");
    let systems = bench.options.systems.clone();
    for system in &systems {
        text.push_str(&format!(" {0}: drained/s | {0}: CPU {unit} | bend |", system.name()));
    }
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(3 * systems.len())));
    let mut lowest = vec![f64::MAX; systems.len()];
    for point in points {
        text.push_str(&format!("| {} |", point.label));
        for (system, lowest) in systems.iter().zip(&mut lowest) {
            let best = |measure| {
                bench
                    .samples
                    .summary(&name(curve, point.label), *system, measure)
                    .map_or(f64::NAN, |s| s.best)
            };
            let cost = best("CPU us/message") / point.units;
            text.push_str(&format!(
                " {} | {} | {} |",
                digits(best("drained/s")),
                digits(cost),
                bend(cost, *lowest)
            ));
            *lowest = lowest.min(cost);
        }
        text.push('\n');
    }
    bench.report.detail(&text);
}

/// How a cost stands to the lowest one before it.
fn bend(cost: f64, lowest: f64) -> String {
    if cost > lowest * BEND { format!("**up, {}x**", digits(cost / lowest)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bend_is_marked() {
        assert_eq!((bend(100.0, f64::MAX), bend(120.0, 100.0), bend(80.0, 100.0)), Default::default());
        assert_eq!(bend(130.0, 100.0), "**up, 1.30x**");
    }
}
