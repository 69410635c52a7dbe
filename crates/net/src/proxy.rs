//! The header in which a proxy says who connected to it, for `smtpd_upstream_proxy_protocol = haproxy`:
//! version 1 (a line) and version 2 (binary), as haproxy.org's proxy-protocol.txt defines them.
//!
//! As in Postfix, a proxy that speaks for itself (`LOCAL`) is taken as it is, and one that does not
//! know for whom it speaks (`UNKNOWN`, unspecified or other families) is refused. Stricter than there:
//! an address is written in full and in decimal digits.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The two ends of the connection that the proxy took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who connected.
    pub client: SocketAddr,
    /// To which address of the proxy.
    pub server: SocketAddr,
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many more bytes belong to the header for certain.
    More(usize),
    /// The header is complete; `None` when the proxy speaks for itself.
    Done(Option<Ends>),
    /// It is none.
    Bad(&'static str),
}

/// The families of `inet_protocols`; a client of another one is refused.
#[derive(Clone, Copy, Debug)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const WORD: &[u8] = b"PROXY ";
/// Of both versions: the shortest line of version 1 that says something is longer.
const SHORTEST: usize = 16;
/// Version 1 with its end of line, by its definition.
const LONGEST_LINE: usize = 107;
/// Version 2 with whatever follows the addresses, as Postfix.
const LONGEST: usize = 536;

/// Reads a header. The bytes must be those that were asked for by [`Step::More`], and no more.
pub fn read(bytes: &[u8], families: Families) -> Step {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if !begins(WORD) && !begins(&SIGNATURE) {
        return Step::Bad(if bytes.len() < SHORTEST {
            "short protocol header"
        } else {
            "unrecognized protocol header"
        });
    }
    if bytes.len() < SHORTEST {
        return match bytes.contains(&b'\n') && begins(WORD) {
            true => line(bytes, families),
            false => Step::More(SHORTEST - bytes.len()),
        };
    }
    match begins(&SIGNATURE) {
        true => binary(bytes, families),
        false => line(bytes, families),
    }
}

fn line(bytes: &[u8], families: Families) -> Step {
    let Some(line) = bytes.strip_suffix(b"\n") else {
        return match bytes.len() < LONGEST_LINE {
            true => Step::More(1),
            false => Step::Bad("missing protocol header terminator"),
        };
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty()).skip(1);
    let mut word = || words.next().and_then(|w| std::str::from_utf8(w).ok());
    let address: fn(&str) -> Option<IpAddr> = match word() {
        Some("TCP4") if families.v4 => |w| Some(IpAddr::V4(w.parse().ok()?)),
        Some("TCP6") if families.v6 => |w| Some(IpAddr::V6(w.parse().ok()?)),
        _ => return Step::Bad("bad or missing protocol type"),
    };
    let Some(client) = word().and_then(address) else { return Step::Bad("bad or missing client address") };
    let Some(server) = word().and_then(address) else { return Step::Bad("bad or missing server address") };
    let Some(client_port) = word().and_then(port) else { return Step::Bad("bad or missing client port") };
    let Some(server_port) = word().and_then(port) else { return Step::Bad("bad or missing server port") };
    Step::Done(Some(Ends {
        client: SocketAddr::new(client.to_canonical(), client_port),
        server: SocketAddr::new(server.to_canonical(), server_port),
    }))
}

fn port(word: &str) -> Option<u16> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok())?
}

fn binary(bytes: &[u8], families: Families) -> Step {
    let [version_command, family, length @ ..] = bytes.get(SIGNATURE.len()..).unwrap_or_default() else {
        return Step::Bad("short version 2 protocol header");
    };
    let Some((length, rest)) = length.split_first_chunk::<2>() else {
        return Step::Bad("short version 2 protocol header");
    };
    let length: usize = u16::from_be_bytes(*length).into();
    if version_command >> 4 != 2 {
        return Step::Bad("unrecognized protocol version");
    }
    if SHORTEST + length > LONGEST {
        return Step::Bad("too long version 2 protocol header");
    }
    if rest.len() < length {
        return Step::More(length - rest.len());
    }
    let ends = match (version_command & 15, family) {
        (0, _) => return Step::Done(None),
        (1, 0x11) if families.v4 => rest.get(..12).and_then(ends::<4, Ipv4Addr>),
        (1, 0x21) if families.v6 => rest.get(..36).and_then(ends::<16, Ipv6Addr>),
        (1, _) => return Step::Bad("unsupported network protocol"),
        _ => return Step::Bad("bad command in proxy header"),
    };
    match ends {
        Some(ends) => Step::Done(Some(ends)),
        None => Step::Bad("short address field"),
    }
}

