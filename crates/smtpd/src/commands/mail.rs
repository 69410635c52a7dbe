//! MAIL. RFC 5321 4.1.1.2.

use crate::backend::Backend;
use crate::events::{IllegalAddress, TableTrouble};
use crate::limits::Kind;
use crate::restrictions::{Stage, Subject, Verdict};
use crate::session::{Session, no};
use crate::world::Trouble;
use proto::smtp::command::Mail;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Faults};
use queue::store::{Health, StoreError};
use std::sync::atomic::{AtomicU64, Ordering};

impl<B: Backend> Session<B> {
    pub(crate) async fn mail(&mut self, mail: Mail, line: &str) -> Decision {
        self.forget_all_but_forwarded();
        if !mail.sender.is_null() {
            match self.service.world.resolve(&mail.sender) {
                Ok(_) => {}
                Err(Trouble::Invalid) => {
                    let (client, text) = (self.label.clone(), mail.written);
                    self.faults = self.faults | Faults::PROTOCOL;
                    self.source.say(&IllegalAddress { client, verb: "MAIL", text });
                    return Decision::Reply(Reply::new(501, "5.1.7 Bad sender address syntax"));
                }
                Err(Trouble::Unavailable(what)) => {
                    self.faults = self.faults | Faults::DATA;
                    self.source.say(&TableTrouble { what });
                    return Decision::Reply(Reply::new(451, "4.3.0 Temporary lookup failure"));
                }
            }
        }
        if let Some(asked) = &mail.verp {
            // RFC 5321 4.5.5: what comes of a bounce has no sender to be varied.
            let reply = match self.service.delimiters.choose(asked) {
                _ if mail.sender.is_null() => {
                    Some(Reply::new(503, "5.5.4 Error: XVERP requires non-null sender"))
                }
                Err(what) => Some(Reply::new(501, format!("5.5.4 Error: XVERP needs {what}"))),
                Ok(_) => None,
            };
            if let Some(reply) = reply {
                self.faults = self.faults | Faults::PROTOCOL;
                return Decision::Reply(reply);
            }
        }
        if self.too_many(Kind::Messages) {
            let text = format!("4.7.1 Error: too much mail from {}", self.client.address);
            return Decision::Reply(Reply::new(450, text));
        }
        self.mail = Some(mail);
        self.show();
        let mut decision = self.may_send().await;
        if decision == Decision::Accept
            && let Some(reply) = self.mail_to_milters(line).await
        {
            decision = no(reply);
        }
        match decision {
            Decision::Accept => self.instance = instance(self.source.number()),
            _ => self.mail = None,
        }
        decision
    }

    async fn may_send(&mut self) -> Decision {
        let service = self.service.clone();
        let Some(mail) = self.mail.clone() else { return Decision::Accept };
        if let Some((fault, reply)) = self.no_room(mail.size) {
            self.faults = self.faults | fault;
            self.refusal("reject", Stage::Mail, None, &reply);
            return Decision::Reply(reply);
        }
        if *service.smtpd.smtpd_delay_reject() {
            return Decision::Accept;
        }
        let (verdict, notes) = self
            .decide(|s, notes| {
                let question = s.question(Some(&mail.sender), None);
                match service.lists.sender.ask(question, Subject::sender(&mail.sender), notes) {
                    verdict @ (Verdict::Reject(_) | Verdict::Wait) => verdict,
                    _ if *service.smtpd.smtpd_reject_unlisted_sender() => {
                        crate::restrictions::unlisted_sender(question, notes)
                    }
                    verdict => verdict,
                }
            })
            .await;
        self.settle(Stage::Mail, None, verdict, notes).map_or_else(no, |()| Decision::Accept)
    }

    /// What a declared size, the queue and its disk say. RFC 1870 6.
    fn no_room(&self, size: u64) -> Option<(Faults, Reply)> {
        let (service, limit) = (&self.service, self.service.size_limit);
        if limit > 0 && size > limit {
            return Some((Faults::POLICY, Reply::new(552, "5.3.4 Message size exceeds fixed limit")));
        }
        let full = || Some((Faults::RESOURCE, Reply::new(452, "4.3.1 Insufficient system storage")));
        match service.backend.health() {
            // Postfix wants one and a half times the largest message.
            Health::Open { free } if free < service.minfree || free / 3 * 2 < limit => full(),
            Health::Open { .. } => None,
            Health::Closed(StoreError::Full) => full(),
            Health::Closed(_) => {
                Some((Faults::RESOURCE, Reply::new(451, "4.3.0 Error: queue file write error")))
            }
        }
    }

    /// XFORWARD holds for the next message; all else of a transaction is gone.
    fn forget_all_but_forwarded(&mut self) {
        let forwarded = std::mem::take(&mut self.forwarded);
        self.forget();
        self.forwarded = forwarded;
    }
}

/// A name that no other message has: process, time and a number, as Postfix makes it.
fn instance(process: u32) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = sys::time::now_micros();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{process:x}.{:x}.{:x}.{number:x}", now / 1_000_000, now % 1_000_000)
}
