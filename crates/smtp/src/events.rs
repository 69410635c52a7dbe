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
}
