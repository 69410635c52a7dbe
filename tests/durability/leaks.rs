//! Sessions of all kinds, good ones, broken off everywhere, guessing, logged in, idle, refused by us, by a policy service and
//! by a milter, in chunks, encrypted, relayed, deferred, bounced, from
//! thousands of addresses and to hundreds of servers: afterwards all processes have the descriptors, threads and children
//! that they had after the first ones, and their memory has not grown with the number of sessions.
//!
//! `VALIJA_LEAK_SESSIONS=200000` makes it a day's worth (`./test all`, which runs it optimized: `cargo test --release`); without
//! it it takes some twenty seconds.

mod servers;

use crate::poison::socket_from;
use crate::system::{PATIENCE, Role, System, wait};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use valija_tests::tls::{Connection, Options};

/// Clients at once.
const CLIENTS: u64 = 12;
/// And in the long form.
const MANY: u64 = 120;
/// How long either half of the short form lasts.
const SHORT: Duration = Duration::from_secs(7);

/// What a process has.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    /// KiB.
    memory: usize,
}

const ROLES: [Role; 3] = [Role::Master, Role::Mail, Role::Deliver];

fn held(system: &System) -> [Held; 3] {
    ROLES.map(|role| {
        let Some(pid) = system.process(role) else { return Held::default() };
        let number = |text: &str, name: &str| -> usize {
            let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
        };
        let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        Held {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
            threads: number(&read("status"), "Threads:"),
            children: read(&format!("task/{pid}/children")).split_whitespace().count(),
            memory: number(&read("smaps_rollup"), "Pss:"),
        }
    })
}

