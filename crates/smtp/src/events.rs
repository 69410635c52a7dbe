//! What the SMTP client says beside the results, which the queue manager logs.

events::events! {
    /// A host could not be reached, or does not take the message now; another may.
    Postponed { text: String } Info "{text}"
    /// Something about a host, a table or the configuration that the administrator should know.
    Doubt { what: String } Warning "{what}"
    /// A line of the content was too long for the other side.
    LongLine { limit: usize } Info "breaking line > {limit} bytes with <CR><LF>SPACE"
    /// What a server may offer is not noticed, as configured.
    Discarding { words: String } Info "discarding EHLO keywords: {words}"
    /// A reply of a server was exchanged, as configured.
    Replaced { relay: String, from: String, to: String } Info "{relay}: replacing server reply \"{from}\" with \"{to}\""
    /// A server refused XFORWARD; the mail goes on.
    ForwardRefused { host: String, answer: String } Warning "host {host} said: {answer} (in reply to XFORWARD command)"
    /// A server sent what is no reply where one was due.
    NoReply { protocol: &'static str, relay: String, line: String } Warning "non-{protocol} response from {relay}: {line}"
    /// A handshake begins.
    SettingUpTls { relay: String } Info "setting up TLS connection to {relay}"
    /// The certificate that a server showed.
    PeerCertificate { relay: String, subject: String, issuer: String, fingerprint: String, key: String } Info "{relay}: subject_CN={subject}, issuer_CN={issuer}, fingerprint={fingerprint}, pkey_fingerprint={key}"
    /// A connection is encrypted now.
    TlsEstablished { trust: net::tls::Trust, relay: String, summary: String } Info "{trust} TLS connection established to {relay}: {summary}"
    /// A server did not prove what it should have.
    Unverified { whose: &'static str, relay: String, why: String } Info "{whose}certificate verification failed for {relay}: {why}"
    /// A handshake failed.
    TlsFailed { relay: String, what: String } Info "SSL_connect error to {relay}: {what}"
    /// What the library says of a failed handshake.
    TlsLibrary { what: String } Warning "TLS library problem: {what}"
    /// A host offers STARTTLS, which is not used.
    StarttlsOffered { host: String } Info "Host offered STARTTLS: [{host}]"
    /// A server does not take user name and password: told once of each.
    LoginRefused { server: String, user: String, parameter: String } Warning "server {server} refuses the login of user \"{user}\": correct user name or password in the table that {parameter} names, then run \"postmap\" on it and \"postqueue -f\""
}
