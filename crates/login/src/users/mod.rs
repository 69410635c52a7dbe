//! `smtpd_sasl_type = valija`: users of valija's own, or a lookup table that holds hashes.
//!
//! ```text
//! smtpd_sasl_path = smtpd                       the file that valija_users_file names (`valija user`)
//! smtpd_sasl_path = hash:/etc/postfix/passwords one or more tables: name, and one or more hashes
//! ```
//!
//! Why a file of valija's own beside main.cf: what the mail role can write (the data directory) must not say
//! who may log in. It belongs to root alone; master opens it for the role, so a change takes
//! effect at the next reload, which `valija user` asks for. A file that the role may read itself
//! is read again when it changes, as every table is.

pub mod file;

use crate::about::About;
use crate::machine::{Answer, Book, Common, Desk};
use crate::{Authenticator, Waiting};
use file::{Entry, Users};
use sasl::scram;
use sasl::server::Kept;
use sasl::{Mechanism, Secret};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tables::live::{Content, Live, Parse};
use tables::{Maps, Types};

/// Where users come from.
enum Source {
    File(Box<Live<Users>>),
    Tables(Maps),
}

/// The users.
struct Own {
    source: Source,
    common: Common,
    /// What unknown names are compared with where the source has nothing for it.
    nobody: OnceLock<Option<Entry>>,
}

/// The users of the file at `path`.
pub fn in_file(types: &Types, path: &Path, common: Common) -> Arc<dyn Authenticator> {
    let own = in_file_raw(types, path, common);
    let common = own.common.clone();
    Desk::open(own, common)
}

fn in_file_raw(types: &Types, path: &Path, common: Common) -> Own {
    let parse: Parse<Users> = Box::new(|path, bytes| {
        let remedy = || format!("write {} anew with `valija user`", path.display());
        let text = std::str::from_utf8(bytes).map_err(|_| ("it is no UTF-8 text".to_string(), remedy()))?;
        let users = Users::read(text);
        let place = |(line, what): &(usize, String)| {
            format!("{}, line {line}: {what}; the row is left out", path.display())
        };
        let faults: Vec<String> = users.faults.iter().map(place).collect();
        Ok(Content { value: users, clean: faults.is_empty(), faults })
    });
    let name = path.display().to_string();
    let live = Live::open(types, &name, vec![(PathBuf::from(path), parse)]);
    Own { source: Source::File(Box::new(live)), common, nobody: OnceLock::new() }
}

/// The users in tables, as a list of `type:name`.
pub fn in_tables<'a>(
    types: &Types,
    parameter: &str,
    names: impl IntoIterator<Item = &'a str>,
    common: Common,
) -> Arc<dyn Authenticator> {
    let names: Vec<String> = names.into_iter().map(str::to_string).collect();
    desk(Source::Tables(Maps::of(types, parameter, &names)), common)
}

fn desk(source: Source, common: Common) -> Arc<dyn Authenticator> {
    let own = Own { source, common: common.clone(), nobody: OnceLock::new() };
    Desk::open(own, common)
}

/// A user who was found, or what stands for one who does not exist.
struct Found {
    user: Option<String>,
    entry: Entry,
}

/// The names under which a login is looked for: as it was said; with the realm, where it has none; without
/// the realm.
fn candidates(user: &str, realm: &str) -> Vec<String> {
    let mut all = vec![user.to_lowercase()];
    if !realm.is_empty() {
        let realm = realm.to_lowercase();
        match user.rsplit_once('@') {
            None => all.push(format!("{}@{realm}", user.to_lowercase())),
            Some((local, domain)) if domain.to_lowercase() == realm => all.push(local.to_lowercase()),
            Some(_) => {}
        }
    }
    all
}

impl Own {
    /// Looks a user up; an error was logged.
    fn find(&self, user: &str, realm: &str) -> Result<Found, ()> {
        let say = |what: &dyn std::fmt::Display| self.common.say(what);
        let names = candidates(user, realm);
        // A name that no file can hold is not asked for.
        let names = names.into_iter().filter(|n| file::name(n).is_ok());
        match &self.source {
            Source::File(live) => {
                let users = live.get().map_err(|error| say(&error))?;
                for name in names {
                    if let Some(entry) = users.get(&name) {
                        return Ok(Found { user: Some(name), entry: entry.clone() });
                    }
                }
                let entry = users.stand_in().cloned().or_else(|| self.nobody());
                Ok(Found { user: None, entry: entry.ok_or(())? })
            }
            Source::Tables(maps) => {
                for name in names {
                    let hit = maps.lookup(&name).map_err(|error| say(&error))?;
                    let Some(hit) = hit else { continue };
                    match entry_of(&hit.value) {
                        Ok(entry) => return Ok(Found { user: Some(name), entry }),
                        Err(what) => {
                            say(&format!(
                                "{}: the hash of {name:?} cannot be used: {what}",
                                maps.parameter()
                            ));
                            break;
                        }
                    }
                }
                Ok(Found { user: None, entry: self.nobody().ok_or(())? })
            }
        }
    }

