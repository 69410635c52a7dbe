//! `smtpd_sasl_type = cyrus`, Postfix's default, without the library: what the service file says is done
//! here, with saslauthd or with the passwords in sasldb. What it asks for beyond that is said, and no login
//! is offered.
//!
//! Names are as Cyrus SASL has them: `user@realm` is split for whoever is asked, a name without realm gets
//! `smtpd_sasl_local_domain` (and for sasldb else the name of the host), and the full name is what is logged
//! and given rights to.

pub mod saslauthd;
pub mod sasldb;
pub mod service_file;

use crate::about::About;
use crate::machine::{Answer, Book, Common, Desk};
use crate::{Authenticator, Waiting};
use sasl::scram::{self, Stored};
use sasl::server::Kept;
use sasl::{Mechanism, Secret};
use saslauthd::{Question, Saslauthd, Trouble};
use sasldb::Sasldb;
use service_file::{Method, ServiceFile};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tables::Types;
use tables::live::{Content, Live, Parse};

/// What the configuration says of it.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// `cyrus_sasl_config_path`.
    pub search: &'a str,
    /// `smtpd_sasl_path`: the name of the service file.
    pub service: &'a str,
    /// The directory of main.cf.
    pub directory: &'a Path,
    /// The directory that Postfix's smtpd would be locked in, when master.cf says so: what is asked lies
    /// there then.
    pub chroot: Option<&'a Path>,
    /// `valija_sasldb_file`, where the service file names no other.
    pub sasldb: &'a Path,
}

/// Where saslauthd listens on Debian.
const SOCKET: &str = "/var/run/saslauthd/mux";

/// The iterations of SCRAM over a password that is kept in clear.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The authenticator that the service file describes; an error says what of it cannot be served.
pub fn open(types: &Types, setting: Setting<'_>, common: Common) -> Result<Arc<dyn Authenticator>, String> {
    let below = |path: PathBuf| {
        let inside = setting.chroot.map(|root| root.join(path.strip_prefix("/").unwrap_or(&path)));
        inside.into_iter().chain([path]).collect::<Vec<_>>()
    };
    let Plan { path, file, mechanisms } = plan(types, &setting)?;
    let lacking: Vec<&str> = file.mechanisms.iter().flatten().map(String::as_str).collect();
    let lacking: Vec<&str> =
        lacking.into_iter().filter(|m| !mechanisms.iter().any(|s| s.name() == *m)).collect();
    if !lacking.is_empty() {
        let what = format!("{}: mech_list: {} not offered here", path.display(), lacking.join(", "));
        types.notice("smtpd_sasl_path", true, what);
    }
    let has = |method| file.methods.contains(&method);
    let socket = file.saslauthd.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
    let database = file.sasldb.clone().unwrap_or_else(|| setting.sasldb.to_path_buf());
    let cyrus = Cyrus {
        saslauthd: has(Method::Saslauthd).then(|| Saslauthd::at(below(socket))),
        sasldb: has(Method::Sasldb).then(|| database_of(types, below(database))),
        methods: file.methods,
        mechanisms,
        common: common.clone(),
        key: OnceLock::new(),
    };
    Ok(Desk::open(cyrus, common))
}

/// What will be done.
struct Plan {
    path: PathBuf,
    file: ServiceFile,
    mechanisms: Vec<Mechanism>,
}

fn plan(types: &Types, setting: &Setting<'_>) -> Result<Plan, String> {
    let (path, file) = find(types, setting)?;
    let mechanisms = served(&file);
    if mechanisms.is_empty() {
        let place = path.display();
        return Err(format!(
            "{place}: none of the mechanisms in mech_list is served with this pwcheck_method"
        ));
    }
    Ok(Plan { path, file, mechanisms })
}

/// What the administrator should know before the system is started.
pub fn fault(types: &Types, setting: &Setting<'_>) -> Option<String> {
    let file = match plan(types, setting) {
        Err(what) => return Some(what),
        Ok(plan) => plan.file,
    };
    let database = file.sasldb.as_deref().unwrap_or(setting.sasldb);
    let gone = file.methods.contains(&Method::Sasldb) && !database.exists();
    gone.then(|| format!("{} does not exist; make it with saslpasswd2", database.display()))
}

