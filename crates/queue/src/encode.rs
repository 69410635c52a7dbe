//! Envelopes and states as bytes: CBOR maps with small numbers as keys. A reader skips keys and
//! trailing elements it does not know, so that later versions can add to them; it never panics
//! and takes no more memory than the input accounts for.

use crate::state::RecipientState;
use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder};
use proto::Address;
use proto::envelope::{Client, Encoding, Envelope, Notify, Recipient, Ret, Trace};
use proto::status::{Code, Remote, Status};

type Out<'a> = Encoder<&'a mut Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<<&'static mut Vec<u8> as Write>::Error>>;

/// What a state record holds: all states, or changes to some; and the envelope where it was
/// replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateBody {
    /// The states of all recipients.
    pub all: Option<Vec<RecipientState>>,
    /// New states of some.
    pub changes: Vec<(usize, RecipientState)>,
    /// The envelope that took the place of the record's.
    pub envelope: Option<Envelope>,
}

/// Appends an envelope.
pub fn envelope(e: &Envelope, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = put_envelope(&mut Encoder::new(out), e);
}

/// Appends a state record's payload.
pub fn state(all: &[RecipientState], replaced: Option<&Envelope>, out: &mut Vec<u8>) {
    let put = |o: &mut Out<'_>| -> Written {
        o.map(1 + u64::from(replaced.is_some()))?.u8(0)?.array(all.len() as u64)?;
        for s in all {
            put_state(o, s)?;
        }
        if let Some(e) = replaced {
            o.u8(1)?;
            put_envelope(o, e)?;
        }
        Ok(())
    };
    let _ = put(&mut Encoder::new(out));
}

/// Appends the payload of a record of changes.
pub fn changes(some: &[(usize, RecipientState)], out: &mut Vec<u8>) {
    let put = |o: &mut Out<'_>| -> Written {
        o.map(1)?.u8(2)?.array(some.len() as u64)?;
        for (i, s) in some {
            o.array(2)?.u64(*i as u64)?;
            put_state(o, s)?;
        }
        Ok(())
    };
    let _ = put(&mut Encoder::new(out));
}

/// Reads an envelope back.
pub fn read_envelope(bytes: &[u8]) -> Option<Envelope> {
    get_envelope(&mut Decoder::new(bytes)).ok()
}

