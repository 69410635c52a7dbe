//! The host that mail is relayed to. It writes down when each transaction began, when the last byte came and when it was
//! answered, and whether the answer was read: a client that is killed before it read it resets the connection, by which
//! the sink knows that this letter was still being delivered.

use crate::account::Arrival;
use crate::clock::now;
use crate::letters::{self, Place};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What came.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every letter that was taken, for each of its recipients.
    pub arrivals: Vec<Arrival>,
    /// What nobody sent, or did not come whole.
    pub strange: Vec<String>,
    /// How many different letters came for recipients of the sink, the slow one apart.
    pub letters: u64,
    known: HashSet<u64>,
    /// Letters that were put off once: at RCPT, and after the final dot.
    put_off: HashSet<(u64, bool)>,
}

/// A sink that listens.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Mutex<Seen>>);

impl Sink {
    /// Listens, in threads that end with the program.
    pub fn start(address: SocketAddr) -> std::result::Result<Sink, String> {
        let listener = TcpListener::bind(address).map_err(|e| format!("listen on {address}: {e}"))?;
        let sink = Sink(Arc::default());
        let accepting = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = accepting.clone();
                std::thread::spawn(move || {
                    // A client that goes away is what this is all about.
                    let _ = sink.serve(stream);
                });
            }
        });
        Ok(sink)
    }

    /// What came until now.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on another mail system is looked at.
    pub fn forget(&self) {
        *self.seen() = Seen::default();
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(600)))?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        let say = |stream: &mut BufReader<TcpStream>, text: &str| {
            stream.get_mut().write_all(format!("{text}\r\n").as_bytes())
        };
        say(&mut stream, "220 sink.test ESMTP")?;
        // The letter, when it began, and who takes it.
        let (mut number, mut begun, mut places) = (None, 0, Vec::new());
        // Where the arrivals of the last letter are.
        let mut last = 0..0;
        loop {
            let mut line = Vec::new();
            match stream.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    for arrival in self.seen().arrivals.get_mut(last).into_iter().flatten() {
                        arrival.unread = true;
                    }
                    return Ok(());
                }
                result => result?,
            };
            last = 0..0;
            let line = String::from_utf8_lossy(&line).into_owned();
            let word = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let address = line.split_once('<').and_then(|(_, r)| r.split_once('>')).map_or("", |(a, _)| a);
            match word.as_str() {
                "EHLO" => say(&mut stream, "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME")?,
                "MAIL" => {
                    (number, begun) = (letters::of_sender(address), now());
                    places.clear();
                    say(&mut stream, "250 2.1.0 Ok")?;
                }
                "RCPT" => match (Place::of(address), number) {
                    (Some(Place::Late), Some(n)) if self.seen().put_off.insert((n, false)) => {
                        say(&mut stream, "450 4.2.0 Come again")?;
                    }
                    (place, _) => {
                        places.extend(place);
                        say(&mut stream, "250 2.1.5 Ok")?;
                    }
                },
                "DATA" if places.is_empty() && number.is_some() => say(&mut stream, "554 5.5.1 For nobody")?,
                "DATA" => {
                    say(&mut stream, "354 go on")?;
                    let text = content(&mut stream)?;
                    let read = letters::read(&text).and_then(|n| match number {
                        Some(wanted) if wanted == n => Ok(n),
                        _ => Err(format!("letter {n} came as {line:?} of {number:?}")),
                    });
                    match read {
                        Err(why) => {
                            let head = String::from_utf8_lossy(&text[..text.len().min(2000)]).into_owned();
                            self.seen().strange.push(format!("{why}\n{head}"));
                            say(&mut stream, "250 2.0.0 Ok")?;
                        }
                        Ok(n) if n % 23 == 7 && self.seen().put_off.insert((n, true)) => {
                            say(&mut stream, "451 4.3.0 Not now")?;
                        }
                        Ok(n) => {
                            // So that there are always some under way.
                            std::thread::sleep(Duration::from_millis(n % 5));
                            last = self.take(n, begun, &places);
                            say(&mut stream, "250 2.0.0 Ok")?;
                            let ended = now();
                            for arrival in self.seen().arrivals.get_mut(last.clone()).into_iter().flatten() {
                                arrival.ended = ended;
                            }
                        }
                    }
                    number = None;
                }
                "QUIT" => {
                    say(&mut stream, "221 2.0.0 Bye")?;
                    return Ok(());
                }
                _ => say(&mut stream, "250 2.0.0 Ok")?,
            }
        }
    }

    fn take(&self, number: u64, begun: u64, places: &[Place]) -> std::ops::Range<usize> {
        let mut seen = self.seen();
        let first = seen.arrivals.len();
        // Written down before the answer: one that is never sent counts as being delivered for good.
        let all = places.iter().map(|p| Arrival {
            number,
            place: *p,
            begun,
            ended: u64::MAX,
            unread: false,
            by: [0; 2],
        });
        seen.arrivals.extend(all);
        if places.iter().any(|p| matches!(p, Place::Far(_))) && seen.known.insert(number) {
            seen.letters += 1;
        }
        first..seen.arrivals.len()
    }
}

/// The content, without the dots that were put before dots.
fn content(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let from = text.len();
        if stream.read_until(b'\n', &mut text)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if &text[from..] == b".\r\n" {
            text.truncate(from);
            return Ok(text);
        }
        if text[from..].starts_with(b".") {
            text.remove(from);
        }
    }
}