    /// Something to compare with that costs what the users' hashes cost: one of theirs, where the tables
    /// tell their rows. Its password lets nobody in, for there is no user to let in.
    fn nobody(&self) -> Option<Entry> {
        let first = |maps: &Maps| {
            let rows = maps.tables().iter().find_map(|t| t.rows().ok().flatten())?;
            rows.iter().take(100).find_map(|(_, value)| entry_of(value).ok())
        };
        let make = || match &self.source {
            Source::Tables(maps) => first(maps).or_else(Entry::of_nobody),
            Source::File(_) => Entry::of_nobody(),
        };
        self.nobody.get_or_init(make).clone()
    }
}

/// The hashes in the value of a table; a plain password may hold blanks.
fn entry_of(value: &str) -> Result<Entry, String> {
    let plain = value.trim().to_ascii_uppercase().starts_with("{PLAIN}");
    Entry::read(value, if plain { '\n' } else { ' ' })
}

impl Book for Own {
    fn mechanisms(&self) -> Result<Vec<Mechanism>, String> {
        let mut all = vec![Mechanism::Plain, Mechanism::Login];
        if let Source::File(live) = &self.source {
            let users = live.get().map_err(|error| error.to_string())?;
            let scram =
                [(scram::Hash::Sha1, Mechanism::ScramSha1), (scram::Hash::Sha256, Mechanism::ScramSha256)];
            for (hash, mechanism) in scram {
                if users.all_have(hash) && users.unknown().is_some() {
                    all.insert(0, mechanism);
                }
            }
        }
        Ok(all)
    }

    fn check<'a>(
        &'a self,
        _how: Mechanism,
        user: &'a str,
        secret: Secret,
        about: &'a About,
    ) -> Waiting<'a, Answer<String>> {
        Box::pin(async move {
            let Ok(found) = self.find(user, &about.realm) else { return Answer::Unknown };
            let address = about.remote.map(|r| r.ip());
            let entry = found.entry;
            let job = move || entry.password().is_some_and(|hash| hash.fits(&secret));
            match (self.common.workers.run(address, user, job).await, found.user) {
                (Ok(true), Some(user)) => Answer::Yes(user),
                (Ok(_), _) => Answer::No,
                (Err(_), _) => Answer::Full,
            }
        })
    }

    fn know<'a>(&'a self, user: &'a str, how: Mechanism, about: &'a About) -> Waiting<'a, Answer<Kept>> {
        Box::pin(async move {
            let hash = match how {
                Mechanism::ScramSha1 => scram::Hash::Sha1,
                Mechanism::ScramSha256 => scram::Hash::Sha256,
                _ => return Answer::No,
            };
            let Ok(found) = self.find(user, &about.realm) else { return Answer::Unknown };
            let exists = found.user.is_some();
            match found.entry.keys(hash) {
                Some(stored) if exists => Answer::Yes(Kept::Stored(stored.clone())),
                // The proof of somebody who knows the keys of nobody would still fail.
                Some(stored) => Answer::Yes(Kept::Stored(of_nobody(stored, user))),
                None => Answer::No,
            }
        })
    }

    fn counted_name(&self, user: &str, about: &About) -> String {
        let names = candidates(user, &about.realm);
        names.into_iter().max_by_key(String::len).unwrap_or_default()
    }

    fn full_name(&self, user: &str, about: &About) -> String {
        let found = self.find(user, &about.realm).ok().and_then(|f| f.user);
        found.unwrap_or_else(|| user.to_lowercase())
    }
}

/// Keys that nobody has, with a salt of this name alone that stays the same.
fn of_nobody(stored: &scram::Stored, user: &str) -> scram::Stored {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    let key = Key::new(HMAC_SHA256, stored.server_key.bytes());
    let made =
        |what: &str| sign(&key, format!("{what}\0{}", user.to_lowercase()).as_bytes()).as_ref().to_vec();
    let mut new = stored.clone();
    for (bytes, what) in [(&mut new.salt, "salt"), (&mut new.stored_key, "stored")] {
        let length = bytes.len();
        *bytes = made(what).into_iter().cycle().take(length).collect();
    }
    new
}

#[cfg(test)]
pub(crate) mod tests;
