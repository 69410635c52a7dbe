//! SASL mechanisms as machines without I/O: challenges in, responses out. RFC 4422
//!
//! ```text
//! mechanism::choose(offered, rules)         which mechanism of those a server offers
//! client::Client::new(mechanism, who, at)   one login: initial(), then respond(challenge) …, succeed()
//! server::Server::new(mechanism, …)         the other side
//! ```
//!
//! Bytes are those of the mechanism; [`encode`] and [`decode`] are for protocols that carry them in
//! base64, as SMTP does (RFC 4954 4). Non-ASCII names and passwords are used as they are written:
//! nothing is prepared by RFC 4013.

pub mod client;
pub mod mechanism;
pub mod scram;
pub mod secret;
pub mod server;

pub use client::Client;
pub use mechanism::Mechanism;
pub use secret::Secret;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// Why a login cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The other side said what means nothing at this point.
    Nonsense(&'static str),
    /// What it asks for is too much, or too weak.
    Unacceptable(&'static str),
    /// It does not know the secret either, or another one.
    NotProven,
    /// The name or the secret cannot be said in this mechanism.
    Unsayable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Nonsense(what) => write!(f, "bad challenge: {what}"),
            Fault::Unacceptable(what) => f.write_str(what),
            Fault::NotProven => f.write_str("the server does not know the password"),
            Fault::Unsayable => f.write_str("user name or password holds a character that cannot be sent"),
        }
    }
}

/// The longest challenge or response in bytes; RFC 4954 4 asks for 12288 octets of base64.
pub const LONGEST: usize = 9216;

/// In base64.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// From base64. `None` when it is none, or too long.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.len() > LONGEST / 3 * 4 + 4 { None } else { STANDARD.decode(text).ok() }
}

/// A nonce for one login, of printable characters.
pub fn nonce() -> Option<String> {
    let mut bytes = [0u8; 18];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(encode(&bytes))
}
