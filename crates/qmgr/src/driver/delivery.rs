//! One delivery: asks the agent, and settles the recipients by what it reports ([`super::reports`]).
//!
//! Most are of one message. Of several that were delivered together each is concluded for itself, in their order.

use super::message::Message;
use super::reports::{Context, Settlement};
use super::taking::Groups;
use super::{Note, Parts, Shared, finish, guard, verp};
use crate::agent::{Done, Line, Report, Request};
use crate::events::{Crashed, Quarantined, QueueTrouble};
use crate::line::Delays;
use crate::schedule::Event;
use crate::schedule::destination::Feedback;
use proto::Address;
use proto::job::Action;
use proto::status::{Code, Status};
use queue::{Outcome, Store, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

/// What the scheduler started.
pub(super) struct Work {
    pub delivery: u64,
    pub transport: Arc<str>,
    pub nexthop: String,
    pub parcels: Vec<Parcel>,
    pub followed: bool,
}

/// What a delivery has of one message.
pub(super) struct Parcel {
    pub message: Arc<Message>,
    /// Places in the envelope.
    pub recipients: Vec<usize>,
}

/// Runs a delivery to its end, whatever that is.
pub(super) async fn work_off<S: Store>(shared: Arc<Shared<S>>, work: Work) {
    let messages: Vec<Arc<Message>> = work.parcels.iter().map(|parcel| parcel.message.clone()).collect();
    let unit = |message: &Arc<Message>| sys::board::Unit::of_message(message.id.0);
    let _ways: Vec<_> = messages.iter().map(|message| sys::board::under_way(unit(message))).collect();
    let (first, delivery) = (messages.first().map_or(proto::QueueId(0), |m| m.id), work.delivery);
    if guard::guarded(first, run(shared.clone(), work)).await.is_none() {
        for message in &messages {
            guard::give_up(&shared, message.id, message.envelope.arrival, Some(message)).await;
        }
        let feedback = Feedback::Nothing;
        let _ = shared.inbox.send(Note::Event(Event::Finished { delivery, feedback, mailbox: None }));
    }
}

async fn run<S: Store>(shared: Arc<Shared<S>>, work: Work) {
    let parts = shared.parts();
    let begun = sys::time::now_micros();
    let mut dones = match work.parcels.as_slice() {
        [parcel] => vec![one(&shared, &parts, &work, parcel).await],
        _ => together(&shared, &parts, &work).await,
    };
    dones.resize_with(work.parcels.len(), || None);
    let tried = || dones.iter().flatten().filter(|done| !done.untried);
    let unreachable = tried().find_map(|done| done.unreachable.clone());
    let feedback = match unreachable {
        _ if tried().next().is_none() => Feedback::Nothing,
        Some(status) => Feedback::Failed(status),
        None if tried().any(|d| d.reports.iter().any(|r| r.result.code.0 != 4)) => Feedback::Reached,
        None => Feedback::Postponed,
    };
    let mailbox = tried().find_map(|done| done.mailbox);
    let (mut over, mut again) = (Vec::new(), Vec::new());
    for (parcel, done) in work.parcels.iter().zip(dones) {
        let ended = match done {
            None => parcel.message.done(parcel.recipients.len()),
            Some(done) if done.untried => {
                again.push(parcel);
                false
            }
            Some(done) if work.parcels.len() > 1 => apart(&shared, &parts, &work, parcel, done, begun).await,
            Some(done) => conclude(&shared, &parts, &work, parcel, done, begun).await,
        };
        if ended {
            over.push(parcel.message.clone());
        }
    }
    let _ = shared.inbox.send(Note::Event(Event::Finished { delivery: work.delivery, feedback, mailbox }));
    for parcel in again {
        let mut groups = Groups::default();
        for place in &parcel.recipients {
            let to = (work.transport.to_string(), work.nexthop.clone());
            let single = verp::wanted(&parcel.message.envelope);
            groups.add(&parts, *place, &parcel.message.resolved(*place), to, single);
        }
        groups.0.iter_mut().for_each(|group| group.alone = true);
        let _ = shared.inbox.send(Note::Arrived(parcel.message.clone(), groups.0));
    }
    let last = over.pop();
    for message in over {
        tokio::spawn(finish::run(shared.clone(), message));
    }
    if let Some(message) = last {
        finish::run(shared, message).await;
    }
}

/// Has one message delivered; `None` when it is not ours any more.
async fn one<S: Store>(
    shared: &Arc<Shared<S>>,
    parts: &Parts<S>,
    work: &Work,
    Parcel { message, recipients }: &Parcel,
) -> Option<Done> {
    if message.is_gone() {
        return None;
    }
    let recipients = recipients.iter().map(|p| (*p, message.resolved(*p))).collect();
    let to = (&*work.transport, &*work.nexthop, work.followed);
    Some(attempt(shared, parts, message, to, recipients).await)
}

/// Has several messages delivered together.
async fn together<S: Store>(shared: &Arc<Shared<S>>, parts: &Parts<S>, work: &Work) -> Vec<Option<Done>> {
    let mut dones: Vec<Option<Done>> = Vec::new();
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    let to = (&*work.transport, &*work.nexthop, work.followed);
    let agent = agent(parts, &work.transport);
    for Parcel { message, recipients } in &work.parcels {
        let recipients = recipients.iter().map(|p| (*p, message.resolved(*p))).collect();
        let request = match agent {
            Some(_) if !message.is_gone() => request(shared, parts, message, to, recipients).await,
            _ => None,
        };
        match request {
            Some(request) => {
                places.push(dones.len());
                requests.push(request);
                // What gets no answer waits.
                dones.push(Some(Done::default()));
            }
            None if message.is_gone() => dones.push(None),
            None => dones.push(Some(Done::default())),
        }
    }
    let Some(agent) = agent.filter(|_| !requests.is_empty()) else { return dones };
    let expected = requests.len();
    let crashed = || {
        // It is not known which of them is to blame: each is tried on its own.
        let mut all = vec![Done { untried: true, ..Done::default() }; expected];
        if let ([done], true) = (all.as_mut_slice(), expected == 1) {
            *done = Done { crashed: true, ..Done::default() };
        }
        all
    };
    let results = caught(agent.deliver_together(requests), crashed).await;
    for (place, done) in places.into_iter().zip(results) {
        if let Some(slot) = dones.get_mut(place) {
            *slot = Some(done);
        }
    }
    dones
}

/// [`conclude`] for one of several: a defect that it runs into is not that of the others.
async fn apart<S: Store>(
    shared: &Arc<Shared<S>>,
    parts: &Parts<S>,
    work: &Work,
    parcel: &Parcel,
    done: Done,
    begun: u64,
) -> bool {
    let message = &parcel.message;
    let concluded = guard::guarded(message.id, conclude(shared, parts, work, parcel, done, begun)).await;
    if concluded.is_none() {
        guard::give_up(shared, message.id, message.envelope.arrival, Some(message)).await;
    }
    concluded.unwrap_or(false)
}

/// Logs and settles what became of a message; true when it is to be finished.
async fn conclude<S: Store>(
    shared: &Arc<Shared<S>>,
    parts: &Parts<S>,
    work: &Work,
    Parcel { message, recipients }: &Parcel,
    done: Done,
    begun: u64,
) -> bool {
    let settings = &parts.settings;
    let transport = settings.transports.get(&*work.transport);
    let number = if done.number == 0 { std::process::id() } else { done.number };
    let context = Context {
        shared,
        parts,
        message,
        nexthop: &work.nexthop,
        voice: transport.map_or(&settings.error_voice, |t| &t.voice).numbered(number),
        soft_bounce: transport.is_some_and(|t| t.soft_bounce),
        delays: Delays {
            before: message.active.saturating_sub(message.envelope.arrival),
            queue: begun.saturating_sub(message.active),
            connect: done.connect,
            transmit: done.transmit,
        },
    };
    // Boxed, here and below: a task pays with memory, written and moved, for whatever it may once do.
    if done.crashed {
        Box::pin(blame(&context, &work.transport)).await;
    }
    let mut settlement = Settlement::default();
    // In the order in which the agent got the results: notices tell them so.
    let mut rest = recipients.clone();
    for report in &done.reports {
        if let Some(n) = rest.iter().position(|p| *p == report.recipient) {
            rest.remove(n);
            context.take(report, &mut settlement).await;
        }
    }
    for place in rest {
        let status = Status::new(Code(4, 3, 0), "unknown mail transport error");
        context.single(place, status, &mut settlement);
    }
    settle(&context, settlement, message).await
}

/// Recipients that wait without an attempt, because their destination is dead.
pub(super) async fn defer<S: Store>(
    shared: Arc<Shared<S>>,
    message: Arc<Message>,
    recipients: Vec<usize>,
    status: Status,
) {
    let parts = shared.parts();
    let now = sys::time::now_micros();
    let context = Context {
        shared: &shared,
        parts: &parts,
        message: &message,
        nexthop: "",
        // As Postfix: what was not tried is reported by the retry transport.
        voice: parts.settings.error_voice.clone(),
        soft_bounce: false,
        delays: Delays {
            before: message.active.saturating_sub(message.envelope.arrival),
            queue: now.saturating_sub(message.active),
            ..Delays::default()
        },
    };
    let status = Status { text: format!("delivery temporarily suspended: {}", status.text), ..status };
    let mut settlement = Settlement::default();
    for place in recipients {
        context.single(place, status.clone(), &mut settlement);
    }
    if settle(&context, settlement, &message).await {
        finish::run(shared.clone(), message.clone()).await;
    }
}

pub(super) async fn attempt<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    (transport, nexthop, followed): (&str, &str, bool),
    recipients: Vec<(usize, Address)>,
) -> Done {
    let known = parts.settings.transports.get(transport);
    let own = match known {
        Some(transport) => transport.own,
        None => Some(crate::agents::Own::Error),
    };
    if let Some(own) = own {
        let status = own.status(transport, nexthop);
        let report = |(place, to): &(usize, Address)| {
            let line = Line {
                to: to.clone(),
                orig_to: message
                    .envelope
                    .recipients
                    .get(*place)
                    .map(|r| r.original.clone())
                    .unwrap_or_default(),
                relay: "none".into(),
                status: status.clone(),
                action: Action::Delivered,
                forward: None,
                bounce_to: None,
            };
            Report {
                recipient: *place,
                lines: vec![line],
                result: status.clone(),
                forwards: Vec::new(),
                expanded: None,
                passes: Vec::new(),
            }
        };
        return Done { reports: recipients.iter().map(report).collect(), ..Done::default() };
    }
    let Some(agent) = agent(parts, transport) else { return Done::default() };
    let to = (transport, nexthop, followed);
    let Some(request) = request(shared, parts, message, to, recipients).await else { return Done::default() };
    caught(agent.deliver(request), || Done { crashed: true, ..Done::default() }).await
}

