//! Which certificate a client gets: the one for the name it asks for, else the server's own. Files
//! that change are read again while the server runs; what cannot be used then leaves things as they were.

use super::certificate::read_pem;
use super::keys::{self, Identity, Keys};
use super::note;
use super::reader::{Marks, Opener, Reader, Say, Trouble, marks_now};
use super::stand_in::StandIn;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often files are looked at.
const EVERY: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(5) };

/// More rows of names are not kept ready.
const MOST_NAMES: usize = 4096;

/// Looks a name up: the value of its row. An error is words for the log.
pub type LookUp = dyn Fn(&str) -> Result<Option<String>, String> + Send + Sync;

/// Keys as they were read.
struct Held {
    keys: Arc<Keys>,
    /// The files they come from, as they were then.
    marks: Marks,
    /// What could not be used instead, so that it is said once.
    refused: Option<Marks>,
    looked: Instant,
}

/// Chooses.
pub(super) struct Chooser {
    identities: Vec<Identity>,
    open: Arc<Opener>,
    own: Mutex<Held>,
    names: Option<Arc<LookUp>>,
    /// By the value of the row.
    of_names: Mutex<HashMap<String, Held>>,
    every: Duration,
}

impl Chooser {
    pub(super) fn load(
        identities: &[Identity],
        stand_in: Option<&StandIn>,
        names: Option<Arc<LookUp>>,
        open: Arc<Opener>,
    ) -> Result<(Chooser, Vec<Say>), Trouble> {
        let mut says = Vec::new();
        let (keys, marks) = read(identities, &*open);
        let mut keys = keys?;
        if keys.is_empty()
            && let Some(stand_in) = stand_in
        {
            let (own, say) = stand_in.get()?;
            (keys, says) = (vec![own], vec![say]);
        }
        if keys.is_empty() && names.is_none() {
            return Err(vec![Say::Warning("No server certs available. TLS won't be enabled".into())]);
        }
        let held = Held::new(keys, marks);
        let chooser = Chooser {
            identities: identities.to_vec(),
            open,
            own: Mutex::new(held),
            names,
            of_names: Mutex::default(),
            every: EVERY,
        };
        Ok((chooser, says))
    }

    fn own(&self) -> Arc<Keys> {
        let mut held = lock(&self.own);
        held.refresh(self.every, &*self.open, "", |reader| {
            let mut all = Vec::new();
            for identity in &self.identities {
                all.extend(identity.read(reader)?);
            }
            Ok(all)
        });
        held.keys.clone()
    }

    /// The keys for a name that a client asks for; `None` for the server's own, an error for none at all.
    fn of_name(&self, name: &str) -> Result<Option<Arc<Keys>>, ()> {
        let Some(look_up) = &self.names else { return Ok(None) };
        let name = name.to_ascii_lowercase();
        let mut key = name.as_str();
        let value = loop {
            match look_up(key) {
                Ok(Some(value)) => break value,
                Ok(None) => {}
                Err(why) => {
                    note(|seen| seen.says.push(Say::Warning(format!("TLS SNI {name}: {why}"))));
                    return Err(());
                }
            }
            // Then the domains above it, each with a dot before it.
            match key.get(1..).and_then(|rest| rest.find('.')).and_then(|at| key.get(at + 1..)) {
                Some(parent) => key = parent,
                None => {
                    note(|seen| seen.unmatched = Some(name.clone()));
                    return Ok(None);
                }
            }
        };
        let keys = self.of_value(&name, value)?;
        note(|seen| match keys {
            Some(_) => seen.name = Some(name),
            None => seen.unmatched = Some(name),
        });
        Ok(keys)
    }

    /// The keys that the value of a row stands for: files, or their content in base64. `None` for a row
    /// whose files cannot be opened: as in Postfix it does not count.
    fn of_value(&self, name: &str, value: String) -> Result<Option<Arc<Keys>>, ()> {
        let mut all = lock(&self.of_names);
        if let Some(held) = all.get_mut(&value) {
            held.refresh(self.every, &*self.open, name, |reader| of_row(name, &value, reader));
            return Ok(Some(held.keys.clone()));
        }
        let mut reader = Reader::new(&*self.open);
        match of_row(name, &value, &mut reader) {
            Ok(keys) if !keys.is_empty() => {
                let held = Held::new(keys, reader.marks);
                let keys = held.keys.clone();
                if all.len() >= MOST_NAMES {
                    all.clear();
                }
                all.insert(value, held);
                Ok(Some(keys))
            }
            Err(trouble) if reader.marks.iter().any(|(_, mark)| mark.is_none()) => {
                note(|seen| seen.says.extend(trouble));
                Ok(None)
            }
            outcome => {
                let mut trouble = outcome.err().unwrap_or_default();
                trouble.push(Say::Warning(format!(
                    "error loading private keys and certificates from: SNI data for {name}: aborting TLS handshake"
                )));
                note(|seen| seen.says.extend(trouble));
                Err(())
            }
        }
    }
}

