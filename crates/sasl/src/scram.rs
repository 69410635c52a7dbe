//! SCRAM without channel binding, both sides. RFC 5802, RFC 7677.

use crate::{Fault, Secret, decode, encode};
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// How often the other side may have a password hashed: fewer make guessing easy, more are an attack.
pub const ITERATIONS: (u32, u32) = (4096, 600_000);

/// The hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Hash {
    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    fn salted(self, secret: &Secret, salt: &[u8], iterations: NonZeroU32) -> Secret {
        let (algorithm, length) = match self {
            Hash::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
        };
        let mut out = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, secret.bytes(), &mut out);
        out.into()
    }
}

/// What a server keeps of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The salt.
    pub salt: Vec<u8>,
    /// How often it was hashed.
    pub iterations: NonZeroU32,
    /// H(ClientKey).
    pub stored_key: Vec<u8>,
    /// ServerKey.
    pub server_key: Secret,
}

impl Stored {
    /// Of a password.
    pub fn new(hash: Hash, secret: &Secret, salt: &[u8], iterations: NonZeroU32) -> Stored {
        let salted = hash.salted(secret, salt, iterations);
        Stored {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&hash.hmac(salted.bytes(), b"Client Key")),
            server_key: hash.hmac(salted.bytes(), b"Server Key").into(),
        }
    }
}

/// A name without the characters that mean something. RFC 5802 5.1
fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut out = parts.next()?.to_string();
    for part in parts {
        match part.get(..2)? {
            "2C" => out.push(','),
            "3D" => out.push('='),
            _ => return None,
        }
        out.push_str(part.get(2..)?);
    }
    Some(out)
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

fn text(message: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(message).map_err(|_| Fault::Nonsense("not text"))
}

/// The client.
#[derive(Debug)]
pub struct Client {
    hash: Hash,
    secret: Secret,
    /// `n=user,r=nonce`
    first: String,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    /// What the server must prove.
    Final(Vec<u8>),
    Proven,
    Failed,
}

/// No channel binding.
const HEADER: &str = "n,,";

impl Client {
    /// One login.
    pub fn new(hash: Hash, user: &str, secret: Secret, nonce: String) -> Client {
        let first = format!("n={},r={nonce}", escape(user));
        Client { hash, secret, first, nonce, state: State::First }
    }

    /// The first message.
    pub fn initial(&self) -> Vec<u8> {
        format!("{HEADER}{}", self.first).into_bytes()
    }

    /// The answer to a challenge.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Fault> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::First => self.answer(text(challenge)?),
            State::Final(expected) => {
                let said = text(challenge)?.split(',').next().unwrap_or_default();
                let signature = said.strip_prefix("v=").ok_or(Fault::NotProven)?;
                let signature = decode(signature).ok_or(Fault::Nonsense("signature"))?;
                constant_time::verify_slices_are_equal(&signature, &expected)
                    .map_err(|_| Fault::NotProven)?;
                self.state = State::Proven;
                Ok(Vec::new())
            }
            State::Proven | State::Failed => Err(Fault::Nonsense("one challenge too many")),
        }
    }

    /// The server has proven that it knows the password.
    pub fn proven(&self) -> bool {
        matches!(self.state, State::Proven)
    }

    fn answer(&mut self, server_first: &str) -> Result<Vec<u8>, Fault> {
        let mut parts = server_first.split(',');
        let mut part = |name: &'static str| parts.next().and_then(|p| p.strip_prefix(name));
        // An extension that must be understood would stand first (m=).
        let nonce = part("r=").ok_or(Fault::Nonsense("nonce"))?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Fault::Nonsense("nonce"));
        }
        let salt = part("s=").and_then(decode).filter(|s| !s.is_empty()).ok_or(Fault::Nonsense("salt"))?;
        let count: u32 = part("i=").and_then(|i| i.parse().ok()).ok_or(Fault::Nonsense("iterations"))?;
        if !(ITERATIONS.0..=ITERATIONS.1).contains(&count) {
            return Err(Fault::Unacceptable("the server wants too few or too many iterations"));
        }
        let iterations = NonZeroU32::new(count).ok_or(Fault::Nonsense("iterations"))?;
        let salted = self.hash.salted(&self.secret, &salt, iterations);
        let client_key = self.hash.hmac(salted.bytes(), b"Client Key");
        let bare = format!("c={},r={nonce}", encode(HEADER.as_bytes()));
        let signed = format!("{},{server_first},{bare}", self.first);
        let stored_key = self.hash.digest(&client_key);
        let proof = xor(&client_key, &self.hash.hmac(&stored_key, signed.as_bytes()));
        let server_key = self.hash.hmac(salted.bytes(), b"Server Key");
        self.state = State::Final(self.hash.hmac(&server_key, signed.as_bytes()));
        Ok(format!("{bare},p={}", encode(&proof)).into_bytes())
    }
}

