//! The channel to `master`, for async code.

use proto::supervision::{Ask, Order};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use sys::channel::Channel;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Our end. Cheap to clone.
#[derive(Clone)]
pub struct Master(Arc<AsyncFd<Channel>>);

impl Master {
    /// Takes over the channel; call inside the runtime.
    pub fn new(channel: Channel) -> io::Result<Master> {
        Ok(Master(Arc::new(watched(channel)?)))
    }

    /// The next order; `None` when master is gone. What is no order is skipped.
    pub async fn next(&self) -> Option<(Order, Vec<OwnedFd>)> {
        loop {
            let received = self.0.async_io(Interest::READABLE, |c| c.receive()).await;
            let (bytes, descriptors) = received.ok()??;
            if let Some(order) = Order::decode(&bytes) {
                return Some((order, descriptors));
            }
        }
    }

    /// Tells master something. A master that is gone is noticed by [`Master::next`].
    pub async fn tell(&self, ask: &Ask) {
        let bytes = ask.encode();
        let _ = self.0.async_io(Interest::WRITABLE, |c| c.send(&bytes, &[])).await;
    }
}

/// A channel that the runtime watches.
#[expect(deprecated, reason = "the replacement is unsafe; a Channel owns its descriptor as long as it lives")]
pub fn watched(channel: Channel) -> io::Result<AsyncFd<Channel>> {
    channel.set_nonblocking()?;
    AsyncFd::new(channel)
}
