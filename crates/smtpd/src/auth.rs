//! AUTH: what is offered, the exchange with the [`Authenticator`], and what a login is worth.
//! RFC 4954
//!
//! Whether a login is good is the authenticator's word. An authenticator that cannot be had offers
//! nothing, and the log says why; whoever tries nonetheless is told to come back, and so is whoever
//! would be refused for want of a login (see `permit_sasl_authenticated`).

use crate::backend::Backend;
use crate::events::{AuthAborted, AuthFailed, AuthTrouble, NoAuth, TooManyLogins};
use crate::limits::Kind;
use crate::service::Clients;
use crate::session::Session;
use ::login::offer::Options;
use ::login::{About, Authenticator, Encryption, Exchange, Failure, Offer, Step};
use config::params::auth::SmtpdSasl;
use config::params::main::Main;
use config::{Config, Problem};
use proto::smtp::reply::Reply;
use proto::smtp::server::{Auth, Decision, Gate, Session as Machine};
use sasl::Secret;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tables::Types;
use tables::matchlist::{AddressList, StringList};

/// Who a client logged in as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The mechanism, as the client wrote it.
    pub method: String,
    /// The user.
    pub user: String,
    /// AUTH= of the present MAIL, where it is believed.
    pub sender: Option<String>,
}

/// The mechanisms that a session may use.
pub(crate) struct Offered {
    names: Vec<String>,
    /// The same in one line, for EHLO.
    line: Arc<str>,
}

impl Offered {
    fn none() -> Offered {
        Offered { names: Vec::new(), line: "".into() }
    }

    fn has(&self, mechanism: &str) -> bool {
        self.names.iter().any(|n| n.eq_ignore_ascii_case(mechanism))
    }
}

/// How clients of a listener log in.
pub(crate) struct Logins {
    authenticator: Result<Arc<dyn Authenticator>, String>,
    plain: Rules,
    encrypted: Rules,
    filter: StringList,
    exceptions: Option<Clients>,
    service: String,
    realm: String,
    host: String,
    old_syntax: bool,
    response_limit: usize,
    encrypted_only: bool,
    /// Show the user in Received.
    pub(crate) header: bool,
    /// The log has heard that nothing can be offered.
    complained: AtomicBool,
}

/// What mechanisms must meet, and those that do, as long as the authenticator offers the same.
struct Rules {
    options: Options,
    last: Mutex<Option<Filtered>>,
}

/// What an authenticator offers, and what is left of it.
type Filtered = (Arc<[Offer]>, Arc<Offered>);

impl Rules {
    fn read(config: &Config, name: &str, words: &[String]) -> Result<Rules, Vec<Problem>> {
        let options = Options::read(words.iter().map(String::as_str)).map_err(|word| {
            let remedy =
                "write noplaintext, noactive, nodictionary, noanonymous, forward_secrecy or mutual_auth";
            vec![config.placed(name, Problem::of(name, format!("unknown word {word:?}"), remedy))]
        })?;
        Ok(Rules { options, last: Mutex::default() })
    }
}

impl Logins {
    /// Reads what a listener obeys; `None` where nobody may log in. As in Postfix,
    /// where clients must encrypt they do so before they log in.
    pub(crate) fn load(
        config: &Config,
        types: &Types,
        (shared, chroot): (&::login::Shared, bool),
        must_encrypt: bool,
        source: &events::Source,
    ) -> Result<Option<Logins>, Vec<Problem>> {
        let (p, main) = (SmtpdSasl::load(config)?, Main::load(config)?);
        let (plain, encrypted) = (p.smtpd_sasl_security_options(), p.smtpd_sasl_tls_security_options());
        let plain = Rules::read(config, "smtpd_sasl_security_options", &plain.0)?;
        let encrypted = Rules::read(config, "smtpd_sasl_tls_security_options", &encrypted.0)?;
        if !*p.smtpd_sasl_auth_enable() {
            return Ok(None);
        }
        let authenticator = ::login::open(config, types, chroot, shared, source);
        if let Err(what) = &authenticator {
            source.say(&AuthTrouble { what: what.clone() });
            source.say(&NoAuth {});
        }
        let networks = &p.smtpd_sasl_exceptions_networks().0;
        let filter = &p.smtpd_sasl_mechanism_filter().0;
        Ok(Some(Logins {
            complained: AtomicBool::new(authenticator.is_err()),
            authenticator,
            plain,
            encrypted,
            filter: StringList::open(types, "smtpd_sasl_mechanism_filter", filter),
            exceptions: (!networks.is_empty()).then(|| {
                Clients(AddressList::open(types, "smtpd_sasl_exceptions_networks", networks, false))
            }),
            service: p.smtpd_sasl_service().clone(),
            realm: p.smtpd_sasl_local_domain().clone(),
            host: main.myhostname().clone(),
            old_syntax: *p.broken_sasl_auth_clients(),
            response_limit: usize::try_from(*p.smtpd_sasl_response_limit()).unwrap_or(12288),
            encrypted_only: *p.smtpd_tls_auth_only() || must_encrypt,
            header: *p.smtpd_sasl_authenticated_header(),
        }))
    }

