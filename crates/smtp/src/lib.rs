//! The SMTP and LMTP client: where a message goes, over which connection, and what is said there.
pub mod route;
