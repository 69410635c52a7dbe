//! Mail filters in a session: when each is told what, and what its words mean to the client and the log. As in Postfix:
//! CONNECT, HELO and EHLO are answered as always unless the connection is to end, and the filter's word then holds for
//! the commands that follow; XCLIENT begins a new session with the filters, too.

use crate::backend::Backend;
use crate::client::{Client, Known};
use crate::events::{AccessNote, Reject, TableTrouble};
use crate::restrictions::Stage;
use crate::session::{Session, place_of};
use config::{Config, Problem};
use milter::plan::Manner;
use milter::{Macros, Plan, Word};
use proto::Address;
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;
use std::sync::Arc;
use tables::{Maps, Types};

/// `smtpd_milters` and what goes with them; nothing when there are none.
#[derive(Default)]
pub(crate) struct Settings {
    plan: Option<Arc<Plan>>,
    maps: Option<(Maps, Arc<Manner>)>,
}

impl Settings {
    /// Reads what a listener obeys; none under `receive_override_options = no_milters`.
    pub(crate) fn load(config: &Config, types: &Types, off: bool) -> Result<Settings, Vec<Problem>> {
        let params = config::params::milter::Milter::load(config)?;
        let maps = params.smtpd_milter_maps();
        if off || params.smtpd_milters().0.is_empty() && maps.0.is_empty() {
            return Ok(Settings::default());
        }
        let manner = Arc::new(Manner::load(config)?);
        let plan = Plan::of_smtp(config, &manner)?.map(Arc::new);
        let maps = Maps::of(types, "smtpd_milter_maps", &maps.0);
        let maps = (!maps.is_empty()).then_some((maps, manner));
        Ok(Settings { plan, maps })
    }

    /// There may be filters for some clients.
    pub(crate) fn is_possible(&self) -> bool {
        self.plan.is_some() || self.maps.is_some()
    }