/// The server. First [`Server::first`] tells the user, whose [`Stored`] it is then given.
#[derive(Debug)]
pub struct Server {
    hash: Hash,
    nonce: String,
    header: String,
    client_first: String,
    server_first: String,
    stored: Option<Stored>,
}

impl Server {
    /// One login; `nonce` is the server's part.
    pub fn new(hash: Hash, nonce: String) -> Server {
        Server {
            hash,
            nonce,
            header: String::new(),
            client_first: String::new(),
            server_first: String::new(),
            stored: None,
        }
    }

    /// Takes the client's first message; the user's name.
    pub fn first(&mut self, message: &[u8]) -> Result<String, Fault> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let binding = parts.next().ok_or(Fault::Nonsense("header"))?;
        let authzid = parts.next().ok_or(Fault::Nonsense("header"))?;
        let bare = parts.next().ok_or(Fault::Nonsense("header"))?;
        // `y`: the client could bind to the channel; we offer no such mechanism.
        if !matches!(binding, "n" | "y") {
            return Err(Fault::Nonsense("channel binding"));
        }
        let mut parts = bare.split(',');
        let user = parts.next().and_then(|p| p.strip_prefix("n=")).and_then(unescape);
        let user = user.filter(|u| !u.is_empty()).ok_or(Fault::Nonsense("user name"))?;
        let nonce = parts.next().and_then(|p| p.strip_prefix("r=")).filter(|n| !n.is_empty());
        let nonce = nonce.ok_or(Fault::Nonsense("nonce"))?;
        self.header = format!("{binding},{authzid},");
        self.nonce = format!("{nonce}{}", self.nonce);
        self.client_first = bare.to_string();
        Ok(user)
    }

    /// The challenge, made of what is stored of the user.
    pub fn challenge(&mut self, stored: Stored) -> Vec<u8> {
        self.server_first = format!("r={},s={},i={}", self.nonce, encode(&stored.salt), stored.iterations);
        self.stored = Some(stored);
        self.server_first.clone().into_bytes()
    }

    /// Takes the client's final message; the server's final one when the client knows the password.
    pub fn last(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let stored = self.stored.take().ok_or(Fault::Nonsense("one response too many"))?;
        let (bare, proof) = text(message)?.rsplit_once(",p=").ok_or(Fault::Nonsense("proof"))?;
        let expected = format!("c={},r={}", encode(self.header.as_bytes()), self.nonce);
        if bare != expected {
            return Err(Fault::Nonsense("nonce or header"));
        }
        let proof = decode(proof).ok_or(Fault::Nonsense("proof"))?;
        let signed = format!("{},{},{bare}", self.client_first, self.server_first);
        let signature = self.hash.hmac(&stored.stored_key, signed.as_bytes());
        if proof.len() != signature.len() {
            return Err(Fault::NotProven);
        }
        let stored_key = self.hash.digest(&xor(&proof, &signature));
        constant_time::verify_slices_are_equal(&stored_key, &stored.stored_key)
            .map_err(|_| Fault::NotProven)?;
        let proof = self.hash.hmac(stored.server_key.bytes(), signed.as_bytes());
        Ok(format!("v={}", encode(&proof)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector(hash: Hash, nonce: &str, server_first: &str, last: &str, proof: &str) {
        let mut client = Client::new(hash, "user", "pencil".into(), nonce.into());
        assert_eq!(client.initial(), format!("n,,n=user,r={nonce}").into_bytes());
        assert_eq!(client.respond(server_first.as_bytes()).unwrap(), last.as_bytes());
        assert!(!client.proven());
        assert_eq!(client.respond(proof.as_bytes()), Ok(vec![]));
        assert!(client.proven());
        assert!(client.respond(b"").is_err());
    }

    #[test]
    fn vectors_of_the_rfcs() {
        // RFC 5802 5
        vector(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        // RFC 7677 3
        vector(
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
    }

    #[test]
    fn servers_that_must_not_be_believed() {
        let mut count = 0;
        let mut respond = |server_first: &str| {
            count += 1;
            Client::new(Hash::Sha256, "u", "p".into(), "abc".into()).respond(server_first.as_bytes())
        };
        let unacceptable = Fault::Unacceptable("the server wants too few or too many iterations");
        assert_eq!(respond("r=abcd,s=AAAA,i=1"), Err(unacceptable));
        assert_eq!(respond("r=abcd,s=AAAA,i=4294967295"), Err(unacceptable));
        assert_eq!(respond("r=abcd,s=AAAA,i=0"), Err(unacceptable));
        assert_eq!(respond("r=abc,s=AAAA,i=4096"), Err(Fault::Nonsense("nonce")));
        assert_eq!(respond("r=xyzabc,s=AAAA,i=4096"), Err(Fault::Nonsense("nonce")));
        assert_eq!(respond("r=abcd,s=,i=4096"), Err(Fault::Nonsense("salt")));
        assert_eq!(respond("m=x,r=abcd,s=AAAA,i=4096"), Err(Fault::Nonsense("nonce")));
        assert_eq!(respond("r=abcd,s=AAAA"), Err(Fault::Nonsense("iterations")));
        assert!(respond("r=abcd,s=AAAA,i=4096,x=later").is_ok());
        let mut client = Client::new(Hash::Sha256, "u", "p".into(), "abc".into());
        client.respond(b"r=abcd,s=AAAA,i=4096").unwrap();
        assert_eq!(client.respond(b"v=AAAA"), Err(Fault::NotProven));
        assert!(!client.proven());
        let mut client = Client::new(Hash::Sha256, "u", "p".into(), "abc".into());
        client.respond(b"r=abcd,s=AAAA,i=4096").unwrap();
        assert_eq!(client.respond(b"e=other-error"), Err(Fault::NotProven));
    }

    fn meet(hash: Hash, user: &str, known: &str, said: &str) -> Result<bool, Fault> {
        let iterations = NonZeroU32::new(4096).unwrap();
        let mut server = Server::new(hash, "server".into());
        let mut client = Client::new(hash, user, said.into(), "client".into());
        assert_eq!(server.first(&client.initial())?, user);
        let challenge = server.challenge(Stored::new(hash, &known.into(), b"salt", iterations));
        let last = server.last(&client.respond(&challenge)?)?;
        client.respond(&last)?;
        Ok(client.proven())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn both_sides_meet(user in "[^\u{0}]{1,12}", known in ".{0,12}", said in ".{0,12}") {
            prop_assert_eq!(meet(Hash::Sha256, &user, &known, &known), Ok(true));
            prop_assert_eq!(meet(Hash::Sha1, &user, &known, &said), if known == said { Ok(true) } else { Err(Fault::NotProven) });
        }
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[nrsi=,a0-9]{0,40}") {
            for message in [bytes.as_slice(), text.as_bytes()] {
                let mut client = Client::new(Hash::Sha1, "u", "p".into(), "a".into());
                let _ = client.respond(message);
                let mut server = Server::new(Hash::Sha1, "n".into());
                let _ = server.first(message);
                let _ = server.last(message);
                prop_assert!(!client.proven());
            }
        }

        #[test]
        fn names_come_back(name in ".{0,20}") {
            prop_assert_eq!(unescape(&escape(&name)), Some(name));
        }
    }
}
