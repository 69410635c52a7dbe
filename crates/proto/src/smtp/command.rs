//! The arguments of commands: what MAIL, RCPT, VRFY, ETRN, XCLIENT and XFORWARD take, and the
//! replies to what they do not take. Order of commands is the business of `server`.

use super::reply::Reply;
use crate::Address;
use crate::address::parse::{self, Rules, is_address_literal, is_host_name};
use crate::envelope::{Encoding, Notify, Ret};

/// The verbs that are told apart, in the order in which the disconnect line counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Verb {
    Helo,
    Ehlo,
    Xclient,
    Xforward,
    Starttls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Etrn,
    Quit,
    Unknown,
}

impl Verb {
    /// All of them, in order.
    pub const ALL: [Verb; 16] = {
        use Verb::*;
        [
            Helo, Ehlo, Xclient, Xforward, Starttls, Auth, Mail, Rcpt, Data, Bdat, Rset, Noop, Vrfy, Etrn,
            Quit, Unknown,
        ]
    };

    /// In capitals, as the log names the place of a session.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Helo => "HELO",
            Verb::Ehlo => "EHLO",
            Verb::Xclient => "XCLIENT",
            Verb::Xforward => "XFORWARD",
            Verb::Starttls => "STARTTLS",
            Verb::Auth => "AUTH",
            Verb::Mail => "MAIL",
            Verb::Rcpt => "RCPT",
            Verb::Data => "DATA",
            Verb::Bdat => "BDAT",
            Verb::Rset => "RSET",
            Verb::Noop => "NOOP",
            Verb::Vrfy => "VRFY",
            Verb::Etrn => "ETRN",
            Verb::Quit => "QUIT",
            Verb::Unknown => "UNKNOWN",
        }
    }

    /// The verb written so, in any case.
    pub fn of(word: &str) -> Verb {
        let known = &Verb::ALL[..Verb::ALL.len() - 1];
        known.iter().copied().find(|v| v.name().eq_ignore_ascii_case(word)).unwrap_or(Verb::Unknown)
    }

    /// Must be the last of a pipelined group. RFC 2920 3.1.
    pub fn ends_group(self) -> bool {
        use Verb::*;
        // Not AUTH, whatever RFC 4954 4 says of it: Postfix takes responses that come along.
        !matches!(self, Mail | Rcpt | Bdat | Rset | Quit | Starttls | Auth | Unknown)
    }

    /// Belongs to a transaction, asks about addresses or logs in: not before STARTTLS where that is
    /// required.
    pub fn is_of_transaction(self) -> bool {
        use Verb::*;
        matches!(self, Auth | Mail | Rcpt | Data | Bdat | Rset | Vrfy | Etrn)
    }

    /// Counts for `smtpd_junk_command_limit`.
    pub fn is_junk(self) -> bool {
        matches!(self, Verb::Noop | Verb::Vrfy | Verb::Etrn | Verb::Rset)
    }
}

/// MAIL FROM and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Null for `<>`.
    pub sender: Address,
    /// The address as written, angle brackets included.
    pub written: String,
    /// SIZE; 0 when not given. RFC 1870.
    pub size: u64,
    /// BODY. RFC 6152.
    pub encoding: Encoding,
    /// SMTPUTF8. RFC 6531.
    pub smtputf8: bool,
    /// RET. RFC 3461 4.3.
    pub ret: Option<Ret>,
    /// ENVID, still in xtext. RFC 3461 4.4.
    pub envid: Option<String>,
    /// XVERP: its delimiters, unchecked; empty for the usual ones. VERP_README
    pub verp: Option<String>,
    /// AUTH, as written, unless it is `<>`. RFC 4954 5.
    pub auth: Option<String>,
}

/// RCPT TO and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rcpt {
    /// Never null.
    pub recipient: Address,
    /// The address as written, angle brackets included.
    pub written: String,
    /// ORCPT: type, `;`, xtext. RFC 3461 4.2.
    pub orcpt: Option<String>,
    /// NOTIFY. RFC 3461 4.1.
    pub notify: Notify,
}

/// What is allowed just now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// `strict_rfc821_envelopes`.
    pub strict: bool,
    /// RET, ENVID, NOTIFY and ORCPT.
    pub dsn: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// SIZE.
    pub size: bool,
    /// BODY.
    pub eight_bit: bool,
    /// XVERP.
    pub verp: bool,
}

/// Why arguments were refused: the reply, and the address to name in the log, if it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What to answer.
    pub reply: Reply,
    /// The text that is no address.
    pub address: Option<String>,
}

