//! postdrop: a message from standard input into the maildrop, whether or not the mail system runs.
//!
//! `sendmail` writes the record stream of [`proto::record`]; here it is checked record by record,
//! the time is put before it, and it becomes `maildrop/<name>`. A file is incomplete until it can
//! be executed by its owner (mode 0744, as Postfix's pickup wants it) and is on disk by then. The
//! caller is told by status numbers that Postfix's sendmail understands, too.

use config::params::cleanup::Cleanup;
use config::params::main::Main;
use config::params::submission::Submission;
use config::{Config, directory, user_list};
use proto::QueueId;
use proto::record::{self, Decoder, Item, Walker};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use sys::signals::{Signals, Told};

/// What the caller is told; Postfix's numbers.
const DONE: u16 = 0;
const BAD: u16 = 1;
const WRITE: u16 = 2;
const SIZE: u16 = 4;

/// sysexits(3).
const EX_USAGE: u8 = 64;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

/// Runs the program.
pub fn run(args: &[String]) -> ExitCode {
    match try_run(args) {
        Ok(status) => ExitCode::from(status.min(255) as u8),
        Err((code, text)) => {
            eprintln!("postdrop: fatal: {text}");
            crate::log::failed("postdrop", &text);
            ExitCode::from(code)
        }
    }
}

type Fatal = (u8, String);

fn try_run(args: &[String]) -> Result<u16, Fatal> {
    let option = options(args)?;
    let who = sys::users::identities();
    let stranger = who.borrowed() && who.uid != 0;
    let caller = if stranger { directory::Caller::Stranger } else { directory::Caller::Same };
    let configuration = |e: String| (EX_CONFIG, e);
    let dir = directory::decide(option.as_deref(), caller).map_err(|p| configuration(p.to_string()))?;
    let config = Config::load(&dir).map_err(|p| configuration(first(&p)))?;
    let main = Main::load(&config).map_err(|p| configuration(first(&p)))?;
    QueueId::show_long(*main.enable_long_queue_ids());
    let limits = Cleanup::load(&config).map_err(|p| configuration(first(&p)))?;
    let submission = Submission::load(&config).map_err(|p| configuration(first(&p)))?;
    authorize(submission.authorized_submit_users(), who.uid)?;

    let signals = Signals::take().map_err(|e| (1, format!("signals: {e}")))?;
    sys::signals::survive_file_limits().map_err(|e| (1, format!("signals: {e}")))?;
    let queue = PathBuf::from(main.queue_directory());
    let (mut file, name) = Incomplete::create(&queue.join("maildrop"))?;
    answer(format!("protocol\0postdrop_protocol\0queue_id\0{name}\0\0").as_bytes());
    let limit = u64::try_from(*limits.message_size_limit()).ok().filter(|n| *n > 0);
    let mut intake = Copy { uid: who.uid, limit, ..Copy::default() };
    let status = match intake.run(&signals, &mut file)? {
        None => return Ok(DONE), // The caller went away; so does what it wrote.
        Some(status) => status,
    };
    if status == DONE {
        file.complete().map_err(|e| (1, format!("uid={}: maildrop/{name}: {e}", who.uid)))?;
        wake(&queue.join("public/pickup"));
    }
    answer(format!("status\0{status}\0reason\0\0\0").as_bytes());
    Ok(status)
}

fn first(problems: &[config::Problem]) -> String {
    problems.first().map(ToString::to_string).unwrap_or_default()
}

/// `-c DIR`; `-r` and `-v` change nothing.
fn options(args: &[String]) -> Result<Option<String>, Fatal> {
    let usage = || (EX_USAGE, "usage: postdrop [-c config_dir] [-v]".to_string());
    let (mut directory, mut rest) = (None, args.iter());
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-r" | "-v" => {}
            "-c" => directory = Some(rest.next().ok_or_else(usage)?.clone()),
            _ => match arg.strip_prefix("-c") {
                Some(path) => directory = Some(path.to_string()),
                None => return Err(usage()),
            },
        }
    }
    Ok(directory)
}

fn authorize(list: &config::value::List, uid: u32) -> Result<(), Fatal> {
    if uid == 0 {
        return Ok(());
    }
    // A caller without account is nobody's name; `static:anyone` admits it nevertheless.
    let name = sys::users::by_id(uid).ok().flatten().map_or_else(|| "unknown".into(), |a| a.name);
    match user_list::permits("authorized_submit_users", list, &name) {
        Ok(true) => Ok(()),
        Ok(false) => Err((EX_NOPERM, format!("User {name}({uid}) is not allowed to submit mail"))),
        Err(problem) => Err((EX_CONFIG, problem.to_string())),
    }
}

