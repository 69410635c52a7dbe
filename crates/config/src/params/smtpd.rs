//! Parameters of the SMTP server.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time, Verbatim};

params! {
    /// The SMTP server: sessions, restrictions, limits.
    Smtpd {
        /// The greeting after code 220.
        smtpd_banner: Text = "$myhostname ESMTP $mail_name";
        /// The clients that may relay: addresses, address blocks, files, tables.
        mynetworks: List = "";
        /// Which clients are in mynetworks when that is not set: this host, its subnets, or the old
        /// address classes these are in.
        mynetworks_style: Text = "${{$compatibility_level} <level {2} ? {subnet} : {host}}";
        /// Restrictions on clients.
        smtpd_client_restrictions: List = "";
        /// Restrictions on the argument of HELO and EHLO.
        smtpd_helo_restrictions: List = "";
        /// Restrictions on the sender.
        smtpd_sender_restrictions: List = "";
        /// Restrictions on recipients that decide about relaying.
        smtpd_relay_restrictions: List = "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}";
        /// Restrictions on recipients.
        smtpd_recipient_restrictions: List = "";
        /// Restrictions on DATA and the first BDAT.
        smtpd_data_restrictions: List = "";
        /// Restrictions once the content is complete.
        smtpd_end_of_data_restrictions: List = "";
        /// Restrictions on ETRN.
        smtpd_etrn_restrictions: List = "";
        /// Names of lists of restrictions, each a parameter of main.cf, to be used like a restriction.
        smtpd_restriction_classes: List = "";
        /// Ask smtpd_relay_restrictions before smtpd_recipient_restrictions.
        smtpd_relay_before_recipient_restrictions: Bool = "${{$compatibility_level} <level {3.6} ? {no} : {yes}}";
        /// Ask restrictions on client, HELO and sender only when a recipient is given.
        smtpd_delay_reject: Bool = "yes";
        /// Refuse MAIL and VRFY before HELO or EHLO.
        smtpd_helo_required: Bool = "no";
        /// Refuse recipients that no table lists, though no restriction says so.
        smtpd_reject_unlisted_recipient: Bool = "yes";
        /// Refuse senders of our domains that no table lists, though no restriction says so.
        smtpd_reject_unlisted_sender: Bool = "no";
        /// Name the table in `User unknown in … table`.
        show_user_unknown_table_name: Bool = "yes";
        /// The code for an unlisted address of mydestination.
        unknown_local_recipient_reject_code: Count = "550", min 400, max 599;
        /// The code for an unlisted address of relay_domains.
        unknown_relay_recipient_reject_code: Count = "550", min 400, max 599;
        /// The code for an unlisted address of virtual_alias_domains.
        unknown_virtual_alias_reject_code: Count = "550", min 400, max 599;
        /// The code for an unlisted address of virtual_mailbox_domains.
        unknown_virtual_mailbox_reject_code: Count = "550", min 400, max 599;
        /// The code of REJECT in an access table.
        access_map_reject_code: Count = "554", min 400, max 599;
        /// The code of DEFER in an access table.
        access_map_defer_code: Count = "450", min 400, max 599;
        /// The code of `reject`.
        reject_code: Count = "554", min 400, max 599;
        /// The code of `defer`.
        defer_code: Count = "450", min 400, max 599;
        /// The code of reject_invalid_helo_hostname.
        invalid_hostname_reject_code: Count = "501", min 400, max 599;
        /// The code of the reject_non_fqdn restrictions.
        non_fqdn_reject_code: Count = "504", min 400, max 599;
        /// The code of reject_unauth_destination.
        relay_domains_reject_code: Count = "554", min 400, max 599;
        /// The code of reject_multi_recipient_bounce.
        multi_recipient_bounce_reject_code: Count = "550", min 400, max 599;
        /// The code of reject_plaintext_session.
        plaintext_reject_code: Count = "450", min 400, max 599;
        /// The code of reject_unknown_client_hostname and reject_unknown_reverse_client_hostname.
        unknown_client_reject_code: Count = "450", min 400, max 599;
        /// The code of reject_unknown_helo_hostname.
        unknown_hostname_reject_code: Count = "450", min 400, max 599;
        /// The code of reject_unknown_sender_domain and reject_unknown_recipient_domain.
        unknown_address_reject_code: Count = "450", min 400, max 599;
        /// What restrictions do when a name server cannot answer: defer, or defer_if_permit.
        reject_tempfail_action: Text = "defer_if_permit";
        /// The same for reject_unknown_sender_domain and reject_unknown_recipient_domain.
        unknown_address_tempfail_action: Text = "$reject_tempfail_action";
        /// The same for reject_unknown_helo_hostname.
        unknown_helo_hostname_tempfail_action: Text = "$reject_tempfail_action";
        /// The code for what a list in the DNS has.
        maps_rbl_reject_code: Count = "554", min 400, max 599;
        /// The lists of reject_maps_rbl, an old name of reject_rbl_client.
        maps_rbl_domains: List = "";
        /// What is said to a client that a list in the DNS has.
        default_rbl_reply: Verbatim = "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}";
        /// The same by the domain of the list.
        rbl_reply_maps: List = "";
        /// The characters that names and texts of strangers may have in such replies.
        smtpd_expansion_filter: Verbatim = "\\t\\40!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
        /// The networks in which the first mail host of a domain is, for permit_mx_backup.
        permit_mx_backup_networks: List = "";
        /// Restrictions that the log names when they permit something.
        smtpd_log_access_permit_actions: List = "";
        /// What the null sender is called in access tables.
        smtpd_null_access_lookup_key: Text = "<>";
        /// Take nothing but `<address>` in MAIL and RCPT.
        strict_rfc821_envelopes: Bool = "no";
        /// Offer SMTPUTF8.
        smtputf8_enable: Bool = "${{$compatibility_level} <level {1} ? {no} : {yes}}";
        /// Refuse VRFY.
        disable_vrfy_command: Bool = "no";
        /// Keywords left out of the reply to EHLO.
        smtpd_discard_ehlo_keywords: List = "";
        /// Keywords left out of the reply to EHLO by the client's address, instead of those.
        smtpd_discard_ehlo_keyword_address_maps: List = "";
        /// Tables of patterns that write a command anew before it is read.
        smtpd_command_filter: Text = "";
        /// Words below each refusal.
        smtpd_reject_footer: Verbatim = "";
        /// The same by the refusal.
        smtpd_reject_footer_maps: List = "";
        /// Clients that may ask for variable envelope return paths (XVERP).
        smtpd_authorized_verp_clients: List = "$authorized_verp_clients";
        /// The protocol by which a proxy before this server says who the client is: haproxy, or none.
        smtpd_upstream_proxy_protocol: Text = "";
        /// How long to wait for what the proxy says.
        smtpd_upstream_proxy_timeout: Time = "5s";
        /// Commands that are answered like NOOP.
        smtpd_noop_commands: List = "";
        /// Words that end a session at once: no mail client says them.
        smtpd_forbidden_commands: List = "CONNECT GET POST regexp:{{/^[^A-Z]/ Bogus}}";
        /// End the session of a client that speaks before its turn.
        smtpd_forbid_unauth_pipelining: Bool = "no";
        /// What to do with lines that end in a bare LF: yes or normalize (only CRLF.CRLF ends a
        /// message), note (the same, with a word in the log), reject, or no.
        smtpd_forbid_bare_newline: Text = "normalize";
        /// Clients that smtpd_forbid_bare_newline does not hold for.
        smtpd_forbid_bare_newline_exclusions: List = "$mynetworks";
        /// The code for content that smtpd_forbid_bare_newline rejects.
        smtpd_forbid_bare_newline_reject_code: Count = "550", min 400, max 599;
        /// How many recipients a message may have.
        smtpd_recipient_limit: Count = "1000", min 1;
        /// How many recipients beyond that are refused before each counts as an error.
        smtpd_recipient_overshoot_limit: Count = "1000", min 1;
        /// How many errors before replies are slowed down.
        smtpd_soft_error_limit: Count = "10", min 1;
        /// How many errors before the session ends.
        smtpd_hard_error_limit: Count = "${stress?{1}:{20}}", min 1;
        /// How long replies are slowed down.
        smtpd_error_sleep_time: Time = "1s";
        /// How many NOOP, VRFY, ETRN and RSET before each counts as an error.
        smtpd_junk_command_limit: Count = "${stress?{1}:{100}}", min 1;
        /// How long to wait for the client.
        smtpd_timeout: Time = "${stress?{10}:{300}}s";
        /// Let smtpd_timeout bound a whole command or reply instead of one read or write.
        smtpd_per_request_deadline: Bool = "${smtpd_per_record_deadline?{$smtpd_per_record_deadline}:{${stress?{yes}:{no}}}}";
        /// With deadlines: how many bytes of content buy one more second.
        smtpd_min_data_rate: Count = "500", min 1;
        /// How many connections one client may have at a time; 0 for any.
        smtpd_client_connection_count_limit: Count = "50", min 0;
        /// How often one client may connect in anvil_rate_time_unit; 0 for any.
        smtpd_client_connection_rate_limit: Count = "0", min 0;
        /// How many messages one client may begin in anvil_rate_time_unit; 0 for any.
        smtpd_client_message_rate_limit: Count = "0", min 0;
        /// How many recipients one client may give in anvil_rate_time_unit; 0 for any.
        smtpd_client_recipient_rate_limit: Count = "0", min 0;
        /// Clients that the limits on connections, messages and recipients do not hold for.
        smtpd_client_event_limit_exceptions: List = "${smtpd_client_connection_limit_exceptions:$mynetworks}";
        /// The time over which rates are counted.
        anvil_rate_time_unit: Time = "60s";
        /// Show the client's port in the log.
        smtpd_client_port_logging: Bool = "no";
        /// Look up the name of a client.
        smtpd_peername_lookup: Bool = "yes";
        /// Clients that may use XCLIENT.
        smtpd_authorized_xclient_hosts: List = "";
        /// Clients that may use XFORWARD.
        smtpd_authorized_xforward_hosts: List = "";
        /// Clients whose mail gets missing headers and complete header addresses.
        local_header_rewrite_clients: List = "permit_inet_interfaces";
        /// The filter that mail goes through before it is delivered, as `transport:nexthop`.
        content_filter: Text = "";
        /// What cleanup leaves out for this service's mail.
        receive_override_options: List = "";
        /// The cleanup service that takes this service's mail.
        cleanup_service_name: Text = "cleanup";
    }
}
