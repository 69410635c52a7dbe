//! Parameters of the SMTP and LMTP clients.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time};

params! {
    /// The SMTP client: connections, sessions, what is said in them.
    Smtp {
        /// The name that we give ourselves.
        smtp_helo_name: Text = "$myhostname";
        /// How long the greeting and the answer to our own may take.
        smtp_helo_timeout: Time = "300s";
        /// How long connecting may take; 0 leaves it to the system.
        smtp_connect_timeout: Time = "30s";
        /// How long the answer to XFORWARD may take.
        smtp_xforward_timeout: Time = "300s";
        /// How long the answer to MAIL may take.
        smtp_mail_timeout: Time = "300s";
        /// How long the answer to RCPT may take.
        smtp_rcpt_timeout: Time = "300s";
        /// How long the answer to DATA may take.
        smtp_data_init_timeout: Time = "120s";
        /// How long writing a piece of the content may take.
        smtp_data_xfer_timeout: Time = "180s";
        /// How long the answer to the end of the content may take.
        smtp_data_done_timeout: Time = "600s";
        /// How long the answer to RSET may take.
        smtp_rset_timeout: Time = "20s";
        /// How long the answer to QUIT may take.
        smtp_quit_timeout: Time = "300s";
        /// The times above are for a whole request and its answer, not for each read and write.
        smtp_per_request_deadline: Bool = "${smtp_per_record_deadline?{$smtp_per_record_deadline}:{no}}";
        /// With a deadline per request: content may take a second more for so many bytes.
        smtp_min_data_rate: Count = "500", min 0;
        /// Say EHLO whatever the greeting is.
        smtp_always_send_ehlo: Bool = "yes";
        /// Say HELO whatever the greeting is.
        smtp_never_send_ehlo: Bool = "no";
        /// A greeting with 5xx is only a reason to try another host, or later.
        smtp_skip_5xx_greeting: Bool = "yes";
        /// Do not wait for the answer to QUIT.
        smtp_skip_quit_response: Bool = "yes";
        /// The port where none is written.
        smtp_tcp_port: Text = "smtp";
        /// Longer lines of the content go on in a line that begins with a space; 0 means that none is too long.
        smtp_line_length_limit: Count = "998", min 0;
        /// The most addresses of a destination that are tried; 0 means all.
        smtp_mx_address_limit: Count = "5", min 0;
        /// The most sessions of one delivery; 0 means no limit.
        smtp_mx_session_limit: Count = "2", min 0;
        /// Keep a connection open for a moment while there is more mail for the destination.
        smtp_connection_cache_on_demand: Bool = "yes";
        /// Destinations whose connections are always kept open for a moment.
        smtp_connection_cache_destinations: Text = "";
        /// How long a connection without use stays open.
        smtp_connection_cache_time_limit: Time = "2s";
        /// How long a connection may be used.
        smtp_connection_reuse_time_limit: Time = "300s";
        /// For how many messages a connection may be used; 0 means any number.
        smtp_connection_reuse_count_limit: Count = "0", min 0;
        /// Tell a server that understands XFORWARD who handed the message to us.
        smtp_send_xforward_command: Bool = "no";
        /// What a server offers, and we do not notice.
        smtp_discard_ehlo_keywords: List = "";
        /// The same for servers by their address, in tables.
        smtp_discard_ehlo_keyword_address_maps: List = "";
        /// Where mail goes when its destination cannot be reached.
        smtp_fallback_relay: Text = "$fallback_relay";
        /// Our address towards IPv4.
        smtp_bind_address: Text = "";
        /// Our address towards IPv6.
        smtp_bind_address6: Text = "";
        /// Rather no connection than one from another address.
        smtp_bind_address_enforce: Bool = "no";
        /// Which kind of addresses is tried first: any, ipv4, ipv6.
        smtp_address_preference: Text = "any";
        /// Hosts of the same preference are tried in random order.
        smtp_randomize_addresses: Bool = "yes";
        /// When there are more addresses than may be tried, both kinds keep their share.
        smtp_balance_inet_protocols: Bool = "yes";
        /// How the address of a host is found: dns, native.
        smtp_host_lookup: Text = "dns";
        /// What DNS is used for: disabled, enabled, dnssec.
        smtp_dns_support_level: Text = "";
        /// Which names are completed: res_defnames, res_dnsrch.
        smtp_dns_resolver_options: List = "";
        /// Mail waits when no mail exchanger of the destination has an address.
        smtp_defer_if_no_mx_address_found: Bool = "no";
        /// Addresses in MAIL and RCPT are quoted where the standard asks for it.
        smtp_quote_rfc821_envelope: Bool = "yes";
        /// Tables of what a server says, line by line, and what is heard instead.
        smtp_reply_filter: Text = "";
        /// Say AUTH=<> in MAIL to servers that know it.
        smtp_send_dummy_mail_auth: Bool = "no";
        /// The old way to say that DNS is not used.
        disable_dns_lookups: Bool = "no";
        /// When the mail exchangers of a domain cannot be found out, the domain itself is tried.
        ignore_mx_lookup_error: Bool = "no";
        /// The transport for mail of which we turn out to be the best mail exchanger.
        best_mx_transport: Text = "";
    }
}

