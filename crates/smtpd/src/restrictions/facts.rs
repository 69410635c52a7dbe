//! What restrictions need to know from name servers and policy services, and what is known already.
//!
//! A restriction that lacks an answer notes what it wants and says [`Verdict::Wait`]; the session
//! finds it out and asks the whole list again, with fresh notes. So no restriction waits, and a
//! list with its facts always gives the same verdict.
//!
//! [`Verdict::Wait`]: super::Verdict::Wait

use super::policy::{Inquiry, Told};
use crate::verify::Verified;
use crate::verify::cache::Standing;
use proto::Address;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

/// What is asked of name servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    A,
    Aaaa,
    Mx,
    Ns,
    Txt,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The kind of record.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of MX: preference and host, which is empty in a null MX (RFC 7505).
    Mx(u16, String),
    /// Of NS.
    Name(String),
    /// Of TXT.
    Text(String),
}

/// Why there is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What kind of lack.
    pub why: Why,
    /// The log's words.
    pub words: String,
    /// No name server could be asked: nothing is wrong with the name, and the log should say so.
    pub unreachable: bool,
}

/// See [`Lack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No such name.
    NoName,
    /// The name has nothing of this kind.
    NoData,
    /// Nobody can tell now.
    NotNow,
    /// What the name server says makes no sense, or the name is none.
    Nonsense,
}

/// The answer to a question.
pub type Answer = Result<Vec<Record>, Lack>;

/// An answer that nobody could give now.
pub fn not_now(wanted: &Wanted, why: &str) -> Answer {
    let kind = match wanted.kind {
        Kind::A => "A",
        Kind::Aaaa => "AAAA",
        Kind::Mx => "MX",
        Kind::Ns => "NS",
        Kind::Txt => "TXT",
    };
    let words = format!(
        "Host or domain name not found. Name service error for name={} type={kind}: Host not found, \
         try again ({why})",
        wanted.name
    );
    Err(Lack { why: Why::NotNow, words, unreachable: true })
}

/// Answers found so far.
#[derive(Debug, Default)]
pub struct Facts {
    known: HashMap<Wanted, Answer>,
    /// What policy services said in this evaluation, in its order.
    told: Vec<(Inquiry, Told)>,
    /// What is known of addresses, in this evaluation.
    verified: Vec<(Address, Verified)>,
    supposed: bool,
}

impl Facts {
    /// Where every domain is in order and none is listed anywhere: to see what a list would permit.
    pub fn supposed() -> Facts {
        Facts { supposed: true, ..Facts::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Adds one.
    pub fn add(&mut self, wanted: Wanted, answer: Answer) {
        self.known.insert(wanted, answer);
    }

    /// Whether this is known.
    pub fn has(&self, wanted: &Wanted) -> bool {
        self.known.contains_key(wanted)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known = HashMap::new();
        self.begin();
    }

    /// A list is asked from its beginning: what holds for one evaluation alone is forgotten.
    pub(crate) fn begin(&mut self) {
        self.told = Vec::new();
        self.verified = Vec::new();
    }

    /// Adds what is known of an address.
    pub(crate) fn verify(&mut self, address: Address, verified: Verified) {
        self.verified.push((address, verified));
    }

    /// What is known of an address.
    pub(super) fn verified(&self, address: &Address) -> Option<&Verified> {
        static GOOD: Verified = Verified { standing: Standing::Deliverable, text: String::new() };
        if self.supposed {
            return Some(&GOOD);
        }
        self.verified.iter().find(|(a, _)| a == address).map(|(_, verified)| verified)
    }

    /// Adds what a policy service said.
    pub(crate) fn tell(&mut self, inquiry: Inquiry, told: Told) {
        self.told.push((inquiry, told));
    }

    /// What the service said whose turn was at `place` among all.
    pub(super) fn told(&self, place: usize, inquiry: &Inquiry) -> Option<&Told> {
        static GO_ON: LazyLock<Told> = LazyLock::new(|| Some("DUNNO".into()));
        if self.supposed {
            return Some(&GO_ON);
        }
        self.told.get(place).filter(|(asked, _)| asked == inquiry).map(|(_, told)| told)
    }

    /// The answer, if it is known. `listed`: the name is one of a list in the DNS.
    pub(super) fn get(&self, wanted: &Wanted, listed: bool) -> Option<&Answer> {
        static GOOD: LazyLock<Answer> =
            LazyLock::new(|| Ok(vec![Record::Address(IpAddr::from([192, 0, 2, 1]))]));
        static GOOD_MX: LazyLock<Answer> = LazyLock::new(|| Ok(vec![Record::Mx(10, "mx.invalid".into())]));
        static NOTHING: LazyLock<Answer> =
            LazyLock::new(|| Err(Lack { why: Why::NoName, words: String::new(), unreachable: false }));
        match (self.supposed, wanted.kind) {
            (false, _) => self.known.get(wanted),
            (true, Kind::A | Kind::Aaaa) if !listed => Some(&GOOD),
            (true, Kind::Mx) if !listed => Some(&GOOD_MX),
            (true, _) => Some(&NOTHING),
        }
    }
}
