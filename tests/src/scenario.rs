//! What lies in the folder of a scenario, read before its worlds exist (they may hide the folder).

use crate::debian::{self, Answers, Kind};
use std::collections::BTreeMap;
use std::fs;
use std::io;
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

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Play `<name>.smtp`, connecting from an address, to a port.
    Smtp {
        /// The dialogue.
        name: String,
        /// The client's address.
        from: String,
        /// The server's port.
        port: u16,
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
    /// Start the mail system and wait until it says so.
    Start,
    /// Stop it and wait until it is gone.
    Stop,
}

/// A scenario.
#[derive(Clone)]
pub struct Scenario {
    /// `<area>/<behaviour>`.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Fully qualified name of the host.
    pub fqdn: String,
    /// What `/etc/mailname` says.
    pub mailname: String,
    /// `main.cf` as generated and then edited.
    pub main_cf: String,
    /// `master.cf` if it is not Debian's.
    pub master_cf: Option<String>,
    /// Further lines of `/etc/hosts`.
    pub hosts: String,
    /// Whether the runner starts the mail system before the first step.
    pub starts: bool,
    /// Whether the log's lines are only counted: many messages at once have no order.
    pub counted: bool,
    /// Whether lines that repeat themselves count once: how often something is tried depends on the clock.
    pub distinct: bool,
    /// Files to place.
    pub files: Vec<Placed>,
    /// The steps.
    pub steps: Vec<Step>,
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
    let setting =
        |key: &str, default: &str| settings.get(key).cloned().unwrap_or_else(|| default.to_string());
    let kind = match setting("type", "internet site").as_str() {
        "internet site" => Kind::InternetSite,
        "smarthost" => Kind::Smarthost,
        "satellite" => Kind::Satellite,
        "local only" => Kind::LocalOnly,
        other => return Err(bad(&format!("world: unknown type {other:?}"))),
    };
    let fqdn = setting("hostname", "vostro.josedomingo.org");
    let mailname = setting("mailname", "josedomingo.org");
    let generated = debian::main_cf(&Answers {
        kind,
        fqdn: fqdn.clone(),
        mailname: mailname.clone(),
        relayhost: setting("relayhost", ""),
        procmail: setting("procmail", "no") == "yes",
        tls: setting("tls", "yes") == "yes",
    });
    // The sheet's host answers to another name than its own.
    let named = match setting("myhostname", "mail2.josedomingo.org").as_str() {
        "-" => generated,
        name => debian::edit(&generated, &format!("myhostname = {name}\n")),
    };
    let mut dialogues = BTreeMap::new();
    for path in sorted(folder)? {
        if path.extension().is_some_and(|ext| ext == "smtp") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            dialogues.insert(stem, String::from_utf8_lossy(&fs::read(&path)?).into_owned());
        }
    }
    let mut files = Vec::new();
    collect(&folder.join("files"), &mut |path, content, executable| {
        files.push(Placed { path: Path::new("/").join(path), content, executable });
    })?;
    if let Some(aliases) = optional("aliases") {
        files.push(Placed { path: "/etc/aliases".into(), content: aliases.into_bytes(), executable: false });
    }
    let mut expect = BTreeMap::new();
    collect(&folder.join("expect"), &mut |path, content, _| {
        expect.insert(path.to_string_lossy().into_owned(), String::from_utf8_lossy(&content).into_owned());
    })?;
    let steps = optional("steps").ok_or_else(|| bad("no steps"))?;
    let steps = parse_steps(&steps).map_err(|line| bad(&format!("steps: cannot read {line:?}")))?;
    for step in &steps {
        if let Step::Smtp { name, .. } = step
            && !dialogues.contains_key(name)
        {
            return Err(bad(&format!("steps: there is no {name}.smtp")));
        }
    }
    Ok(Scenario {
        main_cf: debian::edit(&named, &optional("main.cf").unwrap_or_default()),
        master_cf: optional("master.cf"),
        hosts: optional("hosts").unwrap_or_default(),
        starts: setting("start", "yes") == "yes",
        distinct: setting("log", "ordered") == "distinct",
        counted: setting("log", "ordered") == "counted",
        differs: optional("differs"),
        folder: folder.to_path_buf(),
        name,
        fqdn,
        mailname,
        files,
        steps,
        dialogues,
        expect,
    })
}

/// `key = value` lines.
fn settings(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_string(), value.trim().to_string()))
        .collect()
}

fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        steps.push(match first {
            "settle" => Step::Settle,
            "empty" => Step::Empty,
            "start" => Step::Start,
            "stop" => Step::Stop,
            "wait" => Step::Wait(1, line["wait".len()..].trim().to_string()),
            "wait*2" => Step::Wait(2, line["wait*2".len()..].trim().to_string()),
            "smtp" => {
                let name = words.next().ok_or(line)?.to_string();
                let (mut from, mut port) = ("127.0.0.1".to_string(), 25);
                for word in words {
                    match word.split_once('=') {
                        Some(("from", value)) => from = value.to_string(),
                        Some(("port", value)) => port = value.parse().map_err(|_| line)?,
                        _ => return Err(line.to_string()),
                    }
                }
                Step::Smtp { name, from, port }
            }
            _ => {
                let (who, command) = line.split_once(": ").ok_or(line)?;
                let (user, name) = match who.split_once(' ') {
                    Some((user, name)) => (user, Some(name.trim().to_string())),
                    None => (who, None),
                };
                Step::Command { user: user.to_string(), name, command: command.to_string() }
            }
        });
    }
    Ok(steps)
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
