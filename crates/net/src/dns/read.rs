//! What an answer says about the question, and nothing else: records of other names are neither
//! believed nor kept.

use super::{Kind, MOST_RECORDS, Mx, Record, Tlsa, name, wire};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use std::time::Duration;

/// The meaning of one answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Records of the kind asked for.
    Found { records: Vec<Record>, canonical: String, warnings: Vec<String>, ttl: Duration },
    /// The name stands for this other one, about which the answer says nothing.
    Alias { target: String, ttl: Duration },
    /// There are records, and none makes sense.
    Invalid { warnings: Vec<String> },
    /// The name has nothing of this kind; for how long this holds, where the answer tells.
    NoData(Option<Duration>),
    /// There is no such name.
    NotFound(Option<Duration>),
    /// What came cannot be read.
    Garbage,
    /// The aliases have no end.
    Loop,
    /// The server does not understand what is more than the plain protocol.
    TooModern,
    /// The server could not find out. Empty for SERVFAIL.
    Trouble(String),
}

/// Aliases within one answer.
const MOST_ALIASES: usize = 16;
/// RFC 2308 5: a negative answer without an SOA is not kept; nor is any for long.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(3600);

/// Interprets the answer to `asked`.
pub(super) fn meaning(message: &Message, asked: &Name, kind: Kind) -> Meaning {
    let code = message.metadata.response_code;
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        ResponseCode::ServFail => return Meaning::Trouble(String::new()),
        ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS => return Meaning::TooModern,
        other => return Meaning::Trouble(words(other)),
    }
    let wanted = wire::record_type(kind);
    let here = |n: &Name, t: RecordType| {
        let n = n.clone();
        message
            .answers
            .iter()
            .filter(move |r| r.dns_class == DNSClass::IN && r.record_type() == t && r.name == n)
    };
    let (mut owner, mut ttl) = (asked.clone(), LONGEST);
    for _ in 0..=MOST_ALIASES {
        let mut found = here(&owner, wanted).peekable();
        if found.peek().is_some() {
            return collect(found, asked, &owner, kind, ttl);
        }
        let Some(alias) = here(&owner, RecordType::CNAME).next() else {
            let negative = negative(message, &owner);
            return match code {
                ResponseCode::NXDomain => Meaning::NotFound(negative),
                _ if owner == *asked => Meaning::NoData(negative),
                // The end of the chain is known to be empty only if the server says whose it is.
                _ if negative.is_some() => Meaning::NoData(negative),
                _ => match host(&owner) {
                    Host::Malformed(_) => Meaning::Invalid { warnings: Vec::new() },
                    Host::Plain(target) | Host::Numeric(target) => Meaning::Alias { target, ttl },
                },
            };
        };
        ttl = ttl.min(lasting(alias.ttl));
        let RData::CNAME(target) = &alias.data else { break };
        if let Host::Malformed(text) = host(&target.0) {
            return Meaning::Invalid { warnings: malformed("CNAME", asked, &text).into() };
        }
        owner = target.0.clone();
    }
    Meaning::Loop
}

