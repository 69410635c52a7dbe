//! DATA, BDAT and the end of the message. RFC 5321 4.1.1.4, RFC 3030 2.

use crate::backend::{Backend, Incoming};
use crate::restrictions::{List, Stage, Subject};
use crate::session::{Session, no};
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Faults};

impl<B: Backend> Session<B> {
    pub(crate) async fn data(&mut self, chunked: bool) -> Decision {
        let service = self.service.clone();
        let (stage, value) = if chunked { (Stage::Bdat, "BDAT") } else { (Stage::Data, "DATA") };
        let subject = Subject { value: value.into(), class: "Data command" };
        if let Err(reply) = self.pass(&service.lists.data, stage, subject).await {
            return no(reply);
        }
        if let Some(reply) = self.data_to_milters(stage).await {
            return no(reply);
        }
        if self.passage.is_some() {
            return self.filter_data().await;
        }
        if self.discard {
            self.message = None;
        }
        if let Some(message) = self.message.as_mut() {
            message.obey(std::mem::take(&mut self.orders));
        }
        Decision::Accept
    }

    pub(crate) async fn end_of_message(&mut self, chunked: bool, size: u64) -> Decision {
        let service = self.service.clone();
        self.received = size;
        let subject = Subject { value: "END-OF-MESSAGE".into(), class: "End-of-data" };
        let decision = match self.pass(&service.lists.end_of_data, Stage::EndOfMessage, subject).await {
            Ok(()) if self.passage.is_some() => self.filter_end().await,
            Ok(()) => self.finish(chunked, size).await,
            Err(reply) => no(reply),
        };
        self.forget();
        decision
    }

    async fn finish(&mut self, chunked: bool, size: u64) -> Decision {
        let failed = || Decision::Reply(Reply::new(451, "4.3.0 Error: queue file write error"));
        let Some(id) = self.id.clone() else { return failed() };
        let result = match self.message.take() {
            // DISCARD: the client is told that all went well.
            _ if self.discard => Ok(()),
            None => return failed(),
            Some(mut message) => {
                message.obey(std::mem::take(&mut self.orders));
                let milters = self.milters.as_mut().map(|m| &mut m.session);
                message.finish(milters).await
            }
        };
        if let Err(refused) = &result {
            // Temporary: the queue. For good: the message is at fault.
            // What a rule said later is no lack of anything. RFC 3463 3.4
            let of_queue = ["4.3.0 Error: queue", "4.3.1 Insufficient"];
            let lacking = of_queue.iter().any(|words| refused.text.starts_with(words));
            let fault = if lacking { Faults::RESOURCE } else { Faults::BOUNCE };
            self.faults = self.faults | fault;
        }
        let bytes = if chunked { format!(" {size} bytes") } else { String::new() };
        match result {
            Ok(()) => Decision::Reply(Reply::new(250, format!("2.0.0 Ok:{bytes} queued as {id}"))),
            Err(refused) => no(Reply::new(refused.code, refused.text)),
        }
    }

    async fn pass(&mut self, list: &List, stage: Stage, subject: Subject) -> Result<(), Reply> {
        if list.is_empty() {
            return Ok(());
        }
        let sender = self.sender().cloned();
        // A question about all recipients names none, unless there is but one.
        let only = self.first_recipient.clone().filter(|_| self.recipients == 1);
        let (verdict, notes) = self
            .decide(|s, notes| list.ask(s.question(sender.as_ref(), only.as_ref()), subject.clone(), notes))
            .await;
        self.settle(stage, only.as_ref(), verdict, notes)
    }
}
