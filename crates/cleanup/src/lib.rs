//! The only door into the queue: network mail, `sendmail` mail, bounces and forwards.
//!
//! ```text
//! let mut message = intake.begin(origin);      // gets its queue id; nothing on disk yet
//! message.recipient(...);                      // as each RCPT is accepted
//! message.write(bytes).await;                  // content as it streams in, CRLF or LF lines
//! message.finish().await                       // rewritten, completed, durable: Accepted or Refused
//! ```

pub mod intake;

pub use intake::{Accepted, Intake, Message, Origin, Refused, Source};
