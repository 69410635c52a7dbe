//! Whether anything is acknowledged before it is on disk: single messages, and for each the flushes that the machine's disks
//! made between the final dot and its 250. The next message comes when the last one has arrived, so that no flush that a
//! delivery makes is counted for an acceptance. On a machine where others flush, too, a system could pass by their doing:
//! how often they do while nothing is sent is reported beside it.

use crate::bench::{Bench, Fleet};
use crate::client::Client;
use crate::mta::Mta;
use crate::sink::Sink;
use crate::source::MARK;
use crate::usage;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const MESSAGES: u64 = 100;

/// All systems, once.
pub fn run(bench: &mut Bench, fleet: &Fleet, sink: &Sink) -> Result<(), String> {
    for mta in fleet.turn(0) {
        let run = bench.run_number();
        let values = measure(mta, sink, run)?;
        bench.add("durable", mta.system, 0, values);
    }
    bench.table("durable", &format!("{MESSAGES} messages, one after the other has arrived"));
    Ok(())
}

fn measure(mta: &Mta, sink: &Sink, run: u32) -> Result<Vec<(&'static str, f64)>, String> {
    let before = usage::flushes();
    std::thread::sleep(Duration::from_millis(500));
    let foreign = (usage::flushes() - before) as f64 * 2.0;
    sink.expect(run, MESSAGES);
    let lost = |e: std::io::Error| format!("{}: {e}", mta.system.name());
    let mut client = Client::connect(Ipv4Addr::LOCALHOST, mta.address).map_err(lost)?;
    client.reply().map_err(lost)?.must("greeting", 220)?;
    client.expect("EHLO source.test", 250)?;
    let (mut good, mut all) = (0_u32, 0);
    for serial in 0..MESSAGES {
        client.expect("MAIL FROM:<source@source.test>", 250)?;
        client.expect("RCPT TO:<user@sink.test>", 250)?;
        client.expect("DATA", 354)?;
        let mark = String::from_utf8_lossy(MARK);
        let text = "All work and no play makes a dull message.\r\n".repeat(230);
        client
            .put(&format!("{mark}{run:05}.{serial:010}\r\nSubject: durable\r\n\r\n{text}"))
            .map_err(lost)?;
        // The server has taken the text; what it does from here on is about the end.
        std::thread::sleep(Duration::from_millis(2));
        let before = usage::flushes();
        client.expect(".", 250)?;
        let flushes = usage::flushes() - before;
        good += u32::from(flushes > 0);
        all += flushes;
        let end = Instant::now() + Duration::from_secs(20);
        while sink.stats().unique <= serial {
            if Instant::now() > end {
                return Err(format!("{}: message {serial} did not arrive", mta.system.name()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    client.expect("QUIT", 221)?;
    Ok(vec![
        ("flushed before 250, %", f64::from(good) * 100.0 / MESSAGES as f64),
        ("flushes before 250", all as f64 / MESSAGES as f64),
        ("flushes a second when nothing is sent", foreign),
    ])
}
