//! Takes messages from the queue while there is room, and finds out where their recipients go.

use super::message::{Message, News};
use super::{Note, Parts, Shared, finish, guard, verp};
use crate::bounce::template::Kind;
use crate::events::{Active, Expired, NoTransport, NotServed, QueueTrouble, Result as Line, Unresolved};
use crate::line::Delays;
use crate::schedule::Group;
use proto::Address;
use proto::envelope::{Envelope, Recipient, Trace};
use proto::job::Action;
use proto::status::{Code, Status};
use queue::{Leased, Outcome, RecipientState, Store, StoreError};
use std::collections::HashMap;
use std::sync::Arc;

/// How many messages are asked for at a time; those that wait on disk are read here, and others must
/// get a turn between.
const BATCH: usize = 32;

/// Until the store is closed or the manager drains.
pub(super) async fn run<S: Store>(shared: Arc<Shared<S>>) {
    let mut stop = shared.stop.subscribe();
    loop {
        let Ok(first) = shared.messages.clone().acquire_owned().await else { return };
        let room = shared.messages.available_permits().min(BATCH - 1) + 1;
        let leased = tokio::select! {
            leased = shared.store.lease(room) => leased,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if leased.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
        let mut first = Some(first);
        for lease in leased {
            let place = match first.take() {
                Some(place) => place,
                None => match shared.messages.clone().acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
            };
            let n =
                u32::try_from(lease.recipients.len()).unwrap_or(u32::MAX).clamp(1, shared.recipient_limit);
            let Ok(recipients) = shared.recipients.clone().acquire_many_owned(n).await else { return };
            let (id, arrival) = (lease.id, lease.envelope.arrival);
            if guard::guarded(id, take_up(&shared, lease, vec![place, recipients])).await.is_none() {
                guard::give_up(&shared, id, arrival, None).await;
            }
        }
    }
}

async fn take_up<S: Store>(
    shared: &Arc<Shared<S>>,
    mut lease: Leased,
    places: Vec<tokio::sync::OwnedSemaphorePermit>,
) {
    let parts = shared.parts();
    let settings = &parts.settings;
    if lease.requeued {
        match rewritten(&parts, &lease) {
            Ok((envelope, states)) => {
                let owed = |s: &RecipientState| matches!(s, RecipientState::Owed(_));
                let recipients =
                    states.iter().enumerate().filter(|(_, s)| owed(s)).map(|(i, s)| (i, s.clone())).collect();
                let outcome =
                    Outcome { recipients, envelope: Some(Box::new(envelope.clone())), ..Outcome::default() };
                match shared.store.settle(lease.id, outcome, true).await {
                    Ok(()) => (lease.envelope, lease.recipients) = (Arc::new(envelope), states),
                    Err(StoreError::LeaseLost) => return,
                    Err(e) => settings.voice.say_of(lease.id, &QueueTrouble { why: e.to_string() }),
                }
            }
            Err(why) => settings.voice.say_of(lease.id, &Unresolved { why }),
        }
    }
    let envelope = lease.envelope.clone();
    let sender = envelope.sender.to_string();
    let open = lease.recipients.iter().filter(|s| !s.settled()).count();
    // As Postfix counts: what the message came with, or what it had left when it was requeued.
    let recipients = if lease.requeued { open } else { lease.recipients.len() };
    settings.voice.say_of(lease.id, &Active { sender: sender.clone(), size: envelope.size, recipients });
    let now = sys::time::now_micros();
    let flushed = lease.flushed;

    let (mut resolved, mut groups, mut news) = (HashMap::new(), Groups::default(), Vec::new());
    let mut changed: Vec<(usize, RecipientState)> = Vec::new();
    let report = |place: usize, recipient: &Recipient, kind, status| News {
        place,
        kind,
        reported: crate::bounce::notice::Reported {
            to: recipient.address.clone(),
            original: recipient.original.clone(),
            orcpt: recipient.dsn_orcpt.clone(),
            status,
            action: Action::Delivered,
        },
    };
    // In the order of their addresses, as Postfix: those of one delivery, and what notices tell, follow it.
    let mut in_order: Vec<_> = envelope.recipients.iter().zip(&lease.recipients).enumerate().collect();
    in_order.sort_by_cached_key(|(_, (recipient, _))| recipient.address.to_string().to_ascii_lowercase());
    for (place, (recipient, state)) in in_order {
        match state {
            RecipientState::Sent(_) | RecipientState::Bounced(_) => {}
            RecipientState::Owed(status) => {
                let kind = match envelope.trace {
                    Trace::Verify | Trace::Probe => Kind::Verify,
                    Trace::Record if status.code.0 == 2 => Kind::Verify,
                    _ if status.code.0 == 2 => Kind::Success,
                    _ => Kind::Failure,
                };
                news.push(report(place, recipient, kind, status.clone()));
            }
            RecipientState::Deferred(status) if lease.expired => {
                changed.push((place, RecipientState::Owed(status.clone())));
                news.push(report(place, recipient, Kind::Failure, status.clone()));
            }
            RecipientState::Pending if lease.expired => {
                let status = Status::new(Code(5, 4, 7), "message expired before the first attempt");
                changed.push((place, RecipientState::Owed(status.clone())));
                news.push(report(place, recipient, Kind::Failure, status));
            }
            RecipientState::Pending | RecipientState::Deferred(_)
                if discarded(&parts, &recipient.address) =>
            {
                let delays = Delays { before: now.saturating_sub(envelope.arrival), ..Delays::default() };
                let text = "undeliverable postmaster notification discarded";
                settings.voice.say_of(
                    lease.id,
                    &Line {
                        to: recipient.address.to_string(),
                        orig_to: orig_to(&recipient.address, &recipient.original),
                        relay: "none".into(),
                        delays: delays.show(*settings.qmgr.delay_logging_resolution_limit() as u32),
                        dsn: "2.0.0".into(),
                        status: if envelope.trace.is_probe() { "deliverable" } else { "sent" },
                        text: text.into(),
                    },
                );
                let status = Status::new(Code(2, 0, 0), text);
                if let Some(verification) =
                    parts.verification.as_ref().filter(|_| envelope.trace == Trace::Probe)
                {
                    let asked = Address::from_internal(&recipient.original);
                    verification.listener.verified(lease.id, &asked, &status);
                }
                changed.push((place, RecipientState::Sent(status)));
            }
            RecipientState::Pending | RecipientState::Deferred(_) => {
                let (transport, nexthop, address) = route(shared, &parts, &envelope, recipient, flushed);
                groups.add(&parts, place, &address, (transport, nexthop), verp::wanted(&envelope));
                resolved.insert(place, address);
            }
        }
    }
    if lease.expired && !changed.is_empty() {
        settings.voice.say_of(lease.id, &Expired { sender, status: "force-expired" });
    }
    let nothing = resolved.is_empty();
    let trace = match envelope.trace {
        Trace::Record if lease.tries > 0 => Trace::None,
        trace => trace,
    };
    let message = Arc::new(Message::new(
        lease.id,
        envelope,
        now,
        lease.delay_warned,
        trace,
        lease.recipients,
        resolved,
        news,
        places,
    ));
    if !changed.is_empty() {
        message.keep(&changed, Vec::new());
        let outcome = Outcome { recipients: changed, ..Outcome::default() };
        match shared.store.settle(message.id, outcome, true).await {
            Ok(()) => {}
            Err(StoreError::LeaseLost) => return,
            Err(e) => settings.voice.say_of(message.id, &QueueTrouble { why: e.to_string() }),
        }
    }
    if nothing {
        let shared = shared.clone();
        tokio::spawn(async move {
            let (id, arrival) = (message.id, message.envelope.arrival);
            if guard::guarded(id, finish::run(shared.clone(), message.clone())).await.is_none() {
                guard::give_up(&shared, id, arrival, Some(&message)).await;
            }
        });
    } else {
        let _ = shared.inbox.send(Note::Arrived(message, groups.0));
    }
}

/// Mail to the sender of notices to the postmaster goes nowhere.
fn discarded<S: Store>(parts: &Parts<S>, address: &Address) -> bool {
    let settings = &parts.settings;
    address.local().eq_ignore_ascii_case(settings.main.double_bounce_sender())
        && parts
            .router
            .resolve(address, &Address::null())
            .is_ok_and(|r| matches!(r.class, rewrite::Class::Local))
}

/// `orig_to=<…>, ` where it says something new.
pub(super) fn orig_to(to: &Address, original: &str) -> String {
    if original.is_empty() || original.eq_ignore_ascii_case(&to.to_string()) {
        String::new()
    } else {
        format!("orig_to=<{original}>, ")
    }
}

/// Transport, next hop and address of a recipient.
fn route<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    envelope: &Envelope,
    recipient: &Recipient,
    flushed: bool,
) -> (String, String, Address) {
    let retry = |text: &str, address: Address| ("retry".to_string(), text.to_string(), address);
    let verified = parts.verification.as_ref().filter(|_| envelope.trace == Trace::Probe);
    let router = verified.map_or(&parts.router, |v| &v.router);
    let answer = match router.resolve(&recipient.address, &envelope.sender) {
        Ok(answer) => answer,
        Err(why) => {
            parts.settings.voice.say(&Unresolved { why });
            return retry("4.3.0 address resolver failure", recipient.address.clone());
        }
    };
    if let Some(why) = answer.bad {
        return ("error".into(), format!("5.1.3 {why}"), answer.recipient);
    }
    let (transport, nexthop) = match &envelope.filter {
        // A probe asks where the mail would end; a filter would let it in again.
        _ if envelope.trace.is_probe() => (answer.transport, answer.nexthop),
        None => (answer.transport, answer.nexthop),
        // content_filter(5): a next hop left out is this host.
        Some(filter) => {
            let (transport, hop) = filter.split_once(':').unwrap_or((filter, ""));
            let hop = if hop.is_empty() { parts.settings.main.myhostname() } else { hop };
            (transport.to_string(), hop.to_string())
        }
    };
    match usable(shared, parts, &transport, flushed) {
        Ok(()) => (transport, nexthop, answer.recipient),
        Err(text) => retry(text, answer.recipient),
    }
}

