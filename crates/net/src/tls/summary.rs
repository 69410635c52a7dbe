//! A connection in the words of Postfix's log and of Received headers.

use super::Seen;
use super::certificate::{Certificate, Key};
use super::digest::Digest;
use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};
use std::fmt;

/// How much is known of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It showed no certificate.
    Anonymous,
    /// Its chain does not verify.
    Untrusted,
    /// Its chain verifies; whose it is was not asked.
    Trusted,
    /// It is who it should be.
    Verified,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::Anonymous => "Anonymous",
            Trust::Untrusted => "Untrusted",
            Trust::Trusted => "Trusted",
            Trust::Verified => "Verified",
        })
    }
}

/// What was negotiated. Displayed as Postfix's log has it: `TLSv1.3 with cipher … server-digest SHA256`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What is known of the peer.
    pub trust: Trust,
    /// `TLSv1.3`.
    pub protocol: &'static str,
    /// OpenSSL's name of the cipher suite.
    pub cipher: &'static str,
    /// Bits of its key.
    pub bits: u16,
    /// `X25519`, `ECDHE (prime256v1)`; TLS 1.3 only, as in Postfix.
    pub key_exchange: Option<String>,
    /// `RSA-PSS (2048 bits)`; TLS 1.3 only.
    pub signature: Option<String>,
    /// `SHA256`; nothing when a session was resumed.
    pub digest: Option<&'static str>,
    /// An earlier session goes on.
    pub resumed: bool,
    /// `ECDSA (prime256v1)`: the key of the client's certificate; TLS 1.3 only.
    pub client_signature: Option<String>,
    /// `SHA256`; nothing when a session was resumed.
    pub client_digest: Option<&'static str>,
    /// The server's name that the client asked for, where it has a certificate of its own.
    pub name: Option<String>,
    /// The certificate that the peer showed.
    pub peer: Option<Box<Peer>>,
}

/// What is said of a peer's certificate: in the log, to policy services and milters, and what access
/// maps are asked for. Whether its chain verifies is [`Summary::trust`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The subject's common name, or nothing.
    pub subject: String,
    /// The issuer's.
    pub issuer: String,
    /// Digest of the certificate: the server's by `smtpd_tls_fingerprint_digest`, else SHA-256.
    pub fingerprint: String,
    /// Digest of its public key, by the same algorithm.
    pub key_fingerprint: String,
}

impl Summary {
    /// A connection of somebody unknown whose certificate verifies: to ask what such a one may do.
    pub fn of_anybody() -> Summary {
        let unknown = || "unknown".to_string();
        Summary {
            trust: Trust::Trusted,
            protocol: "TLSv1.3",
            cipher: "unknown",
            bits: 0,
            key_exchange: None,
            signature: None,
            digest: None,
            resumed: false,
            client_signature: None,
            client_digest: None,
            name: None,
            peer: Some(Box::new(Peer {
                subject: unknown(),
                issuer: unknown(),
                fingerprint: unknown(),
                key_fingerprint: unknown(),
            })),
        }
    }

    /// The peer's certificate if its chain verifies.
    pub fn trusted_peer(&self) -> Option<&Peer> {
        self.peer.as_deref().filter(|_| matches!(self.trust, Trust::Trusted | Trust::Verified))
    }
}

impl Summary {
    pub(super) fn new(state: &CommonState, seen: &Seen, trust: Trust, key: Option<&Key>) -> Summary {
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        let new = state.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let suite = state.negotiated_cipher_suite().map(|s| s.suite());
        let (cipher, bits) = suite.map_or(("unknown", 0), name_of_suite);
        let group = state.negotiated_key_exchange_group().filter(|_| new);
        let scheme = seen.scheme.filter(|_| new && !resumed);
        Summary {
            trust,
            protocol: if new { "TLSv1.3" } else { "TLSv1.2" },
            cipher,
            bits,
            key_exchange: group.map(|g| name_of_group(g.name())),
            signature: key.filter(|_| new).and_then(name_of_signature),
            digest: scheme.and_then(name_of_digest),
            resumed,
            client_signature: None,
            client_digest: None,
            name: None,
            peer: None,
        }
    }

    pub(super) fn show(&mut self, certificate: &Certificate, der: &[u8]) {
        self.show_by(certificate, der, Digest::Sha256);
    }

