//! The first exchange: what the mail system offers, and what a filter takes of it.

use super::wire::{self, Broken, Packet};
use std::fmt;

/// Actions a filter may ask for, as Postfix offers them whatever the version.
const ACTIONS: u32 = 0x1ff;

/// Steps: events that are left out, and answers.
pub(crate) mod step {
    pub const NO_CONNECT: u32 = 0x1;
    pub const NO_HELO: u32 = 0x2;
    pub const NO_MAIL: u32 = 0x4;
    pub const NO_RCPT: u32 = 0x8;
    pub const NO_BODY: u32 = 0x10;
    pub const NO_HEADERS: u32 = 0x20;
    pub const NO_END_OF_HEADER: u32 = 0x40;
    pub const SILENT_HEADER: u32 = 0x80;
    pub const NO_UNKNOWN: u32 = 0x100;
    pub const NO_DATA: u32 = 0x200;
    pub const REJECTED_RECIPIENTS: u32 = 0x800;
    pub const SILENT_CONNECT: u32 = 0x1000;
    pub const SILENT_HELO: u32 = 0x2000;
    pub const SILENT_MAIL: u32 = 0x4000;
    pub const SILENT_RCPT: u32 = 0x8000;
    pub const SILENT_DATA: u32 = 0x10000;
    pub const SILENT_UNKNOWN: u32 = 0x20000;
    pub const SILENT_END_OF_HEADER: u32 = 0x40000;
    pub const SILENT_BODY: u32 = 0x80000;
    pub const LEADING_SPACE: u32 = 0x100000;
}

/// When macros are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// With a connection.
    Connect,
    /// With HELO or EHLO.
    Helo,
    /// With a sender.
    Mail,
    /// With a recipient.
    Rcpt,
    /// With DATA.
    Data,
    /// With the body and at the end of the message.
    EndOfMessage,
    /// With headers and at their end.
    EndOfHeader,
    /// With a command that nobody knows.
    Unknown,
}

impl Stage {
    /// All of them; the first seven in the order of their numbers on the wire.
    pub const ALL: [Stage; 8] = [
        Stage::Connect,
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::EndOfMessage,
        Stage::EndOfHeader,
        Stage::Unknown,
    ];
}

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    version: u32,
    actions: u32,
    steps: u32,
}

impl Offer {
    /// By `milter_protocol`: a version, and `no_header_reply`. `None` when it says something else.
    pub fn of(words: &[String]) -> Option<Offer> {
        let mut offer = None;
        let mut silent_header = false;
        for word in words {
            match word.as_str() {
                "2" => offer = Some(Offer { version: 2, actions: ACTIONS, steps: 0x7f }),
                "3" => offer = Some(Offer { version: 3, actions: ACTIONS, steps: 0x17f }),
                "4" => offer = Some(Offer { version: 4, actions: ACTIONS, steps: 0x37f }),
                "6" => offer = Some(Offer { version: 6, actions: ACTIONS, steps: 0x1fffff }),
                "no_header_reply" => silent_header = true,
                _ => return None,
            }
        }
        let mut offer = offer?;
        if silent_header {
            offer.steps |= step::SILENT_HEADER;
        }
        Some(offer)
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let words = [self.version, self.actions, self.steps].map(u32::to_be_bytes);
        wire::put(out, b'O', &[&words[0], &words[1], &words[2]]);
    }
}

/// What was agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub(crate) version: u32,
    pub(crate) steps: u32,
    pub(crate) macros: Vec<(Stage, Vec<String>)>,
}

/// Why nothing was agreed, in the words of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// The packet itself.
    Broken(Broken),
    /// Another packet.
    Unexpected(u8),
    /// A version beyond what was offered: theirs, ours.
    Version(u32, u32),
    /// Actions that were not offered: theirs, ours.
    Actions(u32, u32),
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disagreement::Broken(broken) => broken.fmt(f),
            Disagreement::Unexpected(letter) => {
                write!(f, "unexpected reply \"{}\" in initial handshake", letter.escape_ascii())
            }
            Disagreement::Version(theirs, ours) => {
                write!(f, "protocol version {theirs} conflict with MTA protocol version {ours}")
            }
            Disagreement::Actions(theirs, ours) => {
                write!(f, "request mask {theirs:#x} conflict with MTA request mask {ours:#x}")
            }
        }
    }
}

impl Terms {
    /// What a filter takes of an offer.
    pub fn read(offer: &Offer, packet: &Packet) -> Result<Terms, Disagreement> {
        if packet.letter != b'O' {
            return Err(Disagreement::Unexpected(packet.letter));
        }
        let mut rest = packet.data.as_slice();
        let mut number = || wire::number(&mut rest).map_err(Disagreement::Broken);
        let (version, actions, steps) = (number()?, number()?, number()?);
        if version > offer.version {
            return Err(Disagreement::Version(version, offer.version));
        }
        if actions & !offer.actions != 0 {
            return Err(Disagreement::Actions(actions, offer.actions));
        }
        let mut macros = Vec::new();
        // As in Postfix, whether it asked for the right to name macros or not.
        while !rest.is_empty() {
            let place = wire::number(&mut rest).map_err(Disagreement::Broken)?;
            let names = wire::string(&mut rest).map_err(Disagreement::Broken)?;
            let names = String::from_utf8_lossy(&names);
            let names = names.split([' ', ',', '\t']).filter(|n| !n.is_empty()).map(str::to_string);
            // What a stage beyond those known is for, nobody can say.
            if let Some(stage) = Stage::ALL.get(place as usize).filter(|s| **s != Stage::Unknown) {
                macros.push((*stage, names.collect()));
            }
        }
        Ok(Terms { version, steps: steps & offer.steps, macros })
    }
}
