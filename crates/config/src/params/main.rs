//! Parameters that several programs obey.

use crate::params;
use crate::value::{Bool, List, Text};

params! {
    /// Who this host is and where its files are.
    Main {
        /// The internet name of this mail system. The host's own name when not set.
        myhostname: Text = "localhost.localdomain";
        /// The domain of this mail system: myhostname without its first part when not set.
        mydomain: Text = "localdomain";
        /// The domain that local addresses appear to come from.
        myorigin: Text = "$myhostname";
        /// The domains delivered on this host.
        mydestination: List = "$myhostname, localhost.$mydomain, localhost";
        /// The name in greetings and Received headers.
        mail_name: Text = "Postfix";
        /// Where the queue is.
        queue_directory: Text = "/var/spool/postfix";
        /// The user that owns the queue and runs the mail role.
        mail_owner: Text = "postfix";
        /// The group of postdrop and postqueue.
        setgid_group: Text = "postdrop";
        /// The name before the daemon's in log lines.
        syslog_name: Text = "${multi_instance_name?{$multi_instance_name}:{postfix}}";
        /// The sender of mail to the postmaster; what cannot be delivered for it is dropped.
        double_bounce_sender: Text = "double-bounce";
        /// The user's address extension separator.
        recipient_delimiter: Text = "";
        /// Show queue ids in the long style, which is never used twice.
        enable_long_queue_ids: Bool = "no";
        /// The Postfix version whose defaults hold, such as 3.6; 0, 1 and 2 are older styles.
        compatibility_level: Text = "0";
        /// Start even though the rules relay mail for the whole world. Ours; Postfix has no such name.
        valija_allow_open_relay: Bool = "no";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn loads_and_expands() {
        let text = "myhostname = mx.example.org\nmydomain = example.org\n# x\nmydestination = $myhostname,\n  localhost\n";
        let config = Config::from_text(std::path::Path::new("/nowhere"), text).unwrap();
        let main = Main::load(&config).unwrap();
        assert_eq!(main.mydestination().0, ["mx.example.org", "localhost"]);
        assert_eq!(main.myorigin(), "mx.example.org");
        assert_eq!(Main::load(&config.with([("mail_name", "Valija")])).unwrap().mail_name(), "Valija");
    }
}
