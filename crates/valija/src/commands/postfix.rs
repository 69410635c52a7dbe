//! `postfix`: start, stop, reload, status, flush, check … as postfix(1).

use config::Config;
use config::directory::{Caller, decide};
use config::programs::{Program, find};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

events::events! {
    /// The system is being started.
    Starting {} Info "starting the Postfix mail system"
    /// The system is being stopped.
    Stopping {} Info "stopping the Postfix mail system"
    /// The system is being stopped at once.
    Aborting {} Info "aborting the Postfix mail system"
    /// The configuration is being read again.
    Refreshing {} Info "refreshing the Postfix mail system"
    /// What `postfix status` found.
    Running { pid: String } Info "the Postfix mail system is running: PID: {pid}"
    /// What `postfix status` found.
    NotRunning {} Info "the Postfix mail system is not running"
    /// The command cannot be done.
    Refused { what: String } Fatal "{what}"
    /// Something the administrator should mend.
    Noticed { what: String } Warning "{what}"
}

/// Who speaks, on the terminal and in the log: `postfix/postfix-script`.
struct Voice {
    log: events::Source,
    sink: events::Sink,
}

impl Voice {
    fn say<E: events::Event>(&self, event: &E) {
        // Scripts that start or stop the system hear of trouble only, as from Postfix.
        if E::LEVEL != events::Level::Info || std::io::stderr().is_terminal() {
            events::install(events::Sink::Stderr);
            self.log.say(event);
        }
        events::install(self.sink.clone());
        self.log.say(event);
    }

    fn refuse(&self, what: impl Into<String>) -> ExitCode {
        self.say(&Refused { what: what.into() });
        ExitCode::FAILURE
    }
}

