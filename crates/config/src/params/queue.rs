//! Parameters of the queue's store.

use crate::params;
use crate::value::Count;

params! {
    /// The queue's store.
    Queue {
        /// The free space, in bytes, that the queue's file system must have for mail to be
        /// accepted; half as much again as message_size_limit where that is more.
        queue_minfree: Count = "0", min 0;
    }
}
