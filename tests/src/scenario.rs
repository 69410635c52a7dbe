//! What lies in the folder of a scenario, read before its worlds exist (they may hide the folder).

use crate::debian::{self, Answers, Kind};
use crate::milter;
use crate::names::Zone;
use crate::remote::Script;
use crate::tls::Options;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file to be put into the world.
#[derive(Clone)]
pub struct Placed {
    /// Its absolute path there.
    pub path: PathBuf,
    /// Its content.
    pub content: Vec<u8>,
    /// Whether it may be executed.
    pub executable: bool,
}

/// A step as it stands in the file.
#[derive(Clone, Debug)]
pub struct Written {
    /// The number of its line.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What it asks for.
    pub step: Step,
}

impl fmt::Display for Written {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "step in line {} `{}`", self.line, self.text)
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Play `<name>.smtp`, connecting from an address, to a port.
    Smtp {
        /// The dialogue.
        name: String,
        /// The client's address.
        from: String,
        /// The server's, when it is not the host's.
        to: Option<String>,
        /// The server's port.
        port: u16,
        /// It is encrypted from the start, in this way.
        tls: Option<Options>,
    },
    /// Run a command as a user; its output is compared when it has a name, else it must succeed.
    Command {
        /// Who runs it.
        user: String,
        /// What its output is called below `expect/`.
        name: Option<String>,
        /// For the shell.
        command: String,
    },
    /// Wait until each message that was seen has left the queue or was deferred.
    Settle,
    /// Wait until no message is left.
    Empty,
    /// Wait until so many log lines contain this text.
    Wait(usize, String),
    /// Wait until this command of root's succeeds.
    Until(String),
    /// Start the mail system and wait until it says so.
    Start,
    /// Stop it and wait until it is gone.
    Stop,
    /// Start the Dovecot beside the mail system, or stop it.
    Dovecot(bool),
    /// Do one of these on another host.
    On(String, Box<Step>),
    /// Make the name server know something else.
    Zone(String),
    /// Let a scripted server listen, or no longer, or say something else.
    Server(String, Change),
}

/// What happens to a scripted server.
#[derive(Clone, Debug)]
pub enum Change {
    /// It listens.
    Up,
    /// It refuses connections.
    Down,
    /// It follows another script.
    Use(String),
}

/// A mail host: the one the scenario is about, or a further one.
#[derive(Clone)]
pub struct Host {
    /// Fully qualified name of the host.
    pub fqdn: String,
    /// Its addresses in the network, with the lengths of their prefixes; the first of each family is the one it is known by.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What `/etc/mailname` says.
    pub mailname: String,
    /// `main.cf` as generated and then edited.
    pub main_cf: String,
    /// Lines added to Debian's `master.cf`.
    pub master_cf: String,
    /// Further lines of `/etc/hosts`.
    pub hosts: String,
    /// Further lines for the configuration of the Dovecot beside the mail system, when there is one.
    pub dovecot: Option<String>,
    /// Whether the runner starts the mail system before the first step.
    pub starts: bool,
    /// Files to place.
    pub files: Vec<Placed>,
}

/// A scenario.
#[derive(Clone)]
pub struct Scenario {
    /// `<area>/<behaviour>`.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The host it is about.
    pub host: Host,
    /// Further hosts by name; each runs a Postfix.
    pub peers: BTreeMap<String, Host>,
    /// What the name server knows, if there is one: the file `zone`.
    pub zone: Option<Zone>,
    /// What it can be made to know later: `NAME.zone`.
    pub zones: BTreeMap<String, Zone>,
    /// The scripted servers and their further scripts (which listen nowhere).
    pub servers: BTreeMap<String, Script>,
    /// The scripted milters and their further scripts.
    pub milters: BTreeMap<String, milter::Script>,
    /// Whether the log's lines are only counted: many messages at once have no order.
    pub counted: bool,
    /// Whether lines that repeat themselves count once: how often something is tried depends on the clock.
    pub distinct: bool,
    /// Whether the log is compared with nothing: what is said depends on the moment, and only what came out counts.
    pub unheard: bool,
    /// The steps.
    pub steps: Vec<Written>,
    /// Dialogues by name.
    pub dialogues: BTreeMap<String, String>,
    /// Expected texts by path below `expect/`.
    pub expect: BTreeMap<String, String>,
    /// Why valija differs on purpose, where it does.
    pub differs: Option<String>,
}

