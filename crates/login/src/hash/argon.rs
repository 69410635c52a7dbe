//! Argon2 in the form `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. RFC 9106

use super::{BadHash, MOST_MEMORY};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use sasl::Secret;

/// Memory in KiB, passes and lanes of a new hash: what is held to be enough for logins.
const NEW: (u32, u32, u32) = (19_456, 2, 1);

/// One hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argon {
    pure_i: bool,
    version: u32,
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Argon {
    /// Reads one.
    pub(super) fn read(text: &str) -> Result<Argon, BadHash> {
        let bad =
            || BadHash("it is no complete hash of the kind $argon2id$v=19$m=…,t=…,p=…$salt$hash".into());
        let mut parts = text.split('$').skip(1).peekable();
        let pure_i = match parts.next() {
            Some("argon2id") => false,
            Some("argon2i") => true,
            _ => return Err(bad()),
        };
        let version = match parts.next_if(|p| p.starts_with("v=")) {
            Some("v=19") => 19,
            Some("v=16") | None => 16,
            Some(_) => return Err(bad()),
        };
        let mut costs = [None; 3];
        for setting in parts.next().ok_or_else(bad)?.split(',') {
            let (name, value) = setting.split_once('=').ok_or_else(bad)?;
            let at = ["m", "t", "p"].iter().position(|n| *n == name).ok_or_else(bad)?;
            let slot = costs.get_mut(at).ok_or_else(bad)?;
            *slot = Some(value.parse::<u32>().map_err(|_| bad())?);
        }
        let [Some(memory), Some(passes), Some(lanes)] = costs else { return Err(bad()) };
        let mut bytes = || parts.next().and_then(|p| BASE64.decode(p).ok());
        let (salt, hash) = (bytes().ok_or_else(bad)?, bytes().ok_or_else(bad)?);
        if parts.next().is_some() || !(8..=64).contains(&salt.len()) || !(16..=64).contains(&hash.len()) {
            return Err(bad());
        }
        if u64::from(memory) << 10 > MOST_MEMORY || passes > 64 || lanes > 64 {
            return Err(BadHash("it costs too much; make it with less than 256 MiB and 64 passes".into()));
        }
        let argon = Argon { pure_i, version, memory, passes, lanes, salt, hash };
        argon.machine().map(|_| argon.clone()).ok_or_else(bad)
    }

    /// A new one.
    pub(super) fn make(password: &Secret) -> Option<Argon> {
        let mut salt = vec![0; 16];
        aws_lc_rs::rand::fill(&mut salt).ok()?;
        let (memory, passes, lanes) = NEW;
        let mut new = Argon { pure_i: false, version: 19, memory, passes, lanes, salt, hash: vec![0; 32] };
        new.hash = new.of(password)?;
        Some(new)
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.pure_i { "ARGON2I" } else { "ARGON2ID" }
    }

    pub(super) fn text(&self) -> String {
        format!(
            "${}$v={}$m={},t={},p={}${}${}",
            if self.pure_i { "argon2i" } else { "argon2id" },
            self.version,
            self.memory,
            self.passes,
            self.lanes,
            BASE64.encode(&self.salt),
            BASE64.encode(&self.hash)
        )
    }

    pub(super) fn fits(&self, password: &Secret) -> bool {
        self.of(password).is_some_and(|made| verify_slices_are_equal(&made, &self.hash).is_ok())
    }

    fn machine(&self) -> Option<Argon2<'static>> {
        let params = Params::new(self.memory, self.passes, self.lanes, Some(self.hash.len())).ok()?;
        let algorithm = if self.pure_i { Algorithm::Argon2i } else { Algorithm::Argon2id };
        let version = if self.version == 19 { Version::V0x13 } else { Version::V0x10 };
        Some(Argon2::new(algorithm, version, params))
    }

    fn of(&self, password: &Secret) -> Option<Vec<u8>> {
        let mut out = vec![0; self.hash.len()];
        self.machine()?.hash_password_into(password.bytes(), &self.salt, &mut out).ok()?;
        Some(out)
    }
}
