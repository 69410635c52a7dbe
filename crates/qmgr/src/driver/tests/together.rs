//! Messages for the same mailbox that are delivered together.

use super::*;
/// A mailbox: what it got, in deliveries of so many messages.
struct Mailbox {
    deliveries: Mutex<Vec<Vec<String>>>,
    /// A permit for each delivery.
    gate: Semaphore,
    /// What is done with several: all delivered, only the first, or a fault.
    several: Several,
}

#[derive(PartialEq, Eq)]
enum Several {
    Delivered,
    FirstOnly,
    Fault,
    Silence,
    /// Delivered; what is made of the third of them runs into a defect.
    Poison,
}

fn mailbox(several: Several) -> Arc<Mailbox> {
    Arc::new(Mailbox { deliveries: Mutex::default(), gate: Semaphore::new(0), several })
}

fn delivered(request: &Request) -> Done {
    let Body::Memory(content) = &request.body else { panic!("memory") };
    let full = String::from_utf8_lossy(content).contains("big");
    let (place, to) = &request.recipients[0];
    let status = match full {
        false => Status::new(Code(2, 0, 0), "delivered to mailbox"),
        true => Status::new(Code(4, 2, 2), "mailbox full"),
    };
    let line = Line {
        to: to.clone(),
        orig_to: to.internal(),
        relay: "local".into(),
        status: status.clone(),
        action: Act::Delivered,
        forward: None,
        bounce_to: None,
    };
    let report = Report {
        recipient: *place,
        lines: vec![line],
        result: status,
        forwards: Vec::new(),
        expanded: None,
        passes: Vec::new(),
    };
    Done { number: 7, reports: vec![report], mailbox: Some(true), ..Done::default() }
}

impl Agent for Mailbox {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            self.deliveries.lock().unwrap().push(vec![request.id.to_string()]);
            delivered(&request)
        })
    }

    fn deliver_together(
        &self,
        requests: Vec<Request>,
    ) -> Pin<Box<dyn Future<Output = Vec<Done>> + Send + '_>> {
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            self.deliveries.lock().unwrap().push(requests.iter().map(|r| r.id.to_string()).collect());
            let untried = Done { untried: true, ..Done::default() };
            match self.several {
                Several::Delivered => requests.iter().map(delivered).collect(),
                Several::FirstOnly => {
                    let mut all = vec![untried; requests.len()];
                    all[0] = delivered(&requests[0]);
                    all
                }
                Several::Fault => panic!("as it should"),
                Several::Silence => Vec::new(),
                Several::Poison => {
                    let mut all: Vec<Done> = requests.iter().map(delivered).collect();
                    all[2].reports[0].forwards.push(Forward {
                        sender: Address::null(),
                        recipients: vec![Recipient {
                            address: Address::from_internal("poison@example.org"),
                            ..Recipient::default()
                        }],
                        delivered_to: String::new(),
                    });
                    all
                }
            }
        })
    }
}

/// Sends five messages, of which one is big, before the first is delivered; gives the world at rest, who was delivered
/// together, and the messages. A machine that is too busy to do so in a tenth of a second is asked again.
async fn five(several: impl Fn() -> Several, left: u64) -> (World, Vec<Vec<String>>, Vec<String>) {
    for _ in 0..100 {
        let agent = mailbox(several());
        let own: Arc<dyn Agent> = agent.clone();
        let w = world_with("", HashMap::from([("local".to_string(), own)]));
        let mut ids = Vec::new();
        for n in 0..5 {
            let mut message = w.intake.begin(Origin::new(
                Source::Pickup { uid: 1001 },
                Address::from_internal("jose@example.org"),
                sys::time::now_micros(),
            ));
            message.recipient(Address::from_internal("ana@example.org"), None, Notify::default());
            message.write(if n == 2 { b"Subject: t\r\n\r\nbig\r\n" } else { b"Subject: t\r\n\r\n" }).await;
            ids.push(message.finish().await.unwrap().id.to_string());
        }
        // All of them are with the scheduler.
        while w.store.counts().active < 5 {
            tokio::task::yield_now().await;
        }
        agent.gate.add_permits(1_000);
        w.rest(left).await;
        let deliveries = std::mem::take(&mut *agent.deliveries.lock().unwrap());
        if deliveries.get(1).is_some_and(|second| second.len() == 4) {
            return (w, deliveries, ids);
        }
    }
    panic!("never together");
}

/// How the log calls what became of each.
fn fates(w: &World, ids: &[String]) -> Vec<Vec<String>> {
    let lines = w.lines();
    let of = |id: &String| {
        let its = lines.iter().filter(|l| l.contains(id.as_str()));
        its.filter_map(|l| Some(l.split_once("status=")?.1.to_string())).collect()
    };
    ids.iter().map(of).collect()
}

const SENT: &str = "sent (delivered to mailbox)";
const FULL: &str = "deferred (mailbox full)";

#[tokio::test]
async fn each_is_concluded_for_itself() {
    let (w, deliveries, ids) = five(|| Several::Delivered, 1).await;
    assert_eq!(deliveries, [&ids[..1], &ids[1..]]);
    assert_eq!(fates(&w, &ids), [[SENT], [SENT], [FULL], [SENT], [SENT]]);
    let removed = ids.iter().filter(|id| **id != ids[2]).count();
    assert_eq!((removed, w.store.counts().deferred), (4, 1));
}

#[tokio::test]
async fn what_was_not_tried_goes_alone_and_a_fault_is_nobodys() {
    for (several, tries) in [((|| Several::FirstOnly) as fn() -> Several, 5), (|| Several::Fault, 6)] {
        let (w, deliveries, ids) = five(several, 1).await;
        assert_eq!(deliveries.len(), tries, "{deliveries:?}");
        assert!(deliveries[2..].iter().all(|d| d.len() == 1));
        assert_eq!(fates(&w, &ids), [[SENT], [SENT], [FULL], [SENT], [SENT]]);
        // Nobody is to blame: a message that is would be set aside the second time.
        assert_eq!(w.store.counts().hold, 0);
    }
}

#[tokio::test]
async fn those_without_an_answer_wait() {
    let (w, _, ids) = five(|| Several::Silence, 4).await;
    let unknown = "deferred (unknown mail transport error)";
    assert_eq!(fates(&w, &ids), [[SENT], [unknown], [unknown], [unknown], [unknown]]);
}

#[tokio::test]
async fn a_defect_over_one_of_several_is_that_ones_alone() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (w, _, ids) = five(|| Several::Poison, 2).await;
    std::panic::set_hook(hook);
    let lines = w.lines();
    let crashed: Vec<&String> = lines.iter().filter(|l| l.ends_with("malformed response")).collect();
    let only = format!("postfix/qmgr: warning: {}: private/qmgr socket: malformed response", ids[3]);
    assert_eq!(crashed, [&only]);
    let sent = |id: &String| lines.iter().any(|l| l.contains(id.as_str()) && l.ends_with(SENT));
    let removed = |id: &String| lines.contains(&format!("postfix/qmgr: {id}: removed"));
    for id in [&ids[0], &ids[1], &ids[4]] {
        assert!(sent(id) && removed(id), "{id}: {lines:#?}");
    }
    assert_eq!(w.store.counts().deferred, 2);
}