/// The folders that hold a `steps` file, below `root`.
pub fn all(root: &Path) -> io::Result<Vec<Scenario>> {
    let mut found = Vec::new();
    for area in sorted(root)? {
        if !area.is_dir() {
            continue;
        }
        for folder in sorted(&area)? {
            if folder.is_dir() {
                found.push(read(root, &folder)?);
            }
        }
    }
    Ok(found)
}

fn read(root: &Path, folder: &Path) -> io::Result<Scenario> {
    let name = folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned();
    let bad = |what: &str| io::Error::other(format!("{name}: {what}"));
    let optional = |file: &str| fs::read_to_string(folder.join(file)).ok();
    if optional("README").is_none_or(|text| text.trim().is_empty()) {
        return Err(bad("a README must say what is shown and why"));
    }
    let settings = settings(&optional("world").unwrap_or_default());
    let host = host(folder, &settings, &DEFAULT).map_err(|error| bad(&error.to_string()))?;
    let mut peers = BTreeMap::new();
    for path in sorted(&folder.join("peers")).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path.join("world")).unwrap_or_default();
        let peer = self::host(
            &path,
            &self::settings(&text),
            &Defaults { addresses: "", myhostname: "-", ..DEFAULT },
        )
        .map_err(|error| bad(&format!("peers/{name}: {error}")))?;
        if peer.addresses.is_empty() {
            return Err(bad(&format!("peers/{name}/world: an address is needed")));
        }
        peers.insert(name, peer);
    }
    let mut dialogues = BTreeMap::new();
    let mut zones = BTreeMap::new();
    for path in sorted(folder)? {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|ext| ext == "smtp") {
            dialogues.insert(stem, String::from_utf8_lossy(&fs::read(&path)?).into_owned());
        } else if path.extension().is_some_and(|ext| ext == "zone") {
            zones.insert(stem.clone(), zone(&path).map_err(|line| bad(&format!("{stem}.zone: {line:?}")))?);
        }
    }
    let mut servers = BTreeMap::new();
    for path in sorted(&folder.join("server")).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let script = Script::parse(&fs::read_to_string(&path)?)
            .map_err(|line| bad(&format!("server/{name}: cannot read {line:?}")))?;
        servers.insert(name, script);
    }
    let mut milters = BTreeMap::new();
    for path in sorted(&folder.join("milter")).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let script = milter::Script::parse(&fs::read_to_string(&path)?)
            .map_err(|line| bad(&format!("milter/{name}: cannot read {line:?}")))?;
        milters.insert(name, script);
    }
    let zone = match folder.join("zone") {
        path if path.exists() => Some(zone(&path).map_err(|line| bad(&format!("zone: {line:?}")))?),
        _ => None,
    };
    let mut expect = BTreeMap::new();
    collect(&folder.join("expect"), &mut |path, content, _| {
        expect.insert(path.to_string_lossy().into_owned(), String::from_utf8_lossy(&content).into_owned());
    })?;
    let steps = optional("steps").ok_or_else(|| bad("no steps"))?;
    let steps = parse_steps(&steps).map_err(|line| bad(&format!("steps: cannot read {line:?}")))?;
    for Written { step, .. } in &steps {
        if let Step::Smtp { name, .. } = step
            && !dialogues.contains_key(name)
        {
            return Err(bad(&format!("steps: there is no {name}.smtp")));
        }
        let missing = match step {
            Step::On(name, step) if matches!(**step, Step::Dovecot(_)) => {
                peers.get(name).is_none_or(|peer| peer.dovecot.is_none())
            }
            Step::On(peer, _) => !peers.contains_key(peer),
            Step::Zone(name) => zone.is_none() || !zones.contains_key(name),
            Step::Server(name, Change::Use(script)) if milters.contains_key(name) => {
                !milters.contains_key(script)
            }
            Step::Server(name, _) if milters.contains_key(name) => false,
            Step::Server(name, Change::Use(script)) => {
                !servers.contains_key(name) || !servers.contains_key(script)
            }
            Step::Server(name, _) => !servers.contains_key(name),
            Step::Dovecot(_) => host.dovecot.is_none(),
            _ => false,
        };
        if missing {
            return Err(bad(&format!("steps: {step:?}: there is no such thing")));
        }
    }
    let log = settings.get("log").map_or("ordered", String::as_str);
    Ok(Scenario {
        distinct: log == "distinct",
        unheard: log == "none",
        counted: log == "counted",
        differs: optional("differs"),
        folder: folder.to_path_buf(),
        name,
        host,
        peers,
        zone,
        zones,
        servers,
        milters,
        steps,
        dialogues,
        expect,
    })
}

