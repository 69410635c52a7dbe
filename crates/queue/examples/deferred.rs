//! What a big queue costs: `cargo run --release -p queue --example deferred -- DIR [--messages N] [--destinations N]`
//! fills DIR with deferred messages of 1 KiB (with --keep they stay, for another run or for a mail system to be started on them),
//! then says how much memory they take, how long a listing takes, a restart, and deleting them all.

use proto::Address;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use queue::{Action, DiskStore, Draft, Options, Outcome, RecipientState, Selection, Store, block_on};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn open(directory: &Path) -> Result<DiskStore, String> {
    DiskStore::open(directory, &Options::default(), events::Source::new("postfix", "queue", 1))
}

/// Bytes of memory that are this process's own.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("Private_Dirty:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() -> ExitCode {
    let (mut directory, mut messages, mut destinations, mut keep) = (None, 100_000u64, 1u64, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--messages" => messages = args.next().and_then(|n| n.parse().ok()).unwrap_or(messages),
            "--destinations" => {
                destinations = args.next().and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
            }
            "--keep" => keep = true,
            _ => directory = Some(PathBuf::from(arg)),
        }
    }
    let Some(directory) = directory else {
        eprintln!("usage: deferred DIR [--messages N] [--destinations N] [--keep]");
        return ExitCode::from(64);
    };
    match run(&directory, messages, destinations, keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &Path, messages: u64, destinations: u64, keep: bool) -> Result<(), String> {
    let words = |e: queue::StoreError| e.to_string();
    let store = Arc::new(open(directory)?);
    let empty = memory();
    println!("{} messages at first: {} KiB", store.counts().total(), empty / 1024);
    let begin = Instant::now();
    let left = Arc::new(AtomicU64::new(messages));
    let threads: Vec<_> = (0..32)
        .map(|_| {
            let (store, left) = (store.clone(), left.clone());
            std::thread::spawn(move || {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let _ = block_on(put(&store, destinations));
                }
            })
        })
        .collect();
    let mut deferred = 0;
    while deferred < messages {
        for one in block_on(store.lease(100)) {
            let status =
                Status::new(Code(4, 4, 1), "connect to mx.example.org[192.0.2.1]:25: Connection refused");
            let outcome = Outcome {
                recipients: vec![(0, RecipientState::Deferred(status))],
                next_attempt: Some(u64::MAX - one.id.0),
                ..Default::default()
            };
            block_on(store.settle(one.id, outcome, false)).map_err(words)?;
            deferred += 1;
        }
    }
    threads.into_iter().for_each(|t| drop(t.join()));
    println!("{messages} deferred in {:.2} s", begin.elapsed().as_secs_f64());
    println!("memory: {} bytes each", memory().saturating_sub(empty) / messages.max(1));
    block_on(store.close());
    drop(store);
    let begin = Instant::now();
    let store = open(directory)?;
    println!("opened in {:.2} s", begin.elapsed().as_secs_f64());
    println!("memory: {} bytes each", memory().saturating_sub(empty) / messages.max(1));
    let begin = Instant::now();
    let (mut after, mut n) = (None, 0);
    loop {
        let page = block_on(store.list(after, 100)).map_err(words)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        n += page.len();
    }
    println!("{n} listed in {:.2} s", begin.elapsed().as_secs_f64());
    if keep {
        return Ok(());
    }
    let begin = Instant::now();
    let gone = block_on(store.control(Selection::All(None), Action::Delete)).map_err(words)?;
    println!("{} deleted in {:.2} s", gone.len(), begin.elapsed().as_secs_f64());
    Ok(())
}

async fn put(store: &DiskStore, destinations: u64) -> Result<(), queue::StoreError> {
    let id = store.new_id();
    let domain = format!("d{}.example.org", id.0 % destinations);
    let recipient = Recipient { address: Address::new(format!("u{id}"), Some(domain)), ..Default::default() };
    let arrival = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let envelope = Envelope {
        sender: Address::new("somebody", Some("example.com")),
        recipients: vec![recipient],
        arrival,
        size: 1024,
        ..Default::default()
    };
    let mut draft = store.draft(id, 1024)?;
    draft.write(&[b'x'; 1024]).await?;
    draft.commit(envelope).await.map(|_| ())
}
