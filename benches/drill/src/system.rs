//! A mail system in a folder of its own: its configuration, start and stop, its processes and how they are killed.
//!
//! Both systems get the same `main.cf`, Debian's `master.cf` without chroot, and the same folder `disk` with queue, homes and
//! mailboxes.

use crate::account::Kill;
use crate::boxes::Found;
use crate::clock::{Pulse, now};
use crate::namespace::{self, USERS, home, make};
use crate::options::Options;
use crate::rng::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's.
    Postfix,
    /// Ours.
    Valija,
}

impl Kind {
    /// Its name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Postfix => "postfix",
            Kind::Valija => "valija",
        }
    }

    /// Who is killed, and how often in a hundred kills; `*` is everybody at once, `leaf` whoever delivers to a user just now.
    pub fn victims(self) -> &'static [(&'static str, u64)] {
        match self {
            Kind::Valija => &[("mail", 34), ("deliver", 12), ("leaf", 10), ("master", 20), ("*", 24)],
            Kind::Postfix => &[
                ("smtpd", 8),
                ("cleanup", 8),
                ("qmgr", 14),
                ("smtp", 12),
                ("local", 14),
                ("master", 20),
                ("*", 24),
            ],
        }
    }
}

/// Where the sink listens.
pub const SINK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);

/// How long anything may take before it has failed. Postfix waits a minute before it starts anew what died too soon.
pub const PATIENCE: Duration = Duration::from_secs(150);

const MAIN: &str = "\
compatibility_level = 3.6
myhostname = mta.drill.test
mydestination = local.test, localhost
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
inet_interfaces = loopback-only
relayhost = [127.0.0.1]:2525
alias_maps =
alias_database =
biff = no
disable_dns_lookups = yes
smtp_host_lookup = native
maillog_file_prefixes = /tmp, /var, /dev
message_size_limit = 3000000
mailbox_size_limit = 0
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
transport_retry_time = 1s
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
stale_lock_time = 3s
";

const POSTFIX: &str = "\
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
multi_instance_enable = yes
multi_instance_name = postfix-drill
";

/// A mail system.
pub struct System {
    /// Which.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    /// Configuration and log; what the command got.
    pub folder: PathBuf,
    /// Queue, homes and mailboxes.
    pub disk: PathBuf,
    sbin: PathBuf,
    homes: [PathBuf; 3],
    taken: PathBuf,
}

/// A process in these namespaces.
#[derive(Clone, Debug)]
struct Process {
    pid: i32,
    parent: i32,
    name: String,
}

