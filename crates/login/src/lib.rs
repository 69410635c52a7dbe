//! Who may log in. A session hands the client's responses to an [`Exchange`] of its listener's
//! [`Authenticator`] and obeys the [`Step`]s that come back; what is behind is none of its business.
//!
//! ```text
//! authenticator.mechanisms().await             what there is to offer; or why there is nothing
//! let mut exchange = authenticator.begin("PLAIN", about);
//! exchange.step(initial_response).await        Challenge ─▶ step(Some(response)) …
//!                                              Success   ─▶ this user is logged in
//!                                              Failure   ─▶ refused, or nobody can tell now
//! ```
//!
//! Bytes are those of the mechanism: base64 is the session's. Whoever compares secrets asks
//! [`Attempts`] first, so that guessing costs no hashing. Dropping an exchange abandons it.

pub mod about;
pub mod attempts;
pub mod choose;
pub mod cyrus;
pub mod dovecot;
pub mod events;
pub mod hash;
mod machine;
pub mod offer;
pub mod open;
pub mod users;
pub mod workers;

pub use about::{About, Encryption};
pub use attempts::Attempts;
pub use machine::{Common, DENIED};
pub use offer::{Offer, Properties};
pub use open::{Shared, open};
pub use workers::Workers;

use sasl::Secret;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What is being waited for.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes logins.
pub trait Authenticator: Send + Sync {
    /// The mechanisms there are, in the order in which they are offered; an error is words for the
    /// log. Asked for each session: an answer that was found out once is to be kept.
    fn mechanisms(&self) -> Waiting<'_, Result<Arc<[Offer]>, String>>;

    /// One login of this client by a mechanism, whose name may be in any case and need not be one of
    /// those offered (then its first step fails).
    fn begin(&self, mechanism: &str, about: Arc<About>) -> Box<dyn Exchange>;
}

/// One login under way.
pub trait Exchange: Send + Sync {
    /// Takes what the client said and gives the next step. The first call has the initial response,
    /// or `None` where the client gave none; an empty one is not none (RFC 4954 4). Each further call
    /// answers a challenge. Ends in bounded time whatever is behind.
    fn step(&mut self, response: Option<Secret>) -> Waiting<'_, Step>;
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be sent; a response follows.
    Challenge(Vec<u8>),
    /// The client is this user now.
    Success {
        /// The name to log, and to give rights to.
        user: String,
    },
    /// It is not.
    Failure(Failure),
}

/// Why a login failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Nobody can tell now: 454 instead of 535.
    pub temporary: bool,
    /// Said to the client and in the log. The same for an unknown user and a wrong password.
    pub reason: String,
    /// Who wanted to log in, if that is known; for the log alone.
    pub user: Option<String>,
    /// What ails whoever should decide; for the log alone.
    pub trouble: Option<String>,
}

impl Failure {
    /// Refused.
    pub fn denied(reason: impl Into<String>, user: Option<String>) -> Failure {
        Failure { temporary: false, reason: reason.into(), user, trouble: None }
    }

    /// Not decided.
    pub fn temporary(reason: impl Into<String>, user: Option<String>) -> Failure {
        Failure { temporary: true, reason: reason.into(), user, trouble: None }
    }
}
