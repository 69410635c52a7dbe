//! How many durable messages a second: `cargo run --release -p queue --example commit -- DIR
//! [--seconds N] [--size BYTES]`, for 1, 16 and 64 sessions at once. Each message is leased and
//! settled too, as in real life. DIR decides which disk is measured.

use proto::Address;
use proto::envelope::{Envelope, Recipient};
use proto::status::{Code, Status};
use queue::{DiskStore, Draft, Options, Outcome, RecipientState, Store, block_on};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let (mut directory, mut seconds, mut size) = (None, 2, 10_240);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse::<u64>().ok());
        match arg.as_str() {
            "--seconds" => seconds = number().unwrap_or(seconds),
            "--size" => size = number().unwrap_or(size),
            _ => directory = Some(PathBuf::from(arg)),
        }
    }
    let Some(directory) = directory else {
        eprintln!("usage: commit DIR [--seconds N] [--size BYTES]");
        return ExitCode::from(64);
    };
    println!("sessions  messages/s  p50 ms  p99 ms");
    for sessions in [1, 16, 64] {
        let source = events::Source::new("postfix", "queue", std::process::id());
        let store = match DiskStore::open(&directory, &Options::default(), source) {
            Ok(store) => Arc::new(store),
            Err(e) => {
                eprintln!("{e}");
                return ExitCode::FAILURE;
            }
        };
        let delivering = {
            let store = store.clone();
            std::thread::spawn(move || deliver(&store))
        };
        let stop = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let threads: Vec<_> = (0..sessions)
            .map(|_| {
                let (store, stop) = (store.clone(), stop.clone());
                let body = vec![b'x'; size as usize];
                std::thread::spawn(move || {
                    let mut times = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        if let Err(e) = block_on(put(&store, &body)) {
                            eprintln!("{e}");
                            break;
                        }
                        times.push(start.elapsed());
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        let mut times: Vec<Duration> =
            threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect();
        let elapsed = begin.elapsed().as_secs_f64();
        times.sort();
        let ms = |part: f64| {
            times.get((times.len() as f64 * part) as usize).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
        };
        println!("{sessions:8}  {:10.0}  {:6.2}  {:6.2}", times.len() as f64 / elapsed, ms(0.5), ms(0.99));
        block_on(store.close());
        let _ = delivering.join();
    }
    ExitCode::SUCCESS
}

async fn put(store: &DiskStore, body: &[u8]) -> Result<(), queue::StoreError> {
    let recipient = Recipient { address: Address::new("someone", Some("example.org")), ..Default::default() };
    let envelope = Envelope {
        sender: Address::new("somebody", Some("example.com")),
        recipients: vec![recipient],
        arrival: sys::time::now_micros(),
        size: body.len() as u64,
        ..Default::default()
    };
    let mut draft = store.draft(store.new_id(), body.len() as u64)?;
    draft.write(body).await?;
    draft.commit(envelope).await.map(|_| ())
}

fn deliver(store: &DiskStore) {
    loop {
        let leased = block_on(store.lease(100));
        if leased.is_empty() {
            return;
        }
        for one in leased {
            let sent = RecipientState::Sent(Status::new(Code(2, 0, 0), "delivered"));
            let outcome = Outcome { recipients: vec![(0, sent)], ..Default::default() };
            let _ = block_on(store.settle(one.id, outcome, false));
        }
    }
}