impl System {
    /// Lays it out; `disk` is there and empty.
    pub fn lay_out(kind: Kind, options: &Options) -> Result<System, String> {
        let folder = options.folder.join(kind.name());
        let disk = options.folder.join("disk");
        let _ = fs::remove_dir_all(&folder);
        let etc = folder.join("etc");
        for part in [&folder, &etc, &disk, &disk.join("queue"), &disk.join("data"), &disk.join("home")] {
            make(part)?;
        }
        let fault = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        let spool = disk.join("mail");
        make(&spool)?;
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o1777)).map_err(|e| fault(&spool, e))?;
        let taken = Path::new(namespace::MEMORY).join(kind.name());
        fs::write(&taken, "").map_err(|e| fault(&taken, e))?;
        namespace::give(&taken, USERS[0].1)?;
        // A user finds the programs of the project's folder only where everybody may go.
        let take = folder.join("take");
        let program = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
        fs::copy(program, &take).map_err(|e| fault(&take, e))?;
        for (name, id) in USERS {
            let home = home(options, name);
            make(&home)?;
            let forward = match name {
                "drillcommand" => format!("\"|{} take {}\"\n", take.display(), taken.display()),
                "drillmaildir" => format!("{}/Maildir/\n", home.display()),
                _ => String::new(),
            };
            if !forward.is_empty() {
                fs::write(home.join(".forward"), forward).map_err(|e| fault(&home, e))?;
                namespace::give(&home.join(".forward"), id)?;
            }
            namespace::give(&home, id)?;
        }
        // Postfix' postsuper, which a start runs, writes to the log as the mail owner.
        let log = folder.join("log");
        fs::write(&log, "").map_err(|e| fault(&log, e))?;
        let chown = Command::new("chown").arg("postfix").arg(disk.join("data")).arg(&log).status();
        if !chown.is_ok_and(|s| s.success()) {
            return Err("chown postfix failed".into());
        }
        let address =
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), if kind == Kind::Postfix { 2601 } else { 2602 });
        let mut main = format!(
            "{MAIN}queue_directory = {0}/queue\ndata_directory = {0}/data\nmail_spool_directory = {0}/mail\n\
             maillog_file = {1}/log\n",
            disk.display(),
            folder.display()
        );
        if kind == Kind::Postfix {
            main.push_str(POSTFIX);
        }
        for (name, text) in [("main.cf", main), ("master.cf", master(address.port())?)] {
            fs::write(etc.join(name), text).map_err(|e| fault(&etc, e))?;
        }
        let sbin = match kind {
            Kind::Valija => namespace::tree()?.join("usr/sbin"),
            Kind::Postfix => "/usr/sbin".into(),
        };
        let homes = USERS.map(|(name, _)| home(options, name));
        Ok(System { kind, address, folder, disk, sbin, homes, taken })
    }

    /// Runs one of its commands.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "60"]).arg(self.sbin.join(name)).arg("-c").arg(self.folder.join("etc"));
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command.output().map_err(|e| format!("{name}: {e}"))
    }

    /// Starts it and waits until it greets.
    pub fn start(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let begun = Instant::now();
        loop {
            // What a daemon inherits stays open; so its output goes to a file.
            let said = fs::File::create(self.folder.join("said")).map_err(|e| e.to_string())?;
            let errors = said.try_clone().map_err(|e| e.to_string())?;
            let status = Command::new("timeout")
                .args(["-k", "5", "60"])
                .arg(self.sbin.join("postfix"))
                .arg("-c")
                .arg(self.folder.join("etc"))
                .arg("start")
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(said)
                .stderr(errors)
                .status()
                .map_err(|e| format!("postfix start: {e}"))?;
            if status.success() {
                return self.wait_for_greeting();
            }
            // The processes of a Postfix whose master was killed keep its port until their clients have gone.
            if self.kind == Kind::Valija || Instant::now() > end {
                return Err(format!("postfix start: {status}\n{}", self.tail()));
            }
            if begun.elapsed() > Duration::from_secs(10) {
                self.end(&self.processes());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it greets.
    pub fn wait_for_greeting(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.greets() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("it does not greet on {}\n{}", self.address, self.tail()))
    }

    fn greets(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let mut line = String::new();
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let read = BufReader::new(&stream).read_line(&mut line);
        let _ = stream.write_all(b"QUIT\r\n");
        read.is_ok() && line.starts_with("220")
    }

    /// Stops it as an administrator does; then nobody is left.
    pub fn stop(&self) -> Result<(), String> {
        self.command("postfix", &["stop"])?;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && !self.processes().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.end(&self.processes());
        Ok(())
    }

    /// Whether nothing waits in its queue.
    pub fn is_empty(&self) -> bool {
        let listing = self.command("postqueue", &["-p"]);
        listing.is_ok_and(|l| String::from_utf8_lossy(&l.stdout).contains("Mail queue is empty"))
    }

    /// The beginning of what waits there.
    pub fn listing(&self) -> String {
        let listing = self.command("postqueue", &["-p"]).map(|l| l.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&listing).into_owned();
        text.lines().take(12).collect::<Vec<_>>().join("\n")
    }

    /// The end of its log and of what it said.
    pub fn tail(&self) -> String {
        let mut all = String::new();
        for name in ["said", "log"] {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            all.push_str(&lines[lines.len().saturating_sub(15)..].join("\n"));
            all.push('\n');
        }
        all
    }

    /// What its users have got; also how many cut-off letters there are in the mbox.
    pub fn boxes(&self) -> (Found, u64) {
        let mut found = Found::default();
        found.taken(&self.taken);
        found.maildir(&self.homes[1].join("Maildir"));
        let torn = found.mbox(&self.disk.join("mail").join(USERS[2].0));
        (found, torn)
    }

    /// All living processes in these namespaces, but the first one and those that run this program.
    fn processes(&self) -> Vec<Process> {
        let us = std::process::id() as i32;
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
            let mut words = rest.split(' ');
            let (Some(state), Some(parent)) = (words.next(), words.next().and_then(|p| p.parse().ok()))
            else {
                continue;
            };
            // Of one that was killed the first thread is dead before others that wait for the disk, and they hold what it had open.
            let dead = || fs::read_dir(entry.path().join("task")).map_or(0, Iterator::count) <= 1;
            // The first one is the shell that started us.
            if pid == 1 || pid == us || state == "X" || (state == "Z" && dead()) {
                continue;
            }
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let first = line.split(|b| *b == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(first).rsplit('/').next().unwrap_or_default().to_string();
            all.push(Process { pid, parent, name });
        }
        all
    }

    /// Whom a name means now, and who else is alive.
    fn find(&self, who: &str, rng: &mut Rng) -> (Vec<Process>, Vec<u32>) {
        let all = self.processes();
        let alive = all.iter().map(|p| p.pid as u32).collect();
        let deliver: Vec<i32> = {
            let masters: Vec<i32> = all.iter().filter(|p| p.name == "master").map(|p| p.pid).collect();
            let roles = all.iter().filter(|p| p.name == "valija-deliver" && masters.contains(&p.parent));
            roles.map(|p| p.pid).collect()
        };
        let mut found: Vec<Process> = match (self.kind, who) {
            (_, "*") => all,
            (Kind::Valija, "deliver") => all.into_iter().filter(|p| deliver.contains(&p.pid)).collect(),
            (Kind::Valija, "leaf") => {
                let leaves = all.iter().filter(|p| p.name == "valija-deliver" && !deliver.contains(&p.pid));
                leaves.cloned().collect()
            }
            (Kind::Valija, "mail") => all.into_iter().filter(|p| p.name == "valija-mail").collect(),
            (_, role) => all.into_iter().filter(|p| p.name == role).collect(),
        };
        // Of several one, unless all are meant.
        if who != "*" && found.len() > 1 {
            found = vec![found.swap_remove(rng.below(found.len() as u64) as usize)];
        }
        // Master first, or it would start the others again.
        found.sort_by_key(|p| (p.name != "master", p.pid));
        (found, alive)
    }

    fn end(&self, processes: &[Process]) {
        for process in processes {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let living = self.processes();
            if !processes.iter().any(|p| living.iter().any(|l| l.pid == p.pid)) {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Kills somebody. Nobody of that kind may be there just now.
    pub fn kill(&self, who: &str, rng: &mut Rng) -> Option<Kill> {
        let (found, alive) = self.find(who, rng);
        if found.is_empty() {
            return None;
        }
        let before = now();
        self.end(&found);
        if who == "*" {
            // Whoever was born meanwhile.
            loop {
                let (more, _) = self.find(who, rng);
                if more.is_empty() {
                    break;
                }
                self.end(&more);
            }
        }
        Some(Kill { who: who.into(), before, after: now(), late: 0, alive })
    }

    /// Sees to it that all is up again after a kill; gives how long that took.
    pub fn revive(&self, who: &str, rng: &mut Rng) -> Result<Duration, String> {
        let begun = Instant::now();
        if matches!(who, "*" | "master") {
            self.start()?;
        } else {
            self.wait_for_greeting()?;
            let role = matches!(who, "mail" | "deliver");
            while role && self.find(who, rng).0.is_empty() {
                if begun.elapsed() > PATIENCE {
                    return Err(format!("{who} was not started again\n{}", self.tail()));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(begun.elapsed())
    }

    /// Whether a kill was under bad conditions.
    pub fn weigh(kills: &mut [Kill], pulse: &Pulse) {
        for kill in kills {
            kill.late = pulse.late_at(kill.before);
        }
    }
}

/// Debian's services, without chroot, at a port of ours.
fn master(port: u16) -> Result<String, String> {
    let path = "/usr/share/postfix/master.cf.dist";
    let text =
        fs::read_to_string(path).map_err(|e| format!("{path}: {e}: install Debian's package postfix"))?;
    let mut lines = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["smtp", "inet", private, user, _, rest @ ..] => {
                lines.push_str(&format!("127.0.0.1:{port} inet {private} {user} n {}\n", rest.join(" ")));
            }
            [name, kind, private, user, "y", rest @ ..] if !line.starts_with(['#', ' ', '\t']) => {
                lines.push_str(&format!("{name} {kind} {private} {user} n {}\n", rest.join(" ")));
            }
            _ => {
                lines.push_str(line);
                lines.push('\n');
            }
        }
    }
    if !lines.lines().any(|l| l.starts_with("postlog")) {
        lines.push_str("postlog unix-dgram n - n - 1 postlogd\n");
    }
    Ok(lines)
}
