//! What runs inside the hosts of the lab beside their mail systems: a system log, the name server, and somebody who types.

use super::plan::{DNS, ZONE};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Where a host's log is, as Debian has it.
pub(super) const LOG: &str = "/var/log/mail.log";

/// Receives what programs say on /dev/log and writes it to the log.
pub(super) fn syslog(host: &str) -> Result<(), String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut log =
        OpenOptions::new().create(true).append(true).open(LOG).map_err(|error| failed(LOG, error))?;
    let socket = UnixDatagram::bind("/dev/log").map_err(|error| failed("/dev/log", error))?;
    std::fs::set_permissions("/dev/log", PermissionsExt::from_mode(0o666))
        .map_err(|error| failed("/dev/log", error))?;
    let mut buffer = vec![0; 65536];
    loop {
        let length = socket.recv(&mut buffer).map_err(|error| failed("/dev/log", error))?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        if let Some(line) = line(&text, host, &now()) {
            log.write_all(line.as_bytes()).map_err(|error| failed(LOG, error))?;
        }
    }
}

/// `<22>Nov 21 13:00:00 tag[1]: text` as Debian's log has it: with the precise time, and the host's name.
fn line(datagram: &str, host: &str, time: &str) -> Option<String> {
    const DATE: usize = "Nov 21 13:00:00 ".len();
    let (_, text) = datagram.strip_prefix('<')?.split_once('>')?;
    let (_, said) = text.split_at_checked(DATE)?;
    Some(format!("{time} {host} {}\n", said.trim_end_matches(['\n', '\0'])))
}

/// `2026-11-21T13:00:00.123456+00:00`. RFC 3339
fn now() -> String {
    let micros = sys::time::now_micros();
    let seconds = (micros / 1_000_000) as i64;
    let zone = sys::time::zone_at(seconds);
    let stamp = proto::date::DateTime::new(seconds, zone.offset, &zone.name).stamp();
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    let (sign, minutes) = (if zone.offset < 0 { '-' } else { '+' }, zone.offset.unsigned_abs() / 60);
    format!(
        "{}-{}-{}T{}:{}:{}.{:06}{sign}{:02}:{:02}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14),
        micros % 1_000_000,
        minutes / 60,
        minutes % 60
    )
}

/// Answers for the lab's zone until the host ends.
pub(super) fn names() -> Result<(), String> {
    let zone = net::dns::Zone::parse(ZONE)?;
    let address: SocketAddr = format!("{DNS}:53").parse().map_err(|error| format!("{DNS}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the name server: {error}"))?;
    runtime.block_on(async {
        let _server = net::dns::serve::Server::start(address, zone)
            .await
            .map_err(|error| format!("the name server at {address}: {error}"))?;
        std::future::pending().await
    })
}

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays a dialogue with a server and prints it: `C:` lines are sent, `S:` lines are the beginnings of the replies that
/// must come. Without a script, lines of the standard input are sent, as telnet does with CRLF.
pub(super) fn talk(target: &str, script: Option<&str>) -> Result<(), String> {
    let target = if target.contains(':') { target.to_string() } else { format!("{target}:25") };
    let address = target.to_socket_addrs().ok().and_then(|mut all| all.next());
    let address = address.ok_or_else(|| format!("{target} has no address"))?;
    let stream = TcpStream::connect(address).map_err(|error| format!("connect to {target}: {error}"))?;
    match script {
        Some(script) => play(stream, script),
        None => converse(stream).map_err(|error| format!("{target}: {error}")),
    }
}

fn play(mut stream: TcpStream, script: &str) -> Result<(), String> {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut unread = Vec::new();
    for line in script.lines() {
        if let Some(text) = line.strip_prefix("C:") {
            let text = text.strip_prefix(' ').unwrap_or(text);
            println!("C: {text}");
            stream.write_all(format!("{text}\r\n").as_bytes()).map_err(|error| error.to_string())?;
        } else if let Some(expected) = line.strip_prefix("S: ") {
            let reply = reply(&mut stream, &mut unread)?;
            reply.iter().for_each(|line| println!("S: {line}"));
            if !reply.last().is_some_and(|last| last.starts_with(expected)) {
                return Err(format!("a reply that begins with {expected:?} was expected"));
            }
        }
    }
    Ok(())
}

/// The lines of a whole reply, RFC 5321 4.2.1.
fn reply(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<Vec<String>, String> {
    const MOST_LINES: usize = 100;
    let mut lines = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            let more = line.as_bytes().get(3) == Some(&b'-') && lines.len() < MOST_LINES;
            lines.push(line);
            if !more {
                return Ok(lines);
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(length) => unread.extend(buffer.iter().take(length)),
            Err(error) => return Err(format!("no reply: {error}")),
        }
    }
}

/// The terminal on one side, the server on the other, until the server leaves.
fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut replies = stream.try_clone()?;
    let typed = std::thread::spawn(move || -> std::io::Result<()> {
        for line in std::io::stdin().lines() {
            stream.write_all(format!("{}\r\n", line?).as_bytes())?;
        }
        stream.shutdown(std::net::Shutdown::Write)
    });
    std::io::copy(&mut replies, &mut std::io::stdout())?;
    drop(typed); // it may wait for a line that nobody will type
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_get_the_name_of_their_host() {
        assert_eq!(
            line("<22>Nov 21 13:00:00 postfix/smtpd[7]: connect from x\n", "mail1", "T").unwrap(),
            "T mail1 postfix/smtpd[7]: connect from x\n"
        );
        assert_eq!(line("no priority", "mail1", "T"), None);
        assert_eq!(line("<22>short", "mail1", "T"), None);
        let now = now();
        assert!(now.len() == "2026-11-21T13:00:00.123456+00:00".len() && now.starts_with("20"), "{now}");
    }

    #[test]
    fn a_script_stops_at_a_reply_that_is_not_expected() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut peer, _) = listener.accept().unwrap();
                peer.write_all(b"220 hi\r\n").unwrap();
                peer.read_exact(&mut [0; 6]).unwrap();
                peer.write_all(b"250-one\r\n250 two\r\n").unwrap();
            }
        });
        assert_eq!(talk(&address, Some("S: 220\nC: EHLO\nS: 250 two")), Ok(()));
        assert!(talk(&address, Some("S: 220\nC: EHLO\nS: 550")).unwrap_err().contains("\"550\""));
        server.join().unwrap();
    }
}
