//! The channel to `master`, for async code.

use proto::supervision::{Ask, Order};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sys::channel::Channel;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An order, and the descriptors that came along.
type Received = (Order, Vec<OwnedFd>);

/// Our end. Cheap to clone.
#[derive(Clone)]
pub struct Master {
    channel: Arc<AsyncFd<Channel>>,
    /// Orders that were received, but are not for who received them.
    later: Arc<Mutex<VecDeque<Received>>>,
}

impl Master {
    /// Takes over the channel; call inside the runtime.
    pub fn new(channel: Channel) -> io::Result<Master> {
        Ok(Master { channel: Arc::new(watched(channel)?), later: Arc::default() })
    }

    /// The next order; `None` when master is gone. What is no order is skipped.
    pub async fn next(&self) -> Option<Received> {
        let waiting = self.later().pop_front();
        if waiting.is_some() {
            return waiting;
        }
        loop {
            let received = self.channel.async_io(Interest::READABLE, |c| c.receive()).await;
            let (bytes, descriptors) = received.ok()??;
            if let Some(order) = Order::decode(&bytes) {
                return Some((order, descriptors));
            }
        }
    }

    /// These orders were for somebody else: they are the next ones, in this order.
    pub fn put_back(&self, orders: Vec<Received>) {
        let mut later = self.later();
        orders.into_iter().rev().for_each(|order| later.push_front(order));
    }

    fn later(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells master something. A master that is gone is noticed by [`Master::next`].
    pub async fn tell(&self, ask: &Ask) {
        let bytes = ask.encode();
        let _ = self.channel.async_io(Interest::WRITABLE, |c| c.send(&bytes, &[])).await;
    }
}

/// A channel that the runtime watches.
#[expect(deprecated, reason = "the replacement is unsafe; a Channel owns its descriptor as long as it lives")]
pub fn watched(channel: Channel) -> io::Result<AsyncFd<Channel>> {
    channel.set_nonblocking()?;
    AsyncFd::new(channel)
}
