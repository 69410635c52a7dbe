//! Packets: four bytes of length, a letter, data. What an answer holds is read here, once.

use std::fmt;

/// The longest packet that is taken from a filter: a piece of a body is at most 64 KiB, headers are less.
pub const LONGEST: usize = 1 << 20;

/// The most content in one packet to a filter.
pub const CHUNK: usize = 65535;

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub letter: u8,
    /// What it holds.
    pub data: Vec<u8>,
}

/// Why bytes are no packets. The words are those of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A packet without a letter.
    Empty,
    /// A packet that nobody needs to send.
    TooLong(u32),
    /// The data ends before a number does.
    NoNumber,
    /// A text without its end.
    NoEnd,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Empty => f.write_str("bad packet length: 0"),
            Broken::TooLong(n) => write!(f, "unreasonable packet length: {n} > {LONGEST}"),
            Broken::NoNumber => f.write_str("input packet too short for network long"),
            Broken::NoEnd => f.write_str("missing string null termimator"),
        }
    }
}

/// Cuts packets out of what comes from a filter.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet that is there whole.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, Broken> {
        let unread = self.bytes.get(self.at..).unwrap_or_default();
        let Some((length, rest)) = unread.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if length == 0 {
            return Err(Broken::Empty);
        }
        let whole = length as usize;
        if whole > LONGEST {
            return Err(Broken::TooLong(length));
        }
        let Some((letter, data)) = rest.get(..whole).and_then(<[u8]>::split_first) else { return Ok(None) };
        let packet = Packet { letter: *letter, data: data.to_vec() };
        self.at += 4 + whole;
        if self.at == self.bytes.len() {
            (self.bytes, self.at) = (Vec::new(), 0);
        }
        Ok(Some(packet))
    }

    /// Nothing is there that was not read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Writes a packet whose data is these pieces.
pub fn put(out: &mut Vec<u8>, letter: u8, pieces: &[&[u8]]) {
    let length: usize = 1 + pieces.iter().map(|p| p.len()).sum::<usize>();
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(letter);
    pieces.iter().for_each(|p| out.extend_from_slice(p));
}

/// Bytes as the text of a packet: up to a NUL, which would end it.
pub fn text(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// A change that a filter asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A header after all others.
    Add {
        /// Its name.
        name: Vec<u8>,
        /// Its value, lines separated by LF.
        value: Vec<u8>,
    },
    /// A header in front of the one at this place.
    Insert {
        /// How many headers stay before it.
        at: u32,
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The header of this name, so many-th, gets another value, or is deleted by an empty one.
    Change {
        /// 1 is the first of its name.
        at: u32,
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Another sender.
    Sender {
        /// As in MAIL FROM.
        address: Vec<u8>,
        /// ESMTP parameters.
        parameters: Vec<u8>,
    },
    /// One more recipient.
    AddRecipient {
        /// As in RCPT TO.
        address: Vec<u8>,
        /// ESMTP parameters.
        parameters: Vec<u8>,
    },
    /// One recipient less.
    DeleteRecipient(Vec<u8>),
    /// A piece of a body that replaces the body.
    Body(Vec<u8>),
}

/// What a filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Accept,
    Continue,
    Discard,
    Reject,
    Tempfail,
    Shutdown,
    Skip,
    Progress,
    Quarantine,
    Code(Vec<u8>),
    Edit(Edit),
    /// What this letter is called, if anything.
    Other(&'static str),
}

/// What letters of answers are called, where the log needs it.
const NAMES: [(u8, &str); 20] = [
    (b'+', "SMFIR_ADDRCPT"),
    (b'-', "SMFIR_DELRCPT"),
    (b'2', "SMFIR_ADDRCPT_PAR"),
    (b'4', "SMFIR_SHUTDOWN"),
    (b'a', "SMFIR_ACCEPT"),
    (b'b', "SMFIR_REPLBODY"),
    (b'c', "SMFIR_CONTINUE"),
    (b'd', "SMFIR_DISCARD"),
    (b'e', "SMFIR_CHGFROM"),
    (b'f', "SMFIR_CONN_FAIL"),
    (b'h', "SMFIR_ADDHEADER"),
    (b'i', "SMFIR_INSHEADER"),
    (b'l', "SMFIR_SETSYMLIST"),
    (b'm', "SMFIR_CHGHEADER"),
    (b'p', "SMFIR_PROGRESS"),
    (b'q', "SMFIR_QUARANTINE"),
    (b'r', "SMFIR_REJECT"),
    (b's', "SMFIR_SKIP"),
    (b't', "SMFIR_TEMPFAIL"),
    (b'y', "SMFIR_REPLYCODE"),
];

/// What an answer of this letter is called.
pub fn name_of(letter: u8) -> &'static str {
    NAMES.iter().find(|(code, _)| *code == letter).map_or("(unknown filter reply)", |(_, name)| name)
}

impl Packet {
    pub(crate) fn read(&self) -> Result<Reply, Broken> {
        let mut rest = self.data.as_slice();
        let rest = &mut rest;
        Ok(match self.letter {
            b'a' => Reply::Accept,
            b'c' => Reply::Continue,
            b'd' => Reply::Discard,
            b'r' => Reply::Reject,
            b't' => Reply::Tempfail,
            b'4' => Reply::Shutdown,
            b's' => Reply::Skip,
            b'p' => Reply::Progress,
            b'q' => {
                string(rest)?;
                Reply::Quarantine
            }
            b'y' => Reply::Code(string(rest)?),
            b'h' => Reply::Edit(Edit::Add { name: string(rest)?, value: string(rest)? }),
            b'i' => {
                Reply::Edit(Edit::Insert { at: number(rest)?, name: string(rest)?, value: string(rest)? })
            }
            b'm' => {
                Reply::Edit(Edit::Change { at: number(rest)?, name: string(rest)?, value: string(rest)? })
            }
            b'e' => {
                let address = string(rest)?;
                Reply::Edit(Edit::Sender { address, parameters: perhaps(rest)? })
            }
            b'2' => {
                let address = string(rest)?;
                Reply::Edit(Edit::AddRecipient { address, parameters: perhaps(rest)? })
            }
            b'+' => Reply::Edit(Edit::AddRecipient { address: string(rest)?, parameters: Vec::new() }),
            b'-' => Reply::Edit(Edit::DeleteRecipient(string(rest)?)),
            b'b' => Reply::Edit(Edit::Body(self.data.clone())),
            other => Reply::Other(name_of(other)),
        })
    }
}

/// A number at the front of `data`.
pub(crate) fn number(data: &mut &[u8]) -> Result<u32, Broken> {
    let (bytes, rest) = data.split_first_chunk::<4>().ok_or(Broken::NoNumber)?;
    *data = rest;
    Ok(u32::from_be_bytes(*bytes))
}

/// A text at the front of `data`, without the NUL that ends it.
pub(crate) fn string(data: &mut &[u8]) -> Result<Vec<u8>, Broken> {
    let end = memchr::memchr(0, data).ok_or(Broken::NoEnd)?;
    let (text, rest) = data.split_at(end);
    *data = rest.get(1..).unwrap_or_default();
    Ok(text.to_vec())
}

/// A text that may be missing.
fn perhaps(data: &mut &[u8]) -> Result<Vec<u8>, Broken> {
    if data.is_empty() { Ok(Vec::new()) } else { string(data) }
}
