//! The settings: what all systems have in common, and what makes Postfix faster while it stays durable and logs, with the
//! reason for each. valija gets them too, where it knows them; nothing is tuned for it alone.
//!
//! Tried on this kind of machine and left out, because no gain showed above the noise: logging switched off (it is left on), a
//! destination concurrency of 5 or 100 in place of 20, no connection cache, MIME processing and header checks switched off,
//! long or short queue ids. `cleanup` refuses a process limit.

/// In every main.cf.
pub const COMMON: &str = "\
compatibility_level = 3.6
myhostname = mta.bench.test
mydestination = local.test, localhost
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
inet_interfaces = loopback-only
alias_maps =
alias_database =
biff = no
maillog_file_prefixes = /tmp, /var, /dev
message_size_limit = 50000000
mailbox_size_limit = 0
";

/// Where Postfix finds itself.
pub const POSTFIX: &str = "\
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
multi_instance_enable = yes
";

/// Name, value, reason. Besides these no service is chrooted.
pub const TUNED: &[(&str, &str, &str)] = &[
    ("default_process_limit", "200", "100 sessions have a process each, and as many smtp clients find room"),
    ("max_use", "10000", "processes are not replaced after 100 requests"),
    ("max_idle", "600s", "and do not end in the pauses between the runs"),
    ("ipc_idle", "600s", "connections between the processes stay open as long"),
    ("smtpd_peername_lookup", "no", "no name of a client is looked up"),
    ("disable_dns_lookups", "yes", "nor that of a destination, which is an address here"),
    ("smtp_host_lookup", "native", "what disable_dns_lookups needs"),
    ("smtp_tls_security_level", "none", "no time for TLS, where the scenario is without it"),
    ("smtpd_tls_security_level", "none", "the same for receiving"),
    ("in_flow_delay", "0", "no second of waiting for clients when mail comes faster than it leaves"),
    ("smtpd_client_connection_count_limit", "0", "no limits of anvil"),
    ("smtpd_client_connection_rate_limit", "0", "no limits of anvil"),
    ("smtpd_client_message_rate_limit", "0", "no limits of anvil"),
    ("smtpd_client_recipient_rate_limit", "0", "no limits of anvil"),
    ("smtpd_client_event_limit_exceptions", "static:all", "anvil is not even asked"),
    ("smtpd_relay_restrictions", "permit_mynetworks, reject", "the shortest list that is not an open relay"),
    ("smtpd_recipient_restrictions", "", "nothing more to look at"),
    ("smtpd_delay_reject", "no", "restrictions are looked at once, not again for each recipient"),
    ("local_recipient_maps", "", "no look into the password file before the mail is accepted"),
    ("initial_destination_concurrency", "20", "full concurrency from the first message on"),
    ("default_destination_concurrency_limit", "20", "the sink takes what comes; more did not help"),
    ("default_destination_concurrency_negative_feedback", "0", "one slow delivery does not lower it"),
    ("smtp_destination_concurrency_limit", "20", "the same for smtp"),
    ("smtp_connection_cache_on_demand", "yes", "connections to the sink are used again"),
    ("smtp_connection_reuse_count_limit", "0", "without limit"),
    ("smtp_connection_reuse_time_limit", "600s", "through the whole run"),
    ("qmgr_message_active_limit", "50000", "the active queue holds all of a run, none waits in incoming"),
    ("qmgr_message_recipient_limit", "50000", "the same for recipients"),
    (
        "local_destination_concurrency_limit",
        "20",
        "as many deliveries to one user as elsewhere (Debian's has 2)",
    ),
    ("address_verify_map", "", "no database is opened that nobody uses"),
    ("smtpd_timeout", "300s", "sessions of a slow run are not cut"),
];

/// What a relay over TLS gets besides, on both sides.
pub const TUNED_TLS: &[(&str, &str, &str)] = &[
    ("smtp_tls_connection_reuse", "yes", "without it every message makes a handshake with the sink"),
    (
        "smtp_tls_session_cache_database",
        "btree:${data_directory}/smtp_scache",
        "sessions are resumed where a connection is new",
    ),
    ("smtpd_tls_session_cache_database", "btree:${data_directory}/smtpd_scache", "the same for clients"),
];

/// Settings as lines of main.cf.
pub fn lines(settings: &[(&str, &str, &str)]) -> String {
    settings.iter().map(|(name, value, _)| format!("{name} = {value}\n")).collect()
}

/// Settings with their reasons, as a table.
pub fn table(settings: &[(&str, &str, &str)]) -> String {
    let row = |(name, value, why): &(&str, &str, &str)| format!("| `{name} = {value}` | {why} |\n");
    format!("| setting | why |\n|---|---|\n{}", settings.iter().map(row).collect::<String>())
}
