//! The network below SMTP: names (DNS), connections, the PROXY protocol, TLS.
//!
//! Not here: what is said on a connection, and to whom one connects.
