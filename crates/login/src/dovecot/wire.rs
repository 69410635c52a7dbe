//! The lines of Dovecot's authentication protocol, client side, version 1. Pure.
//!
//! A line is words between tabs; what a tab, line end, NUL or \001 stands for within a word is escaped
//! by \001. What is not understood is either skipped, as the protocol wants it, or a fault that ends
//! the connection; nothing of it is ever believed by half.

use crate::about::About;
use crate::offer::{Offer, Properties};
use sasl::{Secret, encode};

/// The longest line that is read; Dovecot's longest challenge fits.
pub const LONGEST: usize = 32 * 1024;
/// The longest line that is sent: Dovecot ends a connection, and with it all logins that go over it,
/// when one has more than 16384 bytes.
pub const LONGEST_SENT: usize = 16_000;

/// What Dovecot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The protocol's version: major, minor.
    Version(u32, u32),
    /// A mechanism; `None` for one that is not for us.
    Mechanism(Option<Offer>),
    /// The handshake is over.
    Done,
    /// A challenge for this login.
    Challenge(u32, Vec<u8>),
    /// This login succeeded.
    Success(u32, Option<String>),
    /// It failed.
    Failure(u32, Refusal),
    /// Something that need not be understood.
    Other,
}

/// Why a login failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Who wanted to log in.
    pub user: Option<String>,
    /// Words for the client.
    pub reason: Option<String>,
    /// Nobody could tell.
    pub temporary: bool,
}

/// Reads a line, without its end. An error says what is wrong with it.
pub fn read(line: &[u8]) -> Result<Line, &'static str> {
    let mut words = line.split(|b| *b == b'\t').map(unescape);
    let command = words.next().unwrap_or_default();
    let mut next = || words.next();
    Ok(match command.as_slice() {
        b"VERSION" => {
            let mut number = || next().and_then(|w| number(&w)).ok_or("a version without numbers");
            Line::Version(number()?, number()?)
        }
        b"MECH" => {
            let name = next().and_then(|w| String::from_utf8(w).ok()).filter(|n| is_mechanism(n));
            let name = name.ok_or("a mechanism without a proper name")?;
            let (mut properties, mut private) = (Properties::default(), false);
            for word in words {
                match word.as_slice() {
                    b"plaintext" => properties.plaintext = true,
                    b"anonymous" => properties.anonymous = true,
                    b"dictionary" => properties.dictionary = true,
                    b"active" => properties.active = true,
                    b"forward-secrecy" => properties.forward_secrecy = true,
                    b"mutual-auth" => properties.mutual_auth = true,
                    b"private" => private = true,
                    _ => {}
                }
            }
            Line::Mechanism((!private).then_some(Offer { name, properties }))
        }
        b"DONE" => Line::Done,
        b"CONT" => {
            let id = next().and_then(|w| number(&w)).ok_or("a challenge without a number")?;
            let text = next().and_then(|w| String::from_utf8(w).ok()).unwrap_or_default();
            match sasl::decode(&text) {
                Some(challenge) => Line::Challenge(id, challenge),
                None => Line::Failure(id, broken("a challenge that is not base64")),
            }
        }
        b"OK" => {
            let id = next().and_then(|w| number(&w)).ok_or("a success without a number")?;
            let user = words.find_map(|w| w.strip_prefix(b"user=").map(<[u8]>::to_vec));
            Line::Success(id, user.and_then(|u| String::from_utf8(u).ok()).filter(|u| !u.is_empty()))
        }
        b"FAIL" => {
            let id = next().and_then(|w| number(&w)).ok_or("a failure without a number")?;
            let mut refusal = Refusal::default();
            for word in words {
                let (name, value) = match word.iter().position(|b| *b == b'=') {
                    Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default()),
                    None => (word.as_slice(), &[][..]),
                };
                let text = || Some(String::from_utf8_lossy(value).into_owned());
                match name {
                    b"user" => refusal.user = text(),
                    b"reason" => refusal.reason = text().filter(|r| !r.is_empty()),
                    b"temp" => refusal.temporary = true,
                    b"code" => refusal.temporary |= value == b"temp_fail",
                    _ => {}
                }
            }
            Line::Failure(id, refusal)
        }
        _ => Line::Other,
    })
}

fn broken(reason: &str) -> Refusal {
    Refusal { reason: Some(format!("Authentication backend error ({reason})")), user: None, temporary: true }
}

fn number(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// RFC 4422 3.1
pub fn is_mechanism(name: &str) -> bool {
    (1..=20).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            1 => match bytes.next() {
                Some(b'0') => 0,
                Some(b'1') => 1,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(other) => other,
                None => 1,
            },
            byte => byte,
        });
    }
    out
}

