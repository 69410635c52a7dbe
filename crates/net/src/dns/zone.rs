//! Zones as a text, and what a name server answers from them: for tests, and for the lab.
//!
//! ```text
//! # name            type   value                      [seconds to live, 60 unless said]
//! example.org       MX     10 mail.example.org        3600
//! mail.example.org  A      192.0.2.1
//! mail.example.org  AAAA   2001:db8::1
//! www.example.org   CNAME  mail.example.org
//! *.example.org     A      192.0.2.9
//! nomail.example.org MX    0 .
//! example.org       TXT    "v=spf1 mx -all"
//! example.org       NS     ns.example.org
//! example.org       SOA    30
//! _25._tcp.mail.example.org TLSA 3 1 1 0a0b0c
//! 192.0.2.1         PTR    mail.example.org
//! broken.example.org MX    !servfail
//! slow.example.org  *      !silence
//! ```
//!
//! All names are complete; a dot at their end changes nothing. The SOA is given by how long one may
//! remember that something is not there; without it one may not. Where the type is `*`, any question
//! for the name is meant. Special answers: `!servfail`, `!refused`, `!nxdomain`, `!nodata`,
//! `!silence` (none at all), `!garbage`, `!formerr` (to a question with EDNS), `!truncate` (over UDP,
//! so that TCP is needed) and `!secure` (the answer is vouched for).

use super::name::reversed;
use super::wire;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TLSA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// What some names have. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// By name in lower case.
    names: Arc<HashMap<Name, Vec<Entry>>>,
}

#[derive(Clone, Debug)]
enum Entry {
    Record(Box<Record>),
    Special(Option<RecordType>, Special),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    Code(ResponseCode),
    NoData,
    Silence,
    Garbage,
    Formerr,
    Truncate,
    Secure,
}

/// Aliases that are followed in one answer.
const MOST_ALIASES: usize = 8;
/// What an old client takes over UDP, RFC 1035 4.2.1.
const PLAIN_UDP: usize = 512;

impl Zone {
    /// Reads the text; the error names the line.
    pub fn parse(text: &str) -> Result<Zone, String> {
        let mut names: HashMap<Name, Vec<Entry>> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let words = words(line);
            if words.is_empty() {
                continue;
            }
            let (name, entry) = entry(&words).map_err(|why| format!("line {}: {why}", number + 1))?;
            names.entry(name).or_default().push(entry);
        }
        Ok(Zone { names: Arc::new(names) })
    }

    /// The answer to a question as it travels; `None` when there is none. Over TCP it may be long.
    pub fn respond(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let asked = Message::from_vec(question).ok()?;
        if asked.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        let ([query], OpCode::Query) = (asked.queries.as_slice(), asked.metadata.op_code) else {
            answer.metadata.response_code = ResponseCode::NotImp;
            return answer.to_vec().ok();
        };
        answer.add_query(query.clone());
        let specials = self.specials(query.name(), query.query_type());
        let edns = asked.edns.as_ref();
        if specials.contains(&Special::Silence) {
            return None;
        }
        if specials.contains(&Special::Formerr) && edns.is_some() {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer.to_vec().ok();
        }
        if let Some(edns) = edns {
            let mut own = Edns::new();
            own.set_max_payload(wire::UDP_BYTES).set_dnssec_ok(edns.flags().dnssec_ok);
            answer.set_edns(own);
        }
        answer.metadata.authentic_data = specials.contains(&Special::Secure)
            && (asked.metadata.authentic_data || edns.is_some_and(|e| e.flags().dnssec_ok));
        let code = specials.iter().find_map(|s| if let Special::Code(c) = s { Some(*c) } else { None });
        if let Some(code) = code {
            answer.metadata.response_code = code;
        } else if !specials.contains(&Special::NoData) && query.query_class() == DNSClass::IN {
            self.fill(&mut answer, query.name(), query.query_type());
        }
        let mut bytes = answer.to_vec().ok()?;
        let room = edns.map_or(PLAIN_UDP, |e| usize::from(e.max_payload()).max(PLAIN_UDP));
        if !tcp && (bytes.len() > room || specials.contains(&Special::Truncate)) {
            let mut short = answer.truncate();
            short.metadata.truncation = true;
            short.edns = answer.edns.clone();
            bytes = short.to_vec().ok()?;
        }
        if specials.contains(&Special::Garbage) {
            // The header promises records that do not come.
            let end = bytes.len().saturating_sub(1);
            bytes.truncate(end);
            if let Some(count) = bytes.get_mut(7) {
                *count = count.wrapping_add(3);
            }
        }
        Some(bytes)
    }

    fn fill(&self, answer: &mut Message, asked: &Name, kind: RecordType) {
        let mut owner = asked.clone();
        for _ in 0..=MOST_ALIASES {
            let Some(entries) = self.entries(&owner) else {
                if !self.is_above_others(&owner) {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                break;
            };
            let records =
                || entries.iter().filter_map(|e| if let Entry::Record(r) = e { Some(r) } else { None });
            let of = |r: &Record, t: RecordType| r.record_type() == t || t == RecordType::ANY;
            let before = answer.answers.len();
            for record in records().filter(|r| of(r, kind)) {
                // A wildcard's record is given the name that was asked for.
                let mut record = Record::clone(record);
                record.name = owner.clone();
                answer.add_answer(record);
            }
            if answer.answers.len() > before {
                return;
            }
            let Some(alias) = records().find(|r| r.record_type() == RecordType::CNAME) else { break };
            let mut alias = Record::clone(alias);
            alias.name = owner.clone();
            let RData::CNAME(target) = &alias.data else { break };
            owner = target.0.clone();
            answer.add_answer(alias);
        }
        let apex = (0..=owner.num_labels()).rev().map(|n| owner.trim_to(n.into()));
        let soa = apex.filter_map(|n| self.names.get(&n.to_lowercase())).flatten().find_map(|e| match e {
            Entry::Record(r) if r.record_type() == RecordType::SOA => Some(Record::clone(r)),
            _ => None,
        });
        answer.authorities.extend(soa);
    }

    /// Of the name, or of the wildcard that covers it. RFC 4592 2.2.
    fn entries(&self, name: &Name) -> Option<&Vec<Entry>> {
        let name = name.to_lowercase();
        if let Some(found) = self.names.get(&name) {
            return Some(found);
        }
        if self.is_above_others(&name) {
            return None;
        }
        let mut above = name.base_name();
        while !above.is_root() {
            let star = Name::from_labels([b"*".as_slice()]).ok()?.append_domain(&above).ok()?;
            if let Some(found) = self.names.get(&star) {
                return Some(found);
            }
            if self.names.contains_key(&above) || self.is_above_others(&above) {
                return None;
            }
            above = above.base_name();
        }
        None
    }

    fn is_above_others(&self, name: &Name) -> bool {
        let name = name.to_lowercase();
        self.names.keys().any(|n| *n != name && name.zone_of(n))
    }

    fn specials(&self, name: &Name, kind: RecordType) -> Vec<Special> {
        let entries = self.entries(name).into_iter().flatten();
        entries
            .filter_map(|e| match e {
                Entry::Special(of, special) if of.is_none_or(|t| t == kind) => Some(*special),
                _ => None,
            })
            .collect()
    }
}

