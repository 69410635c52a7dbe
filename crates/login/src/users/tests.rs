//! Logins of valija's own users, by every mechanism, and what nobody may find out.

use super::*;
use crate::Step;
use crate::attempts::{Attempts, Rates};
use crate::machine::DENIED;
use crate::workers::Workers;
use sasl::client::{Client, Credentials, Place};
use std::sync::Mutex;
use std::time::Duration;

const RATES: Rates = Rates { of_address: 0, of_user: 0, unit: Duration::from_secs(60) };

fn common(rates: Rates) -> Common {
    Common {
        attempts: Arc::new(Attempts::default()),
        rates,
        workers: Arc::new(Workers::new(2)),
        voice: ::events::Source::new("t", "t", 1),
    }
}

fn types() -> (Types, Arc<Mutex<Vec<String>>>) {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = said.clone();
    let types = Types::builder().notices(move |n| heard.lock().unwrap().push(n.text.clone())).build();
    (types, said)
}

fn about(realm: &str) -> Arc<About> {
    let remote = "192.0.2.9:4711".parse().ok();
    Arc::new(About { realm: realm.into(), host: "mail.mail1.org".into(), remote, ..About::default() })
}

/// A whole login; what it ends with.
pub(crate) async fn login(
    desk: &dyn Authenticator,
    mechanism: &str,
    about: Arc<About>,
    user: &str,
    password: &str,
) -> Step {
    let mut exchange = desk.begin(mechanism, about);
    let who = Credentials { user: user.into(), secret: password.into() };
    let known = Mechanism::find(mechanism).unwrap();
    let mut client = Client::new(known, who, Place { host: "h", port: 25 }, "nonce".into()).unwrap();
    let mut step = exchange.step(client.initial()).await;
    while let Step::Challenge(challenge) = step {
        let Ok(response) = client.respond(&challenge) else { return Step::Challenge(challenge) };
        step = exchange.step(Some(response)).await;
    }
    step
}

pub(crate) fn success(user: &str) -> Step {
    Step::Success { user: user.into() }
}

/// The reason of a refusal that is not temporary.
pub(crate) fn refusal(step: &Step) -> &str {
    match step {
        Step::Failure(f) if !f.temporary => &f.reason,
        other => panic!("no refusal: {other:?}"),
    }
}

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("valija-users-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn every_mechanism_and_nothing_else() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("all", &text);
    let desk = in_file(&types().0, &file.0, common(RATES));
    let offers: Vec<String> = desk.mechanisms().await.unwrap().iter().map(|o| o.name.clone()).collect();
    assert_eq!(offers, ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]);
    let (once, again) = (desk.mechanisms().await.unwrap(), desk.mechanisms().await.unwrap());
    assert!(Arc::ptr_eq(&once, &again), "listeners compare lists by where they are");
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256"] {
        assert_eq!(
            login(&*desk, mechanism, about(""), "Alumno", "clave").await,
            success("alumno"),
            "{mechanism}"
        );
        for (user, password) in [("alumno", "mala"), ("nadie", "clave"), ("(unknown)", "x"), ("a:b", "x")] {
            let step = login(&*desk, mechanism, about(""), user, password).await;
            assert_eq!(refusal(&step), DENIED, "{mechanism} {user}");
        }
    }
    for mechanism in ["CRAM-MD5", "XOAUTH2", "EXTERNAL", ""] {
        let step = desk.begin(mechanism, about("")).step(None).await;
        assert_eq!(refusal(&step), "no mechanism available");
    }
    // Nobody acts for somebody else.
    let step = desk.begin("plain", about("")).step(Some(b"root\0alumno\0clave".to_vec().into())).await;
    assert_eq!(refusal(&step), DENIED);
}

#[tokio::test]
async fn realms() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let text = file::with(&text, "jose@mail1.org", Entry::make(&"otra".into()).as_ref()).unwrap();
    let file = File::new("realms", &text);
    let desk = in_file(&types().0, &file.0, common(RATES));
    for (realm, user, password, expected) in [
        ("mail1.org", "jose", "otra", Some("jose@mail1.org")),
        ("Mail1.org", "alumno@MAIL1.org", "clave", Some("alumno")),
        ("", "jose@mail1.org", "otra", Some("jose@mail1.org")),
        ("", "jose", "otra", None),
        ("", "alumno@mail1.org", "clave", None),
        ("other.org", "alumno@mail1.org", "clave", None),
    ] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
            let step = login(&*desk, mechanism, about(realm), user, password).await;
            match expected {
                Some(name) => assert_eq!(step, success(name), "{realm} {user}"),
                None => assert_eq!(refusal(&step), DENIED, "{realm} {user}"),
            }
        }
    }
}

