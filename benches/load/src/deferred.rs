//! A queue full of deferred mail: how long `mailq` takes, how much memory the system has, how long a start takes.
//!
//! The mail comes by SMTP, as any mail, for a transport that `defer_transports` names; nothing is due again before the end.
//! Postfix's queue is filled once, and then used with the settings of either: filling takes it a minute and a half. Each
//! system is measured while the other ones do not run. A million messages are valija's alone.

use crate::bench::{Bench, port};
use crate::mta::{self, Mta, System};
use crate::source::{self, Plan, Whom};
use memchr::memmem;
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const SESSIONS: usize = 100;

/// Mail for `dead.test` stays, and no retry comes before the end of the measurement.
pub const SETTINGS: &str = "\
transport_maps = inline:{ { dead.test = relay:[127.0.0.1]:9 } }
defer_transports = relay
minimal_backoff_time = 8h
maximal_backoff_time = 8h
queue_run_delay = 4h
";

/// The scenarios of these names.
pub fn run(bench: &mut Bench, names: &[&str]) -> Result<(), String> {
    let (some, many) = (bench.options.deferred, bench.options.million);
    let valija = bench.options.has(System::Valija);
    let mut already = 0;
    if names.contains(&"deferred") {
        for system in [System::Postfix, System::Valija] {
            let postfix = bench.options.has(System::Postfix) || bench.options.has(System::Debian);
            if if system == System::Valija { valija } else { postfix } {
                let pss = fill(bench, system, 0, some)?;
                bench.add("deferred", system, 0, vec![("filled, PSS MiB", pss)]);
            }
        }
        already = some;
        rounds(bench, "deferred", some)?;
    }
    let _ = fs::remove_dir_all(folder(bench, System::Postfix).join("queue"));
    if names.contains(&"million") && valija {
        let pss = fill(bench, System::Valija, already.min(many), many)?;
        bench.add("million", System::Valija, 0, vec![("filled, PSS MiB", pss)]);
        rounds(bench, "million", many)?;
    }
    for system in [System::Postfix, System::Valija] {
        let _ = fs::remove_dir_all(folder(bench, system).join("queue"));
    }
    Ok(())
}

/// Debian's Postfix and the tuned one have the same queue, in turn.
fn folder(bench: &Bench, system: System) -> PathBuf {
    let owner = if system == System::Valija { System::Valija } else { System::Postfix };
    bench.options.folder.join(owner.name())
}

/// Brings a queue from `already` to `wanted` messages; gives the memory then, MiB.
fn fill(bench: &mut Bench, system: System, already: u64, wanted: u64) -> Result<f64, String> {
    let mta = match already {
        0 => mta::start(system, port(system), SETTINGS, bench.options)?,
        _ => mta::launch(system, &folder(bench, system), port(system))?.0,
    };
    room(bench, wanted - already)?;
    let begun = Instant::now();
    add(bench, &mta, wanted - already)?;
    println!("{}: {wanted} deferred messages after {:.0} s", system.name(), begun.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_secs(2));
    Ok(mta.memory().0 as f64 / 1024.0)
}

