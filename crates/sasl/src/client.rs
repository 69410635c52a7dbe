//! Logging in: one machine per login.

use crate::mechanism::Mechanism;
use crate::scram::{self, Hash};
use crate::{Fault, LONGEST, Secret};
use hmac::{Hmac, Mac};
use md5::Md5;

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the user.
    pub user: String,
    /// The password, or the token.
    pub secret: Secret,
}

/// Where.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The name of the server.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
}

/// One login.
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
    who: Credentials,
    host: String,
    port: u16,
    /// How many challenges were answered.
    step: u32,
    scram: Option<scram::Client>,
}

impl Client {
    /// Begins a login. `nonce` is of this login alone ([`crate::nonce`]).
    pub fn new(
        mechanism: Mechanism,
        who: Credentials,
        at: Place<'_>,
        nonce: String,
    ) -> Result<Client, Fault> {
        let zero = who.user.contains('\0') || who.secret.bytes().contains(&0);
        let control = |c: &u8| *c == 1;
        let token = matches!(mechanism, Mechanism::OauthBearer | Mechanism::Xoauth2);
        if zero || token && (who.user.bytes().any(|c| c == 1) || who.secret.bytes().iter().any(control)) {
            return Err(Fault::Unsayable);
        }
        let hash = match mechanism {
            Mechanism::ScramSha1 => Some(Hash::Sha1),
            Mechanism::ScramSha256 => Some(Hash::Sha256),
            _ => None,
        };
        let scram = hash.map(|hash| scram::Client::new(hash, &who.user, who.secret.clone(), nonce));
        Ok(Client { mechanism, who, host: at.host.to_string(), port: at.port, step: 0, scram })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What is said before any challenge; nothing where the server speaks first.
    pub fn initial(&self) -> Option<Secret> {
        let (user, secret) = (self.who.user.as_bytes(), self.who.secret.bytes());
        let join = |parts: &[&[u8]]| Some(Secret::from(parts.concat()));
        match self.mechanism {
            Mechanism::Plain => join(&[b"\0", user, b"\0", secret]),
            Mechanism::Login | Mechanism::CramMd5 => None,
            Mechanism::ScramSha1 | Mechanism::ScramSha256 => {
                self.scram.as_ref().map(|s| Secret::from(s.initial()))
            }
            Mechanism::Xoauth2 => join(&[b"user=", user, b"\x01auth=Bearer ", secret, b"\x01\x01"]),
            // RFC 7628 3.1
            Mechanism::OauthBearer => {
                let name = self.who.user.replace('=', "=3D").replace(',', "=2C");
                let head = format!("n,a={name},\x01host={}\x01port={}\x01auth=Bearer ", self.host, self.port);
                join(&[head.as_bytes(), secret, b"\x01\x01"])
            }
        }
    }

    /// The answer to a challenge.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Secret, Fault> {
        if challenge.len() > LONGEST {
            return Err(Fault::Nonsense("too long"));
        }
        self.step += 1;
        match (self.mechanism, self.step) {
            // A server that did not take the initial response asks for it.
            (Mechanism::Plain, 1) if challenge.is_empty() => {
                self.initial().ok_or(Fault::Nonsense("one challenge too many"))
            }
            // Its words vary: `Username:`, `User Name\0`. What counts is which comes first.
            (Mechanism::Login, 1) => Ok(Secret::from(self.who.user.as_str())),
            (Mechanism::Login, 2) => Ok(self.who.secret.clone()),
            (Mechanism::CramMd5, 1) if !challenge.is_empty() => self.keyed(challenge),
            (Mechanism::ScramSha1 | Mechanism::ScramSha256, _) => {
                let scram = self.scram.as_mut().ok_or(Fault::Nonsense("state"))?;
                scram.respond(challenge).map(Secret::from)
            }
            // The server explains a refusal, and wants to hear something before it refuses.
            (Mechanism::Xoauth2, 1) => Ok(Secret::default()),
            (Mechanism::OauthBearer, 1) => Ok(Secret::from(vec![1])),
            _ => Err(Fault::Nonsense("one challenge too many")),
        }
    }

    /// The server says that the login succeeded: is it to be believed? What it adds to that (RFC 4954
    /// has no place for it in SMTP) may be the last challenge.
    pub fn succeed(&mut self, data: Option<&[u8]>) -> Result<(), Fault> {
        let Some(scram) = &mut self.scram else { return Ok(()) };
        if let (Some(data), false) = (data, scram.proven()) {
            scram.respond(data)?;
        }
        if scram.proven() { Ok(()) } else { Err(Fault::NotProven) }
    }