    /// What the machine is told before anybody asked for mechanisms.
    pub(crate) fn begin(&self, encrypted: bool) -> Option<Auth> {
        (encrypted || !self.encrypted_only).then(|| self.offer("".into()))
    }

    fn offer(&self, offered: Arc<str>) -> Auth {
        Auth { offered, old_syntax: self.old_syntax, response_limit: self.response_limit }
    }

    /// The mechanisms that a session may use; an error is words for the log.
    async fn offers(&self, encrypted: bool) -> Result<Arc<Offered>, String> {
        let authenticator = self.authenticator.as_ref().map_err(Clone::clone)?;
        let all = authenticator.mechanisms().await?;
        let rules = if encrypted { &self.encrypted } else { &self.plain };
        let mut last = rules.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, offered)) = last.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &all)) {
            return Ok(offered.clone());
        }
        let mut names = Vec::new();
        for offer in all.iter().filter(|o| rules.options.permit(o.properties)) {
            if self.filter.matches(&offer.name).map_err(|e| e.to_string())?.is_some() {
                names.push(offer.name.clone());
            }
        }
        let offered = Arc::new(Offered { line: names.join(" ").into(), names });
        *last = Some((all, offered.clone()));
        Ok(offered)
    }

    /// Once, until it is better.
    fn complain(&self, what: Option<String>, source: &events::Source) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            what.into_iter().for_each(|what| source.say(&AuthTrouble { what }));
            source.say(&NoAuth {});
        }
    }
}

/// A login of this session under way.
pub(crate) struct Underway {
    method: String,
    exchange: Box<dyn Exchange>,
}

impl<B: Backend> Session<B> {
    /// Tells the machine whether there is such a thing as a login; mechanisms are found out when the client
    /// says EHLO. Again after encryption began.
    pub(crate) fn begin_logins(&mut self, machine: &mut Machine) {
        let (logins, encrypted) = (self.service.logins.as_ref(), self.tls.is_some());
        let auth = logins.and_then(|l| l.begin(encrypted));
        let settings = machine.settings_mut();
        settings.auth = auth;
        settings.auth_gate = self.auth_gate();
    }

    /// Finds out what the client may log in with, and tells the machine.
    pub(crate) async fn offer_logins(&mut self, machine: &mut Machine) {
        let service = self.service.clone();
        let Some(logins) = &service.logins else { return };
        let encrypted = self.tls.is_some();
        if logins.encrypted_only && !encrypted {
            return;
        }
        let offered = match logins.offers(encrypted).await {
            Ok(offered) if !offered.names.is_empty() => {
                logins.complained.store(false, Ordering::Relaxed);
                offered
            }
            Ok(none) => {
                logins.complain(None, &self.source);
                none
            }
            Err(what) => {
                logins.complain(Some(what), &self.source);
                Arc::new(Offered::none())
            }
        };
        let excepted = logins.exceptions.as_ref().is_some_and(|e| e.has(&self.client, &self.source));
        let line = if excepted { "".into() } else { offered.line.clone() };
        machine.settings_mut().auth = Some(logins.offer(line));
        self.mechanisms = Some(offered);
    }

    /// AUTH.
    pub(crate) async fn auth(&mut self, mechanism: String, initial: Option<String>) -> Decision {
        let service = self.service.clone();
        let Some((logins, offered)) = service.logins.as_ref().zip(self.mechanisms.clone()) else {
            return self.refused(&mechanism, Failure::temporary(NOBODY, None));
        };
        let authenticator = match &logins.authenticator {
            Ok(authenticator) if !offered.names.is_empty() => authenticator,
            _ => return self.refused(&mechanism, Failure::temporary(NOBODY, None)),
        };
        if !offered.has(&mechanism) {
            return self.refused(&mechanism, Failure::denied("Invalid authentication mechanism", None));
        }
        let initial = match initial.as_deref() {
            None => None,
            Some("=") => Some(Secret::default()),
            Some(text) => match bytes(text) {
                Some(response) => Some(response),
                None => {
                    let why = "Invalid base64 data in initial response";
                    return self.refused(&mechanism, Failure::denied(why, None));
                }
            },
        };
        let about = Arc::new(self.about_client(logins));
        let exchange = authenticator.begin(&mechanism, about);
        self.advance(Underway { method: mechanism, exchange }, initial).await
    }

    /// What the client says to a challenge.
    pub(crate) async fn auth_response(&mut self, text: &str) -> Decision {
        let Some(underway) = self.underway.take() else {
            return self.refused("", Failure::temporary(NOBODY, None));
        };
        match bytes(text) {
            Some(response) => self.advance(*underway, Some(response)).await,
            None => {
                let why = "Invalid base64 data in continued response";
                self.refused(&underway.method, Failure::denied(why, None))
            }
        }
    }

