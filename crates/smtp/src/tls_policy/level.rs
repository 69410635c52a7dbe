//! How much encryption is wanted, by Postfix's names.

use std::fmt;

/// From the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// None.
    None,
    /// If the server offers it.
    May,
    /// Always.
    Encrypt,
    /// Its certificate, or key, is one of those listed.
    Fingerprint,
    /// What the TLSA records of its host say, where the way to the host is not signed.
    HalfDane,
    /// What its TLSA records say, if there are any; else as `may`.
    Dane,
    /// What its TLSA records say.
    DaneOnly,
    /// An authority says that it has one of the names of `smtp_tls_verify_cert_match`.
    Verify,
    /// … of `smtp_tls_secure_cert_match`.
    Secure,
}

impl Level {
    /// As it is written in main.cf and in policies.
    pub fn named(word: &str) -> Option<Level> {
        Some(match word.to_ascii_lowercase().as_str() {
            "none" => Level::None,
            "may" => Level::May,
            "encrypt" => Level::Encrypt,
            "fingerprint" => Level::Fingerprint,
            "dane" => Level::Dane,
            "dane-only" => Level::DaneOnly,
            "verify" => Level::Verify,
            "secure" => Level::Secure,
            _ => return None,
        })
    }

    /// Mail waits rather than go without.
    pub fn is_mandatory(self) -> bool {
        self > Level::May
    }

    /// Who the server is, matters.
    pub fn authenticates(self) -> bool {
        self > Level::Encrypt
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::None => "none",
            Level::May => "may",
            Level::Encrypt => "encrypt",
            Level::Fingerprint => "fingerprint",
            Level::HalfDane => "half-dane",
            Level::Dane => "dane",
            Level::DaneOnly => "dane-only",
            Level::Verify => "verify",
            Level::Secure => "secure",
        })
    }
}
