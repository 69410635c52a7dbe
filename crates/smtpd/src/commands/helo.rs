//! HELO and EHLO. RFC 5321 4.1.1.1.

use crate::backend::Backend;
use crate::restrictions::{Stage, Subject};
use crate::session::{Session, no};
use proto::smtp::reply::Reply;
use proto::smtp::server::Decision;

impl<B: Backend> Session<B> {
    pub(crate) async fn helo(&mut self, extended: bool, name: String) -> Decision {
        // What is shown in logs and headers has no control characters, and none that mean something
        // in an address.
        let odd = |c: char| c.is_control() || " <>()\\\";@".contains(c);
        let name: String = name.chars().map(|c| if odd(c) { '?' } else { c }).collect();
        let again = self.helo.replace(name).is_some();
        let service = self.service.clone();
        if !*service.smtpd.smtpd_delay_reject() {
            let (verdict, notes) = self
                .decide(|s, notes| {
                    let subject = Subject::helo(s.helo.as_deref().unwrap_or(""));
                    service.lists.helo.ask(s.question(None, None), subject, notes)
                })
                .await;
            let stage = if extended { Stage::Ehlo } else { Stage::Helo };
            if let Err(reply) = self.settle(stage, None, verdict, notes) {
                self.helo = None;
                return no(reply);
            }
        }
        let stage = if extended { Stage::Ehlo } else { Stage::Helo };
        if let Some(reply) = self.helo_to_milters(stage, again).await {
            return no(reply);
        }
        let refused = self.standing_of_milters().is_some_and(|reply| reply.code >= 500);
        // As in Postfix, HELO after EHLO does not make the session a plain one again.
        self.extended |= extended;
        self.show();
        if extended && refused {
            // Nothing is offered to a client that filters will refuse all the same.
            let text = format!("{}\nENHANCEDSTATUSCODES", self.service.hostname());
            return Decision::Reply(Reply::new(250, text));
        }
        Decision::Accept
    }
}
