//! A busy queue with bad destinations: 10,000 messages to 500 destinations, of which 50 are dead, 50
//! greylist and 10 answer a byte a second; then the same messages for the live ones alone. The
//! live ones are to get theirs in at most 1.3 times the time, the greylisting ones later, the
//! dead ones not at all; nothing is lost, nothing comes twice.

use crate::bench::Bench;
use crate::mta::{self, Mta, System};
use crate::options::Options;
use crate::sink::{Manner, Sink};
use crate::source::{self, Plan, Whom};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const DESTINATIONS: u64 = 500;
const MESSAGES: u64 = 10_000;
const GOOD: u16 = 2525;
const GREY: u16 = 2526;
const SLOW: u16 = 2527;
const DEAD: u16 = 2528;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live,
    Dead,
    Greylisting,
    Slow,
}

/// The bad ones stand between the live ones.
fn kind(destination: u64) -> Kind {
    match destination % 50 {
        0..5 => Kind::Dead,
        5..10 => Kind::Greylisting,
        10 => Kind::Slow,
        _ => Kind::Live,
    }
}

/// The transport table: each destination is an address of its own; `bad` says whether the bad ones are.
fn transports(bad: bool) -> String {
    let mut table = String::new();
    for d in 0..DESTINATIONS {
        let port = match kind(d) {
            _ if !bad => GOOD,
            Kind::Live => GOOD,
            Kind::Greylisting => GREY,
            Kind::Slow => SLOW,
            Kind::Dead => DEAD,
        };
        table.push_str(&format!("d{d}.test smtp:[127.{}.{}.1]:{port}\n", 1 + d / 250, d % 250));
    }
    table
}

/// A port whose queue of connections is full: what is sent there is dropped, as by a host that is down.
fn dead() -> Result<(TcpListener, Vec<TcpStream>), String> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DEAD);
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket};
    use std::os::fd::AsRawFd;
    let fault = |e: nix::Error| format!("listen on {any}: {e}");
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(fault)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(any)).map_err(fault)?;
    listen(&fd, Backlog::new(1).map_err(fault)?).map_err(fault)?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, DEAD).into();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&to, Duration::from_millis(500)) {
        waiting.push(stream);
        if waiting.len() > 20 {
            return Err(format!("the queue of {any} does not fill up"));
        }
    }
    Ok((TcpListener::from(fd), waiting))
}

/// What one pass gave: how long the live ones took.
fn pass(mta: &Mta, sink: &Sink, options: &Options, run: u32, bad: bool) -> Result<Duration, String> {
    let messages = options.messages.unwrap_or(MESSAGES);
    let about = |n: u64, what: &[Kind]| what.contains(&kind(n % DESTINATIONS));
    let count = |what: &[Kind]| (0..messages).filter(|n| about(*n, what)).count() as u64;
    sink.expect(run, messages);
    let whom = Whom::Domains(DESTINATIONS);
    let plan = Plan { pipelining: true, run, whom, ..Plan::new(mta.address, 20, messages, options.size) };
    let begun = Instant::now();
    let outcome = source::send(&plan)?;
    if outcome.accepted < messages {
        return Err(format!("{} of {} accepted: {}", outcome.accepted, messages, outcome.why));
    }
    let live = count(&[Kind::Live]);
    let until = |what: &[Kind], wanted: u64, patience: Duration| {
        let mut at = None;
        while at.is_none() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
            if sink.stats().arrived(|n| about(n, what)) >= wanted {
                at = Some(begun.elapsed());
            }
        }
        at
    };
    let Some(taken) = until(&[Kind::Live], live, Duration::from_secs(600)) else {
        let arrived = sink.stats().arrived(|n| about(n, &[Kind::Live]));
        return Err(format!("{arrived} of {live} messages for live destinations arrived"));
    };
    let accepted = outcome.taken.as_secs_f64();
    println!(
        "{live} messages for live destinations after {:.2} s; accepted after {accepted:.2} s",
        taken.as_secs_f64()
    );
    let what = if bad { vec![Kind::Greylisting] } else { vec![Kind::Greylisting, Kind::Slow, Kind::Dead] };
    let others = count(&what);
    if until(&what, others, begun.elapsed() + Duration::from_secs(120)).is_none() {
        let arrived = sink.stats().arrived(|n| about(n, &what));
        return Err(format!("{arrived} of {others} messages for the other destinations arrived"));
    }
    println!(
        "{others} messages for {} after {:.1} s",
        if bad { "greylisting destinations" } else { "the others" },
        begun.elapsed().as_secs_f64()
    );
    let stats = sink.stats();
    if stats.twice > 0 {
        return Err(format!("{} messages came twice", stats.twice));
    }
    if bad && stats.arrived(|n| about(n, &[Kind::Dead])) > 0 {
        return Err("mail arrived at a dead destination".into());
    }
    Ok(taken)
}

/// All of it: with the bad ones and without, in turns.
pub fn run(bench: &mut Bench, rounds: usize) -> Result<(), String> {
    let options = bench.options;
    let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let sink = Sink::start(&[
        (any(GOOD), Manner::Good),
        (any(GREY), Manner::Greylisting),
        (any(SLOW), Manner::Slow),
    ])?;
    let _dead = dead()?;
    let system = if options.has(System::Valija) { System::Valija } else { System::Postfix };
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for bad in [false, true] {
            let table = options.folder.join("transport");
            std::fs::create_dir_all(&options.folder).map_err(|e| e.to_string())?;
            std::fs::write(&table, transports(bad)).map_err(|e| format!("{}: {e}", table.display()))?;
            let settings = format!(
                "transport_maps = texthash:{}\nminimal_backoff_time = 15s\nqueue_run_delay = 5s\n\
                 default_process_limit = 100\ninitial_destination_concurrency = 5\n\
                 default_destination_concurrency_negative_feedback = 1\n",
                table.display()
            );
            let mta = mta::start(system, 2603, &settings, options)?;
            println!("round {}, {}:", round + 1, if bad { "with 110 bad destinations" } else { "all live" });
            let taken = pass(&mta, &sink, options, bench.run_number(), bad)?;
            if bad { among.push(taken) } else { alone.push(taken) }
        }
    }
    let best = |all: &[Duration]| all.iter().min().map_or(0.0, Duration::as_secs_f64);
    let ratio = best(&among) / best(&alone).max(1e-9);
    bench.report.detail(&format!(
        "### bad: 500 destinations, 110 of them dead, greylisting or slow\n\nThe messages for the live ones, {}, best of {rounds}: \
         {:.2} s alone, {:.2} s among bad ones, {ratio:.2} times (at most 1.3 is wanted).",
        system.name(),
        best(&alone),
        best(&among)
    ));
    bench.add("bad", system, 0, vec![("live ones, times as long", ratio)]);
    Ok(())
}
