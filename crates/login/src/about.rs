//! What an authenticator may know about the client.

use std::net::{IpAddr, SocketAddr};

/// A client that wants to log in.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `smtpd_sasl_service`: what it wants to use, such as `smtp`.
    pub service: String,
    /// `smtpd_sasl_local_domain`.
    pub realm: String,
    /// The name of this host, for challenges.
    pub host: String,
    /// Its address and port; none for `sendmail -bs`.
    pub remote: Option<SocketAddr>,
    /// Ours.
    pub local: Option<SocketAddr>,
    /// Its verified name, or `unknown`.
    pub name: String,
    /// `smtpd_client_event_limit_exceptions` lists it: many may log in from there, such as a webmail's users.
    pub unlimited: bool,
    /// How the connection is encrypted, if it is.
    pub encryption: Option<Encryption>,
}

impl About {
    /// The address whose failures count.
    pub fn limited_address(&self) -> Option<IpAddr> {
        self.remote.filter(|_| !self.unlimited).map(|a| a.ip().to_canonical())
    }
}

/// The facts of TLS that matter to a login.
#[derive(Clone, Debug, Default)]
pub struct Encryption {
    /// Such as `TLSv1.3`.
    pub protocol: String,
    /// The name of the cipher.
    pub cipher: String,
    /// The client showed a certificate that is trusted.
    pub trusted_certificate: bool,
    /// The subject's common name of that certificate.
    pub common_name: Option<String>,
    /// RFC 9266 `tls-exporter`, where the connection can have it.
    pub channel_binding: Option<Vec<u8>>,
}
