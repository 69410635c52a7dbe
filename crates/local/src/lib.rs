//! Delivery on this machine, as the user: mailboxes, aliases, .forward, commands, pipe.
