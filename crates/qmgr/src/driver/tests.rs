//! Tests of `driver`.

use super::*;
use crate::agent::{Done, Line, Report, Request};
use cleanup::{Context, Door, Origin, Place, Rewriting, Source};
use config::Config;
use proto::Address;
use proto::envelope::{Notify, Recipient, Trace};
use proto::job::{Action as Act, Forward, Pass};
use proto::status::{Code, Status};
use queue::{Body, MemoryStore, RecipientState};
use rewrite::{Class, Resolved};
use std::future::Future;
use std::pin::Pin;

struct Plain;

impl Rewriting for Plain {
    fn complete(&self, address: &Address, _: &Context) -> Address {
        match address.domain() {
            None if !address.is_null() => Address::new(address.local(), Some("example.org")),
            _ => address.clone(),
        }
    }
    fn canonical(&self, address: Address, _: Place) -> Result<Address, String> {
        Ok(address)
    }
    fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        assert_ne!(recipient.local(), "poison", "as it should");
        Ok(vec![recipient.clone()])
    }
}

impl Router for Plain {
    fn resolve(&self, recipient: &Address, _: &Address) -> Result<Resolved, String> {
        let (transport, nexthop) = match recipient.domain().unwrap_or_default() {
            "broken.example" => return Err("table hash:/x: broken".into()),
            "none.example" => ("nosuch", "x"),
            "smtp.example" => ("smtp", "mx"),
            many if many.ends_with(".many") => ("smtp", many),
            "err.example" => ("error", "5.7.9 go away"),
            "ret.example" => ("retry", "4.5.6 later"),
            _ => ("local", "h.example.org"),
        };
        Ok(Resolved {
            transport: transport.into(),
            nexthop: nexthop.into(),
            recipient: recipient.clone(),
            class: Class::Local,
            routed: false,
            bad: None,
            reasons: Vec::new(),
        })
    }
    fn flushable(&self, domain: &str) -> Result<bool, String> {
        Ok(domain == "ret.example")
    }
    fn rewrite(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        Ok(vec![recipient.clone(), Address::from_internal("second@example.org")])
    }
}

/// Delivers by the name of the recipient; keeps what it delivered.
#[derive(Default)]
struct Fake {
    got: Mutex<Vec<(String, String)>>,
}

impl Agent for Fake {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(async move {
            let Body::Memory(content) = &request.body else { panic!("memory") };
            let content = String::from_utf8_lossy(content).into_owned();
            let mut done = Done { number: 7, ..Done::default() };
            for (place, to) in &request.recipients {
                let (code, text) = match to.local() {
                    "noexiste" | "owned" => (Code(5, 1, 1), "unknown user: \"noexiste\""),
                    "later" => (Code(4, 2, 2), "mailbox full"),
                    "panic" => panic!("as it should"),
                    "crash" => {
                        done.crashed = true;
                        continue;
                    }
                    _ => (Code(2, 0, 0), "delivered to mailbox"),
                };
                let status = Status::new(code, text);
                let recipient = &request.envelope.recipients[*place];
                let line = Line {
                    to: to.clone(),
                    orig_to: recipient.original.clone(),
                    relay: "local".into(),
                    status: status.clone(),
                    action: Act::Delivered,
                    forward: (to.local() == "fwd").then_some(0),
                    bounce_to: (to.local() == "owned").then(|| Address::from_internal("owner@example.org")),
                };
                let forward = Forward {
                    sender: request.envelope.sender.clone(),
                    recipients: vec![Recipient {
                        address: Address::from_internal("usuario@example.org"),
                        original: "fwd@example.org".into(),
                        ..Recipient::default()
                    }],
                    delivered_to: "fwd@example.org".into(),
                };
                if code.0 == 2 && to.local() != "fwd" && to.local() != "pass" {
                    self.got.lock().unwrap().push((to.to_string(), content.clone()));
                }
                let away = |to: &str| Pass {
                    to: Address::from_internal(to),
                    transport: "second".into(),
                    nexthop: String::new(),
                };
                let passes = match (to.local(), request.transport.as_str()) {
                    ("pass", "local") => vec![away(&to.internal())],
                    ("passes", "local") => vec![away("pass1@example.org"), away("noexiste@example.org")],
                    _ => Vec::new(),
                };
                done.reports.push(Report {
                    recipient: *place,
                    lines: if passes.is_empty() { vec![line] } else { Vec::new() },
                    result: status,
                    forwards: if to.local() == "fwd" { vec![forward] } else { Vec::new() },
                    expanded: None,
                    passes,
                });
            }
            done
        })
    }
}

