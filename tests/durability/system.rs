//! A mail system of one identity in a folder of its own, as `./run` makes one for an ordinary user: started, stopped and
//! killed by its real programs. Root steps down to an ordinary user for it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take before it has failed. Nothing waits so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The system's programs and files.
pub struct System {
    /// Everything is below it.
    pub folder: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom it runs as and delivers to.
    pub user: User,
}

/// The processes of a running system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The supervisor.
    Master,
    /// Network and queue.
    Mail,
    /// Starts the deliveries.
    Deliver,
}

impl System {
    /// Lays it out below `folder`, which must not exist. `spool` may be elsewhere.
    pub fn make(folder: &Path, spool: Option<&Path>, more: &str) -> System {
        let user = ordinary();
        let folder = folder.to_path_buf();
        for part in ["", "etc", "bin", "mail"] {
            fs::create_dir(folder.join(part)).expect("a folder of our own");
        }
        programs(&folder.join("bin"));
        let place = folder.display();
        let spool = spool.map_or(folder.join("spool"), Path::to_path_buf);
        // Bound for a moment, so that the port is free; nobody else asks for this one soon.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let main = format!(
            "compatibility_level = 3.6\nmyhostname = drill.localdomain\nmydestination = $myhostname, localhost\n\
             mynetworks = 127.0.0.0/8\ninet_interfaces = loopback-only\nqueue_directory = {}\n\
             data_directory = {place}/data\nmail_spool_directory = {place}/mail\nalias_maps =\nalias_database =\n\
             local_recipient_maps =\nmaillog_file = {place}/mail.log\nmaillog_file_prefixes = {place}\n\
             minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n{more}",
            spool.display()
        );
        fs::write(folder.join("etc/main.cf"), main).expect("main.cf");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/master.cf");
        let master = fs::read_to_string(source).expect("packaging/master.cf");
        let ours = format!("{} inet", address.port());
        let master = master.replacen("smtp      inet", &ours, 1);
        assert!(master.contains(&ours), "packaging/master.cf has a line for smtp");
        fs::write(folder.join("etc/master.cf"), master).expect("master.cf");
        let system = System { folder, address, user };
        system.give_away(&system.folder.clone());
        system
    }

    fn give_away(&self, path: &Path) {
        let (uid, gid) = (self.user.uid.as_raw(), self.user.gid.as_raw());
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).expect("root may give files away");
        let below = fs::read_dir(path).ok().filter(|_| !path.is_symlink());
        for entry in below.into_iter().flatten().flatten() {
            self.give_away(&entry.path());
        }
    }

    /// Runs one of the commands as the system's user.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "90"]).arg(self.folder.join("bin").join(name)).args(arguments);
        command.env("MAIL_CONFIG", self.folder.join("etc")).current_dir("/");
        if nix::unistd::geteuid().is_root() {
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw());
        }
        command.output().expect("the command runs")
    }

    /// Starts it at once, whatever may still be ending.
    pub fn start(&self) {
        let output = self.command("postfix", &["start"]);
        assert!(
            output.status.success(),
            "postfix start: {}{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log_tail()
        );
    }

    /// Stops it as an administrator does.
    pub fn stop(&self) {
        let output = self.command("postfix", &["stop"]);
        assert!(output.status.success(), "postfix stop\n{}", self.log_tail());
    }

    /// The end of the log, for whoever must find out why.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.folder.join("mail.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The whole log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("mail.log")).unwrap_or_default()).into_owned()
    }

    /// The mailbox of its user.
    pub fn mailbox(&self) -> PathBuf {
        self.folder.join("mail").join(&self.user.name)
    }

    fn spool(&self) -> PathBuf {
        let main = fs::read_to_string(self.folder.join("etc/main.cf")).expect("main.cf");
        let line = main.lines().find_map(|l| l.strip_prefix("queue_directory = ")).expect("queue_directory");
        PathBuf::from(line)
    }

    /// The process that has this role now.
    pub fn process(&self, role: Role) -> Option<Pid> {
        let text = fs::read_to_string(self.spool().join("pid/master.pid")).ok()?;
        let master: i32 = text.trim().parse().ok()?;
        match role {
            // The number may be another's by now.
            Role::Master => name_of(master)?.ends_with("master").then_some(Pid::from_raw(master)),
            Role::Mail => child_of(master, "valija-mail"),
            Role::Deliver => child_of(master, "valija-deliver"),
        }
    }

    /// Kills one process and waits until it is dead; gives which it was.
    pub fn kill(&self, role: Role) -> Option<Pid> {
        let pid = self.process(role)?;
        self.kill_process(pid);
        Some(pid)
    }

    /// The same for one that is known.
    pub fn kill_process(&self, pid: Pid) {
        if kill(pid, Signal::SIGKILL).is_ok() {
            // Its parent may not have looked yet; what it held is free once it is a zombie.
            wait("a killed process to end", self, || {
                let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                text.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
            });
        }
    }

    /// Waits until a role has a process other than `old`.
    pub fn wait_for_new(&self, role: Role, old: Pid) {
        wait(&format!("a new {role:?}"), self, || self.process(role).is_some_and(|pid| pid != old));
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for role in [Role::Mail, Role::Deliver, Role::Master] {
            self.kill(role);
        }
        if std::thread::panicking() {
            eprintln!("left for whoever must find out why: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Waits for an event.
pub fn wait(what: &str, system: &System, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < end, "waited in vain for {what}\n{}", system.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn name_of(pid: i32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = line.split(|b| *b == 0).next()?;
    Some(String::from_utf8_lossy(first).into_owned())
}

fn child_of(parent: i32, name: &str) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let found = children.split_whitespace().filter_map(|p| p.parse().ok());
    found.filter(|pid| name_of(*pid).is_some_and(|n| n.ends_with(name))).map(Pid::from_raw).next_back()
}

/// The caller; for root somebody who may do nothing.
fn ordinary() -> User {
    let me = User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user");
    if !me.uid.is_root() {
        return me;
    }
    User::from_name("nobody").ok().flatten().expect("the user nobody")
}

/// Copies of the programs under all their names, where whoever runs them may read them; built anew, so that no test runs
/// the ones of yesterday; by `cargo test --release` optimized.
fn programs(folder: &Path) {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("a program");
        // target/debug/deps/durability-…
        let target = test.ancestors().nth(3).expect("cargo's target folder");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // Optimized, if the test is.
        let (profile, name) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
        let mut make = Command::new("make");
        make.args(["--silent", "build", &format!("PROFILE={profile}")]).current_dir(repository);
        let status = make.env("CARGO_TARGET_DIR", target).status().expect("make (package make)");
        assert!(status.success(), "the programs could not be built");
        target.join(name)
    });
    for name in ["valija", "valija-master", "valija-postdrop"] {
        let (from, to) = (built.join(name), folder.join(name));
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).expect("copy of a program");
    }
    for name in ["postfix", "sendmail", "mailq", "postsuper"] {
        std::os::unix::fs::symlink("valija", folder.join(name)).expect("a name");
    }
    for name in ["postdrop", "postqueue"] {
        std::os::unix::fs::symlink("valija-postdrop", folder.join(name)).expect("a name");
    }
}
