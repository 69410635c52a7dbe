//! Running a command that takes the message on its standard input.
//!
//! The caller has become the user already. The command gets a clean environment, a process group
//! of its own, and nothing open but its three standard streams. Its output, up to a limit, becomes
//! part of the status; its exit status is read by `sysexits.h`; when its time is over the whole
//! group is killed.

use crate::answer::{Tell, say};
use crate::content::{Content, Copier};
use crate::events::{CommandNotRun, CommandTime};
use crate::mail::{os_text, unix_status};
use proto::status::{Code, Status};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of the output is kept, bytes.
const MOST_OUTPUT: usize = 8192;
/// Where commands are looked for.
const PATH: &str = "/usr/bin:/bin";

/// What to run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// How the status names the command.
    pub shown: &'a str,
    /// `local` or `pipe`, and the words before `execvp`, as Postfix writes them.
    pub program: (&'static str, &'static str),
    pub environment: BTreeMap<String, OsString>,
    pub directory: &'a Path,
    pub time: Duration,
    /// The lines before the message.
    pub before: Vec<u8>,
    pub copier: Copier,
    /// What comes after the message.
    pub after: Vec<u8>,
}

/// What became of it, when it took the message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Exit status zero; its output.
    Well(String),
    /// Anything else.
    Badly(Status),
}

/// A command line by a shell, where it needs one, or by its words. An empty `shell` is /bin/sh
/// where needed; another shell is used always.
pub(crate) fn words(command: &str, shell: &str) -> Vec<OsString> {
    const PLAIN: &str = "1234567890!@%-_=+:,./ \tabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // Some of what a shell does itself; a program of that name does something else or is not there.
    const BUILT_IN: [&str; 19] = [
        ".", ":", "break", "cd", "case", "continue", "eval", "exec", "exit", "export", "for", "if", "login",
        "return", "set", "shift", "trap", "umask", "while",
    ];
    let text = command.trim();
    if !shell.is_empty() {
        return shell.split_whitespace().chain([text]).map(OsString::from).collect();
    }
    let first = text.split_whitespace().next().unwrap_or_default();
    let plain = text.chars().all(|c| PLAIN.contains(c));
    if plain && !first.is_empty() && !first.contains('=') && !BUILT_IN.contains(&first) {
        text.split_whitespace().map(OsString::from).collect()
    } else {
        ["/bin/sh", "-c", text].map(OsString::from).to_vec()
    }
}

/// The environment that `export_environment` gives: names keep this process's value, `name=value`
/// sets one.
pub(crate) fn exported(list: &[String], directory: &Path) -> BTreeMap<String, OsString> {
    let mut all = BTreeMap::from([("PATH".to_string(), OsString::from(PATH))]);
    for (name, value) in config::environment::variables(list) {
        let value = match (value, name) {
            (Some(value), _) => Some(value.into()),
            (None, "MAIL_CONFIG") => Some(directory.as_os_str().to_owned()),
            (None, name) => std::env::var_os(name),
        };
        all.extend(value.map(|v| (name.to_string(), v)));
    }
    all
}

/// Replaces what a filter does not list by `_`.
pub(crate) fn filtered(text: &str, filter: &str) -> String {
    text.chars().map(|c| if filter.contains(c) { c } else { '_' }).collect()
}