/// Words between white space; one in double quotes keeps its spaces and its first quote.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            '#' | ';' => break,
            c if c.is_whitespace() => {
                chars.next();
            }
            '"' => {
                chars.next();
                words.push(std::iter::once('"').chain(chars.by_ref().take_while(|c| *c != '"')).collect());
            }
            _ => {
                let mut word = String::new();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                    word.push(c);
                }
                words.push(word);
            }
        }
    }
    words
}

fn entry(words: &[String]) -> Result<(Name, Entry), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [owner, kind, value @ ..] = words.as_slice() else {
        return Err("expected a name, a type and a value".into());
    };
    let owner = match owner.parse::<IpAddr>() {
        Ok(address) => name(&reversed(address))?,
        Err(_) => name(owner)?,
    };
    let kind = kind.to_ascii_uppercase();
    if let [special] = value
        && let Some(word) = special.strip_prefix('!')
    {
        let of = match kind.as_str() {
            "*" => None,
            kind => Some(RecordType::from_str(kind).map_err(|_| format!("{kind} is no type"))?),
        };
        return Ok((owner, Entry::Special(of, special_of(word)?)));
    }
    let (data, rest) = data(&kind, value)?;
    let ttl = match rest {
        [] => 60,
        [ttl] => ttl.parse().map_err(|_| format!("{ttl} is no number of seconds"))?,
        [_, more, ..] => return Err(format!("what does {more} mean?")),
    };
    let ttl = if let RData::SOA(soa) = &data { soa.minimum } else { ttl };
    Ok((owner.clone(), Entry::Record(Box::new(Record::from_rdata(owner, ttl, data)))))
}

fn special_of(word: &str) -> Result<Special, String> {
    Ok(match word {
        "servfail" => Special::Code(ResponseCode::ServFail),
        "refused" => Special::Code(ResponseCode::Refused),
        "nxdomain" => Special::Code(ResponseCode::NXDomain),
        "nodata" => Special::NoData,
        "silence" => Special::Silence,
        "garbage" => Special::Garbage,
        "formerr" => Special::Formerr,
        "truncate" => Special::Truncate,
        "secure" => Special::Secure,
        _ => return Err(format!("!{word} is no special answer")),
    })
}

