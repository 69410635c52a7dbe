//! What reports of agents come to: log lines, forwards that are committed, notices that are owed, the states of recipients.

use super::delivery::{attempt, blame};
use super::message::{Message, News};
use super::taking::{Groups, orig_to, usable};
use super::{Parts, Shared, notices, verp};
use crate::agent::{Line, Pass, Report};
use crate::bounce::notice::Reported;
use crate::bounce::plan::{wants_delay, wants_success};
use crate::bounce::template::Kind;
use crate::events::{Passing, Result as Logged};
use crate::line::Delays;
use proto::Address;
use proto::envelope::{Envelope, Trace};
use proto::job::Action;
use proto::status::{Code, Status};
use queue::{RecipientState, Store};
use std::sync::Arc;

/// What settling needs to know.
pub(super) struct Context<'a, S: Store> {
    pub shared: &'a Arc<Shared<S>>,
    pub parts: &'a Parts<S>,
    pub message: &'a Message,
    /// Where the transport was to take it.
    pub nexthop: &'a str,
    pub voice: events::Source,
    pub soft_bounce: bool,
    pub delays: Delays,
}

/// What was said of one recipient, by the first transport and those that it passed addresses to.
struct Told {
    result: Status,
    /// With the status that was logged.
    lines: Vec<(Line, Status)>,
}

const NOT_CACHED: &str = "undeliverable-but-not-cached";

fn passed_twice() -> Status {
    Status::new(Code(5, 4, 6), "mail passed to the same transport twice")
}

/// Of two results the one that decides: what must wait, then what failed.
fn worse(one: &Status, other: &Status) -> Status {
    let rank = |s: &Status| match s.code.0 {
        4 => 2,
        2 => 0,
        _ => 1,
    };
    if rank(other) > rank(one) || one.text.is_empty() && rank(other) == rank(one) {
        other.clone()
    } else {
        one.clone()
    }
}

/// Gathered for one settlement.
#[derive(Default)]
pub(super) struct Settlement {
    pub states: Vec<(usize, RecipientState)>,
    pub news: Vec<News>,
    /// Recipients that go on by another transport.
    pub passed: Groups,
    pub finished: usize,
}

