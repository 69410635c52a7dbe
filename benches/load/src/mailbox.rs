//! Local delivery: into Maildirs and mbox files of users who exist in our namespaces only.
//!
//! The end is read from the file system: when the last mailbox was last changed. Then every message is looked for in the
//! mailboxes, by its serial.

use crate::bench::{Bench, Fleet};
use crate::mta::{Mta, System};
use crate::namespace::{self, USERS};
use crate::source::{self, MARK, Plan, Whom};
use memchr::memmem;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const SESSIONS: usize = 20;
/// Nothing came for so long: the rest is lost, or at least late.
const STALL: Duration = Duration::from_secs(20);

/// A scenario: its name, how many users get mail, and messages for valija and for Postfix.
struct Load {
    name: &'static str,
    maildir: bool,
    users: u64,
    messages: u64,
    others: u64,
}

const LOADS: [Load; 3] = [
    Load { name: "maildir", maildir: true, users: 20, messages: 8_000, others: 3_000 },
    Load { name: "mbox", maildir: false, users: 1, messages: 10_000, others: 1_000 },
    Load { name: "mbox-20", maildir: false, users: 20, messages: 10_000, others: 1_500 },
];

/// The scenarios of these names.
pub fn run(bench: &mut Bench, names: &[&str]) -> Result<(), String> {
    let folder = bench.options.folder.join("mailboxes");
    namespace::users(&folder)?;
    let spool = folder.join("spool");
    for maildir in [true, false] {
        let loads: Vec<&Load> =
            LOADS.iter().filter(|l| l.maildir == maildir && names.contains(&l.name)).collect();
        if loads.is_empty() {
            continue;
        }
        // An empty value wins over what Debian's main.cf has, which is nothing here.
        let settings = if maildir {
            "home_mailbox = Maildir/\n".to_string()
        } else {
            format!("mail_spool_directory = {}\n", spool.display())
        };
        let fleet = Fleet::start(bench.options, &|_| settings.clone())?;
        for round in 0..bench.options.rounds {
            for load in &loads {
                for mta in fleet.turn(round) {
                    empty(&folder)?;
                    let values = measure(bench, mta, load, &folder)?;
                    bench.add(load.name, mta.system, round, values);
                }
            }
        }
        for load in &loads {
            let what = if load.maildir { "Maildir" } else { "mbox" };
            bench.table(
                load.name,
                &format!("{what}, {} recipients in turn, 10 KiB, {SESSIONS} sessions", load.users),
            );
        }
    }
    let _ = fs::remove_dir_all(&folder);
    Ok(())
}

/// Homes without mail, and an empty spool.
fn empty(folder: &Path) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", folder.display());
    for n in 0..USERS {
        let maildir = folder.join(format!("home/u{n}/Maildir"));
        if maildir.exists() {
            fs::remove_dir_all(maildir).map_err(fault)?;
        }
    }
    for entry in fs::read_dir(folder.join("spool")).map_err(fault)? {
        fs::remove_file(entry.map_err(fault)?.path()).map_err(fault)?;
    }
    Ok(())
}

