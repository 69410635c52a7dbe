//! `valija setup submission`: people send through this host, with login and encryption, on the ports 587 and
//! 465. Adds the two services to master.cf as guides do, chooses certificate and login, shows what it will
//! write, keeps copies of what was there, and prints the records by which mail programs find the host.

mod certificate;
mod dovecot;
mod records;
mod services;

use super::super::ask::{Asker, somebody};
use super::super::changes::{Access, Changes, Written, read};
use super::super::names::host_name;
use super::super::{check, postconf, postfix};
use super::{present, stamp, writable};
use certificate::{Found, Wanted};
use config::Config;
use config::directory::{self, Caller};
use dovecot::Dovecot;
use login::cyrus::service_file;
use login::users::file::Users;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Wrong words on the command line. sysexits.h: EX_USAGE
const USAGE_STATUS: u8 = 64;

const USAGE: &str = "\
usage: valija setup submission [flags]
Adds the services submission (port 587) and submissions (port 465) to master.cf, with login and encryption.
  --login dovecot        Dovecot knows the users: where it offers a socket for logins this is the default
  --login valija         valija has users of its own (valija user add NAME): otherwise this is
  --login keep           smtpd_sasl_type and smtpd_sasl_path stay as main.cf has them
  --cert FILE            the certificate with its chain; without it that of main.cf, Let's Encrypt's or Debian's is found
  --key FILE             its key, if not in the same file
  --domain NAME          the domain for which the DNS records are printed, if not that of myorigin
  --dry-run              show everything, write nothing
  --yes                  ask nothing
  --config DIR           where main.cf is, if not in /etc/postfix
";

/// Who knows the users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    Dovecot,
    Valija,
    Keep,
}

#[derive(Debug, Default)]
struct Options {
    login: Option<Login>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    domain: Option<String>,
    directory: Option<String>,
    dry_run: bool,
    yes: bool,
}

/// Runs the command with the words behind `submission`.
pub(super) fn run(args: &[String]) -> ExitCode {
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match options(args) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("valija setup submission: {what}; nothing was changed");
            eprintln!("`valija setup submission --help` lists the flags");
            return ExitCode::from(USAGE_STATUS);
        }
    };
    match go(&options) {
        Ok(code) => code,
        Err(what) => {
            eprintln!("valija setup submission: {what}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_string())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            let text = inline.clone().or_else(|| words.next().cloned());
            text.filter(|t| !t.is_empty()).ok_or_else(|| format!("{flag} needs a value"))
        };
        let path = |text: String| match text.starts_with('/') {
            true => Ok(PathBuf::from(text)),
            false => Err(format!("{flag}: write the whole path, from / on")),
        };
        match flag {
            "--login" => {
                options.login = Some(match value()?.as_str() {
                    "dovecot" => Login::Dovecot,
                    "valija" => Login::Valija,
                    "keep" => Login::Keep,
                    other => return Err(format!("--login: write dovecot, valija or keep, not {other:?}")),
                })
            }
            "--cert" => options.certificate = Some(path(value()?)?),
            "--key" => options.key = Some(path(value()?)?),
            "--domain" => {
                let name = value()?;
                host_name(&name)?;
                options.domain = Some(name);
            }
            "--config" => options.directory = Some(value()?),
            "--dry-run" | "--yes" if inline.is_some() => return Err(format!("{flag} takes no value")),
            "--dry-run" => options.dry_run = true,
            "--yes" => options.yes = true,
            _ => return Err(format!("what is {word:?}?")),
        }
    }
    if options.key.is_some() && options.certificate.is_none() {
        return Err("--key goes with --cert".into());
    }
    Ok(options)
}

/// What the host has now.
struct Host<'a> {
    directory: &'a Path,
    config: &'a Config,
    main: &'a [u8],
    master: &'a [u8],
    dovecot: Option<Dovecot>,
    root: &'a Path,
}

/// What shall be written and said.
struct Plan {
    main: Vec<u8>,
    master: Vec<u8>,
    login: String,
    certificate: String,
    notes: Vec<String>,
}

