//! Being logged in to. What must be known of a user is asked for as a step, so that it may come from
//! anywhere.
//!
//! ```text
//! Challenge ─▶ send it, then respond(what comes)
//! Check     ─▶ the password is known in clear: compare it
//! Know      ─▶ known(what is kept of the user): the machine compares
//! Done      ─▶ this user is logged in; `last` is said before
//! ```

use crate::client::cram_md5;
use crate::mechanism::Mechanism;
use crate::scram::{self, Hash, Stored};
use crate::{Fault, Secret};
use aws_lc_rs::constant_time;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// To be sent; a response follows.
    Challenge(Vec<u8>),
    /// The user says this password.
    Check {
        /// Who it is.
        user: String,
        /// On whose behalf, when that is somebody else.
        acts_for: Option<String>,
        /// The password.
        secret: Secret,
    },
    /// What is kept of this user is wanted.
    Know(String),
    /// The user has proven to know the password.
    Done {
        /// Who it is.
        user: String,
        /// The server's own proof, which the client waits for.
        last: Option<Vec<u8>>,
    },
}

/// What is kept of a user.
#[derive(Clone, Debug)]
pub enum Kept {
    /// The password.
    Secret(Secret),
    /// For SCRAM.
    Stored(Stored),
}

#[derive(Debug)]
enum State {
    First,
    /// LOGIN: the password comes.
    Password(String),
    /// CRAM-MD5: user and digest, to be compared.
    Digest(String, String),
    /// SCRAM: the user is to be known.
    Unknown(String),
    /// SCRAM: the proof comes.
    Proof(String),
    Over,
}

/// One login.
#[derive(Debug)]
pub struct Server {
    mechanism: Mechanism,
    state: State,
    /// CRAM-MD5: what was asked.
    asked: Vec<u8>,
    scram: Option<scram::Server>,
}

impl Server {
    /// Begins one; `None` for mechanisms without a server here. `nonce` is of this login alone.
    pub fn new(mechanism: Mechanism, host: &str, nonce: String) -> Option<Server> {
        let hash = match mechanism {
            Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => None,
            Mechanism::ScramSha1 => Some(Hash::Sha1),
            Mechanism::ScramSha256 => Some(Hash::Sha256),
            Mechanism::OauthBearer | Mechanism::Xoauth2 => return None,
        };
        let asked = format!("<{nonce}@{host}>").into_bytes();
        let scram = hash.map(|hash| scram::Server::new(hash, nonce));
        Some(Server { mechanism, state: State::First, asked, scram })
    }

    /// What is sent when the client gave no initial response.
    pub fn begin(&self) -> Step {
        Step::Challenge(match self.mechanism {
            Mechanism::Login => b"Username:".to_vec(),
            Mechanism::CramMd5 => self.asked.clone(),
            _ => Vec::new(),
        })
    }

