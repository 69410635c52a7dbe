//! The network below SMTP: names (DNS), connections, the PROXY protocol, TLS.
//!
//! Not here: what is said on a connection, and to whom one connects.

pub mod dial;
pub mod dns;
pub mod endpoint;
#[cfg(any(fuzzing, feature = "fuzz"))]
pub mod fuzz;
pub mod https;
pub mod proxy;
pub mod stream;
pub mod tls;

pub use endpoint::Endpoint;
pub use stream::Stream;

/// An error of the system in the words of strerror(3).
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}
