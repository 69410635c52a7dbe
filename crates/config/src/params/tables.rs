//! Parameters that the table commands obey.

use crate::params;
use crate::value::{List, Text};

params! {
    /// Which tables `newaliases` checks, and what a table without a type is.
    Tables {
        /// The alias tables that newaliases looks after.
        alias_database: List = "hash:/etc/aliases";
        /// The type of tables that are named without one to newaliases, postalias and postmap.
        default_database_type: Text = "hash";
    }
}