/// Runs a command.
pub(crate) fn run(mut run: Run<'_>, content: &Content, tell: &dyn Tell) -> Ran {
    let temporary = |output: &str| {
        let text = match output {
            "" => "temporary failure".to_string(),
            o => format!("temporary failure. Command output: {o}"),
        };
        let diagnostic = if output.is_empty() { "temporary failure" } else { output };
        Ran::Badly(unix_status(Code(4, 3, 0), text, diagnostic.to_string()))
    };
    if let Err(e) = std::env::set_current_dir(run.directory) {
        let who = sys::users::identities();
        let what = format!(
            "cannot change directory to \"{}\" for uid={} gid={}: {}",
            run.directory.display(),
            who.euid,
            who.egid,
            os_text(&e)
        );
        say(tell, &CommandNotRun { what });
        return temporary("");
    }
    let mut started = start(&run);
    // A name that is no program may be something that a shell knows.
    if matches!(&started, Err(e) if e.kind() == io::ErrorKind::NotFound)
        && run.program.0 == "local"
        && run.argv.first().is_some_and(|name| !name.as_encoded_bytes().contains(&b'/'))
    {
        run.argv = ["/bin/sh", "-c", run.shown.trim()].map(OsString::from).to_vec();
        started = start(&run);
    }
    let (child, output) = match started {
        Ok(started) => started,
        Err(e) => {
            let name = run.argv.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            let what = format!("{}execvp {name}: {}", run.program.1, os_text(&e));
            // Not in the log: the words are taken for the command's own.
            return temporary(&format!("{}: fatal: {what} ", run.program.0));
        }
    };
    let shown = run.shown.to_string();
    match feed(child, output, run, content) {
        Ok((status, output)) => judge(status, &output, &shown),
        Err(Trouble::Time(output)) => {
            say(tell, &CommandTime {});
            let text = format!("Command time limit exceeded: \"{shown}\"{}", behind(&output));
            let diagnostic = if output.is_empty() { "internal software error".into() } else { output };
            Ran::Badly(unix_status(Code(5, 3, 0), text, diagnostic))
        }
        Err(Trouble::Io(e)) => {
            Ran::Badly(Status::new(Code(4, 3, 0), format!("error handing over the message: {}", os_text(&e))))
        }
    }
}

fn start(run: &Run<'_>) -> io::Result<(Child, io::PipeReader)> {
    let [program, args @ ..] = run.argv.as_slice() else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    let (output, theirs) = io::pipe()?;
    let mut command = Command::new(program);
    if run.program.0 == "local" && program == "/bin/sh" {
        // By this name it complains.
        command.arg0("sh");
    }
    let child = command
        .args(args)
        .env_clear()
        .envs(&run.environment)
        .stdin(Stdio::piped())
        .stdout(theirs.try_clone()?)
        .stderr(theirs)
        .process_group(0)
        .spawn()?;
    Ok((child, output))
}

enum Trouble {
    Time(String),
    Io(io::Error),
}

/// Kills the command's whole process group unless told that it ended.
struct Group {
    child: Child,
    done: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.done {
            sys::children::kill_group(self.child.id());
            let _ = self.child.wait();
        }
    }
}

