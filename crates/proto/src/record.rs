//! The record stream between `sendmail`, `postdrop` and `pickup`, as Postfix's own programs write
//! and read it: a type byte, the length (seven bits a byte, the lowest first), the data.
//!
//! ```text
//! T time | A attributes | F full name | S sender | V delimiters | A, R recipients
//! M | N a line of content, L a piece of a line that goes on
//! X | A, R recipients found in the header | E end
//! ```
//!
//! Pure: [`Decoder`] takes bytes cut anywhere, [`Walker`] holds the order of records, so that the
//! set-gid program and the daemon judge a stream alike.

use crate::envelope::{Notify, Ret};
use std::fmt;

/// Types of records.
pub mod kind {
    /// The time of submission: seconds, a space, microseconds.
    pub const TIME: u8 = b'T';
    /// `name=value`.
    pub const ATTRIBUTE: u8 = b'A';
    /// The full name of the sender.
    pub const FULL_NAME: u8 = b'F';
    /// The envelope sender, without quotes.
    pub const SENDER: u8 = b'S';
    /// An envelope recipient, without quotes.
    pub const RECIPIENT: u8 = b'R';
    /// Variable envelope return paths are wanted: their delimiters.
    pub const VERP: u8 = b'V';
    /// Content begins.
    pub const CONTENT: u8 = b'M';
    /// A line of content, or the end of one.
    pub const LINE: u8 = b'N';
    /// A piece of a line that goes on (or, at the very end, was not ended).
    pub const PIECE: u8 = b'L';
    /// What was found in the header follows.
    pub const EXTRACTED: u8 = b'X';
    /// All is said.
    pub const END: u8 = b'E';
}

/// Names of attributes.
pub mod attribute {
    /// `local`: addresses are completed with this host's names.
    pub const REWRITE_CONTEXT: &str = "rewrite_context";
    /// ENVID of RFC 3461, xtext.
    pub const ENVELOPE_ID: &str = "envelope_id";
    /// RET of RFC 3461, a number.
    pub const RET_FLAGS: &str = "ret_flags";
    /// NOTIFY of RFC 3461, a sum; for the next recipient.
    pub const NOTIFY_FLAGS: &str = "notify_flags";
    /// ORCPT of RFC 3461; for the next recipient.
    pub const ORIGINAL_RECIPIENT: &str = "dsn_orig_rcpt";
    /// `7bit` or `8bit`.
    pub const ENCODING: &str = "encoding";
    /// SMTPUTF8 wishes, a sum of [`super::SMTPUTF8_REQUESTED`] and others.
    pub const SMTPUTF8: &str = "smtputf8";
    /// Reports asked for by mail, a sum of [`super::TRACE_VERIFY`] and [`super::TRACE_RECORD`].
    pub const TRACE_FLAGS: &str = "trace_flags";
    /// All that a submission may carry.
    pub const ALL: [&str; 8] = [
        REWRITE_CONTEXT,
        ENVELOPE_ID,
        RET_FLAGS,
        NOTIFY_FLAGS,
        ORIGINAL_RECIPIENT,
        ENCODING,
        SMTPUTF8,
        TRACE_FLAGS,
    ];
}

/// Report what would be done, and do not deliver (`sendmail -bv`).
pub const TRACE_VERIFY: u32 = 512;
/// Report what was done (`sendmail -v`).
pub const TRACE_RECORD: u32 = 1024;
/// The sender asked for SMTPUTF8.
pub const SMTPUTF8_REQUESTED: u32 = 1;

/// The longest record taken. Writers cut lines far below it.
pub const LONGEST: usize = 1 << 20;

/// Appends a record.
pub fn put(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    out.push(kind);
    let mut rest = data.len();
    while rest > 127 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(data);
}

/// Appends `name=value`.
pub fn put_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, kind::ATTRIBUTE, format!("{name}={value}").as_bytes());
}

/// Appends a line of content, cut into records of at most `limit` bytes; `ended`: it had a line
/// end.
pub fn put_line(out: &mut Vec<u8>, mut line: &[u8], ended: bool, limit: usize) {
    let limit = limit.max(1);
    while line.len() > limit {
        put(out, kind::PIECE, &line[..limit]);
        line = &line[limit..];
    }
    put(out, if ended { kind::LINE } else { kind::PIECE }, line);
}

/// What is wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A length that no writer makes.
    Length,
    /// A record that may not stand there.
    Unexpected(u8),
    /// More recipients than [`MOST_RECIPIENTS`].
    TooMany,
}

/// The most recipients of one message from the maildrop. Whoever reads it keeps them in memory, and
/// every user may write there.
pub const MOST_RECIPIENTS: usize = 100_000;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Length => f.write_str("malformed input"),
            Fault::Unexpected(kind) => write!(f, "unexpected record type: {kind}"),
            Fault::TooMany => write!(f, "more than {MOST_RECIPIENTS} recipients; send several messages"),
        }
    }
}

