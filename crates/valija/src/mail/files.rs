//! Files that the mail user may not read itself: asked of `master` at start and reload.
//!
//! Files named in main.cf or by `-o` in master.cf may be readable for root alone: tables (passwords,
//! private aliases), and the keys of certificates. The
//! role asks for each that it cannot open; `master` passes a descriptor if it trusts the file. What
//! was passed is kept for the life of the snapshot; a replaced file is seen at the next reload.

use super::orders::Master;
use config::Config;
use config::master_cf::Services;
use proto::supervision::{Ask, Order};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files passed by `master`, by path.
#[derive(Clone, Default)]
pub struct Passed(Arc<BTreeMap<PathBuf, File>>);

impl Passed {
    /// Asks for every file that the configuration names and this process may not read. `None` when
    /// master is gone, or wants the role to end.
    pub async fn fetch(config: &Config, services: &Services, master: &Master) -> Option<Passed> {
        let mut all = BTreeMap::new();
        for (name, path) in unreadable(config, services) {
            let ask = Ask::Open { name, path: path.display().to_string() };
            master.tell(&ask).await;
            loop {
                match master.next().await? {
                    // Master has said why if no file comes.
                    (Order::File { .. }, mut descriptors) => {
                        all.extend(descriptors.pop().map(|fd| (path, File::from(fd))));
                        break;
                    }
                    (Order::Drain, _) => return None,
                    _ => {}
                }
            }
        }
        Some(Passed(Arc::new(all)))
    }

    /// Opens a file: by itself where that is allowed, else what was passed.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        match File::open(path) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                let mut file = self.0.get(path).ok_or(e)?.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
            other => other,
        }
    }
}

/// Parameters whose value is a file, or several, and not tables.
const FILES: [&str; 7] = [
    "smtpd_tls_cert_file",
    "smtpd_tls_key_file",
    "smtpd_tls_eccert_file",
    "smtpd_tls_eckey_file",
    "smtpd_tls_chain_files",
    "smtp_tls_CAfile",
    "lmtp_tls_CAfile",
];

fn unreadable(config: &Config, services: &Services) -> Vec<(String, PathBuf)> {
    let mut all = Vec::new();
    config.set_names().for_each(|name| find(config, name, &mut all));
    for service in &services.all {
        let own = service.config(config);
        service.overrides.iter().for_each(|(name, _)| find(&own, name, &mut all));
        // Passwords are where they are by default, too.
        if let Some((name, path)) = login::choose::needs(&own) {
            add(name, path, &mut all);
        }
    }
    all
}

fn find(config: &Config, name: &str, all: &mut Vec<(String, PathBuf)>) {
    let Ok(value) = config.get(name) else { return };
    let file = FILES.contains(&name);
    for element in tables::split_list(&value) {
        let path = match element.find(":/") {
            Some(at) => element.get(at + 1..),
            None => Some(element.as_str()).filter(|e| file && e.starts_with('/')),
        };
        if let Some(path) = path.map(PathBuf::from) {
            add(name, path, all);
        }
    }
}

fn add(name: &str, path: PathBuf, all: &mut Vec<(String, PathBuf)>) {
    let denied = File::open(&path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    if denied && !all.iter().any(|(_, p)| *p == path) {
        all.push((name.to_string(), path));
    }
}
