//! What the tools can do without a system between: source straight into sink, and Postfix's smtp-source into its smtp-sink.

use crate::bench::{Bench, SINK};
use crate::samples::digits;
use crate::sink::{Manner, Sink};
use crate::source::{self, Plan};
use crate::{client, keys, relay};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of Postfix's sink.
const THEIRS: &str = "127.0.0.1:2530";

/// Every load of the relay scenarios, and what the options say.
pub fn run(bench: &mut Bench, custom: bool) -> Result<(), String> {
    let mut loads = if custom { relay::custom(bench.options) } else { relay::named() };
    let plain = loads.len();
    if !custom {
        loads.push(relay::encrypted());
    }
    let keys = keys::make(&bench.options.folder.join("keys"), keys::P256)?;
    let mut table = String::from(
        "| | messages/s | CPU us/message: source | sink | smtp-source to smtp-sink, messages/s |\n|---|---|---|---|---|\n",
    );
    let theirs = TheirSink::start();
    for (n, load) in loads.iter().enumerate() {
        let tls = n >= plain;
        let sink = Sink::start_with(&[(SINK, Manner::Good)], if tls { Some(keys.server()?) } else { None })?;
        let (mut best, mut costs, mut other) = (0.0_f64, (f64::MAX, f64::MAX), 0.0_f64);
        for _ in 0..bench.options.rounds {
            let plan = Plan {
                pipelining: load.pipelining,
                per_connection: load.per_connection,
                run: bench.run_number(),
                tls: if tls { Some(client::config(client::Kind::New)?) } else { None },
                ..Plan::new(SINK, load.sessions, bench.options.count(load.messages), load.size)
            };
            sink.expect(plan.run, plan.messages);
            let before = sink.stats().cpu;
            let outcome = source::send(&plan)?;
            std::thread::sleep(Duration::from_millis(150));
            let stats = sink.stats();
            if stats.unique != outcome.accepted || stats.twice > 0 {
                return Err(format!("{} accepted, {} in the sink", outcome.accepted, stats.unique));
            }
            let each = |seconds: f64| seconds * 1e6 / outcome.accepted.max(1) as f64;
            best = best.max(outcome.rate());
            costs = (costs.0.min(each(outcome.cpu)), costs.1.min(each(stats.cpu - before)));
            if !tls && theirs.is_some() {
                other = other.max(their_rate(load)?);
            }
        }
        let other = if other > 0.0 { digits(other) } else { "-".into() };
        let row = format!(
            "| {}{} | {} | {} | {} | {other} |\n",
            load.about(),
            if tls { ", TLS" } else { "" },
            digits(best),
            digits(costs.0),
            digits(costs.1)
        );
        print!("{row}");
        table.push_str(&row);
    }
    bench.report.detail(&format!("### ceiling: the tools without a system between them\n\n{table}"));
    Ok(())
}

/// Postfix's own source, timed from outside.
fn their_rate(load: &relay::Load) -> Result<f64, String> {
    let messages = (load.others / 2).max(load.sessions as u64);
    let mut command = Command::new("/usr/sbin/smtp-source");
    if load.per_connection == 0 {
        command.arg("-d");
    }
    let size = load.size.to_string();
    command.args(["-s", &load.sessions.to_string(), "-m", &messages.to_string(), "-l", &size]);
    command.args(["-f", "source@source.test", "-t", "user@sink.test", THEIRS]);
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let taken = begun.elapsed().as_secs_f64();
    match status {
        Ok(status) if status.success() => Ok(messages as f64 / taken),
        other => Err(format!("smtp-source: {other:?}")),
    }
}

/// Postfix's own sink.
struct TheirSink(Child);

impl TheirSink {
    fn start() -> Option<TheirSink> {
        let mut command = Command::new("/usr/sbin/smtp-sink");
        command
            .args(["-u", "postfix", "-h", "sink.test", THEIRS, "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().ok()?;
        let end = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(THEIRS).is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(TheirSink(child))
    }
}

impl Drop for TheirSink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
