//! An instance of a mail system in a folder of its own: its configuration, start and stop.
//!
//! All systems get the same `main.cf` and `master.cf`, Debian's; `tuned` adds what is known to make
//! Postfix faster while it stays durable and logs. What Postfix needs to be told about its own
//! programs valija does not get, and valija's own settings are not tuned at all.

use crate::namespace;
use crate::options::Options;
use crate::usage;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which system, and how it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Postfix with everything that helps.
    Postfix,
    /// Postfix as Debian has it.
    Debian,
    /// This project.
    Valija,
}

impl System {
    /// Its name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            System::Postfix => "postfix",
            System::Debian => "debian",
            System::Valija => "valija",
        }
    }
}

/// A running system.
pub struct Mta {
    /// Which.
    pub system: System,
    /// Where it listens.
    pub address: SocketAddrV4,
    child: Child,
    folder: PathBuf,
    control: PathBuf,
    /// Its first process.
    pub root: u32,
}

const COMMON: &str = "\
compatibility_level = 3.6
myhostname = mta.bench.test
mydestination = local.test, localhost
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
inet_interfaces = loopback-only
alias_maps =
alias_database =
biff = no
maillog_file_prefixes = /tmp, /var, /dev
message_size_limit = 50000000
mailbox_size_limit = 0
";

const TUNED: &str = "\
default_process_limit = 200
max_use = 10000
max_idle = 600s
ipc_idle = 600s
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtpd_client_event_limit_exceptions = static:all
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_delay_reject = no
local_recipient_maps =
initial_destination_concurrency = 20
default_destination_concurrency_limit = 20
default_destination_concurrency_negative_feedback = 0
smtp_destination_concurrency_limit = 20
smtp_connection_cache_on_demand = yes
smtp_connection_reuse_count_limit = 0
smtp_connection_reuse_time_limit = 600s
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
address_verify_map =
smtpd_timeout = 300s
";

const POSTFIX: &str = "\
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
multi_instance_enable = yes
";

/// Builds valija as it is installed, below the folder; gives the tree.
pub fn build(options: &Options) -> Result<PathBuf, String> {
    let tree = options.folder.join("tree");
    make(&options.folder)?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("building valija ...");
    let status = Command::new("make")
        .args(["-s", "install", &format!("DESTDIR={}", tree.display())])
        .current_dir(&project)
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("make: {e}"))?;
    if status.success() { Ok(tree) } else { Err(format!("make install in {}: {status}", project.display())) }
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("make {}: {e}", folder.display()))?;
    // The mail owner must get through.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(|e| format!("{}: {e}", folder.display()))
}

/// Configures and starts a system; `settings` are further lines of main.cf.
pub fn start(system: System, port: u16, settings: &str, options: &Options) -> Result<Mta, String> {
    start_with(system, port, settings, options, &|_| Ok(()))
}

/// The same; `prepare` gets the folder of the configuration before the start.
pub fn start_with(
    system: System,
    port: u16,
    settings: &str,
    options: &Options,
    prepare: &dyn Fn(&Path) -> Result<(), String>,
) -> Result<Mta, String> {
    let folder = options.folder.join(system.name());
    let _ = fs::remove_dir_all(&folder);
    let etc = folder.join("etc");
    for part in ["etc", "queue", "data"] {
        make(&folder.join(part))?;
    }
    make(&folder)?;
    let owner = Command::new("chown").arg("postfix").arg(folder.join("data")).status();
    if !owner.is_ok_and(|s| s.success()) {
        return Err("chown postfix: the user postfix is needed (apt-get install postfix)".into());
    }
    let master = fs::read_to_string("/usr/share/postfix/master.cf.dist")
        .map_err(|e| format!("/usr/share/postfix/master.cf.dist: {e}: install Debian's package postfix"))?;
    let mut lines = String::new();
    for line in master.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["smtp", "inet", rest @ ..] => {
                lines.push_str(&format!("127.0.0.1:{port} inet {}\n", rest.join(" ")))
            }
            [name, kind, private, user, "y", rest @ ..]
                if !line.starts_with(['#', ' ', '\t']) && system != System::Debian =>
            {
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
    let mut main = format!(
        "{COMMON}queue_directory = {0}/queue\ndata_directory = {0}/data\nmaillog_file = {0}/log\n",
        folder.display()
    );
    if system != System::Debian {
        main.push_str(TUNED);
    }
    if system != System::Valija {
        main.push_str(POSTFIX);
        main.push_str(&format!("multi_instance_name = postfix-load-{}\n", system.name()));
    }
    main.push_str(settings);
    for line in &options.main {
        main.push_str(line);
        main.push('\n');
    }
    for (name, text) in [("main.cf", &main), ("master.cf", &lines)] {
        fs::write(etc.join(name), text).map_err(|e| format!("{}: {e}", etc.join(name).display()))?;
    }
    prepare(&etc)?;
    let control = match system {
        System::Valija => namespace::tree()?.join("usr/sbin/postfix"),
        _ => "/usr/sbin/postfix".into(),
    };
    let said = folder.join("said");
    let output = fs::File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
    let errors = output.try_clone().map_err(|e| e.to_string())?;
    let child = Command::new(&control)
        .arg("-c")
        .arg(&etc)
        .arg("start-fg")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("{}: {e}", control.display()))?;
    let root = child.id();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut mta = Mta { system, address, child, folder, control, root };
    mta.wait(&said)?;
    Ok(mta)
}

impl Mta {
    /// Until it greets.
    fn wait(&mut self, said: &Path) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = fs::read_to_string(said).unwrap_or_default();
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!(
                    "{} ended at its start: {status}\n{said}{}",
                    self.system.name(),
                    tail.join("\n")
                ));
            }
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let mut line = String::new();
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let read = BufReader::new(&stream).read_line(&mut line);
                let _ = stream.write_all(b"QUIT\r\n");
                if read.is_ok() && line.starts_with("220") {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "{} does not listen on {}; see {}",
            self.system.name(),
            self.address,
            self.folder.display()
        ))
    }

    /// The folder with its log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it cost so far.
    pub fn usage(&self) -> usage::Usage {
        usage::now(self.root)
    }

    /// Its memory, kB, and its processes.
    pub fn memory(&self) -> (u64, usize) {
        usage::memory(self.root)
    }
}

impl Drop for Mta {
    fn drop(&mut self) {
        let mut stop = Command::new(&self.control);
        stop.arg("-c").arg(self.folder.join("etc")).arg("stop");
        let _ = stop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The namespace ends with us anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