impl std::error::Error for Fault {}

/// Cuts bytes into records.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that make no whole record yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// The next whole record: its type and data.
    pub fn next_record(&mut self) -> Result<Option<(u8, &[u8])>, Fault> {
        let rest = &self.buffer[self.at..];
        let Some((kind, rest)) = rest.split_first() else { return Ok(None) };
        let (mut length, mut used) = (0usize, 0usize);
        loop {
            let Some(b) = rest.get(used) else { return Ok(None) };
            if used > 3 {
                return Err(Fault::Length);
            }
            length |= usize::from(b & 0x7f) << (7 * used);
            used += 1;
            if b & 0x80 == 0 {
                break;
            }
        }
        if length > LONGEST {
            return Err(Fault::Length);
        }
        if rest.len() < used + length {
            return Ok(None);
        }
        let kind = *kind;
        let start = self.at + 1 + used;
        self.at = start + length;
        Ok(Some((kind, &self.buffer[start..start + length])))
    }
}

/// A record understood in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Microseconds since 1970.
    Time(u64),
    /// A known attribute.
    Attribute(&'a str, &'a str),
    /// An attribute that no submission may carry; to be left out. The text as it stands.
    ForeignAttribute(String),
    /// The sender's full name.
    FullName(&'a [u8]),
    /// Delimiters of variable envelope return paths.
    Verp(&'a [u8]),
    /// The envelope sender.
    Sender(&'a [u8]),
    /// A recipient.
    Recipient(&'a [u8]),
    /// Content begins.
    Content,
    /// A piece of content; `true`: a line end follows it.
    Text(&'a [u8], bool),
    /// The content is complete.
    Extracted,
    /// The stream is complete.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Envelope,
    Content,
    Extracted,
    Done,
}

/// Holds the order of records.
#[derive(Clone, Debug)]
pub struct Walker {
    stage: Stage,
    time: bool,
    sender: bool,
    recipients: usize,
}

impl Walker {
    /// `time`: a time record is allowed (the maildrop), not so in what a user sends.
    pub fn new(time: bool) -> Walker {
        Walker { stage: Stage::Envelope, time, sender: false, recipients: 0 }
    }

    /// The end was seen.
    pub fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// A sender and a recipient were seen.
    pub fn complete(&self) -> bool {
        self.done() && self.sender && self.recipients > 0
    }

    /// Judges the next record.
    pub fn take<'a>(&mut self, kind: u8, data: &'a [u8]) -> Result<Item<'a>, Fault> {
        let unexpected = Err(Fault::Unexpected(kind));
        let envelope = self.stage == Stage::Envelope;
        let outside = envelope || self.stage == Stage::Extracted;
        match kind {
            kind::TIME if envelope && self.time => Ok(Item::Time(time(data).ok_or(Fault::Unexpected(kind))?)),
            kind::FULL_NAME if envelope => Ok(Item::FullName(data)),
            kind::VERP if envelope => Ok(Item::Verp(data)),
            kind::SENDER if envelope && !self.sender => {
                self.sender = true;
                Ok(Item::Sender(data))
            }
            kind::ATTRIBUTE if outside => Ok(known(data)),
            kind::RECIPIENT if outside && self.recipients >= MOST_RECIPIENTS => Err(Fault::TooMany),
            kind::RECIPIENT if outside => {
                self.recipients += 1;
                Ok(Item::Recipient(data))
            }
            kind::CONTENT if envelope => {
                self.stage = Stage::Content;
                Ok(Item::Content)
            }
            kind::LINE | kind::PIECE if self.stage == Stage::Content => {
                Ok(Item::Text(data, kind == kind::LINE))
            }
            kind::EXTRACTED if self.stage == Stage::Content => {
                self.stage = Stage::Extracted;
                Ok(Item::Extracted)
            }
            kind::END if self.stage == Stage::Extracted => {
                self.stage = Stage::Done;
                Ok(Item::End)
            }
            _ => unexpected,
        }
    }
}

fn known(data: &[u8]) -> Item<'_> {
    std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.split_once('='))
        .filter(|(name, value)| attribute::ALL.contains(name) && !value.contains(char::is_control))
        .map_or_else(
            || Item::ForeignAttribute(String::from_utf8_lossy(data).into_owned()),
            |(name, value)| Item::Attribute(name, value),
        )
}

fn time(data: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(data).ok()?;
    let (seconds, micros) = text.split_once(' ').unwrap_or((text, "0"));
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.trim().parse().ok()?);
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// The data of a time record.
pub fn time_text(micros: u64) -> String {
    format!("{} {}", micros / 1_000_000, micros % 1_000_000)
}

