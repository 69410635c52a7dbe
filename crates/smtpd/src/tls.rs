//! Encryption of sessions: what a listener offers. The handshakes themselves are in `encryption`.

use crate::events::*;
use config::params::tls::{SmtpdTls, Tls as Common};
use config::value::split_list;
use config::{Config, Problem};
use net::tls::Protocols;
use net::tls::client::Authorities;
use net::tls::server::{Acceptor, Ciphers, Digest, Guests, Identity, Say, Setup, StandIn, Trouble};
use proto::smtp::server::{Settings, Starttls};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tables::{Maps, Types};

/// How a listener uses encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    None,
    May,
    Encrypt,
}

/// What a listener obeys of it.
pub(crate) struct Tls {
    level: Level,
    /// The handshake comes first of all, as on port 465.
    pub(crate) wrapper: bool,
    pub(crate) loglevel: i64,
    pub(crate) received_header: bool,
    pub(crate) limit: Duration,
    /// How many new TLS sessions a client may begin per time unit; 0 for any number.
    pub(crate) new_sessions: u64,
    /// Clients are asked for certificates.
    pub(crate) asks_clients: bool,
    /// Certificates of the public's authorities verify.
    pub(crate) trusts_anybody: bool,
    /// Those without one that can be trusted are not served.
    pub(crate) requires_clients: bool,
    pub(crate) relay_clientcerts: Vec<String>,
    /// What is odd about the settings, said when the first client comes.
    notes: Vec<String>,
    setup: Result<Setup, Trouble>,
    types: Types,
    /// Certificates and keys, read when the first client comes.
    acceptor: OnceLock<Arc<Acceptor>>,
    /// What was wrong with them the last time, and when that was.
    broken: Mutex<Option<(Trouble, Instant)>>,
}

/// Certificates and keys that cannot be used are looked at again after this time.
const AGAIN: Duration = Duration::from_secs(5);

impl Tls {
    pub(crate) fn load(config: &Config, types: &Types) -> Result<Tls, Vec<Problem>> {
        let (p, common) = (SmtpdTls::load(config)?, Common::load(config)?);
        let (wrapper, mut notes) = (*p.smtpd_tls_wrappermode(), Vec::new());
        let level = match p.smtpd_tls_security_level().to_ascii_lowercase().as_str() {
            _ if wrapper => Level::Encrypt,
            "" if *p.smtpd_enforce_tls() => Level::Encrypt,
            "" if *p.smtpd_use_tls() => Level::May,
            "" | "none" => Level::None,
            "may" => Level::May,
            "encrypt" => Level::Encrypt,
            other @ ("dane" | "dane-only" | "fingerprint" | "verify" | "secure") => {
                let what = "smtpd_tls_security_level: unsupported TLS level";
                notes.push(format!("{what} \"{other}\", using \"encrypt\""));
                Level::Encrypt
            }
            other => {
                let name = "smtpd_tls_security_level";
                let problem = Problem::of(name, format!("bad value {other:?}"), "write none, may or encrypt");
                return Err(vec![config.placed(name, problem)]);
            }
        };
        let required = *p.smtpd_tls_req_ccert();
        let requires_clients = required && level == Level::Encrypt;
        let asks_clients = requires_clients || *p.smtpd_tls_ask_ccert();
        if required && level == Level::May {
            notes.push("Can't require client certs unless TLS is required".to_string());
        }
        if level != Level::None && !p.smtpd_tls_chain_files().0.is_empty() && has_pairs(&p) {
            notes.push(LEGACY.to_string());
        }
        Ok(Tls {
            level,
            wrapper,
            loglevel: *p.smtpd_tls_loglevel(),
            received_header: *p.smtpd_tls_received_header(),
            limit: *p.smtpd_starttls_timeout(),
            new_sessions: u64::try_from(*p.smtpd_client_new_tls_session_rate_limit()).unwrap_or(0),
            asks_clients,
            trusts_anybody: asks_clients && level != Level::None && *common.tls_append_default_ca(),
            requires_clients,
            relay_clientcerts: p.relay_clientcerts().0.clone(),
            notes,
            setup: setup(config, &p, &common, level, asks_clients, types),
            types: types.clone(),
            acceptor: OnceLock::new(),
            broken: Mutex::default(),
        })
    }

    /// Certificates and keys, read the first time; why they cannot be used is said then, and again only
    /// when it is something else.
    pub(crate) fn acceptor(&self, source: &events::Source) -> Option<&Arc<Acceptor>> {
        if let Some(acceptor) = self.acceptor.get() {
            return Some(acceptor);
        }
        // One at a time.
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = broken.is_none() && self.acceptor.get().is_none();
        if broken.as_ref().is_some_and(|(_, when)| when.elapsed() < AGAIN) {
            return None;
        }
        if first {
            self.notes.iter().for_each(|what| source.say(&NoTls { what: what.clone() }));
            if self.loglevel >= 2 {
                source.say(&StartingTls {});
            }
        }
        let load = || {
            let types = self.types.clone();
            let open = Arc::new(move |path: &Path| types.open_file(path));
            Acceptor::load(self.setup.as_ref().map_err(Trouble::clone)?, open)
        };
        if self.acceptor.get().is_none() {
            match load() {
                Ok((acceptor, says)) => {
                    tell(source, says);
                    let _ = self.acceptor.set(Arc::new(acceptor));
                }
                Err(trouble) => {
                    if broken.as_ref().is_none_or(|(former, _)| *former != trouble) {
                        tell(source, trouble.clone());
                    }
                    *broken = Some((trouble, Instant::now()));
                }
            }
        }
        self.acceptor.get()
    }