impl Refused {
    fn because(code: u16, text: impl Into<String>) -> Refused {
        Refused { reply: Reply::new(code, text), address: None }
    }
}

const SENDER_SYNTAX: &str = "5.1.7 Bad sender address syntax";
const RECIPIENT_SYNTAX: &str = "5.1.3 Bad recipient address syntax";

/// Reads what follows `MAIL`.
pub fn mail(arguments: &str, allowed: Allowed) -> Result<Mail, Refused> {
    let usage = || Refused::because(501, "5.5.4 Syntax: MAIL FROM:<address>");
    let rest = after_keyword(arguments, "FROM:").ok_or_else(usage)?;
    let (written, parameters) = first_word(rest).map_err(|()| Refused::because(501, SENDER_SYNTAX))?;
    if written.is_empty() {
        return Err(usage());
    }
    let mut mail = Mail { written: written.to_string(), ..Mail::default() };
    mail.smtputf8 = allowed.smtputf8 && words(parameters).any(|w| w.eq_ignore_ascii_case("SMTPUTF8"));
    let rules = Rules { strict: allowed.strict, utf8: mail.smtputf8 };
    mail.sender = parse::envelope(written, rules)
        .map_err(|_| Refused { reply: Reply::new(501, SENDER_SYNTAX), address: Some(written.to_string()) })?;
    for word in words(parameters) {
        let unknown = || Refused::because(555, format!("5.5.4 Unsupported option: {word}"));
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        match (name.to_ascii_uppercase().as_str(), value) {
            ("SMTPUTF8", None) if allowed.smtputf8 => {}
            ("BODY", Some(value)) if allowed.eight_bit => {
                mail.encoding = match value.to_ascii_uppercase().as_str() {
                    "7BIT" => Encoding::SevenBit,
                    "8BITMIME" => Encoding::EightBit,
                    _ => return Err(unknown()),
                }
            }
            ("SIZE", Some(value)) if allowed.size => {
                let bad = || Refused::because(501, "5.5.4 Bad message size syntax");
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                if !digits {
                    return Err(bad());
                }
                mail.size = match value.parse::<i64>() {
                    Ok(size) => size.unsigned_abs(),
                    Err(_) => {
                        let text = "5.3.4 Message size exceeds file system imposed limit";
                        return Err(Refused::because(552, text));
                    }
                };
            }
            ("XVERP", value) if allowed.verp => mail.verp = Some(value.unwrap_or_default().to_string()),
            // As in Postfix it need not be xtext: it is shown, and nothing else comes of it.
            ("AUTH", Some(value)) => {
                if mail.auth.is_some() {
                    return Err(Refused::because(503, "5.5.4 Error: multiple AUTH= options"));
                }
                mail.auth = Some(value.to_string()).filter(|v| v != "<>");
            }
            ("RET" | "ENVID", Some(_)) if !allowed.dsn => return Err(dsn_disabled()),
            ("RET", Some(value)) => {
                let ret = match value.to_ascii_uppercase().as_str() {
                    "FULL" => Some(Ret::Full),
                    "HDRS" => Some(Ret::Headers),
                    _ => None,
                };
                if ret.is_none() || mail.ret.is_some() {
                    return Err(Refused::because(501, "5.5.4 Bad RET parameter syntax"));
                }
                mail.ret = ret;
            }
            ("ENVID", Some(value)) => {
                // RFC 3461 4.4 has at most 100 characters; Postfix takes what fits into the line.
                if mail.envid.is_some() || value.is_empty() || !is_xtext(value) {
                    return Err(Refused::because(501, "5.5.4 Bad ENVID parameter syntax"));
                }
                mail.envid = Some(value.to_string());
            }
            _ => return Err(unknown()),
        }
    }
    Ok(mail)
}

