//! A scripted Dovecot: true, slow, lying, restarting, absent.

use super::*;
use crate::Step;
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let directory = std::env::temp_dir().join(format!("valija-dovecot-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Place(directory)
    }

    fn listen(&self) -> UnixListener {
        let _ = std::fs::remove_file(self.0.join("auth"));
        UnixListener::bind(self.0.join("auth")).unwrap()
    }

    fn dovecot(&self, of_address: u32) -> Arc<Dovecot> {
        self.limited(of_address, 0)
    }

    fn limited(&self, of_address: u32, of_user: u32) -> Arc<Dovecot> {
        let endpoint = Endpoint::parse("auth", &self.0, true).unwrap();
        let rates = Rates { of_address, of_user, unit: Duration::from_secs(60) };
        Dovecot::new(endpoint, Arc::default(), Arc::default(), rates)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const HELLO: &str =
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tX\tprivate\nSPID\t1\nDONE\n";

/// Greets, and answers each line as `answer` says; `None` ends the connection.
async fn serve(stream: UnixStream, hello: &str, answer: impl Fn(&[&str]) -> Option<String>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "VERSION\t1\t0");
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("CPID\t"));
    writer.write_all(hello.as_bytes()).await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        let words: Vec<&str> = line.split('\t').collect();
        match answer(&words) {
            Some(said) => {
                let _ = writer.write_all(said.as_bytes()).await;
            }
            None => return,
        }
    }
}

fn about(address: &str) -> Arc<About> {
    Arc::new(About { remote: address.parse().ok(), ..About::default() })
}

async fn plain(dovecot: &Arc<Dovecot>) -> Step {
    dovecot.begin("plain", about("192.0.2.1:5")).step(Some("\0ana\0geheim".into())).await
}

fn user(name: &str) -> Step {
    Step::Success { user: name.into() }
}

/// LOGIN with two responses, everybody who says `geheim` is let in.
fn honest(words: &[&str]) -> Option<String> {
    Some(match words {
        ["AUTH", id, mechanism, .., last] if last.starts_with("resp=") => {
            assert_eq!(*mechanism, "plain");
            format!("OK\t{id}\tuser=ana\n")
        }
        ["AUTH", id, "LOGIN", ..] => format!("CONT\t{id}\tVXNlcm5hbWU6\n"),
        ["CONT", id, "YW5h"] => format!("CONT\t{id}\tUGFzc3dvcmQ6\n"),
        ["CONT", id, "Z2VoZWlt"] => format!("OK\t{id}\tuser=ana\n"),
        ["CONT", id, _] => format!("FAIL\t{id}\tuser=ana\n"),
        _ => String::new(),
    })
}

#[tokio::test]
async fn logins_share_a_connection() {
    let place = Place::new("share");
    let listener = place.listen();
    tokio::spawn(async move {
        // One connection is all there is.
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, honest).await;
    });
    let dovecot = place.dovecot(0);
    let offers: Vec<String> = dovecot.mechanisms().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(offers, ["PLAIN", "LOGIN"]);
    let mut one = dovecot.begin("LOGIN", about("192.0.2.1:5"));
    let mut other = dovecot.begin("LOGIN", about("192.0.2.2:5"));
    let username = Step::Challenge(b"Username:".to_vec());
    assert_eq!(one.step(None).await, username);
    assert_eq!(other.step(None).await, username);
    assert_eq!(plain(&dovecot).await, user("ana"));
    let password = Step::Challenge(b"Password:".to_vec());
    assert_eq!(other.step(Some("ana".into())).await, password);
    assert_eq!(one.step(Some("ana".into())).await, password);
    assert_eq!(one.step(Some("geheim".into())).await, user("ana"));
    let denied = Failure::denied("(reason unavailable)", Some("ana".into()));
    assert_eq!(other.step(Some("falsch".into())).await, Step::Failure(denied));
    let unknown = Failure::denied("Invalid authentication mechanism", None);
    for odd in ["X", "CRAM-MD5", "PLAIN\tresp=x", ""] {
        assert_eq!(dovecot.begin(odd, about("")).step(None).await, Step::Failure(unknown.clone()), "{odd:?}");
    }
    let long = dovecot.begin("PLAIN", about("")).step(Some(vec![b'x'; 20_000].into())).await;
    assert_eq!(long, Step::Failure(Failure::denied("Authentication request too long", None)));
}

