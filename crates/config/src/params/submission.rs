//! Parameters of mail that local users hand over: sendmail and postdrop.

use crate::params;
use crate::value::{List, Text};

params! {
    /// Mail by command.
    Submission {
        /// The users who may hand over mail with sendmail and postdrop.
        authorized_submit_users: List = "static:anyone";
        /// Which line ends sendmail takes as such: `always` CRLF and LF; `strict` CRLF only if the
        /// first line ends so; `never` keeps a carriage return as content.
        sendmail_fix_line_endings: Text = "always";
    }
}
