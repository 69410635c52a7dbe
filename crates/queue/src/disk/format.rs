//! The bytes on disk: the head of a segment, the records of messages, the records of state logs.
//! All numbers are little-endian. Everything here is pure.

use crate::ledger::Plan;
use proto::QueueId;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Batches begin at multiples of this.
pub const BLOCK: u64 = 4096;
/// Records begin at multiples of this.
pub const RECORD_UNIT: u64 = 8;
/// The bytes of a record's header.
pub const HEADER: usize = 48;
/// The bytes of a state record before its payload.
pub const STATE_HEADER: usize = 24;
/// The bytes of a state log's head.
pub const LOG_HEAD: usize = 16;
/// The bytes of a plan.
pub const PLAN: usize = 16;
/// The bytes of a [`Kind::Put`] before the states.
pub const PUT: usize = PLAN + 8;
/// No envelope may be longer.
pub const LONGEST_ENVELOPE: usize = 64 << 20;
/// A record flag: the body is in a file of its own; in its place are length and checksum.
pub const BIG: u32 = 1;

/// The version of all that.
pub const FORMAT: u32 = 2;

const RECORD: u32 = u32::from_le_bytes(*b"VJr1");
const SEGMENT: &[u8; 8] = b"VALIJA2\n";
const LOG: &[u8; 8] = b"VALJST2\n";

/// What makes this spool this spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Names it.
    pub spool: u64,
    /// Only whoever can read the spool knows it; without it a sender could write bytes into a
    /// body that recovery takes for a record.
    pub key: [u8; 16],
}

/// `n` rounded up to a multiple of `unit`.
pub fn round_up(n: u64, unit: u64) -> u64 {
    n.div_ceil(unit).saturating_mul(unit)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The first block of a segment. It carries the spool's identity, so that a damaged `format` file
/// costs nothing.
pub fn segment_head(identity: &Identity, segment: u32, now: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(BLOCK as usize);
    head.extend_from_slice(SEGMENT);
    head.extend_from_slice(&segment.to_le_bytes());
    head.extend_from_slice(&0u32.to_le_bytes());
    head.extend_from_slice(&identity.spool.to_le_bytes());
    head.extend_from_slice(&now.to_le_bytes());
    head.extend_from_slice(&identity.key);
    head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
    head.resize(BLOCK as usize, 0);
    head
}

/// Reads the first block of a segment: its number and the spool's identity.
pub fn read_segment_head(bytes: &[u8]) -> Option<(u32, Identity)> {
    let checked = bytes.get(..48)?;
    if !checked.starts_with(SEGMENT) || u32_at(bytes, 48)? != crc32fast::hash(checked) {
        return None;
    }
    let key = bytes.get(32..48)?.try_into().ok()?;
    Some((u32_at(bytes, 8)?, Identity { spool: u64_at(bytes, 16)?, key }))
}

/// The header of a message's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The segment it was written to.
    pub segment: u32,
    /// The message.
    pub id: QueueId,
    /// Bytes of the envelope.
    pub envelope: u32,
    /// Bytes of what follows the envelope: the body, or the description of a big one.
    pub body: u32,
    /// [`BIG`] or zero.
    pub flags: u32,
    /// Checksum of the envelope.
    pub envelope_crc: u32,
    /// Checksum of what follows it.
    pub body_crc: u32,
    /// Where in the segment it was written, so that a disk that mistakes one block for another is
    /// found out.
    pub offset: u32,
}

impl Header {
    /// The bytes of the whole record.
    pub fn length(&self) -> u64 {
        round_up(HEADER as u64 + u64::from(self.envelope) + u64::from(self.body), RECORD_UNIT)
    }

