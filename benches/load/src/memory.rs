//! Memory of a system that just started, and with sessions that said EHLO and wait.

use crate::bench::{Bench, port};
use crate::client::Client;
use crate::mta::{self, Mta, System};
use std::net::Ipv4Addr;
use std::time::Duration;

const SOME: usize = 1_000;
const MANY: usize = 10_000;

/// All rounds.
pub fn run(bench: &mut Bench) -> Result<(), String> {
    for round in 0..bench.options.rounds {
        for system in bench.order(round) {
            let values = measure(bench, system)?;
            bench.add("memory", system, round, values);
        }
    }
    bench.table(
        "memory",
        "the sum of the PSS of all processes; Postfix has a process for each session, Debian's at most 100",
    );
    Ok(())
}

fn measure(bench: &Bench, system: System) -> Result<Vec<(&'static str, f64)>, String> {
    // Postfix is not asked to have 10,000 processes, of more than a MiB each.
    let sessions = match system {
        System::Debian => 0,
        System::Postfix => SOME,
        System::Valija => MANY,
    };
    let limit = match system {
        System::Debian => String::new(),
        _ => format!("default_process_limit = {}\n", sessions + 100),
    };
    let mta = mta::start(system, port(system), &limit, bench.options)?;
    std::thread::sleep(Duration::from_secs(1));
    let (fresh, processes) = mta.memory();
    let mib = |kib: u64| kib as f64 / 1024.0;
    let mut values = vec![("fresh, PSS MiB", mib(fresh)), ("fresh, processes", processes as f64)];
    let mut held = Vec::new();
    if sessions >= SOME {
        hold(&mta, &mut held, SOME)?;
        values.push(("1,000 idle sessions, PSS MiB", mib(mta.memory().0)));
    }
    if sessions >= MANY {
        hold(&mta, &mut held, MANY)?;
        let with = mta.memory().0;
        values.push(("10,000 idle sessions, PSS MiB", mib(with)));
        values.push(("each of 10,000, kB", with.saturating_sub(fresh) as f64 / MANY as f64));
    }
    // They are still served, the first and the last.
    for client in held.iter_mut().step_by(997) {
        client.expect("NOOP", 250)?;
    }
    Ok(values)
}

fn hold(mta: &Mta, held: &mut Vec<Client>, wanted: usize) -> Result<(), String> {
    while held.len() < wanted {
        let n = held.len();
        let lost = |e: std::io::Error| format!("{}, session {n}: {e}", mta.system.name());
        let mut client = Client::connect(Ipv4Addr::LOCALHOST, mta.address).map_err(lost)?;
        client.reply().map_err(lost)?.must("greeting", 220)?;
        client.expect("EHLO client.test", 250)?;
        held.push(client);
    }
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}
