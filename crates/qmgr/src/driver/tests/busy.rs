//! Many destinations, some of them bad; and senders that differ from recipient to recipient.

use super::*;
use std::collections::BTreeMap;

const DESTINATIONS: usize = 50;

/// An SMTP client without a network: what happens depends on the destination.
struct Network {
    /// Bad destinations hang until this is let go.
    hanging: Semaphore,
    delivered: Mutex<BTreeMap<String, usize>>,
    /// Told of each delivery.
    moved: tokio::sync::Notify,
    senders: Mutex<Vec<(String, String)>>,
    seen: Mutex<HashSet<String>>,
}

fn report(place: usize, to: &Address, status: Status) -> Report {
    let line = Line {
        to: to.clone(),
        orig_to: String::new(),
        relay: "mx[192.0.2.1]:25".into(),
        status: status.clone(),
        action: Act::Relayed,
        forward: None,
        bounce_to: None,
    };
    Report {
        recipient: place,
        lines: vec![line],
        result: status,
        forwards: Vec::new(),
        expanded: None,
        passes: Vec::new(),
    }
}

impl Network {
    fn live(&self) -> usize {
        lock(&self.delivered).len()
    }

    /// Waits until so many were delivered to, a minute at most: then the caller's assertion fails.
    async fn reach(&self, count: usize) {
        let reached = async {
            while self.live() < count {
                self.moved.notified().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(60), reached).await;
    }
}

impl Agent for Network {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(async move {
            let number: usize = request.nexthop[1..].trim_end_matches(".many").parse().unwrap();
            let (dead, slow) = (number.is_multiple_of(10), number % 10 == 1);
            if dead || slow {
                let _ = self.hanging.acquire().await;
            }
            let mut done = Done::default();
            for (place, to) in &request.recipients {
                let first = lock(&self.seen).insert(to.to_string());
                let status = if dead {
                    Status::new(Code(4, 4, 1), "connect to mx[192.0.2.1]:25: Connection timed out")
                } else if number % 10 == 2 && first {
                    Status::new(Code(4, 2, 0), "host mx[192.0.2.1] said: 450 4.2.0 Greylisted")
                } else if to.local() == "nobody" {
                    Status::new(Code(5, 1, 1), "host mx[192.0.2.1] said: 550 5.1.1 no")
                } else {
                    *lock(&self.delivered).entry(to.to_string()).or_default() += 1;
                    self.moved.notify_one();
                    Status::new(Code(2, 0, 0), "250 2.0.0 Ok")
                };
                lock(&self.senders).push((request.envelope.sender.internal(), to.to_string()));
                if dead {
                    done.unreachable = Some(status.clone());
                }
                done.reports.push(report(*place, to, status));
            }
            done
        })
    }
}

fn many() -> (World, Arc<Network>) {
    let network = Arc::new(Network {
        hanging: Semaphore::new(0),
        delivered: Mutex::default(),
        moved: tokio::sync::Notify::new(),
        senders: Mutex::default(),
        seen: Mutex::default(),
    });
    let agent: Arc<dyn Agent> = network.clone();
    let w = world_with("default_process_limit = 10\n", HashMap::from([("smtp".to_string(), agent)]));
    (w, network)
}

#[tokio::test]
async fn live_destinations_are_served_while_all_bad_ones_hang() {
    let (w, network) = many();
    for n in 0..1_000 {
        let to = format!("u{n}@d{}.many", n % DESTINATIONS);
        w.send("jose@example.org", &[&to], Notify::default()).await;
    }
    // Five destinations are dead, five slow, five greylist.
    network.reach(700).await;
    assert_eq!(network.live(), 700, "and nothing of what hangs was let go");
    network.hanging.close();
    w.rest(200).await;
    assert_eq!(network.live(), 800, "the slow ones, too");
    w.manager.revive();
    w.store.control(queue::Selection::All(None), queue::Action::Flush).await.unwrap();
    network.reach(900).await;
    w.rest(100).await;
    assert!(lock(&network.delivered).values().all(|n| *n == 1), "none twice");
    assert_eq!(network.live(), 900, "none lost");
    let lines = w.lines();
    let count = |text: &str| lines.iter().filter(|l| l.contains(text)).count();
    assert!(
        count("dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx[192.0.2.1]:25")
            >= 80
    );
    assert_eq!(count("said: 450 4.2.0 Greylisted"), 100);
}

#[tokio::test]
async fn each_recipient_has_its_own_sender_and_hears_of_its_own_bounce() {
    let (w, network) = many();
    let to = ["uno@d3.many", "nobody@d3.many", "dos@d4.many"];
    w.send_verp("list@example.org", &to, "").await;
    w.rest(0).await;
    let mut senders = lock(&network.senders).clone();
    senders.sort();
    let pair = |user: &str, d: &str| (format!("list+{user}={d}@example.org"), format!("{user}@{d}"));
    assert_eq!(senders, [pair("dos", "d4.many"), pair("nobody", "d3.many"), pair("uno", "d3.many")]);
    let got = lock(&w.fake.got).clone();
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(got[0].0, "list+nobody=d3.many@example.org");
    assert!(got[0].1.contains("To: list+nobody=d3.many@example.org\r\n"), "{}", got[0].1);
}
