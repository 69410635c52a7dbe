//! What goes wrong with logins that is not the client's matter.

events::events! {
    /// A login failed, and why, as far as the administrator is concerned.
    LoginTrouble { what: String } Warning "SASL authentication failure: {what}"
}
