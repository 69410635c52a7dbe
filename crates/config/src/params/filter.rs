//! Parameters of filters that see mail before it is queued.

use crate::params;
use crate::value::{List, Text, Time};

params! {
    /// A filter before the queue.
    Proxy {
        /// `host:port`, `inet:host:port` or `unix:path` of an SMTP filter that all mail of a listener goes through
        /// instead of into the queue; it gives back what passes to another listener.
        smtpd_proxy_filter: Text = "";
        /// The name that the server gives to the filter.
        smtpd_proxy_ehlo: Text = "$myhostname";
        /// `speed_adjust`: the filter is asked only when the message is complete.
        smtpd_proxy_options: List = "";
        /// How long to wait for the filter, each time.
        smtpd_proxy_timeout: Time = "100s";
    }
}