    /// Takes a response.
    pub fn respond(&mut self, response: &[u8]) -> Result<Step, Fault> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Fault::Nonsense("not text"));
        match (std::mem::replace(&mut self.state, State::Over), self.mechanism) {
            (State::First, Mechanism::Plain) => {
                let mut parts = response.splitn(3, |b| *b == 0);
                let mut part = || parts.next().ok_or(Fault::Nonsense("three parts are needed"));
                let (acts_for, user, secret) = (text(part()?)?, text(part()?)?, part()?.to_vec());
                if user.is_empty() || secret.is_empty() || secret.contains(&0) {
                    return Err(Fault::Nonsense("three parts are needed"));
                }
                let acts_for = Some(acts_for).filter(|a| !a.is_empty() && *a != user);
                Ok(Step::Check { user, acts_for, secret: secret.into() })
            }
            (State::First, Mechanism::Login) => {
                self.state = State::Password(text(response)?);
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            (State::Password(user), _) => {
                Ok(Step::Check { user, acts_for: None, secret: response.to_vec().into() })
            }
            (State::First, Mechanism::CramMd5) => {
                let said = text(response)?;
                let (user, digest) = said.rsplit_once(' ').ok_or(Fault::Nonsense("user and digest"))?;
                self.state = State::Digest(user.to_string(), digest.to_ascii_lowercase());
                Ok(Step::Know(user.to_string()))
            }
            (State::First, _) => {
                let user = self.scram.as_mut().ok_or(Fault::Nonsense("state"))?.first(response)?;
                self.state = State::Unknown(user.clone());
                Ok(Step::Know(user))
            }
            (State::Proof(user), _) => {
                let last = self.scram.as_mut().ok_or(Fault::Nonsense("state"))?.last(response)?;
                Ok(Step::Done { user, last: Some(last) })
            }
            _ => Err(Fault::Nonsense("one response too many")),
        }
    }

    /// Takes what is kept of the user that [`Step::Know`] named.
    pub fn known(&mut self, kept: Kept) -> Result<Step, Fault> {
        match (std::mem::replace(&mut self.state, State::Over), kept) {
            (State::Digest(user, said), Kept::Secret(secret)) => {
                let digest = cram_md5(secret.bytes(), &self.asked).ok_or(Fault::Unsayable)?;
                constant_time::verify_slices_are_equal(said.as_bytes(), digest.as_bytes())
                    .map_err(|_| Fault::NotProven)?;
                Ok(Step::Done { user, last: None })
            }
            (State::Unknown(user), Kept::Stored(stored)) => {
                let scram = self.scram.as_mut().ok_or(Fault::Nonsense("state"))?;
                self.state = State::Proof(user);
                Ok(Step::Challenge(scram.challenge(stored)))
            }
            _ => Err(Fault::Unacceptable("what is kept of the user does not fit the mechanism")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Credentials, Place};
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    /// Whether a client with `said` gets in where `kept` is right.
    fn login(mechanism: Mechanism, kept: &str, said: &str) -> Result<bool, Fault> {
        let at = Place { host: "mx", port: 25 };
        let who = Credentials { user: "jose".into(), secret: said.into() };
        let mut client = Client::new(mechanism, who, at, "c".into())?;
        let mut server = Server::new(mechanism, "mx", "s".into()).unwrap();
        let mut step = match client.initial() {
            Some(initial) => server.respond(initial.bytes())?,
            None => server.begin(),
        };
        loop {
            step = match step {
                Step::Challenge(challenge) => {
                    let answer = client.respond(&challenge)?;
                    server.respond(answer.bytes())?
                }
                Step::Check { user, acts_for, secret } => {
                    return Ok(user == "jose" && acts_for.is_none() && secret == kept.into());
                }
                Step::Know(user) => {
                    assert_eq!(user, "jose");
                    let stored = |hash| {
                        Kept::Stored(Stored::new(hash, &kept.into(), b"salt", NonZeroU32::new(4096).unwrap()))
                    };
                    server.known(match mechanism {
                        Mechanism::ScramSha1 => stored(Hash::Sha1),
                        Mechanism::ScramSha256 => stored(Hash::Sha256),
                        _ => Kept::Secret(kept.into()),
                    })?
                }
                Step::Done { last, .. } => return client.succeed(last.as_deref()).map(|()| true),
            }
        }
    }

    #[test]
    fn both_sides_of_every_mechanism() {
        for mechanism in Mechanism::ALL.into_iter().filter(|m| Server::new(*m, "", "n".into()).is_some()) {
            assert_eq!(login(mechanism, "geheim", "geheim"), Ok(true), "{mechanism}");
            assert_ne!(login(mechanism, "geheim", "Geheim"), Ok(true), "{mechanism}");
        }
    }

    proptest! {
        #[test]
        fn any_response_is_survived(all in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4)) {
            for mechanism in Mechanism::ALL {
                let Some(mut server) = Server::new(mechanism, "h", "n".into()) else { continue };
                for response in &all {
                    let step = server.respond(response);
                    let entered = matches!(step, Ok(Step::Done { .. }));
                    prop_assert!(!entered);
                }
            }
        }
    }
}