/// Two addresses of `N` bytes, two ports.
fn ends<const N: usize, A: From<[u8; N]>>(bytes: &[u8]) -> Option<Ends>
where
    IpAddr: From<A>,
{
    let (client, rest) = bytes.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let (client_port, rest) = rest.split_first_chunk::<2>()?;
    let (server_port, _) = rest.split_first_chunk::<2>()?;
    let end = |address: &[u8; N], port: &[u8; 2]| {
        SocketAddr::new(IpAddr::from(A::from(*address)).to_canonical(), u16::from_be_bytes(*port))
    };
    Some(Ends { client: end(client, client_port), server: end(server, server_port) })
}

/// Takes a header off a connection, and nothing of what follows it. The error is for the log.
pub async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    families: Families,
    timeout: Duration,
) -> Result<Option<Ends>, String> {
    let taking = async {
        let mut bytes = Vec::new();
        loop {
            let more = match read(&bytes, families) {
                Step::Done(ends) => return Ok(ends),
                Step::Bad(why) => return Err(format!("haproxy read: {why}: {}", escaped(&bytes))),
                Step::More(more) => more as u64,
            };
            match (&mut *stream).take(more).read_buf(&mut bytes).await {
                Ok(0) => return Err("haproxy read: EOF".to_string()),
                Ok(_) => {}
                Err(e) => return Err(format!("haproxy read: {}", crate::plain(&e))),
            }
        }
    };
    match tokio::time::timeout(timeout, taking).await {
        Ok(result) => result,
        Err(_) => Err("haproxy read: timeout error".to_string()),
    }
}

