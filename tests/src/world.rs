//! A world: a host of its own made of namespaces, with Postfix or valija on it. The thread that makes a world moves into
//! it; from then on its files, sockets and commands are the world's.

use crate::log::Log;
use crate::scenario::Host;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whose programs are installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    /// Debian's Postfix: the one that knows.
    Postfix,
    /// Ours.
    Valija,
}

/// The users of every world: name, uid, full name.
const USERS: &str = "debian:1000:Debian\njose:1001:Jose Domingo\nusuario:1002:Usuario\nalumno:1003:Alumno\njosedom24:1004:Jose\nvmail:5000:Virtual mail";

/// Where the world's syslog listens.
pub const SYSLOG: &str = "/dev/log";

/// Where the name server of a scenario with a zone is.
pub const NAME_SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 53));

/// How long anything may take before it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A world, entered by the thread that made it; it ends when dropped.
pub struct World {
    /// What its programs say.
    pub log: Log,
    /// Whose programs.
    pub product: Product,
    addresses: Vec<(IpAddr, u8)>,
    _first: First,
}

/// The output of a command and how it ended.
pub struct Output {
    /// Standard output and error, as they came.
    pub text: String,
    /// The exit status; 128 + signal if killed.
    pub status: i32,
}

/// The first process of a world, from which its namespaces hang.
pub struct First {
    process: Child,
}

impl First {
    /// Starts building a world with these devices (lines for `ip -batch`): the host's own, and those of the namespace
    /// `outside`, which is made when there are any.
    pub fn build(host: &Host, tree: Option<&Path>, inside: &str, outside: &str) -> Result<First, String> {
        let hide = if tree.is_some() { packaged()? } else { String::new() };
        let process = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
            ])
            .arg(include_str!("world.sh"))
            .env_clear()
            .env("PATH", PATH)
            .env("FQDN", &host.fqdn)
            .env("USERS", USERS)
            .env("TREE", tree.unwrap_or(Path::new("")))
            .env("HIDE", hide)
            .env("INSIDE", inside)
            .env("OUTSIDE", outside)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare (package util-linux): {error}"))?;
        Ok(First { process })
    }

    /// Waits until it is built.
    pub fn ready(&mut self) -> Result<(), String> {
        let mut answer = String::new();
        if let Some(output) = self.process.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut answer);
        }
        if answer == "ready\n" {
            return Ok(());
        }
        Err("the world could not be built (see above); it needs root and the packages of tests/README.md"
            .into())
    }

    /// The process that made the namespaces.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for First {
    fn drop(&mut self) {
        drop(self.process.stdin.take()); // the first process ends, and with it everything in its pid namespace
        let _ = self.process.wait();
    }
}

impl World {
    /// Moves the calling thread into a world, for good. `threads` starts further threads in it: afterwards the kernel
    /// allows no more.
    pub fn join<T>(
        first: First,
        product: Product,
        host: &Host,
        threads: impl FnOnce() -> Result<T, String>,
    ) -> Result<(World, T), String> {
        let (log, started) = join(first.id(), || {
            let log = Log::listen(SYSLOG).map_err(|error| format!("{SYSLOG}: {error}"))?;
            Ok((log, threads()?))
        })?;
        Ok((World { log, product, addresses: host.addresses.clone(), _first: first }, started))
    }

    /// Writes the configuration and the files of a host; `resolver` is its resolv.conf, if there is a name server.
    pub fn furnish(&self, host: &Host, resolver: Option<&str>) -> Result<(), String> {
        let mut master =
            fs::read_to_string("/usr/share/postfix/master.cf.dist").map_err(|error| error.to_string())?;
        master.push_str(&host.master_cf);
        let mut hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        hosts.push_str(&host.hosts);
        put("/etc/postfix/main.cf", host.main_cf.as_bytes(), 0o644)?;
        put("/etc/postfix/master.cf", master.as_bytes(), 0o644)?;
        put("/etc/hosts", hosts.as_bytes(), 0o644)?;
        if let Some(resolver) = resolver {
            put("/etc/resolv.conf", resolver.as_bytes(), 0o644)?;
        }
        if self.product == Product::Postfix {
            put("/var/spool/postfix/etc/hosts", hosts.as_bytes(), 0o644)?;
            if let Some(resolver) = resolver {
                put("/var/spool/postfix/etc/resolv.conf", resolver.as_bytes(), 0o644)?;
            }
        }
        put("/etc/mailname", format!("{}\n", host.mailname).as_bytes(), 0o644)?;
        put("/etc/aliases", b"# See man 5 aliases for format\npostmaster:    root\n", 0o644)?;
        if let Some(conf) = &host.dovecot {
            crate::dovecot::furnish(conf, USERS)?;
        }
        for file in &host.files {
            put(&file.path, &file.content, if file.executable { 0o755 } else { 0o644 })?;
            if let Ok(below) = file.path.strip_prefix("/home")
                && let Some(user) = below.iter().next().and_then(|user| user.to_str())
            {
                self.expect_success("root", &format!("chown -R {user}: /home/{user}"))?;
            }
        }
        Ok(())
    }

