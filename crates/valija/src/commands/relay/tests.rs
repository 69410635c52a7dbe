//! A scripted server on the loopback: every way an attempt can fail is met, named with its step, and
//! leaves the files as they were.

use super::*;
use net::tls::client::Authorities;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};

const USER: &str = "horus";
const PASSWORD: &str = "clave-horus";

/// How the certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cert {
    Good,
    Expired,
    OtherName,
    SelfSigned,
    Unknown,
}

/// How the server behaves.
#[derive(Clone)]
struct Script {
    greeting: &'static str,
    /// Extensions before and after TLS.
    plain: Vec<&'static str>,
    secure: Vec<&'static str>,
    wrapped: bool,
    /// Reply by the beginning of a command; an empty one closes, `hang` says nothing.
    replies: Vec<(&'static str, &'static str)>,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            greeting: "220 mx.test ESMTP",
            plain: vec!["STARTTLS", "AUTH PLAIN LOGIN"],
            secure: vec!["AUTH PLAIN LOGIN", "8BITMIME"],
            wrapped: false,
            replies: Vec::new(),
        }
    }
}

/// A certificate authority, and certificates of every kind.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Where it is read from.
    file: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("valija-relay-{}-{n}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, file }
    }

    fn roots(&self) -> Arc<Roots> {
        Arc::new(Roots::of(Authorities { file: Some(self.file.clone()), ..Authorities::default() }))
    }

    fn server(&self, cert: Cert) -> Arc<ServerConfig> {
        let name = if cert == Cert::OtherName { "other.test" } else { "relay.test" };
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if cert == Cert::Expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let der: CertificateDer<'static> = match cert {
            Cert::SelfSigned => params.self_signed(&key).unwrap().der().clone(),
            Cert::Unknown => params.signed_by(&key, &Authority::new("nobody").issuer).unwrap().der().clone(),
            _ => params.signed_by(&key, &self.issuer).unwrap().der().clone(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(vec![der], key).unwrap())
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// What a test knows of its server.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    stop: mpsc::Sender<()>,
}

/// Serves one connection.
fn serve(script: Script, tls: Arc<ServerConfig>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (stop, stopped) = mpsc::channel();
    let log = heard.clone();
    std::thread::spawn(move || {
        if let Ok((socket, _)) = listener.accept() {
            // A client that hangs up in the middle is part of many cases.
            let _ = talk(socket, &script, tls, &log, &stopped);
        }
    });
    Server { port, heard, stop }
}

fn line(stream: &mut dyn Both) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut one = [0_u8; 1];
    while !bytes.ends_with(b"\n") {
        if stream.read(&mut one)? == 0 {
            return Ok(None);
        }
        bytes.push(one[0]);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_string()))
}

