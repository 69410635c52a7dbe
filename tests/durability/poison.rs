//! Messages and peers that the programs die of: the second time they are set aside, and everybody else's mail goes on. No
//! program knows that it is tested: faults are signals, sent while the message or the peer is at work.

use crate::load::send;
use crate::system::{Role, System, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("valija-{name}-{}", std::process::id()))
}

fn log(system: &System) -> String {
    String::from_utf8_lossy(&fs::read(system.folder.join("mail.log")).unwrap_or_default()).into_owned()
}

fn queue(system: &System) -> String {
    String::from_utf8_lossy(&system.command("mailq", &[]).stdout).into_owned()
}

/// A server that takes connections and says nothing; how many it took.
fn silent_server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            open.push(stream);
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, count)
}

/// Ends the mail role by a signal, and waits for the next.
fn fault(system: &System, signal: Signal) {
    let old = system.process(Role::Mail).expect("a mail role");
    end(system, old, signal);
    system.wait_for_new(Role::Mail, old);
}

/// Sends a signal until the process is gone: Rust's handler of the first SIGSEGV takes it for one of an instruction, makes
/// the next one count, and goes on to have it repeated.
fn end(system: &System, pid: Pid, signal: Signal) {
    let gone = || {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        text.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
    };
    wait("a process to end", system, || {
        let _ = kill(pid, signal);
        std::thread::sleep(Duration::from_millis(20));
        gone()
    });
}