impl Host<'_> {
    fn get(&self, name: &str) -> String {
        self.config.get(name).unwrap_or_default()
    }

    /// Whether main.cf says something of it.
    fn is_set(&self, name: &str) -> bool {
        self.config.set_names().any(|n| n == name)
    }

    fn plan(&self, options: &Options) -> Result<Plan, String> {
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut notes = Vec::new();
        let mut set = |name: &str, value: &str| {
            if self.get(name) != value {
                settings.push((name.to_string(), value.to_string()));
            }
        };
        let login = self.login(options, &mut set, &mut notes)?;

        let host = self.get("myhostname");
        let named = options.certificate.clone().map(|c| (c.clone(), options.key.clone().unwrap_or(c)));
        let current = |name: &str| self.get(name);
        let found = certificate::find(&Wanted { host: &host, root: self.root, named, current: &current })
            .map_err(|what| format!("{what}; nothing was changed"))?;
        let (words, shown) = match found {
            Found::Stays(words) => {
                let path = self.get("smtpd_tls_cert_file");
                (format!("stays as it is ({words})"), PathBuf::from(path))
            }
            Found::Files(certificate, key, why) => {
                set("smtpd_tls_cert_file", &certificate.display().to_string());
                set("smtpd_tls_key_file", &key.display().to_string());
                (format!("{}: {why}", certificate.display()), certificate)
            }
            Found::None => {
                // What is named and does not work would keep the server from making its own.
                if !self.get("smtpd_tls_cert_file").is_empty() {
                    set("smtpd_tls_cert_file", "");
                    set("smtpd_tls_key_file", "$smtpd_tls_cert_file");
                }
                notes.push(format!(
                    "the certificate is signed by itself: mail programs warn of it; certbot certonly -d {host} \
                     gets a known one, then run this again"
                ));
                ("the server makes one and signs it itself".to_string(), PathBuf::new())
            }
        };
        notes.extend(certificate::remark(&shown, &host));

        let old = String::from_utf8_lossy(self.master);
        let (master, more) =
            services::with_services(&old).map_err(|what| format!("{what}; nothing was changed"))?;
        notes.extend(more);
        if self.get("inet_interfaces") == "loopback-only" {
            notes.push(
                "inet_interfaces = loopback-only: only programs on this host reach the services; \
                        postconf -e inet_interfaces=all opens them, and a restart"
                    .into(),
            );
        }
        let main = postconf::set_in_main(self.main, &settings);
        Ok(Plan { main, master: master.into_bytes(), login, certificate: words, notes })
    }

    /// Chooses who knows the users; says it in words.
    fn login(
        &self,
        options: &Options,
        set: &mut dyn FnMut(&str, &str),
        notes: &mut Vec<String>,
    ) -> Result<String, String> {
        let socket = self.dovecot.as_ref().and_then(|d| d.path.as_deref());
        // A service file of Cyrus SASL is a choice, too: its type is the default.
        let search = self.get("cyrus_sasl_config_path");
        let mut files =
            service_file::places(&search, self.directory, &self.get("smtpd_sasl_path")).into_iter();
        let written = self.is_set("smtpd_sasl_type") || files.any(|f| f.exists());
        let login = match (options.login, socket) {
            (Some(login), _) => login,
            (None, _) if written => Login::Keep,
            (None, Some(_)) => Login::Dovecot,
            (None, None) => Login::Valija,
        };
        match login {
            Login::Dovecot => {
                let path = socket.ok_or_else(|| match self.dovecot {
                    Some(_) => format!("{}\nNothing was changed.", dovecot::REMEDY),
                    None => "Dovecot is not installed; nothing was changed".to_string(),
                })?;
                set("smtpd_sasl_type", "dovecot");
                set("smtpd_sasl_path", path);
                Ok(format!("by Dovecot, at {path}"))
            }
            Login::Valija => {
                set("smtpd_sasl_type", "valija");
                if self.is_set("smtpd_sasl_path") && !self.get("smtpd_sasl_path").contains(':') {
                    set("smtpd_sasl_path", "smtpd");
                }
                if self.dovecot.is_some() && socket.is_none() {
                    notes.push(dovecot::REMEDY.to_string());
                }
                let file = self.get("valija_users_file");
                let users =
                    std::fs::read_to_string(&file).map(|t| Users::read(&t).names().len()).unwrap_or(0);
                if users == 0 {
                    notes.push("there are no users yet: valija user add NAME".into());
                }
                Ok(format!("by valija's own users ({file})"))
            }
            Login::Keep => {
                let (kind, path) = (self.get("smtpd_sasl_type"), self.get("smtpd_sasl_path"));
                Ok(format!("as main.cf has it (smtpd_sasl_type = {kind}, smtpd_sasl_path = {path})"))
            }
        }
    }

    /// Why the system would not start with the plan though it does now.
    fn faults(&self, plan: &Plan) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of = |main: &[u8], master: &[u8]| check::faults(self.directory, &text(main), &text(master), None);
        let before = of(self.main, self.master);
        of(&plan.main, &plan.master).into_iter().filter(|f| !before.contains(f)).collect()
    }

    fn changes(&self, plan: &Plan) -> Changes {
        let mut changes = Changes::default();
        let file = |name: &str| self.directory.join(name);
        changes.add(file("main.cf"), Some(self.main.to_vec()), plan.main.clone(), Access::Public);
        changes.add(file("master.cf"), Some(self.master.to_vec()), plan.master.clone(), Access::Public);
        changes
    }
}

