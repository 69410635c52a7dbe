//! One connection to one filter: which events it is told, and what its answers mean.
//!
//! A verdict can hold for one command, for the rest of the message, or for the rest of the session; as long as one
//! holds the filter is told nothing, and everybody who asks gets the same [`Word`] again.

use super::terms::{Disagreement, Offer, Stage, Terms, step};
use super::wire::{self, Broken, Edit, Packet, Reply};
use crate::smtp;
use std::fmt;

/// What the filter is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Unknown,
    Header,
    EndOfHeader,
    Body,
    EndOfMessage,
}

impl Event {
    fn letter(self) -> u8 {
        match self {
            Event::Connect => b'C',
            Event::Helo => b'H',
            Event::Mail => b'M',
            Event::Rcpt => b'R',
            Event::Data => b'T',
            Event::Unknown => b'U',
            Event::Header => b'L',
            Event::EndOfHeader => b'N',
            Event::Body => b'B',
            Event::EndOfMessage => b'E',
        }
    }

    /// Which macros go with it.
    pub fn stage(self) -> Stage {
        match self {
            Event::Connect => Stage::Connect,
            Event::Helo => Stage::Helo,
            Event::Mail => Stage::Mail,
            Event::Rcpt => Stage::Rcpt,
            Event::Data => Stage::Data,
            Event::Unknown => Stage::Unknown,
            Event::Header | Event::EndOfHeader => Stage::EndOfHeader,
            Event::Body | Event::EndOfMessage => Stage::EndOfMessage,
        }
    }

    /// It is part of the content, not an SMTP command.
    pub fn is_content(self) -> bool {
        matches!(self, Event::Header | Event::EndOfHeader | Event::Body | Event::EndOfMessage)
    }

    /// The bits that leave it out, and that leave it without answer.
    fn bits(self) -> (u32, u32) {
        match self {
            Event::Connect => (step::NO_CONNECT, step::SILENT_CONNECT),
            Event::Helo => (step::NO_HELO, step::SILENT_HELO),
            Event::Mail => (step::NO_MAIL, step::SILENT_MAIL),
            Event::Rcpt => (step::NO_RCPT, step::SILENT_RCPT),
            Event::Data => (step::NO_DATA, step::SILENT_DATA),
            Event::Unknown => (step::NO_UNKNOWN, step::SILENT_UNKNOWN),
            Event::Header => (step::NO_HEADERS, step::SILENT_HEADER),
            Event::EndOfHeader => (step::NO_END_OF_HEADER, step::SILENT_END_OF_HEADER),
            Event::Body => (step::NO_BODY, step::SILENT_BODY),
            Event::EndOfMessage => (0, 0),
        }
    }
}

/// As the log calls it.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Event::Connect => "SMFIC_CONNECT",
            Event::Helo => "SMFIC_HELO",
            Event::Mail => "SMFIC_MAIL",
            Event::Rcpt => "SMFIC_RCPT",
            Event::Data => "SMFIC_DATA",
            Event::Unknown => "SMFIC_UNKNOWN",
            Event::Header => "SMFIC_HEADER",
            Event::EndOfHeader => "SMFIC_EOH",
            Event::Body => "SMFIC_BODY",
            Event::EndOfMessage => "SMFIC_BODYEOB",
        })
    }
}

/// What a verdict means to the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Refuse with this reply.
    Reply(smtp::reply::Reply),
    /// Take the message and forget it.
    Discard,
    /// Take the message and keep it until it is released.
    Hold,
    /// Refuse with 421 and end the session.
    Shutdown,
}

impl Word {
    fn reply(code: u16, text: &str) -> Word {
        Word::Reply(smtp::reply::Reply::new(code, text))
    }
}

/// `milter_default_action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// As if there were no filter.
    Accept,
    /// Refuse for good.
    Reject,
    /// Refuse for now.
    #[default]
    Tempfail,
    /// Take it, and hold it.
    Quarantine,
    /// A word that means nothing: refuse for now.
    Unknown,
}

impl Fallback {
    /// Reads the value of the parameter.
    pub fn of(text: &str) -> Fallback {
        match text {
            "accept" => Fallback::Accept,
            "reject" => Fallback::Reject,
            "tempfail" => Fallback::Tempfail,
            "quarantine" => Fallback::Quarantine,
            _ => Fallback::Unknown,
        }
    }

    fn word(self) -> Option<Word> {
        match self {
            Fallback::Accept => None,
            Fallback::Reject => Some(Word::reply(550, "5.5.0 Service unavailable")),
            Fallback::Tempfail => Some(tempfail()),
            Fallback::Quarantine => Some(Word::Hold),
            Fallback::Unknown => Some(misconfigured()),
        }
    }
}

