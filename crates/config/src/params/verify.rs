//! Parameters of address verification: whether an address can be delivered to is tried before mail
//! for it, or from it, is taken.

use crate::params;
use crate::value::{Bool, Count, List, Text, Time};

params! {
    /// Address verification.
    Verify {
        /// How often addresses that were found out too long ago are forgotten; 0 for never.
        address_verify_cache_cleanup_interval: Time = "12h";
        /// The transport of probes for other domains.
        address_verify_default_transport: Text = "$default_transport";
        /// The transport of probes for this host.
        address_verify_local_transport: Text = "$local_transport";
        /// Where what was found out is kept, as a file of valija's own beside the one named; empty to
        /// keep it in memory only.
        address_verify_map: Text = "btree:$data_directory/verify_cache";
        /// Remember also addresses that cannot be delivered to.
        address_verify_negative_cache: Bool = "yes";
        /// How long such an address is refused without a probe that succeeds.
        address_verify_negative_expire_time: Time = "3d";
        /// After which time such an address is probed again, when it is asked for.
        address_verify_negative_refresh_time: Time = "3h";
        /// How many probes may be under way.
        address_verify_pending_request_limit: Count = "5000", min 1;
        /// How often the result of a probe is asked for before a client is told to come again.
        address_verify_poll_count: Count = "${stress?{1}:{3}}", min 1;
        /// How long is waited between.
        address_verify_poll_delay: Time = "3s";
        /// How long an address that can be delivered to is believed in without another probe that succeeds.
        address_verify_positive_expire_time: Time = "31d";
        /// After which time such an address is probed again, when it is asked for.
        address_verify_positive_refresh_time: Time = "7d";
        /// The transport of probes for domains that are relayed.
        address_verify_relay_transport: Text = "$relay_transport";
        /// The host that probes for other domains go to.
        address_verify_relayhost: Text = "$relayhost";
        /// The sender of probes; a name without domain gets that of this host.
        address_verify_sender: Text = "$double_bounce_sender";
        /// Transports of probes by their sender.
        address_verify_sender_dependent_default_transport_maps: List = "$sender_dependent_default_transport_maps";
        /// Hosts that probes go to by their sender.
        address_verify_sender_dependent_relayhost_maps: List = "$sender_dependent_relayhost_maps";
        /// How often a part of the sender of probes changes; 0 for never.
        address_verify_sender_ttl: Time = "0s";
        /// Transports of probes by address or domain.
        address_verify_transport_maps: List = "$transport_maps";
        /// The transport of probes for virtual mailboxes.
        address_verify_virtual_transport: Text = "$virtual_transport";
        /// The code of the reply when a recipient could not be verified now; 250 to take it.
        unverified_recipient_defer_code: Count = "450", min 200, max 499;
        /// The code of the reply to a recipient that cannot be delivered to.
        unverified_recipient_reject_code: Count = "450", min 200, max 599;
        /// What the reply says instead of what was found out about a recipient.
        unverified_recipient_reject_reason: Text = "";
        /// Refuse for now a recipient that could not be verified: at once, or if nothing else refuses it.
        unverified_recipient_tempfail_action: Text = "$reject_tempfail_action";
        /// The code of the reply when a sender could not be verified now; 250 to take it.
        unverified_sender_defer_code: Count = "450", min 200, max 499;
        /// The code of the reply to a sender that cannot be delivered to.
        unverified_sender_reject_code: Count = "450", min 200, max 599;
        /// What the reply says instead of what was found out about a sender.
        unverified_sender_reject_reason: Text = "";
        /// Refuse for now a sender that could not be verified: at once, or if nothing else refuses it.
        unverified_sender_tempfail_action: Text = "$reject_tempfail_action";
    }
}