/// `postfix [-c config_dir] [-Dv] command`
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    let mut directory = None;
    let mut words = args.iter();
    let mut command = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "-c" => directory = words.next().cloned(),
            "-D" | "-v" | "-vv" => {}
            flag if flag.starts_with("-c") => directory = Some(flag[2..].to_string()),
            flag if flag.starts_with('-') => return usage(),
            _ => {
                command = Some(word.clone());
                break;
            }
        }
    }
    // Without a command the list of commands is shown, as for one that does not exist.
    let command = command.unwrap_or_default();
    let directory = match decide(directory.as_deref(), Caller::Same) {
        Ok(directory) => directory,
        Err(problem) => return unusable(&[problem.to_string()]),
    };
    let config = match Config::load(&directory) {
        Ok(config) => config,
        Err(problems) => return unusable(&problems.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    match Setting::read(config) {
        Ok(setting) if setting.is_anothers() => {
            eprintln!("postfix: error: to submit mail, use the Postfix sendmail command");
            eprintln!("postfix: fatal: the postfix command is reserved for the superuser");
            ExitCode::FAILURE
        }
        Ok(setting) => setting.run(&command),
        Err(what) => unusable(&[what]),
    }
}

/// A configuration that cannot be read does not say where the log goes either: syslog, as always.
fn unusable(problems: &[String]) -> ExitCode {
    let log = events::Source::new("postfix", "postfix-script", std::process::id());
    if let Ok(sink) = events::sink_for("", &[], "mail") {
        events::install(sink);
    }
    for what in problems {
        eprintln!("postfix: fatal: {what}");
        log.say(&Refused { what: what.clone() });
    }
    ExitCode::FAILURE
}

fn usage() -> ExitCode {
    eprintln!("postfix: fatal: usage: postfix [-c config_dir] [-Dv] command");
    ExitCode::FAILURE
}

/// What an unknown command is answered with.
const COMMANDS: &str = "start (or stop, reload, abort, flush, check, status, set-permissions, \
                        upgrade-configuration, logrotate)";

/// The process that holds the lock of a running system with this configuration.
pub(super) fn running(config: &Config) -> Option<u32> {
    holder(Path::new(&config.get("queue_directory").ok()?))
}

/// Has a running system read its configuration and files again, and says so. `named` is the directory as the
/// caller named it.
pub(super) fn reread(directory: &Path, config: &Config, named: Option<&str>) -> Result<(), String> {
    let dir = named.map_or(String::new(), |d| format!(" -c {d}"));
    if running(config).is_none() {
        println!("The system is not running; start it with: postfix{dir} start");
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let done = Command::new(&program).args(["postfix", "-c"]).arg(directory).arg("reload").status();
    match done.is_ok_and(|s| s.success()) {
        true => println!("The running system reads its settings again (postfix reload)."),
        false => return Err(format!("the running system was not told; run: postfix{dir} reload")),
    }
    Ok(())
}

fn holder(queue: &Path) -> Option<u32> {
    let path = queue.join("pid/master.pid");
    let file = std::fs::File::open(&path).ok()?;
    if file.try_lock_shared().is_ok() {
        return None;
    }
    std::fs::read_to_string(&path).ok()?.trim().parse().ok()
}

struct Setting {
    config: Config,
    queue: PathBuf,
    voice: Voice,
}

impl Setting {
    fn read(config: Config) -> Result<Setting, String> {
        let main = config::params::main::Main::load(&config).map_err(first)?;
        let master = config::params::master::Master::load(&config).map_err(first)?;
        let sink = events::sink_for(
            master.maillog_file(),
            &master.maillog_file_prefixes().0,
            master.syslog_facility(),
        )?;
        let log = events::Source::new(main.syslog_name(), "postfix-script", std::process::id());
        let queue = PathBuf::from(main.queue_directory());
        Ok(Setting { config, queue, voice: Voice { log, sink } })
    }

    fn run(&self, command: &str) -> ExitCode {
        match command {
            "start" => self.start(false),
            "start-fg" => self.start(true),
            "stop" => self.stop(),
            "abort" => self.abort(),
            "reload" => self.reload(),
            "status" => self.status(),
            "check" => self.check(),
            "flush" => self.postqueue_flush(),
            "quick-start" => self.start(false),
            "quick-stop" => self.stop(),
            "set-permissions" => self.set_permissions(),
            // Nothing of valija's asks for an older configuration to be changed.
            "upgrade-configuration" | "post-install" => ExitCode::SUCCESS,
            "logrotate" => self.logrotate(),
            "tls" => {
                self.voice.refuse("\"postfix tls\" is not served; set smtpd_tls_chain_files with postconf -e, and see what a host proves with: valija tls test HOST")
            }
            _ => self.voice.refuse(format!("unknown command: '{command}'. Usage: postfix {COMMANDS}")),
        }
    }

    /// Whether the caller is an ordinary user and the system another's.
    fn is_anothers(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let me = sys::spawn::effective_uid();
        me != 0 && std::fs::metadata(&self.queue).is_ok_and(|m| m.uid() != me)
    }

    fn pid(&self) -> Option<u32> {
        holder(&self.queue)
    }

    fn master(&self) -> Result<PathBuf, String> {
        find(Program::Master, Some(&self.config))
    }

    fn start(&self, foreground: bool) -> ExitCode {
        if self.pid().is_some() {
            return self.voice.refuse("the Postfix mail system is already running");
        }
        let master = match self.master() {
            Ok(master) => master,
            Err(what) => return self.voice.refuse(what),
        };
        self.voice.say(&Starting {});
        let mut args: Vec<OsString> = vec!["-c".into(), self.config.directory().into()];
        if foreground {
            args.push("-s".into());
            use std::os::unix::process::CommandExt;
            let e = Command::new(&master).args(&args).exec();
            return self.voice.refuse(format!("{}: {e}", master.display()));
        }
        args.push("-w".into());
        match Command::new(&master).args(&args).status() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            // master has said why.
            Ok(_) => self.voice.refuse("mail system startup failed"),
            Err(e) => self.voice.refuse(format!("{}: {e}", master.display())),
        }
    }

    fn stop(&self) -> ExitCode {
        let Some(pid) = self.pid() else {
            return self.voice.refuse("the Postfix mail system is not running");
        };
        self.voice.say(&Stopping {});
        if let Err(e) = sys::signals::send(pid, 15) {
            return self.voice.refuse(format!("cannot stop process {pid}: {e}"));
        }
        self.wait_for_end(pid, Duration::from_secs(20))
    }

    fn abort(&self) -> ExitCode {
        let Some(pid) = self.pid() else {
            return self.voice.refuse("the Postfix mail system is not running");
        };
        self.voice.say(&Aborting {});
        // The roles see the end of their channels and stop; the queue needs no orderly end.
        if let Err(e) = sys::signals::send(pid, 9) {
            return self.voice.refuse(format!("cannot stop process {pid}: {e}"));
        }
        self.wait_for_end(pid, Duration::from_secs(5))
    }

    fn wait_for_end(&self, pid: u32, at_most: Duration) -> ExitCode {
        let limit = Instant::now() + at_most;
        while self.pid() == Some(pid) {
            if Instant::now() > limit {
                let _ = sys::signals::send(pid, 9);
                self.voice
                    .say(&Noticed { what: format!("process {pid} did not end in time and was killed") });
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        ExitCode::SUCCESS
    }

    fn reload(&self) -> ExitCode {
        let Some(pid) = self.pid() else {
            return self.voice.refuse("the Postfix mail system is not running");
        };
        // master looks too; but whoever asks wants to know it now.
        if let Some(what) = self.unusable() {
            return self.voice.refuse(format!("{what}; the running configuration stays in force"));
        }
        self.voice.say(&Refreshing {});
        match sys::signals::send(pid, 1) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => self.voice.refuse(format!("cannot signal process {pid}: {e}")),
        }
    }

    fn status(&self) -> ExitCode {
        match self.pid() {
            Some(pid) => {
                self.voice.say(&Running { pid: pid.to_string() });
                ExitCode::SUCCESS
            }
            None => {
                self.voice.say(&NotRunning {});
                ExitCode::FAILURE
            }
        }
    }

    /// Why a start or a reload would be refused.
    fn unusable(&self) -> Option<String> {
        let services = match config::master_cf::load(self.config.directory()) {
            Ok(services) => services,
            Err(problems) => return Some(first(problems)),
        };
        let mut wrong = config::params::problems(&self.config);
        wrong.extend(config::refused(&self.config, &services.all));
        (!wrong.is_empty()).then(|| first(wrong))
    }

    /// Looks for what would keep the system from starting or working. Prints nothing when all is
    /// well, as postfix(1) does.
    fn check(&self) -> ExitCode {
        if let Some(what) = self.unusable() {
            return self.voice.refuse(what);
        }
        let services = config::master_cf::load(self.config.directory()).unwrap_or_default();
        for problem in config::suspicious(&self.config) {
            self.voice.say(&Noticed { what: problem.to_string() });
        }
        for problem in self.config.warnings().iter().chain(&services.warnings) {
            self.voice.say(&Noticed { what: problem.to_string() });
        }
        for file in ["main.cf", "master.cf"] {
            self.check_owner(&self.config.directory().join(file));
        }
        match self.master() {
            Ok(_) => ExitCode::SUCCESS,
            Err(what) => self.voice.refuse(what),
        }
    }

    fn check_owner(&self, path: &Path) {
        use std::os::unix::fs::MetadataExt;
        let Ok(m) = std::fs::metadata(path) else { return };
        let what = if m.uid() != 0 && sys::spawn::effective_uid() == 0 {
            format!("not owned by root: {}", path.display())
        } else if m.mode() & 0o022 != 0 {
            format!("group or other writable: {}", path.display())
        } else {
            return;
        };
        self.voice.say(&Noticed { what });
    }

    fn postqueue_flush(&self) -> ExitCode {
        let program = match find(Program::Postqueue, Some(&self.config)) {
            Ok(program) => program,
            Err(what) => return self.voice.refuse(what),
        };
        let status = Command::new(&program).arg("-c").arg(self.config.directory()).arg("-f").status();
        // postqueue has said what is wrong.
        let code = status.ok().and_then(|s| s.code()).and_then(|code| u8::try_from(code).ok());
        code.map_or(ExitCode::FAILURE, ExitCode::from)
    }

    /// Makes the programs that write into the maildrop set-gid. The directories of the queue get
    /// their owners and modes at each start. postfix(1)
    fn set_permissions(&self) -> ExitCode {
        let name = match config::params::main::Main::load(&self.config) {
            Ok(main) => main.setgid_group().clone(),
            Err(problems) => return self.voice.refuse(first(problems)),
        };
        let group = match sys::spawn::group_number(&name) {
            Ok(Some(group)) => group,
            _ => {
                let remedy = format!("create it with `groupadd --system {name}`");
                return self
                    .voice
                    .refuse(format!("parameter setgid_group: there is no group {name}; {remedy}"));
            }
        };
        for program in [Program::Postdrop, Program::Postqueue] {
            use std::os::unix::fs::PermissionsExt;
            let changed = find(program, Some(&self.config)).and_then(|path| {
                let mode = std::fs::Permissions::from_mode(0o2755);
                // The owner first: changing it takes the set-gid bit away.
                sys::spawn::give(&path, 0, group)
                    .and_then(|()| std::fs::set_permissions(&path, mode))
                    .map_err(|e| format!("{}: {e}", path.display()))
            });
            if let Err(what) = changed {
                return self.voice.refuse(what);
            }
        }
        ExitCode::SUCCESS
    }

    /// Renames the log file with a time stamp and lets the system open a new one. postfix(1)
    fn logrotate(&self) -> ExitCode {
        let events::Sink::File(path) = &self.voice.sink else {
            return self.voice.refuse("empty 'maillog_file' parameter value - logfile rotation failed");
        };
        let master = match config::params::master::Master::load(&self.config) {
            Ok(master) => master,
            Err(problems) => return self.voice.refuse(first(problems)),
        };
        let format = format!("+{}", master.maillog_file_rotate_suffix().0);
        let suffix = match Command::new("date").arg(&format).output() {
            Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).trim().to_string(),
            Ok(done) => {
                return self
                    .voice
                    .refuse(format!("date {format}: {}", String::from_utf8_lossy(&done.stderr)));
            }
            Err(e) => return self.voice.refuse(format!("date: {e}")),
        };
        if suffix.is_empty() || suffix.contains('/') {
            return self.voice.refuse(format!("maillog_file_rotate_suffix gives no file name: {suffix:?}"));
        }
        let to = PathBuf::from(format!("{}.{suffix}", path.display()));
        if let Err(e) = std::fs::rename(path, &to) {
            return self.voice.refuse(format!("rename {} to {}: {e}", path.display(), to.display()));
        }
        let reloaded = self.reload();
        // Whoever still writes to the old file gets a moment to take up the new one.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let compressor = master.maillog_file_compressor();
        match Command::new(compressor).arg(&to).status() {
            Ok(status) if status.success() => reloaded,
            Ok(status) => self.voice.refuse(format!("{compressor} {}: {status}", to.display())),
            Err(e) => self.voice.refuse(format!("{compressor}: {e}")),
        }
    }
}

fn first(problems: Vec<config::Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
