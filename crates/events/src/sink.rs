//! Where log lines go: syslog's socket, a file, standard output, or memory (tests).
//!
//! A line is written by the thread that says it, in one system call, so that lines of one session
//! keep their order and a killed process loses none. The log survives a restarted syslog (the
//! socket is connected anew) and a rotated file (the name is looked at again before a write, if the
//! last look was a moment ago).

use crate::{Level, Source};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

/// A place for log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// `/dev/log`, as syslog(3); the number is the facility (mail is 2).
    Syslog {
        /// The datagram socket, normally `/dev/log`.
        socket: PathBuf,
        /// RFC 3164 facility number.
        facility: u8,
    },
    /// `maillog_file`.
    File(PathBuf),
    /// `maillog_file`, for programs that the mail system does not start: they hand their lines to
    /// it, as they may not be able to write the file. When it does not take them they try the file,
    /// and syslog at last.
    Postlog {
        /// `public/postlog` of the queue directory.
        socket: PathBuf,
        /// The log file; `None` for standard output.
        file: Option<PathBuf>,
        /// RFC 3164 facility number.
        facility: u8,
    },
    /// `postfix start-fg` with `maillog_file = /dev/stdout`.
    Stdout,
    /// Standard error, for commands: `tag: text`.
    Stderr,
}

/// The number of a syslog facility by name. RFC 3164 4.1.1.
pub fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    ];
    if let Some(local) = name.strip_prefix("local") {
        return local.parse::<u8>().ok().filter(|n| *n < 8).map(|n| n + 16);
    }
    NAMES.iter().position(|n| *n == name).map(|p| p as u8)
}

/// Where `maillog_file`, `maillog_file_prefixes` and `syslog_facility` send the log. postlogd(8)
pub fn sink_for(file: &str, prefixes: &[String], facility_name: &str) -> Result<Sink, String> {
    let Some(facility) = facility(facility_name) else {
        return Err(format!("parameter syslog_facility: unknown facility {facility_name:?}; write mail"));
    };
    match file {
        "" => Ok(Sink::Syslog { socket: SYSLOG.into(), facility }),
        _ if !prefixes.iter().any(|p| file.starts_with(p.as_str())) => {
            let what = "is not below maillog_file_prefixes; add its directory there";
            Err(format!("parameter maillog_file: {file} {what}"))
        }
        "/dev/stdout" => Ok(Sink::Stdout),
        file => Ok(Sink::File(file.into())),
    }
}

/// The same for a program that the mail system does not start. `queue_directory` is where the
/// system listens.
pub fn sink_of_program(
    file: &str,
    prefixes: &[String],
    facility_name: &str,
    queue_directory: &str,
) -> Result<Sink, String> {
    let file = match sink_for(file, prefixes, facility_name)? {
        Sink::File(path) => Some(path),
        Sink::Stdout => None,
        other => return Ok(other),
    };
    let socket = Path::new(queue_directory).join("public/postlog");
    // `sink_for` has seen the name of the facility.
    Ok(Sink::Postlog { socket, file, facility: facility(facility_name).unwrap_or(2) })
}

const SYSLOG: &str = "/dev/log";

struct Installed {
    sink: Sink,
    socket: Mutex<Option<UnixDatagram>>,
    file: Mutex<Opened>,
}

/// The log file.
#[derive(Default)]
struct Opened {
    file: Option<File>,
    /// When its name was last looked at.
    looked: Option<Instant>,
}

/// A name is looked at again after so long, so that a busy system does not ask for every line.
const GLANCE: Duration = Duration::from_millis(20);

static INSTALLED: RwLock<Option<Installed>> = RwLock::new(None);

thread_local! {
    static MEMORY: RefCell<Option<Rc<RefCell<Vec<String>>>>> = const { RefCell::new(None) };
}

/// Sends log lines of this process to `sink` from now on.
pub fn install(sink: Sink) {
    let new = Installed { sink, socket: Mutex::new(None), file: Mutex::default() };
    *INSTALLED.write().unwrap_or_else(|e| e.into_inner()) = Some(new);
}

