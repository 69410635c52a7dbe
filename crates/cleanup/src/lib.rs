//! The only door into the queue: network mail, `sendmail` mail, bounces and forwards.
//!
//! ```text
//! let mut message = intake.begin(origin);      // gets its queue id; nothing on disk yet
//! message.recipient(...);                      // as each RCPT is accepted
//! message.write(bytes).await;                  // content as it streams in, CRLF or LF lines
//! message.finish().await                       // rewritten, completed, durable: Accepted or Refused
//! ```
//!
//! The driver is `intake`; everything it decides is decided by pure modules, in reading order:
//! `lines` (line ends, forbidden characters), `headers` (which fields stay, change, are added),
//! `address_list` (addresses in fields), `checks` (header_checks and body_checks),
//! `received`, `size` (Postfix's way of counting). Nothing here keeps more of a message in memory
//! than one header field. `outgoing` is the same for what leaves: checks, generic addresses, and the
//! conversion to seven bits, for the SMTP client.

pub mod address_list;
pub mod checks;
pub mod events;
pub mod headers;
pub mod intake;
pub mod lines;
pub mod outgoing;
pub mod pickup;
pub mod received;
pub mod rewriting;
pub mod size;
pub mod verp;

pub use intake::{Accepted, Door, Intake, Message, Orders, Origin, Refused, Source};
pub use outgoing::Outgoing;
pub use rewriting::{Context, Place, Rewriting};
