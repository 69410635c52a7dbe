//! What the SMTP server says. The words are those of Postfix; analysers read them.

events::events! {
    /// A client connected.
    Connect { client: String } Info "connect from {client}"
    /// The session is over; how often each command was given, as good or as good/all.
    Disconnect { client: String, counts: String } Info "disconnect from {client} {counts}"
    /// The client went away without QUIT.
    LostConnection { place: String, client: String } Info "lost connection after {place} from {client}"
    /// The client said nothing for smtpd_timeout.
    Timeout { place: String, client: String } Info "timeout after {place} from {client}"
    /// The session was ended because of smtpd_hard_error_limit.
    TooManyErrors { place: String, client: String } Info "too many errors after {place} from {client}"
    /// The client spoke before its turn.
    Pipelining { place: String, client: String, text: String } Info "improper command pipelining after {place} from {client}: {text}"
    /// The mail process died over this client more than once.
    Shunned { client: String, seconds: u64 } Warning "{client} is turned away for {seconds}s more: the mail process died over it more than once"
    /// A message began: its first recipient was accepted.
    Client { client: String, more: String } Info "client={client}{more}"
    /// A restriction refused something.
    Reject { what: &'static str, place: &'static str, client: String, reply: String, about: String } Info "{what}: {place} from {client}: {reply}; {about}"
    /// A word that no mail client says.
    NonSmtp { client: String, text: String } Warning "non-SMTP command from {client}: {text}"
    /// A command beyond line_length_limit; the rest of it is ignored.
    LongLine { client: String, limit: usize, text: String } Warning "{client}: request longer than {limit}: {text}..."
    /// What stands for an address is none.
    IllegalAddress { client: String, verb: &'static str, text: String } Warning "Illegal address syntax from {client} in {verb} command: {text}"
    /// BDAT without a size.
    MalformedBdat { id: String, client: String, text: String } Warning "{id}: malformed BDAT command syntax from {client}: {text}"
    /// BDAT 0 without LAST.
    NullBdat { id: String, client: String } Warning "{id}: null BDAT request from {client}"
    /// BDAT beyond message_size_limit.
    BigBdat { id: String, client: String } Warning "{id}: BDAT request from {client} exceeds message size limit"
    /// What a filter before the queue said of a message.
    ProxyVerdict { what: &'static str, place: &'static str, text: String, about: String } Info "{what}: {place}: {text}; {about}"
    /// The filter before the queue cannot be reached.
    ProxyConnect { place: String, why: String } Warning "connect to proxy filter {place}: {why}"
    /// The filter before the queue says no to a command.
    ProxyRefused { place: String, command: String, reply: String } Warning "proxy {place} rejected \"{command}\": \"{reply}\""
    /// The filter before the queue went away.
    ProxyLost { place: String } Warning "lost connection with proxy {place}"
    /// The filter before the queue says nothing for smtpd_proxy_timeout.
    ProxyTimeout { place: String } Warning "timeout talking to proxy {place}"
    /// What the filter before the queue says is no reply.
    ProxyGarbage { place: String, text: String } Warning "received garbage from proxy {place}: {text}"
    /// A message for the filter is larger than message_size_limit.
    ProxySize { } Warning "queue file size limit exceeded"
    /// Content with lines that end in a bare LF (smtpd_forbid_bare_newline).
    BareNewline { what: &'static str, place: &'static str, client: String, about: String } Info "{what}: {place} from {client}: bare <LF> received; {about}"
    /// Keywords left out of the reply to EHLO.
    DiscardingKeywords { words: String } Info "discarding EHLO keywords: {words}"
    /// A word of smtpd_discard_ehlo_keywords that is no keyword.
    UnknownKeyword { word: String } Warning "smtpd_discard_ehlo_keywords: unknown keyword {word}; correct or remove it"
    /// A name in a list of restrictions that is neither a restriction nor a class.
    UnknownRestriction { name: String } Warning "unknown smtpd restriction: \"{name}\""
    /// A restriction that lacks its argument, or has one it cannot use.
    BadRestriction { name: String, what: String } Warning "restriction {name}: {what}"
    /// An action of an access table that lacks something.
    ActionRequires { table: String, key: String, what: &'static str } Warning "access table {table} entry \"{key}\" requires {what}"
    /// An action that says nothing.
    EmptyAction { table: String } Warning "access table {table} entry  has empty value"
    /// An action that names a table.
    TableInTable { table: String, action: String } Warning "access table {table} has entry with lookup table: {action}"
    /// The same, explained.
    TableInTableWhy { } Warning "do not specify lookup tables inside SMTPD access maps"
    /// What to do about it.
    TableInTableRemedy { } Warning "define a restriction class and specify its name instead."
    /// A policy service cannot be connected to.
    PolicyUnreachable { server: String, what: String } Warning "connect to {server}: {what}"
    /// A policy service gave no answer.
    PolicyTrouble { server: String, what: String } Warning "problem talking to server {server}: {what}"
    /// The answer of a policy service has no action.
    PolicyMissing { server: String } Warning "missing attribute action in input from {server}"
    /// The answer of a policy service is no text.
    PolicyMalformed { server: String, text: String } Warning "malformed UTF-8 in policy server {server} response: \"{text}\""
    /// An action of an access table that lets the message pass.
    AccessNote { what: &'static str, place: &'static str, client: String, text: String, about: String } Info "{what}: {place} from {client}: {text}; {about}"
    /// An enhanced status code that does not suit what is refused.
    MappedStatus { from: String, class: &'static str, to: String } Info "mapping DSN status {from} into {class} status {to}"
    /// A table could not answer.
    TableTrouble { what: String } Warning "{what}"
    /// A template for replies names what there is not.
    UnknownMacro { name: String } Warning "unknown macro name \"{name}\" in expansion request"
    /// A restriction that smtpd_log_access_permit_actions lists permits something.
    Permit { place: &'static str, client: String, action: String, subject: String, table: String, about: String } Info "permit: {place} from {client}: action={action} for {subject} {table}; {about}"
    /// What a client's name has against it, or what else is odd about a session.
    Odd { what: String } Warning "{what}"
    /// A command that smtpd_command_filter replaces.
    Replaced { client: String, line: String, by: String } Info "{client}: replacing command \"{line}\" with \"{by}\""
    /// reject_maps_rbl is an old name.
    OldLists { } Warning "support for restriction \"reject_maps_rbl\" will be removed from Postfix; use \"reject_rbl_client domain-name\" instead"
    /// ETRN for a domain that fast_flush_domains does not list.
    EtrnRefused { domain: String, client: String } Warning "reject: ETRN {domain}... from {client}"
    /// smtpd_client_connection_count_limit.
    TooManyConnections { count: u64, client: String, service: String } Warning "Connection concurrency limit exceeded: {count} from {client} for service {service}"
    /// smtpd_client_connection_rate_limit.
    TooFrequent { count: u64, client: String, service: String } Warning "Connection rate limit exceeded: {count} from {client} for service {service}"
    /// smtpd_client_message_rate_limit.
    TooManyMessages { count: u64, client: String, service: String } Warning "Message delivery request rate limit exceeded: {count} from {client} for service {service}"
    /// smtpd_client_recipient_rate_limit.
    TooManyRecipients { count: u64, client: String, service: String } Warning "Recipient address rate limit exceeded: {count} from {client} for service {service}"
    /// queue_minfree is too small to be of use.
    MinfreeSmall { minfree: u64, limit: u64 } Warning "queue_minfree({minfree}) should be at least 1.5*message_size_limit({limit})"
    /// The postmaster could not be told of a session that went wrong.
    NoticeFailed { why: String } Warning "postmaster notify: {why}"
    /// A handshake begins.
    SettingUpTls { client: String } Info "setting up TLS connection from {client}"
    /// A session is encrypted now.
    TlsEstablished { trust: net::tls::Trust, client: String, summary: String } Info "{trust} TLS connection established from {client}: {summary}"
    /// A handshake failed.
    TlsFailed { client: String, what: String } Info "SSL_accept error from {client}: {what}"
    /// What the library says of a failed handshake.
    TlsLibrary { what: String } Warning "TLS library problem: {what}"
    /// Certificate or key cannot be used, or settings of encryption are odd.
    NoTls { what: String } Warning "{what}"
    /// A login failed.
    AuthFailed { client: String, method: String, reason: String, user: String } Warning "{client}: SASL {method} authentication failed: {reason}, sasl_username={user}"
    /// The client gave its login up.
    AuthAborted { client: String, method: String } Warning "{client}: SASL {method} authentication aborted"
    /// Whoever decides about logins cannot be had.
    AuthTrouble { what: String } Warning "SASL: {what}"
    /// AUTH is not offered, though smtpd_sasl_auth_enable says so.
    NoAuth { } Warning "no SASL authentication mechanisms"
    /// smtpd_client_auth_rate_limit.
    TooManyLogins { count: u64, client: String, service: String } Warning "AUTH command rate limit exceeded: {count} from {client} for service {service}"
    /// A restriction on logins where nobody can log in.
    NoSaslSupport { name: String } Warning "restriction `{name}' ignored: no SASL support"
    /// A line about certificates and keys that is no warning.
    TlsNews { what: String } Info "{what}"
    /// The first client of a service that encrypts has come.
    StartingTls { } Info "initializing the server-side TLS engine"
    /// A name that a client asks for has no certificate of its own.
    UnmatchedName { name: String, client: String } Info "TLS SNI {name} from {client} not matched, using default chain"
    /// What a client shows.
    ClientCertificate { client: String, subject: String, issuer: String, fingerprint: String, key: String } Info "{client}: subject_CN={subject}, issuer={issuer}, fingerprint={fingerprint}, pkey_fingerprint={key}"
    /// A client without a certificate that can be trusted is not served.
    TlsAbort { client: String, why: &'static str } Info "abort: TLS from {client}: {why}"
    /// smtpd_client_new_tls_session_rate_limit.
    TooManyHandshakes { count: u64, client: String, service: String } Warning "New TLS session rate limit exceeded: {count} from {client} for service {service}"
    /// In wrapper mode nothing can be said without encryption.
    WrapperDropped { client: String, service: String } Warning "Wrapper-mode request dropped from {client} for service {service}. TLS context initialization failed. For details see earlier warnings in your logs."
}
