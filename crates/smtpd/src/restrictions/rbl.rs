//! Lists in the DNS: `reject_rbl_client zen.example=127.0.0.[2..11]` and its kin. A list answers with
//! an address when it has what is asked about; text beside it says why.
//!
//! RFC 5782 describes such lists.

use super::facts::{Kind, Record, Why};
use super::{Asked, Rejection, Say, Subject, Verdict, split_enhanced};
use crate::service::Rules;
use proto::Address;
use proto::smtp::reply::Reply;
use proto::smtp::server::Faults;
use std::net::IpAddr;

/// What a list is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Address,
    ClientName,
    ReverseName,
    Helo,
    Sender,
    Recipient,
}

/// One `reject_rbl_client …`, or `permit_…`.
pub(super) struct Listed {
    of: Of,
    permits: bool,
    /// As written, filter included: the key of `rbl_reply_maps`.
    written: String,
    domain: String,
    filter: Option<Filter>,
}

/// Whether `name` is a restriction of this file; `None` for others.
fn meaning(name: &str) -> Option<(Of, bool)> {
    Some(match name {
        "reject_rbl_client" => (Of::Address, false),
        "permit_dnswl_client" => (Of::Address, true),
        "reject_rhsbl_client" => (Of::ClientName, false),
        "permit_rhswl_client" => (Of::ClientName, true),
        "reject_rhsbl_reverse_client" => (Of::ReverseName, false),
        "reject_rhsbl_helo" => (Of::Helo, false),
        "reject_rhsbl_sender" => (Of::Sender, false),
        "reject_rhsbl_recipient" => (Of::Recipient, false),
        _ => return None,
    })
}

/// Whether a restriction of this name takes the domain of a list.
pub(super) fn takes_domain(name: &str) -> bool {
    meaning(name).is_some()
}

/// Whether a word can be the domain of a list, with or without a filter.
pub(super) fn is_domain(word: &str) -> bool {
    let domain = word.split_once('=').map_or(word, |(domain, _)| domain);
    domain.contains('.') || word.contains('=')
}

impl Listed {
    /// `name` is a restriction for which [`takes_domain`] holds. The error says what is wrong.
    pub(super) fn new(name: &str, written: &str) -> Result<Listed, String> {
        let (of, permits) = meaning(name).ok_or("is no list")?;
        let (domain, filter) = match written.split_once('=') {
            Some((domain, filter)) => (domain, Some(Filter::read(filter)?)),
            None => (written, None),
        };
        let domain = domain.trim_matches('.').to_string();
        Ok(Listed { of, permits, written: written.to_string(), domain, filter })
    }

    pub(super) fn ask(&self, a: &mut Asked<'_, '_>) -> Verdict {
        let Some((key, class, what)) = self.subject(a) else { return Verdict::Dunno };
        if self.domain.is_empty() {
            return Verdict::Dunno;
        }
        let name = format!("{key}.{}", self.domain);
        let records = match a.look_up_listed(Kind::A, &name) {
            None => {
                if !self.permits {
                    // Rarely of use alone, so both are asked for at once.
                    a.look_up_listed(Kind::Txt, &name);
                }
                return Verdict::Wait;
            }
            Some(Ok(records)) => records,
            Some(Err(lack)) if lack.why == Why::NotNow => {
                a.notes.says.push(Say::Once(format!("{name}: RBL lookup error: {}", lack.words)));
                if self.permits {
                    let code = a.q.rules.defer_code;
                    let text = format!("4.7.1 <{what}>: {class} rejected: Service unavailable");
                    let (reply, why) = (Reply::new(code, text), a.why.clone());
                    let rejection = Rejection { reply, why, fault: Faults::POLICY };
                    a.notes.defer_if_reject.get_or_insert(rejection);
                }
                return Verdict::Dunno;
            }
            Some(Err(_)) => return Verdict::Dunno,
        };
        let hit = records.iter().any(|r| match (r, &self.filter) {
            (Record::Address(_), None) => true,
            (Record::Address(IpAddr::V4(address)), Some(filter)) => filter.matches(address.octets()),
            _ => false,
        });
        if !hit {
            return Verdict::Dunno;
        }
        if self.permits {
            let subject = Subject::client(a.q.client);
            return a.permit_of(&subject, Some(name));
        }
        let reason = match a.look_up_listed(Kind::Txt, &name) {
            None => return Verdict::Wait,
            Some(Ok(records)) => records.iter().find_map(|r| match r {
                Record::Text(text) => Some(text.as_str()),
                _ => None,
            }),
            Some(Err(_)) => None,
        };
        a.why.row = Some(name);
        self.refuse(a, class, &what, reason.unwrap_or(""))
    }