/// The data of a record, and the words after it.
fn data<'a, 'b>(kind: &str, words: &'a [&'b str]) -> Result<(RData, &'a [&'b str]), String> {
    let [first, rest @ ..] = words else { return Err(format!("{kind} needs a value")) };
    let bad = |what: &str| format!("{first} is no {what}");
    Ok(match kind {
        "A" => (RData::A(A(first.parse().map_err(|_| bad("IPv4 address"))?)), rest),
        "AAAA" => (RData::AAAA(AAAA(first.parse().map_err(|_| bad("IPv6 address"))?)), rest),
        "CNAME" => (RData::CNAME(CNAME(name(first)?)), rest),
        "PTR" => (RData::PTR(PTR(name(first)?)), rest),
        "NS" => (RData::NS(NS(name(first)?)), rest),
        "MX" => {
            let [host, rest @ ..] = rest else { return Err("MX needs a preference and a host".into()) };
            let preference = first.parse().map_err(|_| bad("preference"))?;
            (RData::MX(MX::new(preference, name(host)?)), rest)
        }
        "TXT" => {
            let quoted = words.iter().take_while(|w| w.starts_with('"')).count();
            let strings: Vec<&str> = match quoted {
                0 => vec![*first],
                n => words.iter().take(n).map(|w| w.trim_start_matches('"')).collect(),
            };
            if let Some(long) = strings.iter().find(|s| s.len() > 255) {
                return Err(format!("a string of {} bytes; 255 is the most", long.len()));
            }
            let bytes = strings.iter().map(|s| s.as_bytes()).collect();
            (RData::TXT(TXT::from_bytes(bytes)), words.get(quoted.max(1)..).unwrap_or_default())
        }
        "TLSA" => {
            let [selector, matching, hex, rest @ ..] = rest else {
                return Err("TLSA needs three numbers and hexadecimal digits".into());
            };
            let number = |w: &str| w.parse::<u8>().map_err(|_| format!("{w} is no number"));
            let bytes = unhex(hex).ok_or_else(|| format!("{hex} is not hexadecimal"))?;
            let (usage, selector) = (number(first)?, number(selector)?);
            let tlsa = TLSA::new(usage.into(), selector.into(), number(matching)?.into(), bytes);
            (RData::TLSA(tlsa), rest)
        }
        "SOA" => {
            let minimum = first.parse().map_err(|_| bad("number of seconds"))?;
            let root = Name::root();
            (RData::SOA(SOA::new(root.clone(), root, 1, 3600, 600, 86400, minimum)), rest)
        }
        _ => return Err(format!("{kind} is no type")),
    })
}

/// Any labels, so that bad names can be served too.
fn name(text: &str) -> Result<Name, String> {
    let text = match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => super::name::ascii(text).ok_or_else(|| format!("{text} is no name"))?,
    };
    wire::name(&text).ok_or_else(|| format!("{text} is no name"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| (*b as char).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|c| Some(digit(c.first()?)? << 4 | digit(c.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, why) in [
            ("a", "line 1: expected a name, a type and a value"),
            ("\na A", "line 2: A needs a value"),
            ("a A 1.2.3", "line 1: 1.2.3 is no IPv4 address"),
            ("a AAAA 1.2.3.4", "line 1: 1.2.3.4 is no IPv6 address"),
            ("a MX 10", "line 1: MX needs a preference and a host"),
            ("a MX x y", "line 1: x is no preference"),
            ("a SRV 1", "line 1: SRV is no type"),
            ("a A 1.2.3.4 x", "line 1: x is no number of seconds"),
            ("a A 1.2.3.4 60 x", "line 1: what does x mean?"),
            ("a MX !what", "line 1: !what is no special answer"),
            ("a NONE !servfail", "line 1: NONE is no type"),
            ("a TLSA 3 1 1 0g", "line 1: 0g is not hexadecimal"),
        ] {
            assert_eq!(Zone::parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn empty_lines_comments_and_quotes() {
        assert_eq!(words("a  TXT \"b c\" \"d\" 5 # e"), ["a", "TXT", "\"b c", "\"d", "5"]);
        assert!(Zone::parse("\n# x\n ; y\n").is_ok());
    }

    #[test]
    fn nothing_but_questions_is_answered() {
        let zone = Zone::parse("a.b A 192.0.2.1").unwrap();
        let question = wire::question(1, &wire::name("a.b").unwrap(), RecordType::A, true).unwrap();
        let answer = zone.respond(&question, false).unwrap();
        assert_eq!(zone.respond(&answer, false), None);
        for cut in 0..question.len() {
            zone.respond(&question[..cut], false);
        }
    }
}