/// Tells the caller. One that no longer listens does not stop the work.
fn answer(text: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

/// Tells pickup that there is mail. When it does not run, it will look by itself once it does.
fn wake(socket: &Path) {
    match UnixStream::connect(socket) {
        Ok(mut stream) => {
            let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
            let _ = stream.write_all(b"W");
        }
        // The system has never run; after a stop nothing is said.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let what = "unable to look up public/pickup: No such file or directory";
            crate::log::warn("postdrop", what);
        }
        Err(_) => {}
    }
}

/// A file in the maildrop that vanishes unless it is completed.
struct Incomplete {
    path: PathBuf,
    file: io::BufWriter<File>,
    keep: bool,
}

impl Incomplete {
    fn create(maildrop: &Path) -> Result<(Incomplete, QueueId), Fatal> {
        for _ in 0..1000 {
            let name = QueueId::at(sys::time::now_micros());
            let path = maildrop.join(name.to_string());
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    let file = io::BufWriter::with_capacity(64 * 1024, file);
                    return Ok((Incomplete { path, file, keep: false }, name));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    std::thread::sleep(Duration::from_micros(20));
                }
                Err(e) => {
                    let remedy = match e.kind() {
                        io::ErrorKind::NotFound => "start the mail system once, it makes the directory",
                        io::ErrorKind::PermissionDenied => {
                            "`postfix set-permissions` gives postdrop its group and the directory its mode"
                        }
                        _ => "is the file system full or read-only?",
                    };
                    return Err((75, format!("create file {}: {e}; {remedy}", path.display())));
                }
            }
        }
        Err((75, format!("create file in {}: no free name", maildrop.display())))
    }

    /// Marks the file as complete and puts it on disk, mark and all. Pickup may take it as soon as
    /// it is marked: what it commits is durable in the queue.
    fn complete(mut self) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_ref();
        file.set_permissions(Permissions::from_mode(0o744))?;
        file.sync_all()?;
        // The caller's group may search this directory but not read it; where it may (an ordinary
        // user's own queue), the new name is synced too. Journaling file systems write the name of
        // a new file with the file.
        if let Some(dir) = self.path.parent().and_then(|d| File::open(d).ok()) {
            let _ = dir.sync_all();
        }
        self.keep = true;
        Ok(())
    }
}

impl Drop for Incomplete {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The copy from standard input to the file.
#[derive(Default)]
struct Copy {
    uid: u32,
    limit: Option<u64>,
    written: u64,
    fault: Option<u16>,
}

impl Copy {
    /// The status once the stream has ended; `None` when its end never came.
    fn run(&mut self, signals: &Signals, file: &mut Incomplete) -> Result<Option<u16>, Fatal> {
        let uid = self.uid;
        let mut input = io::stdin().lock();
        let (mut decoder, mut walker) = (Decoder::default(), Walker::new(false));
        let mut piece = vec![0; 64 * 1024];
        let mut record = Vec::new();
        record::put(&mut record, record::kind::TIME, record::time_text(sys::time::now_micros()).as_bytes());
        self.write(file, &record);
        while !walker.done() {
            let ready = sys::poll::readable(&[input.as_fd(), signals.as_fd()], None)
                .map_err(|e| (1, format!("uid={uid}: {e}")))?;
            while let Some(told) = signals.next() {
                if let Told::Stop(n) = told {
                    return Err((128u8.saturating_add(n as u8), format!("uid={uid}: stopped by signal {n}")));
                }
            }
            if ready.first() != Some(&true) {
                continue;
            }
            let n = input.read(&mut piece).map_err(|e| (1, format!("uid={uid}: read: {e}")))?;
            if n == 0 {
                if decoder.pending() > 0 {
                    return Err((1, format!("uid={uid}: malformed input")));
                }
                return Ok(None);
            }
            decoder.feed(&piece[..n]);
            while !walker.done() {
                let Some((kind, data)) = decoder.next_record().map_err(|f| (1, format!("uid={uid}: {f}")))?
                else {
                    break;
                };
                match walker.take(kind, data).map_err(|f| (1, format!("uid={uid}: {f}")))? {
                    Item::ForeignAttribute(text) => {
                        let shown: String =
                            text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                        eprintln!("postdrop: warning: uid={uid}: ignoring attribute record: {shown}");
                    }
                    _ => {
                        record.clear();
                        record::put(&mut record, kind, data);
                        self.write(file, &record);
                    }
                }
            }
        }
        Ok(Some(match self.fault {
            Some(status) => status,
            None if walker.complete() => DONE,
            None => BAD,
        }))
    }

    /// After a fault the rest is only read, so that the caller hears the status.
    fn write(&mut self, file: &mut Incomplete, record: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        self.written += record.len() as u64;
        if self.limit.is_some_and(|l| self.written > l) {
            eprintln!("postdrop: warning: uid={}: File too large", self.uid);
            self.fault = Some(SIZE);
        } else if let Err(e) = file.file.write_all(record) {
            eprintln!("postdrop: warning: uid={}: {}: {e}", self.uid, file.path.display());
            self.fault = Some(WRITE);
        }
    }
}