    /// What is looked up below the list's domain, what it is called, and what replies show.
    fn subject(&self, a: &Asked<'_, '_>) -> Option<(String, &'static str, String)> {
        let q = &a.q;
        let named = |name: &str| !name.is_empty() && !name.starts_with('[') && name != "unknown";
        let of_name = |name: &str, class| named(name).then(|| (bare(name), class, name.to_string()));
        let of_address = |address: &Address, class| {
            let domain = address.domain().filter(|d| named(d))?;
            Some((bare(domain), class, address.internal()))
        };
        match self.of {
            Of::Address => Some((reversed(q.client.ip?), "Client host", q.client.address.clone())),
            Of::ClientName => of_name(&q.client.name, "Client host"),
            Of::ReverseName => of_name(&q.client.reverse_name, "Unverified Client host"),
            Of::Helo => of_name(q.helo?, "Helo command"),
            Of::Sender => of_address(q.sender?, "Sender address"),
            Of::Recipient => of_address(q.recipient?, "Recipient address"),
        }
        .filter(|(key, ..)| key.len() <= 253 && !key.contains(|c: char| c.is_control() || c == ' '))
    }

    /// The reply of `rbl_reply_maps` or `default_rbl_reply`.
    fn refuse(&self, a: &mut Asked<'_, '_>, class: &'static str, what: &str, reason: &str) -> Verdict {
        let rules = a.q.rules;
        let own = match rules.rbl_reply_maps.lookup(&self.written) {
            Ok(hit) => hit,
            Err(error) => {
                a.notes.says.push(Say::Trouble(error.to_string()));
                return a.server_error();
            }
        };
        let code = rules.maps_rbl_reject_code.to_string();
        let mut unknown = Vec::new();
        let mut fill = |template: &str| {
            expand(template, &mut |name| {
                let value = match name {
                    "rbl_code" => code.clone(),
                    "rbl_domain" => self.domain.clone(),
                    "rbl_reason" | "rbl_txt" => reason.to_string(),
                    "rbl_what" => what.to_string(),
                    "rbl_class" => class.to_string(),
                    name => match session_macro(name, a) {
                        Some(value) => value,
                        None => {
                            unknown.push(Say::UnknownMacro(name.to_string()));
                            return None;
                        }
                    },
                };
                Some(filtered(&value, rules))
            })
        };
        let text = own.and_then(|hit| fill(&hit.value)).or_else(|| fill(&rules.default_rbl_reply));
        a.notes.says.extend(unknown);
        let Some(text) = text else { return a.server_error() };
        let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let (code, rest) = match first.parse::<u16>() {
            Ok(code @ 400..=599) if first.len() == 3 => (code, rest.trim_start()),
            _ => {
                a.notes.says.push(Say::Trouble(format!("rbl response code configuration error: {text}")));
                (450, "Service unavailable")
            }
        };
        let (enhanced, rest) = split_enhanced(rest, if code >= 500 { "5.7.1" } else { "4.7.1" }, code);
        let reply = Reply::new(code, format!("{enhanced} {}", shortened(rest)));
        Verdict::Reject(Rejection { reply, why: a.why.clone(), fault: Faults::POLICY })
    }
}

