//! Starting the two roles.

use config::Config;
use config::environment::passed;
use config::params::master::Master;
use config::programs::{Program, find};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Child;
use sys::channel::Channel;
use sys::spawn::{Identity, spawn};

/// The name by which `valija` knows that it is the mail role.
pub const MAIL: &str = "valija-mail";
/// The name by which this program knows that it is the deliver role.
pub const DELIVER: &str = "valija-deliver";

/// A running role.
pub struct Role {
    /// For the log.
    pub name: &'static str,
    /// The process.
    pub child: Child,
}

/// Starts the mail role as `identity`; with `output` it keeps standard output. Descriptor 3 is its channel to master, which is returned;
/// descriptor 4 the memory of what it works on (`sys::board`), with `fault`, the signal that ended the one before, if that
/// was nobody's wish.
pub fn mail(
    config: &Config,
    identity: Option<&Identity>,
    output: bool,
    (board, fault): (Option<&File>, Option<i32>),
) -> Result<(Role, Channel), String> {
    let program = find(Program::Valija, Some(config))?;
    let (ours, theirs) = Channel::pair().map_err(|e| e.to_string())?;
    let mut args = vec![OsStr::new("-c"), config.directory().as_os_str()];
    let mut descriptors = vec![theirs.as_fd()];
    descriptors.extend(board.map(|board| board.as_fd()));
    let number = fault.filter(|_| board.is_some()).map(|signal| signal.to_string());
    if let Some(number) = &number {
        args.extend([OsStr::new("-f"), OsStr::new(number)]);
    }
    let child = spawn(&program, MAIL, &args, &descriptors, identity, &environment(config)?, output, true)
        .map_err(|e| format!("{}: {e}", program.display()))?;
    Ok((Role { name: "mail", child }, ours))
}

/// Starts the deliver role. Descriptor 3 is its channel to the mail role, whose end is returned.
/// It is started anew at each reload: it keeps the configuration it began with until the mail
/// role closes the channel and its last child has ended.
/// `listeners` are those of services that run a program for each connection.
pub fn deliver<'a>(
    config: &Config,
    output: bool,
    listeners: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
) -> Result<(Role, Channel), String> {
    // Looked for by name: the file of this very process may be gone since an upgrade.
    let program = find(Program::Master, Some(config))
        .or_else(|_| std::env::current_exe().map_err(|e| e.to_string()))?;
    let (ours, theirs) = Channel::pair().map_err(|e| e.to_string())?;
    let mut args = vec![OsStr::new("-c"), config.directory().as_os_str()];
    let mut descriptors = vec![theirs.as_fd()];
    for (service, listener) in listeners {
        args.extend([OsStr::new("-l"), OsStr::new(service)]);
        descriptors.push(listener);
    }
    let child = spawn(&program, DELIVER, &args, &descriptors, None, &environment(config)?, output, false)
        .map_err(|e| format!("{}: {e}", program.display()))?;
    Ok((Role { name: "deliver", child }, ours))
}

/// What a role gets as its environment: `import_environment`, the configuration's directory, and a
/// safe search path.
fn environment(config: &Config) -> Result<Vec<(String, String)>, String> {
    let master = Master::load(config)
        .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let mut all = passed(&master.import_environment().0, |name| std::env::var(name).ok());
    all.push(("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into()));
    all.push(("MAIL_CONFIG".into(), config.directory().display().to_string()));
    Ok(all)
}
