//! Parameters that the supervisor obeys.

use crate::params;
use crate::value::{Count, List, Text, Time, Verbatim};

params! {
    /// What is started, where it listens, where it logs.
    Master {
        /// The addresses that mail is received on: all, loopback-only, or a list.
        inet_interfaces: List = "all";
        /// The protocols used: all, ipv4, ipv6.
        inet_protocols: List = "all";
        /// Where data other than mail is kept.
        data_directory: Text = "/var/lib/postfix";
        /// A log file, /dev/stdout, or nothing for syslog.
        maillog_file: Text = "";
        /// The directories below which a log file may be.
        maillog_file_prefixes: List = "/var, /dev/stdout";
        /// The command that compresses a log file that `postfix logrotate` has renamed.
        maillog_file_compressor: Text = "gzip";
        /// What such a log file is renamed with, as date(1) formats it.
        maillog_file_rotate_suffix: Verbatim = "%Y%m%d-%H%M%S";
        /// The environment variables that are taken over from whoever starts the system, or set
        /// (name=value).
        import_environment: List = "MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ XAUTHORITY DISPLAY LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME";
        /// The facility of syslog lines.
        syslog_facility: Text = "mail";
        /// How many clients may wait to be accepted.
        default_process_limit: Count = "100", min 1;
        /// The longest that one delivery may take.
        daemon_timeout: Time = "18000s";
        /// The version that is shown; that of the Postfix whose behaviour is followed, and ours.
        mail_version: Text = "3.7.11";
    }
}
