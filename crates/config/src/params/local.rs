//! Parameters of local delivery, local(8).

use crate::params;
use crate::value::{Bool, Count, List, Text, Time, Verbatim};

params! {
    /// Mailboxes, aliases, .forward, commands.
    Local {
        /// The alias tables, asked in this order.
        alias_maps: List = "hash:/etc/aliases, nis:mail.aliases";
        /// Where commands may be named: alias, forward, include.
        allow_mail_to_commands: List = "alias, forward";
        /// Where files may be named: alias, forward, include.
        allow_mail_to_files: List = "alias, forward";
        /// The working directory of commands; the queue directory when empty.
        command_execution_directory: Verbatim = "";
        /// The characters that may reach a command through its environment.
        command_expansion_filter: Verbatim = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        /// How long a command may take.
        command_time_limit: Time = "1000s";
        /// Whose rights commands and files get that no user stands behind.
        default_privs: Text = "nobody";
        /// How often a lock is tried.
        deliver_lock_attempts: Count = "20", min 1;
        /// The time between two tries.
        deliver_lock_delay: Time = "1s";
        /// The characters that may reach the name of the working directory.
        execution_directory_expansion_filter: Verbatim = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        /// The sender of list mail is what the owner- alias says, not the alias itself.
        expand_owner_alias: Bool = "no";
        /// The environment variables that commands keep, or get (name=value).
        export_environment: List = "TZ MAIL_CONFIG LANG";
        /// Who delivers to names without alias and account.
        fallback_transport: Text = "";
        /// The same by table.
        fallback_transport_maps: List = "";
        /// The characters that may reach the names of .forward files.
        forward_expansion_filter: Verbatim = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        /// Where a user's .forward file is looked for.
        forward_path: Verbatim = "$home/.forward${recipient_delimiter}${extension}, $home/.forward";
        /// Delivered-To names the recipient that the attempt began with, not what it expanded to.
        frozen_delivered_to: Bool = "yes";
        /// A mailbox below the user's home; a maildir when it ends in a slash.
        home_mailbox: Text = "";
        /// The shell for commands; when empty, commands without shell characters run directly.
        local_command_shell: Text = "";
        /// Where mail for unknown names goes.
        luser_relay: Verbatim = "";
        /// The directory of mailboxes; maildirs when it ends in a slash.
        mail_spool_directory: Text = "/var/mail";
        /// The command that takes mail for users instead of a mailbox.
        mailbox_command: Verbatim = "";
        /// The same by table.
        mailbox_command_maps: List = "";
        /// How mailboxes are locked: fcntl, flock, dotlock.
        mailbox_delivery_lock: List = "fcntl, dotlock";
        /// How big a file may grow by a delivery, commands included; 0 is without limit.
        mailbox_size_limit: Count = "51200000", min 0;
        /// The transport that takes mail for users instead of a mailbox.
        mailbox_transport: Text = "";
        /// The same by table.
        mailbox_transport_maps: List = "";
        /// What gets a Delivered-To header: command, file, forward.
        prepend_delivered_header: List = "command, file, forward";
        /// Wait until the user's home directory is there.
        require_home_directory: Bool = "no";
        /// An alias without owner- alias forgets the owner of the alias that led to it.
        reset_owner_alias: Bool = "no";
        /// From this age on a lock file is one that was forgotten.
        stale_lock_time: Time = "500s";
        /// A mailbox must belong to its user.
        strict_mailbox_ownership: Bool = "yes";
    }
}
