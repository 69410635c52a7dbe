//! The SMTP server. `serve` runs one session over any stream: it drives the pure machine of
//! `proto::smtp::server`, asks restrictions and limits, and hands messages to a [`Backend`], which
//! is the door into the queue (`cleanup::Intake`) or, for `sendmail -bs`, the maildrop.
//!
//! ```text
//! Service::load(config, parts)     everything a listener obeys, read once
//! serve(stream, peer, service)     one session, on that snapshot until it ends
//! ```
//!
//! Modules in reading order:

mod encryption;
pub mod events;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub mod fuzz;

pub mod auth;
pub mod backend;
pub mod world;

pub mod client;
pub mod limits;
mod milters;
mod proxy;
pub mod restrictions;
pub mod service;
pub mod session;
mod tls;
pub mod verify;

mod commands;
mod footer;
mod inquiry;
mod names;
mod pace;
mod policy;
mod postmaster;
mod says;

pub use backend::Backend;
pub use client::Peer;
pub use service::{Parts, Service};
pub use session::serve;
pub use world::World;

#[cfg(test)]
mod tests;
