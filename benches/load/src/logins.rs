//! Hostile logins: a thousand wrong passwords a second, from one address and from many, while an honest user sends mail; and
//! the same user on an idle server. The honest sessions' p99 shall stay within twice that of the idle server.

use crate::bench::Bench;
use crate::client::{self, Client, Kind};
use crate::keys;
use crate::mta::{self, Mta, System};
use crate::namespace;
use crate::options::Options;
use crate::samples::percentile;
use crate::sink::{Manner, Sink};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2525);
const PASSWORD: &str = "the password of the honest";
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connections that guess, and all of which are open before the first guess. Dovecot holds each refusal back for two
/// seconds: a thousand guesses a second take two thousand of them. One address may have 50.
const GUESSERS: u64 = 2200;
const GUESSERS_OF_ONE: u64 = 250;
/// How long they have to connect.
const OPENING: Duration = Duration::from_secs(3);
/// Guesses on a connection, before Postfix's soft error limit slows it down.
const GUESSES: u64 = 8;

const SETTINGS: &str = "\
smtpd_sasl_auth_enable = yes
smtpd_tls_auth_only = no
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_client_event_limit_exceptions =
smtpd_client_restrictions =
default_process_limit = 2500
";

/// Who attacks.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    addresses: u64,
    /// Whether all guess for the honest user's name.
    aimed: bool,
}

const ATTACKS: [Attack; 3] = [
    Attack { name: "one address", addresses: 1, aimed: false },
    Attack { name: "200 addresses", addresses: 200, aimed: false },
    Attack { name: "200 addresses, the honest user's name", addresses: 200, aimed: true },
];

/// Dovecot, which ends with us.
struct Dovecot(Child);

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// All of it.
pub fn run(bench: &mut Bench) -> Result<(), String> {
    let options = bench.options;
    let _sink = Sink::start(&[(SINK, Manner::Good)])?;
    let keys = keys::make(&options.folder.join("keys"), keys::P256)?.smtpd();
    let common = format!("relayhost = [{}]:{}\n{keys}{SETTINGS}", SINK.ip(), SINK.port());
    let system = if options.has(System::Valija) { System::Valija } else { System::Postfix };
    if system == System::Valija {
        let users = options.folder.join("valija_users");
        let settings = format!("{common}smtpd_sasl_type = valija\nvalija_users_file = {}\n", users.display());
        let _ = fs::remove_file(&users);
        let add = |etc: &Path| add_user(etc, "honest");
        let mta = mta::start_with(system, 2603, &settings, options, &add)?;
        let table = table(&mta, options)?;
        bench.report.detail(&format!("### logins: valija with users of its own\n\n{table}"));
    }
    if Path::new("/usr/sbin/dovecot").exists() {
        let settings = format!("{common}smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n");
        let running = RefCell::new(None);
        // Postfix's smtpd ends when there is nobody to ask.
        let beside = |etc: &Path| {
            let private = etc.with_file_name("queue").join("private");
            fs::create_dir_all(&private).map_err(|e| format!("{}: {e}", private.display()))?;
            let owned = Command::new("sh")
                .args(["-c", "chown postfix \"$0\" && chmod 700 \"$0\""])
                .arg(&private)
                .status();
            if !owned.is_ok_and(|s| s.success()) {
                return Err(format!("{}: chown postfix failed", private.display()));
            }
            running.replace(Some(dovecot(&options.folder.join("dovecot"), &private.join("auth"))?));
            Ok(())
        };
        let mta = mta::start_with(system, 2604, &settings, options, &beside)?;
        let table = table(&mta, options)?;
        bench.report.detail(&format!("### logins: {} with Dovecot\n\n{table}", system.name()));
    }
    Ok(())
}

fn add_user(etc: &Path, name: &str) -> Result<(), String> {
    let program = namespace::tree()?.join("usr/sbin/valija");
    let mut child = Command::new(&program)
        .args(["user", "add", name, "--config"])
        .arg(etc)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{PASSWORD}").map_err(|e| e.to_string())?;
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("valija user add: {other:?}")),
    }
}

