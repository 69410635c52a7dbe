//! Delivery on this machine, as the user: mailboxes, aliases, `.forward`, commands, pipe.
//!
//! The `deliver` role forks a child for each job ([`child`]). The child, still root, looks the
//! recipient up in the alias tables and the name service, and forks one more process for each
//! identity and destination ([`leaf`]); that one becomes the user for good before it looks at
//! anything the user controls. Started by an ordinary user it is the same code with one identity.
//!
//! What became of each recipient goes to the mail role as `proto::job` frames; so do log lines,
//! because a user's process may not be able to write the log. Modules in reading order: [`switch`]
//! (the order of things), [`resolve`], [`aliases`], [`include`], [`forward`], [`actions`] (commands, files,
//! mailboxes), [`leaf`], [`identity`], [`kept`] (tables), [`mbox`], [`mbox_lock`], [`maildir`], [`command`],
//! [`content`], [`pipe`], [`virtual_mailbox`].

mod actions;
mod aliases;
mod answer;
mod command;
mod content;
pub mod events;
mod forward;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub mod fuzz;
mod identity;
mod include;
mod kept;
mod leaf;
mod lookups;
mod mail;
mod maildir;
mod mbox;
mod mbox_lock;
mod pipe;
mod resolve;
mod setup;
mod spawn;
mod switch;
#[cfg(test)]
mod tests;
mod tokens;
mod virtual_mailbox;

pub use setup::{Setup, child};
pub use spawn::spawned;