/// NOTIFY as a sum.
pub fn notify_flags(notify: Notify) -> u8 {
    u8::from(notify.never)
        | u8::from(notify.success) << 1
        | u8::from(notify.failure) << 2
        | u8::from(notify.delay) << 3
}

/// NOTIFY from its sum; `None` for one that makes no sense.
pub fn notify_of(text: &str) -> Option<Notify> {
    let sum: u8 = text.parse().ok().filter(|n| *n < 16)?;
    let bit = |n: u8| sum & (1 << n) != 0;
    let notify = Notify { never: bit(0), success: bit(1), failure: bit(2), delay: bit(3) };
    (!notify.never || sum == 1).then_some(notify)
}

/// RET as a number.
pub fn ret_flags(ret: Ret) -> u8 {
    match ret {
        Ret::Full => 1,
        Ret::Headers => 2,
    }
}

/// RET from its number.
pub fn ret_of(text: &str) -> Option<Ret> {
    match text {
        "1" => Some(Ret::Full),
        "2" => Some(Ret::Headers),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Postfix 3.7's sendmail and postdrop wrote for
    /// `sendmail -i -F 'Full N' -N success,failure -V env1 -R hdrs -f joe@x.y uno dos@z.w`.
    const POSTFIX: &[u8] = b"T\x111795254912 479317A\x10envelope_id=env1A\x0bret_flags=2A\x15rewrite_context=localF\x06Full NS\x07joe@x.yA\x0enotify_flags=6R\x03unoA\x0enotify_flags=6R\x07dos@z.wM\0N\nSubject: xN\0N\x04holaN\x01.L\x03fooX\0E\0";

    #[test]
    fn recipients_have_an_end() {
        let mut walker = Walker::new(false);
        for _ in 0..MOST_RECIPIENTS {
            walker.take(kind::RECIPIENT, b"a").unwrap();
        }
        assert_eq!(
            walker.take(kind::RECIPIENT, b"a").unwrap_err().to_string().split(' ').nth(2),
            Some("100000")
        );
    }

    #[test]
    fn reads_what_postfix_writes() {
        let (mut decoder, mut walker, mut seen) = (Decoder::default(), Walker::new(true), Vec::new());
        decoder.feed(POSTFIX);
        while let Some((kind, data)) = decoder.next_record().unwrap() {
            seen.push(format!("{:?}", walker.take(kind, data).unwrap()));
        }
        assert!(walker.complete() && decoder.pending() == 0);
        assert_eq!(seen[0], "Time(1795254912479317)");
        assert_eq!(seen[1], "Attribute(\"envelope_id\", \"env1\")");
        assert_eq!(seen.len(), 18);
        assert_eq!(notify_of("6").map(notify_flags), Some(6));
        assert_eq!((notify_of("3"), notify_of("16"), ret_of("2")), (None, None, Some(Ret::Headers)));
    }

    #[test]
    fn order_is_held() {
        let check = |types: &str, time: bool| {
            let mut walker = Walker::new(time);
            types.bytes().find(|k| walker.take(*k, b"1 2").is_err())
        };
        assert_eq!(check("TFSVRMNLXRE", true), None);
        assert_eq!(check("SRMV", true), Some(b'V'));
        assert_eq!(check("TFSRMNXE", false), Some(b'T'));
        assert_eq!(check("FSRXE", false), Some(b'X'));
        assert_eq!(check("SSR", false), Some(b'S'));
        assert_eq!(check("SRMNE", false), Some(b'E'));
        assert_eq!(check("SRMNXNE", false), Some(b'N'));
        assert_eq!(check("SRMXEE", false), Some(b'E'));
        assert_eq!(check("QSR", false), Some(b'Q'));
        assert_eq!(known(b"foo=bar"), Item::ForeignAttribute("foo=bar".into()));
        assert_eq!(known(b"nothing"), Item::ForeignAttribute("nothing".into()));
    }

    #[test]
    fn damage_is_told() {
        let mut decoder = Decoder::default();
        decoder.feed(b"N\xff\xff\xff\xff\x01");
        assert_eq!(decoder.next_record(), Err(Fault::Length));
    }

    proptest! {
        #[test]
        fn written_records_read_back(
            records in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            cut in 0usize..1000,
        ) {
            let mut bytes = Vec::new();
            records.iter().for_each(|(k, d)| put(&mut bytes, *k, d));
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let (mut decoder, mut back) = (Decoder::default(), Vec::new());
            for piece in [a, b] {
                decoder.feed(piece);
                while let Some((k, d)) = decoder.next_record().unwrap() {
                    back.push((k, d.to_vec()));
                }
            }
            prop_assert_eq!(back, records);
            prop_assert_eq!(decoder.pending(), 0);
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut decoder, mut walker) = (Decoder::default(), Walker::new(true));
            decoder.feed(&bytes);
            while let Ok(Some((k, d))) = decoder.next_record() {
                let _ = walker.take(k, d);
            }
        }
    }
}
