//! Logging in at the relay host, by the mechanism that mail delivery would choose.

use sasl::client::{Credentials, Place};
use sasl::mechanism::{Options, choose};
use sasl::{Client, Secret};

/// Who logs in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Login {
    /// The password as text: it was one when it was read.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.password.bytes()).into_owned()
    }
}

/// A mechanism at work.
pub(super) struct Exchange {
    client: Client,
}

impl Exchange {
    /// Chooses among what the server offers; `Err` says why none can be used.
    pub(super) fn choose(
        offered: &[String],
        login: &Login,
        host: &str,
        port: u16,
    ) -> Result<Option<Exchange>, String> {
        let options = Options::default();
        let Some(mechanism) = choose(offered.iter().map(String::as_str), |_| true, options) else {
            return Ok(None);
        };
        let nonce = sasl::nonce().ok_or("the system gives no random numbers")?;
        let who = Credentials { user: login.user.clone(), secret: login.password.clone() };
        let client = Client::new(mechanism, who, Place { host, port }, nonce);
        client.map(|client| Some(Exchange { client })).map_err(|fault| fault.to_string())
    }

    /// Its name.
    pub(super) fn mechanism(&self) -> &'static str {
        self.client.mechanism().name()
    }

    /// The AUTH command. RFC 4954 4
    pub(super) fn command(&self) -> String {
        match self.client.initial() {
            Some(response) => format!("AUTH {} {}", self.mechanism(), sasl::encode(response.bytes())),
            None => format!("AUTH {}", self.mechanism()),
        }
    }

    /// The answer to a challenge.
    pub(super) fn answer(&mut self, challenge: &str) -> Result<String, String> {
        // Servers that greet a challenge with words instead of base64 mean an empty one.
        let challenge = sasl::decode(challenge).unwrap_or_default();
        let response = self.client.respond(&challenge).map_err(|fault| fault.to_string())?;
        Ok(sasl::encode(response.bytes()))
    }

    /// The server says yes: whether that is to be believed.
    pub(super) fn succeed(&mut self) -> Result<(), String> {
        self.client.succeed(None).map_err(|fault| fault.to_string())
    }
}
