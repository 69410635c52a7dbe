//! The Received header. RFC 5321 4.4, RFC 3848. Pure.

use crate::intake::{Origin, Source};
use proto::date::DateTime;
use std::borrow::Cow;
use std::fmt::Write;

/// What a Received header is made of, besides the origin.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// `myhostname`.
    pub myhostname: &'a str,
    /// `mail_name`.
    pub mail_name: &'a str,
    /// The queue id; empty when the message is not in the queue.
    pub id: &'a str,
    /// The moment of arrival.
    pub date: &'a DateTime,
}

/// The header, lines separated by CRLF, without one at its end. `only`: the one recipient as
/// given, when there is exactly one.
pub fn header(origin: &Origin, here: &Here<'_>, only: Option<&str>) -> String {
    let Here { myhostname, mail_name, id, date } = here;
    match origin.source {
        Source::Internal => format!("Received: by {myhostname} ({mail_name})\r\n\tid {id}; {date}"),
        Source::Pickup { uid } => {
            format!("Received: by {myhostname} ({mail_name}, from userid {uid})\r\n\tid {id}; {date}")
        }
        Source::Smtp { .. } => {
            let client = &origin.client;
            let name = clean(if client.name.is_empty() { "unknown" } else { &client.name });
            let literal = if client.address.contains(':') { "IPv6:" } else { "" };
            let helo = if client.helo.is_empty() { name.clone() } else { clean(&client.helo) };
            let mut out = String::with_capacity(256);
            let address = clean(&client.address);
            let _ = write!(out, "Received: from {helo} ({name} [{literal}{address}])\r\n");
            for line in &origin.received_extra {
                let _ = write!(out, "\t{}\r\n", clean(line));
            }
            // RFC 6531 4.3
            let protocol = if origin.smtputf8 { "UTF8SMTP" } else { &client.protocol };
            // RFC 3848; there is no such word for sessions that began with HELO.
            let suffix = match (origin.encrypted, !client.sasl_username.is_empty()) {
                _ if client.protocol != "ESMTP" => "",
                (true, true) => "SA",
                (true, false) => "S",
                (false, true) => "A",
                (false, false) => "",
            };
            let _ = write!(out, "\tby {myhostname} ({mail_name}) with {protocol}{suffix}");
            if !id.is_empty() {
                let _ = write!(out, " id {id}");
            }
            let _ = match only {
                Some(recipient) => write!(out, "\r\n\tfor <{}>; {date}", clean(recipient)),
                None => write!(out, ";\r\n\t{date}"),
            };
            out
        }
    }
}

/// What a stranger wrote cannot begin a line or end a comment of its own.
fn clean(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: Source, only: Option<&str>, expected: &str) {
        let mut origin = Origin::new(source, proto::Address::null(), 0);
        origin.client = proto::envelope::Client {
            name: "localhost".into(),
            address: "127.0.0.1".into(),
            helo: "vostro".into(),
            protocol: "ESMTP".into(),
            ..Default::default()
        };
        let date = DateTime::new(1_795_187_936, 0, "UTC");
        let here =
            Here { myhostname: "mail2.josedomingo.org", mail_name: "Postfix", id: "DE3232C16A", date: &date };
        assert_eq!(header(&origin, &here, only).replace("\r\n", "\n"), expected);
    }

    #[test]
    fn forms_of_received() {
        let smtp = || Source::Smtp { local_rewrite: true };
        check(
            smtp(),
            Some("usuario@josedomingo.org"),
            "Received: from vostro (localhost [127.0.0.1])\n\tby mail2.josedomingo.org (Postfix) with ESMTP id DE3232C16A\n\tfor <usuario@josedomingo.org>; Fri, 20 Nov 2026 15:18:56 +0000 (UTC)",
        );
        check(
            smtp(),
            None,
            "Received: from vostro (localhost [127.0.0.1])\n\tby mail2.josedomingo.org (Postfix) with ESMTP id DE3232C16A;\n\tFri, 20 Nov 2026 15:18:56 +0000 (UTC)",
        );
        check(
            Source::Pickup { uid: 1001 },
            Some("x"),
            "Received: by mail2.josedomingo.org (Postfix, from userid 1001)\n\tid DE3232C16A; Fri, 20 Nov 2026 15:18:56 +0000 (UTC)",
        );
        check(
            Source::Internal,
            None,
            "Received: by mail2.josedomingo.org (Postfix)\n\tid DE3232C16A; Fri, 20 Nov 2026 15:18:56 +0000 (UTC)",
        );
    }
}
