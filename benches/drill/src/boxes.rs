//! The mailboxes of local users, and the command that one of them has: it takes a letter as procmail would, and writes down
//! when its delivery began, when it ended, and which processes of valija's were made for it.

use crate::account::Arrival;
use crate::clock::now;
use crate::letters::{self, Place};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What was found in mailboxes.
#[derive(Debug, Default)]
pub struct Found {
    /// Whole letters.
    pub arrivals: Vec<Arrival>,
    /// What is none.
    pub strange: Vec<String>,
}

/// `drill take FILE`: the command. Its line is written before it says that it took the letter, into a file in memory: a
/// disk would make the delivery longer than the line says.
pub fn take(file: &Path) -> ExitCode {
    let begun = now();
    let mut text = Vec::new();
    if std::io::stdin().read_to_end(&mut text).is_err() {
        return ExitCode::from(75);
    }
    let Lineage { orphan, delivery } = lineage();
    let asked = if orphan { "orphan" } else { "asked" };
    let begun = delivery.iter().filter_map(|pid| began(*pid)).fold(begun, u64::min);
    let by: Vec<String> = delivery.iter().map(ToString::to_string).collect();
    let read = letters::read(&text);
    if orphan && read.is_err() {
        // Whoever was writing it was killed in the middle.
        return ExitCode::from(75);
    }
    let what = read.map_or_else(|why| why.replace('\n', " "), |number| number.to_string());
    let line = format!("{begun} {} {asked} {} {what}\n", now(), by.join(","));
    let open = fs::File::options().append(true).create(true).open(file);
    match open.and_then(|mut f| f.write_all(line.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(75),
    }
}

/// Who runs this program.
struct Lineage {
    /// Somebody between it and master is gone: then nobody will ever read that the letter was taken.
    orphan: bool,
    /// The processes that were made for this delivery; the program itself is not among them.
    delivery: Vec<u32>,
}

fn lineage() -> Lineage {
    let mut chain: Vec<(u32, String)> = Vec::new();
    let mut pid = std::process::id();
    while pid > 1 {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = line.split('\0').next().unwrap_or_default();
        chain.push((pid, first.rsplit('/').next().unwrap_or_default().to_string()));
        pid = stat(pid, 4).and_then(|p| p.try_into().ok()).unwrap_or(0);
    }
    // One that is just ending has closed its pipes, and has no command line any more.
    let ending = chain.iter().any(|(_, name)| name.is_empty());
    let orphan = ending || chain.last().is_none_or(|(_, name)| name != "master");
    // From master down: the role, and what it made for the delivery.
    let made = chain.iter().rev().filter(|(_, name)| name == "valija-deliver").map(|(pid, _)| *pid);
    Lineage { orphan, delivery: made.skip(usize::from(!orphan)).collect() }
}

/// A number of /proc/PID/stat, counted from 1. proc_pid_stat(5)
fn stat(pid: u32, field: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(field.checked_sub(3)?)?.parse().ok()
}

/// When a process was made, to ten milliseconds, not too late.
fn began(pid: u32) -> Option<u64> {
    const TICK: u64 = 10_000;
    let since_boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    let up = Duration::from(since_boot).as_micros() as u64;
    Some(now().checked_sub(up)? + stat(pid, 22)? * TICK)
}

impl Found {
    /// Reads what the command wrote.
    pub fn taken(&mut self, file: &Path) {
        let text = fs::read_to_string(file).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.splitn(5, ' ');
            let mut time = || words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
            let (begun, ended) = (time(), time());
            let unread = words.next() == Some("orphan");
            let by = words.next().unwrap_or_default().split(',').filter_map(|pid| pid.parse().ok());
            let mut pids = [0; 2];
            pids.iter_mut().zip(by).for_each(|(place, pid)| *place = pid);
            match words.next().map(|w| w.parse().map_err(|_| w)) {
                Some(Ok(number)) => {
                    let place = Place::Command;
                    self.arrivals.push(Arrival { number, place, begun, ended, unread, by: pids });
                }
                why => self.strange.push(format!("the command got: {why:?}")),
            }
        }
    }

    /// Reads a Maildir.
    pub fn maildir(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder.join("new")).into_iter().flatten().flatten() {
            let text = fs::read(entry.path()).unwrap_or_default();
            match letters::read(&text) {
                Ok(number) => self.arrivals.push(filed(number, Place::Maildir)),
                Err(why) => self.strange.push(format!("{}: {why}", entry.path().display())),
            }
        }
    }

    /// Reads a mailbox in mbox format, as mail readers do. Gives how many letters are in there that are not whole: what a
    /// delivery that was cut off leaves, before it is repeated.
    pub fn mbox(&mut self, file: &Path) -> u64 {
        let text = fs::read(file).unwrap_or_default();
        let mut torn = 0;
        for message in split(&text) {
            match letters::read(message) {
                Ok(number) => self.arrivals.push(filed(number, Place::Mbox)),
                Err(_) => torn += 1,
            }
        }
        torn
    }
}

fn filed(number: u64, place: Place) -> Arrival {
    Arrival { number, place, begun: 0, ended: 0, unread: false, by: [0; 2] }
}

/// Messages begin with a `From ` line.
fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b"From ") {
            starts.push(at);
        }
        at += line.len();
    }
    let first = starts.first().copied().unwrap_or(text.len());
    let lead = (first > 0).then_some(&text[..first]);
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    lead.into_iter().chain(starts.iter().zip(ends).map(|(from, to)| &text[*from..to])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_mailbox() {
        let all = split(b"From a\nx: y\n\nFor From c\n\nFrom d\n\n");
        assert_eq!(all, [&b"From a\nx: y\n\nFor From c\n\n"[..], b"From d\n\n"]);
        assert_eq!(split(b"rest\n\nFrom d\n"), [&b"rest\n\n"[..], b"From d\n"]);
        assert!(split(b"").is_empty());
    }
}
