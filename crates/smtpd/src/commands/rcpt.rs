//! RCPT: the question whether this client may send to this recipient. RFC 5321 4.1.1.3.

use crate::backend::{Backend, Incoming};
use crate::events::{Client as ClientEvent, IllegalAddress, TableTrouble};
use crate::limits::Kind;
use crate::restrictions::{self, Notes, Question, Stage, Subject, Verdict};
use crate::service::Service;
use crate::session::{Session, no};
use crate::world::Trouble;
use cleanup::{Origin, Source};
use proto::Address;
use proto::envelope::Client;
use proto::smtp::command::Rcpt;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Faults};

impl<B: Backend> Session<B> {
    pub(crate) async fn rcpt(&mut self, rcpt: Rcpt, line: &str) -> Decision {
        if self.too_many(Kind::Recipients) {
            let text = format!("4.7.1 Error: too many recipients from {}", self.client.address);
            return Decision::Reply(Reply::new(450, text));
        }
        if let Some(reply) = self.unresolvable(&rcpt.recipient, &rcpt.written, "RCPT") {
            return Decision::Reply(reply);
        }
        let sender = self.sender().cloned().unwrap_or_default();
        let early = self.deferred.first();
        let (verdict, notes) = self
            .decide(|s, notes| {
                notes.defer_if_permit.clone_from(&early);
                may_receive(&s.service, s.question(Some(&sender), Some(&rcpt.recipient)), notes)
            })
            .await;
        if let Err(reply) = self.settle(Stage::Rcpt, Some(&rcpt.recipient), verdict, notes) {
            self.rcpt_to_milters(line, &rcpt.written, &rcpt.recipient, Some(&reply)).await;
            return no(reply);
        }
        if let Some(reply) = self.rcpt_to_milters(line, &rcpt.written, &rcpt.recipient, None).await {
            return no(reply);
        }
        if self.passage.is_some() {
            return self.filter_recipient(rcpt).await;
        }
        if self.message.is_none() {
            self.begin(sender);
        }
        if let Some(message) = self.message.as_mut() {
            self.first_recipient.get_or_insert_with(|| rcpt.recipient.clone());
            message.recipient(rcpt.recipient, rcpt.orcpt, rcpt.notify);
        }
        self.recipients += 1;
        Decision::Accept
    }

    /// A reply when the address cannot be one, or nobody can tell now.
    pub(crate) fn unresolvable(
        &mut self,
        address: &Address,
        written: &str,
        verb: &'static str,
    ) -> Option<Reply> {
        match self.service.world.resolve(address) {
            Ok(_) => None,
            Err(Trouble::Invalid) => {
                let (client, text) = (self.label.clone(), written.to_string());
                self.faults = self.faults | Faults::PROTOCOL;
                self.source.say(&IllegalAddress { client, verb, text });
                Some(Reply::new(501, "5.1.3 Bad recipient address syntax"))
            }
            Err(Trouble::Unavailable(what)) => {
                self.faults = self.faults | Faults::DATA;
                self.source.say(&TableTrouble { what });
                let text = format!("4.3.0 <{}>: Temporary lookup failure", address.internal());
                Some(Reply::new(451, text))
            }
        }
    }

    /// The message gets its queue id with its first recipient.
    fn begin(&mut self, sender: Address) {
        let message = self.service.backend.begin(self.origin(sender));
        let id = message.id();
        self.announce(&id);
        (self.id, self.message) = (Some(id), Some(Box::new(message)));
    }

    /// Whether the client is one of `local_header_rewrite_clients`.
    pub(crate) fn rewrites_headers(&self) -> bool {
        let proven = (self.tls.as_deref(), self.login.is_some());
        self.service.rewrites_headers_of(&self.client, proven, &self.source)
    }

