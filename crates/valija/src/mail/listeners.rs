//! Accepting clients and giving each a session.

use super::snapshot::Snapshot;
use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

events::events! {
    /// All sessions that the service may have are in use; clients wait.
    LimitReached { service: String, limit: usize } Warning "service \"{service}\" has reached its process limit \"{limit}\": new clients may experience noticeable delays"
    /// A client could not be accepted.
    NotAccepted { service: String, what: String } Warning "service \"{service}\": accept: {what}"
    /// master.cf no longer has the service of a listener.
    NoService { service: String } Warning "service \"{service}\" is not in master.cf; its listener is not used"
}

/// How many sessions there are, and were at most since memory was last given back.
#[derive(Default)]
struct Crowd {
    open: AtomicUsize,
    most: AtomicUsize,
}

/// Fewer leave no memory behind that matters.
const CROWD: usize = 1_000;

impl Crowd {
    fn came(&self) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
    }

    /// Whether most of a crowd has left: what it took is worth giving back.
    fn left(&self) -> bool {
        let open = self.open.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        let most = self.most.load(Ordering::Relaxed);
        most >= CROWD
            && open <= most / 8
            && self.most.compare_exchange(most, open, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The accepting tasks; dropping it ends them, and no client is lost: `master` holds the sockets.
#[derive(Default)]
pub struct Listeners(JoinSet<()>);

impl Listeners {
    /// Serves the listeners that `master` sent, with this snapshot's services.
    pub fn serve(sockets: Vec<(String, OwnedFd)>, snapshot: &Snapshot) -> Listeners {
        let mut tasks = JoinSet::new();
        let source = events::Source::new(&snapshot.syslog_name, "master", std::process::id());
        for (service, socket) in sockets {
            let Some(server) = snapshot.smtpd.get(&service).cloned() else {
                source.say(&NoService { service });
                continue;
            };
            let limit = snapshot.limits.get(&service).copied().unwrap_or(100);
            let places = Arc::new(Semaphore::new(if limit == 0 { Semaphore::MAX_PERMITS } else { limit }));
            let std = StdListener::from(socket);
            let listener = std.set_nonblocking(true).and_then(|()| TcpListener::from_std(std));
            let listener = match listener {
                Ok(listener) => listener,
                Err(e) => {
                    source.say(&NotAccepted { service, what: e.to_string() });
                    continue;
                }
            };
            let source = source.clone();
            let crowd = Arc::new(Crowd::default());
            tasks.spawn(async move {
                loop {
                    let place = match places.clone().try_acquire_owned() {
                        Ok(place) => place,
                        Err(_) => {
                            source.say(&LimitReached { service: service.clone(), limit });
                            match places.clone().acquire_owned().await {
                                Ok(place) => place,
                                Err(_) => return,
                            }
                        }
                    };
                    match listener.accept().await {
                        Ok((stream, peer)) => {
                            // Replies are short and each is waited for.
                            let _ = stream.set_nodelay(true);
                            let server = server.clone();
                            let here = stream.local_addr().ok();
                            let peer = smtpd::Peer { here, ..peer.into() };
                            let crowd = crowd.clone();
                            crowd.came();
                            tokio::spawn(async move {
                                smtpd::serve(stream, peer, server).await;
                                drop(place);
                                if crowd.left() {
                                    tokio::task::spawn_blocking(sys::allocator::give_back);
                                }
                            });
                        }
                        Err(e) => {
                            source.say(&NotAccepted { service: service.clone(), what: e.to_string() });
                            // Out of descriptors, most likely: some session will end.
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            });
        }
        Listeners(tasks)
    }

    /// Ends accepting.
    pub fn stop(&mut self) {
        self.0.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_left_is_noticed() {
        let crowd = Crowd::default();
        let given_back = |came: usize, left: usize| {
            (0..came).for_each(|_| crowd.came());
            (0..left).filter(|_| crowd.left()).count()
        };
        assert_eq!(given_back(CROWD - 1, CROWD - 1), 0, "a few are no crowd");
        assert_eq!(given_back(10 * CROWD, 8 * CROWD), 0);
        assert_eq!(given_back(0, 2 * CROWD), 2, "and again when most of the rest has left");
        assert_eq!(given_back(2 * CROWD, 2 * CROWD), 1, "the next crowd counts anew");
    }
}
