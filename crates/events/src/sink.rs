//! Where log lines go: syslog's socket, a file, standard output, or memory (tests).
//!
//! A line is written by the thread that says it, in one system call, so that lines of one session
//! keep their order and a killed process loses none. The log survives a restarted syslog (the
//! socket is connected anew) and a rotated file (the name is looked at again before a write, if the
//! last look was a moment ago).
//!
//! Appending to a file costs more than making the line. A thread that has promised to ([`gather`])
//! therefore leaves its lines in memory for as long as it has more work, and whoever makes something
//! known that others may rely on calls [`flush`] first: before a client is told that its message is
//! durable, before it is recorded that a message was delivered. So a killed process still loses no line
//! of what it has acknowledged or will not do again; and what may be its last words is not gathered.

use crate::{Level, Source};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Lines that were said and not written yet.
    gathered: String,
    /// What lines begin with in this second.
    opening: (u64, String),
}

/// So many bytes of lines are gathered at most.
const GATHERED: usize = 8 * 1024;

/// There are gathered lines.
static WAITING: AtomicBool = AtomicBool::new(false);

/// A name is looked at again after so long, so that a busy system does not ask for every line.
const GLANCE: Duration = Duration::from_millis(20);

static INSTALLED: RwLock<Option<Installed>> = RwLock::new(None);

thread_local! {
    static GATHERS: Cell<bool> = const { Cell::new(false) };
    /// The room in which lines are made.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
    static MEMORY: RefCell<Option<Rc<RefCell<Vec<String>>>>> = const { RefCell::new(None) };
}

