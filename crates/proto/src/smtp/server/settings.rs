//! What a session is told before it begins.

use super::{Faults, WordTest};
use crate::smtp::data::BareNewline;
use crate::smtp::reply::Reply;
use std::fmt;
use std::sync::Arc;

/// The extensions that EHLO offers. [`Extensions::discard`] takes some away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Extensions {
    pub pipelining: bool,
    pub size: bool,
    pub vrfy: bool,
    pub etrn: bool,
    pub verp: bool,
    pub xclient: bool,
    pub xforward: bool,
    pub enhanced_status_codes: bool,
    pub eight_bit_mime: bool,
    pub dsn: bool,
    pub smtputf8: bool,
    pub chunking: bool,
    pub starttls: bool,
    pub auth: bool,
}

impl Extensions {
    /// Every one.
    pub const ALL: Extensions = Extensions {
        pipelining: true,
        size: true,
        vrfy: true,
        etrn: true,
        verp: true,
        xclient: true,
        xforward: true,
        enhanced_status_codes: true,
        eight_bit_mime: true,
        dsn: true,
        smtputf8: true,
        chunking: true,
        starttls: true,
        auth: true,
    };

    /// Takes away what a word of `smtpd_discard_ehlo_keywords` names; false for unknown words.
    pub fn discard(&mut self, word: &str) -> bool {
        match word.to_ascii_lowercase().as_str() {
            "pipelining" => self.pipelining = false,
            "size" => self.size = false,
            "vrfy" => self.vrfy = false,
            "etrn" => self.etrn = false,
            "verp" => self.verp = false,
            "xclient" => self.xclient = false,
            "xforward" => self.xforward = false,
            "enhancedstatuscodes" => self.enhanced_status_codes = false,
            "8bitmime" => self.eight_bit_mime = false,
            "dsn" => self.dsn = false,
            "smtputf8" => self.smtputf8 = false,
            "chunking" => self.chunking = false,
            "starttls" => self.starttls = false,
            "auth" => self.auth = false,
            "silent-discard" => {}
            _ => return false,
        }
        true
    }
}

/// What becomes of STARTTLS. RFC 3207.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starttls {
    /// There is no such command.
    #[default]
    Absent,
    /// It is offered.
    Offered,
    /// It should be there, but certificate or key cannot be used: offered as in Postfix, so that a
    /// client which must encrypt tries again later, and refused for now.
    Broken,
}

/// What becomes of AUTH. RFC 4954.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The mechanisms to show in reply to EHLO; empty to show none, though AUTH is taken.
    pub offered: Arc<str>,
    /// `broken_sasl_auth_clients`: show them in an older syntax, too.
    pub old_syntax: bool,
    /// `smtpd_sasl_response_limit`: the longest response.
    pub response_limit: usize,
}

/// Limits and rules of a session.
#[derive(Clone)]
pub struct Settings {
    /// `myhostname`.
    pub hostname: Arc<str>,
    /// `message_size_limit`; 0 for none.
    pub size_limit: u64,
    /// `line_length_limit`.
    pub line_limit: usize,
    /// Each command is kept as it came, for [`super::Session::line`].
    pub keep_line: bool,
    /// Commands that nobody knows are told as [`super::Event::Unknown`].
    pub tell_unknown: bool,
    /// `smtputf8_enable`.
    pub smtputf8: bool,
    /// `strict_rfc821_envelopes`.
    pub strict_rfc821_envelopes: bool,
    /// `smtpd_helo_required`.
    pub helo_required: bool,
    /// `disable_vrfy_command`.
    pub disable_vrfy: bool,
    /// `smtpd_recipient_limit`.
    pub recipient_limit: u64,
    /// `smtpd_recipient_overshoot_limit`.
    pub recipient_overshoot_limit: i64,
    /// `smtpd_junk_command_limit`.
    pub junk_limit: i64,
    /// `smtpd_hard_error_limit`.
    pub hard_error_limit: i64,
    /// `smtpd_forbid_unauth_pipelining`, for a client that it holds for.
    pub forbid_unauth_pipelining: bool,
    /// `smtpd_forbid_bare_newline`, for a client that it holds for.
    pub bare_newline: BareNewline,
    /// `smtpd_forbid_bare_newline_reject_code`.
    pub bare_newline_code: u16,
    /// `smtpd_noop_commands`.
    pub noop_commands: Arc<[String]>,
    /// `smtpd_forbidden_commands`.
    pub forbidden: WordTest,
    /// What EHLO offers, less `smtpd_discard_ehlo_keywords`.
    pub extensions: Extensions,
    /// The words to log when EHLO leaves keywords out; `None` when it leaves none out, or silently.
    pub discarding: Option<String>,
    /// `soft_bounce`: refusals for good become refusals for now.
    pub soft_bounce: bool,
    /// Everything but QUIT is answered so: the client was refused when it connected.
    pub denied: Option<Reply>,
    /// The postmaster hears of sessions with these faults: a transcript is kept.
    pub notify: Faults,
    /// The client may use XCLIENT.
    pub xclient: bool,
    /// The client may use XFORWARD.
    pub xforward: bool,
    /// The client may ask for XVERP.
    pub verp: bool,
    /// `smtpd_command_filter`: what is read instead of a line.
    pub filter: Option<LineFilter>,
    /// `smtpd_reject_footer`: what is added to a refusal.
    pub footer: Option<Footer>,
    /// Nobody can tell what to offer in reply to EHLO: the session ends.
    pub no_offers: bool,
    /// Whether the session can be encrypted.
    pub starttls: Starttls,
    /// `smtpd_tls_security_level = encrypt`: nothing of a transaction without encryption.
    pub encrypted_only: bool,
    /// Clients may log in, as things stand; changes with encryption.
    pub auth: Option<Auth>,
    /// `smtpd_client_auth_rate_limit`: asked for each AUTH.
    pub auth_gate: Option<Gate>,
}

/// Counts a command; a reply when there were too many.
pub type Gate = Arc<dyn Fn() -> Option<Reply> + Send + Sync>;

/// What stands instead of a line, if anything; an error when nobody can tell.
pub type LineFilter = Arc<dyn Fn(&str) -> Result<Option<String>, ()> + Send + Sync>;

/// What is added to a refusal: lines, or after `\\c` the rest of its last line.
pub type Footer = Arc<dyn Fn(&Reply) -> Option<String> + Send + Sync>;

/// Postfix's defaults.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hostname: "localhost".into(),
            size_limit: 10_240_000,
            line_limit: 2048,
            keep_line: false,
            tell_unknown: false,
            smtputf8: true,
            strict_rfc821_envelopes: false,
            helo_required: false,
            disable_vrfy: false,
            recipient_limit: 1000,
            recipient_overshoot_limit: 1000,
            junk_limit: 100,
            hard_error_limit: 20,
            forbid_unauth_pipelining: false,
            bare_newline: BareNewline::Normalize,
            bare_newline_code: 550,
            noop_commands: Arc::new([]),
            forbidden: Arc::new(|_| false),
            extensions: Extensions::ALL,
            discarding: None,
            soft_bounce: false,
            denied: None,
            notify: Faults::NONE,
            xclient: false,
            xforward: false,
            verp: false,
            filter: None,
            footer: None,
            no_offers: false,
            starttls: Starttls::Absent,
            encrypted_only: false,
            auth: None,
            auth_gate: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}