/// What a file `world` need not say.
struct Defaults {
    addresses: &'static str,
    hostname: &'static str,
    mailname: &'static str,
    myhostname: &'static str,
}

const DEFAULT: Defaults = Defaults {
    addresses: "10.77.1.10 fd00:77::10",
    hostname: "vostro.josedomingo.org",
    mailname: "josedomingo.org",
    // The sheet's host answers to another name than its own.
    myhostname: "mail2.josedomingo.org",
};

/// A host as its folder describes it.
fn host(folder: &Path, settings: &BTreeMap<String, String>, defaults: &Defaults) -> io::Result<Host> {
    let optional = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let setting =
        |key: &str, default: &str| settings.get(key).cloned().unwrap_or_else(|| default.to_string());
    let kind = match setting("type", "internet site").as_str() {
        "internet site" => Kind::InternetSite,
        "smarthost" => Kind::Smarthost,
        "satellite" => Kind::Satellite,
        "local only" => Kind::LocalOnly,
        other => return Err(io::Error::other(format!("world: unknown type {other:?}"))),
    };
    let fqdn = setting("hostname", defaults.hostname);
    let mailname = setting("mailname", defaults.mailname);
    let generated = debian::main_cf(&Answers {
        kind,
        fqdn: fqdn.clone(),
        mailname: mailname.clone(),
        relayhost: setting("relayhost", ""),
        procmail: setting("procmail", "no") == "yes",
        tls: setting("tls", "yes") == "yes",
    });
    let named = match setting("myhostname", defaults.myhostname).as_str() {
        "-" => generated,
        name => debian::edit(&generated, &format!("myhostname = {name}\n")),
    };
    let mut files = Vec::new();
    collect(&folder.join("files"), &mut |path, content, executable| {
        files.push(Placed { path: Path::new("/").join(path), content, executable });
    })?;
    if let Ok(content) = fs::read(folder.join("aliases")) {
        files.push(Placed { path: "/etc/aliases".into(), content, executable: false });
    }
    Ok(Host {
        main_cf: debian::edit(&named, &optional("main.cf")),
        master_cf: optional("master.cf"),
        hosts: optional("hosts"),
        dovecot: fs::read_to_string(folder.join("dovecot.conf")).ok(),
        starts: setting("start", "yes") == "yes",
        addresses: addresses(&setting("address", defaults.addresses))?,
        fqdn,
        mailname,
        files,
    })
}

/// How long the prefix of an address's network is, unless a scenario says otherwise.
pub fn usual_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if address.octets()[0] == 10 => 16,
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}