/// Reads what follows `RCPT`. `smtputf8`: the transaction asked for it.
pub fn rcpt(arguments: &str, allowed: Allowed, smtputf8: bool) -> Result<Rcpt, Refused> {
    let usage = || Refused::because(501, "5.5.4 Syntax: RCPT TO:<address>");
    let rest = after_keyword(arguments, "TO:").ok_or_else(usage)?;
    let (written, parameters) = first_word(rest).map_err(|()| Refused::because(501, RECIPIENT_SYNTAX))?;
    if written.is_empty() {
        return Err(usage());
    }
    let recipient = recipient(written, Rules { strict: allowed.strict, utf8: smtputf8 })?;
    let mut rcpt = Rcpt { recipient, written: written.to_string(), ..Rcpt::default() };
    let mut seen_notify = false;
    for word in words(parameters) {
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        match (name.to_ascii_uppercase().as_str(), value) {
            ("NOTIFY" | "ORCPT", Some(_)) if !allowed.dsn => return Err(dsn_disabled()),
            ("NOTIFY", Some(value)) => match notify(value) {
                Some(notify) if !seen_notify => (rcpt.notify, seen_notify) = (notify, true),
                _ => return Err(Refused::because(501, "5.5.4 Error: Bad NOTIFY parameter syntax")),
            },
            ("ORCPT", Some(value)) => {
                let good = value.split_once(';').is_some_and(|(kind, text)| {
                    !kind.is_empty() && (is_xtext(text) || smtputf8 && kind.eq_ignore_ascii_case("utf-8"))
                });
                if !good || rcpt.orcpt.is_some() {
                    return Err(Refused::because(501, "5.5.4 Error: Bad ORCPT parameter syntax"));
                }
                rcpt.orcpt = Some(value.to_string());
            }
            _ => return Err(Refused::because(555, format!("5.5.4 Unsupported option: {word}"))),
        }
    }
    Ok(rcpt)
}

/// Reads what follows `VRFY`: the text to repeat in a positive reply, and the address.
pub fn vrfy(arguments: &str, allowed: Allowed) -> Result<(String, Address), Refused> {
    let mut text = arguments.trim();
    if text.is_empty() {
        let utf8 = if allowed.smtputf8 { " [SMTPUTF8]" } else { "" };
        return Err(Refused::because(501, format!("5.5.4 Syntax: VRFY address{utf8}")));
    }
    let mut utf8 = false;
    if let Some((before, last)) = text.rsplit_once(' ')
        && allowed.smtputf8
        && last.eq_ignore_ascii_case("SMTPUTF8")
    {
        (text, utf8) = (before.trim_end(), true);
    }
    let address = recipient(text, Rules { strict: false, utf8 })?;
    Ok((text.to_string(), address))
}

fn recipient(written: &str, rules: Rules) -> Result<Address, Refused> {
    parse::envelope(written, rules).ok().filter(|a| !a.is_null()).ok_or_else(|| Refused {
        reply: Reply::new(501, RECIPIENT_SYNTAX),
        address: Some(written.to_string()),
    })
}

/// Reads what follows `ETRN`: a domain, perhaps after `@` or `#`. RFC 1985.
pub fn etrn(arguments: &str) -> Result<String, Reply> {
    let mut words = words(arguments);
    let (Some(word), None) = (words.next(), words.next()) else {
        return Err(Reply::new(500, "Syntax: ETRN domain"));
    };
    let domain = word.strip_prefix(['@', '#']).unwrap_or(word);
    if is_host_name(domain, false) || is_address_literal(domain) {
        Ok(domain.to_string())
    } else {
        Err(Reply::new(501, "Error: invalid parameter syntax"))
    }
}

/// Attributes of XCLIENT and XFORWARD, names in capitals, values decoded; `None` is
/// `[UNAVAILABLE]`. `[TEMPUNAVAIL]` is kept as such.
pub type Attributes = Vec<(String, Option<String>)>;

/// The attributes that XCLIENT knows.
pub const XCLIENT: &[&str] =
    &["NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT"];
/// The attributes that XFORWARD knows.
pub const XFORWARD: &[&str] = &["NAME", "ADDR", "PROTO", "HELO", "SOURCE", "PORT", "IDENT"];