mod again;
mod busy;
mod together;

struct World {
    store: Arc<MemoryStore>,
    manager: Manager<MemoryStore>,
    intake: Intake<MemoryStore>,
    fake: Arc<Fake>,
    log: events::Memory,
}

const MASTER: &str = "local unix - n n - - local\nsecond unix - n n - - local\nerror unix - - n - - error\n\
    retry unix - - n - - error\nsmtp unix - - n - - smtp\n";

fn world(main: &str) -> World {
    world_with(main, HashMap::new())
}

fn world_with(main: &str, mut agents: HashMap<String, Arc<dyn Agent>>) -> World {
    let log = events::memory();
    let store = Arc::new(MemoryStore::new());
    let fake = Arc::new(Fake::default());
    let agent: Arc<dyn Agent> = fake.clone();
    agents.entry("local".to_string()).or_insert(agent);
    let parts = parts(store.clone(), main, agents);
    let intake = parts.intake.clone();
    World { manager: Manager::start(store.clone(), parts), store, intake, fake, log }
}

fn parts<S: Store>(store: Arc<S>, main: &str, agents: HashMap<String, Arc<dyn Agent>>) -> Parts<S> {
    let text = format!("myhostname = h.example.org\nmyorigin = example.org\n{main}");
    let config = Config::from_text(std::path::Path::new("/nowhere"), &text).unwrap();
    let services = config::master_cf::read("/nowhere/master.cf", MASTER).unwrap();
    let door = Door::load(&config, &tables::Types::builder().build(), Arc::new(Plain)).unwrap();
    Parts {
        settings: Settings::load(&config, &services).unwrap(),
        intake: Intake::new(store, door, Default::default()),
        router: Arc::new(Plain),
        agents,
        verification: None,
    }
}

impl World {
    async fn send(&self, sender: &str, to: &[&str], notify: Notify) -> QueueId {
        self.send_traced(sender, to, notify, Trace::None).await
    }

    async fn send_verp(&self, sender: &str, to: &[&str], verp: &str) -> QueueId {
        let sender = Address::from_internal(sender);
        let mut origin = Origin::new(Source::Pickup { uid: 1001 }, sender, sys::time::now_micros());
        origin.verp = Some(verp.into());
        let mut message = self.intake.begin(origin);
        for to in to {
            message.recipient(Address::from_internal(to), None, Notify::default());
        }
        message.write(b"Subject: t\r\n\r\nhola\r\n").await;
        message.finish().await.unwrap().id
    }

    async fn send_traced(&self, sender: &str, to: &[&str], notify: Notify, trace: Trace) -> QueueId {
        let mut origin = Origin::new(
            Source::Pickup { uid: 1001 },
            Address::from_internal(sender),
            sys::time::now_micros(),
        );
        origin.trace = trace;
        let mut message = self.intake.begin(origin);
        for to in to {
            message.recipient(Address::from_internal(to), None, notify);
        }
        message.write(b"Subject: t\r\n\r\nhola\r\n").await;
        message.finish().await.unwrap().id
    }