    /// Writes it.
    pub fn write(&self, identity: &Identity) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let words = [RECORD, self.segment];
        let more = [self.envelope, self.body, self.flags, self.envelope_crc, self.body_crc, self.offset];
        let bytes = words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .chain(self.id.0.to_le_bytes())
            .chain(more.iter().flat_map(|w| w.to_le_bytes()));
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        let sum = keyed(identity, &out[..HEADER - 8]);
        out[HEADER - 8..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads one that was written by this spool.
    pub fn read(bytes: &[u8], identity: &Identity) -> Option<Header> {
        let bytes = bytes.get(..HEADER)?;
        if u32_at(bytes, 0)? != RECORD || u64_at(bytes, HEADER - 8)? != keyed(identity, &bytes[..HEADER - 8])
        {
            return None;
        }
        Some(Header {
            segment: u32_at(bytes, 4)?,
            id: QueueId(u64_at(bytes, 8)?),
            envelope: u32_at(bytes, 16)?,
            body: u32_at(bytes, 20)?,
            flags: u32_at(bytes, 24)?,
            envelope_crc: u32_at(bytes, 28)?,
            body_crc: u32_at(bytes, 32)?,
            offset: u32_at(bytes, 36)?,
        })
    }
}

fn keyed(identity: &Identity, bytes: &[u8]) -> u64 {
    let mut hash = SipHasher24::new_with_key(&identity.key);
    hash.write(bytes);
    hash.finish()
}

/// What stands in a record in place of a big body.
pub fn big_body(length: u64, crc: u32) -> [u8; 12] {
    let mut out = [0; 12];
    out[..8].copy_from_slice(&length.to_le_bytes());
    out[8..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads it back: length and checksum.
pub fn read_big_body(bytes: &[u8]) -> Option<(u64, u32)> {
    Some((u64_at(bytes, 0)?, u32_at(bytes, 8)?))
}

impl Plan {
    /// As it is kept in state records.
    pub fn write(&self) -> [u8; PLAN] {
        let mut out = [0; PLAN];
        out[..8].copy_from_slice(&self.next.to_le_bytes());
        out[8..12].copy_from_slice(&self.tries.to_le_bytes());
        out[12] = self.crashes;
        out[13] = self.flags;
        out[14..].copy_from_slice(&self.site.to_le_bytes());
        out
    }

    /// Reads it back.
    pub fn read(bytes: &[u8]) -> Option<Plan> {
        Some(Plan {
            next: u64_at(bytes, 0)?,
            tries: u32_at(bytes, 8)?,
            crashes: *bytes.get(12)?,
            flags: *bytes.get(13)?,
            // Zero, which is unknown, in logs of versions that did not write it.
            site: u16::from_le_bytes(bytes.get(14..PLAN)?.try_into().ok()?),
        })
    }
}

/// The kinds of state records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where a message's record is: plan, length of the record (u32), whether the body is in a file
    /// of its own (u32); then, of a message that was copied, CBOR as in `State`.
    Put = 1,
    /// All states of a message: plan, CBOR.
    State = 2,
    /// Changes to some states: plan, CBOR.
    Change = 3,
    /// The plan alone changed (hold, release, flush, …).
    Mark = 4,
    /// The message is gone.
    Done = 5,
    /// Every record before this offset of the segment is accounted for above.
    Seal = 6,
    /// The same, of a segment that may still grow; where a log was written anew and no longer
    /// names the messages that are gone.
    Known = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Put, Kind::State, Kind::Change, Kind::Mark, Kind::Done, Kind::Seal, Kind::Known]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// The first bytes of a state log.
pub fn log_head(segment: u32) -> [u8; LOG_HEAD] {
    let mut out = [0; LOG_HEAD];
    out[..8].copy_from_slice(LOG);
    out[8..12].copy_from_slice(&segment.to_le_bytes());
    let sum = crc32fast::hash(&out[..12]);
    out[12..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Where a state record stands: the log's segment and the place in the log. Both are in its
/// checksum, so that what a disk put in the wrong place does not count.
pub type Spot = (u32, u64);

/// Appends a state record; `payload` writes what follows the header. `spot` is where `out` begins.
pub fn write_state(
    out: &mut Vec<u8>,
    identity: &Identity,
    spot: Spot,
    (kind, id, offset): (Kind, QueueId, u32),
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    payload(out);
    let length = (out.len() - start - STATE_HEADER) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let spot = (spot.0, spot.1 + start as u64);
    let sum = state_sum(identity, spot, length, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// State records that were gathered for another place, as they are for this one.
pub fn moved(mut records: Vec<u8>, identity: &Identity, (segment, to): Spot) -> Vec<u8> {
    let mut at = 0;
    while let Some(length) = u32_at(&records, at) {
        let Some(rest) = records.get(at + 8..at + STATE_HEADER + length as usize) else { break };
        let sum = state_sum(identity, (segment, to + at as u64), length, rest);
        records[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        at += STATE_HEADER + length as usize;
    }
    records
}

/// A state record that was read.
#[derive(Clone, Copy, Debug)]
pub struct StateRecord<'a> {
    /// Its kind; `None` for one that a later version knows.
    pub kind: Option<Kind>,
    /// The message.
    pub id: QueueId,
    /// Where the message's record is in the segment.
    pub offset: u32,
    /// What follows.
    pub payload: &'a [u8],
    /// The bytes of the whole state record.
    pub length: usize,
}

impl<'a> StateRecord<'a> {
    /// What it says of recipients, CBOR; empty when it says nothing.
    pub fn state(&self) -> &'a [u8] {
        let from = if self.kind == Some(Kind::Put) { PUT } else { PLAN };
        self.payload.get(from..).unwrap_or_default()
    }
}

/// Reads the state record at the start of `bytes`. `Err(true)`: the log ends here as it should,
/// in zeros or at the end of the file; `Err(false)`: what is here is no state record.
pub fn read_state<'a>(bytes: &'a [u8], identity: &Identity, spot: Spot) -> Result<StateRecord<'a>, bool> {
    let all_zero = |b: &[u8]| b.iter().all(|b| *b == 0);
    let Some(head) = bytes.get(..STATE_HEADER) else { return Err(all_zero(bytes)) };
    if all_zero(head) {
        return Err(all_zero(bytes));
    }
    let read = || {
        let length = u32_at(head, 0)? as usize;
        let checked = bytes.get(8..STATE_HEADER.checked_add(length)?)?;
        let good = state_sum(identity, spot, length as u32, checked) == u32_at(head, 4)?;
        good.then_some(StateRecord {
            kind: Kind::of(*head.get(8)?),
            id: QueueId(u64_at(head, 12)?),
            offset: u32_at(head, 20)?,
            payload: checked.get(STATE_HEADER - 8..)?,
            length: STATE_HEADER + length,
        })
    };
    read().ok_or(false)
}

fn state_sum(identity: &Identity, (segment, at): Spot, length: u32, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&identity.spool.to_le_bytes());
    sum.update(&segment.to_le_bytes());
    sum.update(&at.to_le_bytes());
    sum.update(&length.to_le_bytes());
    sum.update(rest);
    sum.finalize()
}

/// The `format` file.
pub fn write_format(identity: &Identity) -> String {
    let key: String = identity.key.iter().map(|b| format!("{b:02x}")).collect();
    let body = format!("valija-spool {FORMAT}\nid {:016x}\nkey {key}\n", identity.spool);
    format!("{body}sum {:08x}\n", crc32fast::hash(body.as_bytes()))
}

/// Reads the `format` file. `Err(Some(version))`: written by a version with another format;
/// `Err(None)`: damaged.
pub fn read_format(text: &str) -> Result<Identity, Option<u32>> {
    let (body, sum) = text.split_at(text.find("sum ").ok_or(None)?);
    if sum.strip_prefix("sum ") != Some(format!("{:08x}\n", crc32fast::hash(body.as_bytes())).as_str()) {
        return Err(None);
    }
    let mut lines = body.lines();
    let mut field = |name: &str| lines.next().and_then(|l| l.strip_prefix(name)).map(str::trim).ok_or(None);
    let version: u32 = field("valija-spool ")?.parse().map_err(|_| None)?;
    if version != FORMAT {
        return Err(Some(version));
    }
    let spool = u64::from_str_radix(field("id ")?, 16).map_err(|_| None)?;
    let text = field("key ")?;
    let mut key = [0; 16];
    for (i, byte) in key.iter_mut().enumerate() {
        let digits = text.get(2 * i..2 * i + 2).ok_or(None)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| None)?;
    }
    Ok(Identity { spool, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDENTITY: Identity = Identity { spool: 77, key: [5; 16] };

    #[test]
    fn heads_and_format_read_back() {
        let head = segment_head(&IDENTITY, 9, 1234);
        assert_eq!(read_segment_head(&head), Some((9, IDENTITY)));
        let text = write_format(&IDENTITY);
        assert_eq!(read_format(&text), Ok(IDENTITY));
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 1;
            assert_eq!(read_format(&String::from_utf8(bytes).unwrap()), Err(None), "{i}");
            assert_eq!(read_format(&text[..i]), Err(None));
        }
        let later = "valija-spool 3\nid 0\n";
        let later = format!("{later}sum {:08x}\n", crc32fast::hash(later.as_bytes()));
        assert_eq!(read_format(&later), Err(Some(3)));
    }

    proptest! {
        #[test]
        fn records_read_back_and_damage_shows(id: u64, a: u32, b: u32, c: u32, at in 0..HEADER, bit in 0..8u8, kind in 0usize..6, payload in proptest::collection::vec(any::<u8>(), 0..99)) {
            let header = Header { segment: a, id: QueueId(id), envelope: b, body: c, flags: b, envelope_crc: c, body_crc: a, offset: b };
            let mut bytes = header.write(&IDENTITY);
            prop_assert_eq!(Header::read(&bytes, &IDENTITY), Some(header));
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Header::read(&bytes, &IDENTITY), None);

            let kind = [Kind::Put, Kind::State, Kind::Change, Kind::Mark, Kind::Done, Kind::Seal][kind];
            let mut out = Vec::new();
            write_state(&mut out, &IDENTITY, (a, 77), (kind, QueueId(id), b), |o| o.extend_from_slice(&payload));
            let read = read_state(&out, &IDENTITY, (a, 77)).unwrap();
            prop_assert_eq!((read.kind, read.id.0, read.offset, read.payload, read.length), (Some(kind), id, b, &payload[..], out.len()));
            prop_assert!(read_state(&out, &IDENTITY, (a.wrapping_add(1), 77)).is_err());
            prop_assert!(read_state(&out, &IDENTITY, (a, 1536 + 77)).is_err());
            let copy = moved(out.clone(), &IDENTITY, (a, 99));
            prop_assert_eq!(read_state(&copy, &IDENTITY, (a, 99)).unwrap().payload, &payload[..]);
            let at = at % out.len();
            out[at] ^= 1 << bit;
            prop_assert!(read_state(&out, &IDENTITY, (a, 77)).is_err());
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in ".{0,80}") {
            let _ = (Header::read(&bytes, &IDENTITY), read_state(&bytes, &IDENTITY, (1, 16)), read_segment_head(&bytes));
            let _ = (Plan::read(&bytes), read_big_body(&bytes), read_format(&text));
        }

        #[test]
        fn plans(next: u64, tries: u32, crashes: u8, flags: u8, site: u16) {
            let plan = Plan { next, tries, crashes, flags, site };
            prop_assert_eq!(Plan::read(&plan.write()), Some(plan));
        }
    }
}
