//! A defect of the program that one message runs into is that message's alone: whatever works on it may panic, and
//! the message is counted as one that kills, waits, and is put on hold the second time; the others go on.

use super::message::Message;
use super::{Note, Shared};
use crate::events::{Crashed, QueueTrouble};
use proto::QueueId;
use queue::{Outcome, Store, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use sys::board::{Unit, busy};

/// Runs a piece of work on a message; `None` when it panicked.
pub(super) async fn guarded<T>(id: QueueId, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    std::future::poll_fn(|context| {
        let step = catch_unwind(AssertUnwindSafe(|| {
            let _busy = busy(Unit::of_message(id.0));
            work.as_mut().poll(context)
        }));
        match step {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(Some(result)),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// After a panic outside of a delivery: nothing of the message is under way any more as far as we know, so it waits.
pub(super) async fn give_up<S: Store>(
    shared: &Arc<Shared<S>>,
    id: QueueId,
    arrival: u64,
    message: Option<&Message>,
) {
    let parts = shared.parts();
    let voice = &parts.settings.voice;
    voice.say_of(id, &Crashed { transport: "qmgr".into() });
    let next = parts.settings.patience.next(id, arrival, sys::time::now_micros());
    message.into_iter().for_each(Message::set_gone);
    // Before the lease ends; see `finish`.
    let _ = shared.inbox.send(Note::Gone(id));
    let blamed = shared.store.blame(id).await;
    let outcome = Outcome { next_attempt: Some(next), ..Outcome::default() };
    let settled = shared.store.settle(id, outcome, false).await;
    for trouble in [blamed.map(|_| ()), settled].into_iter().filter_map(Result::err) {
        if trouble != StoreError::LeaseLost {
            voice.say_of(id, &QueueTrouble { why: trouble.to_string() });
        }
    }
}

/// Work without which nothing goes on: a defect in it ends the process, which is started again.
pub(super) async fn vital<T>(work: impl Future<Output = T>) -> T {
    let mut work = Box::pin(work);
    std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)))
            .unwrap_or_else(|_| std::process::abort())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_own_work() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let fails = queue::block_on(guarded(QueueId(7), async {
            std::future::ready(()).await;
            if std::hint::black_box(true) {
                panic!();
            }
        }));
        std::panic::set_hook(hook);
        assert_eq!(fails, None);
        assert_eq!(queue::block_on(guarded(QueueId(7), async { 5 })), Some(5));
        assert_eq!(queue::block_on(vital(async { 6 })), 6);
    }
}
