//! The command line.

use crate::mta::System;
use std::path::PathBuf;

/// What `help` prints, before the scenarios.
pub const HELP: &str = "\
usage: cargo run --release -p load -- [all|curves|NAME ...] [options]

  all         every scenario below that has a target, then durable, ceiling, bad and logins (the default)
  curves      how messages/s and CPU per message change with sessions, size, deferred mail, destinations and TLS;
              or one of them: curve-sessions, curve-sizes, curve-deferred, curve-destinations, curve-tls
  relay       a relay with the sessions, size and so on of the options, beside the named ones
  tls         TLS handshakes, new and resumed, with two kinds of key; memory of idle connections over TLS
  bad         valija alone: many destinations, with dead, greylisting and slow ones among them, and without
  logins      valija alone: an honest user while a thousand passwords a second are guessed
  ceiling     the tools alone, source straight into sink; and Postfix's smtp-source into its smtp-sink
  settings    how Postfix is tuned, and why
  help

  --rounds 3            how often each is measured, the systems in turn (A B C, C B A, ...)
  --quick               one round with a third of the messages, 20,000 and 100,000 deferred ones, no bad and no logins
  --only NAMES          of tuned, debian and valija, these alone: valija,tuned
  --messages N          messages of one run, for every system alike (else as many as fit into some seconds)
  --deferred 100000     messages of deferred
  --million 1000000     messages of million
  --seconds 3           how long handshakes are counted; logins are guessed for 10 s unless this is said
  --sessions 100,10,1   of relay and ceiling: sessions of the source
  --size 10240          of relay and ceiling: bytes of a message
  --pipelining          of relay and ceiling: the source sends MAIL, RCPT and DATA together
  --per-connection 0    of relay and ceiling: messages on a connection before the next; 0 for all
  --connections 1000    idle connections of tls
  --rate 1000           guesses a second of logins
  --untuned             valija gets the settings of Debian's Postfix, not those of the tuned one
  --markdown FILE       writes the result there, too
  --folder DIR          where queues and logs are (default /var/tmp/valija-load; the disk that is measured)
  --tree DIR            an installed valija (make install DESTDIR=DIR); built when not given
  --main NAME=VALUE     a setting for all systems, may be repeated
  --keep                leave queues and logs where they are

Needs root (namespaces, the user postfix) and, for the comparison, Debian's postfix package, which is not started on the host.

scenarios:
";

/// The command line, understood.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do, in this order.
    pub names: Vec<String>,
    /// Sessions, when they were given.
    pub sessions: Vec<usize>,
    /// Messages of a run, when they were given.
    pub messages: Option<u64>,
    /// Bytes of a message.
    pub size: usize,
    /// How often.
    pub rounds: usize,
    /// Shorter.
    pub quick: bool,
    /// MAIL, RCPT and DATA together.
    pub pipelining: bool,
    /// Messages on a connection; 0 for all.
    pub per_connection: u64,
    /// How long something is counted.
    pub seconds: Option<u64>,
    /// Connections that wait.
    pub connections: usize,
    /// Messages that are deferred.
    pub deferred: u64,
    /// The same, of valija alone.
    pub million: u64,
    /// Guesses a second.
    pub rate: u64,
    /// The systems.
    pub systems: Vec<System>,
    /// valija as Debian configures Postfix.
    pub untuned: bool,
    /// Where everything is.
    pub folder: PathBuf,
    /// An installed valija.
    pub tree: Option<PathBuf>,
    /// Further lines of main.cf.
    pub main: Vec<String>,
    /// Leave it there.
    pub keep: bool,
    /// The result as a file.
    pub markdown: Option<PathBuf>,
}

impl Options {
    /// Reads the words after the program's name.
    pub fn read(words: &[String]) -> Result<Options, String> {
        let mut options = Options {
            names: Vec::new(),
            sessions: vec![100, 10, 1],
            messages: None,
            size: 10_240,
            rounds: 3,
            quick: false,
            pipelining: false,
            per_connection: 0,
            seconds: None,
            connections: 1000,
            deferred: 100_000,
            million: 1_000_000,
            rate: 1000,
            systems: vec![System::Postfix, System::Debian, System::Valija],
            untuned: false,
            folder: "/var/tmp/valija-load".into(),
            tree: None,
            main: Vec::new(),
            keep: false,
            markdown: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => options.names.push("help".into()),
                "--quick" => {
                    options.quick = true;
                    options.rounds = 1;
                    (options.deferred, options.million) = (20_000, 100_000);
                }
                "--sessions" => {
                    let all: Result<Vec<usize>, String> = value()?.split(',').map(number).collect();
                    options.sessions = all?.into_iter().map(|n| n.max(1)).collect();
                }
                "--messages" => options.messages = Some(number::<u64>(&value()?)?.max(1)),
                "--deferred" => options.deferred = number::<u64>(&value()?)?.max(1),
                "--million" => options.million = number::<u64>(&value()?)?.max(1),
                "--size" => options.size = number(&value()?)?,
                "--rounds" => options.rounds = number::<usize>(&value()?)?.max(1),
                "--pipelining" => options.pipelining = true,
                "--per-connection" => options.per_connection = number(&value()?)?,
                "--seconds" => options.seconds = Some(number::<u64>(&value()?)?.max(1)),
                "--connections" => options.connections = number(&value()?)?,
                "--rate" => options.rate = number::<u64>(&value()?)?.max(1),
                "--only" => {
                    options.systems = value()?.split(',').map(System::named).collect::<Result<_, _>>()?
                }
                "--untuned" => options.untuned = true,
                "--folder" => options.folder = value()?.into(),
                "--tree" => options.tree = Some(value()?.into()),
                "--main" => options.main.push(value()?),
                "--keep" => options.keep = true,
                "--markdown" => options.markdown = Some(value()?.into()),
                name if name.starts_with('-') => return Err(format!("{name} means nothing here")),
                name => options.names.push(name.into()),
            }
        }
        if options.names.is_empty() {
            options.names.push("all".into());
        }
        Ok(options)
    }

    /// Whether this system takes part.
    pub fn has(&self, system: System) -> bool {
        self.systems.contains(&system)
    }

    /// How many messages, where the scenario says so many.
    pub fn count(&self, usual: u64) -> u64 {
        self.messages.unwrap_or(if self.quick { usual / 3 } else { usual }).max(1)
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
        let o = read("relay maildir --sessions 5,1 --rounds 2 --only valija,postfix --main a=b").unwrap();
        assert_eq!(
            (o.names.clone(), o.sessions.clone(), o.rounds),
            (vec!["relay".into(), "maildir".into()], vec![5, 1], 2)
        );
        assert_eq!(
            (o.systems.clone(), o.main.clone()),
            (vec![System::Valija, System::Postfix], vec!["a=b".to_string()])
        );
        assert!(o.has(System::Postfix) && !o.has(System::Debian));
        assert!(read("--rounds").is_err() && read("--size x").is_err() && read("--fast").is_err());
        assert!(read("--only exim").is_err());
    }

    #[test]
    fn how_many() {
        assert_eq!(read("").unwrap().names, ["all"]);
        assert_eq!((read("").unwrap().count(900), read("--quick").unwrap().count(900)), (900, 300));
        assert_eq!(read("--quick --messages 7").unwrap().count(900), 7);
    }
}
