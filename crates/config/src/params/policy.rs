//! Parameters of policy services: programs that the SMTP server asks what to do with a client.

use crate::params;
use crate::value::{Count, Text, Time};

params! {
    /// The client of policy services. An element `{ server, name = value, … }` of a list has settings
    /// of its own.
    Policy {
        /// What happens when a policy service gives no usable answer, as an action of access(5).
        smtpd_policy_service_default_action: Text = "451 4.3.5 Server configuration problem";
        /// How long a connection to a policy service may be unused before it is closed.
        smtpd_policy_service_max_idle: Time = "300s";
        /// How long a connection to a policy service may be used.
        smtpd_policy_service_max_ttl: Time = "1000s";
        /// What the attribute policy_context says.
        smtpd_policy_service_policy_context: Text = "";
        /// How many questions one connection takes; 0 for any number.
        smtpd_policy_service_request_limit: Count = "0", min 0;
        /// How long to wait before a question that got no answer is asked again.
        smtpd_policy_service_retry_delay: Time = "1s";
        /// How long connecting, asking and waiting for the answer may take each.
        smtpd_policy_service_timeout: Time = "100s";
        /// How often a question is asked before the default action counts.
        smtpd_policy_service_try_limit: Count = "2", min 1;
    }
}
