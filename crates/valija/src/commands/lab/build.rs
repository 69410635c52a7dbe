//! Building the lab, and finding one that runs. Each host hangs on one `unshare` process, which holds its namespaces and
//! ends with its standard input; the other end of that is held here and by nobody else. So the lab ends with the process
//! that built it, however that ends, and what was made (devices, mounts, files in memory) ends with the namespaces.

use super::plan::{self, DNS, HOSTS, Host, NAMES, NETWORKS, Product, Side, USERS};
use config::programs::{self, Program};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `ps` shows of a host, and what it is found by: this word, the host's name, what the lab is for, its number.
const MARK: &str = "valija-lab-host";
const SCRIPT: &str = include_str!("host.sh");
/// valija's programs as a host sees them come first.
pub(super) const PATH: &str = "/mnt/valija/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a lab is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be entered.
    Open,
    /// To play a case.
    Case,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Open => "open",
            Purpose::Case => "case",
        }
    }
}

/// A lab that this process built; dropping it ends it.
pub(super) struct Lab {
    /// What tells it from others: the number of this process.
    pub(super) number: u32,
    purpose: Purpose,
    hosts: Vec<Child>,
}

/// A running host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) lab: u32,
    /// Whether the lab is there to be entered.
    pub(super) open: bool,
    /// The process that holds its namespaces.
    pub(super) process: u32,
}

/// What the machine must have, or what is missing and how to get it.
pub(super) fn requirements(products: &[Product]) -> Result<(), String> {
    if sys::users::identities().euid != 0 {
        return Err("the lab makes network namespaces, which only root may: sudo valija lab".into());
    }
    for (program, package) in
        [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux"), ("setpriv", "util-linux")]
    {
        let there = PATH.split(':').any(|folder| Path::new(folder).join(program).is_file());
        if !there {
            return Err(format!("{program} is not installed; apt-get install {package}"));
        }
    }
    if products.contains(&Product::Postfix) && !postfix_is_installed() {
        return Err(
            "there is no Postfix on this machine to compare with; apt-get install postfix, or leave \
                    that host to valija"
                .into(),
        );
    }
    Ok(())
}

/// Whether Debian's Postfix is there, and not replaced by valija.
pub(super) fn postfix_is_installed() -> bool {
    let command = Path::new("/usr/sbin/postfix").canonicalize();
    Path::new("/usr/lib/postfix/sbin/master").is_file()
        && Path::new("/usr/share/postfix/master.cf.dist").is_file()
        && command.is_ok_and(|path| path.file_name().is_some_and(|name| name == "postfix"))
}

impl Lab {
    /// Builds the hosts of these names, and waits until their mail systems run.
    pub(super) fn build(
        names: &[&str],
        purpose: Purpose,
        (first, second): (Product, Product),
    ) -> Result<Lab, String> {
        let programs = Programs::find()?;
        let mut lab = Lab { number: std::process::id(), purpose, hosts: Vec::new() };
        let chosen = HOSTS.iter().filter(|host| names.contains(&host.name));
        let mut building = Vec::new();
        for host in std::iter::once(&NAMES).chain(chosen) {
            let kind = match host.side {
                Side::Names => "names",
                Side::Client => "client",
                Side::First => word(first),
                Side::Second => word(second),
            };
            building.push((host, lab.begin(host, kind, &programs)?));
        }
        let mut wire = 0;
        for (number, (host, answers)) in building.iter_mut().enumerate() {
            expect(answers, "built", host)?;
            let process = lab.hosts.get(number).map_or(0, Child::id);
            match host.side {
                Side::Names => {
                    wire = process;
                    batch(wire, "link add wire type bridge\nlink set wire up\n")?;
                    batch(wire, &device(host, "wire"))?;
                }
                _ => {
                    let port = format!("to-{}", host.name);
                    batch(
                        wire,
                        &format!(
                            "link add {port} type veth peer name eth0 netns {process}\n\
                             link set {port} master wire\nlink set {port} up\n"
                        ),
                    )?;
                    batch(process, &device(host, "eth0"))?;
                }
            }
            let input = lab.hosts.get_mut(number).and_then(|child| child.stdin.as_mut());
            if let Some(input) = input {
                input.write_all(b"go\n").map_err(|error| format!("{}: {error}", host.name))?;
            }
        }
        for (host, answers) in &mut building {
            expect(answers, "ready", host)?;
        }
        Ok(lab)
    }

    fn begin(
        &mut self,
        host: &Host,
        kind: &str,
        programs: &Programs,
    ) -> Result<impl BufRead + use<>, String> {
        let mut child = Command::new("unshare")
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
            .args([SCRIPT, MARK, host.name, self.purpose.word(), &self.number.to_string()])
            .env_clear()
            .env("PATH", PATH)
            .env("KIND", kind)
            .env("NAME", host.name)
            .env("FQDN", host.fqdn)
            .env("DNS", DNS)
            .env("USERS", USERS)
            .env("VALIJA", &programs.valija)
            .env("MASTER", &programs.master)
            .env("POSTDROP", &programs.postdrop)
            .env("SETUP", host.setup)
            .env("SETTINGS", host.settings)
            .env("ALIASES", host.aliases)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let output = child.stdout.take().ok_or("unshare: no output")?;
        self.hosts.push(child);
        Ok(BufReader::new(output))
    }

    /// Whether all its hosts live.
    pub(super) fn lives(&mut self) -> bool {
        self.hosts.iter_mut().all(|host| matches!(host.try_wait(), Ok(None)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts.iter_mut().for_each(|host| drop(host.stdin.take()));
        for host in &mut self.hosts {
            let _ = host.wait();
        }
    }
}

fn word(product: Product) -> &'static str {
    match product {
        Product::Valija => "valija",
        Product::Postfix => "postfix",
    }
}

/// Waits for a word of a host's script. What went wrong it has told on standard error.
fn expect(answers: &mut impl BufRead, word: &str, host: &Host) -> Result<(), String> {
    let mut line = String::new();
    let read = answers.read_line(&mut line);
    if read.is_ok() && line.trim_end() == word {
        return Ok(());
    }
    Err(format!("the host {} could not be built (what went wrong stands above)", host.name))
}

/// Where valija's programs are, for every host the same.
struct Programs {
    valija: PathBuf,
    master: PathBuf,
    postdrop: PathBuf,
}

impl Programs {
    fn find() -> Result<Programs, String> {
        Ok(Programs {
            valija: std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?,
            master: programs::find(Program::Master, None)?,
            postdrop: programs::find(Program::Postdrop, None)?,
        })
    }
}

/// The addresses of a host and the ways to the other networks, which lie on the same wire: lines for `ip -batch`.
fn device(host: &Host, name: &str) -> String {
    let mut lines = String::new();
    for address in host.addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        lines.push_str(&format!("address add {address} dev {name}{nodad}\n"));
    }
    lines.push_str(&format!("link set {name} up\n"));
    for network in NETWORKS {
        let near = |address: &&str| {
            let (stem, _) =
                network.split_once(".0").or_else(|| network.split_once("::")).unwrap_or((network, ""));
            address.starts_with(stem)
        };
        let family = |address: &&str| address.contains(':') == network.contains(':');
        if !host.addresses.iter().any(near) && host.addresses.iter().any(family) {
            lines.push_str(&format!("route add {network} dev {name}\n"));
        }
    }
    lines
}

/// `ip -batch` in the network namespace of a process.
fn batch(process: u32, lines: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("nsenter, ip: {error}");
    let mut child = Command::new("nsenter")
        .args([&format!("--net=/proc/{process}/ns/net"), "ip", "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).map_err(failed)?;
    }
    match child.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(format!("the network could not be built; `ip -batch` got:\n{lines}")),
    }
}

/// The hosts of all labs that run on this machine. Only root's processes count: anybody may call theirs as they like.
pub(super) fn running() -> Vec<Found> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let owner = std::fs::metadata(entry.path()).map(|m| std::os::unix::fs::MetadataExt::uid(&m));
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        if !owner.is_ok_and(|uid| uid == 0) || !line.starts_with(b"unshare\0") {
            continue;
        }
        if let Some((name, open, lab)) = marked(&line) {
            found.push(Found { name, lab, open, process });
        }
    }
    found
}

