//! The name server of a world: answers from the lines of a scenario's `zone`, as a resolver does that knows everything.
//!
//! ```text
//! NAME [TTL] TYPE VALUE          A AAAA MX CNAME PTR TXT NS TLSA; a TTL of 60 seconds unless it says otherwise
//! NAME SECURE                    NAME, and all below it, is signed: answers are vouched for (AD) to those who ask for it
//! NAME INSECURE                  … but not this name and what is below it
//! 192.168.1.20 PTR pc20.lan.org  an address as NAME stands for its name below in-addr.arpa or ip6.arpa
//! *.lan.org A 10.77.5.5          whatever below lan.org has no line of its own
//! NAME SERVFAIL [TYPE]           an error for this name, or this name and type; also REFUSED, NXDOMAIN, TIMEOUT
//!                                (no answer at all) and GARBAGE (a header, and then not what it promises)
//! * TIMEOUT                      what is not named here
//! ```
//! A name without lines does not exist; one whose lines are of other types has no data of this one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// What a zone knows.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: BTreeMap<String, Vec<Entry>>,
    /// Names at which signatures begin (or end).
    signed: BTreeMap<String, bool>,
}

#[derive(Clone, Debug)]
enum Entry {
    Record { kind: u16, ttl: u32, data: Vec<u8>, target: Option<String> },
    Fault { fault: Fault, kind: Option<u16> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Code(u16),
    Silence,
    Garbage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

const CNAME: u16 = 5;
const SOA: u16 = 6;
const OPT: u16 = 41;
const KINDS: [(&str, u16); 8] =
    [("A", 1), ("NS", 2), ("CNAME", CNAME), ("PTR", 12), ("MX", 15), ("TXT", 16), ("AAAA", 28), ("TLSA", 52)];
const NXDOMAIN: u16 = 3;

impl Zone {
    /// Reads the lines; an error is the line that cannot be read.
    pub fn parse(text: &str) -> Result<Zone, String> {
        let mut zone = Zone::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if words.len() < 2 {
                return Err(line.to_string());
            }
            let name = name_of(words.remove(0));
            if let ["SECURE" | "INSECURE"] = words[..] {
                zone.signed.insert(name, words[0] == "SECURE");
                continue;
            }
            let mut ttl = 60;
            if let Some(number) = words.first().and_then(|word| word.parse().ok()) {
                ttl = number;
                words.remove(0);
            }
            let entry = entry(&words, ttl).ok_or(line)?;
            zone.names.entry(name).or_default().push(entry);
        }
        Ok(zone)
    }

    /// Whether some names get no answer, or none that can be read.
    pub fn is_silent(&self) -> bool {
        let silent =
            |entry: &Entry| matches!(entry, Entry::Fault { fault: Fault::Silence | Fault::Garbage, .. });
        self.names.values().flatten().any(silent)
    }

    /// The lines for a name: its own, else those of the nearest wildcard, else those of `*`.
    fn entries(&self, name: &str) -> Option<&[Entry]> {
        if let Some(entries) = self.names.get(name) {
            return Some(entries);
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(entries) = self.names.get(&format!("*.{parent}")) {
                return Some(entries);
            }
            rest = parent;
        }
        let below = format!(".{name}");
        if self.names.keys().any(|known| known.ends_with(&below)) {
            return Some(&[]);
        }
        self.names.get("*").map(Vec::as_slice)
    }

    /// Whether the nearest name that says so is signed.
    fn is_signed(&self, name: &str) -> bool {
        let mut rest = Some(name);
        while let Some(name) = rest {
            if let Some(signed) = self.signed.get(name) {
                return *signed;
            }
            rest = name.split_once('.').map(|(_, parent)| parent);
        }
        // All of it, with a line for the root.
        self.signed.get("").is_some_and(|signed| *signed)
    }

    /// The answer to a query, or none.
    fn answer(&self, query: &[u8], over: Transport) -> Option<Vec<u8>> {
        let (name, kind, question_end, size) = parse_query(query)?;
        let room = match over {
            Transport::Udp => size.unwrap_or(512),
            Transport::Tcp => usize::from(u16::MAX),
        };
        let mut records: Vec<(String, u16, u32, &[u8])> = Vec::new();
        let (mut at, mut code, mut fault) = (name, 0, None);
        let mut signed = wants_signed(query, question_end);
        for _ in 0..16 {
            signed &= self.is_signed(&at);
            let Some(entries) = self.entries(&at) else {
                code = NXDOMAIN;
                break;
            };
            fault = entries.iter().find_map(|entry| match entry {
                Entry::Fault { fault, kind: only } if only.is_none_or(|only| only == kind) => Some(*fault),
                _ => None,
            });
            if fault.is_some() {
                break;
            }
            let mut next = None;
            for entry in entries {
                if let Entry::Record { kind: has, ttl, data, target } = entry
                    && (*has == kind || *has == CNAME)
                {
                    records.push((at.clone(), *has, *ttl, data));
                    if *has == CNAME && kind != CNAME {
                        next = target.clone();
                    }
                }
            }
            match next {
                Some(target) => at = target,
                None => break,
            }
        }
        match fault {
            Some(Fault::Silence) => return None,
            Some(Fault::Code(fault)) => {
                code = fault;
                records.clear();
            }
            Some(Fault::Garbage) => {
                let mut answer = header(query, 0, false, 3, 0);
                answer.extend(&query[12..question_end]);
                answer.extend([0xc0, 0xff, 0xff]);
                return Some(answer);
            }
            None => {}
        }
        let mut sections = Vec::new();
        for (name, kind, ttl, data) in &records {
            push_record(&mut sections, name, *kind, *ttl, data);
        }
        let mut authority = 0;
        if !records.iter().any(|record| record.1 == kind) && (code == 0 || code == NXDOMAIN) {
            // RFC 2308 3: not to be remembered, since a scenario may change its mind.
            let data = [wire_name("ns.test"), wire_name("root.test"), [0; 20].to_vec()].concat();
            push_record(&mut sections, at.split_once('.').map_or("", |(_, tail)| tail), SOA, 0, &data);
            authority = 1;
        }
        let question = &query[12..question_end];
        let edns = if size.is_some() { vec![0, 0, OPT as u8, 0x04, 0xd0, 0, 0, 0, 0, 0, 0] } else { vec![] };
        let cut = 12 + question.len() + sections.len() + edns.len() > room;
        let count = if cut { 0 } else { records.len() as u16 };
        let mut answer = header(query, code, cut, count, if cut { 0 } else { authority });
        if !edns.is_empty() {
            answer[11] = 1;
        }
        if signed && (code == 0 || code == NXDOMAIN) {
            answer[3] |= 0x20;
        }
        answer.extend(question);
        if !cut {
            answer.extend(sections);
        }
        answer.extend(edns);
        Some(answer)
    }
}

/// The kind and data that the words after a name mean.
fn entry(words: &[&str], ttl: u32) -> Option<Entry> {
    let kind_of = |word: &str| KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
    let fault = match words[0] {
        "SERVFAIL" => Some(Fault::Code(2)),
        "NXDOMAIN" => Some(Fault::Code(NXDOMAIN)),
        "REFUSED" => Some(Fault::Code(5)),
        "TIMEOUT" => Some(Fault::Silence),
        "GARBAGE" => Some(Fault::Garbage),
        _ => None,
    };
    if let Some(fault) = fault {
        let kind = match words.get(1) {
            Some(word) => Some(kind_of(word)?),
            None => None,
        };
        return Some(Entry::Fault { fault, kind });
    }
    let kind = kind_of(words[0])?;
    let value = words.get(1)?;
    let mut target = None;
    let data = match words[0] {
        "A" => value.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
        "AAAA" => value.parse::<Ipv6Addr>().ok()?.octets().to_vec(),
        "MX" => {
            let mut data = value.parse::<u16>().ok()?.to_be_bytes().to_vec();
            data.extend(wire_name(words.get(2)?));
            data
        }
        "TLSA" => {
            let number = |n: usize| words.get(n)?.parse::<u8>().ok();
            let mut data = vec![number(1)?, number(2)?, number(3)?];
            let hex = words[4..].concat();
            for pair in hex.as_bytes().chunks(2) {
                data.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
            }
            data
        }
        "TXT" => {
            let text = words[1..].join(" ");
            text.trim_matches('"')
                .as_bytes()
                .chunks(255)
                .flat_map(|part| [&[part.len() as u8], part].concat())
                .collect()
        }
        _ => {
            target = Some(value.trim_end_matches('.').to_ascii_lowercase());
            wire_name(value)
        }
    };
    Some(Entry::Record { kind, ttl, data, target })
}

/// The name a line is for: an address stands for its reverse name.
fn name_of(word: &str) -> String {
    match word.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let digits: Vec<String> = address
                .octets()
                .iter()
                .rev()
                .map(|byte| format!("{:x}.{:x}", byte & 15, byte >> 4))
                .collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
        Err(_) => word.trim_end_matches('.').to_ascii_lowercase(),
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        out.push(label.len() as u8);
        out.extend(label);
    }
    out.push(0);
    out
}