    /// Clients may encrypt.
    pub(crate) fn is_possible(&self) -> bool {
        self.level != Level::None
    }

    /// Clients must encrypt.
    pub(crate) fn is_required(&self) -> bool {
        self.level == Level::Encrypt
    }

    /// Tells the machine what to offer.
    pub(crate) fn offer(&self, settings: &mut Settings, source: &events::Source) {
        settings.encrypted_only = self.level == Level::Encrypt;
        settings.starttls = match self.level {
            Level::None => Starttls::Absent,
            _ if self.acceptor(source).is_some() => Starttls::Offered,
            _ => Starttls::Broken,
        };
    }
}

/// Says what there is to say of certificates and keys.
pub(crate) fn tell(source: &events::Source, says: Vec<Say>) {
    for say in says {
        match say {
            Say::Info(what) => source.say(&TlsNews { what }),
            Say::Warning(what) => source.say(&NoTls { what }),
            Say::Library(what) => source.say(&TlsLibrary { what }),
        }
    }
}

/// An error is why there is no encryption.
fn setup(
    config: &Config,
    p: &SmtpdTls,
    common: &Common,
    level: Level,
    asks_clients: bool,
    types: &Types,
) -> Result<Setup, Trouble> {
    let warn = |what: String| vec![Say::Warning(what)];
    let mandatory = level == Level::Encrypt;
    let protocols = match mandatory {
        true => p.smtpd_tls_mandatory_protocols(),
        false => p.smtpd_tls_protocols(),
    };
    let protocols = Protocols::parse(&protocols.0).map_err(|_| {
        warn(format!("Invalid TLS protocol list \"{}\": disabling TLS support", protocols.0.join(" ")))
    })?;
    let ciphers = if mandatory { p.smtpd_tls_mandatory_ciphers() } else { p.smtpd_tls_ciphers() };
    if !Ciphers::is_grade(ciphers) {
        return Err(warn(format!("invalid cipher grade: \"{ciphers}\": disabling TLS support")));
    }
    if ciphers.eq_ignore_ascii_case("null") {
        let what = "there are no ciphers here that do not encrypt (cipher grade \"null\")";
        return Err(warn(format!("{what}: disabling TLS support")));
    }
    let always = p.smtpd_tls_exclude_ciphers().0.iter();
    let further = p.smtpd_tls_mandatory_exclude_ciphers().0.iter().filter(|_| mandatory);
    let suites = Ciphers::default().excluding(always.chain(further).map(String::as_str));
    let digest = p.smtpd_tls_fingerprint_digest();
    let digest = Digest::named(digest).ok_or_else(|| {
        let what = format!("Digest algorithm \"{digest}\" not found");
        vec![Say::Warning(what), Say::Warning("disabling TLS support".into())]
    })?;
    let path = |text: &str| Some(text).filter(|t| !t.is_empty()).map(PathBuf::from);
    let guests = asks_clients.then(|| Guests {
        authorities: Authorities {
            file: path(p.smtpd_tls_ca_file()),
            path: path(p.smtpd_tls_ca_path()),
            system: *common.tls_append_default_ca(),
            ..Authorities::default()
        },
        depth: u64::try_from(*p.smtpd_tls_ccert_verifydepth()).unwrap_or(0),
    });
    let stand_in = mandatory.then(|| StandIn {
        host: config.get("myhostname").unwrap_or_default(),
        directory: config.get("data_directory").unwrap_or_default().into(),
    });
    let names = Some(&p.tls_server_sni_maps().0).filter(|maps| !maps.is_empty()).map(|maps| {
        let maps = Maps::of(types, "tls_server_sni_maps", maps);
        let look_up = move |name: &str| match maps.lookup(name) {
            Ok(hit) => Ok(hit.map(|hit| hit.value)),
            Err(error) => Err(error.to_string()),
        };
        Arc::new(look_up) as Arc<net::tls::server::LookUp>
    });
    let tickets = Some(*p.smtpd_tls_session_cache_timeout())
        .filter(|life| !life.is_zero() && !p.tls_session_ticket_cipher().is_empty());
    Ok(Setup {
        identities: identities(p),
        stand_in,
        names,
        protocols,
        ciphers: suites,
        guests,
        digest,
        tickets,
        prefers: *p.tls_preempt_cipherlist(),
    })
}

const LEGACY: &str = "Both smtpd_tls_chain_files and one or more of the legacy  smtpd_tls_cert_file, \
                      smtpd_tls_eccert_file or smtpd_tls_dcert_file are non-empty; the legacy  parameters will \
                      be ignored";

fn is_named(certificate: &str) -> bool {
    !matches!(certificate, "" | "none")
}

fn has_pairs(p: &SmtpdTls) -> bool {
    is_named(p.smtpd_tls_cert_file()) || is_named(p.smtpd_tls_eccert_file())
}

fn identities(p: &SmtpdTls) -> Vec<Identity> {
    let files: Vec<PathBuf> =
        p.smtpd_tls_chain_files().0.iter().flat_map(|f| split_list(f)).map(PathBuf::from).collect();
    if !files.is_empty() {
        return vec![Identity::Chains(files)];
    }
    let pairs = [
        ("RSA", p.smtpd_tls_cert_file(), p.smtpd_tls_key_file()),
        ("ECDSA", p.smtpd_tls_eccert_file(), p.smtpd_tls_eckey_file()),
    ];
    let named = pairs.into_iter().filter(|(_, certificate, _)| is_named(certificate));
    named
        .map(|(kind, certificate, key)| Identity::Pair {
            kind,
            certificate: certificate.into(),
            key: key.into(),
        })
        .collect()
}