#[tokio::test]
async fn lies_let_nobody_in() {
    let place = Place::new("lies");
    let answers = [
        "OK\t%\n",
        "OK\t%\tuser=\n",
        "OK\t4711\tuser=ana\nFAIL\t%\n",
        "OK\t%9\tuser=ana\nFAIL\t%\n",
        "FAIL\t%\tuser=ana\tOK\n",
        "CONT\t%\t=\x01=\n",
        "ok\t%\tuser=ana\nFAIL\t%\n",
        "OK\tx\tuser=ana\n",
        "\0\0\0\nFAIL\t%\n",
    ];
    for answer in answers {
        let listener = place.listen();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let say = |words: &[&str]| Some(answer.replace('%', words.get(1).unwrap_or(&"")));
                tokio::spawn(async move { serve(stream, HELLO, say).await });
            }
        });
        let step = plain(&place.dovecot(0)).await;
        assert!(matches!(step, Step::Failure(_)), "{answer:?}: {step:?}");
        task.abort();
    }
    for hello in ["DONE\n", "VERSION\t2\t0\nDONE\n", "VERSION\t1\t0\nOK\t1\tuser=ana\n", "MECH\t\n", ""] {
        let listener = place.listen();
        let task = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            let (mut reader, mut writer) = stream.into_split();
            writer.write_all(hello.as_bytes()).await.unwrap();
            let mut bytes = [0; 100];
            let _ = tokio::io::AsyncReadExt::read(&mut reader, &mut bytes).await;
        });
        let dovecot = place.dovecot(0);
        assert!(dovecot.mechanisms().await.is_err(), "{hello:?}");
        let step = plain(&dovecot).await;
        assert!(matches!(step, Step::Failure(Failure { temporary: true, .. })), "{hello:?}: {step:?}");
        task.abort();
    }
}

#[tokio::test]
async fn a_handshake_has_an_end() {
    let place = Place::new("endless");
    for piece in ["MECH\tA\n", "SPID\t1\n", "xxxxxxxxxx"] {
        let listener = place.listen();
        let task = tokio::spawn(async move {
            let (_, mut writer) = listener.accept().await.unwrap().0.into_split();
            writer.write_all(b"VERSION\t1\t1\n").await.unwrap();
            while writer.write_all(piece.repeat(100).as_bytes()).await.is_ok() {}
        });
        assert!(place.dovecot(0).mechanisms().await.is_err());
        task.await.unwrap();
    }
}

#[tokio::test]
async fn it_may_restart_and_be_away() {
    let place = Place::new("restart");
    let dovecot = place.dovecot(0);
    let absent = dovecot.mechanisms().await.unwrap_err();
    assert_eq!(absent, "Connect to Dovecot auth socket 'auth' failed: No such file or directory");
    let step = plain(&dovecot).await;
    let failure = Failure { trouble: Some(absent), ..Failure::temporary("(reason unavailable)", None) };
    assert_eq!(step, Step::Failure(failure));
    let forget_failure = || dovecot.state().failed = None;
    forget_failure();

    let listener = place.listen();
    // It says goodbye in the middle of a login, then serves, then goes for good.
    let server = tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, |words| if words.first() == Some(&"CONT") { None } else { honest(words) }).await;
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, |words| if words.get(2) == Some(&"LOGIN") { None } else { honest(words) }).await;
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, |words| if words.get(2) == Some(&"LOGIN") { None } else { honest(words) }).await;
    });
    let mut login = dovecot.begin("LOGIN", about(""));
    assert!(matches!(login.step(None).await, Step::Challenge(_)));
    let lost = Step::Failure(Failure::temporary(LOST, None));
    assert_eq!(login.step(Some("ana".into())).await, lost);
    assert_eq!(plain(&dovecot).await, user("ana"), "over a new connection");
    // What was begun on a connection that dies is begun once more, and not for ever.
    assert_eq!(dovecot.begin("LOGIN", about("")).step(None).await, lost);
    server.await.unwrap();
    assert_eq!(dovecot.mechanisms().await.unwrap().len(), 2, "offered from memory while it is away");
    assert!(matches!(plain(&dovecot).await, Step::Failure(Failure { temporary: true, .. })));
}

#[tokio::test(start_paused = true)]
async fn slow_ones_are_waited_for_so_long() {
    let place = Place::new("slow");
    let listener = place.listen();
    let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, |words| {
            heard.send(words.join(" ")).unwrap();
            Some(String::new())
        })
        .await;
    });
    let dovecot = place.dovecot(0);
    dovecot.mechanisms().await.unwrap();
    let start = tokio::time::Instant::now();
    let step = plain(&dovecot).await;
    assert_eq!(step, Step::Failure(Failure::temporary("Connection timed out", None)));
    assert!((PATIENCE..PATIENCE * 2).contains(&start.elapsed()));
    assert!(hear.recv().await.unwrap().starts_with("AUTH 1 plain service="));
    assert_eq!(hear.recv().await.unwrap(), "CANCEL 1");
}

