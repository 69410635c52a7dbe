//! HELO and EHLO. RFC 5321 4.1.1.1.

use crate::backend::Backend;
use crate::restrictions::{Notes, Stage, Subject};
use crate::session::{Session, no};
use proto::smtp::server::Decision;

impl<B: Backend> Session<B> {
    pub(crate) fn helo(&mut self, extended: bool, name: String) -> Decision {
        // What is shown in logs and headers has no control characters.
        let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        // As in Postfix, HELO after EHLO does not make the session a plain one again.
        self.extended |= extended;
        self.helo = Some(name);
        let service = self.service.clone();
        if *service.smtpd.smtpd_delay_reject() {
            return Decision::Accept;
        }
        let subject = Subject::helo(self.helo.as_deref().unwrap_or(""));
        let mut notes = Notes::default();
        let verdict = service.lists.helo.ask(self.question(None, None), subject, &mut notes);
        let stage = if extended { Stage::Ehlo } else { Stage::Helo };
        self.settle(stage, None, verdict, notes).map_or_else(no, |()| Decision::Accept)
    }
}