/// Name, whether it may be entered, and lab, if a command line is that of a host.
fn marked(line: &[u8]) -> Option<(String, bool, u32)> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split('\0').skip_while(|word| *word != MARK).skip(1);
    let (name, purpose, lab) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    let known = plan::host(name).is_some() || name == NAMES.name;
    known.then(|| (name.to_string(), purpose == Purpose::Open.word(), lab))
}

/// A command that will run in a host, as a user.
pub(super) fn inside(process: u32, user: &str) -> Command {
    let home = if user == "root" { "/root".to_string() } else { format!("/home/{user}") };
    let mut command = Command::new("nsenter");
    for (flag, name) in [("mount", "mnt"), ("uts", "uts"), ("net", "net"), ("pid", "pid_for_children")] {
        command.arg(format!("--{flag}=/proc/{process}/ns/{name}"));
    }
    command.args(["--", "env", "-i", &format!("PATH={PATH}")]);
    command.args([format!("HOME={home}"), format!("USER={user}"), format!("LOGNAME={user}")]);
    for name in ["TERM", "LANG"] {
        command.args(std::env::var(name).map(|value| format!("{name}={value}")));
    }
    if user != "root" {
        command.args(["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_their_command_line() {
        let line = |words: &str| {
            let all = format!("unshare --mount sh -c script {MARK} {words}");
            all.replace(' ', "\0").into_bytes()
        };
        assert_eq!(marked(&line("mail1 open 77 ")), Some(("mail1".into(), true, 77)));
        assert_eq!(marked(&line("mail1 case 78 ")), Some(("mail1".into(), false, 78)));
        assert_eq!(marked(&line("mail1 open x")), None);
        assert_eq!(marked(&line("/etc open 77")), None);
    }

    #[test]
    fn devices_lead_to_all_networks_of_their_kind() {
        let lines = device(plan::host("maquina").unwrap(), "eth0");
        assert_eq!(
            lines,
            "address add 192.168.1.30/24 dev eth0\nlink set eth0 up\nroute add 10.77.0.0/16 dev eth0\n"
        );
        assert!(!device(plan::host("avatar").unwrap(), "eth0").contains("route"));
    }
}