/// The service file, or what is wrong with it. Without one Cyrus SASL has its defaults.
fn find(types: &Types, setting: &Setting<'_>) -> Result<(PathBuf, ServiceFile), String> {
    if setting.service.is_empty() || setting.service.contains('/') {
        return Err(format!(
            "smtpd_sasl_path = {}: with smtpd_sasl_type = cyrus it is the name of a service file, such as smtpd; \
             did you mean smtpd_sasl_type = dovecot?",
            setting.service
        ));
    }
    let places = service_file::places(setting.search, setting.directory, setting.service);
    for path in &places {
        let mut text = String::new();
        let read = types.open_file(path).and_then(|file| {
            let mut limited = std::io::Read::take(file, 1 << 17);
            std::io::Read::read_to_string(&mut limited, &mut text)
        });
        match read {
            Ok(_) => {
                let file = service_file::read(&text).map_err(|what| format!("{}: {what}", path.display()))?;
                return Ok((path.clone(), file));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                return Err(format!(
                    "{}: {}; let the mail system read it",
                    path.display(),
                    tables::live::words(&e)
                ));
            }
        }
    }
    let first = places.into_iter().next().unwrap_or_default();
    service_file::read("").map(|file| (first, file))
}

/// What can be offered. CRAM-MD5 only where it is asked for by name: it is weak, and wants the password.
/// Where saslauthd knows some of the users, they have nothing but plain passwords.
fn served(file: &ServiceFile) -> Vec<Mechanism> {
    let known = match file.mechanisms {
        Some(_) => file.methods.contains(&Method::Sasldb),
        None => file.methods == [Method::Sasldb],
    };
    let all = [
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::CramMd5,
        Mechanism::Plain,
        Mechanism::Login,
    ];
    let possible = all.into_iter().filter(|m| known || matches!(m, Mechanism::Plain | Mechanism::Login));
    match &file.mechanisms {
        None => possible.filter(|m| *m != Mechanism::CramMd5).collect(),
        Some(listed) => {
            let possible: Vec<Mechanism> = possible.collect();
            // In the order of the list.
            listed.iter().filter_map(|name| possible.iter().copied().find(|m| m.name() == name)).collect()
        }
    }
}

fn database_of(types: &Types, places: Vec<PathBuf>) -> Live<Sasldb> {
    let name = places.last().map(|p| p.display().to_string()).unwrap_or_default();
    let of = |path: PathBuf| {
        let parse: Parse<Sasldb> = Box::new(|_, bytes| match Sasldb::read(bytes) {
            Ok(value) => Ok(Content { value, faults: Vec::new(), clean: true }),
            Err(what) => Err((what, "make it with saslpasswd2".to_string())),
        });
        (path, parse)
    };
    Live::open(types, &name, places.into_iter().map(of).collect())
}

struct Cyrus {
    methods: Vec<Method>,
    mechanisms: Vec<Mechanism>,
    saslauthd: Option<Saslauthd>,
    sasldb: Option<Live<Sasldb>>,
    common: Common,
    /// For the salts of SCRAM, and for what unknown names are compared with.
    key: OnceLock<[u8; 32]>,
}

/// The name with the realm it belongs to.
fn full_name(user: &str, realm: &str) -> String {
    match user.contains('@') || realm.is_empty() {
        true => user.to_string(),
        false => format!("{user}@{realm}"),
    }
}

impl Cyrus {
    async fn by_saslauthd(&self, user: &str, secret: &Secret, about: &About) -> Answer<String> {
        let Some(saslauthd) = &self.saslauthd else { return Answer::Unknown };
        let (name, realm) = user.rsplit_once('@').unwrap_or((user, about.realm.as_str()));
        // It takes a zero byte for the end of the text.
        if name.is_empty() || secret.bytes().contains(&0) {
            return Answer::No;
        }
        let familiar = self.common.workers.is_familiar(about.remote.map(|r| r.ip()), user);
        let service = if about.service.is_empty() { "smtp" } else { &about.service };
        match saslauthd.ask(Question { user: name, secret, service, realm }, familiar).await {
            Ok(true) => Answer::Yes(full_name(user, &about.realm)),
            Ok(false) => Answer::No,
            Err(Trouble::Full) => Answer::Full,
            Err(Trouble::Other(what)) => {
                self.common.say(what);
                Answer::Unknown
            }
        }
    }

    /// The password of a user, or `None` for no such user; an error was logged.
    fn password(&self, user: &str, about: &About) -> Result<Option<Secret>, ()> {
        let Some(live) = &self.sasldb else { return Err(()) };
        let default = if about.realm.is_empty() { &about.host } else { &about.realm };
        let (name, realm) = user.rsplit_once('@').unwrap_or((user, default));
        match live.get() {
            Ok(database) => Ok(database.get(name, realm).cloned()),
            Err(error) => {
                self.common.say(error);
                Err(())
            }
        }
    }

