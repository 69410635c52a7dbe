//! `check_policy_service`: what another program says of a client. SMTPD_POLICY_README
//!
//! Here are the question and what becomes of the answer; the session puts the question
//! (`crate::policy`). A service counts its questions, so each is put once for each time its element
//! is come to: answers are known by their place among those of one evaluation, and forgotten with it.

use super::{Asked, Stage, Verdict, access};
use config::Config;
use config::params::policy::Policy;
use config::value::{Time, Value, in_braces, split_list};
use net::tls::Trust;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a policy service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket on this machine.
    Unix(PathBuf),
    /// Host and port.
    Inet(String, u16),
}

/// A policy service, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// The element of the list: those that are written alike share connections.
    pub(crate) element: String,
    /// As it is written, with `inet:` or `unix:`.
    pub(crate) name: String,
    /// The same without.
    pub(crate) label: String,
    pub(crate) place: Place,
    pub(crate) timeout: Duration,
    pub(crate) max_idle: Duration,
    pub(crate) max_ttl: Duration,
    /// 0 is no limit.
    pub(crate) request_limit: u64,
    pub(crate) try_limit: u64,
    pub(crate) retry_delay: Duration,
    default_action: String,
    context: String,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inquiry {
    pub(crate) server: Arc<Server>,
    /// `name=value` lines, without the empty one that ends them.
    pub(crate) request: String,
}

/// The action, or that there was no answer of use.
pub(crate) type Told = Option<String>;

/// What services hear of a session beside what every restriction knows.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Where the session is.
    pub stage: Stage,
    /// `SMTP` or `ESMTP`.
    pub protocol: &'static str,
    /// Our end of the connection.
    pub server: Option<SocketAddr>,
    /// The sender of the message under way.
    pub sender: Option<&'a proto::Address>,
    /// Its queue id, once it has one.
    pub id: &'a str,
    /// What names it among all messages.
    pub instance: &'a str,
    /// Its size: as the client said, then as it is.
    pub size: u64,
    /// How the session is encrypted.
    pub tls: Option<&'a net::tls::Summary>,
}

impl About<'_> {
    /// A session of which nothing is known.
    pub fn nothing() -> About<'static> {
        About {
            stage: Stage::Rcpt,
            protocol: "SMTP",
            server: None,
            sender: None,
            id: "",
            instance: "",
            size: 0,
            tls: None,
        }
    }
}

/// What counts when the default action itself leads to a service that is not there.
const LAST_RESORT: &str = "451 4.3.5 Server configuration problem";

/// A question with nothing to go by but its place.
pub(super) struct Service(Arc<Server>);

impl Service {
    /// Reads the argument of `check_policy_service`: a server, or `{ server, name = value, … }`.
    pub(super) fn read(config: &Config, argument: &str) -> Result<Service, String> {
        let defaults = Policy::load(config)
            .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let (name, options) = match in_braces(argument) {
            None => (argument.to_string(), Vec::new()),
            Some(inside) => {
                let mut words = split_list(inside).into_iter();
                (words.next().unwrap_or_default(), words.collect())
            }
        };
        let (place, label) = place_of(config, &name)?;
        let number = |n: &i64| u64::try_from(*n).unwrap_or(0);
        let mut server = Server {
            element: argument.to_string(),
            label,
            place,
            name,
            timeout: *defaults.smtpd_policy_service_timeout(),
            max_idle: *defaults.smtpd_policy_service_max_idle(),
            max_ttl: *defaults.smtpd_policy_service_max_ttl(),
            request_limit: number(defaults.smtpd_policy_service_request_limit()),
            try_limit: number(defaults.smtpd_policy_service_try_limit()),
            retry_delay: *defaults.smtpd_policy_service_retry_delay(),
            default_action: defaults.smtpd_policy_service_default_action().clone(),
            context: defaults.smtpd_policy_service_policy_context().clone(),
        };
        for option in options {
            let text = in_braces(&option).unwrap_or(&option);
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("malformed option: missing '=' after attribute name: \"{text}\""))?;
            server.set(name.trim(), value.trim())?;
        }
        server.try_limit = server.try_limit.max(1);
        server.context = one_line(&server.context);
        Ok(Service(Arc::new(server)))
    }

    pub(super) fn ask(&self, a: &mut Asked<'_, '_>) -> Verdict {
        // What others need is looked at ahead of its turn; this must not be.
        if a.notes.ahead {
            return Verdict::Wait;
        }
        let inquiry = Inquiry { server: self.0.clone(), request: request(a, &self.0) };
        let place = a.notes.inquiries;
        let Some(told) = a.q.facts.told(place, &inquiry) else {
            a.notes.inquiry = Some(inquiry);
            return Verdict::Wait;
        };
        a.notes.inquiries += 1;
        let (subject, table) = (a.subject.clone(), &self.0.name);
        let row = (table.as_str(), access::SERVICE);
        match told {
            Some(action) => access::obey(a, row, &subject, action),
            None => {
                let action = if a.notes.failing { LAST_RESORT } else { &self.0.default_action };
                let outer = std::mem::replace(&mut a.notes.failing, true);
                let verdict = access::obey(a, row, &subject, action);
                a.notes.failing = outer;
                verdict
            }
        }
    }
}

