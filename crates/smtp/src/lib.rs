//! The SMTP and LMTP client: where a message goes, over which connection, and what is said there.
//!
//! [`Client`] is the queue manager's agent for the services of master.cf that run `smtp` or `lmtp`. Each
//! has its [`settings::Settings`] and a [`pool::Pool`] of connections. A delivery (`delivery`) goes
//! through the addresses that [`route`] finds, takes or makes a [`session::Session`] for each, and
//! has `transfer` run one transaction on it, with the words of `words` for what fails.

mod agent;
mod delivery;
mod events;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub mod fuzz;
pub mod login;
pub mod pool;
pub mod report;
pub mod route;
pub mod session;
pub mod settings;
pub mod sts;
pub mod tls_policy;
mod transfer;
mod words;

pub use agent::{Client, Surroundings};
pub use events::ALL;
