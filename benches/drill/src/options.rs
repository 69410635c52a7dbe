//! The command line.

use std::path::PathBuf;

/// What `help` prints.
pub const HELP: &str = "\
usage: cargo run --release -p drill -- kill|cut|teeth|help [options]

  kill    a mail system under load; its processes, one or all, are killed with SIGKILL at random moments and started
          again at once. Postfix first, then valija, and a table
  cut     valija under load on a file system whose disk forgets any part of what was not synced, at random moments
  teeth   the same disk below programs that do not sync, and below valija when it only pretends to sync: they lose data

  --rounds 200          kills
  --cuts 50             power cuts
  --tolerate 0          so many ms more than 5 may lie between the end of a delivery that is repeated and the kill
  --seed 1              victims, pauses and what a cut leaves follow from it (the moments also depend on the machine)
  --clients 24          clients that send at the same time
  --only NAME           postfix or valija alone
  --filesystem ext4     what is on the disk that is cut: ext4, xfs or btrfs, if its mkfs is installed
  --folder DIR          where queues and logs are (default /var/tmp/valija-drill)
  --tree DIR            an installed valija (make install DESTDIR=DIR); built when not given
  --keep                leave queues and logs where they are (after a failure they always stay)

Needs root (namespaces, users, loop devices) and Debian's package postfix, which is not started on the host.";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// SIGKILL.
    Kill,
    /// No power.
    Cut,
    /// The disk does lose things.
    Teeth,
    /// Words.
    Help,
}

/// The command line, understood.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do.
    pub what: What,
    /// Kills.
    pub rounds: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Milliseconds more between a delivery that is repeated and the kill.
    pub tolerate: u64,
    /// What is random follows from it.
    pub seed: u64,
    /// Clients at the same time.
    pub clients: u64,
    /// One system alone.
    pub only: Option<String>,
    /// Of the disk that is cut.
    pub filesystem: String,
    /// Where everything is.
    pub folder: PathBuf,
    /// An installed valija.
    pub tree: Option<PathBuf>,
    /// Leave it there.
    pub keep: bool,
}

impl Options {
    /// Reads the words after the program's name.
    pub fn read(words: &[String]) -> Result<Options, String> {
        let mut options = Options {
            what: What::Help,
            rounds: 200,
            cuts: 50,
            tolerate: 0,
            seed: 1,
            clients: 24,
            only: None,
            filesystem: "ext4".into(),
            folder: "/var/tmp/valija-drill".into(),
            tree: None,
            keep: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "kill" => options.what = What::Kill,
                "cut" => options.what = What::Cut,
                "teeth" => options.what = What::Teeth,
                "help" | "--help" | "-h" => options.what = What::Help,
                "--rounds" => options.rounds = number(&value()?)?,
                "--cuts" => options.cuts = number(&value()?)?,
                "--tolerate" => options.tolerate = number(&value()?)?,
                "--seed" => options.seed = number(&value()?)?,
                "--clients" => options.clients = number(&value()?)?.clamp(1, 500),
                "--only" => match value()?.as_str() {
                    name @ ("postfix" | "valija") => options.only = Some(name.into()),
                    other => return Err(format!("--only {other}: postfix or valija")),
                },
                "--filesystem" => match value()?.as_str() {
                    name @ ("ext4" | "xfs" | "btrfs") => options.filesystem = name.into(),
                    other => return Err(format!("--filesystem {other}: ext4, xfs or btrfs")),
                },
                "--folder" => options.folder = value()?.into(),
                "--tree" => options.tree = Some(value()?.into()),
                "--keep" => options.keep = true,
                other => return Err(format!("{other} means nothing here")),
            }
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn words() {
        let o = read("kill --rounds 5 --seed 9 --only valija").unwrap();
        assert_eq!((o.what, o.rounds, o.seed, o.only.as_deref()), (What::Kill, 5, 9, Some("valija")));
        assert_eq!(read("cut --cuts 3").unwrap().cuts, 3);
        for bad in ["--rounds", "--cuts x", "quick", "kill --only exim", "cut --filesystem vfat"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