/// A message takes 12 kB of queue at most, and 2 kB of log.
fn room(bench: &Bench, messages: u64) -> Result<(), String> {
    let folder = &bench.options.folder;
    let disk = nix::sys::statvfs::statvfs(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (free, wanted) = (disk.blocks_available() * disk.fragment_size() / 1_000_000, messages * 14 / 1_000);
    if free > wanted + 500 {
        return Ok(());
    }
    Err(format!(
        "{messages} deferred messages need {wanted} MB below {}, where {free} MB are free: --folder names another disk, \
         --deferred and --million fewer messages",
        folder.display()
    ))
}

/// Sends so many messages that are deferred, and waits until they are.
pub fn add(bench: &mut Bench, mta: &Mta, messages: u64) -> Result<(), String> {
    let mut log = Log::at_end(mta.folder());
    let run = bench.run_number();
    let patience = Duration::from_secs(1_800);
    let plan = Plan { run, whom: Whom::Dead, patience, ..Plan::new(mta.address, SESSIONS, messages, 10_240) };
    let outcome = source::send(&plan)?;
    if outcome.accepted < messages {
        return Err(format!(
            "{} accepted {} of {messages}: {}",
            mta.system.name(),
            outcome.accepted,
            outcome.why
        ));
    }
    let (mut seen, mut moved) = (0, Instant::now());
    while log.deferred()? < messages {
        if log.count != seen {
            (seen, moved) = (log.count, Instant::now());
        }
        if moved.elapsed() > Duration::from_secs(60) {
            return Err(format!("{}: {seen} of {messages} were deferred", mta.system.name()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Start, mailq, stop; all systems in turn, with the queues they have.
fn rounds(bench: &mut Bench, scenario: &str, messages: u64) -> Result<(), String> {
    for round in 0..bench.options.rounds {
        for system in bench.order(round) {
            if scenario == "million" && system != System::Valija {
                continue;
            }
            let folder = folder(bench, system);
            mta::settle(system, &folder, port(system), SETTINGS, bench.options)?;
            let (mta, started) = mta::launch(system, &folder, port(system))?;
            // Postfix's queue manager looks through the queue while the first mailq would run.
            std::thread::sleep(Duration::from_secs(1));
            let before = mta.memory().0;
            let (first, all) = mailq(&mta, messages)?;
            let after = mta.memory().0;
            let values = vec![
                ("start to banner s", started.as_secs_f64()),
                ("first line of mailq s", first.as_secs_f64()),
                ("mailq s", all.as_secs_f64()),
                ("after start, PSS MiB", before as f64 / 1024.0),
                ("after mailq, PSS MiB", after as f64 / 1024.0),
            ];
            bench.add(scenario, system, round, values);
        }
    }
    bench.table(scenario, &format!("{messages} messages of 10 KiB"));
    Ok(())
}

/// Until the first message is listed, and until all are.
fn mailq(mta: &Mta, messages: u64) -> Result<(Duration, Duration), String> {
    let fault = |e: std::io::Error| format!("mailq of {}: {e}", mta.system.name());
    let begun = Instant::now();
    let mut child = mta.command("mailq").stdout(Stdio::piped()).spawn().map_err(fault)?;
    let output = child.stdout.take().ok_or("mailq: no output")?;
    let (mut first, mut listed) = (None, 0_u64);
    let (mut lines, mut line) = (BufReader::with_capacity(128 * 1024, output), Vec::new());
    while lines.read_until(b'\n', &mut line).map_err(fault)? > 0 {
        // A message's own line begins with its queue id.
        if line.first().is_some_and(u8::is_ascii_alphanumeric) {
            first.get_or_insert_with(|| begun.elapsed());
            listed += 1;
        }
        line.clear();
    }
    let all = begun.elapsed();
    let status = child.wait().map_err(fault)?;
    if !status.success() || listed != messages {
        return Err(format!(
            "mailq of {}: {status}, {listed} of {messages} messages listed",
            mta.system.name()
        ));
    }
    Ok((first.unwrap_or(all), all))
}

/// A log, and how far it was read.
struct Log {
    path: PathBuf,
    at: u64,
    count: u64,
}

impl Log {
    fn at_end(folder: &Path) -> Log {
        let path = folder.join("log");
        let at = fs::metadata(&path).map_or(0, |m| m.len());
        Log { path, at, count: 0 }
    }

    /// How many deliveries were deferred since.
    fn deferred(&mut self) -> Result<u64, String> {
        let fault = |e: std::io::Error| format!("{}: {e}", self.path.display());
        let mut file = fs::File::open(&self.path).map_err(fault)?;
        file.seek(SeekFrom::Start(self.at)).map_err(fault)?;
        let mut new = Vec::new();
        file.take(64 << 20).read_to_end(&mut new).map_err(fault)?;
        let whole = memmem::rfind(&new, b"\n").unwrap_or(0);
        let lines = new.get(..whole).unwrap_or_default();
        self.count += memmem::find_iter(lines, b"status=deferred").count() as u64;
        self.at += whole as u64;
        Ok(self.count)
    }
}