fn feed(
    mut child: Child,
    mut output: io::PipeReader,
    run: Run<'_>,
    content: &Content,
) -> Result<(ExitStatus, String), Trouble> {
    let end = Instant::now() + run.time;
    let input = child.stdin.take();
    let mut group = Group { child, done: false };
    let mut kept = Vec::new();
    for fd in [input.as_ref().map(|i| i.as_fd()), Some(output.as_fd())].into_iter().flatten() {
        sys::poll::set_nonblocking(fd).map_err(Trouble::Io)?;
    }
    let mut open = true;
    if let Some(mut input) = input {
        let mut put = |mut bytes: &[u8]| -> io::Result<()> {
            while !bytes.is_empty() {
                match input.write(bytes) {
                    Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        let left = left(end)?;
                        let reader = open.then_some(output.as_fd());
                        let (readable, _) = sys::poll::either(reader, Some(input.as_fd()), left)?;
                        if readable {
                            open = take(&mut output, &mut kept)?;
                        }
                    }
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        };
        let sent = put(&run.before)
            .map_err(crate::content::Failed::Write)
            .and_then(|()| content.copy(run.copier, &mut put))
            .and_then(|()| put(&run.after).map_err(crate::content::Failed::Write));
        match sent {
            // A command need not read its input: its exit status decides.
            Ok(()) => {}
            Err(crate::content::Failed::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => {}
            Err(crate::content::Failed::Write(e)) if e.kind() == io::ErrorKind::TimedOut => {
                return Err(Trouble::Time(shown(&kept)));
            }
            Err(crate::content::Failed::Write(e) | crate::content::Failed::Read(e)) => {
                return Err(Trouble::Io(e));
            }
        }
    }
    while open {
        let Ok(left) = left(end) else { return Err(Trouble::Time(shown(&kept))) };
        let (readable, _) = sys::poll::either(Some(output.as_fd()), None, left).map_err(Trouble::Io)?;
        if readable {
            open = take(&mut output, &mut kept).map_err(Trouble::Io)?;
        }
    }
    // The output is closed; most commands have ended by now.
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = group.child.try_wait().map_err(Trouble::Io)? {
            group.done = true;
            return Ok((status, shown(&kept)));
        }
        if left(end).is_err() {
            return Err(Trouble::Time(shown(&kept)));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

/// Reads what is there; false at the end of the output.
fn take(output: &mut io::PipeReader, kept: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                let room = MOST_OUTPUT.saturating_sub(kept.len());
                kept.extend_from_slice(buffer.get(..n.min(room)).unwrap_or_default());
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Output as one line: line ends and tabs become spaces, other control characters `_`.
fn shown(output: &[u8]) -> String {
    let clean = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c.is_control() => '_',
        c => c,
    };
    String::from_utf8_lossy(output).chars().map(clean).collect()
}

fn behind(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(". Command output: {output}") }
}

/// Exit statuses of sysexits.h: code and words.
const EXITS: [(i32, Code, &str); 15] = [
    (64, Code(5, 3, 0), "command line usage error"),
    (65, Code(5, 6, 0), "data format error"),
    (66, Code(5, 3, 0), "cannot open input"),
    (67, Code(5, 1, 1), "user unknown"),
    (68, Code(5, 1, 2), "host name unknown"),
    (69, Code(5, 3, 0), "service unavailable"),
    (70, Code(5, 3, 0), "internal software error"),
    (71, Code(4, 3, 0), "system resource problem"),
    (72, Code(5, 3, 0), "critical OS file missing"),
    (73, Code(5, 2, 0), "can't create user output file"),
    (74, Code(5, 3, 0), "input/output error"),
    (75, Code(4, 3, 0), "temporary failure"),
    (76, Code(5, 5, 0), "remote error in protocol"),
    (77, Code(5, 7, 0), "permission denied"),
    (78, Code(5, 3, 5), "local configuration error"),
];

fn judge(status: ExitStatus, output: &str, shown: &str) -> Ran {
    let Some(exit) = status.code() else {
        let signal = status.signal().unwrap_or_default();
        let text = format!("Command died with signal {signal}: \"{shown}\"{}", behind(output));
        let diagnostic = if output.is_empty() { "system resource problem" } else { output };
        return Ran::Badly(unix_status(Code(4, 3, 0), text, diagnostic.to_string()));
    };
    if exit == 0 {
        return Ran::Well(output.to_string());
    }
    // An enhanced status code at the beginning of the output takes precedence. pipe(8), local(8)
    let (word, rest) = output.split_once(' ').unwrap_or((output, ""));
    if let Some(code) = Code::parse(word).filter(|c| c.0 != 2) {
        return Ran::Badly(unix_status(code, rest.trim_start().to_string(), rest.trim_start().to_string()));
    }
    match EXITS.iter().find(|(n, ..)| *n == exit) {
        Some((_, code, words)) => {
            let diagnostic = if output.is_empty() { words } else { output };
            Ran::Badly(unix_status(*code, format!("{words}{}", behind(output)), diagnostic.to_string()))
        }
        None => {
            let text = format!("Command died with status {exit}: \"{shown}\"{}", behind(output));
            let diagnostic = if output.is_empty() { "unknown mail system error" } else { output };
            Ran::Badly(unix_status(Code(5, 3, 0), text, diagnostic.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mbox_lock::tests::Heard;
    use std::fs::File;

    fn try_it(command: &str, text: &[u8], time: Duration) -> Ran {
        let file = sys::memory_file::sealed(text).unwrap();
        let content = Content::new(file, 0, text.len() as u64);
        let run_it = Run {
            argv: words(command, ""),
            shown: command,
            program: ("local", ""),
            environment: exported(&["X=y".into()], Path::new("/etc")),
            directory: Path::new("/"),
            time,
            before: b"before\n".to_vec(),
            copier: Copier::new(b"\n"),
            after: Vec::new(),
        };
        run(run_it, &content, &Heard::default())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn exit_statuses_and_output() {
        let check = |command: &str, code: Code, words: &str| match try_it(command, b"hola\r\n", LONG) {
            Ran::Badly(s) => assert_eq!((s.code, s.text.as_str()), (code, words), "{command}"),
            well => panic!("{command}: {well:?}"),
        };
        assert_eq!(try_it("/bin/cat", b"hola\r\nx", LONG), Ran::Well("before hola x ".into()));
        assert_eq!(try_it("echo $X", b"", LONG), Ran::Well("y ".into()));
        check("exit 67", Code(5, 1, 1), "user unknown");
        check("exit 75", Code(4, 3, 0), "temporary failure");
        let text = "Command died with status 1: \"echo a; echo b; exit 1\". Command output: a b ";
        check("echo a; echo b; exit 1", Code(5, 3, 0), text);
        check("echo 5.7.9 go away; exit 67", Code(5, 7, 9), "go away ");
        check("echo 4.7.9 later; exit 1", Code(4, 7, 9), "later ");
        check("kill -9 $$", Code(4, 3, 0), "Command died with signal 9: \"kill -9 $$\"");
        let text =
            "temporary failure. Command output: local: fatal: execvp /no/such: No such file or directory ";
        check("/no/such", Code(4, 3, 0), text);
    }

    #[test]
    fn input_that_nobody_reads_and_much_output() {
        let big = b"0123456789\r\n".repeat(100_000);
        assert_eq!(try_it("/bin/true", &big, LONG), Ran::Well(String::new()));
        let Ran::Well(out) = try_it("cat; cat", &big, LONG) else { panic!() };
        assert_eq!(out.len(), MOST_OUTPUT);
    }

    #[test]
    fn the_whole_group_is_killed_in_time() {
        let dir = std::env::temp_dir().join(format!("valija-group-{}", std::process::id()));
        let command = format!("sleep 1000 & echo $! > {}; wait", dir.display());
        let Ran::Badly(s) = try_it(&command, b"x", Duration::from_millis(300)) else { panic!() };
        assert_eq!(s.code, Code(5, 3, 0));
        assert!(s.text.starts_with("Command time limit exceeded: "), "{}", s.text);
        let pid: u32 = std::fs::read_to_string(&dir).unwrap().trim().parse().unwrap();
        // Killed; a zombie until init reaps it.
        let gone = (0..1000).any(|_| {
            std::thread::yield_now();
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ") || {
                std::thread::sleep(Duration::from_millis(2));
                false
            }
        });
        assert!(gone);
        std::fs::remove_file(&dir).unwrap();
        let _ = File::open("/dev/null");
    }

    #[test]
    fn a_shell_only_where_needed() {
        assert_eq!(words("/usr/bin/procmail -t", ""), ["/usr/bin/procmail", "-t"]);
        assert_eq!(words("procmail -a \"$EXTENSION\"", "").len(), 3);
        assert_eq!(words("exit 67", ""), ["/bin/sh", "-c", "exit 67"]);
        assert_eq!(words("a=b c", "")[0], "/bin/sh");
        assert_eq!(words("x y", "/bin/bash -c"), ["/bin/bash", "-c", "x y"]);
    }
}
