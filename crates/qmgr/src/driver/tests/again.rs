//! A message that is due again before the end of its last lease is known everywhere.

use super::*;
use queue::{Action, Counts, Health, Leased, Outcome, Selection, Store, StoreError, Summary};

/// A store that lets others do much between the end of the first lease and what its holder does then.
struct Slow {
    inner: MemoryStore,
    ending: Semaphore,
    end: Semaphore,
    ended: Semaphore,
}

impl Store for Slow {
    type Draft = <MemoryStore as Store>::Draft;

    fn new_id(&self) -> QueueId {
        self.inner.new_id()
    }
    fn draft(&self, id: QueueId, size_hint: u64) -> Result<Self::Draft, StoreError> {
        self.inner.draft(id, size_hint)
    }
    fn lease(&self, n: usize) -> impl Future<Output = Vec<Leased>> + Send {
        self.inner.lease(n)
    }
    async fn body(&self, id: QueueId) -> Result<Body, StoreError> {
        self.inner.body(id).await
    }
    async fn settle(&self, id: QueueId, outcome: Outcome, keep: bool) -> Result<(), StoreError> {
        if keep || self.end.is_closed() {
            return self.inner.settle(id, outcome, keep).await;
        }
        self.ending.add_permits(1);
        self.end.acquire().await.unwrap().forget();
        self.end.close();
        // While it is leased: due as soon as that ends.
        self.inner.control(Selection::Ids(vec![id]), Action::Requeue).await.unwrap();
        let settled = self.inner.settle(id, outcome, keep).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.ended.add_permits(1);
        settled
    }
    async fn blame(&self, id: QueueId) -> Result<u8, StoreError> {
        self.inner.blame(id).await
    }
    async fn list(&self, after: Option<QueueId>, n: usize) -> Result<Vec<Summary>, StoreError> {
        self.inner.list(after, n).await
    }
    async fn get(&self, id: QueueId) -> Result<Option<Summary>, StoreError> {
        self.inner.get(id).await
    }
    async fn control(&self, which: Selection, action: Action) -> Result<Vec<QueueId>, StoreError> {
        self.inner.control(which, action).await
    }
    fn counts(&self) -> Counts {
        self.inner.counts()
    }
    fn health(&self) -> Health {
        self.inner.health()
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Puts off what it is asked first, and then keeps those who ask waiting.
struct Busy {
    asked: Mutex<Vec<QueueId>>,
    more: Semaphore,
    go: Semaphore,
}

impl Agent for Busy {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(async move {
            let first = lock(&self.asked).is_empty();
            lock(&self.asked).push(request.id);
            self.more.add_permits(1);
            if !first {
                self.go.acquire().await.unwrap().forget();
            }
            // Without reports all are put off.
            Done::default()
        })
    }
}

#[tokio::test]
async fn a_message_that_is_due_when_its_lease_ends_is_not_forgotten() {
    let _log = events::memory();
    let none = || Semaphore::new(0);
    let store = Slow { inner: MemoryStore::new(), ending: none(), end: none(), ended: none() };
    let store = Arc::new(store);
    let busy = Arc::new(Busy { asked: Mutex::default(), more: none(), go: none() });
    let agent: Arc<dyn Agent> = busy.clone();
    let main = "smtp_destination_concurrency_limit = 1\n";
    let parts = parts(store.clone(), main, HashMap::from([("smtp".to_string(), agent)]));
    let intake = parts.intake.clone();
    let _manager = Manager::start(store.clone(), parts);
    let send = async || {
        let sender = Address::from_internal("jose@example.org");
        let origin = Origin::new(Source::Pickup { uid: 1001 }, sender, sys::time::now_micros());
        let mut message = intake.begin(origin);
        message.recipient(Address::from_internal("x@smtp.example"), None, Notify::default());
        message.write(b"Subject: t\r\n\r\nhola\r\n").await;
        message.finish().await.unwrap().id
    };
    let pass = async |semaphore: &Semaphore| {
        let passed = tokio::time::timeout(Duration::from_secs(20), semaphore.acquire()).await;
        passed.expect("nothing is stuck").unwrap().forget();
    };
    let id = send().await;
    pass(&busy.more).await;
    pass(&store.ending).await;
    // The only place of the destination is taken before the message is there again.
    let other = send().await;
    pass(&busy.more).await;
    store.end.add_permits(1);
    pass(&store.ended).await;
    busy.go.add_permits(2);
    pass(&busy.more).await;
    assert_eq!(*lock(&busy.asked), [id, other, id]);
}
