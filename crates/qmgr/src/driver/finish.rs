//! The end of a lease: expiry, notices, delay warning, the next attempt, removal.

use super::message::{Message, News};
use super::{Note, Shared, notices, verp};
use crate::bounce::template::Kind;
use crate::events::{Expired, NoticeDiscarded, QueueTrouble, Removed};
use proto::job::Action;
use proto::status::Status;
use queue::{Outcome, RecipientState, Store, StoreError};
use std::sync::Arc;

/// Does what remains when no recipient of a message is being delivered any more.
pub(super) async fn run<S: Store>(shared: Arc<Shared<S>>, message: Arc<Message>) {
    let concluded = if message.is_gone() { Ok(None) } else { conclude(&shared, &message).await.map(Some) };
    // Before the lease ends: it may be due at once, and what comes then is another one.
    let _ = shared.inbox.send(Note::Gone(message.id));
    let ended = match concluded {
        Ok(Some(outcome)) => end(&shared, &message, outcome).await,
        other => other.map(drop),
    };
    if let Err(e) = ended
        && e != StoreError::LeaseLost
    {
        let parts = shared.parts();
        parts.settings.voice.say_of(message.id, &QueueTrouble { why: e.to_string() });
        // The lease must end, or the message is lost from sight until the next start.
        let next =
            parts.settings.patience.next(message.id, message.envelope.arrival, sys::time::now_micros());
        let outcome = Outcome { next_attempt: Some(next), ..Outcome::default() };
        let _ = shared.store.settle(message.id, outcome, false).await;
    }
}

/// Ends the lease.
async fn end<S: Store>(
    shared: &Arc<Shared<S>>,
    message: &Arc<Message>,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let settled = message.states(|states| states.iter().all(RecipientState::settled));
    match shared.store.settle(message.id, outcome, false).await {
        // The last settlement of a message that has nobody left made it go.
        Ok(()) => {}
        Err(StoreError::LeaseLost) if settled => {}
        Err(e) => return Err(e),
    }
    if settled {
        shared.parts().settings.voice.say_of(message.id, &Removed {});
    }
    Ok(())
}

/// Tells whom there is to tell; gives how the lease is to end.
async fn conclude<S: Store>(shared: &Arc<Shared<S>>, message: &Arc<Message>) -> Result<Outcome, StoreError> {
    let parts = shared.parts();
    let settings = &parts.settings;
    let (store, id, envelope) = (&shared.store, message.id, &message.envelope);
    let now = sys::time::now_micros();
    let waiting = |states: &[RecipientState]| -> Vec<(usize, Status)> {
        let deferred = |(i, s): (usize, &RecipientState)| match s {
            RecipientState::Deferred(status) => Some((i, status.clone())),
            _ => None,
        };
        states.iter().enumerate().filter_map(deferred).collect()
    };
    let late = message.states(waiting);
    if !late.is_empty() && settings.patience.over(envelope.arrival, now, envelope.sender.is_null()) {
        let sender = envelope.sender.to_string();
        settings.voice.say_of(id, &Expired { sender, status: "expired" });
        let owed: Vec<_> = late.iter().map(|(i, s)| (*i, RecipientState::Owed(s.clone()))).collect();
        let told = late.iter().map(|(place, status)| News {
            place: *place,
            kind: Kind::Failure,
            reported: message.report(*place, status.clone(), Action::Delivered),
        });
        message.keep(&owed, told.collect());
        store.settle(id, Outcome { recipients: owed, ..Outcome::default() }, true).await?;
    }

    // What is owed: the notices first, then the states.
    let news = message.take_news();
    let mut outcome = Outcome::default();
    let mut unsaid: Vec<usize> = Vec::new();
    for kind in [Kind::Failure, Kind::Success, Kind::Verify] {
        let these: Vec<&News> = news.iter().filter(|n| n.kind == kind).collect();
        if these.is_empty() {
            continue;
        }
        let one = |n: &&News| (message.notify(n.place), n.reported.clone());
        let each = kind == Kind::Failure && verp::wanted(envelope) && !*settings.qmgr.disable_verp_bounces();
        let told = if each {
            let all: Vec<_> = these.iter().map(|n| (n.place, one(n))).collect();
            Box::pin(notices::send_verp(shared, &parts, message, &all)).await
        } else {
            let all: Vec<_> = these.iter().map(one).collect();
            Box::pin(notices::send(shared, &parts, message, kind, &all)).await
        };
        if !told {
            unsaid.extend(these.iter().map(|n| n.place));
        }
    }
    // Settled is who was told about in every notice that is due (an alias may have members that
    // failed and members that did not).
    let owed = |states: &[RecipientState]| -> Vec<(usize, Status)> {
        let owed = |(place, state): (usize, &RecipientState)| match state {
            RecipientState::Owed(status) => Some((place, status.clone())),
            _ => None,
        };
        states.iter().enumerate().filter_map(owed).collect()
    };
    for (place, status) in message.states(owed) {
        if news.iter().any(|n| n.place == place) && !unsaid.contains(&place) {
            let state = if status.code.0 == 2 {
                RecipientState::Sent(status)
            } else {
                RecipientState::Bounced(status)
            };
            outcome.recipients.push((place, state));
        }
    }
    message.keep(&outcome.recipients, Vec::new());

    let late = message.states(waiting);
    if !late.is_empty() && !message.delay_warned && settings.patience.late(envelope.arrival, now) {
        let all: Vec<_> = late
            .iter()
            .map(|(i, s)| (message.notify(*i), message.report(*i, s.clone(), Action::Delivered)))
            .collect();
        outcome.delay_warned = Box::pin(notices::send(shared, &parts, message, Kind::Delay, &all)).await;
    }
    let settled = message.states(|states| states.iter().all(RecipientState::settled));
    if !settled {
        outcome.next_attempt = Some(settings.patience.next(id, envelope.arrival, now));
    }
    Ok(outcome)
}

/// Tells the log that nobody can be told.
pub(super) fn discarded(voice: &events::Source, message: &Message) {
    voice.say_of(message.id, &NoticeDiscarded {});
}