/// Who delivers for a transport.
fn agent<'a, S: Store>(parts: &'a Parts<S>, transport: &str) -> Option<&'a Arc<dyn crate::agent::Agent>> {
    parts.settings.transports.get(transport).and_then(|t| parts.agents.get(&t.command))
}

/// What an agent is asked; `None` when the content cannot be had.
async fn request<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    message: &Message,
    (transport, nexthop, followed): (&str, &str, bool),
    recipients: Vec<(usize, Address)>,
) -> Option<Request> {
    let body = match message.body(&shared.store).await {
        Ok(body) => body,
        Err(e) => {
            if e == StoreError::LeaseLost {
                message.set_gone();
            } else {
                parts.settings.voice.say_of(message.id, &QueueTrouble { why: e.to_string() });
            }
            return None;
        }
    };
    let envelope = match recipients.as_slice() {
        [(place, _)] => verp::envelope(&message.envelope, *place),
        _ => message.envelope.clone(),
    };
    Some(Request {
        id: message.id,
        envelope,
        body,
        transport: transport.into(),
        nexthop: nexthop.into(),
        recipients,
        arrival: message.envelope.arrival,
        active: message.active,
        followed,
    })
}

/// A fault of the program is this delivery's alone: its place is given back, its messages wait.
async fn caught<T>(
    mut delivery: std::pin::Pin<Box<dyn Future<Output = T> + Send + '_>>,
    crashed: impl Fn() -> T,
) -> T {
    std::future::poll_fn(|context| {
        let step = catch_unwind(AssertUnwindSafe(|| delivery.as_mut().poll(context)));
        step.unwrap_or_else(|_| Poll::Ready(crashed()))
    })
    .await
}

