//! The logs of the hosts: read as they grow, shown with the name of the host, or beside a dialogue.

use super::build::Found;
use super::roles::LOG;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

/// Reads the logs of several hosts, each line once.
pub(super) struct Logs {
    hosts: Vec<Found>,
    read: BTreeMap<String, (u64, String)>,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) host: String,
    /// `2026-11-21T13:00:00.123456+00:00`.
    time: String,
    /// The daemon and what it says, without date and host.
    pub(super) text: String,
}

impl Logs {
    /// The logs of these hosts, from their beginning.
    pub(super) fn of(hosts: Vec<Found>) -> Logs {
        Logs { hosts, read: BTreeMap::new() }
    }

    /// The lines that have come since the last call, in the order of their times.
    pub(super) fn new_lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        for host in &self.hosts {
            let (place, rest) = self.read.entry(host.name.clone()).or_default();
            let Ok(mut file) = File::open(format!("/proc/{}/root{LOG}", host.process)) else { continue };
            let mut bytes = Vec::new();
            if file.seek(SeekFrom::Start(*place)).is_err() || file.read_to_end(&mut bytes).is_err() {
                continue;
            }
            *place += bytes.len() as u64;
            rest.push_str(&String::from_utf8_lossy(&bytes));
            while let Some((line, after)) = rest.split_once('\n') {
                lines.extend(split(&host.name, line));
                *rest = after.to_string();
            }
        }
        lines.sort_by(|a, b| a.time.cmp(&b.time)); // stable: a host's own order stays
        lines
    }

    /// Waits for a line of a host that contains all the words; what came meanwhile goes into `seen`.
    pub(super) fn wait(
        &mut self,
        host: &str,
        words: &[&str],
        seen: &mut Vec<Line>,
        from: usize,
        patience: Duration,
    ) -> Result<(), String> {
        let end = Instant::now() + patience;
        loop {
            seen.extend(self.new_lines());
            let there = |line: &Line| line.host == host && words.iter().all(|w| line.text.contains(w));
            if seen.iter().skip(from).any(there) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!(
                    "within {} seconds no line with {words:?} came into the log of {host}",
                    patience.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Line {
    /// `13:00:00`.
    pub(super) fn clock(&self) -> &str {
        self.time.get(11..19).unwrap_or_default()
    }
}

/// `2026-11-21T13:00:00.123456+00:00 host daemon[1]: text`
fn split(host: &str, line: &str) -> Option<Line> {
    let (time, rest) = line.split_once(' ')?;
    let (_, text) = rest.split_once(' ')?;
    Some(Line { host: host.to_string(), time: time.to_string(), text: text.to_string() })
}

/// Follows the logs, printing each line with its host, until `ended` says so.
pub(super) fn follow(mut logs: Logs, mut ended: impl FnMut() -> bool) {
    let width = logs.hosts.iter().map(|host| host.name.len()).max().unwrap_or(0);
    loop {
        let over = ended();
        for line in logs.new_lines() {
            println!("{:<width$} | {} {}", line.host, line.clock(), line.text);
        }
        if over {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Two texts beside each other in a terminal of this width; below each other when it is narrow.
pub(super) fn beside(left: &[String], right: &[String], width: usize) -> String {
    const NARROW: usize = 100;
    if width < NARROW {
        let mut text: String = left.iter().map(|line| format!("{line}\n")).collect();
        text.extend(right.iter().map(|line| format!("        | {line}\n")));
        return text;
    }
    let half = width * 2 / 5;
    let wrap_all = |lines: &[String], width| lines.iter().flat_map(|l| wrap(l, width)).collect::<Vec<_>>();
    let (left, right) = (wrap_all(left, half - 1), wrap_all(right, width - half - 3));
    let mut text = String::new();
    for row in 0..left.len().max(right.len()) {
        let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
        let (left, right) = (cell(&left), cell(&right));
        let pad = (half - 1).saturating_sub(left.chars().count());
        text.push_str(format!("{left}{} | {right}", " ".repeat(pad)).trim_end());
        text.push('\n');
    }
    text
}

/// A line in pieces of at most this many characters, broken at spaces where there are any; the further ones are indented.
fn wrap(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "    ";
    let shown: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut pieces = Vec::new();
    let mut rest = shown.as_slice();
    while !rest.is_empty() || pieces.is_empty() {
        let indent = if pieces.is_empty() { "" } else { INDENT };
        let room = width.saturating_sub(indent.len()).max(1);
        let space = rest.iter().take(room).rposition(|c| *c == ' ').filter(|place| *place > room / 2);
        let end = if rest.len() <= room { rest.len() } else { space.map_or(room, |place| place + 1) };
        let (piece, after) = rest.split_at(end);
        pieces.push(format!("{indent}{}", piece.iter().collect::<String>()));
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let line =
            split("mail1", "2026-11-01T13:05:06.000001+01:00 mail1 postfix/qmgr[3]: A1: removed").unwrap();
        assert_eq!((line.clock(), line.text.as_str()), ("13:05:06", "postfix/qmgr[3]: A1: removed"));
        assert_eq!(split("mail1", "short"), None);
    }

    #[test]
    fn columns_stand_beside_each_other() {
        let left = ["C: HELO".to_string()];
        let right = ["x".repeat(70), "y".to_string()];
        let text = beside(&left, &right, 100);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[0].len(), 99);
        assert!(rows[0].starts_with("C: HELO  ") && rows[0].ends_with(&"x".repeat(57)));
        assert!(rows[1].ends_with(&format!("|     {}", "x".repeat(13))), "{text}");
        assert!(rows[2].ends_with("| y") && rows.len() == 3);
        assert_eq!(beside(&left, &["y".into()], 80), "C: HELO\n        | y\n");
    }
}
