//! SMTP without sockets. RFC 5321 and its extensions.

pub mod chunk;
pub mod client;
pub mod command;
pub mod data;
pub mod reply;
pub mod server;