fn collect<'a>(
    found: impl Iterator<Item = &'a hickory_proto::rr::Record>,
    asked: &Name,
    owner: &Name,
    kind: Kind,
    mut ttl: Duration,
) -> Meaning {
    let (mut records, mut warnings): (Vec<Record>, Vec<String>) = (Vec::new(), Vec::new());
    for (count, record) in found.enumerate() {
        if count == MOST_RECORDS {
            let name = plain(asked);
            warnings.push(format!(
                "DNS record count limit ({MOST_RECORDS}) exceeded -- dropping excess record(s) after qname={name} qtype={kind}"
            ));
            break;
        }
        ttl = ttl.min(lasting(record.ttl));
        let mut named = |target: &Name| match host(target) {
            Host::Plain(name) => Some(name),
            Host::Numeric(name) => {
                let of = plain(asked);
                warnings
                    .push(format!("numeric domain name in resource data of {kind} record for {of}: {name}"));
                Some(name)
            }
            Host::Malformed(text) => {
                warnings.extend(malformed(&kind.to_string(), asked, &text));
                None
            }
        };
        let read = match &record.data {
            RData::A(a) => Some(Record::A(a.0)),
            RData::AAAA(a) => Some(Record::Aaaa(a.0)),
            RData::MX(mx) if mx.exchange.is_root() => {
                Some(Record::Mx(Mx { preference: mx.preference, host: String::new() }))
            }
            RData::MX(mx) => {
                named(&mx.exchange).map(|host| Record::Mx(Mx { preference: mx.preference, host }))
            }
            RData::PTR(target) => named(&target.0).map(Record::Name),
            RData::CNAME(target) => named(&target.0).map(Record::Name),
            RData::NS(target) => named(&target.0).map(Record::Name),
            RData::TXT(text) => Some(Record::Txt(joined(&text.txt_data))),
            RData::TLSA(t) => Some(Record::Tlsa(Tlsa {
                usage: t.cert_usage.into(),
                selector: t.selector.into(),
                matching: t.matching.into(),
                data: t.cert_data.to_vec(),
            })),
            _ => None,
        };
        records.extend(read);
    }
    if records.is_empty() {
        return Meaning::Invalid { warnings };
    }
    let canonical = match host(owner) {
        Host::Plain(name) | Host::Numeric(name) => name,
        Host::Malformed(_) if kind == Kind::Ns && owner.is_root() => ".".to_string(),
        Host::Malformed(_) => return Meaning::Invalid { warnings },
    };
    Meaning::Found { records, canonical, warnings, ttl }
}

enum Host {
    Plain(String),
    /// An address where a name belongs: allowed, as Postfix does.
    Numeric(String),
    /// Made printable.
    Malformed(String),
}

fn host(name: &Name) -> Host {
    let text = plain(name);
    if name::valid(&text) {
        Host::Plain(text)
    } else if text.parse::<std::net::IpAddr>().is_ok() {
        Host::Numeric(text)
    } else {
        Host::Malformed(text)
    }
}

/// Labels joined by dots. A label that holds a dot or worse is printed with `?` in its place, and so
/// is no valid name.
fn plain(name: &Name) -> String {
    let mut text = String::new();
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        let good = |b: u8| b.is_ascii_graphic() && b != b'.';
        text.extend(label.iter().map(|&b| if good(b) { b as char } else { '?' }));
    }
    text
}

/// In the two lines that Postfix has for it.
fn malformed(kind: &str, asked: &Name, what: &str) -> [String; 2] {
    let shown: String = what.chars().take(100).collect();
    let label = |test: fn(&str) -> bool| what.split('.').any(test);
    let fault = match () {
        () if label(|l| l.len() > 63) => "hostname label too long".to_string(),
        () if label(str::is_empty) => "misplaced delimiter".to_string(),
        () if label(|l| l.starts_with('-') || l.ends_with('-')) => "misplaced hyphen".to_string(),
        () => match what.bytes().find(|b| !b.is_ascii_alphanumeric() && !b"-_.".contains(b)) {
            Some(odd) => format!("invalid character {odd}(decimal)"),
            None => "numeric hostname".to_string(),
        },
    };
    let record = format!("resource data of {kind} record for {}", plain(asked));
    [format!("valid_hostname: {fault}: {shown}"), format!("malformed domain name in {record}: {shown}")]
}

fn joined(strings: &[Box<[u8]>]) -> String {
    let bytes = strings.concat();
    String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// RFC 2181 8: a number with the topmost bit set is zero.
fn lasting(ttl: u32) -> Duration {
    let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
    Duration::from_secs(ttl.into()).min(LONGEST)
}

/// RFC 2308 5, for an SOA of a zone that the name is in.
fn negative(message: &Message, owner: &Name) -> Option<Duration> {
    message.authorities.iter().find_map(|r| match &r.data {
        RData::SOA(soa) if r.name.zone_of(owner) => {
            Some(lasting(r.ttl.min(soa.minimum)).min(LONGEST_NEGATIVE))
        }
        _ => None,
    })
}

fn words(code: ResponseCode) -> String {
    match code {
        ResponseCode::Refused => "REFUSED".to_string(),
        ResponseCode::YXDomain => "YXDOMAIN".to_string(),
        ResponseCode::NotAuth => "NOTAUTH".to_string(),
        other => format!("error code {}", u16::from(other)),
    }
}