fn talk(
    socket: TcpStream,
    script: &Script,
    tls: Arc<ServerConfig>,
    log: &Mutex<Vec<String>>,
    stopped: &mpsc::Receiver<()>,
) -> std::io::Result<()> {
    let secure = |socket: TcpStream| -> Box<dyn Both> {
        Box::new(StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), socket))
    };
    let spare = socket.try_clone()?;
    let mut encrypted = script.wrapped;
    let mut stream: Box<dyn Both> = if encrypted { secure(socket) } else { Box::new(socket) };
    if script.greeting == "hang" {
        let _ = stopped.recv();
        return Ok(());
    }
    stream.write_all(format!("{}\r\n", script.greeting).as_bytes())?;
    while let Some(command) = line(stream.as_mut())? {
        log.lock().unwrap().push(command.clone());
        let verb = command.split(' ').next().unwrap_or_default().to_string();
        let scripted = script.replies.iter().find(|(begin, _)| command.starts_with(begin));
        let reply = match (scripted, verb.as_str()) {
            (Some((_, "hang")), _) => {
                let _ = stopped.recv();
                return Ok(());
            }
            (Some((_, "")), _) => return Ok(()),
            (Some((_, reply)), _) => reply.to_string(),
            (None, "EHLO") => {
                let all = if encrypted { &script.secure } else { &script.plain };
                let mut lines: Vec<String> = all.iter().map(|e| format!("250-{e}")).collect();
                lines.insert(0, "250-mx.test".into());
                format!("{}\r\n250 HELP", lines.join("\r\n"))
            }
            (None, "STARTTLS") => "220 go".into(),
            (None, "AUTH") => {
                let expected = format!("\0{USER}\0{PASSWORD}");
                let given = command.rsplit(' ').next().unwrap_or_default();
                let given = sasl::decode(given).unwrap_or_default();
                match given == expected.as_bytes() {
                    true => "235 2.7.0 Authentication successful".into(),
                    false => "535 5.7.8 Error: authentication failed".into(),
                }
            }
            (None, "DATA") => {
                stream.write_all(b"354 go\r\n")?;
                while let Some(text) = line(stream.as_mut())? {
                    if text == "." {
                        break;
                    }
                    log.lock().unwrap().push(text);
                }
                match script.replies.iter().find(|(begin, _)| *begin == ".") {
                    Some((_, "")) => return Ok(()),
                    Some((_, reply)) => reply.to_string(),
                    None => "250 2.0.0 Accepted as FAKE1".into(),
                }
            }
            (None, "QUIT") => "221 2.0.0 Bye".into(),
            _ => "250 2.1.0 Ok".into(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
        stream.flush()?;
        if verb == "STARTTLS" && reply == "220 go" {
            stream = secure(spare.try_clone()?);
            encrypted = true;
        }
    }
    Ok(())
}

/// A directory with a main.cf.
struct Place(PathBuf);

impl Place {
    fn new(main: &str) -> Place {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("valija-relay-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let text =
            format!("compatibility_level = 3.6\nmyhostname = horus.test\nmyorigin = horus.test\n{main}");
        std::fs::write(dir.join("main.cf"), text).unwrap();
        std::fs::write(dir.join("master.cf"), "smtp unix - - n - - smtp\n").unwrap();
        Place(dir)
    }

    fn present(&self) -> Present {
        Present::load(&Options { directory: Some(self.0.display().to_string()), ..Options::default() })
            .unwrap()
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.0.join(name)).ok()
    }

    fn names(&self) -> Vec<String> {
        let all = std::fs::read_dir(&self.0).unwrap();
        let mut all: Vec<String> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Outcome {
    result: Result<String, String>,
    steps: Vec<String>,
    heard: Vec<String>,
    port: u16,
    place: Place,
}

impl Outcome {
    fn main(&self) -> String {
        self.place.read("main.cf").unwrap()
    }

    fn steps(&self) -> String {
        self.steps.join("\n")
    }
}

/// Tries the server of `script` with `flags`.
fn outcome(script: Script, cert: Cert, flags: &str, main: &str) -> Outcome {
    let authority = Authority::new("test authority");
    let server = serve(script, authority.server(cert));
    let place = Place::new(main);
    let host = if flags.contains("--by-mx") { "domain.test" } else { "[relay.test]" };
    let text = format!("set {host}:{} {}", server.port, flags.replace("--by-mx", ""));
    let options = options::read(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>()).unwrap();
    let login = options.user.clone().map(|user| Login { user, password: Secret::from(PASSWORD) });
    let zone = net::dns::Zone::parse("relay.test A 127.0.0.1\ndomain.test MX 10 relay.test\n").unwrap();
    let world = World {
        resolver: Resolver::of_zone(zone),
        roots: authority.roots(),
        patience: Duration::from_millis(1500),
    };
    let mut steps = Vec::new();
    let mut say = |step: &str, what: &str| steps.push(format!("{step}: {what}"));
    let result = set(&options, &place.present(), login, &world, &mut say);
    let _ = server.stop.send(());
    let heard = server.heard.lock().unwrap().clone();
    Outcome { result, steps, heard, port: server.port, place }
}

const LOGIN: &str = "--user horus --to jose@example.org --sender horus@example.org";
const PLAIN: &str = "--no-login --to jose@example.org --sender horus@example.org";

#[test]
fn a_good_relay_host_is_written() {
    let done = outcome(Script::default(), Cert::Good, LOGIN, "# kept\nsmtp_tls_security_level = may\n");
    let said = done.result.as_ref().unwrap();
    let relay = format!("[relay.test]:{}", done.port);
    let main = done.main();
    for line in [
        &format!("relayhost = {relay}\n"),
        "smtp_sasl_auth_enable = yes\n",
        &format!("smtp_sasl_password_maps = hash:{}/sasl_passwd\n", done.place.0.display()),
        "smtp_sasl_security_options = noanonymous\n",
        "# kept\nsmtp_tls_security_level = encrypt\n",
    ] {
        assert!(main.contains(line), "{line:?} in {main}");
    }
    assert!(said.contains("main.cf.before-") && !said.contains(PASSWORD), "{said}");
    assert_eq!(done.place.read("sasl_passwd").unwrap(), format!("{relay} {USER}:{PASSWORD}\n"));
    let mode = std::fs::metadata(done.place.0.join("sasl_passwd")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let steps = done.steps();
    for step in [
        "DNS: relay.test [127.0.0.1]",
        "connect: connected to relay.test[127.0.0.1]:",
        "greeting: 220 mx.test",
        "EHLO: the server offers STARTTLS",
        "TLS: encrypted: TLSv1.3 with TLS_AES_256_GCM_SHA384",
        "certificate: verified",
        "login: logged in as horus with PLAIN",
        "message: the test message from horus@example.org to jose@example.org",
    ] {
        assert!(steps.contains(step), "{step:?} in {steps}");
    }
    assert!(!steps.contains(PASSWORD));
    assert!(done.heard.contains(&"MAIL FROM:<horus@example.org>".to_string()), "{:?}", done.heard);
    assert!(done.heard.iter().any(|l| l == "Subject: Test of the relay host"));
    let auth = done.heard.iter().position(|l| l.starts_with("AUTH")).unwrap();
    let tls = done.heard.iter().position(|l| l == "STARTTLS").unwrap();
    assert!(tls < auth, "never in the clear");
}

#[test]
fn without_login_and_without_tls() {
    let script = Script { plain: vec!["PIPELINING"], ..Script::default() };
    let done = outcome(script, Cert::Good, PLAIN, "");
    done.result.as_ref().unwrap();
    assert!(done.main().contains("relayhost = [relay.test]:") && !done.main().contains("sasl"));
    assert!(!done.main().contains("smtp_tls_security_level"));
    assert!(done.steps().contains("STARTTLS: the server offers no encryption"));
    let done = outcome(Script::default(), Cert::Good, PLAIN, "");
    assert!(done.main().contains("smtp_tls_security_level = may\n"));
}

#[test]
fn without_brackets_the_mail_exchangers_are_asked() {
    let done = outcome(Script::default(), Cert::Good, &format!("{LOGIN} --by-mx"), "");
    done.result.as_ref().unwrap();
    let relay = format!("domain.test:{}", done.port);
    assert!(done.main().contains(&format!("relayhost = {relay}\n")));
    assert!(done.place.read("sasl_passwd").unwrap().starts_with(&format!("{relay} ")));
    let steps = done.steps();
    assert!(steps.contains("DNS: the MX records of domain.test name: relay.test [127.0.0.1]"), "{steps}");
    assert!(steps.contains("certificate: verified: it is for relay.test"), "{steps}");
}

#[test]
fn what_sends_mail_another_way_is_said() {
    let main = "default_transport = error\ntransport_maps = hash:/x\n";
    let said = outcome(Script::default(), Cert::Good, PLAIN, main).result.unwrap();
    for word in ["note: default_transport = error", "note: transport_maps is set"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn tls_from_the_first_byte() {
    let script = Script { wrapped: true, ..Script::default() };
    let done = outcome(script, Cert::Good, &format!("{LOGIN} --tls-at-once"), "");
    done.result.as_ref().unwrap();
    assert!(done.main().contains("smtp_tls_security_level = encrypt\nsmtp_tls_wrappermode = yes\n"));
    assert!(!done.heard.contains(&"STARTTLS".to_string()));
}

#[test]
fn the_login_of_old_servers() {
    let script = Script {
        secure: vec!["AUTH=LOGIN"],
        replies: vec![
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            ("aG9ydXM=", "334 UGFzc3dvcmQ6"),
            ("Y2xhdmUtaG9ydXM=", "235 ok"),
        ],
        ..Script::default()
    };
    let done = outcome(script, Cert::Good, LOGIN, "");
    done.result.as_ref().unwrap();
    assert!(done.steps().contains("with LOGIN"));
    let script =
        Script { secure: vec![], replies: vec![("EHLO", "502 no")], plain: vec![], ..Script::default() };
    let done = outcome(script, Cert::Good, PLAIN, "");
    done.result.as_ref().unwrap();
    assert!(done.steps().contains("HELO: the server knows no extensions"));
}

/// Fails with these words, and leaves everything as it was.
fn fails(script: Script, cert: Cert, flags: &str, words: &[&str]) -> Outcome {
    let main = "smtp_tls_security_level = may\n";
    let done = outcome(script, cert, flags, main);
    let said = done.result.as_ref().unwrap_err();
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}\n{}", done.steps());
    }
    assert!(said.contains("Nothing was written"), "{said}");
    assert_eq!(done.place.names(), ["main.cf", "master.cf"]);
    assert!(done.main().ends_with(main));
    done
}

#[test]
fn bad_certificates() {
    for (cert, word) in [
        (Cert::Expired, "the certificate has expired"),
        (Cert::OtherName, "is not for relay.test but for other.test"),
        (Cert::SelfSigned, "signed by itself"),
        (Cert::Unknown, "an authority that this host does not know"),
    ] {
        let done =
            fails(Script::default(), cert, LOGIN, &["certificate failed: ", word, "--accept-certificate"]);
        assert!(!done.heard.iter().any(|l| l.starts_with("AUTH")), "the password stays here");
        let done = outcome(Script::default(), cert, &format!("{LOGIN} --accept-certificate"), "");
        assert!(done.result.is_ok(), "{cert:?}");
        assert!(done.steps().contains("somebody between here and there could pretend"), "{}", done.steps());
    }
}

fn replying(begin: &'static str, reply: &'static str) -> Script {
    Script { replies: vec![(begin, reply)], ..Script::default() }
}

#[test]
fn refusals_name_step_words_and_remedy() {
    let of = |begin, reply, flags, words: &[&str]| fails(replying(begin, reply), Cert::Good, flags, words);
    of(
        "AUTH",
        "535 5.7.8 Error: authentication failed",
        LOGIN,
        &["login failed: 535 5.7.8 Error", "user name"],
    );
    of("AUTH", "454 4.7.0 later", LOGIN, &["login failed: 454", "later"]);
    of("MAIL", "550 5.7.1 not you", LOGIN, &["sender failed: 550 5.7.1 not you", "--sender"]);
    of("MAIL", "530 5.7.0 login first", PLAIN, &["sender failed: 530", "--user"]);
    of(
        "RCPT",
        "554 5.7.1 Relay access denied",
        PLAIN,
        &["recipient failed: 554 5.7.1 Relay access denied", "--user"],
    );
    of("RCPT", "450 4.2.0 Greylisted", LOGIN, &["recipient failed: 450", "some minutes"]);
    of("DATA", "554 no", LOGIN, &["message failed: 554 no"]);
    of(".", "550 5.7.1 spam", LOGIN, &["message failed: 550 5.7.1 spam"]);
    of("STARTTLS", "454 4.7.0 TLS not available", LOGIN, &["STARTTLS failed: 454"]);
    of("AUTH", "334 more", LOGIN, &["login failed: bad challenge: one challenge too many"]);
    let script = Script { greeting: "554 5.7.1 go away", ..Script::default() };
    fails(script, Cert::Good, LOGIN, &["greeting failed: 554 5.7.1 go away", "operator"]);
    let script = Script { replies: vec![("EHLO", "550 no"), ("HELO", "550 who")], ..Script::default() };
    fails(script, Cert::Good, LOGIN, &["EHLO failed: 550 who", "smtp_helo_name"]);
}

/// A mechanism by which the server proves that it knows the password too is chosen first, and a server
/// that skips the proof is not believed.
#[test]
fn a_server_that_only_pretends() {
    let script = Script {
        secure: vec!["AUTH PLAIN SCRAM-SHA-256"],
        replies: vec![("AUTH SCRAM-SHA-256", "235 2.7.0 fine")],
        ..Script::default()
    };
    fails(script, Cert::Good, LOGIN, &["login failed: the server does not know the password"]);
}

#[test]
fn a_wrong_password() {
    let done = outcome(Script::default(), Cert::Good, &LOGIN.replace("horus --to", "horus2 --to"), "");
    assert!(done.result.unwrap_err().contains("login failed: 535 5.7.8"));
}

#[test]
fn passwords_travel_encrypted() {
    let script = Script { plain: vec!["AUTH PLAIN"], ..Script::default() };
    let done = fails(
        script.clone(),
        Cert::Good,
        LOGIN,
        &["the password would travel in the clear", "--without-tls"],
    );
    assert!(!done.heard.iter().any(|l| l.starts_with("AUTH")));
    let done = outcome(script.clone(), Cert::Good, &format!("{LOGIN} --without-tls"), "");
    assert!(done.result.is_ok());
    let done = outcome(script, Cert::Good, LOGIN, "smtp_tls_security_level = secure\n");
    assert!(done.result.unwrap_err().contains("STARTTLS failed: the server offers no encryption"));
    let script = Script { secure: vec!["AUTH GSSAPI"], ..Script::default() };
    fails(script, Cert::Good, LOGIN, &["the server offers only GSSAPI"]);
    let script = Script { secure: vec!["SIZE"], ..Script::default() };
    fails(script, Cert::Good, LOGIN, &["the server offers no login here"]);
}

#[test]
fn servers_that_misbehave() {
    fails(replying("EHLO", ""), Cert::Good, LOGIN, &["EHLO failed: the server closed the connection"]);
    fails(replying(".", ""), Cert::Good, LOGIN, &["message failed", "closed"]);
    fails(replying("MAIL", "hang"), Cert::Good, LOGIN, &["sender failed: the server said nothing"]);
    fails(replying("EHLO", "hello you"), Cert::Good, LOGIN, &["EHLO failed: this is no SMTP reply"]);
    let script = Script { greeting: "hang", ..Script::default() };
    fails(script, Cert::Good, LOGIN, &["greeting failed: the server said nothing", "--tls-at-once"]);
    let script = Script { greeting: "SSH-2.0-x", ..Script::default() };
    fails(script, Cert::Good, LOGIN, &["greeting failed: this is no SMTP reply: \"SSH-2.0-x\""]);
    // Words smuggled in before encryption begins.
    let injected = replying("STARTTLS", "220 go\r\n235 2.7.0 fine");
    fails(injected, Cert::Good, LOGIN, &["STARTTLS failed: the server sent text before TLS began"]);
    let endless: &'static str = Box::leak("250-x\r\n".repeat(20_000).into_boxed_str());
    fails(replying("EHLO", endless), Cert::Good, LOGIN, &["EHLO failed: the server's reply does not end"]);
    let long: &'static str = Box::leak("2".repeat(100_000).into_boxed_str());
    fails(replying("EHLO", long), Cert::Good, LOGIN, &["EHLO failed: the server's reply does not end"]);
    // A server that does not speak TLS where it should.
    fails(Script::default(), Cert::Good, &format!("{LOGIN} --tls-at-once"), &["TLS failed: ", "587"]);
}

/// `set` for a relay host that no server stands behind.
fn unreachable(relay: &str, zone: &str) -> String {
    let place = Place::new("");
    let words = ["set", relay, "--no-login"].map(str::to_string);
    let world = World {
        resolver: Resolver::of_zone(net::dns::Zone::parse(zone).unwrap()),
        roots: Arc::new(Roots::default()),
        patience: Duration::from_millis(1500),
    };
    let result = set(&options::read(&words).unwrap(), &place.present(), None, &world, &mut |_, _| {});
    assert_eq!(place.names(), ["main.cf", "master.cf"]);
    result.unwrap_err()
}

#[test]
fn names_that_lead_nowhere() {
    let zone =
        "null.test MX 0 .\nbroken.test MX !servfail\nempty.test TXT \"x\"\nalias.test MX 10 gone.test\n";
    for (relay, words) in [
        (
            "[nosuch.invalid]",
            "DNS failed: Host or domain name not found. Name service error for name=nosuch.invalid type=AAAA: Host not found",
        ),
        ("null.test", "DNS failed: Domain null.test does not accept mail (nullMX)"),
        ("broken.test", "Host not found, try again"),
        ("[empty.test]", "DNS failed: Host or domain name not found. Name service error for name=empty.test"),
        ("alias.test", "name=gone.test type=AAAA: Host not found"),
    ] {
        let said = unreachable(relay, zone);
        assert!(said.contains(words), "{relay}: {said}");
        assert!(said.contains("remedy: "), "{said}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = unreachable(&format!("[127.0.0.1]:{closed}"), "");
    assert!(
        said.contains(&format!(
            "connect failed: connect to 127.0.0.1[127.0.0.1]:{closed}: Connection refused"
        )),
        "{said}"
    );
    assert!(said.contains("[127.0.0.1]:587"), "{said}");
    let said = unreachable("[localhost]:1", "");
    assert!(said.contains("smtp_host_lookup = dns, native"), "{said}");
}

#[test]
fn what_is_in_force_and_its_end() {
    let done = outcome(Script::default(), Cert::Good, LOGIN, "");
    let text = done.place.read("sasl_passwd").unwrap();
    std::fs::write(done.place.0.join("sasl_passwd"), format!("# mine\nother.test a:b\n{text}")).unwrap();
    let present = done.place.present();
    let (relay, login) = in_force(&present).unwrap();
    assert_eq!(relay.unwrap().to_string(), format!("[relay.test]:{}", done.port));
    let login = login.unwrap();
    assert_eq!((login.user.as_str(), login.text().as_str()), (USER, PASSWORD));
    assert!(!format!("{login:?}").contains(PASSWORD));
    without(&present).unwrap();
    assert!(done.main().contains("relayhost = \n") && done.main().contains("smtp_sasl_auth_enable = yes\n"));
    assert_eq!(done.place.read("sasl_passwd").unwrap(), "# mine\nother.test a:b\n");
    let (relay, login) = in_force(&done.place.present()).unwrap();
    assert!(relay.is_none() && login.is_none());
}

#[test]
fn a_table_that_cannot_be_edited_is_said_before_anything_is_tried() {
    let done = outcome(Script::default(), Cert::Good, LOGIN, "smtp_sasl_password_maps = static:a:b\n");
    assert!(done.result.unwrap_err().contains("by hand"));
    assert_eq!(done.heard, [""; 0]);
}
