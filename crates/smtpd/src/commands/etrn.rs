//! ETRN. RFC 1985.

use crate::backend::Backend;
use crate::events::EtrnRefused;
use crate::restrictions::{Notes, Question, Stage, Subject};
use crate::session::{Session, no};
use proto::smtp::reply::Reply;
use proto::smtp::server::Decision;

impl<B: Backend> Session<B> {
    pub(crate) fn etrn(&mut self, domain: &str) -> Decision {
        let service = self.service.clone();
        let mut notes = Notes::default();
        let mut order = Vec::new();
        if *service.smtpd.smtpd_delay_reject() {
            order.push((&service.lists.client, Subject::client(&self.client)));
            if let Some(helo) = &self.helo {
                order.push((&service.lists.helo, Subject::helo(helo)));
            }
        }
        order.push((&service.lists.etrn, Subject { value: domain.into(), class: "Etrn command" }));
        for (list, subject) in order {
            let question = Question { etrn: domain, ..self.question(None, None) };
            let verdict = list.ask(question, subject, &mut notes);
            if let Err(reply) = self.settle(Stage::Etrn, None, verdict, std::mem::take(&mut notes)) {
                return no(reply);
            }
        }
        if service.world.flush(domain) {
            return Decision::Reply(Reply::new(250, "Queuing started"));
        }
        self.source.say(&EtrnRefused { domain: domain.into(), client: self.label.clone() });
        Decision::Reply(Reply::new(459, format!("<{domain}>: service unavailable")))
    }
}
