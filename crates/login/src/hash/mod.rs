//! Password hashes as they stand in files and tables, and whether a password fits one.
//!
//! ```text
//! $argon2id$v=19$m=…,t=…,p=…$salt$hash   $argon2i$   $2y$ $2a$ $2b$   $5$   $6$   $y$
//! {SCHEME}…                              the same behind Dovecot's names, see `scheme.rs`
//! {SCRAM-SHA-256}4096,salt,stored,server the keys of SCRAM, which are a password hash too
//! ```
//!
//! A hash that cannot be read, or that would cost too much, is a fault of the row it stands in: it is
//! said with a remedy, and lets nobody in. Reading one is cheap; [`Hash::fits`] is not, and belongs on
//! the [workers](crate::workers).

mod argon;
mod crypt;
mod scheme;
#[cfg(test)]
mod tests;

pub use argon::Argon;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use sasl::Secret;
use sasl::scram::{self, Stored};
use std::fmt;

/// The most memory that one hash may take: a row must not bring the host down.
pub(crate) const MOST_MEMORY: u64 = 256 << 20;

/// Why a hash is of no use. It never holds the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHash(pub String);

impl fmt::Display for BadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A hash that was read.
#[derive(Clone)]
pub struct Hash(Kind);

#[derive(Clone)]
enum Kind {
    Argon(Argon),
    Crypt(crypt::Crypt),
    /// A digest over the password and a salt behind it.
    Salted(&'static digest::Algorithm, Vec<u8>, Vec<u8>),
    Plain(Secret),
    Scram(scram::Hash, Stored),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.scheme())
    }
}

impl Hash {
    /// Reads one, with or without the name of its scheme in front.
    pub fn read(text: &str) -> Result<Hash, BadHash> {
        match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, value)) => scheme::read(name, value),
            None => Hash::crypt(text),
        }
    }

    /// Reads one that says what it is by its beginning, as crypt(5) has them.
    fn crypt(text: &str) -> Result<Hash, BadHash> {
        let kind = match text.strip_prefix('$').and_then(|rest| rest.split('$').next()) {
            Some("argon2id" | "argon2i") => Kind::Argon(Argon::read(text)?),
            Some(_) => Kind::Crypt(crypt::Crypt::read(text)?),
            None => {
                let what = "it begins neither with $ nor with {SCHEME}; write a hash, as `valija user hash` \
                            or `doveadm pw` make it";
                return Err(BadHash(what.into()));
            }
        };
        Ok(Hash(kind))
    }

    /// Argon2id of a password, with parameters that are enough today.
    pub fn make(password: &Secret) -> Option<Hash> {
        Argon::make(password).map(|argon| Hash(Kind::Argon(argon)))
    }

    /// What SCRAM keeps of a password.
    pub fn scram(hash: scram::Hash, stored: Stored) -> Hash {
        Hash(Kind::Scram(hash, stored))
    }

    /// Whether the password fits. Takes long, and takes as long for a wrong password as for the right one.
    pub fn fits(&self, password: &Secret) -> bool {
        let equal = |a: &[u8], b: &[u8]| verify_slices_are_equal(a, b).is_ok();
        match &self.0 {
            Kind::Argon(argon) => argon.fits(password),
            Kind::Crypt(crypt) => crypt.fits(password),
            Kind::Plain(known) => {
                // Of one length, so that the time does not tell how long the password is.
                let of = |secret: &Secret| digest::digest(&digest::SHA256, secret.bytes());
                equal(of(known).as_ref(), of(password).as_ref())
            }
            Kind::Salted(algorithm, known, salt) => {
                let mut context = digest::Context::new(algorithm);
                context.update(password.bytes());
                context.update(salt);
                equal(context.finish().as_ref(), known)
            }
            Kind::Scram(hash, stored) => {
                let made = Stored::new(*hash, password, &stored.salt, stored.iterations);
                equal(&made.stored_key, &stored.stored_key)
            }
        }
    }

    /// The keys for SCRAM with this hash function, when this is what they are.
    pub fn scram_keys(&self, hash: scram::Hash) -> Option<&Stored> {
        match &self.0 {
            Kind::Scram(own, stored) if *own == hash => Some(stored),
            _ => None,
        }
    }

    /// The name of the scheme, as Dovecot writes it.
    pub fn scheme(&self) -> &'static str {
        match &self.0 {
            Kind::Argon(argon) => argon.scheme(),
            Kind::Crypt(crypt) => crypt.scheme(),
            Kind::Salted(algorithm, ..) if *algorithm == &digest::SHA256 => "SSHA256",
            Kind::Salted(algorithm, ..) if *algorithm == &digest::SHA512 => "SSHA512",
            Kind::Salted(..) => "SSHA",
            Kind::Plain(_) => "PLAIN",
            Kind::Scram(scram::Hash::Sha1, _) => "SCRAM-SHA-1",
            Kind::Scram(scram::Hash::Sha256, _) => "SCRAM-SHA-256",
        }
    }

    /// As it is kept in a file, with the name of its scheme in front. Only what [`Hash::make`] and
    /// [`Hash::scram`] give is ever written.
    pub fn text(&self) -> Option<String> {
        let value = match &self.0 {
            Kind::Argon(argon) => argon.text(),
            Kind::Scram(_, stored) => scheme::scram_text(stored),
            _ => return None,
        };
        Some(format!("{{{}}}{value}", self.scheme()))
    }
}