/// What the value of a row stands for.
fn of_row(name: &str, value: &str, reader: &mut Reader<'_>) -> Result<Vec<keys::Own>, Trouble> {
    let warn = |what: String| vec![Say::Warning(what)];
    let mut items = Vec::new();
    match from_base64(value) {
        Some(pem) => items = read_pem(&pem[..]).map_err(|e| warn(format!("SNI data for {name}: {e}")))?,
        None => {
            for path in value.split([',', ' ', '\t']).filter(|w| !w.is_empty()) {
                let open = |e| {
                    warn(format!("TLS SNI {name}: open {path}: {}: skipping this entry", crate::plain(&e)))
                };
                let file = reader.open(Path::new(path)).map_err(open)?;
                items.extend(read_pem(file).map_err(|e| warn(format!("SNI data for {name}: {path}: {e}")))?);
            }
        }
    }
    let place = PathBuf::from(format!("SNI data for {name}"));
    keys::in_order(items.into_iter().map(|item| (place.as_path(), item)).collect())
}

impl Held {
    fn new(keys: Vec<keys::Own>, marks: Marks) -> Held {
        Held { keys: Arc::new(Keys(keys)), marks, refused: None, looked: Instant::now() }
    }

    /// Reads again what changed, if it is time to look.
    fn refresh(
        &mut self,
        every: Duration,
        open: &Opener,
        name: &str,
        read: impl Fn(&mut Reader<'_>) -> Result<Vec<keys::Own>, Trouble>,
    ) {
        if self.marks.is_empty() || self.looked.elapsed() < every {
            return;
        }
        self.looked = Instant::now();
        let now = marks_now(&self.marks, open);
        if now == self.marks || self.refused.as_ref() == Some(&now) {
            return;
        }
        let mut reader = Reader::new(open);
        let files = || {
            let all: Vec<String> = now.iter().map(|(path, _)| path.display().to_string()).collect();
            let mut all = all.join(", ");
            if !name.is_empty() {
                all.push_str(&format!(" for {name}"));
            }
            all
        };
        match read(&mut reader) {
            Ok(keys) if !keys.is_empty() => {
                let line = format!("certificates and keys changed, now in use: {}", files());
                note(|seen| seen.says.push(Say::Info(line)));
                *self = Held::new(keys, reader.marks);
            }
            outcome => {
                let mut trouble = outcome.err().unwrap_or_default();
                // Nothing is disabled: that is what they would mean at a start.
                for say in &mut trouble {
                    if let Say::Warning(line) = say {
                        *line = line.replace(": disabling TLS support", "");
                    }
                }
                let line =
                    format!("changed certificates and keys cannot be used, the former stay: {}", files());
                trouble.push(Say::Warning(line));
                note(|seen| seen.says.extend(trouble));
                self.refused = Some(now);
            }
        }
    }
}

fn read(identities: &[Identity], open: &Opener) -> (Result<Vec<keys::Own>, Trouble>, Marks) {
    let mut reader = Reader::new(open);
    let mut all = Vec::new();
    for identity in identities {
        match identity.read(&mut reader) {
            Ok(own) => all.extend(own),
            Err(trouble) => return (Err(trouble), reader.marks),
        }
    }
    (Ok(all), reader.marks)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// PEM text that was coded in base64, as `postmap -F` keeps it; `None` when it is none.
fn from_base64(value: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in value.bytes().filter(|b| !b.is_ascii_whitespace()) {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    let begins = |text: &[u8]| out.windows(text.len()).any(|w| w == text);
    begins(b"-----BEGIN ").then_some(out)
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chooser")
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = match hello.server_name() {
            Some(name) => self.of_name(name).ok()?,
            None => None,
        };
        named.unwrap_or_else(|| self.own()).choose(&hello)
    }
}