fn go(options: &Options) -> Result<ExitCode, String> {
    let directory =
        directory::decide(options.directory.as_deref(), Caller::Same).map_err(|p| p.to_string())?;
    if !options.dry_run {
        writable(&directory)?;
    }
    let need = |name: &str| {
        let path = directory.join(name);
        read(&path)?.ok_or_else(|| {
            format!("{} does not exist yet; begin with: valija setup internet", path.display())
        })
    };
    let (main, master) = (need("main.cf")?, need("master.cf")?);
    let config = present(&directory, &main)?;
    let queue = config.get("queue_directory").unwrap_or_default();
    let host = Host {
        directory: &directory,
        config: &config,
        main: &main,
        master: &master,
        dovecot: dovecot::look(Path::new(&queue)),
        root: Path::new("/"),
    };
    let plan = host.plan(options)?;
    let faults = host.faults(&plan);
    if !faults.is_empty() {
        return Err(format!(
            "the system would not start with this; nothing was changed:\n  {}",
            faults.join("\n  ")
        ));
    }
    let changes = host.changes(&plan);
    println!("Login         {}", plan.login);
    println!("Certificate   {}", plan.certificate);
    let ask = !options.yes && !options.dry_run && somebody() && !changes.is_empty();
    if options.dry_run || ask {
        print!("{}", changes.differences(ask));
    }
    let records = records::of(&host.domain(options), &host.get("myhostname"), host.dovecot.as_ref());
    let finally = |written: &[Written]| {
        undo(written);
        plan.notes.iter().for_each(|n| println!("note: {n}"));
        print!("{records}");
    };
    if options.dry_run {
        finally(&[]);
        println!("Nothing was changed (--dry-run).");
        return Ok(ExitCode::SUCCESS);
    }
    if ask {
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        let mut input = stdin.lock();
        if !Asker::new(&mut input, &mut stderr).confirm("Write this?")? {
            println!("Nothing was changed.");
            return Ok(ExitCode::FAILURE);
        }
    }
    let stamp = stamp(sys::time::now_micros());
    let written = changes.commit(&stamp).map_err(|what| format!("{what}; nothing was changed"))?;
    println!("{}", super::said("Submission", &written));
    finally(&written);
    if !written.is_empty() {
        let config = Config::load(&directory)
            .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        postfix::reread(&directory, &config, options.directory.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Host<'_> {
    /// The domain of the addresses that people send from.
    fn domain(&self, options: &Options) -> String {
        let origin = self.config.get("myorigin").unwrap_or_default();
        let filed = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().next().unwrap_or_default().trim().to_string()
        };
        let origin = if origin.starts_with('/') { filed(&origin) } else { origin };
        let known = options.domain.clone().unwrap_or(origin);
        if known.is_empty() { self.get("mydomain") } else { known }
    }
}

/// How to go back.
fn undo(written: &[Written]) {
    let copies: Vec<String> = written
        .iter()
        .filter_map(|w| Some(format!("cp {} {}", w.copy.as_ref()?.display(), w.path.display())))
        .collect();
    if !copies.is_empty() {
        println!("To undo it: {}; postfix reload", copies.join("; "));
    }
}

#[cfg(test)]
mod tests;
