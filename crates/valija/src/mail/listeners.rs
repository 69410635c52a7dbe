//! Accepting clients and giving each a session.

use super::snapshot::Snapshot;
use socket2::SockRef;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

events::events! {
    /// All sessions that the service may have are in use; clients wait.
    LimitReached { service: String, limit: usize } Warning "service \"{service}\" has reached its process limit \"{limit}\": new clients may experience noticeable delays"
    /// A client could not be accepted.
    NotAccepted { service: String, what: String } Warning "service \"{service}\": accept: {what}"
    /// master.cf no longer has the service of a listener.
    NoService { service: String } Warning "service \"{service}\" is not in master.cf; its listener is not used"
}

/// The sessions of a service, of before a reload too: how many there are, and were at most since memory was
/// last given back.
#[derive(Default)]
struct Crowd {
    open: AtomicUsize,
    most: AtomicUsize,
    /// A place is free.
    freed: Notify,
}

/// One of them.
struct Place(Arc<Crowd>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.left() {
            // Where no runtime is left, the program ends.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn_blocking(sys::allocator::give_back);
            }
        }
        self.0.freed.notify_one();
    }
}

/// Fewer leave no memory behind that matters.
const CROWD: usize = 1_000;

impl Crowd {
    fn came(&self) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
    }

    /// Whether there is no place for one more.
    fn is_full(&self, limit: usize) -> bool {
        limit > 0 && self.open.load(Ordering::Relaxed) >= limit
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
pub struct Listeners {
    tasks: JoinSet<()>,
    crowds: HashMap<String, Arc<Crowd>>,
}

impl Listeners {
    /// Serves the listeners that `master` sent, with this snapshot's services, and no others. Sessions that
    /// there are go on, and count.
    pub fn serve(&mut self, sockets: Vec<(String, OwnedFd)>, snapshot: &Snapshot) {
        self.tasks = JoinSet::new();
        let source = events::Source::new(&snapshot.syslog_name, "master", std::process::id());
        for (service, socket) in sockets {
            let Some(server) = snapshot.smtpd.get(&service).cloned() else {
                source.say(&NoService { service });
                continue;
            };
            let limit = snapshot.limits.get(&service).copied().unwrap_or(100);
            let listener = match listener(socket) {
                Ok(listener) => listener,
                Err(e) => {
                    source.say(&NotAccepted { service, what: e.to_string() });
                    continue;
                }
            };
            let crowd = self.crowds.entry(service.clone()).or_default().clone();
            let serve = move |stream, peer| smtpd::serve(stream, peer, server.clone());
            self.tasks.spawn(accept(listener, (service, limit), crowd, source.clone(), serve));
        }
    }

    /// Ends accepting.
    pub fn stop(&mut self) {
        self.tasks.abort_all();
    }
}

/// A socket that `master` bound.
fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    let std = StdListener::from(socket);
    std.set_nonblocking(true)?;
    // Replies are short and each is waited for. Connections have it from their listener.
    SockRef::from(&std).set_tcp_nodelay(true)?;
    TcpListener::from_std(std)
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    (service, limit): (String, usize),
    crowd: Arc<Crowd>,
    source: events::Source,
    serve: impl Fn(TcpStream, smtpd::Peer) -> F,
) {
    // Where it listens at one address, all connections have it.
    let own = listener.local_addr().ok().filter(|own| !own.ip().is_unspecified());
    loop {
        if crowd.is_full(limit) {
            source.say(&LimitReached { service: service.clone(), limit });
            while crowd.is_full(limit) {
                crowd.freed.notified().await;
            }
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                let here = own.or_else(|| stream.local_addr().ok());
                let session = serve(stream, smtpd::Peer { here, ..peer.into() });
                crowd.came();
                let place = Place(crowd.clone());
                tokio::spawn(async move {
                    session.await;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of five clients are served, when a reload gives the place to another task.
    async fn served_over_a_reload(limit: usize) -> usize {
        use tokio::io::AsyncReadExt;
        let std = StdListener::bind("127.0.0.1:0").unwrap();
        std.set_nonblocking(true).unwrap();
        let address = std.local_addr().unwrap();
        let crowd = Arc::new(Crowd::default());
        let mut listeners = Listeners::default();
        let mut clients = Vec::new();
        for part in [2, 3] {
            let listener = TcpListener::from_std(std.try_clone().unwrap()).unwrap();
            let source = events::Source::new("postfix", "master", 1);
            let what = ("smtp".to_string(), limit);
            listeners.tasks = JoinSet::new();
            listeners.tasks.spawn(accept(listener, what, crowd.clone(), source, async |mut stream, _| {
                use tokio::io::AsyncWriteExt;
                let _ = stream.write_all(b"2").await;
                let _ = stream.read_u8().await;
            }));
            for _ in 0..part {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            let all = clients.len().min(limit);
            for client in clients.iter_mut().take(all).skip(all.saturating_sub(part)) {
                let _ = tokio::time::timeout(Duration::from_secs(20), client.peek(&mut [0])).await.unwrap();
            }
        }
        // Whoever has no place is not served however long one waits; a little shows who would be.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let served = clients.iter().filter(|c| c.try_read(&mut [0]).is_ok()).count();
        clients.remove(0);
        if served < 5 {
            let next = tokio::time::timeout(Duration::from_secs(20), clients[served - 1].read_u8()).await;
            assert_eq!(next.unwrap().unwrap(), b'2', "and the next one when one has gone");
        }
        served
    }

    #[tokio::test]
    async fn sessions_of_before_a_reload_count() {
        let _log = events::memory();
        assert_eq!(served_over_a_reload(3).await, 3);
        assert_eq!(served_over_a_reload(9).await, 5);
    }

    #[tokio::test]
    async fn connections_have_no_delay_from_their_listener() {
        let bound = StdListener::bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        let listener = listener(bound.into()).unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        assert!(listener.accept().await.unwrap().0.nodelay().unwrap());
    }

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