    /// Where the message comes from.
    pub(crate) fn origin(&self, sender: Address) -> Origin {
        let service = &self.service;
        let local_rewrite = self.rewrites_headers();
        let mut origin = Origin::new(Source::Smtp { local_rewrite }, sender, sys::time::now_micros());
        origin.number = self.source.number();
        origin.service.clone_from(service.smtpd.cleanup_service_name());
        origin.content_filter.clone_from(service.smtpd.content_filter());
        origin.overrides.clone_from(&service.smtpd.receive_override_options().0);
        origin.client = Client {
            name: self.client.name.clone(),
            reverse_name: self.client.reverse_name.clone(),
            address: self.client.address.clone(),
            port: self.client.port.clone(),
            helo: self.helo.clone().unwrap_or_default(),
            protocol: self.protocol().into(),
            ..Client::default()
        };
        if let Some(login) = &self.login {
            origin.client.sasl_method.clone_from(&login.method);
            origin.client.sasl_username.clone_from(&login.user);
        }
        origin.milters = self.milters.is_some();
        origin.received_extra = self.tls_received();
        origin.received_extra.extend(self.login_received());
        origin.encrypted = self.tls.is_some();
        if let Some(mail) = &self.mail {
            origin.client.sasl_sender = mail.auth.clone().unwrap_or_default();
            origin.encoding = mail.encoding;
            origin.smtputf8 = mail.smtputf8;
            origin.dsn_envid.clone_from(&mail.envid);
            origin.dsn_ret = mail.ret;
            origin.verp.clone_from(&mail.verp);
            origin.declared_size = mail.size;
        }
        origin
    }

    /// Tells the log whose message this is.
    pub(crate) fn announce(&self, id: &str) {
        let attribute = |name: &str| self.forwarded.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let mut more = self.login_logged();
        if let Some(ident) = attribute("IDENT") {
            more.push_str(&format!(", orig_queue_id={ident}"));
        }
        if attribute("NAME").is_some() || attribute("ADDR").is_some() {
            let of = |name| attribute(name).unwrap_or("unknown");
            more.push_str(&format!(", orig_client={}[{}]", of("NAME"), of("ADDR")));
        }
        self.source.say_of(id, &ClientEvent { client: self.label.clone(), more });
    }
}

/// All lists that a recipient has to pass, in Postfix's order. `permit` in one list does not
/// spare the others.
pub(crate) fn may_receive<B: Backend>(service: &Service<B>, q: Question<'_>, notes: &mut Notes) -> Verdict {
    if q.recipient.is_some_and(|recipient| service.always_receives(recipient)) {
        return Verdict::Dunno;
    }
    let lists = &service.lists;
    let mut order = Vec::with_capacity(5);
    if *service.smtpd.smtpd_delay_reject() {
        order.push((&lists.client, Subject::client(q.client)));
        if let Some(helo) = q.helo {
            order.push((&lists.helo, Subject::helo(helo)));
        }
        if let Some(sender) = q.sender {
            order.push((&lists.sender, Subject::sender(sender)));
        }
    }
    let subject = q.recipient.map(Subject::recipient).unwrap_or_else(|| Subject::client(q.client));
    let (first, second) = match *service.smtpd.smtpd_relay_before_recipient_restrictions() {
        true => (&lists.relay, &lists.recipient),
        false => (&lists.recipient, &lists.relay),
    };
    order.extend([(first, subject.clone()), (second, subject)]);
    for (list, subject) in order {
        if let verdict @ (Verdict::Reject(_) | Verdict::Wait) = list.ask(q, subject, notes) {
            return verdict;
        }
    }
    if let Some(rejection) = notes.defer_if_permit.take() {
        return Verdict::Reject(rejection);
    }
    if *service.smtpd.smtpd_delay_reject()
        && *service.smtpd.smtpd_reject_unlisted_sender()
        && !notes.sender_checked
        && let reject @ Verdict::Reject(_) = restrictions::unlisted_sender(q, notes)
    {
        return reject;
    }
    let unchecked =
        service.smtpd.receive_override_options().0.iter().any(|o| o == "no_unknown_recipient_checks");
    if *service.smtpd.smtpd_reject_unlisted_recipient() && !unchecked && !notes.recipient_checked {
        return restrictions::unlisted_recipient(q, notes);
    }
    Verdict::Dunno
}
