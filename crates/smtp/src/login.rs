//! Logging in to servers: who, by which mechanism, and what becomes of a refusal. RFC 4954.
//!
//! A login is looked up by the sender (`smtp_sender_dependent_authentication`), then by the host's name,
//! then by the next hop as it is written; what has none does not log in. A token for XOAUTH2 and
//! OAUTHBEARER stands where the password does.

use crate::events::*;
use crate::route::Protocol;
use crate::session::{Endpoint, Session};
use crate::words;
use config::params::tls::{LmtpSasl, SmtpSasl, Tls as Common};
use config::{Config, Problem};
use proto::Address;
use proto::smtp::client::{Answer, Stage};
use proto::status::{Code, Status};
use sasl::client::{Credentials, Place};
use sasl::mechanism::{Options, choose};
use sasl::{Client, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tables::matchlist::StringList;
use tables::{Maps, Types};

/// More challenges no mechanism has.
const CHALLENGES: usize = 8;

/// So many refused logins are remembered.
const MOST: usize = 1000;

/// What a client service obeys of logging in.
pub struct Login {
    maps: Maps,
    by_sender: bool,
    plain: Options,
    encrypted: Options,
    filter: StringList,
    soft_bounce: bool,
    /// How long refused logins are remembered, when they are.
    remember: Option<Duration>,
    refused: Mutex<BTreeMap<String, (Instant, Status)>>,
    /// Servers and users whose refusal was explained.
    told: Mutex<BTreeSet<String>>,
}

macro_rules! read {
    ($p:expr, $($name:ident),*) => { ($($p.$name().clone(),)*) };
}

impl Login {
    /// Reads it; `None` when nobody logs in. `config` has the settings of the service's line.
    pub fn load(config: &Config, types: &Types, protocol: Protocol) -> Result<Option<Login>, Vec<Problem>> {
        let (prefix, values) = match protocol {
            Protocol::Smtp => {
                let p = SmtpSasl::load(config)?;
                let values = read!(
                    p,
                    smtp_sasl_auth_enable,
                    smtp_sasl_password_maps,
                    smtp_sasl_security_options,
                    smtp_sasl_tls_security_options,
                    smtp_sasl_mechanism_filter,
                    smtp_sasl_type,
                    smtp_sasl_auth_soft_bounce,
                    smtp_sasl_auth_cache_name,
                    smtp_sasl_auth_cache_time
                );
                ("smtp", values)
            }
            Protocol::Lmtp => {
                let p = LmtpSasl::load(config)?;
                let values = read!(
                    p,
                    lmtp_sasl_auth_enable,
                    lmtp_sasl_password_maps,
                    lmtp_sasl_security_options,
                    lmtp_sasl_tls_security_options,
                    lmtp_sasl_mechanism_filter,
                    lmtp_sasl_type,
                    lmtp_sasl_auth_soft_bounce,
                    lmtp_sasl_auth_cache_name,
                    lmtp_sasl_auth_cache_time
                );
                ("lmtp", values)
            }
        };
        let (enabled, maps, plain, encrypted, filter, kind, soft_bounce, cache, time) = values;
        let bad = |suffix: &str, what: String, remedy: &str| {
            let name = format!("{prefix}_sasl_{suffix}");
            vec![config.placed(&name, Problem::of(&name, what, remedy))]
        };
        if !enabled {
            return Ok(None);
        }
        if maps.0.is_empty() {
            let remedy = "name a table with the login, such as hash:/etc/postfix/sasl_passwd";
            return Err(bad("password_maps", "there is none, but logging in is switched on".into(), remedy));
        }
        if kind != "cyrus" {
            return Err(bad(
                "type",
                format!("unsupported SASL client implementation: {kind}"),
                "write cyrus",
            ));
        }
        let options = |suffix: &str, words: &config::value::List| {
            let known = "noplaintext, noactive, nodictionary, noanonymous, mutual_auth, forward_secrecy";
            Options::read(words.0.iter().map(String::as_str))
                .map_err(|word| bad(suffix, format!("unknown word {word:?}"), &format!("there are {known}")))
        };
        let name = |suffix: &str| format!("{prefix}_sasl_{suffix}");
        Ok(Some(Login {
            maps: Maps::of(types, &name("password_maps"), &maps.0),
            by_sender: *Common::load(config)?.smtp_sender_dependent_authentication(),
            plain: options("security_options", &plain)?,
            encrypted: options("tls_security_options", &encrypted)?,
            filter: StringList::open(types, &name("mechanism_filter"), &filter.0),
            soft_bounce,
            remember: (!cache.is_empty() && soft_bounce).then_some(time),
            refused: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// The login for a server; an error is words for the administrator.
    pub fn credentials(
        &self,
        sender: &Address,
        host: &str,
        nexthop: &str,
    ) -> Result<Option<Credentials>, String> {
        let look = |key: &str| self.maps.lookup(key).map_err(|e| e.to_string());
        let mut found = None;
        if self.by_sender && !sender.is_null() {
            found = look(&sender.internal())?;
            if let (None, Some(domain)) = (&found, sender.domain()) {
                found = look(&format!("@{domain}"))?;
            }
        }
        for key in [host, nexthop] {
            if found.is_none() {
                found = look(key)?;
            }
        }
        Ok(found.map(|hit| {
            let (user, secret) = hit.value.trim_end().split_once(':').unwrap_or((hit.value.trim_end(), ""));
            Credentials { user: user.to_string(), secret: secret.into() }
        }))
    }

    /// Logs in, if the server knows of logging in at all.
    pub async fn log_in(
        &self,
        session: &mut Session,
        who: Credentials,
        voice: &events::Source,
    ) -> Result<(), Status> {
        if session.features.auth.is_empty() {
            return Ok(());
        }
        let label = session.peer.label.clone();
        let cannot = |why: &str| {
            let text = format!("SASL authentication failed; cannot authenticate to server {label}: {why}");
            Status::new(Code(4, 7, 0), text)
        };
        let options = if session.is_encrypted() { self.encrypted } else { self.plain };
        let allowed = |name: &str| {
            self.filter.is_empty() || self.filter.matches(name).is_ok_and(|found| found.is_some())
        };
        let offered = session.features.auth.iter().map(String::as_str);
        let Some(mechanism) = choose(offered, allowed, options) else {
            voice.say(&Doubt { what: "SASL authentication failure: No worthy mechs found".into() });
            return Err(cannot("no mechanism available"));
        };
        let key = format!("{}\n{}\n{}", session.peer.host, who.user, digest(&who));
        if let Some(status) = self.remembered(&key) {
            return Err(status);
        }
        let port = match &session.peer.endpoint {
            Endpoint::Inet(address) => address.port(),
            Endpoint::Unix(_) => 0,
        };
        let host = session.peer.host.clone();
        let user = who.user.clone();
        let nonce = sasl::nonce().ok_or_else(|| cannot("no random numbers"))?;
        let client = Client::new(mechanism, who, Place { host: &host, port }, nonce);
        let client = client.map_err(|fault| cannot(&fault.to_string()))?;
        match converse(session, client).await {
            Ok(()) => Ok(()),
            Err(Failed::Broken(status)) => Err(status),
            Err(Failed::Fault(fault)) => Err(cannot(&fault.to_string())),
            Err(Failed::Refused(answer)) => {
                let status = self.refusal(session, &answer);
                if answer.code == 535 {
                    self.explain(&label, &user, voice);
                }
                // What fails for now may succeed with the same password.
                if answer.class() == 5 {
                    self.keep(key, &status);
                }
                Err(status)
            }
        }
    }

    fn refusal(&self, session: &Session, answer: &Answer) -> Status {
        let (label, said) = (&session.peer.label, answer.one_line());
        let text = format!("SASL authentication failed; server {label} said: {said}");
        let mut status = words::by_server(&session.peer, answer, text);
        if self.soft_bounce && status.code.0 == 5 {
            status.code.0 = 4;
        }
        status
    }

    /// Says once what to do about a refused login.
    fn explain(&self, label: &str, user: &str, voice: &events::Source) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MOST && told.insert(format!("{label}\n{user}")) {
            let (server, user) = (label.to_string(), user.to_string());
            voice.say(&LoginRefused { server, user, parameter: self.maps.parameter().to_string() });
        }
    }

    fn remembered(&self, key: &str) -> Option<Status> {
        let time = self.remember?;
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, status) = refused.get(key)?;
        (since.elapsed() < time)
            .then(|| Status { text: status.text.replacen("SASL ", "SASL [CACHED] ", 1), ..status.clone() })
    }

    fn keep(&self, key: String, status: &Status) {
        let Some(time) = self.remember else { return };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= MOST {
            refused.retain(|_, (since, _)| since.elapsed() < time);
        }
        if refused.len() < MOST {
            refused.insert(key, (Instant::now(), status.clone()));
        }
    }
}

/// Another password is another login; what is remembered does not hold it.
fn digest(who: &Credentials) -> String {
    net::tls::certificate::fingerprint(who.secret.bytes())
}

enum Failed {
    Broken(Status),
    Refused(Answer),
    Fault(Fault),
}

/// The dialogue of AUTH.
async fn converse(session: &mut Session, mut client: Client) -> Result<(), Failed> {
    let broken =
        |session: &Session, trouble| Failed::Broken(words::broken(&session.peer, Stage::Auth, &trouble));
    let name = client.mechanism().name();
    let line = match client.initial() {
        // RFC 4954 4: nothing at all is written so.
        Some(initial) if initial.bytes().is_empty() => format!("AUTH {name} ="),
        Some(initial) => format!("AUTH {name} {}", sasl::encode(initial.bytes())),
        None => format!("AUTH {name}"),
    };
    let mut answer = session.command(&line, Stage::Auth).await.map_err(|t| broken(session, t))?;
    for _ in 0..CHALLENGES {
        if answer.class() != 3 {
            break;
        }
        let text = answer.text.rsplit('\n').next().and_then(|l| l.get(4..)).unwrap_or_default();
        let challenge = sasl::decode(text).ok_or(Fault::Nonsense("not base64"));
        let response = match challenge {
            Ok(challenge) => {
                // Hashing a password takes a while.
                let computed = tokio::task::spawn_blocking(move || {
                    let response = client.respond(&challenge);
                    (client, response)
                });
                let (back, response) = computed.await.map_err(|_| Failed::Fault(Fault::Unsayable))?;
                client = back;
                response
            }
            Err(fault) => Err(fault),
        };
        match response {
            Ok(response) => {
                let line = sasl::encode(response.bytes());
                answer = session.command(&line, Stage::Auth).await.map_err(|t| broken(session, t))?;
            }
            Err(fault) => {
                let _ = session.command("*", Stage::Auth).await;
                return Err(Failed::Fault(fault));
            }
        }
    }
    match answer.class() {
        2 => client.succeed(None).map_err(Failed::Fault),
        4 | 5 => Err(Failed::Refused(answer)),
        _ => Err(Failed::Fault(Fault::Nonsense("one challenge too many"))),
    }
}
