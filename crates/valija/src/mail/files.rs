//! Files that the mail user may not read itself: asked of `master` at start and reload.
//!
//! Table files named in main.cf may be readable for root alone (passwords, private aliases). The
//! role asks for each that it cannot open; `master` passes a descriptor if it trusts the file. What
//! was passed is kept for the life of the snapshot; a replaced file is seen at the next reload.

use super::orders::Master;
use config::Config;
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
    /// Asks for every file that a table in main.cf names and this process may not read. `None`
    /// when master is gone, or wants the role to end.
    pub async fn fetch(config: &Config, master: &Master) -> Option<Passed> {
        let mut all = BTreeMap::new();
        for (name, path) in unreadable(config) {
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

fn unreadable(config: &Config) -> Vec<(String, PathBuf)> {
    let mut all = Vec::new();
    for name in config.set_names() {
        let Ok(value) = config.get(name) else { continue };
        for element in tables::split_list(&value) {
            let Some(at) = element.find(":/") else { continue };
            let Some(path) = element.get(at + 1..).map(PathBuf::from) else { continue };
            let denied = File::open(&path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
            if denied && !all.iter().any(|(_, p)| *p == path) {
                all.push((name.to_string(), path));
            }
        }
    }
    all
}