/// A session of a client; whatever happens to it is no matter.
fn session(system: &System, n: u64) -> std::io::Result<()> {
    // As many addresses as a day brings.
    let from = SocketAddr::from(([127, 2 + (n / 65_000) as u8, (n / 250) as u8, 1 + (n % 250) as u8], 0));
    let mut client = BufReader::new(socket_from(from, system.address));
    let mut line = String::new();
    let mut say = |client: &mut BufReader<TcpStream>, text: &str| -> std::io::Result<String> {
        client.get_mut().write_all(text.as_bytes())?;
        loop {
            line.clear();
            if client.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.clone());
            }
        }
    };
    let name = &system.user.name;
    say(&mut client, "")?;
    let mail = format!("MAIL FROM:<{name}@localhost>\r\n");
    let here = format!("RCPT TO:<{name}@localhost>\r\n");
    let relay = |who: &str| format!("RCPT TO:<{who}@{}-{}.relay.test>\r\n", n / 200 % 5, n % 200);
    let text = format!("Subject: {n}\r\n\r\n{}\r\n.\r\n", "some words ".repeat((n % 50) as usize));
    match n % 28 {
        // Good ones: for here, and to be relayed, one refused there, one that nobody listens for.
        0 | 1 => {
            for command in ["EHLO me\r\n", &mail, &here, "DATA\r\n", &text, "QUIT\r\n"] {
                say(&mut client, command)?;
            }
        }
        2 | 3 => {
            for command in ["EHLO me\r\n", &mail, &relay("a"), &relay("b"), "DATA\r\n", &text, "QUIT\r\n"] {
                say(&mut client, command)?;
            }
        }
        4 => {
            for command in ["EHLO me\r\n", &mail, &relay("nobody"), "DATA\r\n", &text] {
                say(&mut client, command)?;
            }
        }
        5 => {
            for command in ["EHLO me\r\n", &mail, "RCPT TO:<a@dead.test>\r\n", "DATA\r\n", &text] {
                say(&mut client, command)?;
            }
        }
        // Broken off: everywhere.
        6 => {}
        7 => drop(say(&mut client, "EHLO me\r\n")?),
        8 => client.get_mut().write_all(b"EHLO me\r\nMAIL FR")?,
        9 => {
            for command in ["EHLO me\r\n", &mail, &here, "DATA\r\n"] {
                say(&mut client, command)?;
            }
            client.get_mut().write_all(&b"half a message\r\n".repeat(1 + (n % 500) as usize))?;
        }
        10 => {
            for command in ["EHLO me\r\n", &mail, &here, "DATA\r\n"] {
                say(&mut client, command)?;
            }
            client.get_mut().write_all(text.as_bytes())?;
        }
        11 => {
            for command in ["EHLO me\r\n", &mail, &here] {
                say(&mut client, command)?;
            }
            client.get_mut().write_all(b"BDAT 1000 LAST\r\nnot so much")?;
        }
        // Too many errors, and too much at once.
        12 => {
            client.get_mut().write_all(&b"WHAT\r\n".repeat(30))?;
            let _ = client.read_to_end(&mut Vec::new());
        }
        13 => {
            client.get_mut().write_all(&b"EHLO x\r\nMAIL FROM:<a@b>\r\nRSET\r\nVRFY x\r\n".repeat(50))?;
            client.get_mut().write_all(&b"x".repeat(20_000))?;
        }
        // Guesses.
        14 => {
            say(&mut client, "EHLO me\r\n")?;
            say(&mut client, "AUTH PLAIN AG5vYm9keQBndWVzcw==\r\n")?;
            say(&mut client, "AUTH LOGIN\r\n")?;
            say(&mut client, "bm9ib2R5\r\n")?;
            client.get_mut().write_all(b"Z3Vlc3M=\r\n")?;
        }
        // TLS: a good session, one broken off in the handshake, one that is none.
        15 | 16 => {
            say(&mut client, "EHLO me\r\n")?;
            say(&mut client, "STARTTLS\r\n")?;
            let mut client = Connection::Plain(client.into_inner());
            if client.encrypt(&Options::default()).is_ok() {
                client.write_all(b"EHLO me\r\nQUIT\r\n")?;
                let _ = client.read_to_end(&mut Vec::new());
            }
        }
        17 => {
            say(&mut client, "EHLO me\r\n")?;
            say(&mut client, "STARTTLS\r\n")?;
            let hello: &[u8] =
                if n % 56 < 28 { b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" } else { b"EHLO x\r\n" };
            client.get_mut().write_all(hello)?;
        }
        // Nobody speaks until the server has enough of it; one goes without reading.
        18 => drop(client.read_to_end(&mut Vec::new())),
        19 => client.get_mut().write_all(&b"NOOP\r\n".repeat(2000))?,
        // Refused: as a relay, and by the policy service, or by its silence.
        20 => {
            for command in ["EHLO me\r\n", &mail, "RCPT TO:<a@elsewhere.test>\r\n", "QUIT\r\n"] {
                say(&mut client, command)?;
            }
        }
        21 => {
            say(&mut client, "EHLO me\r\n")?;
            for who in ["refused", "later", "silence"] {
                for command in [&format!("MAIL FROM:<{who}@localhost>\r\n"), &here, "RSET\r\n"] {
                    say(&mut client, command)?;
                }
            }
        }
        // By the milter, or by its silence; with the client gone before it has answered.
        22 | 23 => {
            let word = if n % 56 < 28 { "refuse" } else { "silence" };
            let text = format!("Subject: {word} {n}\r\n\r\ntext\r\n.\r\n");
            for command in ["EHLO me\r\n", &mail, &here, "DATA\r\n"] {
                say(&mut client, command)?;
            }
            client.get_mut().write_all(text.as_bytes())?;
            if n % 28 == 22 {
                say(&mut client, "")?;
            }
        }
        // In chunks.
        24 => {
            for command in ["EHLO me\r\n", &mail, &relay("c")] {
                say(&mut client, command)?;
            }
            let chunk = format!("Subject: {n}\r\n\r\n{}\r\n", "some words ".repeat((n % 50) as usize));
            say(&mut client, &format!("BDAT {}\r\n{chunk}", chunk.len()))?;
            say(&mut client, "BDAT 6 LAST\r\nlast\r\n")?;
        }
        // Encrypted and logged in, to the end, and gone in the middle of a message.
        _ => {
            say(&mut client, "EHLO me\r\n")?;
            say(&mut client, "STARTTLS\r\n")?;
            let mut client = Connection::Plain(client.into_inner());
            if client.encrypt(&Options::default()).is_ok() {
                let login = "AUTH PLAIN AGFsdW1ubwBjbGF2ZQ==\r\n";
                let rest = if n % 28 == 25 { "half a message\r\n" } else { &text };
                let mut client = BufReader::new(client);
                for command in ["EHLO me\r\n", login, &mail, &relay("t"), "DATA\r\n", rest] {
                    client.get_mut().write_all(command.as_bytes())?;
                    if command == rest && n % 28 == 25 {
                        break;
                    }
                    let mut line = String::new();
                    while client.read_line(&mut line)? > 0 && line.as_bytes().get(3) == Some(&b'-') {
                        line.clear();
                    }
                }
            }
        }
    }
    Ok(())
}

/// Sessions of all kinds, from `next` on, until there were enough.
fn sessions(system: &System, clients: u64, next: &AtomicU64, enough: &(dyn Fn(u64) -> bool + Sync)) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if enough(n) {
                        over.store(true, Ordering::Relaxed);
                    }
                    let _ = session(system, n);
                }
            });
        }
    });
}