    /// Starts the mail system and waits until it says that it is up.
    pub fn start(&self) -> Result<(), String> {
        let before = self.log.lines().iter().filter(|line| is_start(line)).count();
        self.expect_success("root", "newaliases && postfix start")?;
        self.log.wait("the mail system to say that it started", PATIENCE, |lines| {
            lines.iter().filter(|line| is_start(line)).count() > before
        })
    }

    /// Runs a shell command as a user, in their home.
    pub fn run(&self, user: &str, command: &str) -> Result<Output, String> {
        self.run_within(user, command, 2 * PATIENCE)
    }

    /// The same, with so much time.
    pub fn run_within(&self, user: &str, command: &str, limit: Duration) -> Result<Output, String> {
        let failed = |error: std::io::Error| format!("{command}: {error}");
        let home = if user == "root" { "/root".to_string() } else { format!("/home/{user}") };
        let mut output = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open("/mnt/output")
            .map_err(failed)?;
        let mut process = match user {
            "root" => Command::new("timeout"),
            _ => {
                let mut process = Command::new("setpriv");
                process.args([
                    &format!("--reuid={user}"),
                    &format!("--regid={user}"),
                    "--init-groups",
                    "timeout",
                ]);
                process
            }
        };
        let status = process
            .args(["-k", "2", &limit.as_secs().to_string(), "bash", "-c", command])
            .env_clear()
            .envs([
                ("PATH", PATH),
                ("HOME", home.as_str()),
                ("USER", user),
                ("LOGNAME", user),
                ("LANG", "C.UTF-8"),
                ("TERM", "dumb"),
            ])
            .current_dir(if Path::new(&home).is_dir() { &home } else { "/" })
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output.try_clone().map_err(failed)?)
            .status()
            .map_err(failed)?;
        let mut text = Vec::new();
        output.rewind().map_err(failed)?;
        output.read_to_end(&mut text).map_err(failed)?;
        let status = status
            .code()
            .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0));
        Ok(Output { text: String::from_utf8_lossy(&text).into_owned(), status })
    }

    /// Runs a command that must end well.
    pub fn expect_success(&self, user: &str, command: &str) -> Result<(), String> {
        match self.run(user, command)? {
            Output { status: 0, .. } => Ok(()),
            Output { status, text } => {
                Err(format!("`{command}` as {user} ended with {status} and said:\n{text}"))
            }
        }
    }

    /// Repeats a command until it ends well.
    pub fn until(&self, command: &str) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Output { status, text } = self.run("root", command)?;
            if status == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!(
                    "waited {PATIENCE:?} in vain; the last time `{command}` ended with {status} and said:\n{text}"
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Connects to the mail system, or to another host: from outside when the address is not one of the loopback's.
    pub fn connect(&self, from: &str, to: Option<&str>, port: u16) -> Result<TcpStream, String> {
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("{text} is no address"));
        let source = address(from)?;
        let own = self.addresses.iter();
        let target = match to {
            Some(text) => address(text)?,
            None if source.is_loopback() => source,
            None => own
                .clone()
                .find(|(own, prefix)| network(*own, *prefix) == network(source, *prefix))
                .or_else(|| own.clone().find(|(own, _)| own.is_ipv4() == source.is_ipv4()))
                .map(|(own, _)| *own)
                .ok_or_else(|| format!("the host has no address that {source} could reach"))?,
        };
        if source.is_loopback() {
            return dial(source, SocketAddr::new(target, port));
        }
        enter_network("/run/netns/outside")?;
        let stream = dial(source, SocketAddr::new(target, port));
        enter_network("/proc/1/ns/net")?;
        stream
    }

    /// Waits until the queue is empty, as after a flush of what was deferred.
    pub fn empty(&self) -> Result<(), String> {
        let (mut end, mut least) = (Instant::now() + PATIENCE, usize::MAX);
        loop {
            let queue = self.run("root", "postqueue -p")?;
            if queue.text == "Mail queue is empty\n" {
                return self.settle();
            }
            // One that shrinks is on its way: a busy machine takes its time.
            if queue.text.len() < least {
                (end, least) = (Instant::now() + PATIENCE, queue.text.len());
            }
            if Instant::now() > end {
                return Err(format!("the queue does not become empty:\n{}", queue.text));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until what was deferred lies where a flush finds it, shortly after the log says so.
    fn await_inactive(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(2);
        let deferred =
            |line: &crate::log::Line| crate::log::WAITS.iter().any(|words| line.text.contains(words));
        if !self.log.lines().iter().any(deferred) {
            return Ok(());
        }
        let active = || match self.product {
            Product::Postfix => {
                Ok(fs::read_dir("/var/spool/postfix/active").is_ok_and(|mut files| files.next().is_some()))
            }
            Product::Valija => self
                .run("root", "postqueue -j")
                .map(|queue| queue.text.contains("\"queue_name\": \"active\"")),
        };
        while active()? && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until every message is gone, held or deferred, and the drop folder empty.
    pub fn settle(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let dropped = fs::read_dir("/var/spool/postfix/maildrop").map_or(0, Iterator::count);
            self.log.drain(SYSLOG)?;
            let open = crate::log::unsettled(&self.log.lines());
            if dropped == 0 && open.is_empty() {
                return self.await_inactive();
            }
            // Whatever could still complete one of these would itself be unsettled: they are in the queue or nowhere.
            if dropped == 0 && open.values().all(|active| !active) {
                let queue = self.run("root", "postqueue -j")?;
                self.log.drain(SYSLOG)?;
                let quiet = crate::log::unsettled(&self.log.lines()) == open;
                let held = |line: &str| line.starts_with("{\"queue_name\": \"hold\"");
                let waits = |id: &String| queue.text.lines().any(|line| line.contains(id) && !held(line));
                if quiet && queue.status == 0 && !open.keys().any(waits) {
                    return Ok(());
                }
            }
            if Instant::now() > end {
                let tail: Vec<String> =
                    self.log.lines().iter().rev().take(15).rev().map(crate::log::Line::shown).collect();
                return Err(format!(
                    "not settled: {dropped} files in maildrop, messages {:?}; the log ends:\n{}",
                    open.keys(),
                    tail.join("\n")
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.log.end(SYSLOG);
    }
}

/// Moves the calling thread into a network namespace.
pub fn enter_network(path: &str) -> Result<(), String> {
    let network = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    setns(&network, CloneFlags::CLONE_NEWNET).map_err(|error| format!("{path}: {error}"))
}

/// The network an address belongs to; none for a prefix longer than the address.
pub fn network(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let host = 32u32.checked_sub(prefix.into())?;
            let mask = u32::MAX.checked_shl(host).unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) => {
            let host = 128u32.checked_sub(prefix.into())?;
            let mask = u128::MAX.checked_shl(host).unwrap_or(0);
            Some(IpAddr::V6((u128::from(address) & mask).into()))
        }
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The programs of Debian's package.
fn packaged() -> Result<String, String> {
    let list =
        Command::new("dpkg").args(["-L", "postfix"]).output().map_err(|error| format!("dpkg: {error}"))?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let paths: Vec<&str> =
        list.lines().filter(|path| path.starts_with("/usr/sbin/") || path.starts_with("/usr/lib/")).collect();
    if paths.is_empty() {
        return Err("the package postfix is not installed".into());
    }
    // The folder of systemd's units stays.
    Ok(paths
        .into_iter()
        .filter(|path| !path.starts_with("/usr/lib/systemd") && *path != "/usr/lib/tmpfiles.d")
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Whether the supervisor says that it is up.
fn is_start(line: &crate::log::Line) -> bool {
    line.tag.ends_with("/master") && line.text.starts_with("daemon started")
}

/// Moves this thread into the namespaces that process `pid` made. `threads` starts what threads it needs: afterwards the
/// kernel allows no more, since processes that this thread starts belong to another pid namespace than itself.
fn join<T>(pid: u32, threads: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let open = |kind: &str| {
        File::open(format!("/proc/{pid}/ns/{kind}")).map_err(|error| format!("namespace {kind}: {error}"))
    };
    let (net, uts, children, mount) = (open("net")?, open("uts")?, open("pid_for_children")?, open("mnt")?);
    let enter =
        |namespace: File, kind| setns(namespace, kind).map_err(|error| format!("setns {kind:?}: {error}"));
    unshare(CloneFlags::CLONE_FS).map_err(|error| format!("unshare: {error}"))?;
    enter(net, CloneFlags::CLONE_NEWNET)?;
    enter(uts, CloneFlags::CLONE_NEWUTS)?;
    enter(mount, CloneFlags::CLONE_NEWNS)?;
    let started = threads()?;
    enter(children, CloneFlags::CLONE_NEWPID)?;
    Ok(started)
}

/// Connects from a chosen address, which the standard library cannot do. A refusal is tried again for a while: a server
/// may log its start before it listens.
fn dial(source: IpAddr, target: SocketAddr) -> Result<TcpStream, String> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
    };
    use std::os::fd::AsRawFd;
    let family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let end = Instant::now() + PATIENCE;
    loop {
        let handle = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|error| error.to_string())?;
        bind(handle.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))
            .map_err(|error| format!("{source}: {error}"))?;
        let patience = nix::sys::time::TimeVal::new(20, 0);
        setsockopt(&handle, sockopt::SendTimeout, &patience).map_err(|error| error.to_string())?;
        match connect(handle.as_raw_fd(), &SockaddrStorage::from(target)) {
            Ok(()) => return Ok(TcpStream::from(handle)),
            Err(nix::errno::Errno::ECONNREFUSED) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(error) => return Err(format!("connect to {target}: {error}")),
        }
    }
}

/// Writes a file with its folders, where the world has folders of its own (`world.sh`): never on the host.
pub(crate) fn put(path: impl AsRef<Path>, content: &[u8], mode: u32) -> Result<(), String> {
    let path: PathBuf = path.as_ref().into();
    let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
    if path.ancestors().find_map(device) == device(Path::new("/")) {
        return Err(format!(
            "{}: this folder is the host's, shared by all worlds; place the file below /srv, /etc or a home",
            path.display()
        ));
    }
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
    };
    write().map_err(|error| format!("{}: {error}", path.display()))
}
