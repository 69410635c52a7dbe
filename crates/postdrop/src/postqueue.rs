//! postqueue: lists and flushes the queue for everybody. It asks the queue manager on
//! `public/showq`, which its group may reach and its caller may not; the queue manager knows from
//! the socket who the caller is and decides.

use config::params::main::Main;
use config::{Config, directory, programs};
use proto::control::{Answer, Request, ask, listing};
use proto::date::DateTime;
use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// sysexits(3): Postfix uses it for every refusal here.
const EX_UNAVAILABLE: u8 = 69;

const USAGE: &str =
    "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site";

/// Runs the program.
pub fn run(args: &[String]) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the listing has seen enough.
        Err(Stop::Pipe) => ExitCode::SUCCESS,
        Err(Stop::Fatal(text)) => {
            eprintln!("postqueue: fatal: {text}");
            crate::log::failed("postqueue", &text);
            ExitCode::from(EX_UNAVAILABLE)
        }
    }
}

enum Stop {
    Fatal(String),
    Pipe,
}

fn fatal<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fatal(text.into()))
}

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    List,
    Json,
    Flush(Request),
}

fn try_run(args: &[String]) -> Result<(), Stop> {
    let (option, wish) = match options(args) {
        Ok(parsed) => parsed,
        Err(text) => return fatal(text),
    };
    let who = sys::users::identities();
    let stranger = who.borrowed() && who.uid != 0;
    let caller = if stranger { directory::Caller::Stranger } else { directory::Caller::Same };
    let dir = directory::decide(option.as_deref(), caller).or_else(|p| fatal(p.to_string()))?;
    let first = |p: Vec<config::Problem>| p.first().map(ToString::to_string).unwrap_or_default();
    let config = Config::load(&dir).or_else(|p| fatal(first(p)))?;
    let main = Main::load(&config).or_else(|p| fatal(first(p)))?;
    proto::QueueId::show_long(*main.enable_long_queue_ids());
    let socket = PathBuf::from(main.queue_directory()).join("public/showq");
    match (UnixStream::connect(&socket), wish) {
        (Ok(stream), Wish::Flush(request)) => flush(stream, &request),
        (Ok(stream), wish) => list(stream, wish == Wish::Json),
        (Err(_), Wish::Flush(_)) => fatal("Cannot flush mail queue - mail system is down"),
        (Err(e), wish) => down(&config, &dir, who.uid, &e, wish == Wish::Json),
    }
}

/// `-c DIR` and one of `-f -i id -j -p -s site`; `-v` changes nothing.
fn options(args: &[String]) -> Result<(Option<String>, Wish), String> {
    let (mut directory, mut wish) = (None, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            return Err(USAGE.into());
        };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let mut argument = || {
                let joined: String = rest.by_ref().collect();
                if joined.is_empty() { words.next().cloned() } else { Some(joined) }
                    .ok_or_else(|| USAGE.to_string())
            };
            let new = match letter {
                'v' => continue,
                'c' => {
                    directory = Some(argument()?);
                    continue;
                }
                'f' => Wish::Flush(Request::FlushAll),
                'j' => Wish::Json,
                'p' => Wish::List,
                'i' => {
                    let id = argument()?;
                    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
                        return Err(format!("Cannot flush queue ID - invalid name: \"{id}\""));
                    }
                    Wish::Flush(Request::FlushId(id))
                }
                's' => {
                    let site = argument()?;
                    if !plausible(&site) {
                        return Err(format!("Cannot flush mail queue - invalid destination: \"{site}\""));
                    }
                    Wish::Flush(Request::FlushSite(site))
                }
                _ => {
                    eprintln!("postqueue: invalid option -- '{letter}'");
                    return Err(USAGE.into());
                }
            };
            if wish.replace(new).is_some() {
                return Err(USAGE.into());
            }
        }
    }
    wish.map(|w| (directory, w)).ok_or_else(|| USAGE.to_string())
}

