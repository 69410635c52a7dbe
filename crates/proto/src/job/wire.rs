//! The encoding below jobs and answers: little-endian numbers, texts with their length before
//! them. The reader checks every length against what is left, so that a lie costs nothing.

use crate::Address;
use crate::envelope::{Client, Notify, Recipient};

/// Collects bytes.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Appends to what is there.
    pub fn onto(bytes: Vec<u8>) -> Writer {
        Writer(bytes)
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }

    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn bool(&mut self, b: bool) {
        self.u8(u8::from(b));
    }

    pub fn u16(&mut self, n: u16) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub fn count(&mut self, n: usize) {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// With the length before them.
    pub fn block(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.block(text.as_bytes());
    }

    pub fn optional(&mut self, text: Option<&str>) {
        self.bool(text.is_some());
        if let Some(t) = text {
            self.text(t);
        }
    }

    pub fn address(&mut self, address: &Address) {
        self.text(address.local());
        self.optional(address.domain());
    }

    pub fn recipient(&mut self, r: &Recipient) {
        self.address(&r.address);
        self.text(&r.original);
        self.optional(r.dsn_orcpt.as_deref());
        let n = r.notify;
        let bits = [n.never, n.success, n.failure, n.delay];
        self.u8(bits.iter().enumerate().map(|(i, b)| u8::from(*b) << i).sum());
    }

    pub fn client(&mut self, c: &Client) {
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
        for text in texts {
            self.text(text);
        }
        self.bool(c.uid.is_some());
        if let Some(uid) = c.uid {
            self.u32(uid);
        }
    }
}

/// Takes bytes apart; every method gives `None` when the bytes do not hold what is asked for.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub fn finished(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[n]| n)
    }

    pub fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// How many elements follow: never more than there are bytes left, as each takes at least one.
    pub fn count(&mut self) -> Option<usize> {
        let n = usize::try_from(self.u32()?).ok()?;
        (n <= self.0.len()).then_some(n)
    }

    pub fn block(&mut self) -> Option<&'a [u8]> {
        let n = self.count()?;
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.block()?).ok().map(str::to_string)
    }

    pub fn optional(&mut self) -> Option<Option<String>> {
        if self.bool()? { self.text().map(Some) } else { Some(None) }
    }

    pub fn address(&mut self) -> Option<Address> {
        Some(Address::new(self.text()?, self.optional()?))
    }

    pub fn recipient(&mut self) -> Option<Recipient> {
        let (address, original, dsn_orcpt) = (self.address()?, self.text()?, self.optional()?);
        let bits = self.u8()?;
        let bit = |i: u8| bits >> i & 1 == 1;
        let notify = Notify { never: bit(0), success: bit(1), failure: bit(2), delay: bit(3) };
        (bits < 16).then_some(Recipient { address, original, dsn_orcpt, notify })
    }

    pub fn client(&mut self) -> Option<Client> {
        Some(Client {
            name: self.text()?,
            reverse_name: self.text()?,
            address: self.text()?,
            port: self.text()?,
            helo: self.text()?,
            protocol: self.text()?,
            sasl_method: self.text()?,
            sasl_username: self.text()?,
            sasl_sender: self.text()?,
            instance: self.text()?,
            uid: if self.bool()? { Some(self.u32()?) } else { None },
        })
    }
}
