//! VRFY: what RCPT would say. RFC 5321 3.5.

use super::rcpt::may_receive;
use crate::backend::Backend;
use crate::restrictions::Stage;
use crate::session::{Session, no};
use proto::Address;
use proto::smtp::server::Decision;

impl<B: Backend> Session<B> {
    pub(crate) async fn vrfy(&mut self, written: &str, address: &Address) -> Decision {
        if let Some(reply) = self.standing_of_milters() {
            return no(reply);
        }
        if let Some(reply) = self.unresolvable(address, written, "VRFY") {
            return Decision::Reply(reply);
        }
        let sender = self.sender().cloned();
        let (verdict, notes) = self
            .decide(|s, notes| may_receive(&s.service, s.question(sender.as_ref(), Some(address)), notes))
            .await;
        self.settle(Stage::Vrfy, Some(address), verdict, notes).map_or_else(no, |()| Decision::Accept)
    }
}