pub(super) async fn blame<S: Store>(context: &Context<'_, S>, transport: &str) {
    let (voice, id) = (&context.parts.settings.voice, context.message.id);
    voice.say_of(id, &Crashed { transport: transport.into() });
    match context.shared.store.blame(id).await {
        Ok(n) if n >= 2 => voice.say_of(id, &Quarantined { transport: transport.into() }),
        Ok(_) => {}
        Err(StoreError::LeaseLost) => context.message.set_gone(),
        Err(e) => voice.say_of(id, &QueueTrouble { why: e.to_string() }),
    }
}

/// Records it; true when nothing of the message is left to be delivered, and it is to be finished.
async fn settle<S: Store>(context: &Context<'_, S>, settlement: Settlement, message: &Arc<Message>) -> bool {
    let shared = context.shared;
    let Settlement { states, news, passed, finished } = settlement;
    message.keep(&states, news);
    if !states.is_empty() && !message.is_gone() {
        let outcome = Outcome { recipients: states, ..Outcome::default() };
        match shared.store.settle(message.id, outcome, true).await {
            Ok(()) => {}
            Err(StoreError::LeaseLost) => message.set_gone(),
            Err(e) => context.parts.settings.voice.say_of(message.id, &QueueTrouble { why: e.to_string() }),
        }
    }
    if !passed.0.is_empty() {
        let _ = shared.inbox.send(Note::Arrived(message.clone(), passed.0));
    }
    finished > 0 && message.done(finished)
}