fn escape(out: &mut Vec<u8>, word: &str) {
    for byte in word.bytes() {
        match byte {
            0 => out.extend_from_slice(b"\x010"),
            1 => out.extend_from_slice(b"\x011"),
            b'\t' => out.extend_from_slice(b"\x01t"),
            b'\n' => out.extend_from_slice(b"\x01n"),
            b'\r' => out.extend_from_slice(b"\x01r"),
            byte => out.push(byte),
        }
    }
}

/// How a connection begins. No two clients of a Dovecot may have the same number.
pub fn greeting(number: u32) -> Vec<u8> {
    format!("VERSION\t1\t0\nCPID\t{number}\n").into_bytes()
}

/// Begins a login. `None` when it would be too long.
pub fn begin(id: u32, mechanism: &str, about: &About, initial: Option<&Secret>) -> Option<Vec<u8>> {
    let mut out = format!("AUTH\t{id}\t{mechanism}").into_bytes();
    let mut word = |name: &str, value: &str| {
        out.push(b'\t');
        out.extend_from_slice(name.as_bytes());
        escape(&mut out, value);
    };
    word("service=", &about.service);
    word("nologin", "");
    for (ip, port, address) in [("lip=", "lport=", about.local), ("rip=", "rport=", about.remote)] {
        if let Some(address) = address {
            word(ip, &address.ip().to_canonical().to_string());
            word(port, &address.port().to_string());
        }
    }
    if let Some(encryption) = &about.encryption {
        word("secured", "");
        if encryption.trusted_certificate {
            word("valid-client-cert", "");
            if let Some(name) = &encryption.common_name {
                word("cert_username=", name);
            }
        }
    }
    if let Some(initial) = initial {
        // An empty response is not none. It has to be the last word.
        word("resp=", &base64(initial, "="));
    }
    end(out)
}

/// Answers a challenge. `None` when it would be too long.
pub fn respond(id: u32, response: &Secret) -> Option<Vec<u8>> {
    end(format!("CONT\t{id}\t{}", base64(response, "")).into_bytes())
}

/// Gives a login up.
pub fn cancel(id: u32) -> Vec<u8> {
    format!("CANCEL\t{id}\n").into_bytes()
}

fn base64(secret: &Secret, empty: &str) -> String {
    if secret.bytes().is_empty() { empty.to_string() } else { encode(secret.bytes()) }
}

fn end(mut out: Vec<u8>) -> Option<Vec<u8>> {
    out.push(b'\n');
    (out.len() <= LONGEST_SENT).then_some(out)
}

/// What came in, cut into lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// What comes before was given away as lines.
    begin: usize,
    /// There is no line end between the two: what comes byte by byte is not searched again for each.
    searched: usize,
}