/// As Postfix shows foreign bytes.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        let letter = match byte {
            7 => 'a',
            8 => 'b',
            9 => 't',
            10 => 'n',
            11 => 'v',
            12 => 'f',
            13 => 'r',
            b'\\' => '\\',
            b' '..=b'~' => {
                text.push(byte as char);
                continue;
            }
            _ => {
                let _ = write!(text, "\\{byte:03o}");
                continue;
            }
        };
        text.extend(['\\', letter]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: Families = Families { v4: true, v6: true };

    fn done(client: &str, server: &str) -> Step {
        Step::Done(Some(Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }))
    }

    #[test]
    fn lines() {
        let of = |text: &str| read(text.as_bytes(), BOTH);
        let plain = done("10.9.8.7:1234", "10.77.1.10:25");
        for good in [
            "PROXY TCP4 10.9.8.7 10.77.1.10 1234 25\r\n",
            "PROXY TCP4 10.9.8.7 10.77.1.10 1234 25 extra\r\n",
            "PROXY TCP4  10.9.8.7 10.77.1.10 1234 25\r\n",
            "PROXY TCP4 10.9.8.7 10.77.1.10 1234 25\n",
            "PROXY TCP6 ::ffff:10.9.8.7 ::ffff:10.77.1.10 1234 25\r\n",
        ] {
            assert_eq!(of(good), plain, "{good}");
        }
        assert_eq!(of("PROXY TCP6 fd00::5 fd00::6 1234 0\r\n"), done("[fd00::5]:1234", "[fd00::6]:0"));
        for (bad, why) in [
            ("PROXY UNKNOWN   \r\n", "bad or missing protocol type"),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "bad or missing protocol type"),
            ("PROXY TCP4 10.9.8.7 10.77.1.10 1234\r\n", "bad or missing server port"),
            ("PROXY TCP4 10.9.8.7 10.77.1.10 70000 25\r\n", "bad or missing client port"),
            ("PROXY TCP4 10.9.8.7 10.77.1.10 +1 25\r\n", "bad or missing client port"),
            ("PROXY TCP4 fd00::5 10.77.1.10 1234 25\r\n", "bad or missing client address"),
            ("PROXY TCP4 010.9.8.7 10.77.1.10 1234 25\r\n", "bad or missing client address"),
            ("PROXY TCP4 10.9.8.7\r\n", "bad or missing server address"),
            ("GET / HTTP/1.0\r\n\r\n", "unrecognized protocol header"),
            ("proxy TCP4 10.9.8.7 10.77.1.10 1234 25\r\n", "unrecognized protocol header"),
            ("EHLO foo\r\n", "short protocol header"),
            ("PROXY\r\n", "short protocol header"),
            ("PROXY TCP4\r\n", "bad or missing client address"),
        ] {
            assert_eq!(of(bad), Step::Bad(why), "{bad}");
        }
        let only4 = Families { v4: true, v6: false };
        let six = b"PROXY TCP6 fd00::5 fd00::6 1234 25\r\n";
        assert_eq!(read(six, only4), Step::Bad("bad or missing protocol type"));
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        assert_eq!(of(&endless[..106]), Step::More(1));
        assert_eq!(of(&endless[..107]), Step::Bad("missing protocol header terminator"));
    }

    fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Step {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(rest);
        read(&bytes, BOTH)
    }

    #[test]
    fn binary_headers() {
        let four = [10, 9, 8, 7, 10, 77, 1, 10, 4, 210, 0, 25];
        let six: Vec<u8> = [[0xfd; 16], [0xfe; 16]].concat().into_iter().chain([4, 210, 0, 25]).collect();
        let plain = done("10.9.8.7:1234", "10.77.1.10:25");
        assert_eq!(v2(0x21, 0x11, 12, &four), plain);
        assert_eq!(v2(0x21, 0x11, 16, &[&four[..], &[1, 0, 1, 97]].concat()), plain);
        assert!(matches!(v2(0x21, 0x21, 36, &six), Step::Done(Some(e)) if e.client.port() == 1234));
        for (family, length, rest) in [(0, 0, &b""[..]), (0x11, 12, &four), (0x11, 3, b"abc")] {
            assert_eq!(v2(0x20, family, length, rest), Step::Done(None));
        }
        assert_eq!(v2(0x21, 0x11, 12, &four[..5]), Step::More(7));
        for (command, family, length, rest, why) in [
            (0x21, 0, 0, &b""[..], "unsupported network protocol"),
            (0x21, 0x12, 12, &four, "unsupported network protocol"),
            (0x21, 0x31, 12, &four, "unsupported network protocol"),
            (0x21, 0x11, 11, &four[..11], "short address field"),
            (0x21, 0x21, 12, &four, "short address field"),
            (0x11, 0x11, 12, &four, "unrecognized protocol version"),
            (0x22, 0x11, 12, &four, "bad command in proxy header"),
            (0x21, 0x11, 521, &four, "too long version 2 protocol header"),
        ] {
            assert_eq!(v2(command, family, length, rest), Step::Bad(why));
        }
    }

    #[test]
    fn nothing_is_taken_of_what_follows() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bytes = b"PROXY TCP4 10.9.8.7 10.77.1.10 1234 25\r\nEHLO a\r\n";
            let mut stream = &bytes[..];
            let got = receive(&mut stream, BOTH, Duration::from_secs(5)).await;
            assert_eq!(got.unwrap().unwrap().client.port(), 1234);
            assert_eq!(stream, b"EHLO a\r\n");
            let mut stream = &b"EHLO \\ \x07\x00foo\r\n"[..];
            let got = receive(&mut stream, BOTH, Duration::from_secs(5)).await.unwrap_err();
            assert_eq!(got, "haproxy read: short protocol header: EHLO \\\\ \\a\\000foo\\r\\n");
            let mut stream = &b"PROXY TCP4 1"[..];
            let got = receive(&mut stream, BOTH, Duration::from_secs(5)).await.unwrap_err();
            assert_eq!(got, "haproxy read: EOF");
            let (_silent, mut stream) = tokio::io::duplex(10);
            let got = receive(&mut stream, BOTH, Duration::from_millis(1)).await.unwrap_err();
            assert_eq!(got, "haproxy read: timeout error");
        });
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(tail in proptest::collection::vec(any::<u8>(), 0..600), start in 0..3) {
            let mut all = [&b"PROXY TCP"[..], &SIGNATURE[..], b""][start as usize].to_vec();
            all.extend(tail);
            let mut taken = 0;
            while let Step::More(more) = read(&all[..taken], BOTH) {
                prop_assert!(more > 0 && taken + more <= LONGEST);
                if taken + more > all.len() {
                    break;
                }
                taken += more;
            }
        }
    }
}
