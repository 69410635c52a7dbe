//! The client's half of SMTP and LMTP without sockets: bytes of the server in, bytes for it out.
//!
//! A connection is a [`Replies`] reader, a [`Handshake`] that ends with the server's [`Features`], and
//! for each message a [`Transaction`], whose content passes a [`Stuffer`]. Whoever drives them reads
//! and writes, watches the clock, and puts what became of each recipient ([`Fate`]) into words.

mod features;
mod handshake;
mod replies;
mod stuffing;
mod transaction;

pub use features::{Features, Keywords};
pub use handshake::{Handshake, Manner, Step};
pub use replies::{Answer, Garbage, Replies};
pub use stuffing::{Piece, Stuffer};
pub use transaction::{Fate, Forwarded, Mail, Rcpt, Transaction, Want, xtext};

/// What is said or waited for on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The server's first words.
    Greeting,
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// LHLO.
    Lhlo,
    /// STARTTLS.
    Starttls,
    /// AUTH and what follows it.
    Auth,
    /// The first XFORWARD: name, address, port.
    ForwardClient,
    /// The second: protocol, HELO, identity, source.
    ForwardSession,
    /// MAIL FROM.
    Mail,
    /// RCPT TO, of the recipient at this place of the transaction.
    Rcpt(usize),
    /// DATA.
    Data,
    /// The content.
    Content,
    /// The dot; with LMTP of the recipient at this place.
    Dot(usize),
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
}

impl Stage {
    /// What was being done, behind "lost connection with … while".
    pub fn doing(self) -> &'static str {
        match self {
            Stage::Greeting => "receiving the initial server greeting",
            Stage::Ehlo => "performing the EHLO handshake",
            Stage::Helo => "performing the HELO handshake",
            Stage::Lhlo => "performing the LHLO handshake",
            Stage::Starttls => "receiving the STARTTLS response",
            Stage::Auth => "performing the EHLO handshake",
            Stage::ForwardClient => "sending XFORWARD name/address",
            Stage::ForwardSession => "sending XFORWARD protocol/helo_name",
            Stage::Mail => "sending MAIL FROM",
            Stage::Rcpt(_) => "sending RCPT TO",
            Stage::Data => "sending DATA command",
            Stage::Content => "sending message body",
            Stage::Dot(_) => "sending end of data -- message may be sent more than once",
            Stage::Rset => "sending final RSET",
            Stage::Quit => "sending QUIT",
        }
    }

    /// What was answered, in "(in reply to …)".
    pub fn command(self) -> &'static str {
        match self {
            Stage::Greeting => "initial greeting",
            Stage::Ehlo => "EHLO command",
            Stage::Helo => "HELO command",
            Stage::Lhlo => "LHLO command",
            Stage::Starttls => "STARTTLS command",
            Stage::Auth => "AUTH command",
            Stage::ForwardClient | Stage::ForwardSession => "XFORWARD command",
            Stage::Mail => "MAIL FROM command",
            Stage::Rcpt(_) => "RCPT TO command",
            Stage::Data => "DATA command",
            Stage::Content | Stage::Dot(_) => "end of DATA command",
            Stage::Rset => "final RSET command",
            Stage::Quit => "QUIT command",
        }
    }
}

#[cfg(test)]
mod tests;
