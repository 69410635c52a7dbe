//! How long one message takes from connect to mailbox, on a mail system that is running.
//!
//! ```text
//! cargo run --release -p valija-tests --example latency -- 127.0.0.1:2525 usuario /var/mail/usuario [count]
//! ```
//!
//! One message after the other, each on a connection of its own: greeting, HELO, MAIL, RCPT, DATA,
//! text, 250; the mailbox is then looked at every 50 µs until the message is in it. Prints the
//! median and the 99th percentile of the greeting, the acceptance, and the delivery, counted from
//! the moment before connect. The same command against Postfix gives the comparison.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(server), Some(recipient), Some(mailbox)) = (args.first(), args.get(1), args.get(2)) else {
        return Err("usage: latency ADDRESS:PORT RECIPIENT MAILBOX [COUNT]".into());
    };
    let count: usize = args.get(3).map_or(Ok(200), |n| n.parse())?;
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..count + 10 {
        let times = one(server, recipient, mailbox, number)?;
        // The first ten only warm up.
        if number >= 10 {
            for (list, time) in all.iter_mut().zip(times) {
                list.push(time);
            }
        }
        // Not in the shadow of the one before: its delivery holds the mailbox until that is on disk.
        let lock = format!("{mailbox}.lock");
        while std::fs::symlink_metadata(&lock).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{count} messages to {server}");
    for (name, list) in ["greeting", "accepted", "in the mailbox"].iter().zip(&mut all) {
        list.sort();
        let at = |percent: usize| list.get((list.len() * percent / 100).min(list.len() - 1)).copied();
        let shown = |time: Option<Duration>| time.map_or(0.0, |t| t.as_secs_f64() * 1000.0);
        println!("{name:15} p50 {:7.2} ms   p99 {:7.2} ms", shown(at(50)), shown(at(99)));
    }
    Ok(())
}

fn one(server: &str, recipient: &str, mailbox: &str, number: usize) -> Result<[Duration; 3], Failed> {
    let before = std::fs::metadata(mailbox).map_or(0, |m| m.len());
    let text = format!("Subject: latency {number}\r\n\r\n{}\r\n.\r\n", "x".repeat(70));
    let begun = Instant::now();
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    let mut expect = |code: &str| -> Result<(), Failed> {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if line.starts_with(code) { Ok(()) } else { Err(format!("{code} expected, got {line:?}").into()) }
    };
    expect("220")?;
    let greeting = begun.elapsed();
    output.write_all(b"HELO latency.example.com\r\n")?;
    expect("250")?;
    output.write_all(b"MAIL FROM:<>\r\n")?;
    expect("250")?;
    output.write_all(format!("RCPT TO:<{recipient}>\r\n").as_bytes())?;
    expect("250")?;
    output.write_all(b"DATA\r\n")?;
    expect("354")?;
    output.write_all(text.as_bytes())?;
    expect("250")?;
    let accepted = begun.elapsed();
    let limit = begun + Duration::from_secs(20);
    while std::fs::metadata(mailbox).map_or(0, |m| m.len()) <= before {
        if Instant::now() > limit {
            return Err(format!("nothing new in {mailbox} after 20 seconds").into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    let delivered = begun.elapsed();
    output.write_all(b"QUIT\r\n")?;
    Ok([greeting, accepted, delivered])
}
