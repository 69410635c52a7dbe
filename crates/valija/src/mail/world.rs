//! What SMTP sessions ask about addresses: the rewriter answers. ETRN asks for deliveries, too:
//! those wishes go to the queue manager, one at a time, so that strangers cannot keep it busy.

use super::verify::Probes;
use net::dns::Resolver;
use proto::Address;
use qmgr::Manager;
use queue::Store;
use rewrite::{Existence, Rewriter};
use smtpd::restrictions::facts::Wanted;
use smtpd::verify::Verifier;
use smtpd::world::{Looking, Resolved, Trouble, Verifying};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Destinations whose mail is to be tried.
pub type Wishes = mpsc::Sender<String>;

/// More wishes at once are refused; the client may ask again.
const MOST: usize = 32;

events::events! {
    /// A table could not say whether ETRN is allowed.
    EtrnUndecided { why: String } Warning "{why}"
    /// The queue could not be searched for ETRN.
    EtrnFailed { domain: String, why: String } Warning "flush {domain}: {why}"
}

/// The way of wishes to the queue manager.
pub fn wishes() -> (Wishes, mpsc::Receiver<String>) {
    mpsc::channel(MOST)
}

/// Has the queue manager do what clients wished, until nobody can wish any more.
pub async fn fulfil<S: Store>(mut wished: mpsc::Receiver<String>, manager: Manager<S>, say: events::Source) {
    while let Some(domain) = wished.recv().await {
        if let Err(why) = manager.flush_site(&domain).await {
            say.say(&EtrnFailed { domain, why });
        }
    }
}

/// The rewriter of a snapshot, and the way to the queue manager.
pub struct World {
    rewriter: Arc<Rewriter>,
    /// With the tables that the service itself names (`-o local_recipient_maps=`).
    lister: Arc<Rewriter>,
    resolver: Resolver,
    wishes: Wishes,
    verifier: Arc<Verifier>,
    probes: Arc<Probes>,
    say: events::Source,
}

impl World {
    /// Of one service of a snapshot: the snapshot's rewriter, and one with the service's own tables.
    pub fn new(
        (rewriter, lister): (Arc<Rewriter>, Arc<Rewriter>),
        resolver: Resolver,
        wishes: Wishes,
        (verifier, probes): (Arc<Verifier>, Arc<Probes>),
        say: events::Source,
    ) -> World {
        World { rewriter, lister, resolver, wishes, verifier, probes, say }
    }
}

impl smtpd::World for World {
    fn resolve(&self, address: &Address) -> Result<Resolved, Trouble> {
        smtpd::World::resolve(self.rewriter.as_ref(), address)
    }

    fn route(&self, address: &Address) -> Option<smtpd::world::Route> {
        smtpd::World::route(self.rewriter.as_ref(), address)
    }

    fn existence(&self, address: &Address) -> Result<Existence, Trouble> {
        smtpd::world::existence(&self.rewriter, &self.lister, address)
    }

    fn owners(&self, maps: &tables::Maps, sender: &Address) -> Result<Option<tables::Hit>, Trouble> {
        smtpd::World::owners(self.rewriter.as_ref(), maps, sender)
    }

    fn look_up<'a>(&'a self, wanted: &'a Wanted) -> Looking<'a> {
        Box::pin(smtpd::world::ask(&self.resolver, wanted))
    }

    fn verify<'a>(&'a self, address: &'a Address) -> Verifying<'a> {
        Box::pin(self.verifier.verify(address, &*self.probes))
    }

    fn flush(&self, domain: &str) -> bool {
        match self.rewriter.flushable(domain) {
            Ok(allowed) => allowed && self.wishes.try_send(domain.to_string()).is_ok(),
            Err(e) => {
                self.say.say(&EtrnUndecided { why: e.to_string() });
                false
            }
        }
    }
}
