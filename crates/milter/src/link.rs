//! A connection to one filter: what the machine writes goes out, answers come in, all within its times.

use crate::events::{NoAnswer, Odd, Unreachable};
use crate::plan::Target;
use crate::session::Subject;
use events::Source;
use net::dial::Failure;
use net::stream::Socket;
use proto::milter::machine::Word;
use proto::milter::{Answer, Decoder, Event, Fault, Machine, Packet, Sent};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// So many changes a filter may make to one message.
const MOST_EDITS: usize = 50_000;
/// So often it may ask for more time, and for so long: no client waits longer for an answer.
const MOST_PROGRESS: usize = 100_000;
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Events without answers are gathered up to here.
const GATHERED: usize = 64 * 1024;
/// How long the last words may take.
const PARTING: Duration = Duration::from_secs(1);

/// What a filter said to an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub word: Option<Word>,
    /// Hold the message if it is taken.
    pub hold: bool,
    /// No more of the header, or of the body.
    pub enough: bool,
}

pub(crate) struct Link {
    pub machine: Machine,
    stream: Option<Socket>,
    decoder: Decoder,
    out: Vec<u8>,
}

impl Link {
    pub(crate) fn new(target: &Target) -> Link {
        let machine = Machine::new(target.offer, target.fallback);
        Link { machine, stream: None, decoder: Decoder::default(), out: Vec::new() }
    }

    /// Connects and agrees on the protocol; a word when that failed and matters.
    pub(crate) async fn open(&mut self, target: &Target, say: &Source) -> Option<Word> {
        let name = target.name.clone();
        match connect(target).await {
            Ok(stream) => self.stream = Some(stream),
            Err(e) => {
                say.say(&Unreachable { name, why: e.to_string() });
                return self.fail(target, say);
            }
        }
        self.machine.offer(&mut self.out);
        let within = target.connect_timeout;
        let packet = match self.write(within).await {
            Ok(()) => self.read(within).await,
            Err(e) => Err(Lost::Io(e)),
        };
        let fault = match packet {
            Ok(packet) => self.machine.agree(&packet).err(),
            Err(lost) => {
                lost.tell(&name, "SMFIC_OPTNEG", say);
                say.say(&Odd { name, what: "read error in initial handshake".into() });
                return self.fail(target, say);
            }
        };
        let fault = fault?;
        let is_short = matches!(fault, Fault::Disagreement(proto::milter::terms::Disagreement::Broken(_)));
        say.say(&Odd { name: name.clone(), what: fault.to_string() });
        if is_short {
            say.say(&Odd { name, what: "read error in initial handshake".into() });
        }
        self.fail(target, say)
    }

