//! Logins as the service file says, with a database that saslpasswd2 made and a saslauthd of our own.

use super::*;
use crate::Step;
use crate::attempts::{Attempts, Rates};
use crate::machine::DENIED;
use crate::users::tests::{login, refusal, success};
use crate::workers::Workers;
use std::os::unix::net::UnixListener;
use std::time::Duration;

struct Place(PathBuf);

impl Place {
    fn new(name: &str, service_file: Option<&str>) -> Place {
        let directory = std::env::temp_dir().join(format!("valija-cyrus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("sasl")).unwrap();
        std::fs::write(directory.join("sasldb2"), include_bytes!("sasldb2.sample")).unwrap();
        if let Some(text) = service_file {
            std::fs::write(directory.join("sasl/smtpd.conf"), text).unwrap();
        }
        Place(directory)
    }

    fn open(&self, service: &str) -> Arc<dyn Authenticator> {
        self.try_open(service, 0).unwrap()
    }

    fn try_open(&self, service: &str, of_user: u32) -> Result<Arc<dyn Authenticator>, String> {
        let rates = Rates { of_address: 0, of_user, unit: Duration::from_secs(60) };
        let common = Common {
            attempts: Arc::new(Attempts::default()),
            rates,
            workers: Arc::new(Workers::new(1)),
            voice: ::events::Source::new("t", "t", 1),
        };
        let search = self.0.join("sasl").display().to_string();
        let setting = Setting {
            search: &search,
            service,
            directory: &self.0,
            chroot: Some(&self.0),
            sasldb: &self.0.join("sasldb2"),
        };
        open(&Types::builder().build(), setting, common)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn about(realm: &str) -> Arc<About> {
    Arc::new(About { realm: realm.into(), host: "mail.mail1.org".into(), ..About::default() })
}

async fn offered(desk: &dyn Authenticator) -> String {
    match desk.mechanisms().await {
        Ok(all) => all.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(" "),
        Err(what) => what,
    }
}

/// Says yes to the password `clave` of `alumno`, and tells what was asked.
fn saslauthd(directory: &Path) -> std::sync::mpsc::Receiver<Vec<u8>> {
    use std::io::{Read, Write};
    let path = directory.join("var/run/saslauthd");
    std::fs::create_dir_all(&path).unwrap();
    let listener = UnixListener::bind(path.join("mux")).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut question = vec![0; 256];
            let Ok(length) = connection.read(&mut question) else { return };
            question.truncate(length);
            let good = question.starts_with(b"\0\x06alumno\0\x05clave\0");
            let _ = connection.write_all(if good { b"\0\x02OK" } else { b"\0\x02NO" });
            if tell.send(question).is_err() {
                return;
            }
        }
    });
    told
}

#[tokio::test]
async fn sasldb_as_cyrus_reads_it() {
    let text = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: login CRAM-MD5 plain SCRAM-SHA-1 scram-sha-256 NTLM\n";
    let place = Place::new("sasldb", Some(text));
    let desk = place.open("smtpd");
    assert_eq!(offered(&*desk).await, "LOGIN CRAM-MD5 PLAIN SCRAM-SHA-1 SCRAM-SHA-256");
    // What Debian's Postfix said to each, without and with smtpd_sasl_local_domain.
    for (realm, user, password, expected) in [
        ("", "alumno", "clave", Some("alumno")),
        ("", "alumno", "clave2", None),
        ("", "alumno@other.org", "clave2", Some("alumno@other.org")),
        ("", "alumno@mail.mail1.org", "clave", Some("alumno@mail.mail1.org")),
        ("", "jose", "secreto", None),
        ("", "jose@mail1.org", "secreto", Some("jose@mail1.org")),
        ("", "nadie", "x", None),
        ("", "Alumno", "clave", None),
        ("", "jose@MAIL1.org", "secreto", None),
        ("mail1.org", "alumno", "clave", None),
        ("mail1.org", "jose", "secreto", Some("jose@mail1.org")),
    ] {
        for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"] {
            let step = login(&*desk, mechanism, about(realm), user, password).await;
            match expected {
                Some(name) => assert_eq!(step, success(name), "{mechanism} {user}"),
                None => assert_eq!(refusal(&step), DENIED, "{mechanism} {user}"),
            }
        }
    }
    let said = desk.begin("CRAM-MD5", about("")).step(Some(b"nadie".to_vec().into())).await;
    assert_eq!(refusal(&said), "bad protocol / cancel");
}

