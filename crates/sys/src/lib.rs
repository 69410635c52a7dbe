//! The operating system: users, processes, descriptors, locks, durable files, time, sandbox.
//! All unsafe code of the project is here; each block says why it is sound.

pub mod host;
pub mod time;
