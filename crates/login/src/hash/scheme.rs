//! Hashes behind the name of their scheme, as Dovecot writes them: `{SCHEME}value`.

use super::{BadHash, Hash, Kind};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sasl::Secret;
use sasl::scram::{self, ITERATIONS, Stored};
use std::num::NonZeroU32;

/// Reads the value of a scheme.
pub(super) fn read(name: &str, value: &str) -> Result<Hash, BadHash> {
    let name = name.to_ascii_uppercase();
    let hash = match name.as_str() {
        "ARGON2ID" | "ARGON2I" | "CRYPT" | "BLF-CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" => {
            let hash = Hash::crypt(value)?;
            return match name == "CRYPT" || hash.scheme() == name {
                true => Ok(hash),
                false => Err(BadHash(format!("it is called {name} but is {}", hash.scheme()))),
            };
        }
        "PLAIN" | "CLEAR" | "CLEARTEXT" if value.is_empty() => {
            return Err(BadHash("an empty password lets nobody in".into()));
        }
        "PLAIN" | "CLEAR" | "CLEARTEXT" => Kind::Plain(Secret::from(value)),
        "SSHA" => salted(&digest::SHA1_FOR_LEGACY_USE_ONLY, value)?,
        "SSHA256" => salted(&digest::SHA256, value)?,
        "SSHA512" => salted(&digest::SHA512, value)?,
        "SCRAM-SHA-1" => scram(scram::Hash::Sha1, 20, value)?,
        "SCRAM-SHA-256" => scram(scram::Hash::Sha256, 32, value)?,
        _ => {
            return Err(BadHash(format!(
                "the scheme {{{name}}} is not known here; there are ARGON2ID, ARGON2I, BLF-CRYPT, \
                 SHA256-CRYPT, SHA512-CRYPT, CRYPT, SSHA, SSHA256, SSHA512, SCRAM-SHA-1, SCRAM-SHA-256 and PLAIN"
            )));
        }
    };
    Ok(Hash(hash))
}

/// A digest with its salt behind it, in base64.
fn salted(algorithm: &'static digest::Algorithm, value: &str) -> Result<Kind, BadHash> {
    let bad = || BadHash("its digest is not complete".into());
    let bytes = STANDARD.decode(value).map_err(|_| bad())?;
    let (known, salt) = bytes.split_at_checked(algorithm.output_len()).ok_or_else(bad)?;
    Ok(Kind::Salted(algorithm, known.to_vec(), salt.to_vec()))
}

/// `iterations,salt,StoredKey,ServerKey`
fn scram(hash: scram::Hash, length: usize, value: &str) -> Result<Kind, BadHash> {
    let bad = || BadHash("its keys are not complete: iterations,salt,stored key,server key".into());
    let parts: Vec<&str> = value.split(',').collect();
    let [iterations, salt, stored, server] = parts.as_slice() else { return Err(bad()) };
    let iterations: u32 = iterations.parse().map_err(|_| bad())?;
    if !(ITERATIONS.0..=ITERATIONS.1).contains(&iterations) {
        let (least, most) = ITERATIONS;
        return Err(BadHash(format!("it has {iterations} iterations; make it with {least} to {most}")));
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| bad());
    let (salt, stored_key, server_key) = (bytes(salt)?, bytes(stored)?, bytes(server)?);
    if salt.is_empty() || salt.len() > 64 || stored_key.len() != length || server_key.len() != length {
        return Err(bad());
    }
    let iterations = NonZeroU32::new(iterations).ok_or_else(bad)?;
    Ok(Kind::Scram(hash, Stored { salt, iterations, stored_key, server_key: server_key.into() }))
}

/// The value of a scheme for SCRAM.
pub(super) fn scram_text(stored: &Stored) -> String {
    let text = |bytes: &[u8]| STANDARD.encode(bytes);
    let (salt, server) = (text(&stored.salt), text(stored.server_key.bytes()));
    format!("{},{salt},{},{server}", stored.iterations, text(&stored.stored_key))
}
