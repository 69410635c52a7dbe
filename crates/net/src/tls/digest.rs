//! Digests of certificates and keys: fingerprints, and what TLSA records compare.

use aws_lc_rs::digest;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// MD5, which old configurations name.
    Md5,
    /// SHA-1, likewise.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// By its name as in `smtp_tls_fingerprint_digest`.
    pub fn named(name: &str) -> Option<Digest> {
        Some(match name.to_ascii_lowercase().replace('-', "").as_str() {
            "md5" => Digest::Md5,
            "sha1" => Digest::Sha1,
            "sha224" => Digest::Sha224,
            "sha256" => Digest::Sha256,
            "sha384" => Digest::Sha384,
            "sha512" => Digest::Sha512,
            _ => return None,
        })
    }

    /// Of these bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Digest::Md5 => {
                use md5::Digest as _;
                return md5::Md5::digest(bytes).to_vec();
            }
            Digest::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Digest::Sha224 => &digest::SHA224,
            Digest::Sha256 => &digest::SHA256,
            Digest::Sha384 => &digest::SHA384,
            Digest::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// Its bytes.
    pub fn length(self) -> usize {
        match self {
            Digest::Md5 => 16,
            Digest::Sha1 => 20,
            Digest::Sha224 => 28,
            Digest::Sha256 => 32,
            Digest::Sha384 => 48,
            Digest::Sha512 => 64,
        }
    }

    /// As Postfix writes fingerprints: `0A:1B:…`.
    pub fn shown(self, bytes: &[u8]) -> String {
        let hex: Vec<String> = self.of(bytes).iter().map(|b| format!("{b:02X}")).collect();
        hex.join(":")
    }
}

/// Bytes from hexadecimal digits, with or without colons between the pairs.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let pair = |p: &[u8]| match p {
        [high, low] => {
            let value = |d: u8| char::from(d).to_digit(16).map(|v| v as u8);
            Some(value(*high)? << 4 | value(*low)?)
        }
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let of = |name| Digest::named(name).unwrap().shown(b"abc");
        assert_eq!(of("md5"), "90:01:50:98:3C:D2:4F:B0:D6:96:3F:7D:28:E1:7F:72");
        assert!(of("SHA-1").starts_with("A9:99:3E:36"));
        assert!(of("sha256").starts_with("BA:78:16:BF"));
        for name in ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] {
            let digest = Digest::named(name).unwrap();
            assert_eq!(digest.of(b"").len(), digest.length());
        }
        assert_eq!(Digest::named("whirlpool"), None);
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(bytes_of("0a:1B:ff"), Some(vec![10, 27, 255]));
        assert_eq!(bytes_of("0a1b"), Some(vec![10, 27]));
        for bad in ["0", "0g", "0a:1", "ä"] {
            assert_eq!(bytes_of(bad), None, "{bad}");
        }
    }
}
