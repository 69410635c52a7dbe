//! The queue manager: who is delivered next, retry, bounces and delay notices, flush, showq.
//!
//! Decisions are pure: [`schedule`] (who, when, how many at a time) and [`bounce`] (who is told
//! what, in which words). [`driver`] does them: it takes messages from the queue, starts
//! deliveries through [`agent::Agent`]s, settles results, and hands notices to `cleanup`.
//! [`showq`] answers the queue commands. In reading order:

pub mod agent;
pub mod agents;
pub mod bounce;
pub mod driver;
pub mod events;
pub mod line;
pub mod router;
pub mod schedule;
pub mod settings;
pub mod showq;
pub mod verification;

pub use driver::{Manager, Parts};
pub use settings::Settings;
