//! What travels: addresses, headers, dates, envelopes, status codes, SMTP, the delivery job.
//!
//! Everything here is pure: no sockets, files, clocks or `async`. Time and answers come in as
//! arguments; what to do comes out as values. Modules in reading order:

pub mod address;
pub mod control;
pub mod date;
pub mod envelope;
pub mod header;
pub mod job;
pub mod milter;
pub mod mime;
pub mod queue_id;
pub mod record;
pub mod smtp;
pub mod status;
pub mod supervision;
pub mod wrap;

pub use address::Address;
pub use queue_id::QueueId;
