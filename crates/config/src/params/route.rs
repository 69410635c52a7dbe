//! Parameters of finding and reaching other hosts, over SMTP and LMTP.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time};

params! {
    /// From a next hop to connections.
    Route {
        /// Which of a host's addresses come first: any, ipv4 or ipv6.
        smtp_address_preference: Text = "any";
        /// Do not let the addresses of one family crowd out the other.
        smtp_balance_inet_protocols: Bool = "yes";
        /// From which IPv4 address to connect.
        smtp_bind_address: Text = "";
        /// From which IPv6 address to connect.
        smtp_bind_address6: Text = "";
        /// Rather wait than connect from another address than the one written.
        smtp_bind_address_enforce: Bool = "no";
        /// How long a connection may take; 0 leaves it to the system.
        smtp_connect_timeout: Time = "30s";
        /// Wait when no mail exchanger of a domain has an address, rather than give the mail back.
        smtp_defer_if_no_mx_address_found: Bool = "no";
        /// Which names are completed: res_defnames, res_dnsrch.
        smtp_dns_resolver_options: List = "";
        /// Whether DNS is used: disabled, enabled or dnssec; empty asks disable_dns_lookups.
        smtp_dns_support_level: Text = "";
        /// Where mail goes when its destination cannot be found or reached.
        smtp_fallback_relay: List = "$fallback_relay";
        /// How addresses of hosts are found: dns, native (with /etc/hosts), or one after the other.
        smtp_host_lookup: List = "dns";
        /// The most addresses of a destination that are tried; 0 means all.
        smtp_mx_address_limit: Count = "5", min 0;
        /// Try hosts of one preference in random order.
        smtp_randomize_addresses: Bool = "yes";
        /// The port where none is written.
        smtp_tcp_port: Text = "smtp";
        /// The transport that gets the mail that other hosts would send back here, instead of a bounce.
        best_mx_transport: Text = "";
        /// Do not use DNS to find other hosts.
        disable_dns_lookups: Bool = "no";
        /// Where mail exchangers cannot be looked up, deliver to the domain's own address.
        ignore_mx_lookup_error: Bool = "no";
        /// As smtp_address_preference, for LMTP.
        lmtp_address_preference: Text = "any";
        /// As smtp_balance_inet_protocols, for LMTP.
        lmtp_balance_inet_protocols: Bool = "yes";
        /// As smtp_bind_address, for LMTP.
        lmtp_bind_address: Text = "";
        /// As smtp_bind_address6, for LMTP.
        lmtp_bind_address6: Text = "";
        /// As smtp_bind_address_enforce, for LMTP.
        lmtp_bind_address_enforce: Bool = "no";
        /// As smtp_connect_timeout, for LMTP.
        lmtp_connect_timeout: Time = "0s";
        /// As smtp_defer_if_no_mx_address_found, for LMTP.
        lmtp_defer_if_no_mx_address_found: Bool = "no";
        /// As smtp_dns_resolver_options, for LMTP.
        lmtp_dns_resolver_options: List = "";
        /// As smtp_dns_support_level, for LMTP.
        lmtp_dns_support_level: Text = "";
        /// As smtp_fallback_relay, for LMTP.
        lmtp_fallback_relay: List = "";
        /// As smtp_host_lookup, for LMTP.
        lmtp_host_lookup: List = "dns";
        /// As smtp_mx_address_limit, for LMTP.
        lmtp_mx_address_limit: Count = "5", min 0;
        /// As smtp_randomize_addresses, for LMTP.
        lmtp_randomize_addresses: Bool = "yes";
        /// As smtp_tcp_port, for LMTP.
        lmtp_tcp_port: Text = "24";
    }
}