/// Reads a state record's payload back.
pub fn read_state(bytes: &[u8]) -> Option<StateBody> {
    let mut body = StateBody::default();
    let read = map(&mut Decoder::new(bytes), |key, d| {
        match key {
            0 => body.all = Some(list(d, get_state)?),
            1 => body.envelope = Some(get_envelope(d)?),
            2 => {
                body.changes = list(d, |d| {
                    let (mut i, mut s) = (None, None);
                    array(d, |n, d| {
                        match n {
                            0 => i = Some(d.u64()?),
                            1 => s = Some(get_state(d)?),
                            _ => return Ok(false),
                        }
                        Ok(true)
                    })?;
                    let i = i.and_then(|i| usize::try_from(i).ok());
                    i.zip(s).ok_or_else(|| Error::message("incomplete change"))
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    });
    read.ok().map(|()| body)
}

fn put_envelope(o: &mut Out<'_>, e: &Envelope) -> Written {
    o.begin_map()?;
    o.u8(0)?;
    put_address(o, &e.sender)?;
    o.u8(1)?.array(e.recipients.len() as u64)?;
    for r in &e.recipients {
        o.begin_map()?.u8(0)?;
        put_address(o, &r.address)?;
        text(o, 1, &r.original)?;
        option(o, 2, r.dsn_orcpt.as_deref())?;
        let n = r.notify;
        let bits =
            u8::from(n.never) | u8::from(n.success) << 1 | u8::from(n.failure) << 2 | u8::from(n.delay) << 3;
        number(o, 3, u64::from(bits))?;
        o.end()?;
    }
    number(o, 2, e.arrival)?;
    number(o, 3, e.size)?;
    o.u8(4)?;
    put_client(o, &e.client)?;
    let encoding = match e.encoding {
        Encoding::Unknown => 0,
        Encoding::SevenBit => 1,
        Encoding::EightBit => 2,
    };
    number(o, 5, encoding)?;
    number(o, 6, u64::from(e.smtputf8))?;
    option(o, 7, e.dsn_envid.as_deref())?;
    let ret = match e.dsn_ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    };
    number(o, 8, ret)?;
    option(o, 9, e.filter.as_deref())?;
    number(o, 10, u64::from(e.hold))?;
    option(o, 11, e.verp.as_deref())?;
    number(o, 12, u64::from(e.notice))?;
    let trace = match e.trace {
        Trace::None => 0,
        Trace::Verify => 1,
        Trace::Record => 2,
        Trace::Probe => 3,
    };
    number(o, 13, trace)?;
    o.end()?;
    Ok(())
}

fn put_client(o: &mut Out<'_>, c: &Client) -> Written {
    o.begin_map()?;
    let texts = [
        &c.name,
        &c.reverse_name,
        &c.address,
        &c.port,
        &c.helo,
        &c.protocol,
        &c.sasl_method,
        &c.sasl_username,
        &c.sasl_sender,
        &c.instance,
    ];
    for (key, value) in (0u8..).zip(texts) {
        text(o, key, value)?;
    }
    if let Some(uid) = c.uid {
        // Kept even when zero: root is a user too.
        o.u8(20)?.u32(uid)?;
    }
    o.end()?;
    Ok(())
}

fn put_address(o: &mut Out<'_>, a: &Address) -> Written {
    match a.domain() {
        Some(d) => o.array(2)?.str(a.local())?.str(d)?,
        None => o.array(1)?.str(a.local())?,
    };
    Ok(())
}

fn put_state(o: &mut Out<'_>, s: &RecipientState) -> Written {
    let (kind, status) = match s {
        RecipientState::Pending => (0, None),
        RecipientState::Deferred(s) => (1, Some(s)),
        RecipientState::Owed(s) => (2, Some(s)),
        RecipientState::Sent(s) => (3, Some(s)),
        RecipientState::Bounced(s) => (4, Some(s)),
    };
    o.array(1 + u64::from(status.is_some()))?.u8(kind)?;
    if let Some(s) = status {
        o.map(2 + u64::from(s.remote.is_some()))?.u8(0)?;
        o.array(3)?.u8(s.code.0)?.u16(s.code.1)?.u16(s.code.2)?;
        o.u8(1)?.str(&s.text)?;
        if let Some(r) = &s.remote {
            let (kind, name) = r.mta.as_ref().map_or(("", ""), |(k, n)| (k, n));
            o.u8(2)?.array(5)?.bool(r.mta.is_some())?.str(kind)?.str(name)?;
            o.str(&r.diagnostic.0)?.str(&r.diagnostic.1)?;
        }
    }
    Ok(())
}

/// Empty texts and zeros are left out: they are the defaults.
fn text(o: &mut Out<'_>, key: u8, value: &str) -> Written {
    if !value.is_empty() {
        o.u8(key)?.str(value)?;
    }
    Ok(())
}

fn option(o: &mut Out<'_>, key: u8, value: Option<&str>) -> Written {
    if let Some(value) = value {
        o.u8(key)?.str(value)?;
    }
    Ok(())
}

fn number(o: &mut Out<'_>, key: u8, value: u64) -> Written {
    if value != 0 {
        o.u8(key)?.u64(value)?;
    }
    Ok(())
}

fn get_envelope(d: &mut Decoder<'_>) -> Result<Envelope, Error> {
    let mut e = Envelope::default();
    map(d, |key, d| {
        match key {
            0 => e.sender = get_address(d)?,
            1 => e.recipients = list(d, get_recipient)?,
            2 => e.arrival = d.u64()?,
            3 => e.size = d.u64()?,
            4 => e.client = get_client(d)?,
            5 => {
                e.encoding = match d.u64()? {
                    1 => Encoding::SevenBit,
                    2 => Encoding::EightBit,
                    _ => Encoding::Unknown,
                }
            }
            6 => e.smtputf8 = d.u64()? != 0,
            7 => e.dsn_envid = Some(d.str()?.to_string()),
            8 => {
                e.dsn_ret = match d.u64()? {
                    1 => Some(Ret::Full),
                    2 => Some(Ret::Headers),
                    _ => None,
                }
            }
            9 => e.filter = Some(d.str()?.to_string()),
            10 => e.hold = d.u64()? != 0,
            11 => e.verp = Some(d.str()?.to_string()),
            12 => e.notice = d.u64()? != 0,
            13 => {
                e.trace = match d.u64()? {
                    1 => Trace::Verify,
                    2 => Trace::Record,
                    3 => Trace::Probe,
                    _ => Trace::None,
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(e)
}

fn get_recipient(d: &mut Decoder<'_>) -> Result<Recipient, Error> {
    let mut r = Recipient::default();
    map(d, |key, d| {
        match key {
            0 => r.address = get_address(d)?,
            1 => r.original = d.str()?.to_string(),
            2 => r.dsn_orcpt = Some(d.str()?.to_string()),
            3 => {
                let bits = d.u64()?;
                let bit = |n: u64| bits & n != 0;
                r.notify = Notify { never: bit(1), success: bit(2), failure: bit(4), delay: bit(8) };
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(r)
}

fn get_client(d: &mut Decoder<'_>) -> Result<Client, Error> {
    let mut c = Client::default();
    map(d, |key, d| {
        let field = match key {
            0 => &mut c.name,
            1 => &mut c.reverse_name,
            2 => &mut c.address,
            3 => &mut c.port,
            4 => &mut c.helo,
            5 => &mut c.protocol,
            6 => &mut c.sasl_method,
            7 => &mut c.sasl_username,
            8 => &mut c.sasl_sender,
            9 => &mut c.instance,
            20 => {
                c.uid = Some(d.u32()?);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *field = d.str()?.to_string();
        Ok(true)
    })?;
    Ok(c)
}

fn get_address(d: &mut Decoder<'_>) -> Result<Address, Error> {
    let (mut local, mut domain) = (String::new(), None);
    array(d, |n, d| {
        match n {
            0 => local = d.str()?.to_string(),
            1 => domain = Some(d.str()?.to_string()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Address::new(local, domain))
}

fn get_state(d: &mut Decoder<'_>) -> Result<RecipientState, Error> {
    let (mut kind, mut status) = (None, None);
    array(d, |n, d| {
        match n {
            0 => kind = Some(d.u8()?),
            1 => status = Some(get_status(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match (kind, status) {
        (Some(1), Some(s)) => Ok(RecipientState::Deferred(s)),
        (Some(2), Some(s)) => Ok(RecipientState::Owed(s)),
        (Some(3), Some(s)) => Ok(RecipientState::Sent(s)),
        (Some(4), Some(s)) => Ok(RecipientState::Bounced(s)),
        // A kind of a later version: try again rather than lose it.
        (Some(_), _) => Ok(RecipientState::Pending),
        (None, _) => Err(Error::message("a state without kind")),
    }
}

fn get_status(d: &mut Decoder<'_>) -> Result<Status, Error> {
    let mut s = Status::new(Code(4, 0, 0), "");
    map(d, |key, d| {
        match key {
            0 => array(d, |n, d| {
                match n {
                    0 => s.code.0 = d.u8()?,
                    1 => s.code.1 = d.u16()?,
                    2 => s.code.2 = d.u16()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            1 => s.text = d.str()?.to_string(),
            2 => {
                let (mut with_mta, mut words) = (false, <[String; 4]>::default());
                array(d, |n, d| {
                    match n {
                        0 => with_mta = d.bool()?,
                        n => match words.get_mut(n - 1) {
                            Some(word) => *word = d.str()?.to_string(),
                            None => return Ok(false),
                        },
                    }
                    Ok(true)
                })?;
                let [kind, name, how, what] = words;
                s.remote = Some(Remote::of(with_mta.then_some((kind, name)), (how, what)));
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(s)
}

/// Every pair of a map whose key is a number; `each` says whether it read the value.
fn map<'b>(
    d: &mut Decoder<'b>,
    mut each: impl FnMut(u64, &mut Decoder<'b>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut left = d.map()?;
    while more(d, &mut left)? {
        let known = match d.datatype()? {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
                let key = d.u64()?;
                each(key, d)?
            }
            _ => {
                d.skip()?;
                false
            }
        };
        if !known {
            d.skip()?;
        }
    }
    Ok(())
}

/// Every element of an array with its place; `each` says whether it read it.
fn array<'b>(
    d: &mut Decoder<'b>,
    mut each: impl FnMut(usize, &mut Decoder<'b>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut left = d.array()?;
    let mut n = 0;
    while more(d, &mut left)? {
        if !each(n, d)? {
            d.skip()?;
        }
        n += 1;
    }
    Ok(())
}

fn list<'b, T>(
    d: &mut Decoder<'b>,
    mut one: impl FnMut(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    // Grows with what was read: a length is only a claim.
    let mut all = Vec::new();
    array(d, |_, d| {
        all.push(one(d)?);
        Ok(true)
    })?;
    Ok(all)
}

fn more(d: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(n) => {
            *n -= 1;
            Ok(true)
        }
        None if d.datatype()? == Type::Break => {
            d.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests;