params! {
    /// The LMTP client: the same settings under their own names.
    Lmtp {
        /// LMTP: the name that we give ourselves.
        lmtp_lhlo_name: Text = "$myhostname";
        /// LMTP: how long the greeting and the answer to our own may take.
        lmtp_lhlo_timeout: Time = "300s";
        /// LMTP: how long connecting may take; 0 leaves it to the system.
        lmtp_connect_timeout: Time = "0s";
        /// LMTP: how long the answer to XFORWARD may take.
        lmtp_xforward_timeout: Time = "300s";
        /// LMTP: how long the answer to MAIL may take.
        lmtp_mail_timeout: Time = "300s";
        /// LMTP: how long the answer to RCPT may take.
        lmtp_rcpt_timeout: Time = "300s";
        /// LMTP: how long the answer to DATA may take.
        lmtp_data_init_timeout: Time = "120s";
        /// LMTP: how long writing a piece of the content may take.
        lmtp_data_xfer_timeout: Time = "180s";
        /// LMTP: how long the answer to the end of the content may take.
        lmtp_data_done_timeout: Time = "600s";
        /// LMTP: how long the answer to RSET may take.
        lmtp_rset_timeout: Time = "20s";
        /// LMTP: how long the answer to QUIT may take.
        lmtp_quit_timeout: Time = "300s";
        /// LMTP: the times above are for a whole request and its answer, not for each read and write.
        lmtp_per_request_deadline: Bool = "${lmtp_per_record_deadline?{$lmtp_per_record_deadline}:{no}}";
        /// LMTP: with a deadline per request: content may take a second more for so many bytes.
        lmtp_min_data_rate: Count = "500", min 0;
        /// LMTP: a greeting with 5xx is only a reason to try another host, or later.
        lmtp_skip_5xx_greeting: Bool = "yes";
        /// LMTP: do not wait for the answer to QUIT.
        lmtp_skip_quit_response: Bool = "no";
        /// LMTP: the port where none is written.
        lmtp_tcp_port: Text = "24";
        /// LMTP: longer lines of the content go on in a line that begins with a space; 0 means that none is too long.
        lmtp_line_length_limit: Count = "998", min 0;
        /// LMTP: the most addresses of a destination that are tried; 0 means all.
        lmtp_mx_address_limit: Count = "5", min 0;
        /// LMTP: the most sessions of one delivery; 0 means no limit.
        lmtp_mx_session_limit: Count = "2", min 0;
        /// LMTP: keep a connection open for a moment while there is more mail for the destination.
        lmtp_connection_cache_on_demand: Bool = "yes";
        /// LMTP: destinations whose connections are always kept open for a moment.
        lmtp_connection_cache_destinations: Text = "";
        /// LMTP: how long a connection without use stays open.
        lmtp_connection_cache_time_limit: Time = "2s";
        /// LMTP: how long a connection may be used.
        lmtp_connection_reuse_time_limit: Time = "300s";
        /// LMTP: for how many messages a connection may be used; 0 means any number.
        lmtp_connection_reuse_count_limit: Count = "0", min 0;
        /// LMTP: tell a server that understands XFORWARD who handed the message to us.
        lmtp_send_xforward_command: Bool = "no";
        /// LMTP: what a server offers, and we do not notice.
        lmtp_discard_lhlo_keywords: List = "";
        /// LMTP: the same for servers by their address, in tables.
        lmtp_discard_lhlo_keyword_address_maps: List = "";
        /// LMTP: where mail goes when its destination cannot be reached.
        lmtp_fallback_relay: Text = "";
        /// LMTP: our address towards IPv4.
        lmtp_bind_address: Text = "";
        /// LMTP: our address towards IPv6.
        lmtp_bind_address6: Text = "";
        /// LMTP: rather no connection than one from another address.
        lmtp_bind_address_enforce: Bool = "no";
        /// LMTP: which kind of addresses is tried first: any, ipv4, ipv6.
        lmtp_address_preference: Text = "any";
        /// LMTP: hosts of the same preference are tried in random order.
        lmtp_randomize_addresses: Bool = "yes";
        /// LMTP: when there are more addresses than may be tried, both kinds keep their share.
        lmtp_balance_inet_protocols: Bool = "yes";
        /// LMTP: how the address of a host is found: dns, native.
        lmtp_host_lookup: Text = "dns";
        /// LMTP: what DNS is used for: disabled, enabled, dnssec.
        lmtp_dns_support_level: Text = "";
        /// LMTP: which names are completed: res_defnames, res_dnsrch.
        lmtp_dns_resolver_options: List = "";
        /// LMTP: mail waits when no mail exchanger of the destination has an address.
        lmtp_defer_if_no_mx_address_found: Bool = "no";
        /// LMTP: addresses in MAIL and RCPT are quoted where the standard asks for it.
        lmtp_quote_rfc821_envelope: Bool = "yes";
        /// LMTP: tables of what a server says, line by line, and what is heard instead.
        lmtp_reply_filter: Text = "";
        /// LMTP: say AUTH=<> in MAIL to servers that know it.
        lmtp_send_dummy_mail_auth: Bool = "no";
        /// LMTP: a recipient that the server took counts as delivered, not as relayed.
        lmtp_assume_final: Bool = "no";
    }
}
