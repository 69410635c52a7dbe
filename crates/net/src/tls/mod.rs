//! TLS for both sides of a connection. RFC 8446, RFC 5246, RFC 3207.
//!
//! ```text
//! client::Connector::connect(io, wish)   -> (Stream, Summary)   or Failure
//! server::Acceptor::accept(io, limit)    -> (Stream, Summary)   or Failure
//! ```
//!
//! TLS 1.2 with ephemeral keys and TLS 1.3; what a library without older protocols cannot do is not
//! negotiated. [`Summary`] describes a connection in the words of Postfix's log and headers.
//!
//! What a handshake shows but the library forgets (signature scheme, whether it could be checked) is
//! noted by our own verifier and signing keys in [`SEEN`], a task-local of the handshake: the library
//! calls them while it is polled. So configurations are shared among connections, which sessions need
//! to be resumed.
//!
//! Key exchange: X25519 first, as OpenSSL 3.0 offers it; the post-quantum hybrid X25519MLKEM768 is
//! offered after it, so that a peer that insists on it may have it.

pub mod client;
pub mod server;
#[cfg(test)]
mod server_tests;

pub mod certificate;
mod chooser;
pub mod ciphers;
pub mod dane;
pub mod digest;
mod guests;
mod keys;
pub mod names;
mod presents;
pub mod proof;
#[cfg(test)]
mod proofs;
mod reader;
mod roots;
mod sessions;
mod stand_in;
mod summary;
#[cfg(test)]
mod tests;
mod verifier;

pub use summary::{Summary, Trust};

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

/// Protocol versions that may be negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocols {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Protocols {
    /// All that there are.
    pub const ALL: Protocols = Protocols { tls12: true, tls13: true };

    /// Reads `smtp_tls_protocols` and its like: `>=TLSv1.2`, `<=TLSv1.2`, names to allow, `!names` to
    /// exclude. An error names the word that is not understood.
    pub fn parse(words: &[String]) -> Result<Protocols, String> {
        allowed(words).map(|[.., tls12, tls13]| Protocols { tls12, tls13 })
    }

    /// Whether the words allow this version, such as `TLSv1.1`, be it spoken here or not.
    pub fn allow(words: &[String], name: &str) -> bool {
        let place = place_of(name).unwrap_or(NAMES.len());
        allowed(words).is_ok_and(|all| all.get(place).is_some_and(|allowed| *allowed))
    }

    pub(crate) fn versions(self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let tls13 = self.tls13.then_some(&rustls::version::TLS13);
        tls13.into_iter().chain(self.tls12.then_some(&rustls::version::TLS12)).collect()
    }
}

/// Which of [`NAMES`] the words allow.
fn allowed(words: &[String]) -> Result<[bool; NAMES.len()], String> {
    let (mut named, mut only) = ([false; NAMES.len()], false);
    let mut excluded = [false; NAMES.len()];
    let (mut least, mut most) = (0, NAMES.len() - 1);
    for word in words {
        let bare = word.trim_start_matches(['>', '<', '=', '!']);
        let place = place_of(bare);
        let known = || place.ok_or_else(|| word.clone());
        if word.starts_with(">=") {
            least = known()?;
        } else if word.starts_with("<=") {
            most = known()?;
        } else if let Some(rest) = word.strip_prefix('!') {
            excluded[place_of(rest).ok_or_else(|| word.clone())?] = true;
        } else if bare.len() == word.len() {
            named[known()?] = true;
            only = true;
        } else {
            return Err(word.clone());
        }
    }
    Ok(std::array::from_fn(|i| (least..=most).contains(&i) && (!only || named[i]) && !excluded[i]))
}

/// Names of protocols, oldest first.
const NAMES: [&str; 6] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

fn place_of(name: &str) -> Option<usize> {
    let numbered = match name {
        "0300" | "0x0300" => Some(1),
        "0301" | "0x0301" => Some(2),
        "0302" | "0x0302" => Some(3),
        "0303" | "0x0303" => Some(4),
        "0304" | "0x0304" => Some(5),
        _ => None,
    };
    numbered.or_else(|| NAMES.iter().position(|n| n.eq_ignore_ascii_case(name)))
}

/// Why there is no encrypted connection.
#[derive(Debug)]
pub enum Failure {
    /// The handshake took too long.
    Timeout,
    /// The peer went away.
    Lost,
    /// The peer's doing, or ours: words of the library.
    Handshake(String),
    /// Nothing that may be negotiated, or no usable configuration.
    Unusable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Timeout => f.write_str("Connection timed out"),
            Failure::Lost => f.write_str("lost connection"),
            Failure::Handshake(why) | Failure::Unusable(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Failure::Handshake(error.to_string()),
            None if e.kind() == io::ErrorKind::TimedOut => Failure::Timeout,
            None => Failure::Lost,
        }
    }
}

/// What was noted during a handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// How the server signed.
    pub scheme: Option<SignatureScheme>,
    /// Our own key that was used.
    pub key: Option<certificate::Key>,
    /// The server's signature could not be checked.
    pub unproved: bool,
    /// Whether the client's does, or why not.
    pub guest: Option<Result<(), String>>,
    /// How the client signed.
    pub guest_scheme: Option<SignatureScheme>,
    /// The name that the client asked for and got a certificate for.
    pub name: Option<String>,
    /// The name that it asked for in vain.
    pub unmatched: Option<String>,
    /// Further lines for the log.
    pub says: Vec<reader::Say>,
}

tokio::task_local! {
    /// The handshake that is going on.
    pub(crate) static SEEN: RefCell<Seen>;
}

/// Notes something about the handshake that is going on.
pub(crate) fn note(change: impl FnOnce(&mut Seen)) {
    let _ = SEEN.try_with(|seen| {
        if let Ok(mut seen) = seen.try_borrow_mut() {
            change(&mut seen);
        }
    });
}

/// The one library of ciphers.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut library = rustls::crypto::aws_lc_rs::default_provider();
        // In the order of OpenSSL, so that the same is negotiated.
        library.cipher_suites.sort_by_key(|suite| {
            let name = suite.suite().as_str().unwrap_or_default();
            (!name.starts_with("TLS13"), name.contains("AES_128"), name.contains("CHACHA20"))
        });
        Arc::new(library)
    };
    PROVIDER.get_or_init(make).clone()
}
