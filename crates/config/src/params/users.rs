//! Parameters of valija's own for logins without Dovecot.

use crate::params;
use crate::value::Text;

params! {
    /// Where users are kept.
    Users {
        /// The users of `smtpd_sasl_type = valija`, where `smtpd_sasl_path` names no tables: a file that
        /// `valija user` writes and only root may read.
        valija_users_file: Text = "$config_directory/valija_users";
        /// The passwords that saslpasswd2 keeps, where the service file of Cyrus SASL says auxprop and
        /// names no other file.
        valija_sasldb_file: Text = "/etc/sasldb2";
    }
}
