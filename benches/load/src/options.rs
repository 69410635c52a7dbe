//! The command line.

use std::path::PathBuf;

/// What `help` prints.
pub const HELP: &str = "\
usage: cargo run --release -p load -- [relay|bad|tls|logins|ceiling|help] [options]

  relay     valija beside a well-tuned Postfix, interleaved: a table of ratios (the default)
  bad       valija alone: many destinations, with dead, greylisting and slow ones among them, and without
  tls       valija beside Postfix, interleaved: TLS handshakes a second, new and resumed; memory of an idle connection
  logins    an honest user's sessions while a thousand passwords a second are guessed, with own users and with Dovecot
  ceiling   the tools alone, source straight into sink

  --sessions 100,10,1   scenarios of relay: sessions of the source
  --messages 10000      messages of one run (a fifth of that with one session)
  --size 10240          bytes of a message
  --rounds 3            how often each is measured
  --pipelining          the source sends MAIL, RCPT and DATA together
  --per-connection 0    messages on a connection before the next; 0 for all
  --seconds 10          how long handshakes are counted, or logins guessed
  --connections 1000    idle connections of tls
  --rate 1000           guesses a second of logins
  --only NAME           postfix, debian or valija alone
  --debian              a third system: Postfix as Debian configures it
  --folder DIR          where queues and logs are (default /var/tmp/valija-load; the disk that is measured)
  --tree DIR            an installed valija (make install DESTDIR=DIR); built when not given
  --main NAME=VALUE     a setting for all systems, may be repeated
  --keep                leave queues and logs where they are

Needs root (namespaces, the user postfix) and, for the comparison, Debian's postfix package, which is not started on the host.";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Side by side.
    Relay,
    /// With bad destinations.
    Bad,
    /// Handshakes, and connections over TLS that wait.
    Tls,
    /// Passwords are guessed.
    Logins,
    /// The tools alone.
    Ceiling,
    /// Words.
    Help,
}

/// The command line, understood.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do.
    pub what: What,
    /// Scenarios of `relay`.
    pub sessions: Vec<usize>,
    /// Messages of a run.
    pub messages: u64,
    /// Bytes of a message.
    pub size: usize,
    /// How often.
    pub rounds: usize,
    /// MAIL, RCPT and DATA together.
    pub pipelining: bool,
    /// Messages on a connection; 0 for all.
    pub per_connection: u64,
    /// How long something is counted.
    pub seconds: u64,
    /// Connections that wait.
    pub connections: usize,
    /// Guesses a second.
    pub rate: u64,
    /// One system alone.
    pub only: Option<String>,
    /// Debian's Postfix, too.
    pub debian: bool,
    /// Where everything is.
    pub folder: PathBuf,
    /// An installed valija.
    pub tree: Option<PathBuf>,
    /// Further lines of main.cf.
    pub main: Vec<String>,
    /// Leave it there.
    pub keep: bool,
}

impl Options {
    /// Reads the words after the program's name.
    pub fn read(words: &[String]) -> Result<Options, String> {
        let mut options = Options {
            what: What::Relay,
            sessions: vec![100, 10, 1],
            messages: 10_000,
            size: 10_240,
            rounds: 3,
            pipelining: false,
            per_connection: 0,
            seconds: 10,
            connections: 1000,
            rate: 1000,
            only: None,
            debian: false,
            folder: "/var/tmp/valija-load".into(),
            tree: None,
            main: Vec::new(),
            keep: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "relay" => options.what = What::Relay,
                "bad" => options.what = What::Bad,
                "tls" => options.what = What::Tls,
                "logins" => options.what = What::Logins,
                "ceiling" => options.what = What::Ceiling,
                "help" | "--help" | "-h" => options.what = What::Help,
                "--sessions" => {
                    let all: Result<Vec<usize>, String> = value()?.split(',').map(number).collect();
                    options.sessions = all?.into_iter().map(|n| n.max(1)).collect();
                }
                "--messages" => options.messages = number::<u64>(&value()?)?.max(1),
                "--size" => options.size = number(&value()?)?,
                "--rounds" => options.rounds = number::<usize>(&value()?)?.max(1),
                "--pipelining" => options.pipelining = true,
                "--per-connection" => options.per_connection = number(&value()?)?,
                "--seconds" => options.seconds = number::<u64>(&value()?)?.max(1),
                "--connections" => options.connections = number(&value()?)?,
                "--rate" => options.rate = number::<u64>(&value()?)?.max(1),
                "--only" => options.only = Some(value()?),
                "--debian" => options.debian = true,
                "--folder" => options.folder = value()?.into(),
                "--tree" => options.tree = Some(value()?.into()),
                "--main" => options.main.push(value()?),
                "--keep" => options.keep = true,
                other => return Err(format!("{other} means nothing here")),
            }
        }
        Ok(options)
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
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
        let o = read("relay --sessions 5,1 --rounds 2 --only valija --main a=b").unwrap();
        assert_eq!((o.what, o.sessions, o.rounds), (What::Relay, vec![5, 1], 2));
        assert_eq!((o.only.as_deref(), o.main), (Some("valija"), vec!["a=b".to_string()]));
        assert!(read("--rounds").is_err() && read("--size x").is_err() && read("quick").is_err());
    }
}
