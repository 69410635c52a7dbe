//! A certificate of our own making, for a server that must encrypt and was given none: signed by
//! itself, kept in the data directory, and taken up again after a restart.

use super::certificate::{Item, read_pem};
use super::keys::{self, Own};
use super::reader::{Say, Trouble};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whose it is, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The host's name.
    pub host: String,
    /// A directory that this process may write to.
    pub directory: PathBuf,
}

/// What it is called there.
const FILE: &str = "smtpd_self_signed.pem";

/// How long it is valid; it is made anew when less than a tenth is left.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What replaces it.
const REMEDY: &str = "clients cannot verify it; set smtpd_tls_chain_files";

impl StandIn {
    /// The certificate: the one that is kept, or a new one.
    pub(super) fn get(&self) -> Result<(Own, Say), Trouble> {
        // One at a time: several services may want it at once.
        static MAKING: Mutex<()> = Mutex::new(());
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory.join(FILE);
        let shown = path.display();
        if let Some(own) = self.kept(&path) {
            let line = format!("no certificate is set: using the self-signed one in {shown}; {REMEDY}");
            return Ok((own, Say::Warning(line)));
        }
        let fault = |why: String| {
            let line = format!("cannot make a self-signed certificate in {shown}: disabling TLS support");
            vec![Say::Warning(line), Say::Library(why)]
        };
        let pem = self.make().map_err(|e| fault(e.to_string()))?;
        let own = own_of(&path, pem.as_bytes()).map_err(|e| fault(crate::plain(&e)))?;
        write(&path, pem.as_bytes()).map_err(|e| fault(crate::plain(&e)))?;
        let host = &self.host;
        let line = format!("no certificate is set: made a self-signed one for {host} in {shown}; {REMEDY}");
        Ok((own, Say::Warning(line)))
    }

    /// What is kept, if it is for this host and will last.
    fn kept(&self, path: &Path) -> Option<Own> {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(File::open(path).ok()?, 1 << 16), &mut text).ok()?;
        let own = own_of(path, &text).ok()?;
        let leaf = own.leaf()?;
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(leaf.validity.1))?;
        let left = until.duration_since(SystemTime::now()).ok()?;
        (leaf.names.contains(&self.host) && left > LIFE / 10).then_some(own)
    }

    /// Key and certificate in PEM format.
    fn make(&self) -> Result<String, rcgen::Error> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut parts = rcgen::CertificateParams::new(vec![self.host.clone()])?;
        parts.distinguished_name = rcgen::DistinguishedName::new();
        parts.distinguished_name.push(rcgen::DnType::CommonName, self.host.as_str());
        let now = SystemTime::now();
        // A clock may be late.
        parts.not_before = now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now).into();
        parts.not_after = now.checked_add(LIFE).unwrap_or(now).into();
        Ok(format!("{}{}", key.serialize_pem(), parts.self_signed(&key)?.pem()))
    }
}

fn own_of(path: &Path, pem: &[u8]) -> io::Result<Own> {
    let items: Vec<(&Path, Item)> = read_pem(pem)?.into_iter().map(|item| (path, item)).collect();
    let all = keys::in_order(items).map_err(|_| io::Error::other("it cannot be used"))?;
    all.into_iter().next().ok_or_else(|| io::Error::other("it is empty"))
}

/// Nobody else may read it, and it is there as a whole or not at all.
fn write(path: &Path, pem: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new.{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(pem).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })
}
