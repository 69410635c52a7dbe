//! What the server does for each command, one file per verb. Syntax, order and counting are the
//! machine's; these decide.

mod data;
mod etrn;
mod helo;
mod mail;
mod rcpt;
mod vrfy;
mod xclient;

pub(crate) use rcpt::may_receive;
