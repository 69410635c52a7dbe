//! The hashes of crypt(5): bcrypt, SHA-256, SHA-512 and yescrypt. Older ones (DES, MD5) are not taken:
//! a password can be guessed from them in no time.

use super::{BadHash, MOST_MEMORY};
use sasl::Secret;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use yescrypt::Yescrypt;

/// The dearest bcrypt, and the most rounds of SHA: about ten seconds.
const MOST_COST: u32 = 17;
const MOST_ROUNDS: u32 = 5_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bcrypt,
    Sha256,
    Sha512,
    Yescrypt,
}

/// One hash.
#[derive(Clone)]
pub(super) struct Crypt {
    kind: Kind,
    text: String,
}

impl Crypt {
    /// Reads one.
    pub(super) fn read(text: &str) -> Result<Crypt, BadHash> {
        let parts: Vec<&str> = text.split('$').skip(1).collect();
        let kind = match *parts.first().unwrap_or(&"") {
            "2a" | "2b" | "2y" => Kind::Bcrypt,
            "5" => Kind::Sha256,
            "6" => Kind::Sha512,
            "y" => Kind::Yescrypt,
            "1" => {
                let what =
                    "MD5 ($1$) protects no password today; make the hash anew, with `valija user hash`";
                return Err(BadHash(what.into()));
            }
            _ => {
                let what = "its kind is not known here; there are $argon2id$, $2y$, $5$, $6$ and $y$";
                return Err(BadHash(what.into()));
            }
        };
        let crypt = Crypt { kind, text: text.to_string() };
        match kind {
            Kind::Bcrypt => bcrypt(&parts),
            Kind::Sha256 => sha(&parts, 43),
            Kind::Sha512 => sha(&parts, 86),
            Kind::Yescrypt => yescrypt(&parts),
        }
        .map(|()| crypt)
    }

    pub(super) fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Bcrypt => "BLF-CRYPT",
            Kind::Sha256 => "SHA256-CRYPT",
            Kind::Sha512 => "SHA512-CRYPT",
            Kind::Yescrypt => "CRYPT",
        }
    }

    pub(super) fn fits(&self, password: &Secret) -> bool {
        match self.kind {
            Kind::Bcrypt => bcrypt::verify(password.bytes(), &self.text).unwrap_or(false),
            Kind::Sha256 | Kind::Sha512 => {
                ShaCrypt::default().verify_password(password.bytes(), self.text.as_str()).is_ok()
            }
            Kind::Yescrypt => {
                Yescrypt::default().verify_password(password.bytes(), self.text.as_str()).is_ok()
            }
        }
    }
}

fn incomplete() -> BadHash {
    BadHash("it is not complete, or was changed".into())
}

/// Letters of the base64 that crypt has.
fn of_crypt(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/')
}

fn bcrypt(parts: &[&str]) -> Result<(), BadHash> {
    let [_, cost, rest] = parts else { return Err(incomplete()) };
    let number = cost.parse::<u32>().ok().filter(|_| cost.len() == 2).ok_or_else(incomplete)?;
    if rest.len() != 53 || !of_crypt(rest) || number < 4 {
        return Err(incomplete());
    }
    if number > MOST_COST {
        return Err(BadHash(format!("it costs too much; make it with a cost of at most {MOST_COST}")));
    }
    Ok(())
}

fn sha(parts: &[&str], length: usize) -> Result<(), BadHash> {
    let (rounds, salt, hash) = match parts {
        [_, salt, hash] => (None, salt, hash),
        [_, rounds, salt, hash] => (Some(*rounds), salt, hash),
        _ => return Err(incomplete()),
    };
    if let Some(rounds) = rounds {
        let number = rounds.strip_prefix("rounds=").and_then(|n| n.parse::<u32>().ok());
        let number = number.filter(|n| (1000..=999_999_999).contains(n)).ok_or_else(incomplete)?;
        if number > MOST_ROUNDS {
            return Err(BadHash(format!("it costs too much; make it with at most {MOST_ROUNDS} rounds")));
        }
    }
    if salt.is_empty() || salt.len() > 16 || hash.len() != length || !of_crypt(hash) {
        return Err(incomplete());
    }
    Ok(())
}

/// What libxcrypt writes: the flavour `j`, then N and r in a letter each.
fn yescrypt(parts: &[&str]) -> Result<(), BadHash> {
    let [_, settings, salt, hash] = parts else { return Err(incomplete()) };
    let value = |letter: u8| match letter {
        b'.' => Some(0),
        b'/' => Some(1),
        b'0'..=b'9' => Some(letter - b'0' + 2),
        b'A'..=b'Z' => Some(letter - b'A' + 12),
        b'a'..=b'z' => Some(letter - b'a' + 38),
        _ => None,
    };
    let &[b'j', n, r] = settings.as_bytes() else {
        let what = "its settings are not those that crypt writes by itself ($y$j9T$); make it anew";
        return Err(BadHash(what.into()));
    };
    let (n, r) = (value(n).ok_or_else(incomplete)?, value(r).ok_or_else(incomplete)?);
    // N is two to the power of one more than its letter; both letters above 47 begin longer forms.
    if n > 47 || r > 47 || salt.is_empty() || salt.len() > 86 || hash.len() != 43 {
        return Err(incomplete());
    }
    if !of_crypt(salt) || !of_crypt(hash) {
        return Err(incomplete());
    }
    match 1_u64.checked_shl(u32::from(n) + 1).and_then(|n| n.checked_mul(128 * (u64::from(r) + 1))) {
        Some(memory) if memory <= MOST_MEMORY => Ok(()),
        _ => Err(BadHash("it costs too much; make it with less than 256 MiB".into())),
    }
}