#[tokio::test(start_paused = true)]
async fn connections_are_given_up_in_time() {
    let place = Place::new("retire");
    let listener = place.listen();
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for n in 0.. {
            let stream = listener.accept().await.unwrap().0;
            let ended = ended.clone();
            tokio::spawn(async move {
                serve(stream, HELLO, honest).await;
                ended.send(n).unwrap();
            });
        }
    });
    let dovecot = place.dovecot(0);
    let offers = dovecot.mechanisms().await.unwrap();
    let mut login = dovecot.begin("LOGIN", about(""));
    assert!(matches!(login.step(None).await, Step::Challenge(_)));
    tokio::time::sleep(LIFETIME * 2).await;
    assert!(Arc::ptr_eq(&offers, &dovecot.mechanisms().await.unwrap()));
    assert_eq!(plain(&dovecot).await, user("ana"));
    assert!(ends.try_recv().is_err(), "a login is under way on the first one");
    assert!(matches!(login.step(Some("ana".into())).await, Step::Challenge(_)));
    assert_eq!(login.step(Some("geheim".into())).await, user("ana"));
    assert_eq!(ends.recv().await, Some(0));
    tokio::time::sleep(LIFETIME * 2).await;
    assert_eq!(ends.recv().await, Some(1));
}

#[tokio::test]
async fn guessing_is_refused_unasked() {
    let place = Place::new("guess");
    let listener = place.listen();
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, |words| Some(format!("FAIL\t{}\tuser=ana\n", words[1]))).await;
    });
    let dovecot = place.dovecot(2);
    for _ in 0..2 {
        assert!(matches!(plain(&dovecot).await, Step::Failure(Failure { temporary: false, .. })));
    }
    assert!(matches!(plain(&dovecot).await, Step::Failure(Failure { temporary: true, user: Some(_), .. })));
    let webmail = About { unlimited: true, ..(*about("192.0.2.1:5")).clone() };
    let step = dovecot.begin("PLAIN", Arc::new(webmail)).step(Some("x".into())).await;
    assert!(matches!(step, Step::Failure(Failure { temporary: false, .. })), "{step:?}");
    let elsewhere = dovecot.begin("PLAIN", about("192.0.2.9:1")).step(Some("x".into())).await;
    assert!(matches!(elsewhere, Step::Failure(Failure { temporary: false, .. })));
}

#[tokio::test]
async fn guesses_at_a_name_from_everywhere_reach_dovecot_no_more() {
    let place = Place::new("name");
    let listener = place.listen();
    let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        serve(stream, HELLO, |words| {
            heard.send(words.join(" ")).unwrap();
            match words {
                ["AUTH", id, "PLAIN", .., "resp=AGFuYQBmYWxzY2g="] => Some(format!("FAIL\t{id}\tuser=ana\n")),
                ["AUTH", id, "PLAIN", ..] => Some(format!("OK\t{id}\tuser=ana\n")),
                words => honest(words),
            }
        })
        .await;
    });
    let dovecot = place.limited(0, 3);
    let step = async |mechanism: &str, from: &str, response: &str| {
        dovecot.begin(mechanism, about(from)).step(Some(response.into())).await
    };
    let (good, bad) = ("\0ana\0geheim", "\0ana\0falsch");
    assert_eq!(step("PLAIN", "192.0.2.7:1", good).await, user("ana"));
    let later = Failure::temporary("too many failed logins, try again later", Some("ana".into()));
    for n in 0..10 {
        let guessed = step("PLAIN", &format!("198.51.100.{n}:1"), bad).await;
        match n {
            0..3 => {
                assert!(matches!(guessed, Step::Failure(Failure { temporary: false, .. })), "{guessed:?}")
            }
            _ => assert_eq!(guessed, Step::Failure(later.clone())),
        }
    }
    // By whatever mechanism, as soon as the name is said: a challenge before that tells nothing.
    let mut login = dovecot.begin("LOGIN", about("198.51.100.99:1"));
    assert!(matches!(login.step(None).await, Step::Challenge(_)));
    assert!(matches!(login.step(Some("ANA".into())).await, Step::Failure(Failure { temporary: true, .. })));
    // She herself, from where she was, is let in; another one is, from anywhere.
    assert_eq!(step("PLAIN", "192.0.2.7:2", good).await, user("ana"));
    assert_eq!(step("PLAIN", "198.51.100.1:9", "\0berta\0geheim").await, user("ana"));
    let mut asked = 0;
    while let Ok(line) = hear.try_recv() {
        asked += u32::from(line.contains(" PLAIN "));
    }
    assert_eq!(asked, 6, "three guesses and three good ones");
}

#[tokio::test]
async fn a_password_behind_an_empty_name_is_no_name() {
    let place = Place::new("empty");
    let listener = place.listen();
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        // One that asks for the password all the same.
        serve(stream, HELLO, |words| {
            Some(match words {
                ["CONT", id, "Z2VoZWlt"] => format!("FAIL\t{id}\n"),
                [_, id, ..] => format!("CONT\t{id}\tPGFzaz4=\n"),
                _ => String::new(),
            })
        })
        .await;
    });
    let dovecot = place.limited(0, 1);
    for _ in 0..3 {
        let mut login = dovecot.begin("LOGIN", about("192.0.2.1:5"));
        assert!(matches!(login.step(None).await, Step::Challenge(_)));
        assert!(matches!(login.step(Some("".into())).await, Step::Challenge(_)));
        let refused = login.step(Some("geheim".into())).await;
        assert!(matches!(refused, Step::Failure(Failure { user: None, .. })), "{refused:?}");
    }
}
