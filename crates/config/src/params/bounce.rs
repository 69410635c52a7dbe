//! Parameters of notices.

use crate::params;
use crate::value::{Bool, Count, List, Text};

params! {
    /// Who hears about mail that failed, is late, or arrived, and in which words.
    Bounce {
        /// Which kinds of trouble the postmaster hears about: bounce, 2bounce, delay, data, policy,
        /// protocol, resource, software.
        notify_classes: List = "resource, software";
        /// Who gets copies of bounces, without the text of the mail.
        bounce_notice_recipient: Text = "postmaster";
        /// Who gets mail that could go neither to its recipient nor back to its sender.
        double_bounce_notice_recipient as "2bounce_notice_recipient": Text = "postmaster";
        /// Who hears about mail that is late.
        delay_notice_recipient: Text = "postmaster";
        /// Who gets transcripts of SMTP sessions in which something went wrong.
        error_notice_recipient: Text = "postmaster";
        /// The most bytes of a message that go back with a notice; of bigger ones the headers; 0
        /// means no limit.
        bounce_size_limit: Count = "50000", min 0;
        /// A file with other words for notices, see bounce(5).
        bounce_template_file: Text = "";
        /// Tell the sender when mail arrived that a warning said was late.
        confirm_delay_cleared: Bool = "no";
        /// What would go back to its sender waits instead.
        soft_bounce: Bool = "no";
    }
}