#[tokio::test]
async fn unknown_names_look_like_known_ones_to_scram() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("scram", &text);
    let challenge = async |desk: &dyn Authenticator, user: &str| {
        let mut exchange = desk.begin("SCRAM-SHA-256", about(""));
        let step = exchange.step(Some(format!("n,,n={user},r=abc").into_bytes().into())).await;
        let Step::Challenge(challenge) = step else { panic!("{step:?}") };
        let text = String::from_utf8(challenge).unwrap();
        text.split_once(",s=").unwrap().1.to_string()
    };
    let desk = in_file(&types().0, &file.0, common(RATES));
    let (known, unknown) = (challenge(&*desk, "alumno").await, challenge(&*desk, "nadie").await);
    assert_eq!(known.len(), unknown.len());
    assert_eq!(known.split(",i=").nth(1), unknown.split(",i=").nth(1));
    assert_eq!(unknown, challenge(&*desk, "Nadie").await, "the salt stays");
    assert_ne!(unknown, challenge(&*desk, "otro").await);
    let restarted = in_file(&types().0, &file.0, common(RATES));
    assert_eq!(unknown, challenge(&*restarted, "nadie").await, "also after a restart");
}

#[tokio::test]
async fn guessing_a_name_does_not_lock_its_owner_out() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("owner", &text);
    let desk = in_file(&types().0, &file.0, common(Rates { of_user: 3, ..RATES }));
    let from = |address: &str| {
        Arc::new(About { host: "mail.mail1.org".into(), remote: address.parse().ok(), ..About::default() })
    };
    let home = from("192.0.2.9:4711");
    assert_eq!(login(&*desk, "PLAIN", home.clone(), "alumno", "clave").await, success("alumno"));
    for n in 0..20 {
        let elsewhere = from(&format!("198.51.100.{n}:4711"));
        assert!(matches!(login(&*desk, "PLAIN", elsewhere, "alumno", "mala").await, Step::Failure(_)));
    }
    // The name is shut elsewhere, even with the right password, but not where its owner was before.
    let elsewhere = login(&*desk, "PLAIN", from("203.0.113.7:4711"), "alumno", "clave").await;
    assert!(matches!(elsewhere, Step::Failure(f) if f.temporary));
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        assert_eq!(login(&*desk, mechanism, home.clone(), "alumno", "clave").await, success("alumno"));
    }
}