/// Reads what follows `XCLIENT` or `XFORWARD`.
pub fn attributes(verb: &str, known: &[&str], arguments: &str) -> Result<Attributes, Reply> {
    let mut out = Vec::new();
    for word in words(arguments) {
        let pair = word.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let Some((name, value)) = pair else {
            return Err(Reply::new(501, "5.5.4 Error: attribute=value expected"));
        };
        let upper = name.to_ascii_uppercase();
        if !known.contains(&upper.as_str()) {
            return Err(Reply::new(501, format!("5.5.4 Bad {verb} attribute name: {name}")));
        }
        let bad = || Reply::new(501, format!("5.5.4 Bad {upper} syntax: {value}"));
        let decoded = xtext(value).ok_or_else(bad)?;
        if decoded.eq_ignore_ascii_case("[UNAVAILABLE]") {
            out.push((upper, None));
            continue;
        }
        let good = match upper.as_str() {
            "NAME" | "REVERSE_NAME" => {
                decoded.eq_ignore_ascii_case("[TEMPUNAVAIL]")
                    || verb == "XFORWARD"
                    || is_host_name(&decoded, true)
            }
            // Postfix wants the prefix before an IPv6 address here.
            "ADDR" | "DESTADDR" => {
                let bare_six = verb == "XCLIENT" && decoded.parse::<std::net::Ipv6Addr>().is_ok();
                bare_ip(&decoded).is_some() && !bare_six
            }
            "PORT" | "DESTPORT" => decoded.bytes().all(|b| b.is_ascii_digit()),
            "PROTO" if verb == "XCLIENT" => {
                decoded.eq_ignore_ascii_case("SMTP") || decoded.eq_ignore_ascii_case("ESMTP")
            }
            "SOURCE" => decoded.eq_ignore_ascii_case("LOCAL") || decoded.eq_ignore_ascii_case("REMOTE"),
            _ => true,
        };
        if !good {
            return Err(bad());
        }
        let value = match upper.as_str() {
            "ADDR" | "DESTADDR" => bare_ip(&decoded).unwrap_or_default(),
            _ => decoded,
        };
        out.push((upper, Some(value)));
    }
    if out.is_empty() {
        return Err(Reply::new(501, format!("5.5.4 Syntax: {verb} attribute=value...")));
    }
    Ok(out)
}

/// `192.0.2.1`, `2001:db8::1` or `IPv6:2001:db8::1`, without the prefix.
fn bare_ip(text: &str) -> Option<String> {
    let bare = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => &text[5..],
        _ => text,
    };
    bare.parse::<std::net::IpAddr>().ok().map(|ip| ip.to_string())
}

fn dsn_disabled() -> Refused {
    Refused::because(501, "5.7.1 DSN support is disabled")
}

fn notify(value: &str) -> Option<Notify> {
    let mut out = Notify::default();
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "NEVER" => out.never = true,
            "SUCCESS" => out.success = true,
            "FAILURE" => out.failure = true,
            "DELAY" => out.delay = true,
            _ => return None,
        }
    }
    let never_alone = !out.never || !(out.success || out.failure || out.delay);
    never_alone.then_some(out)
}

/// RFC 3461 4: xtext.
pub fn is_xtext(text: &str) -> bool {
    xtext(text).is_some()
}

/// Decodes xtext; `None` when malformed or not UTF-8.
pub fn xtext(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            _ => b,
        });
    }
    String::from_utf8(out).ok()
}

/// Words between white space.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|w| !w.is_empty())
}

fn after_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let text = text.trim_start_matches([' ', '\t']);
    let head = text.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| &text[keyword.len()..])
}