    /// The filters for a client; an error is words for the administrator.
    fn for_client(&self, client: &Client) -> Result<Option<Arc<Plan>>, String> {
        if let Some((maps, manner)) = &self.maps {
            match maps.lookup(&client.address) {
                Ok(Some(hit)) => return Ok(Plan::read_row(&hit.value, manner)?.map(Arc::new)),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(self.plan.clone())
    }
}

/// The filters of a session.
pub(crate) struct Milters {
    pub(crate) session: milter::Session,
    /// A message was begun.
    in_message: bool,
    /// How often they are still to be told that something is over.
    aborts: u8,
}

/// For how many connections of its client a session counts, told as a macro.
pub(crate) type Open = u64;

impl<B: Backend> Session<B> {
    /// Tells filters of the client; what it is greeted with instead of the banner, and whether the session ends so.
    pub(crate) async fn meet_milters(&mut self, open: Open) -> Option<Result<Reply, Reply>> {
        let service = self.service.clone();
        if !service.milters.is_possible() || self.standalone {
            return None;
        }
        let plan = match service.milters.for_client(&self.client) {
            Ok(plan) => plan?,
            Err(what) => {
                // Mail that should be filtered waits.
                self.source.say(&TableTrouble { what });
                let text = format!("4.3.0 {} Server local error", service.hostname());
                return Some(Err(Reply::new(421, text)));
            }
        };
        let mut session = milter::Session::new(plan);
        self.describe(&mut session.macros, open);
        let name = match self.client.name.as_str() {
            "" | "unknown" => format!("[{}]", self.client.address),
            name => name.to_string(),
        };
        let client =
            milter::Client { name: &name, ip: self.client.ip, port: self.client.port.parse().unwrap_or(0) };
        let word = session.connect(client, &self.source).await;
        self.milters = Some(Box::new(Milters { session, in_message: false, aborts: 0 }));
        let reply = self.heed(Stage::Connect, None, word)?;
        let hostname = service.hostname();
        match reply.code {
            421 => {
                let text = format!("{hostname} Service unavailable - try again later");
                Some(Err(Reply::new(421, text)))
            }
            500.. => Some(Ok(Reply::new(554, format!("{hostname} ESMTP not accepting connections")))),
            _ => None,
        }
    }

    /// What filters are told of the client and this host.
    fn describe(&self, macros: &mut Macros, open: Open) {
        let client = &self.client;
        let v6 = client.ip.is_some_and(|ip| ip.is_ipv6());
        let resolved = match client.known {
            Known::Yes => "OK",
            Known::NotNow => "TEMP",
            Known::No => "FAIL",
            Known::Forged => "FORGED",
        };
        let counted = if self.unlimited { 0 } else { open };
        let address = format!("{}{}", if v6 { "IPv6:" } else { "" }, client.address);
        for (name, value) in [
            ("j", self.service.hostname().to_string()),
            ("_", format!("{} [{}]", client.name, client.address)),
            ("{client_addr}", address),
            ("{client_name}", client.name.clone()),
            ("{client_port}", client.port.clone()),
            ("{client_ptr}", client.reverse_name.clone()),
            ("{client_resolve}", resolved.to_string()),
            ("{client_connections}", counted.to_string()),
        ] {
            macros.set(name, Some(value));
        }
        if let Some(local) = self.server {
            macros.set("{daemon_addr}", Some(local.ip().to_canonical().to_string()));
            macros.set("{daemon_port}", Some(local.port().to_string()));
        }
    }

    /// Tells filters of HELO or EHLO; `again`: there was one before. A reply ends the session.
    pub(crate) async fn helo_to_milters(&mut self, stage: Stage, again: bool) -> Option<Reply> {
        let mut milters = self.milters.take()?;
        let macros = &mut milters.session.macros;
        let tls = self.tls.as_deref();
        macros.set("{tls_version}", tls.map(|t| t.protocol.to_string()));
        macros.set("{cipher}", tls.map(|t| t.cipher.to_string()));
        macros.set("{cipher_bits}", tls.map(|t| t.bits.to_string()));
        let peer = tls.and_then(|t| t.peer.as_deref());
        macros.set("{cert_subject}", peer.map(|p| p.subject.clone()));
        macros.set("{cert_issuer}", peer.map(|p| p.issuer.clone()));
        let name = self.helo.clone().unwrap_or_default();
        let word = milters.session.helo(&name, &self.source).await;
        milters.aborts += u8::from(again);
        self.milters = Some(milters);
        self.heed(stage, None, word).filter(|reply| reply.code == 421)
    }

    /// Tells filters of a sender whom nobody else refuses. `line` is the command as it came.
    pub(crate) async fn mail_to_milters(&mut self, line: &str) -> Option<Reply> {
        self.finish_aborts().await;
        let mut milters = self.milters.take()?;
        let mail = self.mail.as_ref();
        let arguments = arguments(line, mail.map_or("", |m| &m.written));
        let macros = &mut milters.session.macros;
        let login = self.login.as_deref();
        macros.set("{auth_type}", login.map(|l| l.method.clone()));
        macros.set("{auth_authen}", login.map(|l| l.user.clone()));
        macros.set("{auth_author}", login.and_then(|l| l.sender.clone()));
        let sender = self.sender().cloned().unwrap_or_default();
        if let Some(route) = self.service.world.route(&sender) {
            macros.set("{mail_addr}", Some(route.address));
            macros.set("{mail_host}", Some(route.nexthop));
            macros.set("{mail_mailer}", Some(route.transport));
        }
        milters.in_message = true;
        let word = milters.session.mail(&arguments, &self.source).await;
        self.milters = Some(milters);
        let reply = self.heed(Stage::Mail, None, word);
        if reply.is_some() {
            self.abort_milters();
        }
        reply
    }

    /// Tells filters of a recipient whom nobody else refuses, or of one that was refused to those who want to know.
    pub(crate) async fn rcpt_to_milters(
        &mut self,
        line: &str,
        written: &str,
        recipient: &Address,
        refused: Option<&Reply>,
    ) -> Option<Reply> {
        let mut milters = self.milters.take()?;
        let arguments = arguments(line, written);
        let macros = &mut milters.session.macros;
        macros.set("i", self.id.clone());
        let told = match refused {
            Some(reply) => {
                let (code, text) = reply.text.split_once(' ').unwrap_or(("", &reply.text));
                let text = text.split_once(">: ").map_or(text, |(_, text)| text);
                Some(("error".to_string(), code.to_string(), text.to_string()))
            }
            None => self.service.world.route(recipient).map(|r| (r.transport, r.nexthop, r.address)),
        };
        if let Some((mailer, host, address)) = told {
            macros.set("{rcpt_mailer}", Some(mailer));
            macros.set("{rcpt_host}", Some(host));
            macros.set("{rcpt_addr}", Some(address));
        }
        let word = match refused {
            Some(_) if !milters.session.wants_rejected() => None,
            Some(_) => {
                milters.session.rejected(&arguments, &self.source).await;
                None
            }
            None => milters.session.rcpt(&arguments, &self.source).await,
        };
        self.milters = Some(milters);
        self.heed(Stage::Rcpt, Some(recipient), word)
    }

    /// Tells filters of DATA.
    pub(crate) async fn data_to_milters(&mut self, stage: Stage) -> Option<Reply> {
        let mut milters = self.milters.take()?;
        let macros = &mut milters.session.macros;
        macros.set("i", self.id.clone());
        let first = self.first_recipient.clone();
        if let Some(route) = first.as_ref().and_then(|first| self.service.world.route(first)) {
            macros.set("{rcpt_addr}", Some(route.address));
        }
        let word = milters.session.data(&self.source).await;
        self.milters = Some(milters);
        self.heed(stage, first.as_ref(), word)
    }

    /// Tells filters of a command that nobody knows.
    pub(crate) async fn unknown_to_milters(&mut self, line: &str) -> Option<Reply> {
        self.finish_aborts().await;
        let mut milters = self.milters.take()?;
        milters.session.macros.set("i", self.id.clone());
        let word = line.split_ascii_whitespace().next().unwrap_or_default();
        let word = milters.session.unknown(word, &self.source).await;
        self.milters = Some(milters);
        let first = self.first_recipient.clone();
        self.heed(Stage::Unknown, first.as_ref(), word)
    }

    /// What filters said before holds for commands that they are not told of.
    pub(crate) fn standing_of_milters(&self) -> Option<Reply> {
        match self.milters.as_ref()?.session.standing()? {
            Word::Reply(reply) => Some(reply),
            Word::Shutdown => Some(closing()),
            Word::Discard | Word::Hold => None,
        }
    }

    /// A message, if there is one, is over.
    pub(crate) fn abort_milters(&mut self) {
        if let Some(milters) = self.milters.as_mut().filter(|m| m.in_message) {
            milters.in_message = false;
            milters.aborts += 1;
            milters.session.macros.forget_message();
        }
    }

    /// Tells filters what is over.
    pub(crate) async fn finish_aborts(&mut self) {
        if let Some(milters) = self.milters.as_mut() {
            for _ in 0..std::mem::take(&mut milters.aborts) {
                milters.session.abort().await;
            }
        }
    }

    /// What the client said of itself no longer counts.
    pub(crate) fn unsay_helo(&mut self) {
        if self.helo.take().is_some()
            && let Some(milters) = self.milters.as_mut()
        {
            milters.aborts += 1;
        }
    }

    /// The session is over, or begins anew for another client.
    pub(crate) async fn leave_milters(&mut self) {
        self.abort_milters();
        self.finish_aborts().await;
        if let Some(mut milters) = self.milters.take() {
            milters.session.quit().await;
        }
    }

    /// Logs and obeys a filter's word; a reply when it refuses.
    fn heed(&mut self, stage: Stage, recipient: Option<&Address>, word: Option<Word>) -> Option<Reply> {
        let id = self.id.clone().unwrap_or_else(|| "NOQUEUE".into());
        let (place, client, about) = (place_of(stage), self.label.clone(), self.about(recipient));
        let (what, text) = match word? {
            Word::Hold => {
                self.orders.hold = true;
                ("milter-hold", "milter triggers HOLD action")
            }
            Word::Discard => {
                self.discard = true;
                ("milter-discard", "milter triggers DISCARD action")
            }
            refusal => {
                let reply = if let Word::Reply(reply) = refusal { reply } else { closing() };
                self.faults = self.faults | Faults::POLICY;
                let shown = in_log(&reply);
                self.source
                    .say_of(&id, &Reject { what: "milter-reject", place, client, reply: shown, about });
                return Some(reply);
            }
        };
        self.source.say_of(&id, &AccessNote { what, place, client, text: text.to_string(), about });
        None
    }
}

fn closing() -> Reply {
    Reply::new(421, "4.7.0 Server closing connection")
}

/// A reply as the log shows it: the line ends that the filter wrote cannot be printed.
fn in_log(reply: &Reply) -> String {
    format!("{} {}", reply.code, reply.text.replace('\n', &format!("??{} ", reply.code)))
}

/// The address as it was written, and each parameter.
fn arguments(line: &str, written: &str) -> Vec<String> {
    let rest = line.split_once(written).map_or("", |(_, rest)| rest);
    std::iter::once(written.to_string()).chain(rest.split_ascii_whitespace().map(str::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_commands() {
        assert_eq!(arguments("MAIL FROM:<a@b> SIZE=1  BODY=7BIT", "<a@b>"), ["<a@b>", "SIZE=1", "BODY=7BIT"]);
        assert_eq!(arguments("rcpt to: a@b", "a@b"), ["a@b"]);
        assert_eq!(arguments("", "<>"), ["<>"]);
    }

    #[test]
    fn replies_in_the_log() {
        assert_eq!(in_log(&Reply::new(554, "5.7.3 A\n5.7.3 B")), "554 5.7.3 A??554 5.7.3 B");
    }
}