/// Collects the lines that this thread says until the value is dropped.
pub fn memory() -> Memory {
    let lines = Rc::new(RefCell::new(Vec::new()));
    MEMORY.with(|m| *m.borrow_mut() = Some(lines.clone()));
    Memory(lines)
}

/// Lines collected by [`memory`], as `tag[number]: text`.
pub struct Memory(Rc<RefCell<Vec<String>>>);

impl Memory {
    /// The lines so far; they are removed.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        MEMORY.with(|m| *m.borrow_mut() = None);
    }
}

/// The longest text of a line, bytes, as Postfix has it: syslog loses what is much longer.
const LONGEST_TEXT: usize = 2000;

pub(crate) fn write(source: &Source, level: Level, text: &str) {
    // One line per event whatever a stranger sent. Postfix shows such bytes as `?`, and cuts.
    let text = text.get(..text.floor_char_boundary(LONGEST_TEXT - level.prefix().len())).unwrap_or(text);
    let mut clean = String::with_capacity(text.len());
    clean.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
    let body = format!("{}[{}]: {}{}", source.tag(), source.number(), level.prefix(), clean);
    let kept = MEMORY.with(|m| m.borrow().as_ref().map(|l| l.borrow_mut().push(body.clone())));
    if kept.is_some() {
        return;
    }
    let guard = INSTALLED.read().unwrap_or_else(|e| e.into_inner());
    let Some(to) = guard.as_ref() else { return };
    match &to.sink {
        Sink::Syslog { socket, facility } => {
            let line = format!("<{}>{} {}", facility * 8 + level.severity(), stamp(), body);
            to.datagram(socket, &line);
        }
        Sink::Postlog { socket, file, facility } => {
            let line = format!("{} {} {}", stamp(), host(), body);
            let taken = to.datagram(socket, &line)
                || file.as_ref().is_some_and(|path| to.file(path, &format!("{line}\n")));
            if !taken {
                let line = format!("<{}>{} {}", facility * 8 + level.severity(), stamp(), body);
                to.datagram(Path::new(SYSLOG), &line);
            }
        }
        Sink::File(path) => {
            to.file(path, &format!("{} {} {}\n", stamp(), host(), body));
        }
        Sink::Stdout => {
            let _ =
                std::io::stdout().lock().write_all(format!("{} {} {}\n", stamp(), host(), body).as_bytes());
        }
        Sink::Stderr => {
            let text = format!("{}: {}{}\n", source.tag(), level.prefix(), clean);
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

/// Writes a line that another program handed over on `public/postlog`, stamp and tag included.
pub fn relay(line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let mut clean: String =
        text.trim_end().chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    let guard = INSTALLED.read().unwrap_or_else(|e| e.into_inner());
    let Some(to) = guard.as_ref() else { return };
    match &to.sink {
        Sink::Syslog { socket, facility } => {
            let line = format!("<{}>{clean}", facility * 8 + Level::Info.severity());
            to.datagram(socket, &line);
        }
        Sink::File(path) => {
            clean.push('\n');
            to.file(path, &clean);
        }
        Sink::Stdout => {
            clean.push('\n');
            let _ = std::io::stdout().lock().write_all(clean.as_bytes());
        }
        Sink::Postlog { .. } | Sink::Stderr => {}
    }
}

/// The longest line taken from another program, characters.
const LONGEST: usize = 4096;

/// Goes on with this open log file: one that somebody opened who may, after the old one was
/// renamed.
pub fn adopt(file: File) {
    if let Some(to) = INSTALLED.read().unwrap_or_else(|e| e.into_inner()).as_ref() {
        *to.file.lock().unwrap_or_else(|e| e.into_inner()) = Opened { file: Some(file), looked: None };
    }
}

impl Installed {
    /// False when nobody takes it.
    fn datagram(&self, path: &Path, line: &str) -> bool {
        let mut socket = self.socket.lock().unwrap_or_else(|e| e.into_inner());
        for _ in 0..2 {
            if socket.is_none() {
                *socket = UnixDatagram::unbound().ok().filter(|s| s.connect(path).is_ok());
            }
            match socket.as_ref().map(|s| s.send(line.as_bytes())) {
                Some(Ok(_)) => return true,
                _ => *socket = None, // a restarted syslog has a new socket under the old name
            }
        }
        false
    }

    /// False when it cannot be written.
    fn file(&self, path: &Path, line: &str) -> bool {
        let mut opened = self.file.lock().unwrap_or_else(|e| e.into_inner());
        let Opened { file, looked } = &mut *opened;
        let fresh = file.is_some() && looked.is_some_and(|at| at.elapsed() < GLANCE);
        if fresh && let Some(file) = file {
            return file.write_all(line.as_bytes()).is_ok();
        }
        *looked = Some(Instant::now());
        let same = match (file.as_ref().and_then(|f| f.metadata().ok()), std::fs::metadata(path)) {
            (Some(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
            _ => false,
        };
        if !same {
            // A process that may not create it writes on into the old one until a reload.
            if let Ok(new) = OpenOptions::new().append(true).create(true).open(path) {
                *file = Some(new);
            }
        }
        file.as_mut().is_some_and(|f| f.write_all(line.as_bytes()).is_ok())
    }
}

fn stamp() -> String {
    sys::time::syslog_stamp(sys::time::now_micros())
}

fn host() -> String {
    let name = sys::host::name();
    name.split('.').next().unwrap_or("localhost").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;

    events! {
        /// A test.
        Hello { } Warning "hello"
    }

    #[test]
    fn a_line_has_an_end() {
        let lines = memory();
        let source = Source::new("postfix", "cleanup", 7);
        write(&source, Level::Warning, &"é\n".repeat(5000));
        let line = lines.take().concat();
        assert_eq!(line.strip_prefix("postfix/cleanup[7]: ").map(str::len), Some(LONGEST_TEXT));
        assert!(!line.contains('\n'));
    }

    /// One test: what is installed is one for the process.
    #[test]
    fn lines_of_programs_reach_the_file_one_way_or_another() {
        let dir = std::env::temp_dir().join(format!("valija-sink-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("public")).unwrap();
        let (log, queue) = (dir.join("log").display().to_string(), dir.display().to_string());
        let sink = |file: &str| sink_of_program(file, &[String::from("/")], "mail", &queue).unwrap();
        assert_eq!(ALL.len(), 1);
        assert!(matches!(sink(""), Sink::Syslog { facility: 2, .. }));
        assert!(sink_of_program("/x", &["/var".into()], "mail", &queue).is_err());
        let say = || Source::new("postfix", "postdrop", 7).say(&Hello {});
        let end = " postfix/postdrop[7]: warning: hello\n";

        // Nobody listens: the file itself.
        install(sink(&log));
        say();
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.ends_with(end) && text.lines().count() == 1, "{text}");

        // The system listens, and starts anew.
        for _ in 0..2 {
            let _ = std::fs::remove_file(dir.join("public/postlog"));
            let socket = UnixDatagram::bind(dir.join("public/postlog")).unwrap();
            say();
            let mut line = [0; 200];
            let n = socket.recv(&mut line).unwrap();
            assert!(String::from_utf8_lossy(&line[..n]).ends_with(end.trim_end()));
            assert_eq!(std::fs::read_to_string(&log).unwrap(), text);
        }

        // The system writes what it was handed, one line whatever it holds, also after a rotation.
        install(Sink::File(log.clone().into()));
        relay(b"Nov 21 10:00:00 host x[1]: a\nb\0\xff\n");
        std::fs::rename(&log, dir.join("old")).unwrap();
        adopt(OpenOptions::new().append(true).create(true).open(&log).unwrap());
        relay(b"two");
        let old = std::fs::read_to_string(dir.join("old")).unwrap();
        assert_eq!(old, format!("{text}Nov 21 10:00:00 host x[1]: a?b?\u{fffd}\n"));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "two\n");
        let _ = std::fs::remove_dir_all(&dir);
    }
}
