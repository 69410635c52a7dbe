//! Questions to the restrictions, and what becomes of their answers: the log's lines, and the reply.

use super::{Session, place_of};
use crate::backend::Backend;
use crate::events::Reject;
use crate::inquiry::{self, Patience};
use crate::restrictions::policy::About;
use crate::restrictions::{Notes, Question, Rejection, Stage, Verdict};
use proto::Address;
use proto::smtp::reply::Reply;

impl<B: Backend> Session<B> {
    /// Tells footers where the session stands.
    pub(crate) fn show(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shown.helo.clone_from(self.helo.as_ref().unwrap_or(&String::new()));
        shown.sender = self.mail.as_ref().map(|m| m.sender.internal()).unwrap_or_default();
    }

    /// Asks restrictions until they know all they want from name servers.
    pub(crate) async fn decide(
        &mut self,
        judge: impl Fn(&Session<B>, &mut Notes) -> Verdict,
    ) -> (Verdict, Notes) {
        let mut patience = Patience::default();
        if self.facts.len() > inquiry::KEPT {
            self.facts.clear();
        }
        self.facts.begin();
        loop {
            let mut notes = Notes::default();
            match judge(self, &mut notes) {
                Verdict::Wait => {
                    if let Some(inquiry) = notes.inquiry {
                        let told = Box::pin(self.policy.ask(&inquiry, &self.source)).await;
                        self.facts.tell(inquiry, told);
                        continue;
                    }
                    let world = self.service.world.clone();
                    if let Some(address) = notes.unverified {
                        let verified = world.verify(&address).await;
                        self.facts.verify(address, verified);
                        continue;
                    }
                    let look_up = inquiry::find_out(&*world, notes.wanted, &mut self.facts, &mut patience);
                    // Rarely under way, and not to be paid for by each session that only waits.
                    Box::pin(look_up).await;
                }
                verdict => return (verdict, notes),
            }
        }
    }

    pub(crate) fn sender(&self) -> Option<&Address> {
        self.mail.as_ref().map(|m| &m.sender)
    }

    pub(crate) fn question<'a>(
        &'a self,
        sender: Option<&'a Address>,
        recipient: Option<&'a Address>,
    ) -> Question<'a> {
        Question {
            rules: &self.service.rules,
            world: &*self.service.world,
            facts: &self.facts,
            client: &self.client,
            helo: self.helo.as_deref(),
            sender,
            recipient,
            recipients: self.recipients,
            etrn: "",
            pipelined: self.pipelined,
            encrypted: self.tls.is_some(),
            tls: self.tls.as_deref(),
            login: self.login.as_deref(),
            about: About {
                stage: self.stage,
                protocol: self.protocol(),
                server: self.server,
                sender: self.sender(),
                id: self.id.as_deref().unwrap_or_default(),
                instance: &self.instance,
                size: if self.received > 0 {
                    self.received
                } else {
                    self.mail.as_ref().map_or(0, |m| m.size)
                },
                tls: self.tls.as_deref(),
            },
            logins_fail: self.logins_fail(),
        }
    }

    /// Logs what was gathered and turns a verdict into a yes or the reply to say no with.
    pub(crate) fn settle(
        &mut self,
        stage: Stage,
        recipient: Option<&Address>,
        verdict: Verdict,
        mut notes: Notes,
    ) -> Result<(), Reply> {
        self.delay += notes.delay;
        let deferred = notes.defer_if_permit.take();
        let early = match stage {
            Stage::Connect => Some(&mut self.deferred.client),
            Stage::Helo | Stage::Ehlo => Some(&mut self.deferred.helo),
            Stage::Mail => Some(&mut self.deferred.sender),
            _ => None,
        };
        // Before a recipient is given nothing is known to be permitted.
        let deferred = match early {
            Some(kept) => {
                *kept = deferred;
                None
            }
            None => deferred,
        };
        let verdict = match (verdict, deferred) {
            (Verdict::Reject(rejection), _) | (_, Some(rejection)) => Some(rejection),
            _ => None,
        };
        self.tell_log(stage, recipient, std::mem::take(&mut notes.says));
        for warning in std::mem::take(&mut notes.warnings) {
            self.faults = self.faults | warning.fault;
            self.refusal("reject_warning", stage, recipient, &warning.reply);
        }
        if stage != Stage::Vrfy {
            self.discard |= notes.discard.is_some();
            self.orders.add(notes.orders);
        }
        match verdict {
            None => Ok(()),
            Some(Rejection { reply, fault, .. }) => {
                self.faults = self.faults | fault;
                self.refusal("reject", stage, recipient, &reply);
                Err(reply)
            }
        }
    }

    /// `NOQUEUE: reject: RCPT from …: 550 …; from=<…> to=<…> proto=SMTP helo=<…>`
    pub(crate) fn refusal(
        &self,
        what: &'static str,
        stage: Stage,
        recipient: Option<&Address>,
        reply: &Reply,
    ) {
        let id = self.id.as_deref().unwrap_or("NOQUEUE");
        let (client, about) = (self.label.clone(), self.about(recipient));
        let mut reply = reply.clone();
        if self.service.soft_bounce() {
            reply.soften();
        }
        let reply = reply.to_string();
        self.source.say_of(id, &Reject { what, place: place_of(stage), client, reply, about });
    }

    pub(crate) fn about(&self, recipient: Option<&Address>) -> String {
        let mut out = String::new();
        if let Some(sender) = self.sender() {
            out.push_str(&format!("from=<{sender}> "));
        }
        if let Some(recipient) = recipient {
            out.push_str(&format!("to=<{recipient}> "));
        }
        out.push_str(&format!("proto={}", self.protocol()));
        if let Some(helo) = &self.helo {
            out.push_str(&format!(" helo=<{helo}>"));
        }
        out
    }

    pub(crate) fn protocol(&self) -> &'static str {
        if self.extended { "ESMTP" } else { "SMTP" }
    }
}
