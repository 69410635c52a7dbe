//! Namespaces of our own, which end with us.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Says that we are in there; the value is the installed tree.
const MARK: &str = "VALIJA_LOAD_TREE";

/// Whether this process is the one in the namespaces.
pub fn inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// The installed tree, as the outer process found it.
pub fn tree() -> Result<std::path::PathBuf, String> {
    std::env::var_os(MARK).map(Into::into).ok_or_else(|| "not in the namespaces".to_string())
}

/// Runs this program with the same words in new namespaces, and waits for it. Whatever it started
/// ends with it.
pub fn enter(tree: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(program).args(std::env::args_os().skip(1)).env(MARK, tree);
    let status = command.status().map_err(|e| format!("unshare: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("the run in the namespaces: {status}")) }
}

/// Inside: the loopback device, and room for many connections.
pub fn furnish() -> Result<(), String> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("ip link set lo up: {status}")),
        Err(e) => return Err(format!("ip: {e}: install iproute2")),
    }
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| format!("getrlimit: {e}"))?;
    let more = hard.max(65_536);
    setrlimit(Resource::RLIMIT_NOFILE, more, more)
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        .map_err(|e| format!("setrlimit: {e}"))
}

/// Users that get mail, `u0` and on.
pub const USERS: u32 = 20;
/// The first one's number.
const FIRST: u32 = 51_900;

/// Makes users who exist in here only, with homes below the folder, and a spool as Debian has it.
pub fn users(folder: &Path) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", folder.display());
    let run = |words: &[&str]| match Command::new(words[0]).args(&words[1..]).status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{}: {other:?}", words.join(" "))),
    };
    let mut passwd = fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    let mut homes = Vec::new();
    for n in 0..USERS {
        let (home, id) = (folder.join(format!("home/u{n}")), FIRST + n);
        fs::create_dir_all(&home).map_err(fault)?;
        passwd.push_str(&format!("u{n}:x:{id}:{id}::{}:/bin/sh\n", home.display()));
        homes.push((home, id));
    }
    for part in ["", "home", "spool"] {
        let part = folder.join(part);
        fs::create_dir_all(&part).map_err(fault)?;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).map_err(fault)?;
    }
    for (home, id) in homes {
        std::os::unix::fs::chown(&home, Some(id), Some(id)).map_err(fault)?;
    }
    let own = folder.join("passwd");
    fs::write(&own, passwd).map_err(fault)?;
    run(&["mount", "--bind", &own.display().to_string(), "/etc/passwd"])?;
    let spool = folder.join("spool").display().to_string();
    run(&["chown", "root:mail", &spool])?;
    run(&["chmod", "2775", &spool])
}