/// One message to an address, over a session of its own.
fn submit(system: &System, to: &str) -> String {
    let stream = TcpStream::connect(system.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let mut lines = BufReader::new(stream);
    let mut reply = String::new();
    lines.read_line(&mut reply).expect("a greeting");
    let text = format!("Subject: to {to}\r\n\r\nx\r\n.\r\n");
    let mail = format!("MAIL FROM:<{}@localhost>\r\n", system.user.name);
    for said in ["HELO me.test\r\n", &mail, &format!("RCPT TO:<{to}>\r\n"), "DATA\r\n", &text] {
        lines.get_mut().write_all(said.as_bytes()).expect("it listens");
        reply.clear();
        lines.read_line(&mut reply).expect("a reply");
        assert!(reply.starts_with(['2', '3']), "{said}: {reply}");
    }
    reply
}

fn delivered(system: &System, number: u64) -> bool {
    crate::load::received(&system.mailbox()).contains_key(&number)
}

#[test]
fn a_message_that_ends_the_mail_process_twice_is_on_hold() {
    let (port, taken) = silent_server();
    let hang = format!("transport_maps = inline:{{hang.test=smtp:[127.0.0.1]:{port}}}\n");
    let system = System::make(&folder("poison"), None, &hang);
    system.start();
    submit(&system, "slow@hang.test");
    wait("the delivery to begin", &system, || taken.load(Ordering::SeqCst) == 1);

    // Whoever is killed has no fault: nobody is to blame.
    fault(&system, Signal::SIGKILL);
    wait("the delivery to begin again", &system, || taken.load(Ordering::SeqCst) == 2);
    fault(&system, Signal::SIGKILL);
    wait("the delivery to begin again", &system, || taken.load(Ordering::SeqCst) == 3);
    assert!(!log(&system).contains("died over this message"), "{}", system.log_tail());

    fault(&system, Signal::SIGSEGV);
    wait("a suspicion", &system, || log(&system).contains("the mail process died over this message"));
    wait("the delivery to begin again", &system, || taken.load(Ordering::SeqCst) == 4);
    assert!(!queue(&system).contains('!'), "{}", queue(&system));

    fault(&system, Signal::SIGABRT);
    wait("the message to be on hold", &system, || log(&system).contains("put on hold: 2 times"));
    let said = log(&system);
    let line = said.lines().find(|l| l.contains("put on hold: 2 times")).expect("a line");
    assert!(line.contains("release it with postsuper -H"), "{line}");
    let id = line.split("]: ").nth(1).and_then(|l| l.strip_prefix("warning: ").or(Some(l)));
    let id = id.and_then(|l| l.split(':').next()).expect("a queue id");
    wait("a listing", &system, || queue(&system).contains(&format!("{id}!")));

    // Others' mail goes on, also over a further fault, and the message is not tried.
    let name = system.user.name.clone();
    assert!(send(system.address, &name, 1).is_ok_and(|r| r.starts_with("250 ")));
    wait("others' mail", &system, || delivered(&system, 1));
    assert_eq!(taken.load(Ordering::SeqCst), 4);
    assert!(system.command("postsuper", &["-H", id]).status.success());
    wait("the delivery once it is released", &system, || taken.load(Ordering::SeqCst) == 5);
    assert!(system.command("postsuper", &["-d", id]).status.success());
    system.stop();
}

/// The process that works on a delivery: a child of the deliver role.
fn child_of_deliver(system: &System) -> Option<Pid> {
    let role = system.process(Role::Deliver)?;
    let children = fs::read_to_string(format!("/proc/{role}/task/{role}/children")).ok()?;
    children.split_whitespace().find_map(|pid| pid.parse().ok()).map(Pid::from_raw)
}

#[test]
fn a_message_that_ends_its_delivery_process_twice_is_on_hold() {
    let system = System::make(&folder("poison-child"), None, "mailbox_command = exec sleep 1000\n");
    system.start();
    let name = system.user.name.clone();
    assert!(send(system.address, &name, 1).is_ok_and(|r| r.starts_with("250 ")));
    for signal in [Signal::SIGSEGV, Signal::SIGABRT] {
        let mut child = None;
        wait("a delivery", &system, || {
            child = child_of_deliver(&system);
            child.is_some()
        });
        // Let it get to the command: a child that did not begin cannot have died of the message.
        std::thread::sleep(Duration::from_millis(300));
        let child = child.expect("a child");
        end(&system, child, signal);
    }
    wait("the message to be on hold", &system, || log(&system).contains("put on hold: 2 times"));
    assert!(queue(&system).contains('!'), "{}", queue(&system));
    assert!(child_of_deliver(&system).is_none());
    system.stop();
}

/// Patterns that say nothing about a header, but take their time for it.
fn slow_patterns(file: &Path) {
    let letter = |n: usize| char::from(b'g' + (n % 8) as u8);
    let rules =
        (0..300).map(|n| format!("/[a-f]+[{}-z]+[0-{}]+[{}-z]/ DUNNO\n", letter(n), n % 10, letter(n / 80)));
    fs::write(file, rules.collect::<String>()).expect("a table");
}

/// A message with a header of megabytes, whose answer nobody waits for.
fn send_slow(system: &System) -> TcpStream {
    let mut lines = BufReader::new(TcpStream::connect(system.address).expect("a connection"));
    let mut reply = String::new();
    let name = &system.user.name;
    let mail = format!("MAIL FROM:<{name}@localhost>\r\n");
    let rcpt = format!("RCPT TO:<{name}@localhost>\r\n");
    for said in ["", "HELO me.test\r\n", &mail, &rcpt, "DATA\r\n"] {
        lines.get_mut().write_all(said.as_bytes()).expect("it listens");
        reply.clear();
        lines.read_line(&mut reply).expect("a reply");
    }
    assert!(reply.starts_with("354 "), "{reply}");
    let line = format!("\t{}\r\n", "abcdef".repeat(150));
    let text = format!("X-Slow: a\r\n{}\r\nbody\r\n.\r\n", line.repeat(4000));
    lines.get_mut().write_all(text.as_bytes()).expect("it takes it");
    lines.into_inner()
}

#[test]
fn a_client_over_whom_the_process_hangs_twice_is_turned_away() {
    let folder = folder("poison-peer");
    let table = folder.join("patterns");
    // The watchdog's time is daemon_timeout where that is short.
    let settings = format!(
        "daemon_timeout = 5s\nheader_size_limit = 10000000\nmessage_size_limit = 20000000\n\
         header_checks = regexp:{}\n",
        table.display()
    );
    let system = System::make(&folder, None, &settings);
    slow_patterns(&table);
    system.start();
    let greeting = || {
        let stream = TcpStream::connect(system.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        line
    };
    assert!(greeting().starts_with("220 "));
    for n in 1..=2 {
        let old = system.process(Role::Mail).expect("a mail role");
        let client = send_slow(&system);
        wait("the watchdog", &system, || log(&system).matches("watchdog timeout: a step lasts").count() == n);
        system.wait_for_new(Role::Mail, old);
        drop(client);
        let counted = format!("the mail process died {n} times over [127.0.0.1]");
        wait("the client to be named", &system, || log(&system).contains(&counted));
    }
    wait("a new process", &system, || greeting().starts_with("421 4.3.0 "));
    assert!(log(&system).contains("is turned away for "), "{}", system.log_tail());
    // Nobody else is: another address of the same machine.
    let other = std::net::SocketAddr::from(([127, 0, 0, 7], 0));
    let socket = socket_from(other, system.address);
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).expect("a greeting");
    assert!(line.starts_with("220 "), "{line}");
    // Whoever mended it starts the system anew, and it is forgotten.
    system.stop();
    system.start();
    assert!(greeting().starts_with("220 "));
    system.stop();
}

/// A connection from an address of this machine.
pub fn socket_from(from: std::net::SocketAddr, to: std::net::SocketAddr) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let address = |a: std::net::SocketAddr| match a {
        std::net::SocketAddr::V4(v4) => SockaddrIn::from(v4),
        std::net::SocketAddr::V6(_) => panic!("IPv4 is enough"),
    };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(fd.as_raw_fd(), &address(from)).expect("an address of this machine");
    connect(fd.as_raw_fd(), &address(to)).expect("a connection");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    stream
}
