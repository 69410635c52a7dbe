//! `valija queue-listing`: what `postqueue -p` and `-j` show for root while the system is down.

use super::Command;
use proto::control::{Entry, listing};
use proto::date::DateTime;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// `[-c config_dir] [-j]`
pub fn run(name: &str, args: &[String]) -> ExitCode {
    let (mut option, mut json) = (None, false);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-c" => option = words.next().cloned(),
            "-j" => json = true,
            _ => {
                eprintln!("{name}: fatal: usage: {name} [-c config_dir] [-j]");
                return ExitCode::from(64);
            }
        }
    }
    let shown = Command::new(name, option.as_deref()).and_then(|c| show(&c, json));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{name}: fatal: {why}");
            ExitCode::from(69)
        }
    }
}

fn show(command: &Command, json: bool) -> Result<(), String> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut bytes, mut messages, mut after) = (0u64, 0u64, None);
    let mut put = |entry: &Entry, queue: &str| {
        let text = if json {
            listing::json_in(queue, entry)
        } else {
            let seconds = (entry.envelope.arrival / 1_000_000) as i64;
            let zone = sys::time::zone_at(seconds);
            let arrival = DateTime::new(seconds, zone.offset, &zone.name).ctime_without_year();
            let heading = if messages == 0 { format!("{}\n", listing::heading()) } else { String::new() };
            heading + &listing::entry(entry, &arrival)
        };
        bytes = bytes.saturating_add(entry.envelope.size);
        messages += 1;
        // Whoever closed the pipe has seen enough.
        out.write_all(text.as_bytes()).is_ok()
    };
    for entry in super::maildrop::entries(&command.queue) {
        if !put(&entry, "maildrop") {
            return Ok(());
        }
    }
    if let Some(queue) = command.offline(false)? {
        loop {
            let page = queue.list(after, 500).map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for summary in page {
                let entry = qmgr::showq::entry(summary);
                if !put(&entry, entry.queue.name()) {
                    return Ok(());
                }
            }
        }
    }
    if !json {
        let _ = match messages {
            0 => writeln!(out, "{}", listing::EMPTY),
            _ => out.write_all(listing::total(bytes, messages).as_bytes()),
        };
    }
    let _ = out.flush();
    Ok(())
}
