//! A process that takes and delivers mail is killed with SIGKILL at random moments; whatever it
//! acknowledged and did not deliver is there afterwards.

use proto::QueueId;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use queue::{Body, DiskStore, Draft, Options, Outcome, RecipientState, Store, block_on};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

fn open(directory: &Path) -> DiskStore {
    let options = Options { segment: Some(1 << 20), ..Default::default() };
    DiskStore::open(directory, &options, events::Source::new("postfix", "queue", 1)).unwrap()
}

/// The content of a message follows from its name.
fn body(id: QueueId) -> Vec<u8> {
    let length = 100 + (id.0 % 30_000) as usize;
    id.0.to_le_bytes().iter().cycle().take(length).copied().collect()
}

/// Not a test of its own: what the killed process does.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("QUEUE_KILL_DIRECTORY") else { return };
    let store = Arc::new(open(Path::new(&directory)));
    for _ in 0..4 {
        let store = store.clone();
        std::thread::spawn(move || {
            loop {
                let id = store.new_id();
                let envelope = Envelope { recipients: vec![Recipient::default()], ..Default::default() };
                let committed = block_on(async {
                    let mut draft = store.draft(id, 0)?;
                    draft.write(&body(id)).await?;
                    draft.commit(envelope).await
                });
                // One system call, so that a line is whole or not there.
                let line = committed.map(|id| format!("\nput {id}\n")).unwrap();
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    loop {
        for one in block_on(store.lease(5)) {
            if one.id.0 % 3 == 0 {
                continue; // stays leased until the kill
            }
            std::io::stdout().lock().write_all(format!("\ndone {}\n", one.id).as_bytes()).unwrap();
            let sent = RecipientState::Sent(Status::new(Code(2, 0, 0), "x"));
            let outcome = Outcome { recipients: vec![(0, sent)], ..Default::default() };
            block_on(store.settle(one.id, outcome, false)).unwrap();
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let directory = std::env::temp_dir().join(format!("valija-kill-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let rounds: u64 = std::env::var("QUEUE_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(5);
    // Acknowledged, and whether delivery began.
    let mut messages: BTreeMap<QueueId, bool> = BTreeMap::new();
    for round in 0..rounds {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
            .env("QUEUE_KILL_DIRECTORY", &directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let (started, first) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || -> Vec<String> {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            let tell = |line: &String| {
                if line.starts_with("put") {
                    // Only the first is waited for.
                    let _ = started.send(());
                }
            };
            lines.inspect(tell).collect()
        });
        first.recv_timeout(Duration::from_secs(60)).expect("the process takes mail");
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 200));
        process.kill().unwrap();
        process.wait().unwrap();
        for line in reader.join().unwrap() {
            let mut words = line.split(' ');
            let (word, id) = (words.next(), words.next().and_then(QueueId::parse));
            match (word, id) {
                (Some("put"), Some(id)) => {
                    messages.entry(id).or_insert(false);
                }
                (Some("done"), Some(id)) => {
                    messages.insert(id, true);
                }
                _ => {}
            }
        }
        let store = open(&directory);
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let page = block_on(store.list(after, 500)).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.into_iter().map(|s| s.id));
        }
        for id in &seen {
            match block_on(store.body(*id)).unwrap() {
                Body::Memory(bytes) => assert!(*bytes == *body(*id), "{id} has other content"),
                Body::File(..) => panic!("no big messages here"),
            }
        }
        let missing: Vec<_> =
            messages.iter().filter(|(id, done)| !**done && seen.binary_search(id).is_err()).collect();
        assert!(missing.is_empty(), "round {round}: lost {missing:?}");
        let again = messages.iter().filter(|(id, done)| **done && seen.binary_search(id).is_ok()).count();
        eprintln!(
            "round {round}: {} acknowledged, {} there, {again} would be delivered twice",
            messages.len(),
            seen.len()
        );
        messages = seen.into_iter().map(|id| (id, false)).collect();
    }
    assert!(!messages.is_empty());
    std::fs::remove_dir_all(&directory).unwrap();
}
