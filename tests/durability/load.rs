//! Clients that send numbered messages and know what was promised for each, and the mailbox where they must turn up.
//! The content of a message follows from its number, so any change to it shows.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The pause of a client between two messages, so that deliveries keep up.
const PAUSE: Duration = Duration::from_millis(25);

/// What was said about each message that was sent.
#[derive(Default)]
pub struct Ledger {
    /// The number, and whether it got 250.
    pub sent: Mutex<BTreeMap<u64, bool>>,
    next: AtomicU64,
    /// The clients end.
    pub enough: AtomicBool,
    /// How often somebody got 4xx.
    pub refused: AtomicU64,
}

impl Ledger {
    /// How many got 250.
    pub fn acknowledged(&self) -> usize {
        self.sent.lock().expect("no client panics").values().filter(|a| **a).count()
    }

    /// How many were sent to the end but not answered.
    pub fn doubtful(&self) -> usize {
        self.sent.lock().expect("no client panics").values().filter(|a| !**a).count()
    }
}

/// The lines of a message, without its header.
pub fn body(number: u64) -> String {
    let lines = match number % 101 {
        0 => 30_000, // over 1 MiB: a file of its own
        n if n % 10 == 0 => 1_500,
        n => n % 50,
    };
    (0..lines).map(|line| format!("line {line} of message {number}, and some words\r\n")).collect()
}

/// Sends messages until it is enough, over and over from the start whenever the server goes away.
pub fn client(address: SocketAddr, recipient: &str, ledger: &Ledger) {
    while !ledger.enough.load(Ordering::Relaxed) {
        if session(address, recipient, ledger).is_err() {
            // The server is being started again; its listener may be closed meanwhile.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends one message; gives the last reply.
pub fn send(address: SocketAddr, recipient: &str, number: u64) -> std::io::Result<String> {
    let mut smtp = Smtp::connect(address)?;
    smtp.transaction(recipient, number, &Ledger::default())
}

fn session(address: SocketAddr, recipient: &str, ledger: &Ledger) -> std::io::Result<()> {
    let mut smtp = Smtp::connect(address)?;
    for _ in 0..20 {
        if ledger.enough.load(Ordering::Relaxed) {
            break;
        }
        let number = ledger.next.fetch_add(1, Ordering::Relaxed);
        let reply = smtp.transaction(recipient, number, ledger)?;
        if reply.starts_with('2') {
            ledger.sent.lock().expect("no client panics").insert(number, true);
            std::thread::sleep(PAUSE);
        } else {
            ledger.refused.fetch_add(1, Ordering::Relaxed);
            return Err(std::io::Error::other(reply));
        }
    }
    smtp.ask("QUIT").map(drop)
}

struct Smtp(BufReader<TcpStream>);

impl Smtp {
    fn connect(address: SocketAddr) -> std::io::Result<Smtp> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut smtp = Smtp(BufReader::new(stream));
        smtp.reply()?;
        smtp.ask("HELO client.test")?;
        Ok(smtp)
    }

    fn reply(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    fn ask(&mut self, command: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    fn transaction(&mut self, recipient: &str, number: u64, ledger: &Ledger) -> std::io::Result<String> {
        let mail = format!("MAIL FROM:<{recipient}@localhost>");
        for command in [mail, format!("RCPT TO:<{recipient}@localhost>"), "DATA".to_string()] {
            let reply = self.ask(&command)?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        let text = format!("Subject: number {number}\r\n\r\n{}.\r\n", body(number));
        // From here on it may be in the queue, whatever the reply.
        ledger.sent.lock().expect("no client panics").insert(number, false);
        self.0.get_mut().write_all(text.as_bytes())?;
        self.reply()
    }
}

/// How often each number is in a mailbox. Fails on any message that nobody sent, or that is not whole.
pub fn received(mailbox: &std::path::Path) -> BTreeMap<u64, usize> {
    let text = std::fs::read(mailbox).unwrap_or_default();
    let text = String::from_utf8(text).expect("only what was sent");
    let mut found = BTreeMap::new();
    for message in text.split("\nFrom ").filter(|m| !m.trim().is_empty()) {
        let (head, content) = message.split_once("\n\n").unwrap_or((message, ""));
        let subject = head.lines().find_map(|l| l.strip_prefix("Subject: number "));
        let number: u64 =
            subject.and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("nobody sent this:\n{message}"));
        let expected = body(number).replace("\r\n", "\n");
        assert!(
            content.trim_end_matches('\n') == expected.trim_end_matches('\n'),
            "message {number} has other content: {} bytes instead of {}",
            content.len(),
            expected.len()
        );
        *found.entry(number).or_insert(0) += 1;
    }
    found
}
