//! Who is let in, and how much one client may do (`smtpd_client_*_limit`).

use super::Session;
use crate::backend::Backend;
use crate::events::*;
use crate::limits::Kind;
use crate::restrictions::{Stage, Subject};
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;
use std::time::Instant;

impl<B: Backend> Session<B> {
    /// A refusal when this process died over the client more than once: it has to wait for a while.
    pub(super) fn shun(&self, ip: std::net::IpAddr) -> Option<Reply> {
        let seconds = sys::board::shunned(sys::board::Peer::Host(ip), sys::time::now_micros() / 1_000_000)?;
        self.source.say(&Shunned { client: self.label.clone(), seconds });
        Some(Reply::new(421, format!("4.3.0 {} Server local error", self.service.hostname())))
    }

    /// Counts the connection; a refusal when there are too many.
    pub(super) fn admit(&mut self, ip: std::net::IpAddr) -> Option<Reply> {
        let (service, smtpd) = (&self.service, &self.service.smtpd);
        let (open, rate) = service.limits.connect(&service.name, ip, Instant::now());
        self.open = open;
        let beyond = |n: u64, limit: &i64| *limit > 0 && n > *limit as u64;
        let (client, name) = (self.label.clone(), service.name.clone());
        if beyond(open, smtpd.smtpd_client_connection_count_limit()) {
            self.source.say(&TooManyConnections { count: open, client, service: name });
        } else if beyond(rate, smtpd.smtpd_client_connection_rate_limit()) {
            self.source.say(&TooFrequent { count: rate, client, service: name });
        } else {
            return None;
        }
        self.faults = self.faults | Faults::POLICY;
        let (hostname, client) = (self.service.hostname(), &self.client.address);
        Some(Reply::new(421, format!("4.7.0 {hostname} Error: too many connections from {client}")))
    }

    /// Counts a message or recipient; true when there are too many.
    pub(crate) fn too_many(&mut self, kind: Kind) -> bool {
        let (service, smtpd) = (&self.service, &self.service.smtpd);
        let limit = match kind {
            Kind::Messages => *smtpd.smtpd_client_message_rate_limit(),
            Kind::Recipients => *smtpd.smtpd_client_recipient_rate_limit(),
            Kind::Connections | Kind::Logins | Kind::Handshakes => 0,
        };
        let Some(ip) = self.client.ip.filter(|_| limit > 0 && !self.unlimited) else { return false };
        let count = service.limits.count(kind, &service.name, ip, Instant::now());
        if count <= limit as u64 {
            return false;
        }
        self.faults = self.faults | Faults::POLICY;
        let (client, service) = (self.label.clone(), service.name.clone());
        match kind {
            Kind::Recipients => self.source.say(&TooManyRecipients { count, client, service }),
            _ => self.source.say(&TooManyMessages { count, client, service }),
        }
        true
    }

    /// The greeting, or what smtpd_client_restrictions say.
    pub(super) async fn greet(&mut self) -> Result<Reply, Reply> {
        let service = self.service.clone();
        if !*service.smtpd.smtpd_delay_reject() && !service.lists.client.is_empty() {
            let (verdict, notes) = self
                .decide(|s, notes| {
                    service.lists.client.ask(s.question(None, None), Subject::client(&s.client), notes)
                })
                .await;
            self.settle(Stage::Connect, None, verdict, notes)?;
        }
        let banner = || Reply::new(220, service.smtpd.smtpd_banner().clone());
        self.meet_milters(self.open).await.unwrap_or_else(|| Ok(banner()))
    }

    /// What is said to every command of a client that the greeting refused.
    pub(super) fn denied(&self) -> Reply {
        Reply::new(503, format!("5.7.0 Error: access denied for {}", self.label))
    }
}
