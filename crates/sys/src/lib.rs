//! The operating system: users, processes, descriptors, locks, durable files, time, sandbox.
//! All unsafe code of the project is here; each block says why it is sound.

pub mod allocator;
pub mod board;
pub mod channel;
pub mod children;
pub mod durable;
pub mod host;
pub mod listen;
pub mod locks;
pub mod memory_file;
pub mod names;
pub mod poll;
pub mod program;
pub mod sandbox;
pub mod services;
pub mod signals;
pub mod spawn;
pub mod terminal;
pub mod time;
pub mod turns;
pub mod users;