    /// Shows the peer's certificate, with fingerprints by this digest.
    pub(super) fn show_by(&mut self, certificate: &Certificate, der: &[u8], digest: Digest) {
        self.peer = Some(Box::new(Peer {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            fingerprint: digest.shown(der),
            key_fingerprint: digest.shown(&certificate.spki),
        }));
    }

    /// How a client signed; TLS 1.3 only, as in Postfix.
    pub(super) fn show_signature(&mut self, key: &Key, scheme: Option<SignatureScheme>) {
        if self.protocol == "TLSv1.3" {
            self.client_signature = name_of_signature(key);
            self.client_digest = scheme.and_then(name_of_digest);
        }
    }

    /// The comments of a Received header: one line each.
    pub fn received(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = format!("(using {} with cipher {}", self.protocol, self.cipher_and_bits());
        if let Some(group) = &self.key_exchange {
            lines.push(std::mem::replace(&mut line, format!(" key-exchange {group}")));
            if let Some(signature) = &self.signature {
                line.push_str(&format!(" server-signature {signature}"));
                if let Some(digest) = self.digest {
                    line.push_str(&format!(" server-digest {digest}"));
                }
            }
        }
        if let Some(signature) = &self.client_signature {
            lines.push(std::mem::replace(&mut line, format!(" client-signature {signature}")));
            if let Some(digest) = self.client_digest {
                line.push_str(&format!(" client-digest {digest}"));
            }
        }
        line.push(')');
        lines.push(line);
        lines
    }

    fn cipher_and_bits(&self) -> String {
        format!("{} ({}/{} bits)", self.cipher, self.bits, self.bits)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with cipher {}", self.protocol, self.cipher_and_bits())?;
        if let Some(group) = &self.key_exchange {
            write!(f, " key-exchange {group}")?;
        }
        if let Some(signature) = &self.signature {
            write!(f, " server-signature {signature}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, " server-digest {digest}")?;
        }
        if let Some(signature) = &self.client_signature {
            write!(f, " client-signature {signature}")?;
        }
        if let Some(digest) = self.client_digest {
            write!(f, " client-digest {digest}")?;
        }
        Ok(())
    }
}

pub(super) fn name_of_suite(suite: CipherSuite) -> (&'static str, u16) {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => ("TLS_AES_256_GCM_SHA384", 256),
        CipherSuite::TLS13_AES_128_GCM_SHA256 => ("TLS_AES_128_GCM_SHA256", 128),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => ("TLS_CHACHA20_POLY1305_SHA256", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-ECDSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-ECDSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => ("ECDHE-ECDSA-CHACHA20-POLY1305", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-RSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-RSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => ("ECDHE-RSA-CHACHA20-POLY1305", 256),
        other => (other.as_str().unwrap_or("unknown"), 0),
    }
}

fn name_of_group(group: NamedGroup) -> String {
    match group {
        NamedGroup::X25519 => "X25519".into(),
        NamedGroup::secp256r1 => "ECDHE (prime256v1)".into(),
        NamedGroup::secp384r1 => "ECDHE (secp384r1)".into(),
        NamedGroup::secp521r1 => "ECDHE (secp521r1)".into(),
        other => other.as_str().unwrap_or("unknown").into(),
    }
}

fn name_of_signature(key: &Key) -> Option<String> {
    Some(match key {
        Key::Rsa(bits) => format!("RSA-PSS ({bits} bits)"),
        Key::Ecdsa(curve) => format!("ECDSA ({curve})"),
        Key::Ed25519 => "ED25519".into(),
        Key::Other => return None,
    })
}

fn name_of_digest(scheme: SignatureScheme) -> Option<&'static str> {
    match scheme {
        SignatureScheme::RSA_PKCS1_SHA1 | SignatureScheme::ECDSA_SHA1_Legacy => Some("SHA1"),
        SignatureScheme::RSA_PSS_SHA256
        | SignatureScheme::RSA_PKCS1_SHA256
        | SignatureScheme::ECDSA_NISTP256_SHA256 => Some("SHA256"),
        SignatureScheme::RSA_PSS_SHA384
        | SignatureScheme::RSA_PKCS1_SHA384
        | SignatureScheme::ECDSA_NISTP384_SHA384 => Some("SHA384"),
        SignatureScheme::RSA_PSS_SHA512
        | SignatureScheme::RSA_PKCS1_SHA512
        | SignatureScheme::ECDSA_NISTP521_SHA512 => Some("SHA512"),
        _ => None,
    }
}
