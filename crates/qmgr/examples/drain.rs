//! How many messages a second go through the queue manager with the queue on disk: an agent in
//! memory delivers at once, so that what is measured is lease, schedule, settle, commit and log.
//!
//! `cargo run --release -p qmgr --example drain -- [directory] [messages] [sessions]`. The queue and the
//! log are made below the directory (default: the target directory of the system's temporary files)
//! and removed afterwards. Two measurements: messages are committed and delivered at the same time,
//! and a queue that is full is drained.

use cleanup::{Context, Door, Intake, Place, Rewriting};
use config::Config;
use proto::Address;
use proto::envelope::{Envelope, Recipient};
use proto::job::Action;
use proto::status::{Code, Status};
use qmgr::agent::{Agent, Done, Line, Report, Request};
use qmgr::router::Router;
use qmgr::{Manager, Parts, Settings};
use queue::disk::{DiskStore, Options};
use queue::{Draft, Store};
use rewrite::{Class, Resolved};
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Plain;

impl Rewriting for Plain {
    fn complete(&self, address: &Address, _: &Context) -> Address {
        address.clone()
    }
    fn canonical(&self, address: Address, _: Place) -> Result<Address, String> {
        Ok(address)
    }
    fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        Ok(vec![recipient.clone()])
    }
}

impl Router for Plain {
    fn resolve(&self, recipient: &Address, _: &Address) -> Result<Resolved, String> {
        Ok(Resolved {
            transport: "smtp".into(),
            nexthop: recipient.domain().unwrap_or_default().into(),
            recipient: recipient.clone(),
            class: Class::Default,
            routed: false,
            bad: None,
            reasons: Vec::new(),
        })
    }
    fn flushable(&self, _: &str) -> Result<bool, String> {
        Ok(false)
    }
    fn rewrite(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        Ok(vec![recipient.clone()])
    }
}

/// Delivers at once, and counts.
#[derive(Default)]
struct Counting(AtomicU64);

impl Agent for Counting {
    fn deliver(&self, request: Request) -> Pin<Box<dyn Future<Output = Done> + Send + '_>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let status = Status::new(Code(2, 0, 0), "250 2.0.0 Ok: queued as 4BfGxC2Wl1z5w");
            let report = |(place, to): &(usize, Address)| Report {
                recipient: *place,
                lines: vec![Line {
                    to: to.clone(),
                    orig_to: String::new(),
                    relay: "127.0.0.1[127.0.0.1]:2525".into(),
                    status: status.clone(),
                    action: Action::Relayed,
                    forward: None,
                    bounce_to: None,
                }],
                result: status.clone(),
                forwards: Vec::new(),
                expanded: None,
                passes: Vec::new(),
            };
            let reports = request.recipients.iter().map(report).collect();
            self.0.fetch_add(1, Ordering::Relaxed);
            Done { reports, ..Done::default() }
        })
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| std::env::temp_dir().join("valija-drain"), PathBuf::from);
    let mut number = |default: u64| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (messages, sessions) = (number(50_000), number(100));
    std::fs::create_dir_all(&folder).expect("make the directory");
    events::install(events::Sink::File(folder.join("log")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(measure(&folder, messages, sessions));
    let _ = std::fs::remove_dir_all(folder.join("valija"));
    let _ = std::fs::remove_file(folder.join("log"));
}

async fn measure(folder: &Path, messages: u64, sessions: u64) {
    let source = events::Source::new("postfix", "qmgr", 1);
    let store = Arc::new(DiskStore::open(folder, &Options::default(), source).expect("open the queue"));
    let (agent, manager) = manager(&store);
    let (begun, cpu) = (Instant::now(), cpu());
    let committed = commit(&store, messages, sessions).await;
    until(&agent, messages).await;
    report("committed and delivered at once", messages, begun, cpu);
    println!("  the last was committed after {:.2} s", (committed - begun).as_secs_f64());
    manager.drain(Duration::from_secs(5)).await;

    // As many as the store keeps in memory, then what it reads back from the disk.
    for (what, n) in [("drained, from memory", 3_000.min(messages)), ("drained, most from disk", messages)] {
        commit(&store, n, sessions).await;
        let (begun, cpu) = (Instant::now(), self::cpu());
        let (agent, manager) = self::manager(&store);
        until(&agent, n).await;
        report(what, n, begun, cpu);
        manager.drain(Duration::from_secs(5)).await;
    }
    store.close().await;
}

fn manager(store: &Arc<DiskStore>) -> (Arc<Counting>, Manager<DiskStore>) {
    let text = "myhostname = mta.bench.test\ninitial_destination_concurrency = 20\n";
    let config = Config::from_text(Path::new("/nowhere"), text).expect("a configuration");
    let services =
        config::master_cf::read("/nowhere/master.cf", "smtp unix - - n - - smtp\n").expect("services");
    let door = Door::load(&config, &tables::Types::builder().build(), Arc::new(Plain)).expect("a door");
    let agent = Arc::new(Counting::default());
    let parts = Parts {
        settings: Settings::load(&config, &services).expect("settings"),
        intake: Intake::new(store.clone(), door, Default::default()),
        router: Arc::new(Plain),
        agents: HashMap::from([("smtp".to_string(), agent.clone() as Arc<dyn Agent>)]),
        verification: None,
    };
    (agent, Manager::start(store.clone(), parts))
}

/// Commits so many messages of 10 KiB in so many sessions; gives the moment when it was done.
async fn commit(store: &Arc<DiskStore>, messages: u64, sessions: u64) -> Instant {
    let content: Arc<Vec<u8>> =
        Arc::new(b"Subject: bench\r\n\r\n".iter().chain(&[b'x'; 10_222]).copied().collect());
    let mut tasks = Vec::new();
    for session in 0..sessions {
        let (store, content) = (store.clone(), content.clone());
        tasks.push(tokio::spawn(async move {
            for n in (session..messages).step_by(sessions as usize) {
                let envelope = Envelope {
                    sender: Address::from_internal("bench@bench.test"),
                    recipients: vec![Recipient {
                        address: Address::from_internal(&format!("user{n}@sink.test")),
                        ..Recipient::default()
                    }],
                    arrival: sys::time::now_micros(),
                    size: content.len() as u64,
                    ..Envelope::default()
                };
                let mut draft = store.draft(store.new_id(), content.len() as u64).expect("a draft");
                draft.write(&content).await.expect("write");
                draft.commit(envelope).await.expect("commit");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a session");
    }
    Instant::now()
}

async fn until(agent: &Counting, n: u64) {
    while agent.0.load(Ordering::Relaxed) < n {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn report(what: &str, n: u64, begun: Instant, cpu: f64) {
    let (taken, used) = (begun.elapsed().as_secs_f64(), self::cpu() - cpu);
    let each = used * 1e6 / n as f64;
    println!("{what}: {n} messages in {taken:.2} s, {:.0}/s, {each:.0} us of CPU each", n as f64 / taken);
}

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
