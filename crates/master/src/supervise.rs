//! The life of the system: start, restart what died, reload, stop.

use crate::args::Args;
use crate::events::{
    CannotStart, Note, ReloadRefused, Reloaded, RoleEnded, RoleNotStarted, Started, Terminating,
};
use crate::files::{Lock, Owners, prepare};
use crate::plan::Plan;
use crate::roles::{self, Role};
use crate::sockets::Listeners;
use crate::spawned::Spawned;
use config::programs::{Program, find};
use proto::supervision::{Ask, Order};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use sys::channel::Channel;
use sys::signals::{Signals, Told};

/// How long a stop waits for deliveries that are under way.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a start waits for the mail role of a master that was killed: somewhat longer than it takes to end.
const PREDECESSOR: Duration = Duration::from_secs(15);
/// The longest pause before a role that keeps dying is started again.
const LONGEST_PAUSE: u64 = 60;
/// So often a mail role may die of a fault before it was ever ready. Two name what is to be set aside.
const MOST_EARLY_FAULTS: u32 = 3;

/// `-t`: success when no master runs.
pub fn test_lock(args: &Args) -> ExitCode {
    match Plan::read(&args.directory) {
        Ok(plan) if !Lock::held(&plan.queue) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// `-w`: starts this program again in the background and waits until clients are served.
pub fn start_and_wait(_args: &Args, words: &[String]) -> ExitCode {
    let fail = |what: String| {
        eprintln!("postfix/master: fatal: {what}");
        ExitCode::FAILURE
    };
    let (mut report, theirs) = match std::io::pipe() {
        Ok(pair) => pair,
        Err(e) => return fail(format!("pipe: {e}")),
    };
    let program =
        match find(Program::Master, None).or_else(|_| std::env::current_exe().map_err(|e| e.to_string())) {
            Ok(program) => program,
            Err(e) => return fail(e),
        };
    let rest: Vec<&std::ffi::OsStr> = std::iter::once("-R")
        .chain(words.iter().map(String::as_str).filter(|w| *w != "-w"))
        .map(AsRef::as_ref)
        .collect();
    // What is no text is none that a role would be given.
    let text = |word: std::ffi::OsString| word.into_string().ok();
    let environment: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
    let child =
        sys::spawn::spawn(&program, "master", &rest, &[theirs.as_fd()], None, &environment, false, false);
    drop(theirs);
    if let Err(e) = child {
        return fail(format!("{}: {e}", program.display()));
    }
    let mut text = String::new();
    let _ = report.read_to_string(&mut text);
    match text.as_str() {
        "ready\n" => ExitCode::SUCCESS,
        "" => fail("the system ended before it was ready; the log says why".into()),
        why => {
            eprint!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until told to stop.
pub fn run(args: &Args) -> ExitCode {
    let mut report = args.report.then(|| sys::spawn::inherited(3)).flatten().map(std::fs::File::from);
    if args.report {
        // Fails only for the leader of a group, who then has left the terminal already.
        let _ = sys::spawn::new_session();
    }
    events::install(events::Sink::Stderr);
    let console = events::Source::new("postfix", "master", std::process::id());
    let refuse = |report: &mut Option<std::fs::File>, say: &events::Source, what: String| {
        say.say(&CannotStart { what: what.clone() });
        if let Some(pipe) = report {
            let _ = pipe.write_all(format!("postfix/master: fatal: {what}\n").as_bytes());
        }
        ExitCode::FAILURE
    };
    let plan = match Plan::read(&args.directory) {
        Ok(plan) => plan,
        Err(what) => {
            // A configuration that cannot be used does not say where the log goes: syslog, as always.
            if args.report
                && let Ok(sink) = events::sink_for("", &[], "mail")
            {
                events::install(sink);
            }
            return refuse(&mut report, &console, what);
        }
    };
    let say = events::Source::new(&plan.syslog_name, "master", std::process::id());
    if let Err(what) = plan.install_log(args.keep_output) {
        return refuse(&mut report, &console, what);
    }
    match System::start(plan, say.clone(), args, report) {
        Ok(mut system) => system.supervise(args.exit_time),
        Err((what, mut report)) => {
            // Said in the log and to whoever started the system.
            refuse(&mut report, &say, what)
        }
    }
}

struct System {
    directory: PathBuf,
    plan: Plan,
    say: events::Source,
    signals: Signals,
    listeners: Listeners,
    spawned: Spawned,
    mail: Option<(Role, Channel, Instant)>,
    /// The newest is last; older ones finish what they began before a reload.
    delivers: Vec<Role>,
    pause: u64,
    start_again: Option<Instant>,
    deliver_pause: u64,
    deliver_since: Instant,
    deliver_again: Option<Instant>,
    report: Option<std::fs::File>,
    keep_output: bool,
    ever_ready: bool,
    reloading: bool,
    /// What the mail role works on; it outlives the role, and says what it died of.
    board: Option<std::fs::File>,
    /// The signal of a fault that ended the last mail role.
    fault: Option<i32>,
    /// How often a fault ended the role before it was ever ready.
    early_faults: u32,
    _lock: Lock,
}

/// Why a start was refused, and the pipe to whoever waits for it.
type Refused = (String, Option<std::fs::File>);

impl System {
    fn start(
        plan: Plan,
        say: events::Source,
        args: &Args,
        report: Option<std::fs::File>,
    ) -> Result<System, Refused> {
        let owners = plan.identity.as_ref().map(|i| Owners {
            owner: i.uid,
            group: i.gid,
            postdrop: plan.postdrop_group,
        });
        let prepared = prepare(&plan.queue, &plan.data, owners).and_then(|()| Lock::take(&plan.queue));
        let lock = match prepared {
            Ok(lock) => lock,
            Err(what) => return Err((what, report)),
        };
        let signals = match Signals::take() {
            Ok(signals) => signals,
            Err(e) => return Err((format!("signals: {e}"), report)),
        };
        let mut listeners = Listeners::default();
        let mut spawned = Spawned::default();
        let mut bind = || {
            listeners.change(&plan.wanted, plan.backlog, &say)?;
            spawned.change(&plan.spawned, plan.backlog, &say)
        };
        let begun = Instant::now();
        while let Err(what) = bind() {
            // The mail role of a master that was killed keeps its ports until it has written down
            // what was under way.
            if begun.elapsed() > PREDECESSOR || !is_in_use(&plan.queue) {
                return Err((what, report));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for note in &plan.notes {
            say.say(&Note { what: note.clone() });
        }
        let mut system = System {
            directory: args.directory.clone(),
            plan,
            say,
            signals,
            listeners,
            spawned,
            mail: None,
            delivers: Vec::new(),
            pause: 1,
            start_again: None,
            deliver_pause: 1,
            deliver_since: Instant::now(),
            deliver_again: None,
            report,
            keep_output: args.keep_output,
            ever_ready: false,
            reloading: false,
            board: sys::board::create().ok(),
            fault: None,
            early_faults: 0,
            _lock: lock,
        };
        match system.start_roles() {
            Ok(()) => Ok(system),
            Err(what) => Err((what, system.report.take())),
        }
    }

    fn start_roles(&mut self) -> Result<(), String> {
        // The mail role has one for each connection; only root may allow more than it was given itself.
        let _ = sys::host::allow_descriptors();
        let past = (self.board.as_ref(), self.fault.take());
        let (mail, channel) =
            roles::mail(&self.plan.config, self.plan.identity.as_ref(), self.keep_output, past)?;
        self.mail = Some((mail, channel, Instant::now()));
        self.equip()
    }

    /// Sends the mail role its listeners and a fresh deliver role.
    fn equip(&mut self) -> Result<(), String> {
        let (deliver, jobs) = roles::deliver(&self.plan.config, self.keep_output, self.spawned.iter())?;
        self.delivers.push(deliver);
        self.deliver_since = Instant::now();
        self.deliver_again = None;
        let Some((_, channel, _)) = &self.mail else { return Ok(()) };
        let send = |order: Order, fd: &[BorrowedFd<'_>]| match channel.send(&order.encode(), fd) {
            // It ended at once; why is still in the channel, and is heard in its turn.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            sent => sent.map_err(|e| format!("mail role: {e}")),
        };
        for (want, listener) in self.listeners.iter() {
            let order = Order::Listener { service: want.service.clone(), address: want.address.to_string() };
            send(order, &[listener.as_fd()])?;
        }
        send(Order::Deliver, &[jobs.as_fd()])?;
        // The mail role could not open a new file under the old name by itself.
        if let Some(log) = self.plan.open_log() {
            send(Order::Log, &[log.as_fd()])?;
        }
        send(Order::Begin, &[])
    }

    fn supervise(&mut self, exit_time: Option<Duration>) -> ExitCode {
        let end = exit_time.map(|t| Instant::now() + t);
        loop {
            let mut fds = vec![self.signals.as_fd()];
            fds.extend(self.mail.iter().map(|(_, c, _)| c.as_fd()));
            let now = Instant::now();
            let wake = [end, self.start_again, self.deliver_again].into_iter().flatten().min();
            let ready = sys::poll::readable(&fds, wake.map(|t| t.saturating_duration_since(now)));
            drop(fds);
            let ready = ready.unwrap_or_default();
            if ready.get(1) == Some(&true)
                && let Err(code) = self.hear_mail()
            {
                return code;
            }
            while let Some(told) = self.signals.next() {
                match told {
                    Told::Stop(signal) => {
                        self.say.say(&Terminating { signal });
                        self.stop();
                        return ExitCode::SUCCESS;
                    }
                    Told::Reload => self.reload(),
                    Told::Child => {}
                }
            }
            if let Err(code) = self.bury() {
                return code;
            }
            if end.is_some_and(|t| Instant::now() >= t) {
                self.stop();
                return ExitCode::SUCCESS;
            }
            if self.deliver_again.is_some_and(|t| Instant::now() >= t) {
                self.deliver_again = None;
                if let Err(what) = self.equip() {
                    self.say.say(&RoleNotStarted { role: "deliver".into(), what });
                }
            }
            if self.start_again.is_some_and(|t| Instant::now() >= t) {
                self.start_again = None;
                if let Err(what) = self.start_roles() {
                    self.say.say(&RoleNotStarted { role: "mail".into(), what });
                    self.schedule_restart();
                }
            }
        }
    }

    /// One message of the mail role. `Err` ends the program.
    fn hear_mail(&mut self) -> Result<(), ExitCode> {
        let Some((_, channel, _)) = &self.mail else { return Ok(()) };
        let message = match channel.receive() {
            Ok(Some((bytes, _))) => Ask::decode(&bytes),
            // Gone: its end is learnt by waiting for the child, which comes at once.
            _ => {
                self.end_of_mail();
                return self.go_on();
            }
        };
        match message {
            Some(Ask::Ready) => {
                let version = self.plan.version.clone();
                let directory = self.directory.display().to_string();
                if std::mem::take(&mut self.reloading) {
                    self.say.say(&Reloaded { version, directory });
                } else {
                    self.say.say(&Started { version, directory });
                }
                self.ever_ready = true;
                sys::program::forget_start();
                if let Some(mut pipe) = self.report.take() {
                    let _ = pipe.write_all(b"ready\n");
                }
            }
            Some(Ask::Failed(what)) if !self.ever_ready => return Err(self.give_up(what)),
            Some(Ask::Failed(what)) if std::mem::take(&mut self.reloading) => {
                self.say.say(&ReloadRefused { what });
            }
            Some(Ask::Failed(what)) => self.say.say(&RoleNotStarted { role: "mail".into(), what }),
            Some(Ask::Open { name, path }) => {
                let opened = self.plan.open(&name, &path);
                let error = opened.as_ref().err().cloned().unwrap_or_default();
                if !error.is_empty() {
                    self.say.say(&crate::events::FileRefused { path: path.clone(), what: error.clone() });
                }
                let fd = opened.as_ref().ok().map(|f| f.as_fd());
                let _ = channel.send(&Order::File { path, error }.encode(), fd.as_slice());
            }
            None => self.say.say(&Note { what: "the mail role sent a message that means nothing".into() }),
        }
        Ok(())
    }

    /// Collects roles that ended. `Err` ends the program.
    fn bury(&mut self) -> Result<(), ExitCode> {
        let ended = self.mail.as_mut().and_then(|(role, _, _)| role.child.try_wait().ok().flatten());
        if ended.is_some() {
            // What it said last, if this was not heard yet.
            let waiting = self.mail.as_ref().map(|(_, c, _)| {
                sys::poll::readable(&[c.as_fd()], Some(Duration::ZERO)).is_ok_and(|r| r == [true])
            });
            if waiting == Some(true) {
                self.hear_mail()?;
            }
            self.end_of_mail();
            self.go_on()?;
        }
        let served = self.mail.is_some();
        let mut newest_died = None;
        let count = self.delivers.len();
        let mut index = 0;
        self.delivers.retain_mut(|role| {
            index += 1;
            match role.child.try_wait() {
                Ok(Some(status)) => {
                    // Also one that was told to stop by somebody else. Without a mail role it
                    // ends by itself, and comes again with it.
                    if index == count && (!status.success() || served) {
                        newest_died = Some((role.name, role.child.id(), status));
                    }
                    false
                }
                _ => true,
            }
        });
        if let Some((role, pid, status)) = newest_died {
            if self.deliver_since.elapsed() > Duration::from_secs(60) {
                self.deliver_pause = 1;
            }
            let pause = self.deliver_pause;
            self.say.say(&RoleEnded { role: role.into(), pid, how: how(status), pause });
            // The mail role reports what was under way as deferred, and waits for the new one.
            self.deliver_again = Some(Instant::now() + Duration::from_secs(pause));
            self.deliver_pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    fn end_of_mail(&mut self) {
        let Some((mut role, channel, since)) = self.mail.take() else { return };
        drop(channel);
        // It closed its end, so it is ending. One that does not must not keep everybody waiting.
        end_by(&mut role, Instant::now() + PATIENCE);
        let status = role.child.wait();
        self.fault = status.as_ref().ok().and_then(|s| s.signal()).filter(|s| sys::signals::is_fault(*s));
        self.early_faults += u32::from(self.fault.is_some() && !self.ever_ready);
        let how = status.map_or_else(|e| e.to_string(), how);
        if since.elapsed() > Duration::from_secs(60) {
            self.pause = 1;
        }
        if self.ever_ready || self.may_try_again() {
            let (role, pid) = (role.name.to_string(), role.child.id());
            self.say.say(&RoleEnded { role, pid, how, pause: self.pause });
            self.schedule_restart();
        }
    }

    /// A fault may be that of one message, which the next one knows how to set aside.
    fn may_try_again(&self) -> bool {
        self.fault.is_some() && self.early_faults <= MOST_EARLY_FAULTS
    }

    /// After the end of the mail role: one that never worked ends the program, and says why.
    fn go_on(&mut self) -> Result<(), ExitCode> {
        if self.ever_ready || self.start_again.is_some() {
            return Ok(());
        }
        Err(self.give_up("the mail role ended before it was ready".into()))
    }

    fn schedule_restart(&mut self) {
        self.start_again = Some(Instant::now() + Duration::from_secs(self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn reload(&mut self) {
        let plan = match Plan::read(&self.directory) {
            Ok(plan) if plan.queue == self.plan.queue => plan,
            Ok(_) => {
                let what = "queue_directory changed; stop and start the system instead".to_string();
                return self.say.say(&ReloadRefused { what });
            }
            Err(what) => return self.say.say(&ReloadRefused { what }),
        };
        if let Err(what) = self.listeners.change(&plan.wanted, plan.backlog, &self.say) {
            return self.say.say(&ReloadRefused { what });
        }
        if let Err(what) = self.spawned.change(&plan.spawned, plan.backlog, &self.say) {
            return self.say.say(&ReloadRefused { what });
        }
        for note in &plan.notes {
            self.say.say(&Note { what: note.clone() });
        }
        if plan.sink != self.plan.sink
            && let Err(what) = plan.install_log(false)
        {
            self.say.say(&Note { what });
        }
        self.plan = plan;
        let told = match &self.mail {
            Some((_, channel, _)) => channel.send(&Order::Reload.encode(), &[]).is_ok(),
            None => false,
        };
        if told {
            self.reloading = true;
            if let Err(what) = self.equip() {
                self.say.say(&RoleNotStarted { role: "deliver".into(), what });
            }
        }
    }

    /// The mail role ends by itself once what is under way is written down; the rest is ended.
    fn stop(&mut self) {
        let limit = Instant::now() + PATIENCE;
        if let Some((mut role, channel, _)) = self.mail.take() {
            let _ = channel.send(&Order::Drain.encode(), &[]);
            end_by(&mut role, limit);
        }
        for mut role in std::mem::take(&mut self.delivers) {
            end_by(&mut role, limit);
        }
    }

    fn give_up(&mut self, what: String) -> ExitCode {
        self.say.say(&CannotStart { what: what.clone() });
        if let Some(mut pipe) = self.report.take() {
            let _ = pipe.write_all(format!("postfix/master: fatal: {what}\n").as_bytes());
        }
        self.stop();
        ExitCode::FAILURE
    }
}

/// Whether a mail role holds the queue.
fn is_in_use(queue: &Path) -> bool {
    // The directory is the mail user's: whatever it holds must not make root wait.
    let flags = sys::host::O_NOFOLLOW | sys::host::O_NONBLOCK;
    let lock = std::fs::File::options().read(true).custom_flags(flags).open(queue.join("valija/lock"));
    lock.and_then(|file| sys::durable::lock(file, false)).is_ok_and(|lock| lock.is_none())
}

/// Waits for a role until `limit`, then kills it.
fn end_by(role: &mut Role, limit: Instant) {
    while matches!(role.child.try_wait(), Ok(None)) {
        if Instant::now() >= limit {
            let _ = role.child.kill();
            let _ = role.child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn how(status: std::process::ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}
