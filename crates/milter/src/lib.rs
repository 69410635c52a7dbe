//! Mail filters that speak the milter protocol: where they are (`plan`), connections to them (`link`), all of those of
//! one session (`session`), what they are told besides (`macros`), and a message while they may change it (`content`).
//! What is said on the wire, and what an answer means, is decided by the pure machine of `proto::milter`.
//!
//! ```text
//! Plan::load(config, which)            the filters of a listener, or of mail that comes without SMTP
//! Session::new(plan, root)             those of one session; connects at the first event
//! session.connect(..).await            and helo, mail, rcpt, data, unknown: a Word if one of them objects
//! session.content(subject, ..).await   a whole message; what is to be changed, `Subject` changes
//! ```
//!
//! A filter that is absent, slow, or talks nonsense costs its session what `milter_default_action` says and the
//! server nothing: every wait, and all that a filter can make us keep, is bounded.

pub mod content;
pub mod events;
pub mod macros;
pub mod plan;
pub mod session;

mod link;

pub use content::Content;
pub use macros::Macros;
pub use plan::Plan;
pub use proto::milter::machine::Word;
pub use session::{Client, Found, Session, Subject};
