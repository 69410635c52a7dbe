//! The milter protocol, versions 2 to 6, from the side of the mail system: packets and one filter's state as a machine
//! without sockets or clocks. Sendmail made it for its own library; what is said here is what Postfix says.
//!
//! ```text
//! wire       packets: how they are cut out of a stream, and what the answers say
//! terms      what is offered to a filter, and what it takes
//! machine    one connection to one filter: what is said to it when, and what its answers mean
//! ```
//!
//! A filter is a program of the administrator's, but it may be broken: all lengths are bounded, and no answer can make
//! the machine panic or wait for ever.

pub mod machine;
pub mod terms;
pub mod wire;

pub use machine::{Answer, Event, Fault, Machine, Sent, Word};
pub use terms::{Offer, Stage, Terms};
pub use wire::{Decoder, Edit, Packet};

#[cfg(test)]
mod tests;
