//! Parameters of the queue manager.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time};

params! {
    /// Who is delivered when, how many at a time, and for how long it is tried.
    Qmgr {
        /// The most messages that are worked on at a time.
        qmgr_message_active_limit: Count = "20000", min 1;
        /// The most recipients that are worked on at a time, counted over all messages.
        qmgr_message_recipient_limit: Count = "20000", min 1;
        /// The shortest time between two looks at what waits; no retry comes sooner.
        queue_run_delay: Time = "300s";
        /// The shortest time between two attempts to deliver a message.
        minimal_backoff_time: Time = "300s";
        /// The longest time between two attempts to deliver a message.
        maximal_backoff_time: Time = "4000s";
        /// How long a message is tried before it goes back to its sender.
        maximal_queue_lifetime: Time = "5d";
        /// How long a notice, or other mail without a sender, is tried before it is given up.
        bounce_queue_lifetime: Time = "5d";
        /// After how long the sender hears that a message is late; 0 means never.
        delay_warning_time: Time = "0h";
        /// Transports whose mail waits until someone flushes the queue.
        defer_transports: List = "";
        /// With how many deliveries at a time a destination is begun.
        initial_destination_concurrency: Count = "5", min 1;
        /// The most deliveries to one destination at a time.
        default_destination_concurrency_limit: Count = "20", min 0;
        /// The most recipients of one delivery.
        default_destination_recipient_limit: Count = "50", min 0;
        /// The same number for the transport named local, where a destination is a recipient.
        local_destination_concurrency_limit: Count = "2", min 0;
        /// The most recipients of one delivery by the transport named local.
        local_destination_recipient_limit: Count = "1", min 0;
        /// After how many failed attempts in a row a destination is left alone for a while; 0
        /// means never.
        default_destination_concurrency_failed_cohort_limit: Count = "1", min 0;
        /// What a delivery that reached its destination adds to the deliveries at a time there: a
        /// number from 0 to 1, alone or followed by /concurrency or /sqrt_concurrency.
        default_destination_concurrency_positive_feedback: Text = "1";
        /// What a delivery that did not reach its destination takes away from them; written the same way.
        default_destination_concurrency_negative_feedback: Text = "1";
        /// How long a destination is left alone after each delivery to it.
        default_destination_rate_delay: Time = "0s";
        /// How long a transport is left alone after each delivery that it begins.
        default_transport_rate_delay: Time = "0s";
        /// With variable envelope return paths: one notice for all recipients, to the plain sender.
        disable_verp_bounces: Bool = "no";
        /// Digits of delay= and delays= after the point, at most.
        delay_logging_resolution_limit: Count = "2", min 0, max 6;
        /// Who may list the queue.
        authorized_mailq_users: List = "static:anyone";
        /// Who may flush the queue.
        authorized_flush_users: List = "static:anyone";
    }
}
