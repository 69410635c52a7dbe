//! One value from a thread to a future, tied to no runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    dropped: bool,
}

/// Where the value goes in.
pub struct Sender<T>(Arc<Mutex<Slot<T>>>);

/// Where it comes out; `None` when the sender was dropped without sending.
pub struct Receiver<T>(Arc<Mutex<Slot<T>>>);

/// A pair.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None, dropped: false }));
    (Sender(slot.clone()), Receiver(slot))
}

impl<T> Sender<T> {
    /// Hands the value over.
    pub fn send(self, value: T) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = self.0.lock().unwrap_or_else(|e| e.into_inner());
            slot.dropped = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if slot.value.is_some() || slot.dropped {
            return Poll::Ready(slot.value.take());
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_or_ends() {
        let (tx, rx) = oneshot();
        let t = std::thread::spawn(move || crate::block_on(rx));
        tx.send(7);
        assert_eq!(t.join().unwrap(), Some(7));
        let (tx, rx) = oneshot::<u8>();
        drop(tx);
        assert_eq!(crate::block_on(rx), None);
    }
}