/// More of a text from the DNS would not fit into a line of a reply with its log line.
const LONGEST: usize = 1500;

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn bare(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

/// An address as lists want it. RFC 5782 2.1, 2.4
fn reversed(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(ip) => {
            let digits = ip.octets().into_iter().rev().flat_map(|b| [b & 15, b >> 4]);
            digits.map(|d| format!("{d:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

/// What a session knows by name: for replies made from templates. `None` for no such name.
pub(crate) fn session_macro(name: &str, a: &Asked<'_, '_>) -> Option<String> {
    let q = &a.q;
    let local = |address: Option<&Address>| address.map(|a| a.local().to_string()).unwrap_or_default();
    let domain = |address: Option<&Address>| address.and_then(|a| a.domain()).unwrap_or_default().to_string();
    let whole = |address: Option<&Address>| address.map(|a| a.internal()).unwrap_or_default();
    Some(match name {
        "client" => format!("{}[{}]", q.client.name, q.client.address),
        "client_address" => q.client.address.clone(),
        "client_name" => q.client.name.clone(),
        "client_port" => q.client.port.clone(),
        "reverse_client_name" => q.client.reverse_name.clone(),
        "helo_name" => q.helo.unwrap_or_default().to_string(),
        "sender" => match q.sender {
            Some(sender) if sender.is_null() => "<>".to_string(),
            sender => whole(sender),
        },
        "sender_name" => match q.sender {
            Some(sender) if sender.is_null() => "<>".to_string(),
            sender => local(sender),
        },
        "sender_domain" => domain(q.sender),
        "recipient" => whole(q.recipient),
        "recipient_name" => local(q.recipient),
        "recipient_domain" => domain(q.recipient),
        _ => return None,
    })
}

/// `smtpd_expansion_filter`: a character that it does not name becomes `_`.
fn filtered(value: &str, rules: &Rules) -> String {
    let allowed = &rules.smtpd_expansion_filter;
    value.chars().map(|c| if u8::try_from(c).is_ok_and(|b| allowed.contains(&b)) { c } else { '_' }).collect()
}

/// Expands `$name`, `${name}`, `${name?text}`, `${name:text}`; `None` when `value` knows no such
/// name. What values hold is not expanded again.
pub(crate) fn expand(template: &str, value: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let parts = value_parts(template, value, 0)?;
    Some(parts)
}

fn value_parts(
    template: &str,
    value: &mut dyn FnMut(&str) -> Option<String>,
    depth: usize,
) -> Option<String> {
    if depth > 10 {
        return None;
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at)?);
        rest = rest.get(at + 1..)?;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (inside, after) = match rest.strip_prefix(['{', '(']) {
            Some(body) => {
                let mut open = 1;
                let end = body.char_indices().find(|(_, c)| {
                    open += match c {
                        '{' | '(' => 1,
                        '}' | ')' => -1,
                        _ => 0,
                    };
                    open == 0
                })?;
                (body.get(..end.0)?, body.get(end.0 + 1..)?)
            }
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (rest.get(..end)?, rest.get(end..)?)
            }
        };
        rest = after;
        let at = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
        let (name, action) = (inside.get(..at)?, inside.get(at..)?);
        let found = value(name)?;
        match (action.chars().next(), action.get(1..)) {
            (Some('?'), Some(text)) => {
                let (yes, no) = alternatives(text);
                match (found.is_empty(), no) {
                    (false, _) => out.push_str(&value_parts(yes, value, depth + 1)?),
                    (true, Some(no)) => out.push_str(&value_parts(no, value, depth + 1)?),
                    (true, None) => {}
                }
            }
            (Some(':'), Some(text)) => {
                let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
                if found.is_empty() {
                    out.push_str(&value_parts(text, value, depth + 1)?);
                }
            }
            (None, _) => out.push_str(&found),
            _ => return None,
        }
    }
    out.push_str(rest);
    Some(out)
}

/// `text`, `{text}`, `{text}:{otherwise}`.
fn alternatives(text: &str) -> (&str, Option<&str>) {
    match text.strip_prefix('{') {
        Some(body) => match body.split_once("}:{") {
            Some((yes, no)) => (yes, Some(no.strip_suffix('}').unwrap_or(no))),
            None => (body.strip_suffix('}').unwrap_or(body), None),
        },
        None => (text, None),
    }
}

/// Which answers of a list count: `127.0.0.2`, `127.0.[0..255].[2;4;10..11]`.
#[derive(Debug, PartialEq, Eq)]
struct Filter([Vec<(u8, u8)>; 4]);

impl Filter {
    fn read(text: &str) -> Result<Filter, String> {
        let bad = |what: &str| {
            format!("RBL reply error: {what} in {text:?}; write four parts such as 127.0.0.[2..11]")
        };
        let mut parts: Vec<Vec<(u8, u8)>> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = match rest.strip_prefix('[') {
                Some(body) => body.split_once(']').ok_or_else(|| bad("no \"]\""))?,
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    rest.split_at(end)
                }
            };
            let number = |t: &str| {
                let digits = (1..=3).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
                t.parse::<u8>().ok().filter(|_| digits).ok_or_else(|| bad("no number from 0 to 255"))
            };
            let ranges = part.split(';').map(|range| match range.split_once("..") {
                Some((from, to)) => {
                    let (from, to) = (number(from)?, number(to)?);
                    if from > to { Err(bad("a range that ends before it begins")) } else { Ok((from, to)) }
                }
                None => number(range).map(|n| (n, n)),
            });
            parts.push(ranges.collect::<Result<_, _>>()?);
            rest = match after.strip_prefix('.') {
                Some(next) if !next.is_empty() => next,
                None if after.is_empty() => after,
                _ => return Err(bad("a part that is none")),
            };
        }
        let parts = parts.try_into().map_err(|_| bad("not four parts"))?;
        Ok(Filter(parts))
    }

    fn matches(&self, octets: [u8; 4]) -> bool {
        self.0
            .iter()
            .zip(octets)
            .all(|(ranges, n)| ranges.iter().any(|(from, to)| (*from..=*to).contains(&n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters() {
        for (text, address, expected) in [
            ("127.0.0.2", [127, 0, 0, 2], true),
            ("127.0.0.2", [127, 0, 0, 3], false),
            ("127.0.0.[1..4]", [127, 0, 0, 4], true),
            ("127.0.[0..255].[1;3;5..9]", [127, 0, 7, 8], true),
            ("127.0.0.[1;3;5..9]", [127, 0, 0, 2], false),
            ("[127].0.0.[2]", [127, 0, 0, 2], true),
        ] {
            assert_eq!(Filter::read(text).unwrap().matches(address), expected, "{text}");
        }
        for bad in [
            "",
            "127.0.0",
            "d.d.d.d",
            "127.0.0.[2",
            "127.0.0.[4..2]",
            "127.0.0.256",
            "127.0.0.2.1",
            "1.2.3.4.",
            "127.0.0.[]",
        ] {
            assert!(Filter::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_backwards() {
        assert_eq!(reversed("192.0.2.9".parse().unwrap()), "9.2.0.192");
        let six = reversed("2001:db8::1".parse().unwrap());
        assert!(six.starts_with("1.0.0.0.") && six.ends_with(".8.b.d.0.1.0.0.2"), "{six}");
    }

    #[test]
    fn templates() {
        let mut values = |name: &str| match name {
            "a" => Some("$b\n".to_string()),
            "none" => Some(String::new()),
            _ => None,
        };
        for (template, expected) in [
            ("x", Some("x")),
            ("$a!${a}", Some("$b\n!$b\n")),
            ("${none?yes}${none:no}", Some("no")),
            ("${a?; $a}", Some("; $b\n")),
            ("${a?{y}:{n}}${none?{y}:{n}}", Some("yn")),
            ("$$a", Some("$a")),
            ("$nothing", None),
            ("${a", None),
        ] {
            assert_eq!(expand(template, &mut values).as_deref(), expected, "{template}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[$ab{}?:(). \\[;0-9é]{0,30}") {
            let _ = expand(&text, &mut |_| Some("é".into()));
            let _ = Filter::read(&text);
        }
    }
}