/// Addresses with the usual length of their network's prefix where none is written.
fn addresses(text: &str) -> io::Result<Vec<(IpAddr, u8)>> {
    let read = |word: &str| -> Option<(IpAddr, u8)> {
        let (address, prefix) = word.split_once('/').unwrap_or((word, ""));
        let address: IpAddr = address.parse().ok()?;
        Some((address, if prefix.is_empty() { usual_prefix(address) } else { prefix.parse().ok()? }))
    };
    text.split_whitespace()
        .map(|word| read(word).ok_or_else(|| io::Error::other(format!("world: {word:?} is no address"))))
        .collect()
}

fn zone(path: &Path) -> Result<Zone, String> {
    Zone::parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)
}

/// `key = value` lines.
fn settings(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_string(), value.trim().to_string()))
        .collect()
}

fn parse_steps(text: &str) -> Result<Vec<Written>, String> {
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| Ok(Written { line: number, text: line.to_string(), step: parse_step(line)? }))
        .collect()
}

fn parse_step(line: &str) -> Result<Step, String> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    if let Some(host) = first.strip_prefix('@') {
        let step = parse_step(line[first.len()..].trim_start())?;
        return Ok(Step::On(host.to_string(), Box::new(step)));
    }
    Ok(match first {
        "settle" => Step::Settle,
        "empty" => Step::Empty,
        "start" => Step::Start,
        "stop" => Step::Stop,
        "wait" => Step::Wait(1, line["wait".len()..].trim().to_string()),
        "until" => Step::Until(line["until".len()..].trim().to_string()),
        word if word.starts_with("wait*") => {
            let count = word["wait*".len()..].parse().map_err(|_| line)?;
            Step::Wait(count, line[word.len()..].trim().to_string())
        }
        "smtp" => {
            let name = words.next().ok_or(line)?.to_string();
            let (mut from, mut to, mut port, mut tls) = ("127.0.0.1".to_string(), None, 25, None);
            for word in words {
                match word.split_once('=') {
                    _ if word == "tls" => tls = Some(Options::default()),
                    _ if tls.as_mut().is_some_and(|options| options.read(word).is_some()) => {}
                    Some(("from", value)) => from = value.to_string(),
                    Some(("to", value)) => to = Some(value.to_string()),
                    Some(("port", value)) => port = value.parse().map_err(|_| line)?,
                    _ => return Err(line.to_string()),
                }
            }
            Step::Smtp { name, from, to, port, tls }
        }
        "dovecot" => match (words.next(), words.next()) {
            (Some("up"), None) => Step::Dovecot(true),
            (Some("down"), None) => Step::Dovecot(false),
            _ => return Err(line.to_string()),
        },
        "zone" => Step::Zone(words.next().ok_or(line)?.to_string()),
        "server" => {
            let name = words.next().ok_or(line)?.to_string();
            let change = match (words.next(), words.next()) {
                (Some("up"), None) => Change::Up,
                (Some("down"), None) => Change::Down,
                (Some("use"), Some(script)) => Change::Use(script.to_string()),
                _ => return Err(line.to_string()),
            };
            Step::Server(name, change)
        }
        _ => {
            let (who, command) = line.split_once(": ").ok_or(line)?;
            let (user, name) = match who.split_once(' ') {
                Some((user, name)) => (user, Some(name.trim().to_string())),
                None => (who, None),
            };
            Step::Command { user: user.to_string(), name, command: command.to_string() }
        }
    })
}

/// Walks the files below `root`, calling with each relative path.
pub fn collect(root: &Path, found: &mut dyn FnMut(&Path, Vec<u8>, bool)) -> io::Result<()> {
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in sorted(&folder).unwrap_or_default() {
            if path.is_symlink() {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let executable = path.metadata()?.permissions().mode() & 0o100 != 0;
                found(path.strip_prefix(root).unwrap_or(&path), fs::read(&path)?, executable);
            }
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
