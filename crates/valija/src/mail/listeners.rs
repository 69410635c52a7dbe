//! Accepting clients and giving each a session.

use super::snapshot::Snapshot;
use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
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
                            tokio::spawn(async move {
                                smtpd::serve(stream, peer, server).await;
                                drop(place);
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
