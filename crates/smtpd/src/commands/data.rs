//! DATA, BDAT and the end of the message. RFC 5321 4.1.1.4, RFC 3030 2.

use crate::backend::{Backend, Incoming};
use crate::restrictions::{List, Notes, Stage, Subject};
use crate::session::{Session, no};
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Faults};

impl<B: Backend> Session<B> {
    pub(crate) fn data(&mut self, chunked: bool) -> Decision {
        let service = self.service.clone();
        let (stage, value) = if chunked { (Stage::Bdat, "BDAT") } else { (Stage::Data, "DATA") };
        let subject = Subject { value: value.into(), class: "Data command" };
        self.pass(&service.lists.data, stage, subject).map_or_else(no, |()| Decision::Accept)
    }

    pub(crate) async fn end_of_message(&mut self, chunked: bool, size: u64) -> Decision {
        let service = self.service.clone();
        let subject = Subject { value: "END-OF-MESSAGE".into(), class: "End-of-data" };
        let decision = match self.pass(&service.lists.end_of_data, Stage::EndOfMessage, subject) {
            Ok(()) => self.finish(chunked, size).await,
            Err(reply) => no(reply),
        };
        self.forget();
        decision
    }

    async fn finish(&mut self, chunked: bool, size: u64) -> Decision {
        let (Some(message), Some(id)) = (self.message.take(), self.id.clone()) else {
            return Decision::Reply(Reply::new(451, "4.3.0 Error: queue file write error"));
        };
        // DISCARD: the client is told that all went well.
        let result = if self.discard { Ok(()) } else { message.finish().await };
        if let Err(refused) = &result {
            // Temporary: the queue. For good: the message is at fault.
            let fault = if refused.is_temporary() { Faults::RESOURCE } else { Faults::BOUNCE };
            self.faults = self.faults | fault;
        }
        let bytes = if chunked { format!(" {size} bytes") } else { String::new() };
        Decision::Reply(match result {
            Ok(()) => Reply::new(250, format!("2.0.0 Ok:{bytes} queued as {id}")),
            Err(refused) => Reply::new(refused.code, refused.text),
        })
    }

    fn pass(&mut self, list: &List, stage: Stage, subject: Subject) -> Result<(), Reply> {
        if list.is_empty() {
            return Ok(());
        }
        let sender = self.sender().cloned();
        let mut notes = Notes::default();
        let verdict = list.ask(self.question(sender.as_ref(), None), subject, &mut notes);
        self.settle(stage, None, verdict, notes)
    }
}
