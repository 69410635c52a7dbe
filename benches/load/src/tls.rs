//! TLS: new handshakes a second, resumed ones, and what an idle connection costs in memory; side by side, in turns.
//!
//! A session of the first two is greeting, EHLO, STARTTLS, handshake, QUIT. The client does its own half of the
//! work on the same processors. An idle connection has said EHLO over TLS and waits.

use crate::bench::{Bench, Fleet, port};
use crate::client::{self, Client, Kind};
use crate::keys;
use crate::mta::{self, Mta, System};
use crate::options::Options;
use crate::samples::percentile;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Sessions at a time.
const SESSIONS: usize = 16;

/// New handshakes with either kind of key, which have targets.
pub fn new_ones(bench: &mut Bench) -> Result<(), String> {
    for (kind, rate, cpu, wait) in [
        (keys::P256, "ECDSA P-256, new/s", "ECDSA P-256, server CPU us", "ECDSA P-256, ms, p99"),
        (keys::RSA, "RSA 2048, new/s", "RSA 2048, server CPU us", "RSA 2048, ms, p99"),
    ] {
        let settings = keys::make(&bench.options.folder.join("keys"), kind)?.smtpd();
        let fleet = Fleet::start(bench.options, &|_| settings.clone())?;
        for round in 0..bench.options.rounds {
            for mta in fleet.turn(round) {
                let m = handshakes(mta, Kind::New, bench.options.seconds.unwrap_or(3))?;
                bench.add("handshakes", mta.system, round, vec![(rate, m.rate), (cpu, m.cpu), (wait, m.p99)]);
            }
        }
    }
    let about = format!("greeting, EHLO, STARTTLS, handshake, QUIT; TLS 1.3, {SESSIONS} at a time");
    bench.table("handshakes", &about);
    Ok(())
}

/// New and resumed ones, with either kind of key; and connections that wait.
pub fn run(bench: &mut Bench) -> Result<(), String> {
    for (kind, key) in [(keys::P256, "ECDSA P-256"), (keys::RSA, "RSA 2048")] {
        let settings = keys::make(&bench.options.folder.join("keys"), kind)?.smtpd();
        let fleet = Fleet::start(bench.options, &|_| settings.clone())?;
        let kinds = [
            (Kind::New, "new, TLS 1.3"),
            (Kind::Resumed, "resumed, TLS 1.3"),
            (Kind::Resumed12, "resumed, TLS 1.2"),
        ];
        for round in 0..bench.options.rounds {
            for mta in fleet.turn(round) {
                for (kind, what) in kinds {
                    let m = handshakes(mta, kind, bench.options.seconds.unwrap_or(3))?;
                    let values = vec![
                        ("sessions/s", m.rate),
                        ("server CPU us/session", m.cpu),
                        ("ms, p50", m.p50),
                        ("ms, p99", m.p99),
                        ("resumed %", m.resumed),
                    ];
                    bench.add(&format!("tls, {key}, {what}"), mta.system, round, values);
                }
            }
        }
        for (_, what) in kinds {
            bench.table(&format!("tls, {key}, {what}"), &format!("{SESSIONS} sessions at a time"));
        }
    }
    let settings = keys::make(&bench.options.folder.join("keys"), keys::RSA)?.smtpd();
    let settings = format!("{settings}default_process_limit = {}\n", bench.options.connections + 100);
    for round in 0..bench.options.rounds {
        for system in bench.order(round) {
            // Debian's has a hundred processes.
            if system != System::Debian {
                let values = idle(system, port(system), &settings, bench.options)?;
                bench.add("tls, idle", system, round, values);
            }
        }
    }
    bench.table("tls, idle", &format!("{} connections over TLS that wait", bench.options.connections));
    Ok(())
}

/// What a while of sessions gave.
struct Handshakes {
    rate: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
    resumed: f64,
}

/// Sessions as fast as they go, for a while.
fn handshakes(mta: &Mta, kind: Kind, seconds: u64) -> Result<Handshakes, String> {
    let all: Mutex<(Vec<Duration>, u64)> = Mutex::default();
    let faults: Mutex<Vec<String>> = Mutex::default();
    let before = mta.usage();
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                let mut own = (Vec::new(), 0);
                if let Err(why) = sessions(mta, kind, end, &mut own) {
                    lock(&faults).push(why);
                }
                let mut all = lock(&all);
                all.0.extend(own.0);
                all.1 += own.1;
            });
        }
    });
    let wall = begun.elapsed().as_secs_f64();
    let cpu = mta.usage().cpu - before.cpu;
    if let Some(why) = lock(&faults).first() {
        return Err(format!("{}: {why}; see {}", mta.system.name(), mta.folder().display()));
    }
    let (mut times, resumed) = std::mem::take(&mut *lock(&all));
    times.sort_unstable();
    let n = times.len().max(1) as f64;
    Ok(Handshakes {
        rate: n / wall,
        cpu: cpu * 1e6 / n,
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
        resumed: resumed as f64 * 100.0 / n,
    })
}

fn sessions(mta: &Mta, kind: Kind, end: Instant, own: &mut (Vec<Duration>, u64)) -> Result<(), String> {
    let config = client::config(kind)?;
    while Instant::now() < end {
        let begun = Instant::now();
        let mut client = Client::secured(Ipv4Addr::LOCALHOST, mta.address, &config)?;
        client.expect("QUIT", 221)?;
        own.0.push(begun.elapsed());
        own.1 += u64::from(client.resumed());
    }
    Ok(())
}

/// Connections that wait, at a system that just started.
fn idle(
    system: System,
    port: u16,
    settings: &str,
    options: &Options,
) -> Result<Vec<(&'static str, f64)>, String> {
    let mta = mta::start(system, port, settings, options)?;
    let config = client::config(Kind::New)?;
    let open = || -> Result<Client, String> {
        let mut client = Client::secured(Ipv4Addr::LOCALHOST, mta.address, &config)?;
        client.expect("EHLO client.test", 250)?;
        Ok(client)
    };
    // What the first one loads is not what a connection costs.
    open()?.expect("QUIT", 221)?;
    let (before, _) = mta.memory();
    let mut held = Vec::new();
    for _ in 0..options.connections {
        held.push(open()?);
    }
    let (after, processes) = mta.memory();
    for client in held.iter_mut().take(3) {
        client.expect("NOOP", 250)?;
    }
    let each = after.saturating_sub(before) as f64 / options.connections.max(1) as f64;
    Ok(vec![("PSS kB/connection", each), ("processes", processes as f64)])
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