    /// A secret made of `text` that nobody can guess.
    fn made(&self, text: &str) -> Vec<u8> {
        use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
        let key = self.key.get_or_init(|| {
            let mut key = [0; 32];
            match aws_lc_rs::rand::fill(&mut key) {
                Ok(()) => key,
                // Without random numbers no login gets as far as this.
                Err(_) => [0; 32],
            }
        });
        sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    }
}

impl Book for Cyrus {
    fn mechanisms(&self) -> Result<Vec<Mechanism>, String> {
        // saslauthd may be started later; passwords that cannot be read are for the administrator.
        if let (Some(live), [Method::Sasldb]) = (&self.sasldb, self.methods.as_slice()) {
            let readable = live.get().map(|_| ()).map_err(|error| {
                format!("{error} (make it with saslpasswd2; valija_sasldb_file names it, so that root's can be read)")
            });
            readable?;
        }
        Ok(self.mechanisms.clone())
    }

    fn check<'a>(
        &'a self,
        how: Mechanism,
        user: &'a str,
        secret: Secret,
        about: &'a About,
    ) -> Waiting<'a, Answer<String>> {
        Box::pin(async move {
            let mut refused = Answer::No;
            for method in &self.methods {
                let answer = match method {
                    Method::Saslauthd => self.by_saslauthd(user, &secret, about).await,
                    Method::Sasldb => match self.password(user, about) {
                        Err(()) => Answer::Unknown,
                        Ok(known) => {
                            let exists = known.is_some();
                            let known = known.unwrap_or_else(|| self.made(user).into());
                            let digest =
                                |s: &Secret| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, s.bytes());
                            let same = aws_lc_rs::constant_time::verify_slices_are_equal(
                                digest(&known).as_ref(),
                                digest(&secret).as_ref(),
                            );
                            match same.is_ok() && exists {
                                true => Answer::Yes(full_name(user, &about.realm)),
                                false => Answer::No,
                            }
                        }
                    },
                };
                match answer {
                    Answer::Yes(user) => return Answer::Yes(user),
                    Answer::No => {}
                    // Somebody who cannot be asked might have said yes.
                    other => refused = other,
                }
            }
            if how == Mechanism::Plain {
                self.common.say("Password verification failed");
            }
            refused
        })
    }

    fn know<'a>(&'a self, user: &'a str, how: Mechanism, about: &'a About) -> Waiting<'a, Answer<Kept>> {
        Box::pin(async move {
            let Ok(known) = self.password(user, about) else { return Answer::Unknown };
            let secret = known.unwrap_or_else(|| self.made(user).into());
            let hash = match how {
                Mechanism::ScramSha1 => scram::Hash::Sha1,
                Mechanism::ScramSha256 => scram::Hash::Sha256,
                _ => return Answer::Yes(Kept::Secret(secret)),
            };
            let mut salt = self.made(&format!("salt\0{user}"));
            salt.truncate(16);
            let job = move || Stored::new(hash, &secret, &salt, ITERATIONS);
            match self.common.workers.run(about.remote.map(|r| r.ip()), user, job).await {
                Ok(stored) => Answer::Yes(Kept::Stored(stored)),
                Err(_) => Answer::Full,
            }
        })
    }

    fn full_name(&self, user: &str, about: &About) -> String {
        full_name(user, &about.realm)
    }

    fn logged_name(&self, user: &str, about: &About) -> String {
        full_name(user, &about.realm)
    }

    fn counted_name(&self, user: &str, about: &About) -> String {
        match self.saslauthd {
            // Most ways in which it looks at passwords know no realms.
            Some(_) => user.rsplit_once('@').map_or(user, |(name, _)| name).to_string(),
            None if about.realm.is_empty() => full_name(user, &about.host),
            None => full_name(user, &about.realm),
        }
    }

    /// In the library's words.
    fn refused(&self, how: Mechanism, acts_for_another: bool) {
        self.common.say(match how {
            _ if acts_for_another => "Requested identity not authenticated identity",
            Mechanism::CramMd5 => "incorrect digest response",
            _ => "StoredKey mismatch",
        });
    }

    fn unknown(&self) -> &'static str {
        "generic failure"
    }
}

#[cfg(test)]
mod tests;