    async fn advance(&mut self, mut underway: Underway, response: Option<Secret>) -> Decision {
        match underway.exchange.step(response).await {
            Step::Challenge(challenge) => {
                self.underway = Some(Box::new(underway));
                Decision::Reply(Reply::new(334, sasl::encode(&challenge)))
            }
            Step::Success { user } => {
                let method = underway.method;
                self.login = Some(Box::new(Login { method, user: shown(&user), sender: None }));
                Decision::Accept
            }
            Step::Failure(failure) => self.refused(&underway.method, failure),
        }
    }

    /// Users log in here, but there is nobody to decide about it now.
    pub(crate) fn logins_fail(&self) -> bool {
        self.service.logins.is_some() && self.mechanisms.as_ref().is_some_and(|m| m.names.is_empty())
    }

    /// The client gave up, or said too much at once.
    pub(crate) fn abandon(&mut self, given_up: bool) {
        let method = self.underway.take().map(|u| u.method).unwrap_or_default();
        if given_up {
            self.source.say(&AuthAborted { client: self.label.clone(), method });
        }
    }

    fn refused(&mut self, method: &str, failure: Failure) -> Decision {
        let user = failure.user.as_deref().map_or("(unavailable)".to_string(), short);
        let reason = shown(&failure.reason);
        failure.trouble.into_iter().for_each(|what| self.source.say(&AuthTrouble { what }));
        let client = self.label.clone();
        self.source.say(&AuthFailed { client, method: short(method), reason: reason.clone(), user });
        Decision::Reply(match failure.temporary {
            true => Reply::new(454, format!("4.7.0 Temporary authentication failure: {reason}")),
            false => Reply::new(535, format!("5.7.8 Error: authentication failed: {reason}")),
        })
    }

    fn about_client(&self, logins: &Logins) -> About {
        let port = self.client.port.parse().unwrap_or(0);
        About {
            service: logins.service.clone(),
            realm: logins.realm.clone(),
            host: logins.host.clone(),
            remote: self.client.ip.map(|ip| SocketAddr::new(ip, port)),
            unlimited: self.unlimited,
            local: self.server,
            name: self.client.name.clone(),
            encryption: self.tls.as_deref().map(|tls| Encryption {
                protocol: tls.protocol.into(),
                cipher: tls.cipher.into(),
                trusted_certificate: tls.trusted_peer().is_some(),
                common_name: tls.trusted_peer().map(|p| p.subject.clone()).filter(|n| !n.is_empty()),
                channel_binding: None,
            }),
        }
    }

    /// The machine's question for each AUTH (`smtpd_client_auth_rate_limit`).
    fn auth_gate(&self) -> Option<Gate> {
        let ip = self.client.ip.filter(|_| !self.unlimited)?;
        let limit = Some(self.service.auth_rate).filter(|l| *l > 0)?;
        let (service, source) = (self.service.clone(), self.source.clone());
        let (client, address) = (self.label.clone(), self.client.address.clone());
        Some(Arc::new(move || {
            let count = service.limits.count(Kind::Logins, &service.name, ip, Instant::now());
            (count > limit).then(|| {
                let (client, service) = (client.clone(), service.name.clone());
                source.say(&TooManyLogins { count, client, service });
                Reply::new(450, format!("4.7.1 Error: too many AUTH commands from {address}"))
            })
        }))
    }

    /// `, sasl_method=PLAIN, sasl_username=ana`
    pub(crate) fn login_logged(&self) -> String {
        let mut out = String::new();
        if let Some(login) = &self.login {
            out.push_str(&format!(", sasl_method={}, sasl_username={}", login.method, login.user));
        }
        if let Some(sender) = self.mail.as_ref().and_then(|m| m.auth.as_ref()) {
            out.push_str(&format!(", sasl_sender={}", shown(sender)));
        }
        out
    }

    /// The line of Received that tells who logged in.
    pub(crate) fn login_received(&self) -> Option<String> {
        self.service.logins.as_ref().filter(|l| l.header)?;
        Some(format!("(Authenticated sender: {})", self.login.as_ref().map(|l| comment(&l.user))?))
    }
}

/// Said while nobody can be logged in.
const NOBODY: &str = "no mechanism available";

/// From base64, which nothing may stand around.
fn bytes(text: &str) -> Option<Secret> {
    let clean = !text.contains(|c: char| c.is_ascii_whitespace());
    sasl::decode(text).filter(|_| clean).map(Secret::from)
}

/// On one line of the log, or of a header.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// As much of it as the log has.
fn short(text: &str) -> String {
    shown(text).chars().take(100).collect()
}

/// A name within a comment. RFC 5322 3.2.2
fn comment(user: &str) -> String {
    user.chars().map(|c| if "()\\".contains(c) { '?' } else { c }).collect()
}
