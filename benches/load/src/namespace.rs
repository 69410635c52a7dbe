//! Namespaces of our own, which end with us.

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
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|e| format!("setrlimit: {e}"))
}
