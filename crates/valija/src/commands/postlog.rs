//! `postlog`: a line for the mail log, from the command line or standard input. postlog(1)

use config::params::main::Main;
use config::params::master::Master;
use config::{Config, directory};
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

events::events! {
    /// What a script has to say.
    Line { text: String } Info "{text}"
    /// The same, to be noticed.
    WarningLine { text: String } Warning "{text}"
    /// The same, about something that failed.
    ErrorLine { text: String } Error "{text}"
    /// The same, about something that ended.
    FatalLine { text: String } Fatal "{text}"
    /// The same, about a defect.
    PanicLine { text: String } Panic "{text}"
}

/// How grave, by the words of `-p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Priority {
    Info,
    Warning,
    Error,
    Fatal,
    Panic,
}

/// The call, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    directory: Option<String>,
    priority: Priority,
    tag: Option<String>,
    text: Vec<String>,
}

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("postlog: fatal: {text}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &[String]) -> Result<(), String> {
    let options = read(args)?;
    let dir = directory::decide(options.directory.as_deref(), directory::Caller::Same)
        .map_err(|p| p.to_string())?;
    let first = |p: Vec<config::Problem>| p.first().map(ToString::to_string).unwrap_or_default();
    let config = Config::load(&dir).map_err(first)?;
    let main = Main::load(&config).map_err(first)?;
    let tag = options.tag.clone().unwrap_or_else(|| format!("{}/postlog", main.syslog_name()));
    let source = events::Source::tagged(&tag, std::process::id());
    let sink = sink(&config)?;
    let say = |text: &str| {
        if std::io::stderr().is_terminal() {
            events::install(events::Sink::Stderr);
            put(&source, options.priority, text);
        }
        events::install(sink.clone());
        put(&source, options.priority, text);
    };
    if !options.text.is_empty() {
        say(&options.text.join(" "));
        return Ok(());
    }
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line.map_err(|e| format!("error reading input: {e}"))?;
        say(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

fn put(source: &events::Source, priority: Priority, text: &str) {
    let text = text.to_string();
    match priority {
        Priority::Info => source.say(&Line { text }),
        Priority::Warning => source.say(&WarningLine { text }),
        Priority::Error => source.say(&ErrorLine { text }),
        Priority::Fatal => source.say(&FatalLine { text }),
        Priority::Panic => source.say(&PanicLine { text }),
    }
}

/// Where a command's lines go: with a log file, through the running system.
pub fn sink(config: &Config) -> Result<events::Sink, String> {
    let first = |p: Vec<config::Problem>| p.first().map(ToString::to_string).unwrap_or_default();
    let master = Master::load(config).map_err(first)?;
    let main = Main::load(config).map_err(first)?;
    let (file, prefixes) = (master.maillog_file(), &master.maillog_file_prefixes().0);
    events::sink_of_program(file, prefixes, master.syslog_facility(), main.queue_directory())
}

fn read(args: &[String]) -> Result<Options, String> {
    let mut options = Options { directory: None, priority: Priority::Info, tag: None, text: Vec::new() };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.text.extend(words.cloned());
            break;
        }
        let Some(mut rest) = word.strip_prefix('-').filter(|r| !r.is_empty()) else {
            options.text.push(word.clone());
            options.text.extend(words.cloned());
            break;
        };
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            match letter {
                'i' | 'v' => continue, // the process number is always shown
                'c' | 'p' | 't' => {}
                _ => {
                    return Err(
                        "usage: postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text]".to_string()
                    );
                }
            }
            let argument = match rest {
                "" => words.next().cloned().ok_or_else(|| format!("option -{letter} needs an argument"))?,
                attached => attached.to_string(),
            };
            match letter {
                'c' => options.directory = Some(argument),
                't' => options.tag = Some(argument),
                _ => options.priority = priority(&argument)?,
            }
            break;
        }
    }
    Ok(options)
}

fn priority(word: &str) -> Result<Priority, String> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "info" => Priority::Info,
        "warn" | "warning" => Priority::Warning,
        "error" => Priority::Error,
        "fatal" => Priority::Fatal,
        "panic" => Priority::Panic,
        _ => return Err(format!("unknown priority level: {word}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let of = |line: &str| read(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let o = of("-i -p warn -tfoo/bar hello -p world").unwrap();
        assert_eq!((o.priority, o.tag.as_deref()), (Priority::Warning, Some("foo/bar")));
        assert_eq!(o.text, ["hello", "-p", "world"]);
        assert!(of("-x").is_err() && of("-p xx").is_err() && of("-t").is_err());
    }

    #[test]
    fn lines_carry_their_level() {
        let log = events::memory();
        let source = events::Source::tagged("in", 7);
        put(&source, Priority::Error, "x");
        put(&source, Priority::Info, "y");
        assert_eq!(log.take(), ["in[7]: error: x", "in[7]: y"]);
    }
}