/// When nothing is under way any more: what is held then.
fn at_rest(system: &System, at_most: Option<[Held; 3]>) -> [Held; 3] {
    wait("an empty queue", system, || {
        String::from_utf8_lossy(&system.command("mailq", &[]).stdout).contains("Mail queue is empty")
    });
    // Threads that had work wait for more for some seconds, connections to servers, too.
    let counted = |all: &[Held; 3]| all.map(|h| (h.descriptors, h.threads, h.children));
    let (mut last, mut since) = (held(system), Instant::now());
    let end = since + PATIENCE;
    loop {
        let now = held(system);
        if counted(&now) != counted(&last) {
            (last, since) = (now, Instant::now());
        }
        let fits = at_most.is_none_or(|most| {
            now.iter().zip(most).all(|(now, most)| {
                now.descriptors <= most.descriptors
                    && now.threads <= most.threads
                    && now.children <= most.children
            })
        });
        if if at_most.is_some() { fits } else { since.elapsed() > Duration::from_secs(8) } {
            return now;
        }
        assert!(Instant::now() < end, "more is held for good: {now:#?}, before it was {at_most:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn sessions_leave_nothing_behind() {
    let folder = std::env::temp_dir().join(format!("valija-leaks-{}", std::process::id()));
    let (port, policy, milter) = (servers::sink(), servers::policy(), servers::milter());
    let place = folder.display();
    let settings = format!(
        "smtpd_timeout = 2s\nsmtpd_hard_error_limit = 5\nsmtpd_error_sleep_time = 0\nanvil_rate_time_unit = 5s\n\
         smtpd_client_event_limit_exceptions =\nsmtpd_peername_lookup = no\nsmtpd_client_message_rate_limit = 1000\n\
         smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {place}/etc/cert.pem\n\
         smtpd_tls_key_file = {place}/etc/key.pem\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = valija\n\
         valija_users_file = {place}/etc/users\nmaximal_queue_lifetime = 3s\nbounce_queue_lifetime = 3s\n\
         smtp_connection_cache_time_limit = 1s\ndefault_process_limit = 150\n\
         smtpd_milters = inet:127.0.0.1:{milter}\nmilter_default_action = accept\nsmtpd_policy_service_retry_delay = 0\nsmtpd_policy_service_max_idle = 2s\n\
         smtpd_relay_restrictions = check_recipient_access inline:{{elsewhere.test=reject}}, permit_mynetworks\n\
         smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy}\n\
         transport_maps = regexp:{{{{/@([0-9]+)-([0-9]+)\\.relay\\.test$$/ smtp:[127.1.$$1.$$2]:{port}}}, \
         {{/@dead\\.test$$/ smtp:[127.0.0.1]:1}}}}\n"
    );
    let system = System::make(&folder, None, &settings);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=drill.localdomain", "-keyout"])
        .arg(folder.join("etc/key.pem"))
        .arg("-out")
        .arg(folder.join("etc/cert.pem"))
        .output();
    assert!(made.is_ok_and(|m| m.status.success()), "openssl makes a certificate (package openssl)");
    fs::write(folder.join("etc/users"), "alumno:{PLAIN}clave\n").expect("a file of users");
    let (uid, gid) = (system.user.uid.as_raw(), system.user.gid.as_raw());
    for file in ["key.pem", "cert.pem", "users"] {
        std::os::unix::fs::chown(folder.join("etc").join(file), Some(uid), Some(gid)).expect("root may");
    }
    system.start();
    let process = system.process(Role::Mail);
    let long: Option<u64> = std::env::var("VALIJA_LEAK_SESSIONS").ok().and_then(|n| n.parse().ok());
    let next = AtomicU64::new(0);
    let part = |first: bool| {
        let begun = Instant::now();
        let until = long.map(|n| if first { n / 5 } else { n });
        sessions(&system, if long.is_some() { MANY } else { CLIENTS }, &next, &|n| match until {
            Some(until) => n >= until,
            None => begun.elapsed() >= SHORT,
        });
        next.load(Ordering::Relaxed)
    };
    let warm = part(true);
    let before = at_rest(&system, None);
    let all = part(false);
    let after = at_rest(&system, Some(before));
    for ((role, before), after) in ROLES.iter().zip(before).zip(after) {
        eprintln!("{role:?} after {warm} sessions {before:?}, after {all} {after:?}");
    }
    assert_eq!(system.process(Role::Mail), process, "somebody restarted it:\n{}", system.log_tail());
    assert!(warm >= 100 && all >= warm + 100, "too few sessions: {warm}, {all}");
    // What the allocator keeps varies; a leak of some bytes in each session would not fit in. The few sessions of the
    // short form do not bring each thread to all it ever needs: it finds what is lost by the megabyte.
    for ((role, before), after) in ROLES.iter().zip(before).zip(after) {
        let most = match long {
            Some(_) => before.memory + before.memory / 8 + 2048,
            None => {
                let first = if *role == Role::Mail { 48 * 1024 } else { 16 * 1024 };
                (before.memory + before.memory / 8 + 3072).max(first)
            }
        };
        assert!(after.memory <= most, "{role:?} grew from {} KiB to {}", before.memory, after.memory);
    }
    let said = fs::read(folder.join("mail.log")).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    assert!(
        !said.contains("panic: "),
        "{}",
        said.lines().find(|l| l.contains("panic: ")).unwrap_or_default()
    );
    for kind in [
        "status=sent",
        "status=bounced",
        "status=deferred",
        "too many errors",
        "timeout after",
        "authentication failed",
        "not you",
        "not now",
        "milter-reject",
        "Access denied",
        "sasl_username=alumno",
        "problem talking to server",
    ] {
        assert!(said.contains(kind), "no session led to {kind:?}");
    }
    system.stop();
}