impl Server {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let time = || {
            let time = Time::read(name, value).map_err(|_| format!("bad time value: {name}={value}"))?;
            if time.is_zero() { Err(format!("invalid {name}: {value} (min 1)")) } else { Ok(time) }
        };
        let number = || value.parse::<u64>().map_err(|_| format!("bad numerical value: {name}={value}"));
        match name {
            "timeout" => self.timeout = time()?,
            "max_idle" => self.max_idle = time()?,
            "max_ttl" => self.max_ttl = time()?,
            "retry_delay" => self.retry_delay = time()?,
            "request_limit" => self.request_limit = number()?,
            "try_limit" => self.try_limit = number()?.max(1),
            "default_action" => self.default_action = value.to_string(),
            "policy_context" => self.context = value.to_string(),
            _ => return Err(format!("unexpected attribute name: {name}")),
        }
        Ok(())
    }
}

fn place_of(config: &Config, name: &str) -> Result<(Place, String), String> {
    let bad = || format!("{name} is no server; write inet:host:port or unix:path");
    let (kind, rest) = name.split_once(':').ok_or_else(bad)?;
    let place = match kind.to_ascii_lowercase().as_str() {
        "unix" | "local" if rest.starts_with('/') => Place::Unix(rest.into()),
        "unix" | "local" if !rest.is_empty() => {
            let queue = config.get("queue_directory").map_err(|e| e.to_string())?;
            Place::Unix(PathBuf::from(queue).join(rest))
        }
        "inet" => {
            let (host, port) = rest.rsplit_once(':').unwrap_or(("localhost", rest));
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = sys::services::port(port).ok_or_else(|| format!("{name}: unknown port {port}"))?;
            Place::Inet(if host.is_empty() { "localhost" } else { host }.to_string(), port)
        }
        _ => return Err(bad()),
    };
    Ok((place, rest.to_string()))
}

