//! Namespaces of our own, which end with us; and in them the users that mail is delivered to.

use crate::options::{Options, What};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says that we are in there; the value is the installed tree.
const MARK: &str = "VALIJA_DRILL_TREE";

/// The users that letters go to; their group has the same name and number.
pub const USERS: [(&str, u32); 3] =
    [("drillcommand", 64_171), ("drillmaildir", 64_172), ("drillmbox", 64_173)];

/// Where, in these namespaces, files are written without waiting for a disk.
pub const MEMORY: &str = "/mnt";

/// Whether this process is the one in the namespaces.
pub fn inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// The installed tree, as the outer process found it.
pub fn tree() -> Result<PathBuf, String> {
    std::env::var_os(MARK).map(Into::into).ok_or_else(|| "not in the namespaces".to_string())
}

/// Becomes a program that runs this one with the same words in new namespaces. Whatever it started ends with it.
pub fn enter(options: &Options) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("this needs root: for namespaces, users, and loop devices".into());
    }
    let tree = match &options.tree {
        Some(tree) => std::path::absolute(tree).map_err(|e| format!("{}: {e}", tree.display()))?,
        None if options.only.as_deref() == Some("postfix") => options.folder.clone(),
        None => build(options)?,
    };
    let program = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    // The shell is the first process in there and buries those whose parents were killed.
    command.args(["sh", "-c", "\"$0\" \"$@\"; exit $?"]);
    let error = command.arg(program).args(std::env::args_os().skip(1)).env(MARK, tree).exec();
    Err(format!("unshare: {error}"))
}

/// Builds valija as this program was built, and installs it below the folder.
fn build(options: &Options) -> Result<PathBuf, String> {
    let tree = options.folder.join("tree");
    make(&options.folder)?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
    let target =
        program.ancestors().nth(2).ok_or("this program is not in cargo's target folder; name a --tree")?;
    let (profile, name) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    println!("building valija ({name}) ...");
    let status = Command::new("make")
        .args(["-s", "install", &format!("PROFILE={profile}"), &format!("DESTDIR={}", tree.display())])
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", target)
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("make: {e}"))?;
    if status.success() { Ok(tree) } else { Err(format!("make install in {}: {status}", project.display())) }
}

/// A folder that everybody gets through.
pub fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("make {}: {e}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(|e| format!("{}: {e}", folder.display()))
}

/// Inside: mounts that nobody else sees, the loopback device, and users.
pub fn furnish(options: &Options) -> Result<(), String> {
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).map_err(|e| format!("mounts of our own: {e}"))?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !up.map_err(|e| format!("ip: {e}: install iproute2"))?.success() {
        return Err("ip link set lo up failed".into());
    }
    make(&options.folder)?;
    if options.what == What::Teeth && options.only.as_deref() == Some("postfix") {
        return Ok(());
    }
    mount(Some("tmpfs"), MEMORY, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .map_err(|e| format!("{MEMORY}: {e}"))?;
    for (file, more) in [
        (
            "passwd",
            USERS
                .map(|(name, id)| format!("{name}:x:{id}:{id}::{}:/bin/sh\n", home(options, name).display())),
        ),
        ("group", USERS.map(|(name, id)| format!("{name}:x:{id}:\n"))),
    ] {
        let real = Path::new("/etc").join(file);
        let text = fs::read_to_string(&real).map_err(|e| format!("{}: {e}", real.display()))?;
        if file == "passwd" && !text.lines().any(|l| l.starts_with("postfix:")) {
            return Err("the user postfix is needed (apt-get install postfix)".into());
        }
        let ours = options.folder.join(file);
        fs::write(&ours, text + &more.concat()).map_err(|e| format!("{}: {e}", ours.display()))?;
        mount(Some(&ours), &real, none, MsFlags::MS_BIND, none)
            .map_err(|e| format!("{}: {e}", real.display()))?;
    }
    Ok(())
}

/// Where a user is at home.
pub fn home(options: &Options, name: &str) -> PathBuf {
    options.folder.join("disk/home").join(name)
}

/// Gives a file away.
pub fn give(path: &Path, id: u32) -> Result<(), String> {
    chown(path, Some(id), Some(id)).map_err(|e| format!("{}: {e}", path.display()))
}
