//! Where messages go: the queue's door, or for `sendmail -bs` the maildrop.

use cleanup::{Intake, Message, Orders, Origin, Refused};
use proto::Address;
use proto::envelope::Notify;
use queue::Store;
use queue::store::Health;
use std::future::Future;

/// Takes messages.
pub trait Backend: Send + Sync + 'static {
    /// A message on its way.
    type Message: Incoming;
    /// Begins one.
    fn begin(&self, origin: Origin) -> Self::Message;
    /// Whether there is room; cheap.
    fn health(&self) -> Health;
}

/// A message on its way. Dropping it forgets it.
pub trait Incoming: Send {
    /// Its name, for the log and the client.
    fn id(&self) -> String;
    /// Adds a recipient.
    fn recipient(&mut self, address: Address, orcpt: Option<String>, notify: Notify);
    /// What restrictions want done with it.
    fn obey(&mut self, orders: Orders);
    /// Adds content.
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = ()> + Send;
    /// Durable when it returns. The session's filters see it before.
    fn finish(
        self,
        milters: Option<&mut milter::Session>,
    ) -> impl Future<Output = Result<(), Refused>> + Send;
}

impl<S: Store> Backend for Intake<S> {
    type Message = Message<S>;

    fn begin(&self, origin: Origin) -> Message<S> {
        Intake::begin(self, origin)
    }

    fn health(&self) -> Health {
        self.store().health()
    }
}

impl<S: Store> Incoming for Message<S> {
    fn id(&self) -> String {
        self.id().to_string()
    }

    fn recipient(&mut self, address: Address, orcpt: Option<String>, notify: Notify) {
        Message::recipient(self, address, orcpt, notify);
    }

    fn obey(&mut self, orders: Orders) {
        Message::obey(self, orders);
    }

    async fn write(&mut self, bytes: &[u8]) {
        Message::write(self, bytes).await;
    }

    async fn finish(self, milters: Option<&mut milter::Session>) -> Result<(), Refused> {
        Message::finish_with(self, milters).await.map(|_| ())
    }
}