/// A Dovecot that knows the honest user, by a hash as `doveadm pw` makes them.
fn dovecot(folder: &Path, socket: &Path) -> Result<Dovecot, String> {
    let failed = |e: std::io::Error| format!("Dovecot in {}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let hash = Command::new("doveadm")
        .args(["pw", "-s", "SHA512-CRYPT", "-p", PASSWORD])
        .output()
        .map_err(failed)?;
    let hash = String::from_utf8_lossy(&hash.stdout).trim().to_string();
    fs::write(folder.join("users"), format!("honest:{hash}::::::\n")).map_err(failed)?;
    let conf = format!(
        "base_dir = {0}/run\nstate_dir = {0}/state\nlog_path = {0}/log\nprotocols =\nssl = no\nauth_mechanisms = plain login\n\
         passdb {{\n  driver = passwd-file\n  args = {0}/users\n}}\nuserdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home=/tmp\n}}\n\
         service auth {{\n  unix_listener {1} {{\n    mode = 0666\n  }}\n}}\n",
        folder.display(),
        socket.display()
    );
    fs::write(folder.join("dovecot.conf"), conf).map_err(failed)?;
    let child = Command::new("dovecot")
        .args(["-F", "-c"])
        .arg(folder.join("dovecot.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let end = Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        if Instant::now() > end {
            return Err(format!(
                "Dovecot does not listen at {}; see {}/log",
                socket.display(),
                folder.display()
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Dovecot(child))
}

/// The honest user alone, under each attack, and alone again.
fn table(mta: &Mta, options: &Options) -> Result<String, String> {
    let mut text = String::from(
        "| | honest sessions | p50 ms | p99 ms | p99 to idle | guesses/s | answers |\n|---|---|---|---|---|---|---|\n",
    );
    let mut idle = 0.0;
    let alone = Attack { name: "idle", addresses: 0, aimed: false };
    for attack in [alone].iter().chain(&ATTACKS).chain([&alone]) {
        let begun = Instant::now() + if attack.addresses == 0 { Duration::ZERO } else { OPENING };
        let end = begun + Duration::from_secs(options.seconds.unwrap_or(10).max(5));
        let answers: Mutex<BTreeMap<String, u64>> = Mutex::default();
        let turn = AtomicU64::new(0);
        let mut honest = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let guessers = match attack.addresses {
                0 => 0,
                1 => GUESSERS_OF_ONE,
                _ => GUESSERS,
            };
            for n in 0..guessers {
                let (answers, turn) = (&answers, &turn);
                scope.spawn(move || {
                    let mut own = BTreeMap::new();
                    guess(mta, attack, n, options.rate, turn, (begun, end), &mut own);
                    let mut all = answers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    own.into_iter().for_each(|(answer, n)| *all.entry(answer).or_default() += n);
                });
            }
            honest = send(mta, begun, end);
        });
        let (mut times, faults) = honest;
        times.sort_unstable();
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        if idle == 0.0 {
            idle = p99;
        }
        let answers = answers.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let guesses: u64 = answers.values().sum();
        let shown: Vec<String> = answers.iter().map(|(answer, n)| format!("{n} × {answer}")).collect();
        let row = format!(
            "| {} | {} and {} failed | {p50:.1} | {p99:.1} | {:.2} | {:.0} | {} |\n",
            attack.name,
            times.len(),
            faults.len(),
            p99 / idle.max(1e-9),
            guesses as f64 / (end - begun).as_secs_f64().max(1e-9),
            shown.join(", ")
        );
        print!("{row}");
        text.push_str(&row);
        if let Some(why) = faults.first() {
            println!("an honest session failed: {why}");
        }
    }
    Ok(text)
}

/// Guesses in turns, so that all together keep the rate if the server answers; what was answered is counted.
fn guess(
    mta: &Mta,
    attack: &Attack,
    number: u64,
    rate: u64,
    turn: &AtomicU64,
    (begun, end): (Instant, Instant),
    answers: &mut BTreeMap<String, u64>,
) {
    let address = 0x7f01_0000 + u32::try_from(number % attack.addresses.max(1)).unwrap_or(0) + 1;
    while Instant::now() < end {
        let opened = Client::connect(address.into(), mta.address).and_then(|mut client| {
            let greeting = client.reply()?;
            if greeting.code == 220 {
                client.say("EHLO guesser.test")?;
            }
            Ok((client, greeting))
        });
        let Ok((mut client, greeting)) = opened else {
            *answers.entry("no connection".into()).or_default() += 1;
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if greeting.code != 220 {
            *answers.entry(answer(&greeting.text)).or_default() += 1;
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        for _ in 0..GUESSES {
            let my = turn.fetch_add(1, Ordering::Relaxed);
            let at = begun + Duration::from_micros(my * 1_000_000 / rate.max(1));
            if at > end {
                return;
            }
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let name = if attack.aimed { "honest".into() } else { format!("user{}", my % 5000) };
            let words = STANDARD.encode(format!("\0{name}\0guess{my}"));
            let Ok(reply) = client.say(&format!("AUTH PLAIN {words}")) else {
                *answers.entry("no answer".into()).or_default() += 1;
                break;
            };
            *answers.entry(answer(&reply.text)).or_default() += 1;
            if matches!(reply.code, 0 | 421) {
                break;
            }
        }
        let _ = client.say("QUIT");
    }
}

/// An answer's codes.
fn answer(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').take(2).collect();
    match words.as_slice() {
        [code, status] if status.starts_with(['2', '4', '5']) => format!("{code} {status}"),
        [code, _] if code.len() == 3 => (*code).to_string(),
        _ => text.to_string(),
    }
}

/// The honest user: a session every 50 ms at most, each with TLS, login and a message.
fn send(mta: &Mta, begun: Instant, end: Instant) -> (Vec<Duration>, Vec<String>) {
    let (mut times, mut faults) = (Vec::new(), Vec::new());
    // The attack gets a moment to begin.
    std::thread::sleep((begun + Duration::from_secs(1)).saturating_duration_since(Instant::now()));
    while Instant::now() < end {
        let at = Instant::now();
        match session(mta) {
            Ok(()) => times.push(at.elapsed()),
            Err(why) => faults.push(why),
        }
        std::thread::sleep((at + Duration::from_millis(50)).saturating_duration_since(Instant::now()));
    }
    (times, faults)
}

fn session(mta: &Mta) -> Result<(), String> {
    let config = client::config(Kind::New)?;
    let mut client = Client::secured(HONEST, mta.address, &config)?;
    client.expect("EHLO honest.test", 250)?;
    let words = STANDARD.encode(format!("\0honest\0{PASSWORD}"));
    client.expect(&format!("AUTH PLAIN {words}"), 235)?;
    client.expect("MAIL FROM:<honest@local.test>", 250)?;
    client.expect("RCPT TO:<user@sink.test>", 250)?;
    client.expect("DATA", 354)?;
    client.expect("Subject: honest\r\n\r\nHello.\r\n.", 250)?;
    client.expect("QUIT", 221)
}
