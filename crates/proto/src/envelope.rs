//! The envelope: everything about a message that is not its content.

use crate::Address;

/// What the queue keeps beside the content. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Where bounces go; null for bounces themselves.
    pub sender: Address,
    /// All recipients, in the order given; a recipient is named by its place here for good.
    pub recipients: Vec<Recipient>,
    /// When the message entered.
    pub arrival: u64,
    /// The size of the content as Postfix counts it (see `size=` in the log), bytes.
    pub size: u64,
    /// Where it came from.
    pub client: Client,
    /// The body was declared or found to be `7bit` or `8bit`.
    pub encoding: Encoding,
    /// SMTPUTF8 was asked for. RFC 6531.
    pub smtputf8: bool,
    /// `ENVID` of RFC 3461 4.4, as received (xtext).
    pub dsn_envid: Option<String>,
    /// `RET` of RFC 3461 4.3.
    pub dsn_ret: Option<Ret>,
    /// Ask for a `transport:nexthop` of this kind instead of the usual one (`content_filter`).
    pub filter: Option<String>,
    /// Set by `postsuper -h`, by a HOLD action, or at arrival.
    pub hold: bool,
    /// Variable envelope return path delimiters (XVERP), such as `+=`.
    pub verp: Option<String>,
    /// This is a notice (bounce, delay warning …) made here; failures of it go to nobody or to
    /// the postmaster, never into another bounce to its sender.
    pub notice: bool,
    /// The sender is mailed a report.
    pub trace: Trace,
}

/// A report by mail that a submitter asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// None.
    #[default]
    None,
    /// `sendmail -bv`: of what a delivery would do; nothing is delivered.
    Verify,
    /// `sendmail -v`: of what the first attempt did.
    Record,
    /// Address verification: nothing is delivered, nobody is mailed; the verifier hears of it.
    Probe,
}

impl Trace {
    /// Nothing is delivered: the answer is what would be done.
    pub fn is_probe(self) -> bool {
        matches!(self, Trace::Verify | Trace::Probe)
    }

    /// The sender is mailed a report.
    pub fn is_mailed(self) -> bool {
        matches!(self, Trace::Verify | Trace::Record)
    }
}

/// One recipient of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// Where to deliver, after rewriting and virtual aliases.
    pub address: Address,
    /// As the client gave it (`orig_to=`, X-Original-To), after the completion Postfix shows.
    pub original: String,
    /// `ORCPT` of RFC 3461 4.2: type, `;`, xtext. Made from the address when none was given.
    pub dsn_orcpt: Option<String>,
    /// `NOTIFY` of RFC 3461 4.1.
    pub notify: Notify,
}

/// When a sender wants to hear about a recipient. All false: nothing was said (as failure).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// NOTIFY=NEVER.
    pub never: bool,
    /// NOTIFY=SUCCESS.
    pub success: bool,
    /// NOTIFY=FAILURE.
    pub failure: bool,
    /// NOTIFY=DELAY.
    pub delay: bool,
}

/// How much of the message a notice returns. RFC 3461 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// Everything.
    Full,
    /// The headers only.
    Headers,
}

/// What is known of the content's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Nothing was said, and only seven bits were seen.
    #[default]
    Unknown,
    /// `BODY=7BIT` was declared.
    SevenBit,
    /// `BODY=8BITMIME` was declared, a MIME header says so, or eight-bit bytes were seen.
    EightBit,
}

/// The client that handed a message over. Empty texts mean "not known" or "does not apply".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Verified name, `localhost`, or `unknown`.
    pub name: String,
    /// The name its address points to, verified or not; else `unknown`.
    pub reverse_name: String,
    /// Numeric address without brackets, `IPv6:` left out.
    pub address: String,
    /// Port, decimal.
    pub port: String,
    /// HELO or EHLO argument.
    pub helo: String,
    /// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPSA`, …; `QMQP`; empty for local submission.
    pub protocol: String,
    /// SASL method, user and the AUTH= sender.
    pub sasl_method: String,
    /// See `sasl_method`.
    pub sasl_username: String,
    /// See `sasl_method`.
    pub sasl_sender: String,
    /// The user who called sendmail.
    pub uid: Option<u32>,
    /// What policy calls it: `smtpd_client_event` instance, for the log and milters.
    pub instance: String,
}
