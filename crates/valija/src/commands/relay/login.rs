//! Logging in at the relay host.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A password. It is neither printed nor logged.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The password itself, for the wire and the table.
    pub(super) fn open(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Who logs in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// A mechanism at work.
pub(super) struct Exchange<'a> {
    login: &'a Login,
    mechanism: &'static str,
    answers: u8,
}

/// What can be spoken, the better first.
const MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

impl<'a> Exchange<'a> {
    /// Chooses among what the server offers.
    pub(super) fn choose(offered: &[String], login: &'a Login) -> Option<Exchange<'a>> {
        let mechanism = MECHANISMS.iter().find(|m| offered.iter().any(|o| o.eq_ignore_ascii_case(m)))?;
        Some(Exchange { login, mechanism, answers: 0 })
    }

    /// Its name.
    pub(super) fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// The AUTH command. RFC 4616, RFC 4954 4
    pub(super) fn command(&self) -> String {
        match self.mechanism {
            "PLAIN" => {
                let response = format!("\0{}\0{}", self.login.user, self.login.password.open());
                format!("AUTH PLAIN {}", STANDARD.encode(response))
            }
            other => format!("AUTH {other}"),
        }
    }

    /// The answer to a challenge; none when the server asks too much.
    pub(super) fn answer(&mut self) -> Option<String> {
        self.answers += 1;
        match (self.mechanism, self.answers) {
            ("LOGIN", 1) => Some(STANDARD.encode(&self.login.user)),
            ("LOGIN", 2) => Some(STANDARD.encode(self.login.password.open())),
            _ => None,
        }
    }
}
