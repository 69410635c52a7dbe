//! Parameters of mail filters that speak the milter protocol.

use crate::params;
use crate::value::{List, Text, Time};

params! {
    /// Mail filters (milters).
    Milter {
        /// The milters that see mail of SMTP clients, in this order: `unix:path`, `inet:host:port`, or
        /// `{ one of these, name=value … }` with settings of its own.
        smtpd_milters: List = "";
        /// Tables that name other milters for some client addresses, or DISABLE.
        smtpd_milter_maps: List = "";
        /// The milters that see mail from the maildrop, and what internal_mail_filter_classes names.
        non_smtpd_milters: List = "";
        /// How long connecting to a milter, and agreeing with it on the protocol, may take.
        milter_connect_timeout: Time = "30s";
        /// How long a milter may take to answer an SMTP command.
        milter_command_timeout: Time = "30s";
        /// How long a milter may take to answer a piece of content, or its end.
        milter_content_timeout: Time = "300s";
        /// What happens to mail when a milter fails: `accept`, `reject`, `tempfail`, or `quarantine`.
        milter_default_action: Text = "tempfail";
        /// The version of the protocol, 2, 3, 4 or 6, and `no_header_reply`.
        milter_protocol: List = "6";
        /// Macros told with a connection.
        milter_connect_macros: List = "j {daemon_name} {daemon_addr} v _";
        /// Macros told with HELO and EHLO.
        milter_helo_macros: List = "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}";
        /// Macros told with a sender.
        milter_mail_macros: List = "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}";
        /// Macros told with a recipient.
        milter_rcpt_macros: List = "i {rcpt_addr} {rcpt_host} {rcpt_mailer}";
        /// Macros told with DATA.
        milter_data_macros: List = "i";
        /// Macros told at the end of the header.
        milter_end_of_header_macros: List = "i";
        /// Macros told at the end of the message.
        milter_end_of_data_macros: List = "i";
        /// Macros told with a command that nobody knows.
        milter_unknown_command_macros: List = "";
        /// The macro {daemon_name}.
        milter_macro_daemon_name: Text = "$myhostname";
        /// The macro v.
        milter_macro_v: Text = "$mail_name $mail_version";
        /// `name=value`: macros that have no value otherwise.
        milter_macro_defaults: List = "";
        /// Rules for the header fields that milters add or change.
        milter_header_checks: List = "";
        /// Which mail made here header_checks, body_checks and non_smtpd_milters see: `bounce`, `notify`.
        internal_mail_filter_classes: List = "";
    }
}
