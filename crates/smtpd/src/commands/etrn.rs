//! ETRN. RFC 1985.

use crate::backend::Backend;
use crate::events::EtrnRefused;
use crate::restrictions::{Question, Stage, Subject};
use crate::session::{Session, no};
use proto::smtp::reply::Reply;
use proto::smtp::server::Decision;

impl<B: Backend> Session<B> {
    pub(crate) async fn etrn(&mut self, domain: &str) -> Decision {
        if let Some(reply) = self.standing_of_milters() {
            return no(reply);
        }
        let service = self.service.clone();
        let mut order = Vec::new();
        if *service.smtpd.smtpd_delay_reject() {
            order.push((&service.lists.client, Subject::client(&self.client)));
            if let Some(helo) = &self.helo {
                order.push((&service.lists.helo, Subject::helo(helo)));
            }
        }
        order.push((&service.lists.etrn, Subject { value: domain.into(), class: "Etrn command" }));
        for (list, subject) in order {
            let (verdict, notes) = self
                .decide(|s, notes| {
                    let question = Question { etrn: domain, ..s.question(None, None) };
                    list.ask(question, subject.clone(), notes)
                })
                .await;
            if let Err(reply) = self.settle(Stage::Etrn, None, verdict, notes) {
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
