//! AUTH: logins of clients. RFC 4954

/// Who a client logged in as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The mechanism, as the client wrote it.
    pub method: String,
    /// The user.
    pub user: String,
    /// AUTH= of the present MAIL, where it is believed.
    pub sender: Option<String>,
}
