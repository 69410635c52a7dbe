//! TLS: new handshakes a second, resumed ones, and what an idle connection costs in memory; side by side, in turns.
//!
//! A session of the first two is greeting, EHLO, STARTTLS, handshake, QUIT. The client does its own half of the
//! work on the same processors. An idle connection has said EHLO over TLS and waits.

use crate::client::{self, Client, Kind};
use crate::mta::{self, Mta, System};
use crate::namespace;
use crate::options::Options;
use crate::table::{self, Measure, percentile};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Sessions at a time.
const SESSIONS: usize = 16;

const HANDSHAKES: [Measure; 5] = [
    ("sessions/s", true),
    ("server CPU us/session", false),
    ("ms, p50", false),
    ("ms, p99", false),
    ("resumed %", true),
];
const IDLE: [Measure; 2] = [("PSS kB/connection", false), ("processes", false)];

/// A key and a certificate in one file.
pub fn certificate(folder: &Path, key: &[&str]) -> Result<String, String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let name = key.first().map_or("", |k| k.split(':').next().unwrap_or_default());
    let (key_file, cert) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let status = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=mta.bench.test", "-newkey"])
        .args(key)
        .arg("-keyout")
        .arg(&key_file)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    if !status.is_ok_and(|s| s.success()) {
        return Err("openssl req: no certificate was made (apt-get install openssl)".into());
    }
    Ok(format!(
        "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = may\n",
        cert.display(),
        key_file.display()
    ))
}

/// All of it.
pub fn run(options: &Options) -> Result<(), String> {
    namespace::furnish()?;
    let wanted = |s: &System| match &options.only {
        Some(only) => only == s.name(),
        None => true,
    };
    let systems: Vec<(System, u16)> =
        [(System::Postfix, 2601), (System::Valija, 2603)].into_iter().filter(|(s, _)| wanted(s)).collect();
    for (name, key) in
        [("ECDSA P-256", vec!["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("RSA 2048", vec!["rsa:2048"])]
    {
        let settings = certificate(&options.folder.join("keys"), &key)?;
        let mut kinds = [
            (Kind::New, "new, TLS 1.3", Vec::new()),
            (Kind::Resumed, "resumed, TLS 1.3", Vec::new()),
            (Kind::Resumed12, "resumed, TLS 1.2", Vec::new()),
        ];
        let mut running = Vec::new();
        for (system, port) in &systems {
            running.push(mta::start(*system, *port, &settings, options)?);
        }
        for round in 0..options.rounds {
            // Nobody is always the first.
            for n in 0..running.len() {
                let Some(mta) = running.get((n + round) % running.len()) else { continue };
                for (kind, what, runs) in &mut kinds {
                    let values = handshakes(mta, *kind, options.seconds)?;
                    println!(
                        "round {} {:>8} {name}, {what}: {:.0}/s, {:.0} us",
                        round + 1,
                        mta.system.name(),
                        values.first().unwrap_or(&0.0),
                        values.get(1).unwrap_or(&0.0)
                    );
                    runs.push((mta.system, values));
                }
            }
        }
        println!();
        for (_, what, runs) in &kinds {
            let title = format!(
                "{name}, {what}, {SESSIONS} at a time, {} s, {} rounds",
                options.seconds, options.rounds
            );
            table::print(&title, &HANDSHAKES, runs);
        }
    }
    let settings = certificate(&options.folder.join("keys"), &["rsa:2048"])?;
    let settings = format!("{settings}default_process_limit = {}\n", options.connections + 100);
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        for n in 0..systems.len() {
            let Some((system, port)) = systems.get((n + round) % systems.len()) else { continue };
            let values = idle(*system, *port, &settings, options)?;
            println!(
                "round {} {:>8} idle: {:.1} kB",
                round + 1,
                system.name(),
                values.first().unwrap_or(&0.0)
            );
            runs.push((*system, values));
        }
    }
    println!();
    table::print(&format!("{} idle connections over TLS", options.connections), &IDLE, &runs);
    Ok(())
}

/// Sessions as fast as they go, for a while.
fn handshakes(mta: &Mta, kind: Kind, seconds: u64) -> Result<Vec<f64>, String> {
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
    let share = resumed as f64 * 100.0 / n;
    Ok(vec![n / wall, cpu * 1e6 / n, percentile(&times, 50), percentile(&times, 99), share])
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
fn idle(system: System, port: u16, settings: &str, options: &Options) -> Result<Vec<f64>, String> {
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
    Ok(vec![each, processes as f64])
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
