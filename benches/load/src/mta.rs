//! An instance of a mail system in a folder of its own: its configuration, start and stop.
//!
//! All systems get the same `main.cf` and `master.cf`, Debian's; [`tuned`] adds what is known to make
//! Postfix faster while it stays durable and logs. What Postfix needs to be told about its own
//! programs valija does not get, and valija's own settings are not tuned at all.

use crate::namespace;
use crate::options::Options;
use crate::tuned::{self, COMMON, POSTFIX, TUNED};
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
            System::Postfix => "tuned",
            System::Debian => "debian",
            System::Valija => "valija",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Result<System, String> {
        match name {
            "tuned" | "postfix" => Ok(System::Postfix),
            "debian" => Ok(System::Debian),
            "valija" => Ok(System::Valija),
            other => Err(format!("{other:?} is none of tuned, debian, valija")),
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
    configure(system, &folder, port, settings, options)?;
    prepare(&folder.join("etc"))?;
    Ok(launch(system, &folder, port)?.0)
}

/// Writes the configuration; the folder begins empty.
fn configure(
    system: System,
    folder: &Path,
    port: u16,
    settings: &str,
    options: &Options,
) -> Result<(), String> {
    let _ = fs::remove_dir_all(folder);
    for part in ["etc", "queue", "data"] {
        make(&folder.join(part))?;
    }
    make(folder)?;
    let owner = Command::new("chown").arg("postfix").arg(folder.join("data")).status();
    if !owner.is_ok_and(|s| s.success()) {
        return Err("chown postfix: the user postfix is needed (apt-get install postfix)".into());
    }
    settle(system, folder, port, settings, options)
}

/// Writes main.cf and master.cf into a folder that may have a queue already.
pub fn settle(
    system: System,
    folder: &Path,
    port: u16,
    settings: &str,
    options: &Options,
) -> Result<(), String> {
    let etc = folder.join("etc");
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
    // Debian has it as a comment; the connections over TLS that are used again are its.
    if system == System::Postfix {
        lines.push_str("tlsproxy unix - - n - 0 tlsproxy\n");
    }
    let mut main = format!(
        "{COMMON}queue_directory = {0}/queue\ndata_directory = {0}/data\nmaillog_file = {0}/log\n",
        folder.display()
    );
    if system == System::Postfix || system == System::Valija && !options.untuned {
        main.push_str(&tuned::lines(TUNED));
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
    let main = last_of_each(&main);
    for (name, text) in [("main.cf", &main), ("master.cf", &lines)] {
        fs::write(etc.join(name), text).map_err(|e| format!("{}: {e}", etc.join(name).display()))?;
    }
    Ok(())
}

/// Of a parameter that is there again the last line alone, as a tidy administrator would leave it: Postfix warns of the others
/// in every process.
fn last_of_each(main: &str) -> String {
    let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_string();
    let lines: Vec<&str> = main.lines().collect();
    let last = |(n, line): &(usize, &&str)| !lines.iter().skip(n + 1).any(|later| name(later) == name(line));
    lines.iter().enumerate().filter(last).map(|(_, line)| format!("{line}\n")).collect()
}

/// Starts what is configured; gives the time until it greeted, too.
pub fn launch(system: System, folder: &Path, port: u16) -> Result<(Mta, Duration), String> {
    let control = match system {
        System::Valija => namespace::tree()?.join("usr/sbin/postfix"),
        _ => "/usr/sbin/postfix".into(),
    };
    let said = folder.join("said");
    let output = fs::File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
    let errors = output.try_clone().map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let child = Command::new(&control)
        .arg("-c")
        .arg(folder.join("etc"))
        .arg("start-fg")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("{}: {e}", control.display()))?;
    let root = child.id();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut mta = Mta { system, address, child, folder: folder.into(), control, root };
    mta.wait(&said)?;
    Ok((mta, begun.elapsed()))
}

impl Mta {
    /// Until it greets.
    fn wait(&mut self, said: &Path) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(60);
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
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(format!(
            "{} does not listen on {}; see {}",
            self.system.name(),
            self.address,
            self.folder.display()
        ))
    }

    /// A command of this system, told which instance.
    pub fn command(&self, name: &str) -> Command {
        let program = match self.system {
            System::Valija => self.control.with_file_name("../bin").join(name),
            _ => Path::new("/usr/bin").join(name),
        };
        let mut command = Command::new(program);
        command.env("MAIL_CONFIG", self.folder.join("etc"));
        command
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
        let end = Instant::now() + Duration::from_secs(20);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_wins_over_an_earlier_one() {
        assert_eq!(last_of_each("a = 1\nb = 2\na = 3\n"), "b = 2\na = 3\n");
    }
}