fn push_record(out: &mut Vec<u8>, name: &str, kind: u16, ttl: u32, data: &[u8]) {
    out.extend(wire_name(name));
    out.extend(kind.to_be_bytes());
    out.extend(1u16.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
}

/// An answer's header: authoritative, recursion available. RFC 1035 4.1.1
fn header(query: &[u8], code: u16, cut: bool, answers: u16, authority: u16) -> Vec<u8> {
    let flags: u16 =
        0x8480 | u16::from(cut) << 9 | (u16::from_be_bytes([query[2], query[3]]) & 0x0100) | code;
    [
        [query[0], query[1]],
        flags.to_be_bytes(),
        [0, 1],
        answers.to_be_bytes(),
        authority.to_be_bytes(),
        [0, 0],
    ]
    .concat()
}

/// The name (lower case), type and end of a query's question, and the size its EDNS record offers.
fn parse_query(query: &[u8]) -> Option<(String, u16, usize, Option<usize>)> {
    if query.len() < 12 || query[2] & 0x80 != 0 {
        return None;
    }
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let end = at + 4;
    let offered = query.get(end..end + 5).filter(|rest| query[11] > 0 && rest[..3] == [0, 0, OPT as u8]);
    let size = offered.map(|rest| usize::from(u16::from_be_bytes([rest[3], rest[4]])).clamp(512, 1232));
    (query.len() >= end).then(|| (labels.join("."), kind, end, size))
}

/// AD in the question, or DO in its EDNS record: who asks wants to know whether answers are signed. RFC 6840 5.7
fn wants_signed(query: &[u8], end: usize) -> bool {
    query[3] & 0x20 != 0 || (query[11] > 0 && query.get(end + 7).is_some_and(|flags| flags & 0x80 != 0))
}

/// A name server that answers until it is dropped.
pub struct Server {
    zone: Arc<RwLock<Zone>>,
    ended: Arc<AtomicBool>,
}

/// How often the threads look whether they are to end.
const TICK: Duration = Duration::from_millis(200);

impl Server {
    /// Listens, with threads of its own, in the network namespace of the calling thread.
    pub fn start(address: SocketAddr, zone: Zone) -> std::io::Result<Server> {
        let server = Server { zone: Arc::new(RwLock::new(zone)), ended: Arc::default() };
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(TICK))?;
        let (zone, ended) = (Arc::clone(&server.zone), Arc::clone(&server.ended));
        let listener = TcpListener::bind(socket.local_addr()?)?;
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(answer) = known(&zone, &buffer[..length], Transport::Udp) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        listener.set_nonblocking(true)?;
        let (zone, ended) = (Arc::clone(&server.zone), Arc::clone(&server.ended));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(converse(stream, &zone)),
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Ok(server)
    }

    /// Answers from another zone from now on.
    pub fn replace(&self, zone: Zone) {
        match self.zone.write() {
            Ok(mut held) => *held = zone,
            Err(poisoned) => *poisoned.into_inner() = zone,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn known(zone: &RwLock<Zone>, query: &[u8], over: Transport) -> Option<Vec<u8>> {
    match zone.read() {
        Ok(zone) => zone.answer(query, over),
        Err(_) => None,
    }
}

/// Questions over TCP, each with its length before it. RFC 1035 4.2.2
fn converse(mut stream: TcpStream, zone: &RwLock<Zone>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let Some(mut answer) = known(zone, &query, Transport::Tcp) else { return Ok(()) };
        let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
        framed.append(&mut answer);
        stream.write_all(&framed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = "mail2.org MX 10 mail.mail2.org\nmail.mail2.org 5 A 10.77.2.10\nalias.org CNAME mail.mail2.org\n\
        192.168.1.20 PTR pc20.lan.org\nfd00:77::1 PTR six.lan.org\n*.wild.org A 10.77.5.5\nbad.org SERVFAIL MX\nbad.org A 10.77.5.6\n\
        slow.org TIMEOUT\nnull.org MX 0 .\n# a comment\n";

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(wire_name(name));
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        query
    }

    /// Code, number of answers, and the end of the packet.
    fn ask(text: &str, name: &str, kind: u16) -> Option<(u8, u8, Vec<u8>)> {
        let answer = Zone::parse(text).unwrap().answer(&query(name, kind), Transport::Udp)?;
        assert_eq!(answer[..2], [7, 8]);
        Some((answer[3] & 15, answer[7], answer))
    }

    #[test]
    fn lines_become_answers() {
        let ends_with = |name: &str, kind: u16, end: &[u8]| {
            let (code, count, answer) = ask(ZONE, name, kind).unwrap();
            assert_eq!((code, count > 0), (0, true), "{name}");
            assert!(answer.ends_with(end), "{name}: {answer:?}");
        };
        ends_with("mail2.org", 15, b"\x00\x0a\x04mail\x05mail2\x03org\x00");
        ends_with("MAIL.mail2.org", 1, &[0, 0, 0, 5, 0, 4, 10, 77, 2, 10]);
        ends_with("alias.org", 1, &[10, 77, 2, 10]);
        ends_with("20.1.168.192.in-addr.arpa", 12, b"\x04pc20\x03lan\x03org\x00");
        ends_with("a.b.wild.org", 1, &[10, 77, 5, 5]);
        ends_with("bad.org", 1, &[10, 77, 5, 6]);
        ends_with("null.org", 15, &[0, 3, 0, 0, 0]);
        let reverse = format!("1.{}7.7.0.0.0.0.d.f.ip6.arpa", "0.".repeat(23));
        ends_with(&reverse, 12, b"\x03six\x03lan\x03org\x00");
    }

    #[test]
    fn signed_names_are_vouched_for_to_those_who_ask() {
        let zone = Zone::parse(
            "org SECURE\nlost.org INSECURE\nmail.org A 10.77.2.10\na.lost.org A 10.77.2.11\n\
             away.org CNAME a.lost.org\n_25._tcp.mail.org TLSA 3 1 1 0a0b\n",
        )
        .unwrap();
        let vouched = |name: &str, kind: u16, asking: bool| {
            let mut query = query(name, kind);
            query[3] = if asking { 0x20 } else { 0 };
            let answer = zone.answer(&query, Transport::Udp).unwrap();
            (answer[3] & 0x20 != 0, answer)
        };
        assert!(vouched("mail.org", 1, true).0);
        assert!(!vouched("mail.org", 1, false).0);
        assert!(vouched("nowhere.org", 1, true).0, "that a name does not exist is signed, too");
        assert!(!vouched("a.lost.org", 1, true).0);
        assert!(!vouched("away.org", 1, true).0, "an alias that leads to what is not signed");
        let (secure, answer) = vouched("_25._tcp.mail.org", 52, true);
        assert!(secure && answer.ends_with(&[0, 5, 3, 1, 1, 10, 11]));
    }

    #[test]
    fn what_is_missing_or_faulty_says_so() {
        let of = |name: &str, kind| ask(ZONE, name, kind).map(|(code, count, _)| (code, count));
        assert_eq!(of("nowhere.org", 1), Some((3, 0)));
        assert_eq!(of("mail2.org", 1), Some((0, 0)));
        assert_eq!(
            of("lan.org", 1),
            Some((3, 0)),
            "nothing stands for the name that a reverse line points at"
        );
        assert_eq!(of("wild.org", 1), Some((0, 0)));
        assert_eq!(of("bad.org", 15), Some((2, 0)));
        assert_eq!(of("slow.org", 1), None);
        assert_eq!(ask("* REFUSED", "any.org", 1).map(|(code, ..)| code), Some(5));
        assert!(Zone::parse("name.org WHAT 1").is_err());
        assert!(Zone::parse("name.org A 1.2.3").is_err());
    }

    #[test]
    fn long_answers_are_cut_and_given_over_tcp() {
        let text: String = (0..60).map(|n| format!("big.org MX {n} mx{n}.example.org\n")).collect();
        let zone = Zone::parse(&text).unwrap();
        let cut = zone.answer(&query("big.org", 15), Transport::Udp).unwrap();
        assert!(cut[2] & 2 != 0 && cut.len() < 512 && cut[7] == 0);
        let whole = zone.answer(&query("big.org", 15), Transport::Tcp).unwrap();
        assert!(whole[2] & 2 == 0 && whole[7] == 60);
    }
}