#[tokio::test]
async fn limits_come_before_hashing() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("limits", &text);
    let desk = in_file(&types().0, &file.0, common(Rates { of_address: 3, ..RATES }));
    for mechanism in ["PLAIN", "SCRAM-SHA-1", "LOGIN"] {
        let step = login(&*desk, mechanism, about(""), "alumno", "mala").await;
        assert_eq!(refusal(&step), DENIED);
    }
    let begun = std::time::Instant::now();
    for mechanism in ["PLAIN", "SCRAM-SHA-1", "LOGIN"].repeat(100) {
        let step = login(&*desk, mechanism, about(""), "alumno", "clave").await;
        assert!(matches!(&step, Step::Failure(f) if f.temporary && f.reason.contains("later")), "{step:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "something was hashed: {:?}", begun.elapsed());
}

#[tokio::test]
async fn tables_with_hashes() {
    let crypt = "$6$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw/Tb8EgfecuA6D/zsRQFumJaU.s8KgTWWc2HfgkB7h2n1qIKiJFeSyUFrwvhILXy.";
    let (types, _) = types();
    let log = ::events::memory();
    let inline = format!(
        "inline:{{ ana={crypt}, {{ berta@mail1.org = {{BLF-CRYPT}}$2y$05$TgBYkZcGpqZr0PBzRRLubeD/E66azptCt0Zm5BSWKGvdyliHwyyVm }}, carla=plaintext, {{ dora = {{PLAIN}}a b }} }}"
    );
    let desk = in_tables(&types, "smtpd_sasl_path", [inline.as_str()], common(RATES));
    let offers: Vec<String> = desk.mechanisms().await.unwrap().iter().map(|o| o.name.clone()).collect();
    assert_eq!(offers, ["PLAIN", "LOGIN"]);
    assert_eq!(login(&*desk, "PLAIN", about(""), "ana", "secret").await, success("ana"));
    assert_eq!(
        login(&*desk, "LOGIN", about("mail1.org"), "berta", "secret").await,
        success("berta@mail1.org")
    );
    assert_eq!(login(&*desk, "PLAIN", about(""), "dora", "a b").await, success("dora"));
    for (user, password) in [("ana", "x"), ("nadie", "secret"), ("carla", "plaintext")] {
        assert_eq!(refusal(&login(&*desk, "PLAIN", about(""), user, password).await), DENIED, "{user}");
    }
    let said = log.take().join("\n");
    assert!(said.contains("the hash of \"carla\" cannot be used: it begins neither"), "{said}");
    assert!(!said.contains("plaintext"), "{said}");
    // A table that is broken is no reason to say no.
    let broken = in_tables(&types, "smtpd_sasl_path", ["hash:/nonexistent/x"], common(RATES));
    let step = login(&*broken, "PLAIN", about(""), "ana", "secret").await;
    assert!(matches!(step, Step::Failure(f) if f.temporary));
}

#[tokio::test]
async fn a_file_that_is_not_there_or_is_damaged() {
    let (types, said) = types();
    let path = std::env::temp_dir().join("valija-users-nonexistent");
    let desk = in_file(&types, &path, common(RATES));
    assert!(desk.mechanisms().await.unwrap_err().contains("valija-users-nonexistent"));
    let step = desk.begin("PLAIN", about("")).step(None).await;
    assert!(matches!(step, Step::Failure(_)));
    let text = file::with("bad\n", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("damaged", &text);
    let desk = in_file(&types, &file.0, common(RATES));
    assert_eq!(login(&*desk, "PLAIN", about(""), "alumno", "clave").await, success("alumno"));
    assert!(said.lock().unwrap().iter().any(|t| t.contains("line 1: there is no hash; the row is left out")));
}

/// The same from somewhere else.
fn from(address: &str) -> Arc<About> {
    Arc::new(About { remote: address.parse().ok(), ..(*about("")).clone() })
}

#[tokio::test]
async fn strangers_lock_nobody_out_who_was_there_before() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("familiar", &text);
    let rates = Rates { of_address: 4, of_user: 3, unit: Duration::from_secs(600) };
    let desk = in_file(&types().0, &file.0, common(rates));
    let (home, away) = (from("198.51.100.1:5"), from("198.51.100.2:5"));
    assert_eq!(login(&*desk, "PLAIN", home.clone(), "Alumno", "clave").await, success("alumno"));
    for n in 0..3 {
        let guesser = from(&format!("203.0.113.{n}:5"));
        assert_eq!(refusal(&login(&*desk, "PLAIN", guesser, "alumno", "mala").await), DENIED);
    }
    let temporary = |step: Step| matches!(step, Step::Failure(f) if f.temporary);
    assert!(temporary(login(&*desk, "PLAIN", away, "alumno", "clave").await), "from a place not seen before");
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        assert_eq!(login(&*desk, mechanism, home.clone(), "alumno", "clave").await, success("alumno"));
    }
    // Nor does a neighbour behind the same address; but whoever is there cannot guess for ever.
    for n in 0..4 {
        login(&*desk, "PLAIN", home.clone(), &format!("x{n}"), "mala").await;
    }
    assert!(temporary(login(&*desk, "PLAIN", home.clone(), "x9", "mala").await));
    assert_eq!(login(&*desk, "PLAIN", home.clone(), "alumno", "clave").await, success("alumno"));
    for _ in 0..3 {
        assert_eq!(refusal(&login(&*desk, "PLAIN", home.clone(), "alumno", "mala").await), DENIED);
    }
    assert!(temporary(login(&*desk, "PLAIN", home, "alumno", "clave").await));
}

#[tokio::test]
async fn a_user_is_one_by_whatever_name() {
    let text = file::with("", "alumno", Entry::make(&"clave".into()).as_ref()).unwrap();
    let file = File::new("names", &text);
    let rates = Rates { of_address: 0, of_user: 2, unit: Duration::from_secs(600) };
    let desk = in_file(&types().0, &file.0, common(rates));
    for name in ["alumno", "ALUMNO@Mail1.org"] {
        assert_eq!(refusal(&login(&*desk, "PLAIN", about("mail1.org"), name, "mala").await), DENIED);
    }
    let step = login(&*desk, "PLAIN", about("mail1.org"), "alumno@mail1.org", "clave").await;
    assert!(matches!(&step, Step::Failure(f) if f.temporary), "{step:?}");
}

#[test]
fn unknown_names_cost_what_the_users_hashes_cost() {
    let crypt = "$5$rounds=1000$ab$bw4PhTdETPYycBP1S/MfHGVqzf4cldTXkxqJJ2X8w.3";
    let own = Entry::make(&"clave".into()).unwrap();
    let made = file::with("", "alumno", Some(&own)).unwrap();
    let nobodys = made.lines().find(|l| l.starts_with(file::UNKNOWN)).unwrap();
    for (n, (text, scheme)) in [
        (format!("ana:{crypt}\n"), "SHA256-CRYPT"),
        (format!("ana:{crypt}\n{nobodys}\n"), "SHA256-CRYPT"),
        (made.clone(), "ARGON2ID"),
        (String::new(), "ARGON2ID"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = File::new(&format!("cost{n}"), &text);
        let own = in_file_raw(&types().0, &file.0, common(RATES));
        let found = own.find("nadie", "").unwrap();
        assert_eq!((found.user, found.entry.password().unwrap().scheme()), (None, scheme), "{text}");
    }
}
