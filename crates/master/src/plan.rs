//! What a configuration asks of the supervisor, read as a whole before anything is changed.

use crate::files::open_trusted;
use crate::sockets::{Interfaces, Wanted, wanted};
use crate::spawned::Places;
use config::Config;
use config::master_cf::{Kind, Service};
use config::params::main::Main;
use config::params::master::Master;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use sys::spawn::{Identity, effective_uid, group_number};

/// One reading of main.cf and master.cf.
pub struct Plan {
    /// The snapshot.
    pub config: Config,
    /// The services with `-o` settings.
    services: Vec<Service>,
    /// `queue_directory`.
    pub queue: PathBuf,
    /// `data_directory`.
    pub data: PathBuf,
    /// Who runs the mail role; `None` for an ordinary user, who runs everything.
    pub identity: Option<Identity>,
    /// The number of `setgid_group` (as root).
    pub postdrop_group: u32,
    /// All listeners.
    pub wanted: Vec<Wanted>,
    /// What services that run a program for each connection listen on.
    pub spawned: Places,
    /// How many clients may wait to be accepted.
    pub backlog: i32,
    /// `syslog_name`.
    pub syslog_name: String,
    /// Where the log goes.
    pub sink: events::Sink,
    /// `mail_version`.
    pub version: String,
    /// What the administrator should know.
    pub notes: Vec<String>,
}

impl Plan {
    /// Reads everything; the text of an error names file, line and remedy.
    pub fn read(directory: &Path) -> Result<Plan, String> {
        let join = |problems: Vec<config::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let config = Config::load(directory).map_err(join)?;
        let main = Main::load(&config).map_err(join)?;
        let master = Master::load(&config).map_err(join)?;
        let services = config::master_cf::load(directory).map_err(join)?;
        let mut wrong = config::params::problems(&config);
        for service in services.all.iter().filter(|s| !s.overrides.is_empty()) {
            let known = wrong.len();
            wrong.extend(config::params::problems(&service.config(&config)));
            let mut new = wrong.split_off(known);
            new.retain(|problem| !wrong.contains(problem));
            wrong.append(&mut new);
        }
        if !wrong.is_empty() {
            return Err(join(wrong));
        }
        let danger = config::refused(&config, &services.all);
        if !danger.is_empty() {
            return Err(join(danger));
        }
        let mut notes: Vec<String> =
            config.warnings().iter().chain(&services.warnings).map(ToString::to_string).collect();
        notes.extend(config::suspicious(&config).iter().map(ToString::to_string));
        let (mut all, mut spawned) = (Vec::new(), Places::default());
        for service in services.all.iter().filter(|s| s.kind == config::master_cf::Kind::Inet) {
            if service.command() == "spawn" {
                let own = Master::load(&service.config(&config)).map_err(join)?;
                let on = Interfaces {
                    interfaces: own.inet_interfaces().0.clone(),
                    protocols: own.inet_protocols().0.clone(),
                };
                spawned.inet.extend(wanted(&service.name, &on)?);
                continue;
            }
            if service.command() != "smtpd" {
                notes.push(format!(
                    "master.cf, line {}: service {} runs {}, which valija does not have; it is not served",
                    service.line,
                    service.name,
                    service.command()
                ));
                continue;
            }
            let own = Master::load(&service.config(&config)).map_err(join)?;
            let on = Interfaces {
                interfaces: own.inet_interfaces().0.clone(),
                protocols: own.inet_protocols().0.clone(),
            };
            all.extend(wanted(&service.name, &on)?);
        }
        all.sort();
        all.dedup();
        let queue = PathBuf::from(main.queue_directory());
        for service in services.all.iter().filter(|s| s.kind == Kind::Unix && s.command() == "spawn") {
            if service.name.contains('/') {
                notes.push(format!(
                    "master.cf, line {}: service {}: a name with a slash is not served",
                    service.line, service.name
                ));
                continue;
            }
            let directory = if service.private() { "private" } else { "public" };
            spawned.unix.push((service.name.clone(), queue.join(directory).join(&service.name)));
        }
        let (identity, postdrop_group) = identity(&main)?;
        let services = services.all.into_iter().filter(|s| !s.overrides.is_empty()).collect();
        Ok(Plan {
            queue,
            spawned,
            data: PathBuf::from(master.data_directory()),
            identity,
            postdrop_group,
            wanted: all,
            backlog: i32::try_from(*master.default_process_limit()).unwrap_or(i32::MAX),
            syslog_name: main.syslog_name().clone(),
            sink: events::sink_for(
                master.maillog_file(),
                &master.maillog_file_prefixes().0,
                master.syslog_facility(),
            )?,
            version: master.mail_version().clone(),
            notes,
            config,
            services,
        })
    }

