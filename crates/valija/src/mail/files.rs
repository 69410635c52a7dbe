//! Files that the mail user may not read itself: asked of `master` at start and reload.
//!
//! Files named in main.cf or by `-o` in master.cf may be readable for root alone: tables (passwords,
//! private aliases), and the keys of certificates. The
//! role asks for each that it cannot open; `master` passes a descriptor if it trusts the file. What
//! was passed is kept for the life of the snapshot. A file that is opened again, as certificates and
//! keys are, is asked for again from time to time: that a new one took its place cannot be seen from here.

use super::orders::Master;
use config::Config;
use config::master_cf::Services;
use proto::supervision::{Ask, Order};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// How often a file is asked for again at most.
const EVERY: Duration = Duration::from_secs(5);

/// A file that `master` passed.
struct Held {
    /// The parameter that names it.
    name: String,
    file: Arc<File>,
    /// When it was asked for.
    asked: Instant,
}

/// Files passed by `master`, by path.
#[derive(Clone)]
pub struct Passed {
    files: Arc<Mutex<BTreeMap<PathBuf, Held>>>,
    again: Again,
}

/// Takes wishes for files to be asked for again.
pub type Again = UnboundedSender<Ask>;

impl Passed {
    /// Asks for every file that the configuration names and this process may not read. `None` when
    /// master is gone, or wants the role to end.
    pub async fn fetch(
        config: &Config,
        services: &Services,
        master: &Master,
        again: &Again,
    ) -> Option<Passed> {
        let passed = Passed { files: Arc::default(), again: again.clone() };
        for (name, path) in unreadable(config, services) {
            passed.ask(name, path, master).await?;
        }
        for (name, path) in named_in_rows(config, services, &passed) {
            passed.ask(name, path, master).await?;
        }
        Some(passed)
    }

    async fn ask(&self, name: String, path: PathBuf, master: &Master) -> Option<()> {
        let wanted = path.display().to_string();
        master.tell(&Ask::Open { name: name.clone(), path: wanted.clone() }).await;
        let mut others = Vec::new();
        loop {
            match master.next().await? {
                // Master has said why if no file comes. Another's answer is late, of an older snapshot.
                (Order::File { path: of, .. }, mut descriptors) if of == wanted => {
                    master.put_back(others);
                    if let Some(fd) = descriptors.pop() {
                        let held = Held { name, file: Arc::new(fd.into()), asked: Instant::now() };
                        self.lock().insert(path, held);
                    }
                    return Some(());
                }
                (Order::Drain, _) => return None,
                (Order::File { .. }, _) => {}
                // Another reload, or a new deliver role: its turn comes.
                other => others.push(other),
            }
        }
    }

    /// A file that was asked for again has come.
    pub fn replace(&self, path: &str, file: File) {
        if let Some(held) = self.lock().get_mut(Path::new(path)) {
            held.file = Arc::new(file);
        }
    }

    /// Opens a file: by itself where that is allowed, else what was passed.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        match File::open(path) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                let mut all = self.lock();
                let held = all.get_mut(path).ok_or(e)?;
                if held.asked.elapsed() >= EVERY {
                    held.asked = Instant::now();
                    let path = path.display().to_string();
                    let _ = self.again.send(Ask::Open { name: held.name.clone(), path });
                }
                let mut file = held.file.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
            other => other,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Held>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that rows of `tls_server_sni_maps` name.
fn named_in_rows(config: &Config, services: &Services, passed: &Passed) -> Vec<(String, PathBuf)> {
    const NAME: &str = "tls_server_sni_maps";
    let mut all = Vec::new();
    let own = services.all.iter().map(|service| service.config(config).get(NAME));
    for tables in own.chain([config.get(NAME)]).flatten() {
        for element in tables::split_list(&tables) {
            let Some(path) = element.find(":/").and_then(|at| element.get(at + 1..)) else { continue };
            let mut text = Vec::new();
            let read = passed.open(Path::new(path)).and_then(|f| f.take(1 << 24).read_to_end(&mut text));
            if read.is_ok() {
                let files = tables::text::files_in_values(&text);
                files.into_iter().for_each(|file| add(NAME, file.into(), &mut all));
            }
        }
    }
    all
}

/// Parameters whose value is a file, or several, and not tables.
const FILES: [&str; 17] = [
    "lmtp_tls_cert_file",
    "lmtp_tls_chain_files",
    "lmtp_tls_eccert_file",
    "lmtp_tls_eckey_file",
    "lmtp_tls_key_file",
    "smtp_tls_cert_file",
    "smtp_tls_chain_files",
    "smtp_tls_eccert_file",
    "smtp_tls_eckey_file",
    "smtp_tls_key_file",
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
        let Some(path) = path else { continue };
        // Where the text is gone, as guides for passwords end, the compiled file is the table.
        let kind =
            element.split_once(":/").and_then(|(before, _)| before.rsplit(['!', '<', '=', '{', ':']).next());
        if let Some(suffix) = kind.and_then(tables::compiled_suffix) {
            add(name, format!("{path}{suffix}").into(), all);
        }
        add(name, path.into(), all);
    }
}

fn add(name: &str, path: PathBuf, all: &mut Vec<(String, PathBuf)>) {
    let denied = File::open(&path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    if denied && !all.iter().any(|(_, p)| *p == path) {
        all.push((name.to_string(), path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use sys::channel::Channel;

    #[test]
    fn what_master_wants_meanwhile_is_not_lost() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = Channel::pair().unwrap();
            let master = Master::new(ours).unwrap();
            let (again, _wished) = tokio::sync::mpsc::unbounded_channel();
            let passed = Passed { files: Arc::default(), again };
            let file = File::open("/dev/null").unwrap();
            let listener = Order::Listener { service: "smtp".into(), address: "127.0.0.1:25".into() };
            for order in [Order::Reload, listener.clone(), Order::Begin] {
                theirs.send(&order.encode(), &[]).unwrap();
            }
            for path in ["/one", "/two"] {
                let order = Order::File { path: path.into(), error: String::new() };
                theirs.send(&order.encode(), &[file.as_fd()]).unwrap();
            }
            for path in ["/one", "/two"] {
                assert!(passed.ask("x".into(), path.into(), &master).await.is_some());
            }
            assert_eq!(passed.lock().len(), 2);
            for expected in [Order::Reload, listener, Order::Begin] {
                let next = tokio::time::timeout(Duration::from_secs(5), master.next()).await;
                assert_eq!(next.unwrap().unwrap().0, expected);
            }
        });
    }
}