    fn keyed(&self, challenge: &[u8]) -> Result<Secret, Fault> {
        let digest = cram_md5(self.who.secret.bytes(), challenge).ok_or(Fault::Unsayable)?;
        Ok(Secret::from(format!("{} {digest}", self.who.user).into_bytes()))
    }
}

/// The keyed digest of RFC 2195 2, in hexadecimal.
pub(crate) fn cram_md5(secret: &[u8], challenge: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Md5>::new_from_slice(secret).ok()?;
    mac.update(challenge);
    Some(mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(mechanism: Mechanism, user: &str, secret: &str) -> Client {
        let who = Credentials { user: user.into(), secret: secret.into() };
        Client::new(mechanism, who, Place { host: "smtp.example.org", port: 587 }, "n".into()).unwrap()
    }

    #[test]
    fn mechanisms_that_say_it_at_once() {
        // RFC 4616 4
        let mut plain = client(Mechanism::Plain, "tim", "tanstaaftanstaaf");
        assert_eq!(plain.initial().unwrap().bytes(), b"\0tim\0tanstaaftanstaaf");
        assert_eq!(plain.respond(b"").unwrap().bytes(), b"\0tim\0tanstaaftanstaaf");
        assert!(plain.respond(b"").is_err());
        assert_eq!(plain.succeed(None), Ok(()));
        let mut oauth = client(Mechanism::Xoauth2, "u@example.org", "tok");
        assert_eq!(oauth.initial().unwrap().bytes(), b"user=u@example.org\x01auth=Bearer tok\x01\x01");
        assert_eq!(oauth.respond(b"{\"status\":\"401\"}").unwrap().bytes(), b"");
        assert!(oauth.respond(b"").is_err());
        // RFC 7628 4.1
        let mut bearer =
            client(Mechanism::OauthBearer, "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        let said = b"n,a=user@example.com,\x01host=smtp.example.org\x01port=587\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        assert_eq!(bearer.initial().unwrap().bytes(), said);
        assert_eq!(bearer.respond(b"{}").unwrap().bytes(), b"\x01");
    }

    #[test]
    fn mechanisms_that_wait() {
        // RFC 2195 2
        let mut cram = client(Mechanism::CramMd5, "tim", "tanstaaftanstaaf");
        assert_eq!(cram.initial(), None);
        let said = cram.respond(b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
        assert_eq!(said.bytes(), b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert!(cram.respond(b"<again>").is_err());
        assert!(client(Mechanism::CramMd5, "tim", "x").respond(b"").is_err());
        let mut login = client(Mechanism::Login, "tim", "secret");
        assert_eq!(login.initial(), None);
        assert_eq!(login.respond(b"Username:").unwrap().bytes(), b"tim");
        assert_eq!(login.respond(b"Password:").unwrap().bytes(), b"secret");
        assert!(login.respond(b"And your bank account:").is_err());
    }

    #[test]
    fn a_server_that_skips_its_proof_is_not_believed() {
        let mut scram = client(Mechanism::ScramSha256, "user", "pencil");
        assert_eq!(scram.succeed(None), Err(Fault::NotProven));
        scram.respond(b"r=nx,s=AAAA,i=4096").unwrap();
        assert_eq!(scram.succeed(None), Err(Fault::NotProven));
        assert_eq!(scram.succeed(Some(b"v=AAAA")), Err(Fault::NotProven));
    }

    #[test]
    fn what_cannot_be_said() {
        let of = |mechanism, user: &str| {
            let who = Credentials { user: user.into(), secret: "x".into() };
            Client::new(mechanism, who, Place { host: "h", port: 25 }, "n".into()).err()
        };
        assert_eq!(of(Mechanism::Plain, "a\0b"), Some(Fault::Unsayable));
        assert_eq!(of(Mechanism::Xoauth2, "a\x01b"), Some(Fault::Unsayable));
        assert_eq!(of(Mechanism::Plain, "a\x01b"), None);
    }

    proptest! {
        #[test]
        fn any_challenge_is_survived(all in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4)) {
            for mechanism in Mechanism::ALL {
                let mut client = client(mechanism, "user", "secret");
                for challenge in &all {
                    let _ = client.respond(challenge);
                }
            }
        }
    }
}
