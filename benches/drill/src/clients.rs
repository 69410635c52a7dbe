//! Clients that send letters and know what was promised for each.

use crate::clock::now;
use crate::letters;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was said about each letter that was sent to its end.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The number, and when it got 250.
    sent: Mutex<HashMap<u64, Option<u64>>>,
    next: AtomicU64,
    /// Letters that got 250.
    pub acknowledged: AtomicU64,
    /// Letters that were answered with 4xx, at any stage.
    pub refused: AtomicU64,
    /// Clients wait while this is set.
    pub pause: AtomicBool,
    /// Clients end.
    pub enough: AtomicBool,
    /// An answer that no client should ever get.
    pub strange: Mutex<Option<String>>,
}

impl Ledger {
    /// What was sent: the number, and when it got 250.
    pub fn sent(&self) -> MutexGuard<'_, HashMap<u64, Option<u64>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many got 250.
    pub fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// Sends letters until it is enough, over and over from the start whenever the server goes away.
pub fn client(address: SocketAddr, ledger: &Ledger) {
    while !ledger.enough.load(Ordering::Relaxed) {
        if session(address, ledger).is_err() {
            // The server is being started again; its listener may be closed meanwhile.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn session(address: SocketAddr, ledger: &Ledger) -> Result<()> {
    let mut smtp = Smtp::connect(address)?;
    let most = 1 + ledger.next.load(Ordering::Relaxed) % 30;
    for _ in 0..most {
        while ledger.pause.load(Ordering::Relaxed) && !ledger.enough.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if ledger.enough.load(Ordering::Relaxed) {
            break;
        }
        let number = ledger.next.fetch_add(1, Ordering::Relaxed);
        let reply = smtp.transaction(number, ledger)?;
        match reply.as_bytes().first() {
            Some(b'2') => {
                ledger.sent().insert(number, Some(now()));
                ledger.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Some(b'4') => {
                ledger.refused.fetch_add(1, Ordering::Relaxed);
                // Refused is refused: it may not arrive, but half of a crash may lie between.
                return Err(Error::other(reply));
            }
            _ => {
                let mut strange = ledger.strange.lock().unwrap_or_else(PoisonError::into_inner);
                strange.get_or_insert_with(|| format!("letter {number} was answered: {reply}"));
                return Err(Error::other(reply));
            }
        }
    }
    smtp.ask("QUIT").map(drop)
}

struct Smtp(BufReader<TcpStream>);

impl Smtp {
    fn connect(address: SocketAddr) -> Result<Smtp> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let mut smtp = Smtp(BufReader::new(stream));
        let greeting = smtp.reply()?;
        if !greeting.starts_with("220") {
            return Err(Error::other(greeting));
        }
        smtp.ask("EHLO client.test")?;
        Ok(smtp)
    }

    /// The last line of a reply.
    fn reply(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    fn transaction(&mut self, number: u64, ledger: &Ledger) -> Result<String> {
        let reply = self.ask(&format!("MAIL FROM:<{}>", letters::sender(number)))?;
        if !reply.starts_with('2') {
            return Ok(reply);
        }
        for place in letters::recipients(number) {
            let reply = self.ask(&format!("RCPT TO:<{}>", place.address()))?;
            if !reply.starts_with('2') {
                return Ok(reply);
            }
        }
        let reply = self.ask("DATA")?;
        if !reply.starts_with('3') {
            return Ok(reply);
        }
        let text = letters::content(number);
        // From here on it may be in the queue, whatever the reply.
        ledger.sent().insert(number, None);
        self.0.get_mut().write_all(&text)?;
        self.reply()
    }
}
