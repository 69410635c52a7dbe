//! Notices: what senders and the postmaster hear about mail that failed, is late, or arrived.
//!
//! [`template`] holds the words, [`notice`] builds the text of RFC 3464 around them as Postfix lays
//! it out, [`plan`] decides who gets which notice. All of it is pure; the driver hands the results
//! to `cleanup`.

pub mod notice;
pub mod plan;
pub mod template;