/// The first word, which may hold white space inside `<…>`, quotes or a comment, and the rest.
/// An error when one of these is not closed.
fn first_word(text: &str) -> Result<(&str, &str), ()> {
    let text = text.trim_start_matches([' ', '\t']);
    let mut open: Vec<u8> = Vec::new();
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (open.last().copied(), b) {
            (_, b'\\') => escaped = true,
            (Some(close), _) if b == close => drop(open.pop()),
            (Some(b'"'), _) => {}
            (_, b'"') => open.push(b'"'),
            (_, b'(') => open.push(b')'),
            (Some(b')'), _) => {}
            (_, b'<') => open.push(b'>'),
            (None, b' ' | b'\t') => return Ok(text.split_at(at)),
            _ => {}
        }
    }
    if open.is_empty() { Ok((text, "")) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Allowed =
        Allowed { strict: false, dsn: true, smtputf8: true, size: true, eight_bit: true, verp: true };

    #[test]
    fn mail_parameters() {
        let m =
            mail(" FROM:<a@b.org> SIZE=10 BODY=8bitmime RET=hdrs ENVID=q+2B1 SMTPUTF8 AUTH=<>", ALL).unwrap();
        assert_eq!(
            (m.size, m.encoding, m.ret, m.smtputf8),
            (10, Encoding::EightBit, Some(Ret::Headers), true)
        );
        assert_eq!(m.envid.as_deref(), Some("q+2B1"));
        assert_eq!(mail("from: a@b.org", ALL).unwrap().written, "a@b.org");
        for (text, reply) in [
            ("", "501 5.5.4 Syntax: MAIL FROM:<address>"),
            ("FROM", "501 5.5.4 Syntax: MAIL FROM:<address>"),
            ("FROM:", "501 5.5.4 Syntax: MAIL FROM:<address>"),
            ("FROM :<a@b.org>", "501 5.5.4 Syntax: MAIL FROM:<address>"),
            ("FROM:<a@b.org", "501 5.1.7 Bad sender address syntax"),
            ("FROM:<a@b.org>SIZE=1", "501 5.1.7 Bad sender address syntax"),
            ("FROM:<a@b.org> SIZE=", "501 5.5.4 Bad message size syntax"),
            ("FROM:<a@b.org> SIZE", "555 5.5.4 Unsupported option: SIZE"),
            ("FROM:<a@b.org> FOO=1", "555 5.5.4 Unsupported option: FOO=1"),
            ("FROM:<a@b.org> <x>", "555 5.5.4 Unsupported option: <x>"),
            ("FROM:a b@b.org", "555 5.5.4 Unsupported option: b@b.org"),
            ("FROM:<a@b.org> BODY=foo", "555 5.5.4 Unsupported option: BODY=foo"),
            ("FROM:<a@b.org> RET=foo", "501 5.5.4 Bad RET parameter syntax"),
            ("FROM:<a@b.org> RET=full RET=full", "501 5.5.4 Bad RET parameter syntax"),
            ("FROM:<a@b.org> ENVID=a+zz", "501 5.5.4 Bad ENVID parameter syntax"),
        ] {
            assert_eq!(mail(text, ALL).unwrap_err().reply.to_string(), reply, "{text:?}");
        }
        let none = Allowed::default();
        assert_eq!(mail("FROM:<a> RET=full", none).unwrap_err().reply.text, "5.7.1 DSN support is disabled");
        assert_eq!(mail("FROM:<a b@c> X", none).unwrap_err().address.as_deref(), Some("<a b@c>"));
    }

    #[test]
    fn rcpt_parameters() {
        let r = rcpt("TO:<a@b.org> NOTIFY=SUCCESS,delay ORCPT=rfc822;a+40b", ALL, false).unwrap();
        assert!(r.notify.success && r.notify.delay && !r.notify.failure && !r.notify.never);
        assert_eq!(r.orcpt.as_deref(), Some("rfc822;a+40b"));
        for (text, reply) in [
            ("TO", "501 5.5.4 Syntax: RCPT TO:<address>"),
            ("TO:<>", "501 5.1.3 Bad recipient address syntax"),
            ("TO:<a> FOO", "555 5.5.4 Unsupported option: FOO"),
            ("TO:<a> NOTIFY=foo", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
            ("TO:<a> NOTIFY=NEVER,SUCCESS", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
            ("TO:<a> NOTIFY=SUCCESS NOTIFY=FAILURE", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
            ("TO:<a> ORCPT=foo", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
            ("TO:<a> ORCPT=rfc822;foo+zz", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
        ] {
            assert_eq!(rcpt(text, ALL, false).unwrap_err().reply.to_string(), reply, "{text:?}");
        }
    }

    #[test]
    fn other_arguments() {
        assert_eq!(vrfy(" usuario SMTPUTF8", ALL).unwrap().0, "usuario");
        assert_eq!(vrfy("", ALL).unwrap_err().reply.text, "5.5.4 Syntax: VRFY address [SMTPUTF8]");
        assert_eq!(vrfy("a foo", ALL).unwrap_err().reply.code, 501);
        assert_eq!(etrn(" #foo").unwrap(), "foo");
        assert_eq!(etrn(" [127.0.0.1]").unwrap(), "[127.0.0.1]");
        assert_eq!(etrn("@").unwrap_err().to_string(), "501 Error: invalid parameter syntax");
        assert_eq!(etrn("a b").unwrap_err().to_string(), "500 Syntax: ETRN domain");
        let a = attributes("XCLIENT", XCLIENT, "name=+41b ADDR=IPv6:::1 HELO=[UNAVAILABLE]").unwrap();
        assert_eq!(
            a,
            [("NAME".into(), Some("Ab".into())), ("ADDR".into(), Some("::1".into())), ("HELO".into(), None)]
        );
        for (text, reply) in [
            ("", "5.5.4 Syntax: XCLIENT attribute=value..."),
            ("FOO=1", "5.5.4 Bad XCLIENT attribute name: FOO"),
            ("NAME", "5.5.4 Error: attribute=value expected"),
            ("NAME=a+zz", "5.5.4 Bad NAME syntax: a+zz"),
            ("NAME=a..b", "5.5.4 Bad NAME syntax: a..b"),
            ("ADDR=foo", "5.5.4 Bad ADDR syntax: foo"),
            ("PORT=x", "5.5.4 Bad PORT syntax: x"),
            ("PROTO=FOO", "5.5.4 Bad PROTO syntax: FOO"),
        ] {
            assert_eq!(attributes("XCLIENT", XCLIENT, text).unwrap_err().text, reply, "{text:?}");
        }
    }
}