impl Lines {
    /// Adds what was read.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line; an error when what comes is no line.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        let end = self.bytes[self.searched..].iter().position(|b| *b == b'\n').map(|at| self.searched + at);
        let line = &self.bytes[self.begin..end.unwrap_or(self.bytes.len())];
        if line.len() > LONGEST {
            return Err("a line that is too long");
        }
        let Some(end) = end else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let line = line.to_vec();
        (self.begin, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::about::Encryption;
    use proptest::prelude::*;

    fn refusal(user: Option<&str>, reason: Option<&str>, temporary: bool) -> Refusal {
        Refusal { user: user.map(str::to_string), reason: reason.map(str::to_string), temporary }
    }

    #[test]
    fn what_dovecot_says() {
        let plain = Properties { plaintext: true, ..Properties::default() };
        let cases: &[(&[u8], Line)] = &[
            (b"VERSION\t1\t2", Line::Version(1, 2)),
            (
                b"MECH\tPLAIN\tplaintext\tnew-thing",
                Line::Mechanism(Some(Offer { name: "PLAIN".into(), properties: plain })),
            ),
            (b"MECH\tDOVECOT-TOKEN\tprivate", Line::Mechanism(None)),
            (b"SPID\t1", Line::Other),
            (b"DONE", Line::Done),
            (b"", Line::Other),
            (b"CONT\t7\tVXNlcm5hbWU6", Line::Challenge(7, b"Username:".to_vec())),
            (b"CONT\t7\t", Line::Challenge(7, Vec::new())),
            (b"CONT\t7", Line::Challenge(7, Vec::new())),
            (b"OK\t3\tuser=ana\textra", Line::Success(3, Some("ana".into()))),
            (b"OK\t3\toriginal_user=x\tuser=a\x01tb", Line::Success(3, Some("a\tb".into()))),
            (b"OK\t3\tuser=", Line::Success(3, None)),
            (b"OK\t3\tuser=\xff", Line::Success(3, None)),
            (b"OK\t3", Line::Success(3, None)),
            (b"FAIL\t9", Line::Failure(9, Refusal::default())),
            (b"FAIL\t9\tuser=ana\tauthz", Line::Failure(9, refusal(Some("ana"), None, false))),
            (b"FAIL\t9\ttemp", Line::Failure(9, refusal(None, None, true))),
            (
                b"FAIL\t9\tuser=\tcode=temp_fail\treason=a=b",
                Line::Failure(9, refusal(Some(""), Some("a=b"), true)),
            ),
            (b"FAIL\t9\tcode=invalid_base64\treason=x", Line::Failure(9, refusal(None, Some("x"), false))),
        ];
        for (text, line) in cases {
            assert_eq!(read(text).as_ref(), Ok(line), "{}", String::from_utf8_lossy(text));
        }
        for bad in [&b"OK"[..], b"OK\tx\tuser=a", b"OK\t-1\tuser=a", b"FAIL", b"CONT\t99999999999", b"MECH"] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(read(b"MECH\tPL AIN").is_err() && read(b"MECH\tA\x01nB").is_err());
        assert!(matches!(read(b"CONT\t7\t!!!"), Ok(Line::Failure(7, Refusal { temporary: true, .. }))));
    }

    #[test]
    fn what_is_said_to_it() {
        let mut about = About {
            service: "smtp".into(),
            remote: "[::ffff:192.0.2.7]:4711".parse().ok(),
            local: "127.0.0.1:25".parse().ok(),
            ..About::default()
        };
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        assert_eq!(
            text(begin(1, "LOGIN", &about, None)),
            "AUTH\t1\tLOGIN\tservice=smtp\tnologin\tlip=127.0.0.1\tlport=25\trip=192.0.2.7\trport=4711\n"
        );
        (about.remote, about.local) = (None, None);
        about.service = "a\tb\n\0\x01".into();
        assert_eq!(
            text(begin(2, "PLAIN", &about, Some(&Secret::default()))),
            "AUTH\t2\tPLAIN\tservice=a\x01tb\x01n\x010\x011\tnologin\tresp==\n"
        );
        about.service = "smtp".into();
        about.encryption = Some(Encryption {
            trusted_certificate: true,
            common_name: Some("ana\tresp=x".into()),
            ..Encryption::default()
        });
        assert_eq!(
            text(begin(3, "EXTERNAL", &about, Some(&"a".into()))),
            "AUTH\t3\tEXTERNAL\tservice=smtp\tnologin\tsecured\tvalid-client-cert\tcert_username=ana\x01tresp=x\tresp=YQ==\n"
        );
        assert_eq!(text(respond(4, &"Passwort".into())), "CONT\t4\tUGFzc3dvcnQ=\n");
        assert_eq!(text(respond(4, &Secret::default())), "CONT\t4\t\n");
        assert_eq!(respond(4, &vec![0; 12_000].into()), None);
    }

    #[test]
    fn lines_are_bounded() {
        let mut lines = Lines::default();
        lines.add(b"a\nb");
        assert_eq!(lines.next_line(), Ok(Some(b"a".to_vec())));
        assert_eq!(lines.next_line(), Ok(None));
        lines.add(b"c\n\n");
        assert_eq!(lines.next_line(), Ok(Some(b"bc".to_vec())));
        assert_eq!(lines.next_line(), Ok(Some(Vec::new())));
        lines.add(&vec![b'x'; LONGEST + 1]);
        assert!(lines.next_line().is_err());
    }

    proptest! {
        #[test]
        fn escapes_come_back(text in ".{0,40}") {
            let mut out = Vec::new();
            escape(&mut out, &text);
            prop_assert!(!out.iter().any(|b| b"\t\n\r\0".contains(b)));
            prop_assert_eq!(unescape(&out), text.into_bytes());
        }

        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut lines = Lines::default();
            for piece in bytes.chunks(7) {
                lines.add(piece);
                while let Ok(Some(line)) = lines.next_line() {
                    let _ = read(&line);
                }
            }
        }

        #[test]
        fn success_needs_a_success(line in "(OK|FAIL|CONT|MECH|VERSION)(\t[a-z0-9=\x01]{0,9}){0,4}") {
            if let Ok(Line::Success(_, user)) = read(line.as_bytes()) {
                prop_assert!(line.starts_with("OK\t"));
                prop_assert!(user.is_none() || line.contains("user="));
            }
        }
    }
}