fn tempfail() -> Word {
    Word::reply(451, "4.7.1 Service unavailable - try again later")
}

fn misconfigured() -> Word {
    Word::reply(451, "4.3.5 Server configuration problem - try again later")
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first exchange failed.
    Disagreement(Disagreement),
    /// A packet that is none.
    Broken(Broken),
    /// An answer that does not belong to this event.
    Unexpected(&'static str, Event),
    /// DISCARD for a whole session. Nothing comes of it.
    Discard,
    /// A reply that no client would understand.
    Malformed(String),
    /// More changes, or longer waits, than make sense.
    Endless(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Disagreement(why) => why.fmt(f),
            Fault::Broken(why) => why.fmt(f),
            Fault::Unexpected(name, event) => {
                write!(f, "unexpected filter response {name} after event {event}")
            }
            Fault::Discard => f.write_str("DISCARD action is not allowed for connect or helo"),
            Fault::Malformed(text) => write!(f, "malformed reply: {text}"),
            Fault::Endless(what) => write!(f, "too many {what}"),
        }
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was written; an answer comes.
    Await,
    /// It was written, or not told at all: this holds.
    Done(Option<Word>),
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is the verdict on the event.
    Done(Option<Word>),
    /// No more of the header, or of the body, is wanted.
    Enough,
    /// The filter needs more time.
    Progress,
    /// Change this, and read on.
    Edit(Edit),
    /// Hold the message, if it is taken, and read on.
    Hold,
    /// The verdict, though the answer was not in order.
    Odd(Option<Word>, Fault),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was agreed yet.
    New,
    /// It is told everything.
    Open,
    /// Nothing more of this message.
    Message(Option<Word>),
    /// Nothing more at all; the connection is over.
    Over(Option<Word>),
}

/// One filter in one session.
#[derive(Debug)]
pub struct Machine {
    offer: Offer,
    fallback: Fallback,
    terms: Terms,
    state: State,
    /// The event whose answer is awaited.
    event: Event,
}

impl Machine {
    /// Before the first exchange.
    pub fn new(offer: Offer, fallback: Fallback) -> Machine {
        Machine { offer, fallback, terms: Terms::default(), state: State::New, event: Event::Connect }
    }

    /// What holds now whatever is asked, for commands that filters are not told of.
    pub fn standing(&self) -> Option<Word> {
        match &self.state {
            State::Message(word) | State::Over(word) => word.clone(),
            State::New | State::Open => None,
        }
    }

    /// Nothing is, or will be, said to it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// It hears of recipients that are refused, too.
    pub fn wants_rejected(&self) -> bool {
        self.terms.steps & step::REJECTED_RECIPIENTS != 0
    }

    /// Header values are to keep their leading space.
    pub fn leading_space(&self) -> bool {
        self.terms.steps & step::LEADING_SPACE != 0
    }

    /// Whether this event would be written now.
    pub fn hears(&self, event: Event) -> bool {
        self.knows(event) && self.terms.steps & event.bits().0 == 0
    }

    /// Whether macros would be written for this event now: for commands also where they are left out.
    pub fn hears_macros(&self, event: Event) -> bool {
        if event.is_content() { self.hears(event) } else { self.knows(event) }
    }

    /// It is told something, and its version has this event.
    fn knows(&self, event: Event) -> bool {
        let since = match event {
            Event::Unknown => 3,
            Event::Data => 4,
            _ => 0,
        };
        self.state == State::Open && self.terms.version >= since
    }

    /// The macros that the filter itself asked for at this stage.
    pub fn macros(&self, stage: Stage) -> Option<&[String]> {
        self.terms.macros.iter().rev().find(|(s, _)| *s == stage).map(|(_, names)| names.as_slice())
    }

    /// Writes the offer.
    pub fn offer(&self, out: &mut Vec<u8>) {
        self.offer.write(out);
    }

    /// Takes the answer to the offer.
    pub fn agree(&mut self, packet: &Packet) -> Result<(), Fault> {
        self.terms = Terms::read(&self.offer, packet).map_err(Fault::Disagreement)?;
        self.state = State::Open;
        Ok(())
    }

    /// Writes macros and an event. `pieces` are the event's data.
    pub fn tell<'m>(
        &mut self,
        event: Event,
        macros: impl Iterator<Item = (&'m str, &'m str)>,
        pieces: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Sent {
        match &self.state {
            State::Message(word) | State::Over(word) => return Sent::Done(word.clone()),
            State::New => return Sent::Done(self.fallback.word()),
            State::Open => {}
        }
        if !self.hears_macros(event) {
            return Sent::Done(None);
        }
        let mut data = vec![event.letter()];
        for (name, value) in macros {
            for part in [name, value] {
                data.extend_from_slice(wire::text(part.as_bytes()));
                data.push(0);
            }
        }
        wire::put(out, b'D', &[&data]);
        let (left_out, silent) = event.bits();
        if self.terms.steps & left_out != 0 {
            return Sent::Done(None);
        }
        wire::put(out, event.letter(), pieces);
        self.event = event;
        if self.terms.steps & silent != 0 { Sent::Done(None) } else { Sent::Await }
    }

    /// Takes an answer to the last event.
    pub fn answer(&mut self, packet: &Packet) -> Result<Answer, Fault> {
        let event = self.event;
        let at_end = event == Event::EndOfMessage;
        let session = matches!(event, Event::Connect | Event::Helo);
        let unexpected = || Fault::Unexpected(wire::name_of(packet.letter), event);
        Ok(match packet.read().map_err(Fault::Broken)? {
            Reply::Continue => Answer::Done(None),
            Reply::Accept => {
                self.hold_to(None);
                Answer::Done(None)
            }
            Reply::Reject => Answer::Done(self.refuse(Word::reply(550, "5.7.1 Command rejected"))),
            Reply::Tempfail => Answer::Done(self.refuse(tempfail())),
            Reply::Code(text) => match reply_of(&text) {
                Some(reply) => Answer::Done(self.refuse(Word::Reply(reply))),
                None => {
                    let word = Some(misconfigured());
                    // What comes after a message finds no filter, as in Postfix.
                    let standing = if event.is_content() { self.fallback.word() } else { word.clone() };
                    self.state = State::Over(standing);
                    Answer::Odd(word, Fault::Malformed(printable(&text)))
                }
            },
            Reply::Discard if session => Answer::Odd(None, Fault::Discard),
            Reply::Discard => {
                // Said once: the message is forgotten from here on.
                self.state = State::Message(None);
                Answer::Done(Some(Word::Discard))
            }
            Reply::Shutdown => {
                self.state = State::Over(Some(Word::Shutdown));
                Answer::Done(Some(Word::Shutdown))
            }
            Reply::Progress => Answer::Progress,
            Reply::Skip if matches!(event, Event::Header | Event::Body) => Answer::Enough,
            // As in Postfix, what is skipped here is no more than this event.
            Reply::Skip if event.is_content() => Answer::Done(None),
            Reply::Quarantine if at_end => Answer::Hold,
            Reply::Edit(edit) if at_end => Answer::Edit(edit),
            Reply::Skip | Reply::Quarantine | Reply::Edit(_) | Reply::Other(_) => return Err(unexpected()),
        })
    }

    /// Contact was lost, or an answer makes no sense: nothing more is said to it, and its default action holds.
    pub fn fail(&mut self) -> Option<Word> {
        let word = self.fallback.word();
        self.state = State::Over(word.clone());
        word
    }

    /// Writes that the message is over; the next one begins afresh.
    pub fn abort(&mut self, out: &mut Vec<u8>) {
        if matches!(self.state, State::Open | State::Message(_)) {
            self.state = State::Open;
            wire::put(out, b'A', &[]);
        }
    }

    /// Writes that the session is over.
    pub fn quit(&mut self, out: &mut Vec<u8>) {
        if matches!(self.state, State::Open | State::Message(_)) {
            wire::put(out, b'Q', &[]);
        }
        self.state = State::Over(None);
    }

    /// This verdict holds for the message, or for the session before there is one.
    fn hold_to(&mut self, word: Option<Word>) {
        self.state = match self.event {
            Event::Connect | Event::Helo => State::Over(word),
            _ => State::Message(word),
        };
    }

    fn refuse(&mut self, word: Word) -> Option<Word> {
        // A refusal of these is about them alone.
        if !matches!(self.event, Event::Rcpt | Event::Unknown) {
            self.hold_to(Some(word.clone()));
        }
        Some(word)
    }
}

/// A reply as a filter writes it: one or more lines with a code of 400 or more. RFC 5321 4.2
fn reply_of(text: &[u8]) -> Option<smtp::reply::Reply> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).peekable();
    let (mut code, mut out) = (None, String::new());
    while let Some(line) = lines.next() {
        if line.is_empty() && lines.peek().is_none() && code.is_some() {
            break;
        }
        let (digits, rest) = line.split_at_checked(3)?;
        let number: u16 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
        if !(400..600).contains(&number) || *code.get_or_insert(number) != number {
            return None;
        }
        let rest = rest.strip_prefix([' ', '-']).filter(|r| !r.trim().is_empty())?;
        if !out.is_empty() {
            out.push('\n');
        }
        // A percent sign is written twice.
        out.push_str(&rest.replace("%%", "%"));
    }
    Some(smtp::reply::Reply::new(code?, out))
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}