/// Sends log lines of this process to `sink` from now on.
pub fn install(sink: Sink) {
    let new = Installed { sink, socket: Mutex::new(None), file: Mutex::default() };
    let mut installed = INSTALLED.write().unwrap_or_else(|e| e.into_inner());
    // Nobody adds a line between.
    installed.iter().for_each(Installed::flush);
    *installed = Some(new);
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

/// This thread leaves lines in memory from now on: it calls [`flush`] whenever it runs out of work.
pub fn gather() {
    GATHERS.set(true);
}

/// Writes what was gathered, by whatever thread.
pub fn flush() {
    if !WAITING.load(Ordering::Acquire) {
        return;
    }
    INSTALLED.read().unwrap_or_else(|e| e.into_inner()).iter().for_each(Installed::flush);
}

pub(crate) fn write(source: &Source, level: Level, text: fmt::Arguments<'_>) {
    let mut body = LINE.take();
    body.clear();
    let _ = write!(body, "{}[{}]: {}", source.tag(), source.number(), level.prefix());
    let start = body.len();
    let _ = body.write_fmt(text);
    // One line per event whatever a stranger sent. Postfix shows such bytes as `?`, and cuts.
    body.truncate(body.floor_char_boundary(start + LONGEST_TEXT - level.prefix().len()));
    let said = body.get(start..).unwrap_or_default();
    if said.contains(char::is_control) {
        let clean: String = said.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        body.truncate(start);
        body.push_str(&clean);
    }
    let kept = MEMORY.with(|m| m.borrow().as_ref().map(|l| l.borrow_mut().push(body.clone())));
    if kept.is_none()
        && let Some(to) = INSTALLED.read().unwrap_or_else(|e| e.into_inner()).as_ref()
    {
        to.line(source, level, &body, start);
    }
    LINE.set(body);
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
            to.file(path, |out| out.push_str(&clean));
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
    flush();
    if let Some(to) = INSTALLED.read().unwrap_or_else(|e| e.into_inner()).as_ref() {
        let mut opened = to.file.lock().unwrap_or_else(|e| e.into_inner());
        (opened.file, opened.looked) = (Some(file), None);
    }
}

impl Installed {
    fn flush(&self) {
        if let Sink::File(path) = &self.sink {
            self.file.lock().unwrap_or_else(|e| e.into_inner()).write(path);
        }
    }

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

    /// Writes a line to where it belongs. `body`: tag, level and text, which begins at `text`.
    fn line(&self, source: &Source, level: Level, body: &str, text: usize) {
        match &self.sink {
            Sink::Syslog { socket, facility } => {
                let line = format!("<{}>{} {}", facility * 8 + level.severity(), stamp(), body);
                self.datagram(socket, &line);
            }
            Sink::Postlog { socket, file, facility } => {
                let line = format!("{} {} {}", stamp(), host(), body);
                let taken = self.datagram(socket, &line)
                    || file.as_ref().is_some_and(|path| self.file(path, |out| out.push_str(&line)));
                if !taken {
                    let line = format!("<{}>{} {}", facility * 8 + level.severity(), stamp(), body);
                    self.datagram(Path::new(SYSLOG), &line);
                }
            }
            Sink::File(path) => {
                self.file_stamped(path, level, body);
            }
            Sink::Stdout => {
                let line = format!("{} {} {}\n", stamp(), host(), body);
                let _ = std::io::stdout().lock().write_all(line.as_bytes());
            }
            Sink::Stderr => {
                let text = body.get(text..).unwrap_or_default();
                let line = format!("{}: {}{}\n", source.tag(), level.prefix(), text);
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }
        }
    }

    /// Adds a line with its stamp; it is written at once, after what was gathered, unless this thread
    /// gathers and may live to write it.
    fn file_stamped(&self, path: &Path, level: Level, body: &str) -> bool {
        let mut opened = self.file.lock().unwrap_or_else(|e| e.into_inner());
        // Within the lock, so that times in the log only grow.
        let now = sys::time::now_micros();
        if opened.opening.0 != now / 1_000_000 {
            opened.opening = (now / 1_000_000, format!("{} {} ", sys::time::syslog_stamp(now), host()));
        }
        let Opened { gathered, opening, .. } = &mut *opened;
        gathered.push_str(&opening.1);
        gathered.push_str(body);
        gathered.push('\n');
        let last_words = matches!(level, Level::Fatal | Level::Panic);
        if GATHERS.get() && !last_words && gathered.len() < GATHERED {
            WAITING.store(true, Ordering::Release);
            return true;
        }
        opened.write(path)
    }

    /// Writes a line that is complete but for its end; false when it cannot be written.
    fn file(&self, path: &Path, line: impl FnOnce(&mut String)) -> bool {
        let mut opened = self.file.lock().unwrap_or_else(|e| e.into_inner());
        line(&mut opened.gathered);
        opened.gathered.push('\n');
        opened.write(path)
    }
}

impl Opened {
    /// Writes what was gathered; false when that cannot be.
    fn write(&mut self, path: &Path) -> bool {
        WAITING.store(false, Ordering::Release);
        if self.gathered.is_empty() {
            return true;
        }
        let fresh = self.file.is_some() && self.looked.is_some_and(|at| at.elapsed() < GLANCE);
        if !fresh {
            self.looked = Some(Instant::now());
            self.open(path);
        }
        let done = self.file.as_mut().is_some_and(|f| f.write_all(self.gathered.as_bytes()).is_ok());
        self.gathered.clear();
        self.gathered.shrink_to(2 * GATHERED);
        done
    }

    /// Goes on with whatever has the name now.
    fn open(&mut self, path: &Path) {
        let same = match (self.file.as_ref().and_then(|f| f.metadata().ok()), std::fs::metadata(path)) {
            (Some(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
            _ => false,
        };
        if !same {
            // A process that may not create it writes on into the old one until a reload.
            if let Ok(new) = OpenOptions::new().append(true).create(true).open(path) {
                self.file = Some(new);
            }
        }
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
        /// Another.
        Broken { } Panic "broken"
    }

    #[test]
    fn a_line_has_an_end() {
        let lines = memory();
        let source = Source::new("postfix", "cleanup", 7);
        write(&source, Level::Warning, format_args!("{}", "é\n".repeat(5000)));
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
        assert_eq!(ALL.len(), 2);
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

        // Who gathers writes nothing until somebody flushes, says something at once, or it is too much.
        let lines = || std::fs::read_to_string(&log).unwrap().lines().count();
        std::thread::scope(|all| {
            let gathering = all.spawn(|| {
                gather();
                say();
                say();
                assert_eq!(lines(), 1);
                flush();
                assert_eq!(lines(), 3);
                // What may be the last words of a process does not wait.
                say();
                Source::new("postfix", "qmgr", 7).say(&Broken {});
                assert_eq!(lines(), 5);
                say();
            });
            gathering.join().unwrap();
            assert_eq!(lines(), 5);
            say();
            assert_eq!(lines(), 7);
            let gathering = all.spawn(|| {
                gather();
                (0..200).for_each(|_| say());
                assert!(lines() > 100);
                // Neither another sink nor another file loses them.
                install(Sink::File(log.clone().into()));
                assert_eq!(lines(), 207);
                say();
                std::fs::rename(&log, dir.join("old")).unwrap();
                adopt(OpenOptions::new().append(true).create(true).open(&log).unwrap());
                let old = std::fs::read_to_string(dir.join("old")).unwrap().lines().count();
                assert_eq!(old + lines(), 208);
            });
            gathering.join().unwrap();
        });
        let _ = std::fs::remove_dir_all(&dir);
    }
}