/// A host or domain name (RFC 1123 2.1, and `_`), or an address literal.
fn plausible(site: &str) -> bool {
    if let Some(literal) = site.strip_prefix('[') {
        let Some(text) = literal.strip_suffix(']') else { return false };
        let six = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:")).and(text.get(5..));
        return match six {
            Some(text) => text.parse::<std::net::Ipv6Addr>().is_ok(),
            None => text.parse::<std::net::Ipv4Addr>().is_ok(),
        };
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    site.len() <= 255 && site.split('.').all(label)
}

fn flush(mut stream: UnixStream, request: &Request) -> Result<(), Stop> {
    match ask(&mut stream, request, |_| Ok(())) {
        Ok(Answer::Refused(why) | Answer::Failed(why)) => fatal(why),
        Ok(_) => Ok(()),
        Err(_) => fatal("Cannot flush mail queue - mail system is down"),
    }
}

fn list(mut stream: UnixStream, json: bool) -> Result<(), Stop> {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let (mut bytes, mut messages) = (0u64, 0u64);
    // Of a big queue many came in the same second.
    let (mut second, mut arrival) = (None, String::new());
    let answer = ask(&mut stream, &Request::List, |answer| {
        let Answer::Entry(entry) = answer else { return Ok(()) };
        let text = if json {
            listing::json(&entry)
        } else {
            let seconds = (entry.envelope.arrival / 1_000_000) as i64;
            if second.replace(seconds) != Some(seconds) {
                let zone = sys::time::zone_at(seconds);
                arrival = DateTime::new(seconds, zone.offset, &zone.name).ctime_without_year();
            }
            let heading = if messages == 0 { format!("{}\n", listing::heading()) } else { String::new() };
            heading + &listing::entry(&entry, &arrival)
        };
        bytes = bytes.saturating_add(entry.envelope.size);
        messages += 1;
        out.write_all(text.as_bytes())
    });
    let written = match answer {
        Ok(Answer::Refused(why) | Answer::Failed(why)) => return fatal(why),
        Ok(_) if json => Ok(()),
        Ok(_) if messages == 0 => writeln!(out, "{}", listing::EMPTY),
        Ok(_) => out.write_all(listing::total(bytes, messages).as_bytes()),
        Err(e) => Err(e),
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Stop::Pipe),
        Err(e) => fatal(format!("Queue report unavailable - {e}")),
    }
}

/// Without a mail system the queue can be read by its owner and root alone; the program that reads
/// it is another one, and is started only for them.
fn down(config: &Config, dir: &Path, uid: u32, error: &io::Error, json: bool) -> Result<(), Stop> {
    let why = error.to_string();
    let why = why.split(" (os error").next().unwrap_or_default();
    let why = format!("Connect to the Postfix showq service: {why}");
    let who = sys::users::identities();
    let owner = config.get("mail_owner").ok().and_then(|n| sys::users::by_name(&n).ok().flatten());
    if uid != 0 && who.borrowed() && owner.is_none_or(|o| o.uid != uid) {
        return fatal(format!("Queue report unavailable - mail system is down ({why})"));
    }
    eprintln!("postqueue: warning: Mail system is down -- accessing queue directly ({why})");
    let program = programs::find(programs::Program::Valija, Some(config)).or_else(fatal)?;
    let mut command = Command::new(program);
    command.arg("queue-listing").arg("-c").arg(dir);
    if json {
        command.arg("-j");
    }
    fatal(format!("cannot list the queue: {}", command.exec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_as_postfix_takes_them() {
        let read = |words: &str| {
            let args: Vec<String> = words.split_whitespace().map(str::to_string).collect();
            options(&args).ok()
        };
        let none = |w| Some((None, w));
        assert_eq!(read("-p"), none(Wish::List));
        assert_eq!(read("-vj"), none(Wish::Json));
        assert_eq!(read("-c /x -f"), Some((Some("/x".into()), Wish::Flush(Request::FlushAll))));
        assert_eq!(read("-iABC"), none(Wish::Flush(Request::FlushId("ABC".into()))));
        assert_eq!(read("-s [192.0.2.1]"), none(Wish::Flush(Request::FlushSite("[192.0.2.1]".into()))));
        for bad in
            ["", "-x", "-p -f", "-s", "-i", "p", "-p x", "-s a/b", "-s [mx.example.org]", "-s a..b", "-i a/b"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
