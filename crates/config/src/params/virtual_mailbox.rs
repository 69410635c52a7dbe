//! Parameters of delivery to virtual mailboxes, virtual(8). Which domains and addresses those are, `rewrite` declares.

use crate::params;
use crate::value::{Count, List, Text};

params! {
    /// Mailboxes of addresses that are no accounts of this host.
    VirtualMailbox {
        /// The directory that the results of virtual_mailbox_maps are below.
        virtual_mailbox_base: Text = "";
        /// The user numbers of mailboxes, by address.
        virtual_uid_maps: List = "";
        /// The group numbers of mailboxes, by address.
        virtual_gid_maps: List = "";
        /// The lowest user number that a mailbox may have.
        virtual_minimum_uid: Count = "100", min 1;
        /// How big a mailbox, or a file of a maildir, may grow; 0 is without limit.
        virtual_mailbox_limit: Count = "51200000", min 0;
        /// How mailboxes are locked: fcntl, flock, dotlock.
        virtual_mailbox_lock: List = "fcntl, dotlock";
    }
}
