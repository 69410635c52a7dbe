//! The queue manager: who is delivered next, retry, bounces and delay notices, flush, showq.

pub mod agent;
pub mod bounce;
pub mod schedule;
