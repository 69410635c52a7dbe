//! XCLIENT: test as somebody else; XFORWARD: what a filter knows of the original client.
//! XCLIENT_README, XFORWARD_README. The machine has checked names, syntax and who may.

use crate::backend::Backend;
use crate::client::Known;
use crate::session::{Session, no};
use proto::smtp::command::Attributes;
use proto::smtp::reply::Reply;
use proto::smtp::server::Decision;

impl<B: Backend> Session<B> {
    pub(crate) async fn xclient(&mut self, attributes: Attributes) -> Decision {
        let reverse_given = attributes.iter().any(|(name, _)| name == "REVERSE_NAME");
        (self.helo, self.extended) = (None, false);
        (self.login, self.mechanisms) = (None, None);
        self.leave_milters().await;
        for (name, value) in attributes {
            let not_now = value.as_ref().is_some_and(|v| v.eq_ignore_ascii_case("[TEMPUNAVAIL]"));
            let value = value.filter(|_| !not_now);
            let known = match (&value, not_now) {
                (Some(_), _) => Known::Yes,
                (None, true) => Known::NotNow,
                (None, false) => Known::No,
            };
            let or_unknown = || value.clone().unwrap_or_else(|| "unknown".into());
            match name.as_str() {
                "NAME" => {
                    (self.client.name, self.client.known) = (or_unknown(), known);
                    // As in Postfix, a name that is not given says nothing of the other.
                    if !reverse_given && value.is_some() {
                        (self.client.reverse_name, self.client.reverse_known) = (or_unknown(), known);
                    }
                }
                "REVERSE_NAME" => {
                    (self.client.reverse_name, self.client.reverse_known) = (or_unknown(), known);
                }
                "ADDR" => {
                    self.client.address = or_unknown();
                    self.client.ip = value.and_then(|v| v.parse().ok());
                }
                "PORT" => self.client.port = or_unknown(),
                "HELO" => self.helo = value,
                "PROTO" => self.extended = value.is_some_and(|v| v.eq_ignore_ascii_case("ESMTP")),
                "DESTADDR" => {
                    let ip = value.and_then(|v| v.parse().ok());
                    let port = self.server.map_or(0, |s| s.port());
                    self.server = ip.map(|ip| std::net::SocketAddr::new(ip, port)).or(self.server);
                }
                "DESTPORT" => {
                    let port = value.and_then(|v| v.parse().ok());
                    if let (Some(server), Some(port)) = (&mut self.server, port) {
                        server.set_port(port);
                    }
                }
                "LOGIN" => {
                    let as_user = |user| {
                        Box::new(crate::auth::Login { method: "XCLIENT".into(), user, ..Default::default() })
                    };
                    self.login = value.filter(|_| self.service.logins.is_some()).map(as_user);
                }
                _ => {}
            }
        }
        self.label = self.client.label();
        self.unlimited = self.unlimited || self.service.unlimited(&self.client, &self.source);
        self.forget();
        let banner = Reply::new(220, self.service.smtpd.smtpd_banner().clone());
        match self.meet_milters(self.open).await {
            None => Decision::Reply(banner),
            Some(Ok(refusal) | Err(refusal)) => no(refusal),
        }
    }

    pub(crate) fn xforward(&mut self, attributes: Attributes) -> Decision {
        for (name, value) in attributes {
            self.forwarded.retain(|(n, _)| *n != name);
            self.forwarded.extend(value.map(|v| (name, v)));
        }
        Decision::Accept
    }
}
