//! Which ciphers may be negotiated: grades and exclusions, in the words of OpenSSL's lists.
//!
//! The library has what OpenSSL calls HIGH, with ephemeral keys and authenticated encryption, and
//! nothing else; so all grades mean the same, and exclusions take away from that. As with OpenSSL, the
//! suites of TLS 1.3 are not touched.

use super::provider;
use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// Suites of TLS 1.2 that are left out, by their place in [`SUITES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ciphers {
    excluded: u8,
}

/// Names of grades, as `smtp_tls_ciphers` has them.
const GRADES: [&str; 5] = ["high", "medium", "low", "export", "null"];

/// The suites, their names, and what else means them.
const SUITES: [(CipherSuite, &str, &[&str]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["aECDSA", "ECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "AES", "AES256", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "AES", "AES128", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "CHACHA20"],
    ),
];

/// What means all of them.
const ALL: [&str; 9] = ["ALL", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2", "AEAD", "DEFAULT"];

impl Ciphers {
    /// Whether this is a grade that Postfix knows.
    pub fn is_grade(word: &str) -> bool {
        GRADES.iter().any(|g| g.eq_ignore_ascii_case(word))
    }

    /// Without those that these words mean, such as `aNULL`, `AES128`, `kECDHE+aRSA` or a suite's name.
    /// Words for what does not exist here exclude nothing.
    pub fn excluding<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Ciphers {
        let mut excluded = self.excluded;
        for word in words {
            for (place, (_, name, tags)) in SUITES.iter().enumerate() {
                let means = |part: &str| part == *name || tags.contains(&part) || ALL.contains(&part);
                if !word.is_empty() && word.trim_start_matches('!').split('+').all(means) {
                    excluded |= 1 << place;
                }
            }
        }
        Ciphers { excluded }
    }

    /// The library with what is left.
    pub(super) fn provider(self) -> Arc<CryptoProvider> {
        if self.excluded == 0 {
            return provider();
        }
        let mut own = CryptoProvider::clone(&provider());
        own.cipher_suites.retain(|suite| {
            let place = SUITES.iter().position(|(s, ..)| *s == suite.suite());
            place.is_none_or(|place| self.excluded & (1 << place) == 0)
        });
        Arc::new(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(words: &[&str]) -> usize {
        Ciphers::default().excluding(words.iter().copied()).provider().cipher_suites.len() - 3
    }

    #[test]
    fn exclusions() {
        assert_eq!(left(&[]), 6);
        assert_eq!(left(&["aNULL", "MD5", "RC4", "3DES", "eNULL", "EXPORT", "aDSS", "SEED", ""]), 6);
        assert_eq!(left(&["AES128"]), 4);
        assert_eq!(left(&["!AES128", "ECDHE-RSA-CHACHA20-POLY1305"]), 3);
        assert_eq!(left(&["kECDHE+aRSA"]), 3);
        assert_eq!(left(&["AES+aRSA"]), 4);
        assert_eq!(left(&["ALL"]), 0, "the suites of TLS 1.3 remain");
        assert!(Ciphers::is_grade("Medium") && !Ciphers::is_grade("huge"));
    }
}