    /// Opens a file for the mail role that main.cf, or a service's `-o`, names in parameter `name`.
    pub fn open(&self, name: &str, path: &str) -> Result<File, String> {
        let mut result = open_trusted(&self.config, name, path);
        for service in self.services.iter().filter(|s| s.overrides.iter().any(|(n, _)| n == name)) {
            if result.is_err() {
                result = open_trusted(&service.config(&self.config), name, path).or(result);
            }
        }
        result
    }

    /// The log file, to be written by the mail role.
    pub fn open_log(&self) -> Option<std::fs::File> {
        match &self.sink {
            events::Sink::File(path) => std::fs::OpenOptions::new().append(true).open(path).ok(),
            _ => None,
        }
    }

    /// Sends the log where the configuration wants it. A new log file belongs to the mail user,
    /// because the mail role writes most of it.
    pub fn install_log(&self, keep_output: bool) -> Result<(), String> {
        match &self.sink {
            events::Sink::Stdout if !keep_output => {
                let remedy = "name a file, or leave it empty";
                return Err(format!(
                    "parameter maillog_file: /dev/stdout works with `postfix start-fg` only; {remedy}"
                ));
            }
            events::Sink::File(path) => {
                // Its directory may be another user's, who must not have root make or give away
                // a file elsewhere by a link.
                let open = std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .custom_flags(sys::host::O_NOFOLLOW | sys::host::O_NONBLOCK)
                    .open(path);
                let place = path.display();
                let file = open.map_err(|e| {
                    format!("parameter maillog_file: open {place}: {e}; make its directory writable, and it no link")
                })?;
                let meta = file.metadata().map_err(|e| format!("{place}: {e}"))?;
                if let Some(who) = &self.identity
                    && meta.is_file()
                    && meta.nlink() == 1
                {
                    fchown(&file, Some(who.uid), Some(0)).map_err(|e| format!("{place}: {e}"))?;
                }
            }
            _ => {}
        }
        events::install(self.sink.clone());
        Ok(())
    }
}

fn identity(main: &Main) -> Result<(Option<Identity>, u32), String> {
    if effective_uid() != 0 {
        return Ok((None, 0));
    }
    let missing = |what: &str, name: &str, how: &str| {
        format!("parameter {what}: there is no {name:?} on this host; create it with `{how}`")
    };
    let owner = main.mail_owner();
    let found = Identity::of_user(owner).map_err(|e| format!("parameter mail_owner: {owner}: {e}"))?;
    let identity = found.ok_or_else(|| missing("mail_owner", owner, &format!("useradd --system {owner}")))?;
    if identity.uid == 0 {
        return Err("parameter mail_owner: must not be root; name a user of its own, such as postfix".into());
    }
    let group = main.setgid_group();
    let number = group_number(group).map_err(|e| format!("parameter setgid_group: {group}: {e}"))?;
    let number =
        number.ok_or_else(|| missing("setgid_group", group, &format!("groupadd --system {group}")))?;
    Ok((Some(identity), number))
}