impl<S: Store> Context<'_, S> {
    /// A recipient without report of its own.
    pub fn single(&self, place: usize, status: Status, settlement: &mut Settlement) {
        let report = self.message.report(place, status.clone(), Action::Delivered);
        self.log(&self.message.resolved(place), &report.original, "none", &status);
        let mut news = Vec::new();
        if self.message.trace.is_mailed() {
            news.push(News { place, kind: Kind::Verify, reported: report });
        }
        self.conclude(place, status, news, settlement);
    }

    /// Nothing is delivered, whatever was said is an answer.
    fn probe(&self) -> bool {
        self.message.trace.is_probe()
    }

    /// Tells address verification, which asked; how the log calls a failure.
    fn verified(&self, to: &Address, original: &str, relay: &str, status: &Status) -> &'static str {
        if self.message.trace != Trace::Probe {
            return "undeliverable";
        }
        let Some(verification) = &self.parts.verification else { return "undeliverable" };
        let asked = if original.is_empty() { to.clone() } else { Address::from_internal(original) };
        let told = if status.code.0 == 2 { via(relay, status) } else { status.clone() };
        verification.listener.verified(self.message.id, &asked, &told);
        if verification.listener.remembers_failures() { "undeliverable" } else { NOT_CACHED }
    }

    /// Logs a line; with `soft_bounce` failures are only delays, and the log says so.
    fn log(&self, to: &Address, original: &str, relay: &str, status: &Status) -> Status {
        let mut status = status.clone();
        let undeliverable = self.verified(to, original, relay, &status);
        let word = match status.code.0 {
            2 if self.probe() => "deliverable",
            _ if self.probe() => undeliverable,
            2 => "sent",
            4 => "deferred",
            _ if self.soft_bounce => {
                status.code.0 = 4;
                "SOFTBOUNCE"
            }
            _ => "bounced",
        };
        let digits = *self.parts.settings.qmgr.delay_logging_resolution_limit() as u32;
        self.voice.say_of(
            self.message.id,
            &Logged {
                to: to.to_string(),
                orig_to: orig_to(to, original),
                relay: relay.into(),
                delays: self.delays.show(digits),
                dsn: status.code.to_string(),
                status: word,
                text: status.text.clone(),
            },
        );
        status
    }

    pub async fn take(&self, report: &Report, settlement: &mut Settlement) {
        let place = report.recipient;
        let address = self.message.resolved(place);
        if let [pass] = report.passes.as_slice()
            && report.lines.is_empty()
            && report.forwards.is_empty()
            && pass.to == address
        {
            let Some((transport, nexthop)) = self.passing(place, pass) else {
                return self.single(place, passed_twice(), settlement);
            };
            let single = verp::wanted(&self.message.envelope);
            settlement.passed.add(self.parts, place, &address, (transport, nexthop), single);
            return;
        }
        let mut told = Told { result: Status::new(Code(2, 0, 0), ""), lines: Vec::new() };
        // Where an alias led to: those transports deliver now, as the recipient has but one state.
        let mut others = Vec::new();
        let mut passes: Vec<Pass> = report.passes.iter().rev().cloned().collect();
        while let Some(pass) = passes.pop() {
            match self.passing(place, &pass) {
                Some(there) => {
                    let (context, report) = Box::pin(self.hand_over(place, &pass, there)).await;
                    passes.extend(report.passes.iter().rev().cloned());
                    others.push((context, report));
                }
                None => {
                    let line = self.line(place, &pass.to, passed_twice());
                    let status = self.log(&line.to, &line.orig_to, &line.relay, &line.status);
                    told.result = worse(&told.result, &status);
                    told.lines.push((line, status));
                }
            }
        }
        // A recipient that must wait goes everywhere again: what goes on as a message waits for that.
        let waits = report.result.code.0 == 4 || others.iter().any(|(_, r)| r.result.code.0 == 4);
        self.told(report, waits, &mut told).await;
        for (context, report) in &others {
            context.told(report, waits, &mut told).await;
        }
        let Told { mut result, lines } = told;
        if self.soft_bounce && !self.probe() && result.code.0 == 5 {
            result.code.0 = 4;
        }
        let news = self.news(place, report.expanded.as_ref(), &result, &lines);
        self.conclude(place, result, news, settlement);
    }

    /// Where a delivery goes on that this transport passes; `None` when it was there before.
    fn passing(&self, place: usize, pass: &Pass) -> Option<(String, String)> {
        let voice = &self.voice;
        voice
            .say_of(self.message.id, &Passing { to: pass.to.to_string(), transport: pass.transport.clone() });
        if !self.message.pass(place, &format!("{}:{}", pass.transport, pass.to)) {
            return None;
        }
        // A next hop left out stays as it was.
        let nexthop = if pass.nexthop.is_empty() { self.nexthop } else { &pass.nexthop };
        Some(match usable(self.shared, self.parts, &pass.transport, false) {
            Ok(()) => (pass.transport.clone(), nexthop.to_string()),
            Err(why) => ("retry".to_string(), why.to_string()),
        })
    }

    /// Has another transport deliver to an address that an alias led to.
    async fn hand_over(
        &self,
        place: usize,
        pass: &Pass,
        (transport, nexthop): (String, String),
    ) -> (Context<'_, S>, Report) {
        let begun = sys::time::now_micros();
        let recipients = vec![(place, pass.to.clone())];
        let done =
            attempt(self.shared, self.parts, self.message, (&transport, &nexthop, false), recipients).await;
        let known = self.parts.settings.transports.get(&transport);
        let voice = known.map_or(&self.parts.settings.error_voice, |t| &t.voice);
        let number = if done.number == 0 { std::process::id() } else { done.number };
        let context = Context {
            voice: voice.numbered(number),
            soft_bounce: known.is_some_and(|t| t.soft_bounce),
            delays: Delays {
                queue: begun.saturating_sub(self.message.active),
                connect: done.connect,
                transmit: done.transmit,
                ..self.delays
            },
            ..*self
        };
        if done.crashed {
            Box::pin(blame(&context, &transport)).await;
        }
        let report = done.reports.into_iter().find(|r| r.recipient == place).unwrap_or_else(|| {
            let status = Status::new(Code(4, 3, 0), "unknown mail transport error");
            let line = self.line(place, &pass.to, status.clone());
            Report {
                recipient: place,
                lines: vec![line],
                result: status,
                forwards: Vec::new(),
                expanded: None,
                passes: Vec::new(),
            }
        });
        (context, report)
    }

    fn line(&self, place: usize, to: &Address, status: Status) -> Line {
        let recipient = self.message.envelope.recipients.get(place);
        Line {
            to: to.clone(),
            orig_to: recipient.map(|r| r.original.clone()).unwrap_or_default(),
            relay: "none".into(),
            status,
            action: Action::Delivered,
            forward: None,
            bounce_to: None,
        }
    }

    /// Logs what an agent reported. Forwards, and notices to the owners of lists, are made first.
    async fn told(&self, report: &Report, waits: bool, told: &mut Told) {
        let mut owned = Vec::new();
        for line in &report.lines {
            owned.push(!waits && self.owner_told(line).await);
        }
        let mut made = Vec::new();
        for forward in report.forwards.iter().filter(|_| !waits) {
            made.push(Box::pin(notices::forward(self.shared, self.parts, self.message, forward)).await);
        }
        if owned.contains(&true) {
            // What the owner knows of is settled.
            for (line, _) in report.lines.iter().zip(&owned).filter(|(_, owned)| !**owned) {
                told.result = worse(&told.result, &line.status);
            }
        } else {
            told.result = worse(&told.result, &report.result);
        }
        for (line, owned) in report.lines.iter().zip(owned) {
            if waits && line.forward.is_some() {
                continue;
            }
            let mut status = line.status.clone();
            match line.forward.and_then(|n| made.get(n)) {
                Some(Ok(id)) => status.text = format!("forwarded as {id}"),
                Some(Err(why)) => status = why.clone(),
                None => {}
            }
            let status = self.log(&line.to, &line.orig_to, &line.relay, &status);
            if !owned {
                told.lines.push((line.clone(), status));
            }
        }
        // A forward that no line speaks of must not be lost either.
        for failed in made.iter().filter_map(|m| m.as_ref().err()) {
            if told.result.code.0 == 2 {
                told.result = failed.clone();
            }
        }
    }

    /// Tells the owner of a list of a failure, if it is the owner who hears of it.
    async fn owner_told(&self, line: &Line) -> bool {
        let Some(owner) = &line.bounce_to else { return false };
        let Envelope { sender, client, .. } = &*self.message.envelope;
        // A notice that comes back to the owner's own list would do so for ever. RFC 5321 6.1
        let notice = sender.is_null() && client.address.is_empty() && client.uid.is_none();
        if line.status.code.0 != 5 || self.soft_bounce || self.probe() || notice {
            return false;
        }
        let reported = Reported {
            to: line.to.clone(),
            original: line.orig_to.clone(),
            orcpt: None,
            status: line.status.clone(),
            action: line.action,
        };
        Box::pin(notices::tell_owner(self.shared, self.parts, self.message, owner, reported)).await
    }

    /// What is to be told about a recipient.
    fn news(
        &self,
        place: usize,
        expanded: Option<&(Action, Status)>,
        result: &Status,
        lines: &[(Line, Status)],
    ) -> Vec<News> {
        let recipient = self.message.envelope.recipients.get(place);
        let mut news = Vec::new();
        for (line, status) in lines {
            let reported = |status: Status| Reported {
                to: line.to.clone(),
                original: line.orig_to.clone(),
                // It belongs to the address that the sender wrote.
                orcpt: recipient.filter(|r| r.original == line.orig_to).and_then(|r| r.dsn_orcpt.clone()),
                status,
                action: line.action,
            };
            if self.message.trace.is_mailed() {
                let status = via(&line.relay, status);
                news.push(News { place, kind: Kind::Verify, reported: reported(status) });
            }
            match status.code.0 {
                _ if self.probe() => {}
                // A failure among delays is told when the recipient is concluded, with the rest.
                5 if result.code.0 != 4 => {
                    news.push(News { place, kind: Kind::Failure, reported: reported(status.clone()) });
                }
                // A report of the attempt says it, too.
                2 if self.message.trace == Trace::Record => {}
                2 if line.action == Action::Transferred => {}
                2 if expanded.is_none() => {
                    let status = via(&line.relay, status);
                    news.push(News { place, kind: Kind::Success, reported: reported(status) });
                }
                _ => {}
            }
        }
        if let Some((action, status)) = expanded
            && result.code.0 == 2
            && self.message.trace == Trace::None
        {
            let reported = self.message.report(place, status.clone(), *action);
            news.push(News { place, kind: Kind::Success, reported });
        }
        news
    }

    /// What a recipient becomes, and what is told about it.
    fn conclude(&self, place: usize, result: Status, news: Vec<News>, settlement: &mut Settlement) {
        settlement.finished += 1;
        let notify = self.message.notify(place);
        let late = self.message.delay_warned
            && *self.parts.settings.bounce.confirm_delay_cleared()
            && wants_delay(notify);
        let tells_success = (wants_success(notify) || late) && !self.message.envelope.sender.is_null();
        let mut told: Vec<News> =
            news.into_iter().filter(|n| n.kind != Kind::Success || tells_success).collect();
        let state = match result.code.0 {
            // Whoever verifies addresses was told already.
            2 if self.message.trace == Trace::Probe => RecipientState::Sent(result),
            _ if self.message.trace == Trace::Probe => RecipientState::Bounced(result),
            // The answer to a probe is final, whatever it is.
            _ if self.probe() => RecipientState::Owed(result),
            4 => {
                told.retain(|n| n.kind == Kind::Verify);
                RecipientState::Deferred(result)
            }
            5 => {
                let result = if self.soft_bounce {
                    Status { code: Code(4, result.code.1, result.code.2), ..result }
                } else {
                    result
                };
                if self.soft_bounce {
                    told.retain(|n| n.kind == Kind::Verify);
                    RecipientState::Deferred(result)
                } else {
                    if !told.iter().any(|n| n.kind == Kind::Failure) {
                        let reported = self.message.report(place, result.clone(), Action::Delivered);
                        told.push(News { place, kind: Kind::Failure, reported });
                    }
                    RecipientState::Owed(result)
                }
            }
            _ => {
                // A member of an alias that failed is told about though the rest arrived.
                let failure = told.iter().find(|n| n.kind == Kind::Failure);
                match (failure, told.first()) {
                    (Some(n), _) => RecipientState::Owed(n.reported.status.clone()),
                    (None, Some(n)) => RecipientState::Owed(n.reported.status.clone()),
                    (None, None) => RecipientState::Sent(result),
                }
            }
        };
        settlement.news.extend(told);
        settlement.states.push((place, state));
    }
}

/// The words of a delivery in a report, with the transport that said them.
fn via(relay: &str, status: &Status) -> Status {
    match relay {
        "none" | "" => status.clone(),
        relay => Status { text: format!("delivery via {relay}: {}", status.text), ..status.clone() },
    }
}
