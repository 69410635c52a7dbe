//! What is known of a message when it begins, and what rules before the queue want done with it.

use proto::Address;
use proto::envelope::{Client, Encoding, Ret, Trace};

/// Which door was knocked at; decides the Received header and whether headers are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// smtpd. `local_rewrite`: the client matches `local_header_rewrite_clients`.
    Smtp {
        /// Complete header addresses and add missing headers.
        local_rewrite: bool,
    },
    /// `sendmail`/`postdrop` by this user.
    Pickup {
        /// Who.
        uid: u32,
    },
    /// Made here: bounces, notices, forwards, owner copies.
    Internal,
}

/// What is known when a message begins. Fields that do not apply keep their default.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The door.
    pub source: Source,
    /// The client, for Received, the log, and `%` macros.
    pub client: Client,
    /// The envelope sender as given (before completion).
    pub sender: Address,
    /// The sender's full name (`sendmail -F`), for a missing From header.
    pub full_name: Option<String>,
    /// Headers are left alone and not completed, as for mail of strangers (`sendmail -G`, forwards
    /// of a stranger's message); implied by `Source::Smtp` without `local_rewrite`.
    pub stranger: bool,
    /// BODY=.
    pub encoding: Encoding,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// ENVID=, xtext as received.
    pub dsn_envid: Option<String>,
    /// RET=.
    pub dsn_ret: Option<Ret>,
    /// XVERP delimiters; empty for the usual ones. Wrong ones are ignored: who can tell the
    /// submitter asks [`crate::verp::Delimiters`] before.
    pub verp: Option<String>,
    /// A notice made here (see `Envelope::notice`).
    pub notice: bool,
    /// Of what was made here: the class that `internal_mail_filter_classes` may name, `bounce` or `notify`.
    pub class: Option<&'static str>,
    /// The filters of the session that it comes by will see it: they are given to [`Message::finish_with`].
    pub milters: bool,
    /// A report by mail that the submitter asked for.
    pub trace: Trace,
    /// When it arrived, microseconds since 1970.
    pub arrival: u64,
    /// The size the client declared (SIZE=), 0 when it did not.
    pub declared_size: u64,
    /// Lines of Received between client and `by`, without their tab: TLS, authenticated sender.
    pub received_extra: Vec<String>,
    /// The session was encrypted.
    pub encrypted: bool,
    /// The name of a cleanup service in master.cf (`cleanup_service_name`) whose overrides apply.
    pub service: String,
    /// `content_filter` of the listener; empty for none.
    pub content_filter: String,
    /// `receive_override_options` of the listener.
    pub overrides: Vec<String>,
    /// The number in brackets of cleanup's log lines.
    pub number: u32,
}

impl Origin {
    /// A message of this source, sender and moment; all else empty, service `cleanup`.
    pub fn new(source: Source, sender: Address, arrival: u64) -> Origin {
        Origin {
            source,
            client: Client::default(),
            sender,
            full_name: None,
            stranger: false,
            encoding: Encoding::Unknown,
            smtputf8: false,
            dsn_envid: None,
            dsn_ret: None,
            verp: None,
            notice: false,
            class: None,
            milters: false,
            trace: Trace::None,
            arrival,
            declared_size: 0,
            received_extra: Vec::new(),
            encrypted: false,
            service: "cleanup".into(),
            content_filter: String::new(),
            overrides: Vec::new(),
            number: std::process::id(),
        }
    }
}

/// What restrictions, or other rules before the queue, want done with a message besides taking it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Keep it aside until it is released.
    pub hold: bool,
    /// `transport:nexthop` instead of the usual ones.
    pub filter: Option<String>,
    /// Send it there instead of to its recipients.
    pub redirect: Option<Address>,
    /// Send it there, too, without notices.
    pub bcc: Vec<Address>,
    /// Header lines before all others. They count only until content comes.
    pub prepend: Vec<String>,
}

impl Orders {
    /// Both; where they contradict each other, the later holds.
    pub fn add(&mut self, later: Orders) {
        self.hold |= later.hold;
        self.filter = later.filter.or(self.filter.take());
        self.redirect = later.redirect.or(self.redirect.take());
        self.bcc.extend(later.bcc);
        self.prepend.extend(later.prepend);
    }
}
