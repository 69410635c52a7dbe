//! Parameters of clients that log in.

use crate::params;
use crate::value::{Bool, Count, List, Text};

params! {
    /// Logins of clients.
    SmtpdSasl {
        /// Clients may log in (AUTH).
        smtpd_sasl_auth_enable: Bool = "no";
        /// Who decides about logins: `dovecot`; `cyrus`, which stands for saslauthd and sasldb2; `valija`.
        smtpd_sasl_type: Text = "cyrus";
        /// Where that is: with dovecot the socket of its authentication service, `private/auth` or
        /// `inet:host:port`; with cyrus the name of the service file.
        smtpd_sasl_path: Text = "smtpd";
        /// The service that users log in to, as the one who decides is told.
        smtpd_sasl_service: Text = "smtp";
        /// The realm of users who name none.
        smtpd_sasl_local_domain: Text = "";
        /// What mechanisms must not do, or must: noplaintext, noactive, nodictionary, noanonymous,
        /// forward_secrecy, mutual_auth.
        smtpd_sasl_security_options: List = "noanonymous";
        /// The same for sessions that are encrypted.
        smtpd_sasl_tls_security_options: List = "$smtpd_sasl_security_options";
        /// The mechanisms that may be offered, of those there are.
        smtpd_sasl_mechanism_filter: List = "!external, static:rest";
        /// Clients that AUTH is not shown to; they may log in all the same.
        smtpd_sasl_exceptions_networks: List = "";
        /// Tell in the Received header who logged in.
        smtpd_sasl_authenticated_header: Bool = "no";
        /// The longest response of a client in a login, in characters.
        smtpd_sasl_response_limit: Count = "12288", min 1, max 1_000_000;
        /// Show the mechanisms in the syntax of an old draft, too: AUTH=...
        broken_sasl_auth_clients: Bool = "no";
        /// Log in only when the session is encrypted.
        smtpd_tls_auth_only: Bool = "no";
        /// Who may send as whom: users who own a sender address.
        smtpd_sender_login_maps: List = "";
        /// How many logins a client may try in anvil_rate_time_unit, good ones included; 0 for any number.
        smtpd_client_auth_rate_limit: Count = "0", min 0;
        /// How many logins from one address may fail in anvil_rate_time_unit before further ones are
        /// refused for now without a look at the password; 0 for any number. Clients of
        /// smtpd_client_event_limit_exceptions are not counted.
        valija_login_failures_by_address: Count = "60", min 0;
        /// The same for the logins of one user, from anywhere. Whoever logged in lately from the same address
        /// is counted apart.
        valija_login_failures_by_user: Count = "30", min 0;
    }
}