#[tokio::test]
async fn saslauthd_as_cyrus_asks_it() {
    let place = Place::new("saslauthd", Some("pwcheck_method: saslauthd\n"));
    let told = saslauthd(&place.0);
    let desk = place.open("smtpd");
    assert_eq!(offered(&*desk).await, "PLAIN LOGIN");
    assert_eq!(login(&*desk, "PLAIN", about(""), "alumno", "clave").await, success("alumno"));
    assert_eq!(told.recv().unwrap(), b"\0\x06alumno\0\x05clave\0\x04smtp\0\0");
    assert_eq!(
        login(&*desk, "LOGIN", about(""), "alumno@mail1.org", "clave").await,
        success("alumno@mail1.org")
    );
    assert_eq!(told.recv().unwrap(), b"\0\x06alumno\0\x05clave\0\x04smtp\0\x09mail1.org");
    assert_eq!(
        login(&*desk, "PLAIN", about("dom.example"), "alumno", "clave").await,
        success("alumno@dom.example")
    );
    assert_eq!(told.recv().unwrap(), b"\0\x06alumno\0\x05clave\0\x04smtp\0\x0bdom.example");
    assert_eq!(refusal(&login(&*desk, "PLAIN", about(""), "alumno", "mala").await), DENIED);
}

#[tokio::test]
async fn one_after_the_other() {
    let place = Place::new("both", Some("pwcheck_method: saslauthd auxprop\n"));
    let desk = place.open("smtpd");
    assert_eq!(offered(&*desk).await, "PLAIN LOGIN");
    assert_eq!(
        login(&*desk, "PLAIN", about(""), "jose@mail1.org", "secreto").await,
        success("jose@mail1.org")
    );
    // saslauthd is not there: it might have known.
    let step = login(&*desk, "PLAIN", about(""), "jose@mail1.org", "mala").await;
    assert!(matches!(&step, Step::Failure(f) if f.temporary), "{step:?}");
    let _told = saslauthd(&place.0);
    assert_eq!(refusal(&login(&*desk, "PLAIN", about(""), "jose@mail1.org", "mala").await), DENIED);
}

#[tokio::test]
async fn what_cannot_be_served_offers_nothing() {
    for (text, service, why) in [
        (Some("auxprop_plugin: sql\n"), "smtpd", "sasl/smtpd.conf: auxprop_plugin: sql is not served"),
        (Some("pwcheck_method: pwcheck\n"), "smtpd", "pwcheck_method: pwcheck is not served"),
        (Some("mech_list: NTLM GSSAPI\n"), "smtpd", "none of the mechanisms in mech_list"),
        (Some("pwcheck_method: saslauthd\nmech_list: CRAM-MD5\n"), "smtpd", "none of the mechanisms"),
        (Some("sasldb_path: /nonexistent/db\n"), "smtpd", "/nonexistent/db"),
        (None, "private/auth", "did you mean smtpd_sasl_type = dovecot?"),
    ] {
        let place = Place::new("odd", text);
        let said = match place.try_open(service, 0) {
            Err(what) => what,
            Ok(desk) => {
                let step =
                    desk.begin("PLAIN", about("")).step(Some(b"\0alumno\0clave".to_vec().into())).await;
                assert!(matches!(step, Step::Failure(_)), "{step:?}");
                offered(&*desk).await
            }
        };
        assert!(said.contains(why), "{text:?}: {said}");
    }
    // Without a service file Cyrus SASL looks into sasldb.
    let place = Place::new("none", None);
    let desk = place.open("smtpd");
    assert_eq!(offered(&*desk).await, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN");
    assert_eq!(login(&*desk, "PLAIN", about(""), "alumno", "clave").await, success("alumno"));
}

#[tokio::test]
async fn names_that_saslauthd_would_cut_short_are_nobodys() {
    let place = Place::new("nul", Some("pwcheck_method: saslauthd\n"));
    let told = saslauthd(&place.0);
    let desk = place.open("smtpd");
    for (user, password) in
        [("alumno\0x", "clave"), ("alumno\n", "clave"), ("alumno", "clave\0x"), ("@x", "clave")]
    {
        let mut exchange = desk.begin("LOGIN", about(""));
        exchange.step(None).await;
        exchange.step(Some(user.as_bytes().to_vec().into())).await;
        let step = exchange.step(Some(password.as_bytes().to_vec().into())).await;
        assert_eq!(refusal(&step), DENIED, "{user:?}");
    }
    assert!(told.try_recv().is_err(), "it is not even asked");
}

#[tokio::test]
async fn another_realm_is_no_other_account() {
    let place = Place::new("realms", Some("pwcheck_method: saslauthd\n"));
    let _told = saslauthd(&place.0);
    let desk = place.try_open("smtpd", 2).unwrap();
    for user in ["alumno@a", "alumno@b"] {
        assert_eq!(refusal(&login(&*desk, "PLAIN", about(""), user, "mala").await), DENIED);
    }
    let step = login(&*desk, "PLAIN", about(""), "alumno@c", "clave").await;
    assert!(matches!(&step, Step::Failure(f) if f.temporary), "{step:?}");
}