    /// Tells an event with its macros, and hears the answer.
    pub(crate) async fn exchange<'m>(
        &mut self,
        target: &Target,
        event: Event,
        macros: impl Iterator<Item = (&'m str, &'m str)>,
        pieces: &[&[u8]],
        subject: Option<&mut dyn Subject>,
        say: &Source,
    ) -> Heard {
        let within = if event.is_content() { target.content_timeout } else { within_of(target, event) };
        match self.machine.tell(event, macros, pieces, &mut self.out) {
            Sent::Done(word) => {
                if self.out.len() > GATHERED
                    && let Err(e) = self.write(within).await
                {
                    return self.lost(Lost::Io(e), target, event, say);
                }
                if !event.is_content() && !self.out.is_empty() {
                    let _ = self.write(within).await;
                }
                Heard { word, ..Heard::default() }
            }
            Sent::Await => {
                if let Err(e) = self.write(within).await {
                    return self.lost(Lost::Io(e), target, event, say);
                }
                self.hear(target, event, within, subject, say).await
            }
        }
    }

    async fn hear(
        &mut self,
        target: &Target,
        event: Event,
        within: Duration,
        mut subject: Option<&mut dyn Subject>,
        say: &Source,
    ) -> Heard {
        let mut heard = Heard::default();
        let (mut edits, mut progress, begun) = (0, 0, Instant::now());
        loop {
            let packet = match self.read(within).await {
                Ok(packet) => packet,
                Err(lost) => return Heard { hold: heard.hold, ..self.lost(lost, target, event, say) },
            };
            let fault = match self.machine.answer(&packet) {
                Ok(Answer::Done(word)) => {
                    heard.word = word;
                    self.close_if_over();
                    return heard;
                }
                Ok(Answer::Enough) => {
                    heard.enough = true;
                    return heard;
                }
                Ok(Answer::Odd(word, fault)) => {
                    say.say(&Odd { name: target.name.clone(), what: fault.to_string() });
                    heard.word = word;
                    self.close_if_over();
                    return heard;
                }
                Ok(Answer::Hold) => {
                    heard.hold = true;
                    None
                }
                Ok(Answer::Progress) => {
                    progress += 1;
                    let endless = progress > MOST_PROGRESS || begun.elapsed() > LONGEST_WAIT;
                    endless.then_some(Fault::Endless("requests for more time"))
                }
                Ok(Answer::Edit(edit)) => {
                    edits += 1;
                    match subject.as_mut() {
                        Some(subject) if edits <= MOST_EDITS => {
                            subject.edit(edit, self.machine.leading_space()).err().map(Fault::Endless)
                        }
                        _ => Some(Fault::Endless("changes")),
                    }
                }
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                say.say(&Odd { name: target.name.clone(), what: fault.to_string() });
                heard.word = self.fail(target, say);
                return heard;
            }
        }
    }

    /// Says that the message is over.
    pub(crate) async fn abort(&mut self, target: &Target) {
        self.machine.abort(&mut self.out);
        if !self.out.is_empty() {
            // Whether it was heard shows at the next event.
            let _ = self.write(target.command_timeout).await;
        }
    }

    /// Says that the session is over.
    pub(crate) async fn quit(&mut self) {
        self.machine.quit(&mut self.out);
        if !self.out.is_empty() {
            let _ = self.write(PARTING).await;
        }
        self.stream = None;
    }

    fn lost(&mut self, lost: Lost, target: &Target, event: Event, say: &Source) -> Heard {
        lost.tell(&target.name, &event.to_string(), say);
        Heard { word: self.fail(target, say), ..Heard::default() }
    }

    /// Contact is lost; what the default action says.
    fn fail(&mut self, target: &Target, say: &Source) -> Option<Word> {
        if let Some(action) = &target.odd_action {
            let what = format!("unrecognized default action: {action}");
            say.say(&Odd { name: target.name.clone(), what });
        }
        let word = self.machine.fail();
        self.close_if_over();
        word
    }

    fn close_if_over(&mut self) {
        if self.machine.is_over() {
            (self.stream, self.decoder, self.out) = (None, Decoder::default(), Vec::new());
        }
    }

    async fn write(&mut self, within: Duration) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.out);
        let Some(stream) = self.stream.as_mut() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let written = tokio::time::timeout(within, stream.write_all(&bytes)).await;
        written.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn read(&mut self, within: Duration) -> Result<Packet, Lost> {
        let until = tokio::time::Instant::now() + within;
        let mut piece = Vec::new();
        loop {
            if let Some(packet) = self.decoder.next_packet().map_err(|b| Lost::Broken(b.to_string()))? {
                return Ok(packet);
            }
            let Some(stream) = self.stream.as_mut() else { return Err(Lost::Closed) };
            piece.clear();
            piece.reserve(4096);
            match tokio::time::timeout_at(until, stream.read_buf(&mut piece)).await {
                Ok(Ok(0)) => return Err(Lost::Closed),
                Ok(Ok(_)) => self.decoder.feed(&piece),
                Ok(Err(e)) => return Err(Lost::Io(e)),
                Err(_) => return Err(Lost::Io(timed_out())),
            }
        }
    }
}

fn within_of(target: &Target, event: Event) -> Duration {
    if event == Event::Connect { target.connect_timeout } else { target.command_timeout }
}

fn timed_out() -> io::Error {
    /// ETIMEDOUT, so that the words are the system's.
    const TIMED_OUT: i32 = 110;
    io::Error::from_raw_os_error(TIMED_OUT)
}

async fn connect(target: &Target) -> Result<Socket, Failure> {
    match (target.endpoint.connect(target.connect_timeout).await, &target.below) {
        (Err(Failure::Connect(e, _)), Some(below)) if e.kind() == io::ErrorKind::NotFound => {
            below.connect(target.connect_timeout).await
        }
        (result, _) => result,
    }
}

/// Why there is no answer.
enum Lost {
    Closed,
    Io(io::Error),
    Broken(String),
}

impl Lost {
    fn tell(&self, name: &str, to: &str, say: &Source) {
        let name = name.to_string();
        let why = match self {
            Lost::Broken(what) => return say.say(&Odd { name, what: what.clone() }),
            // The words that Postfix has for an end that is none of the system's errors.
            Lost::Closed => "Application error".to_string(),
            Lost::Io(e) => net::plain(e),
        };
        say.say(&NoAnswer { name, to: to.to_string(), why });
    }
}