/// The attributes, in Postfix's order.
fn request(a: &Asked<'_, '_>, server: &Server) -> String {
    let (q, about) = (&a.q, &a.q.about);
    let state = match about.stage {
        Stage::Connect => "CONNECT",
        Stage::Helo => "HELO",
        Stage::Ehlo => "EHLO",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data | Stage::Bdat => "DATA",
        Stage::EndOfMessage => "END-OF-MESSAGE",
        Stage::Vrfy => "VRFY",
        Stage::Etrn => "ETRN",
        Stage::Unknown => "UNKNOWN",
    };
    let counted = matches!(about.stage, Stage::Data | Stage::Bdat | Stage::EndOfMessage);
    let recipients = if counted { q.recipients } else { 0 };
    let address = |a: Option<&proto::Address>| a.map(|a| a.internal()).unwrap_or_default();
    let (here, port) = match about.server {
        Some(here) => (here.ip().to_canonical().to_string(), here.port().to_string()),
        None => ("127.0.0.1".to_string(), "0".to_string()),
    };
    let mut out = String::with_capacity(1024);
    let mut say = |name: &str, value: &str| {
        out.push_str(name);
        out.push('=');
        // One line each, whatever a client wrote.
        out.extend(value.chars().map(|c| if matches!(c, '\n' | '\0') { '?' } else { c }));
        out.push('\n');
    };
    say("request", "smtpd_access_policy");
    say("protocol_state", state);
    say("protocol_name", about.protocol);
    say("client_address", &q.client.address);
    say("client_name", &q.client.name);
    say("client_port", &q.client.port);
    say("reverse_client_name", &q.client.reverse_name);
    say("server_address", &here);
    say("server_port", &port);
    say("helo_name", q.helo.unwrap_or_default());
    say("sender", &address(about.sender.or(q.sender)));
    say("recipient", &address(q.recipient));
    say("recipient_count", &recipients.to_string());
    say("queue_id", about.id);
    say("instance", about.instance);
    say("size", &about.size.to_string());
    say("etrn_domain", q.etrn);
    say("stress", &q.rules.stress);
    say("sasl_method", q.login.map_or("", |l| &l.method));
    say("sasl_username", q.login.map_or("", |l| &l.user));
    say("sasl_sender", q.login.and_then(|l| l.sender.as_deref()).unwrap_or_default());
    let peer = about.tls.and_then(|tls| tls.peer.as_deref());
    let trusted = about.tls.is_some_and(|tls| matches!(tls.trust, Trust::Trusted | Trust::Verified));
    let shown = |text: Option<&String>| text.map(|t| xtext(t)).unwrap_or_default();
    say("ccert_subject", &shown(peer.filter(|_| trusted).map(|p| &p.subject)));
    say("ccert_issuer", &shown(peer.filter(|_| trusted).map(|p| &p.issuer)));
    say("ccert_fingerprint", peer.map_or("", |p| &p.fingerprint));
    say("ccert_pubkey_fingerprint", peer.map_or("", |p| &p.key_fingerprint));
    say("encryption_protocol", about.tls.map_or("", |tls| tls.protocol));
    say("encryption_cipher", about.tls.map_or("", |tls| tls.cipher));
    say("encryption_keysize", &about.tls.map_or(0, |tls| tls.bits).to_string());
    say("policy_context", &server.context);
    out
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\0') { ' ' } else { c }).collect()
}

/// RFC 3461 4. As Postfix has it for policy services: what is printable and neither `+` nor `=` stays.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' => _ = write!(out, "+{byte:02X}"),
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => _ = write!(out, "+{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(argument: &str) -> Result<Server, String> {
        let text = "queue_directory = /q\nsmtpd_policy_service_try_limit = 5\n";
        let config = Config::from_text(Path::new("/nowhere"), text).unwrap();
        Service::read(&config, argument).map(|s| (*s.0).clone())
    }

    #[test]
    fn servers_and_their_settings() {
        let plain = read("unix:private/policy").unwrap();
        assert_eq!(plain.place, Place::Unix("/q/private/policy".into()));
        assert_eq!((plain.label.as_str(), plain.try_limit), ("private/policy", 5));
        assert_eq!(read("local:/run/p").unwrap().place, Place::Unix("/run/p".into()));
        assert_eq!(read("inet:9998").unwrap().place, Place::Inet("localhost".into(), 9998));
        assert_eq!(read("inet:[::1]:9998").unwrap().place, Place::Inet("::1".into(), 9998));
        let own = read(
            "{ inet:h:10023, timeout=10s, default_action=DUNNO policy_context=submission, { try_limit = 1 } }",
        )
        .unwrap();
        assert_eq!(own.place, Place::Inet("h".into(), 10023));
        assert_eq!((own.timeout, own.try_limit), (Duration::from_secs(10), 1));
        assert_eq!((own.default_action.as_str(), own.context.as_str()), ("DUNNO", "submission"));
        let own = read("{ inet:h:1, { default_action = 450 4.7.3 Not now, sorry } }").unwrap();
        assert_eq!(own.default_action, "450 4.7.3 Not now, sorry");
        for bad in [
            "private/policy",
            "hash:/x",
            "unix:",
            "inet:h:nosuchport",
            "{ inet:h:1, timeout }",
            "{ inet:h:1, timeout=0 }",
            "{ inet:h:1, other=1 }",
            "{ }",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_in_certificates() {
        assert_eq!(xtext("Wietse Venema"), "Wietse+20Venema");
        assert_eq!(xtext("a+b=ñ"), "a+2Bb+3D+C3+B1");
    }
}