/// Whether a transport can be used now; else the reason that `retry` gets.
pub(super) fn usable<S: Store>(
    shared: &Shared<S>,
    parts: &Parts<S>,
    transport: &str,
    flushed: bool,
) -> Result<(), &'static str> {
    let unavailable = "4.3.0 mail transport unavailable";
    let Some(known) = parts.settings.transports.get(transport) else {
        // These two need no line in master.cf.
        if matches!(transport, "retry" | "error") {
            return Ok(());
        }
        if shared.first_time(transport) {
            parts.settings.voice.say(&NoTransport { name: transport.into() });
        }
        return Err(unavailable);
    };
    if known.deferred && !flushed {
        return Err("4.3.2 deferred transport");
    }
    if known.own.is_none() && !parts.agents.contains_key(&known.command) {
        if shared.first_time(transport) {
            let (name, command) = (transport.to_string(), known.command.clone());
            parts.settings.voice.say(&NotServed { name, command });
        }
        return Err(unavailable);
    }
    Ok(())
}

/// Recipients of one message, by where they go.
#[derive(Default)]
pub(super) struct Groups(pub(super) Vec<Group>);

impl Groups {
    pub(super) fn add<S: Store>(
        &mut self,
        parts: &Parts<S>,
        place: usize,
        address: &Address,
        (transport, nexthop): (String, String),
        single: bool,
    ) {
        let alone = parts.settings.transports.get(&transport).is_some_and(|t| t.limits.recipients == 1);
        let destination =
            if alone { address.internal().to_ascii_lowercase() } else { nexthop.to_ascii_lowercase() };
        let same =
            |g: &&mut Group| g.transport == transport && g.destination == destination && g.nexthop == nexthop;
        match self.0.iter_mut().rev().take(64).find(same) {
            Some(group) => group.recipients.push(place),
            None => {
                let recipients = vec![place];
                self.0.push(Group { transport, nexthop, destination, recipients, single, alone: false });
            }
        }
    }
}

/// `postsuper -r`: what is not settled goes through address rewriting again.
fn rewritten<S: Store>(parts: &Parts<S>, lease: &Leased) -> Result<(Envelope, Vec<RecipientState>), String> {
    let mut envelope = (*lease.envelope).clone();
    let (mut recipients, mut states) = (Vec::new(), Vec::new());
    for (recipient, state) in lease.envelope.recipients.iter().zip(&lease.recipients) {
        match state {
            RecipientState::Sent(_) | RecipientState::Bounced(_) => {}
            RecipientState::Owed(_) => {
                recipients.push(recipient.clone());
                states.push(state.clone());
            }
            RecipientState::Pending | RecipientState::Deferred(_) => {
                for address in parts.router.rewrite(&recipient.address)? {
                    recipients.push(Recipient { address, ..recipient.clone() });
                    states.push(RecipientState::Pending);
                }
            }
        }
    }
    envelope.recipients = recipients;
    Ok((envelope, states))
}