    /// Until the queue holds so many messages, none of which is active.
    async fn rest(&self, left: u64) {
        for _ in 0..2_000 {
            let c = self.store.counts();
            if c.active == 0 && c.incoming == 0 && c.total() == left {
                tokio::time::sleep(Duration::from_millis(2)).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{:?} instead of {left}; log: {:#?}", self.store.counts(), self.log.take());
    }

    /// The log without times, sizes and cleanup's lines.
    fn lines(&self) -> Vec<String> {
        let clean = |line: String| {
            let (head, tail) = line.split_once("delay=").unwrap_or((&line, ""));
            let tail = tail.split_once(", dsn=").map(|(_, t)| format!("dsn={t}")).unwrap_or_default();
            format!("{head}{tail}").replace(&format!("[{}]", std::process::id()), "")
        };
        self.log.take().into_iter().filter(|l| !l.contains("/cleanup[")).map(clean).collect()
    }
}

#[tokio::test]
async fn a_message_is_delivered_and_removed() {
    let w = world("");
    let id = w.send("jose@example.org", &["usuario", "alumno@example.org"], Notify::default()).await;
    w.rest(0).await;
    let mut lines = w.lines();
    assert!(lines[0].starts_with(&format!("postfix/qmgr: {id}: from=<jose@example.org>, size=")));
    assert!(lines[0].ends_with(", nrcpt=2 (queue active)"), "{}", lines[0]);
    assert_eq!(lines.pop().unwrap(), format!("postfix/qmgr: {id}: removed"));
    assert_eq!(
        lines[1..],
        [
            format!(
                "postfix/local[7]: {id}: to=<alumno@example.org>, relay=local, dsn=2.0.0, \
                 status=sent (delivered to mailbox)"
            ),
            format!(
                "postfix/local[7]: {id}: to=<usuario@example.org>, orig_to=<usuario>, relay=local, \
                 dsn=2.0.0, status=sent (delivered to mailbox)"
            )
        ]
    );
    assert!(w.fake.got.lock().unwrap()[0].1.ends_with("hola\r\n"));
}

#[tokio::test]
async fn an_unknown_user_bounces_once() {
    let w = world("notify_classes = bounce\n");
    let id = w.send("jose@example.org", &["noexiste"], Notify::default()).await;
    w.rest(0).await;
    let lines = w.lines();
    let has = |text: &str| assert!(lines.iter().any(|l| l.contains(text)), "{text}: {lines:#?}");
    has(&format!(
        "postfix/local[7]: {id}: to=<noexiste@example.org>, orig_to=<noexiste>, relay=local, dsn=5.1.1, status=bounced (unknown user: \"noexiste\")"
    ));
    has(&format!("postfix/bounce: {id}: sender non-delivery notification: "));
    has(&format!("postfix/bounce: {id}: postmaster non-delivery notification: "));
    has("from=<>, size=");
    has("from=<double-bounce@h.example.org>, size=");
    let got = w.fake.got.lock().unwrap();
    let (to, text) = got.iter().find(|(to, _)| to == "jose@example.org").unwrap();
    assert_eq!(to, "jose@example.org");
    assert!(text.contains("From: Mail Delivery System <MAILER-DAEMON@example.org>\r\n"), "{text}");
    assert!(
        text.contains("<noexiste@example.org> (expanded from <noexiste>): unknown user: \"noexiste\"\r\n")
    );
    assert!(text.contains("\r\nhola\r\n\r\n--"));
    assert!(got.iter().any(|(to, t)| to == "postmaster@example.org" && t.contains("Postmaster Copy")));
}

#[tokio::test]
async fn a_bounce_that_bounces_goes_nowhere_or_to_the_postmaster() {
    let w = world("");
    w.send("", &["noexiste"], Notify::default()).await;
    w.rest(0).await;
    assert!(w.fake.got.lock().unwrap().is_empty());
    let w = world("notify_classes = 2bounce\n");
    w.send("", &["noexiste"], Notify::default()).await;
    w.rest(0).await;
    assert!(w.fake.got.lock().unwrap()[0].1.contains("\r\nReturn-Path: <MAILER-DAEMON@h.example.org>\r\n"));
    w.send("double-bounce@h.example.org", &["noexiste"], Notify::default()).await;
    w.rest(0).await;
    assert!(w.lines().iter().any(|l| l.contains("undeliverable postmaster notification discarded")));
}

#[tokio::test]
async fn what_is_deferred_is_tried_again_warned_about_and_given_up() {
    let w = world("delay_warning_time = 1s\nmaximal_queue_lifetime = 6s\n");
    let id = w.send("jose@example.org", &["later"], Notify::default()).await;
    w.rest(1).await;
    assert!(w.lines().iter().any(|l| l.contains("dsn=4.2.2, status=deferred (mailbox full)")));
    let summary = w.store.get(id).await.unwrap().unwrap();
    assert!(matches!(&summary.recipients[0], RecipientState::Deferred(s) if s.text == "mailbox full"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    w.store.advance(Duration::from_secs(4_001));
    w.log_comes("sender delay notification").await;
    w.rest(1).await;
    tokio::time::sleep(Duration::from_millis(5_000)).await;
    w.store.advance(Duration::from_secs(9_001));
    w.rest(0).await;
    let lines = w.lines();
    assert!(
        lines.iter().any(|l| l.ends_with("from=<jose@example.org>, status=expired, returned to sender")),
        "{lines:#?}"
    );
    let got = w.fake.got.lock().unwrap();
    assert!(got[0].1.contains("Subject: Delayed Mail (still being retried)") && got.len() == 2);
    assert!(got[1].1.contains("Action: failed\r\nStatus: 4.2.2\r\n"));
}

impl World {
    /// Waits until something is said.
    async fn log_comes(&self, text: &str) {
        let mut all = Vec::new();
        for _ in 0..30_000 {
            let lines = self.log.take();
            if lines.iter().any(|l| l.contains(text)) {
                return;
            }
            all.extend(lines);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("nobody said {text:?}: {all:#?}");
    }
}

#[tokio::test]
async fn expired_by_hand_and_requeued() {
    let w = world("");
    let id = w.send("jose@example.org", &["x@ret.example"], Notify::default()).await;
    w.rest(1).await;
    w.lines();
    w.store.control(queue::Selection::Ids(vec![id]), queue::Action::Requeue).await.unwrap();
    w.log_comes("queue active").await;
    w.rest(1).await;
    let summary = w.store.get(id).await.unwrap().unwrap();
    assert_eq!(summary.envelope.recipients.len(), 2, "rewritten anew");
    assert!(w.fake.got.lock().unwrap()[0].0 == "second@example.org");
    w.store.control(queue::Selection::Ids(vec![id]), queue::Action::Expire).await.unwrap();
    w.store.control(queue::Selection::Ids(vec![id]), queue::Action::Flush).await.unwrap();
    w.rest(0).await;
    let lines = w.lines();
    assert!(lines.iter().any(|l| l.ends_with("status=force-expired, returned to sender")), "{lines:#?}");
    assert!(w.fake.got.lock().unwrap()[1].1.contains("Status: 4.5.6"));
}

#[tokio::test]
async fn forwards_and_passing_on() {
    let w = world("");
    let id = w.send("jose@example.org", &["fwd@example.org"], Notify::default()).await;
    w.rest(0).await;
    let lines = w.lines();
    let forwarded = lines.iter().find(|l| l.contains("forwarded as ")).unwrap();
    assert!(forwarded.starts_with(&format!(
        "postfix/local[7]: {id}: to=<fwd@example.org>, relay=local, dsn=2.0.0, status=sent ("
    )));
    assert!(
        lines.iter().any(|l| l.contains("to=<usuario@example.org>, orig_to=<fwd@example.org>, relay=local"))
    );
    let text = w.fake.got.lock().unwrap()[0].1.clone();
    assert!(
        text.starts_with("Received: by h.example.org (Postfix)\r\n\tid ")
            && text.contains("\r\nDelivered-To: fwd@example.org\r\n")
    );
    let id = w.send("jose@example.org", &["pass@example.org"], Notify::default()).await;
    w.rest(0).await;
    assert!(
        w.lines()
            .contains(&format!("postfix/local[7]: {id}: passing <pass@example.org> to transport=second"))
    );
    // Where an alias led to: one fate for the recipient.
    let id = w.send("jose@example.org", &["passes@example.org"], Notify::default()).await;
    w.rest(0).await;
    let lines = w.lines();
    for line in [
        "passing <noexiste@example.org> to transport=second",
        "to=<pass1@example.org>, orig_to=<passes@example.org>, relay=local, dsn=2.0.0, status=sent (delivered to mailbox)",
        "to=<noexiste@example.org>, orig_to=<passes@example.org>, relay=local, dsn=5.1.1, status=bounced (unknown user: \"noexiste\")",
    ] {
        let line = format!("postfix/local[7]: {id}: {line}");
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    let (to, text) = w.fake.got.lock().unwrap().last().cloned().unwrap();
    assert_eq!(to, "jose@example.org");
    assert!(
        text.contains("Final-Recipient: rfc822; noexiste@example.org") && !text.contains("pass1"),
        "{text}"
    );
    // The owner of a list hears of what failed in it, and nobody else.
    w.send("jose@example.org", &["owned@example.org"], Notify::default()).await;
    w.rest(0).await;
    let (to, text) = w.fake.got.lock().unwrap().last().cloned().unwrap();
    assert_eq!(to, "owner@example.org");
    assert!(text.contains("Final-Recipient: rfc822; owned@example.org"), "{text}");
}

#[tokio::test]
async fn transports_that_cannot_be_had() {
    let w = world("");
    let to = ["a@none.example", "b@none.example", "c@smtp.example", "d@broken.example", "e@err.example"];
    let id = w.send("jose@example.org", &to, Notify { never: true, ..Notify::default() }).await;
    w.rest(1).await;
    let lines = w.lines();
    let count = |text: &str| lines.iter().filter(|l| l.contains(text)).count();
    assert_eq!(count("warning: connect to transport private/nosuch: No such file or directory"), 1);
    assert_eq!(count("warning: transport smtp: the program smtp is not part of this version"), 1);
    assert_eq!(count("dsn=4.3.0, status=deferred (mail transport unavailable)"), 3, "{lines:#?}");
    assert_eq!(count("dsn=4.3.0, status=deferred (address resolver failure)"), 1);
    assert_eq!(
        count(&format!(
            "postfix/error: {id}: to=<e@err.example>, relay=none, dsn=5.7.9, status=bounced (go away)"
        )),
        1
    );
    assert_eq!(count("notification"), 0, "NOTIFY=NEVER");
}

#[tokio::test]
async fn a_panic_is_of_one_delivery() {
    let w = world("local_destination_concurrency_limit = 1\ndefault_process_limit = 1\n");
    w.send("jose@example.org", &["panic"], Notify::default()).await;
    w.rest(1).await;
    assert_eq!(w.store.counts().deferred, 1);
    w.send("jose@example.org", &["usuario"], Notify::default()).await;
    w.rest(1).await;
    assert_eq!(w.fake.got.lock().unwrap().len(), 1, "its place is free again");
    w.store.advance(Duration::from_secs(400));
    while w.store.counts().hold == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn success_notices_soft_bounces_and_crashes() {
    let w = world("");
    w.send("jose@example.org", &["usuario"], Notify { success: true, ..Notify::default() }).await;
    w.rest(0).await;
    assert!(w.lines().iter().any(|l| l.contains("sender delivery status notification: ")));
    assert!(w.fake.got.lock().unwrap()[1].1.contains("delivery via local:"));
    let w = world("soft_bounce = yes\n");
    w.send("jose@example.org", &["noexiste"], Notify::default()).await;
    w.rest(1).await;
    assert!(w.lines().iter().any(|l| l.contains("dsn=4.1.1, status=SOFTBOUNCE (unknown user")));
    let w = world("");
    w.send("jose@example.org", &["crash"], Notify::default()).await;
    w.rest(1).await;
    assert_eq!(w.store.counts().deferred, 1);
    w.store.advance(Duration::from_secs(400));
    while w.store.counts().hold == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    w.rest(1).await;
    assert!(w.lines().iter().any(|l| l.contains("failed twice on this message")));
}

async fn ask(socket: &std::path::Path, request: proto::control::Request) -> Vec<proto::control::Answer> {
    use proto::control::{Answer, frame, length};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    stream.write_all(&frame(&request.encode())).await.unwrap();
    let mut answers = Vec::new();
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        let mut body = vec![0; length(head).unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        let answer = Answer::decode(&body).unwrap();
        let last = matches!(answer, Answer::End | Answer::Refused(_) | Answer::Failed(_));
        answers.push(answer);
        if last {
            return answers;
        }
    }
}

#[tokio::test]
async fn the_control_socket_lists_flushes_and_controls() {
    use proto::control::{Action, Answer, Queue, Request};
    let w = world("defer_transports = second\n");
    let path = std::env::temp_dir().join(format!("valija-showq-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(crate::showq::serve(listener, w.manager.clone()));
    assert_eq!(ask(&path, Request::List).await, [Answer::End]);
    let id = w.send("jose@example.org", &["x@ret.example"], Notify::default()).await;
    w.rest(1).await;
    let answers = ask(&path, Request::List).await;
    let Answer::Entry(entry) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((entry.id.clone(), entry.queue), (id.to_string(), Queue::Deferred));
    let text = proto::control::listing::entry(entry, "Sat Nov 21 10:08:05");
    assert!(text.contains("(later)\n") && text.contains("x@ret.example\n"));

    let get = ask(&path, Request::Get(id.to_string())).await;
    assert!(matches!(&get[1], Answer::Content(c) if c.ends_with(b"hola\r\n")));
    assert!(matches!(&ask(&path, Request::Get("ABCDEF0123".into())).await[..], [Answer::Failed(_)]));

    w.lines();
    for request in
        [Request::FlushAll, Request::FlushId(id.to_string()), Request::FlushSite("ret.example".into())]
    {
        assert_eq!(ask(&path, request).await, [Answer::End]);
        w.log_comes("status=deferred (later)").await;
        w.rest(1).await;
    }
    assert!(
        matches!(&ask(&path, Request::FlushSite("a.b".into())).await[..], [Answer::Failed(why)] if why.contains("not configured"))
    );

    let control = |action, queues: Vec<Queue>| Request::Control { action, ids: Vec::new(), queues };
    let touched = Answer::Touched(vec![id.to_string()]);
    assert_eq!(ask(&path, control(Action::Hold, Vec::new())).await, [touched.clone(), Answer::End]);
    assert_eq!(
        ask(&path, control(Action::Delete, vec![Queue::Deferred])).await[0],
        Answer::Touched(Vec::new())
    );
    let by_id =
        Request::Control { action: Action::Delete, ids: vec![id.to_string()], queues: vec![Queue::Hold] };
    assert_eq!(ask(&path, by_id).await[0], touched);
    assert_eq!(w.store.counts().total(), 0);
    w.manager.drain(Duration::from_secs(1)).await;
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn a_probe_is_answered_whatever_the_answer() {
    let w = world("");
    let to = ["usuario", "noexiste", "later", "x@ret.example", "x@none.example", "x@err.example"];
    let id = w.send_traced("jose@example.org", &to, Notify::default(), Trace::Verify).await;
    w.rest(0).await;
    let lines = w.lines();
    let status = |to: &str| {
        let line = lines.iter().find(|l| l.contains(&format!("{id}: to=<{to}"))).unwrap();
        line.split_once("dsn=").unwrap().1.to_string()
    };
    assert_eq!(status("usuario"), "2.0.0, status=deliverable (delivered to mailbox)");
    assert_eq!(status("noexiste"), "5.1.1, status=undeliverable (unknown user: \"noexiste\")");
    assert_eq!(status("later"), "4.2.2, status=undeliverable (mailbox full)");
    assert_eq!(status("x@ret.example"), "4.5.6, status=undeliverable (later)");
    assert_eq!(status("x@none.example"), "4.3.0, status=undeliverable (mail transport unavailable)");
    assert_eq!(status("x@err.example"), "5.7.9, status=undeliverable (go away)");
    let told = |what: &str| lines.iter().filter(|l| l.contains(what)).count();
    assert_eq!((told("sender delivery status notification"), told("notification:")), (1, 1), "{lines:#?}");
    let got = w.fake.got.lock().unwrap();
    let report = &got.iter().find(|(to, _)| to == "jose@example.org").unwrap().1;
    assert!(report.contains("\r\nSubject: Mail Delivery Status Report\r\n"));
    let unfolded = report.replace("\r\n    ", " ");
    assert!(unfolded.contains(
        "\r\n\r\n<usuario@example.org> (expanded from <usuario>): delivery via local: delivered to mailbox\r\n"
    ));
    assert!(report.contains("\r\nAction: deliverable\r\nStatus: 2.0.0\r\n"));
    assert_eq!(report.matches("\r\nAction: undeliverable\r\n").count(), 5);
}

#[tokio::test]
async fn the_first_attempt_is_reported_once() {
    let w = world("minimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n");
    let to = ["usuario", "noexiste", "later"];
    let id = w.send_traced("jose@example.org", &to, Notify::default(), Trace::Record).await;
    w.rest(1).await;
    let told = |lines: &[String], what: &str| lines.iter().filter(|l| l.contains(what)).count();
    let lines = w.lines();
    assert_eq!(told(&lines, "sender non-delivery notification"), 1, "{lines:#?}");
    assert_eq!(told(&lines, "sender delivery status notification"), 1, "{lines:#?}");
    let report = w.fake.got.lock().unwrap().iter().find(|g| g.1.contains("Status Report")).unwrap().1.clone();
    for action in ["delivered\r\nStatus: 2.0.0", "failed\r\nStatus: 5.1.1", "delayed\r\nStatus: 4.2.2"] {
        assert_eq!(report.matches(&format!("\r\nAction: {action}\r\n")).count(), 1, "{report}");
    }
    w.store.control(queue::Selection::Ids(vec![id]), queue::Action::Flush).await.unwrap();
    w.rest(1).await;
    assert_eq!(told(&w.lines(), "notification:"), 0);
}