fn measure(
    bench: &mut Bench,
    mta: &Mta,
    load: &Load,
    folder: &Path,
) -> Result<Vec<(&'static str, f64)>, String> {
    let messages =
        bench.options.count(if mta.system == System::Valija { load.messages } else { load.others });
    let run = bench.run_number();
    let plan =
        Plan { run, whom: Whom::Users(load.users), ..Plan::new(mta.address, SESSIONS, messages, 10_240) };
    let before = mta.usage();
    let (begun, clock) = (Instant::now(), SystemTime::now());
    let outcome = source::send(&plan)?;
    if outcome.accepted == 0 {
        return Err(format!(
            "{} accepted nothing: {}; see {}",
            mta.system.name(),
            outcome.why,
            mta.folder().display()
        ));
    }
    let mut boxes = Boxes::new(folder, load, run, messages);
    let (mut seen, mut moved) = (0, Instant::now());
    while boxes.count()? < outcome.accepted && moved.elapsed() < STALL {
        if boxes.found != seen {
            (seen, moved) = (boxes.found, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(if load.maildir { 50 } else { 10 }));
    }
    let last = boxes.last_change();
    std::thread::sleep(Duration::from_millis(200));
    let (after, wall) = (mta.usage(), begun.elapsed().as_secs_f64());
    let (unique, twice) = boxes.verify()?;
    let lost = outcome.accepted.saturating_sub(unique);
    bench.lost += lost;
    bench.twice += twice;
    if outcome.failed + lost + twice > 0 {
        println!("  {} failed at the source: {}; {lost} lost, {twice} twice", outcome.failed, outcome.why);
    }
    let drained = last.duration_since(clock).unwrap_or(Duration::MAX).as_secs_f64();
    let (n, cpu) = (outcome.accepted as f64, after.cpu - before.cpu);
    let foreign = (after.machine - before.machine - cpu - outcome.cpu).max(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    Ok(vec![
        ("accepted/s", outcome.rate()),
        ("drained/s", unique as f64 / drained.max(1e-3)),
        ("CPU us/message", cpu * 1e6 / n),
        ("PSS MiB", mta.memory().0 as f64 / 1024.0),
        ("flushes/message", (after.flushes - before.flushes) as f64 / n),
        ("disk bytes/message", (after.written - before.written) as f64 / n),
        ("source CPU us/message", outcome.cpu * 1e6 / n),
        (
            "CPU of all others and of reading the mailboxes, % of the machine",
            foreign / wall / processors * 100.0,
        ),
    ])
}

/// The mailboxes of a run, and how far they were read.
struct Boxes {
    /// Maildirs' `new`, or mbox files.
    paths: Vec<PathBuf>,
    maildir: bool,
    /// How far each mbox was read.
    read: Vec<usize>,
    found: u64,
    run: u32,
    times: Vec<u8>,
}

impl Boxes {
    fn new(folder: &Path, load: &Load, run: u32, messages: u64) -> Boxes {
        let path = |n: u64| match load.maildir {
            true => folder.join(format!("home/u{n}/Maildir/new")),
            false => folder.join(format!("spool/u{n}")),
        };
        let paths: Vec<PathBuf> = (0..load.users).map(path).collect();
        let read = vec![0; paths.len()];
        Boxes { paths, maildir: load.maildir, read, found: 0, run, times: vec![0; messages as usize] }
    }

    /// How many messages are there.
    fn count(&mut self) -> Result<u64, String> {
        if self.maildir {
            let entries = |p: &PathBuf| fs::read_dir(p).map_or(0, |all| all.count() as u64);
            self.found = self.paths.iter().map(entries).sum();
            return Ok(self.found);
        }
        for n in 0..self.paths.len() {
            let (Some(path), Some(at)) = (self.paths.get(n), self.read.get(n).copied()) else { continue };
            let new = read_from(path, at)?;
            // A mark that is cut is found when the rest has come.
            let whole = memmem::rfind(&new, b"\n").unwrap_or(0);
            let new = new.get(..whole).unwrap_or_default();
            self.found += memmem::find_iter(new, MARK).count() as u64;
            if let Some(at) = self.read.get_mut(n) {
                *at += whole;
            }
        }
        Ok(self.found)
    }

    fn last_change(&self) -> SystemTime {
        let changed = |p: &PathBuf| fs::metadata(p).and_then(|m| m.modified()).ok();
        self.paths.iter().filter_map(changed).max().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Different serials, and copies too many.
    fn verify(&mut self) -> Result<(u64, u64), String> {
        for path in self.paths.clone() {
            if self.maildir {
                for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                    let content = read_from(&entry.path(), 0)?;
                    self.tick(&content);
                }
            } else {
                let content = read_from(&path, 0)?;
                self.tick(&content);
            }
        }
        let unique = self.times.iter().filter(|n| **n > 0).count() as u64;
        Ok((unique, self.times.iter().map(|n| u64::from(n.saturating_sub(1))).sum()))
    }

    fn tick(&mut self, content: &[u8]) {
        for at in memmem::find_iter(content, MARK) {
            let text = content.get(at + MARK.len()..at + MARK.len() + 16).map(String::from_utf8_lossy);
            let Some((run, serial)) = text.as_deref().and_then(|t| t.split_once('.')) else { continue };
            if run.parse() == Ok(self.run)
                && let Ok(serial) = serial.parse::<usize>()
                && let Some(n) = self.times.get_mut(serial)
            {
                *n = n.saturating_add(1);
            }
        }
    }
}

/// What a file has from there on; nothing when it is not there.
fn read_from(path: &Path, at: usize) -> Result<Vec<u8>, String> {
    use std::io::{ErrorKind, Read, Seek, SeekFrom};
    let mut content = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(at as u64))?;
        file.read_to_end(&mut content)
    });
    match read {
        Ok(_) => Ok(content),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(content),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_is_counted_while_it_grows() {
        let folder = std::env::temp_dir().join(format!("load-boxes-{}", std::process::id()));
        fs::create_dir_all(folder.join("spool")).unwrap();
        let load = Load { name: "mbox", maildir: false, users: 1, messages: 0, others: 0 };
        let mut boxes = Boxes::new(&folder, &load, 4, 3);
        assert_eq!(boxes.count(), Ok(0));
        let message = |n: u32| format!("From x\nX-Load: 00004.{n:010}\nA: b\n\ntext\n\n");
        let (one, two) = (message(1), message(2));
        let all = format!("{one}{two}{one}");
        for end in [one.len() + 12, one.len() + 30, all.len()] {
            fs::write(folder.join("spool/u0"), &all[..end]).unwrap();
            boxes.count().unwrap();
        }
        let result = (boxes.found, boxes.verify());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(result, (3, Ok((2, 1))));
    }
}
