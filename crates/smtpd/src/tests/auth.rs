//! Logins in sessions, decided by a scripted Dovecot.

use super::*;
use queue::Store;
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let directory = std::env::temp_dir().join(format!("valija-auth-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Place(directory)
    }

    fn world(&self, more: &str) -> World {
        let path = self.0.join("auth");
        world(&format!(
            "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
             smtpd_relay_restrictions = permit_sasl_authenticated, reject\nmynetworks =\n{more}",
            path.display()
        ))
    }

    /// A Dovecot that lets in whoever says `AGFuYQBnZWhlaW0=` (ana, geheim).
    fn dovecot(&self) {
        let _ = std::fs::remove_file(self.0.join("auth"));
        let listener = UnixListener::bind(self.0.join("auth")).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (reader, mut writer) = stream.into_split();
                    let hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tEXTERNAL\nMECH\tANONYMOUS\tanonymous\nDONE\n";
                    writer.write_all(hello.as_bytes()).await.unwrap();
                    let mut lines = BufReader::new(reader).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let words: Vec<&str> = line.split('\t').collect();
                        let said = match words.as_slice() {
                            ["AUTH", id, .., "resp=AGFuYQBnZWhlaW0="] => format!("OK\t{id}\tuser=ana\n"),
                            ["AUTH", id, .., last] if last.starts_with("resp=") => {
                                format!("FAIL\t{id}\tuser=ana\n")
                            }
                            ["AUTH", id, ..] => format!("CONT\t{id}\t\n"),
                            ["CONT", id, ..] => format!("FAIL\t{id}\tuser=ana\n"),
                            _ => continue,
                        };
                        writer.write_all(said.as_bytes()).await.unwrap();
                    }
                });
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn real<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// After this long Dovecot is looked for again.
async fn pass_over_the_pause() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(300)).await;
    tokio::time::resume();
}

const GOOD: &str = "AUTH PLAIN AGFuYQBnZWhlaW0=\r\n";
const BAD: &str = "AUTH PLAIN AGFuYQBmYWxzY2g=\r\n";
const MAIL: &str = "MAIL FROM:<a@b.example>\r\nRCPT TO:<x@elsewhere.example>\r\n";

fn codes(replies: &[String]) -> Vec<&str> {
    replies.iter().map(|r| r.get(..3).unwrap()).collect()
}

#[test]
fn a_login_permits_and_is_told() {
    let place = Place::new("permits");
    real(async {
        place.dovecot();
        let world = place.world("smtpd_sasl_authenticated_header = yes\n");
        let text = format!("EHLO pc\r\n{BAD}{MAIL}RSET\r\n{GOOD}{MAIL}DATA\r\n\r\nhi\r\n.\r\nQUIT\r\n");
        let (replies, log) = world.say(STRANGER, &text).await;
        let expected = ["250", "535", "250", "554", "250", "235", "250", "250", "354", "250", "221"];
        assert_eq!(codes(&replies), expected, "{replies:?}");
        let failed = "warning: unknown[192.0.2.9]: SASL PLAIN authentication failed: (reason unavailable), \
                      sasl_username=ana";
        assert!(log.contains(&failed.to_string()), "{log:?}");
        let client = "client=unknown[192.0.2.9], sasl_method=PLAIN, sasl_username=ana";
        assert!(log.iter().any(|l| l.ends_with(client)), "{log:?}");
        let leased = world.store.lease(10).await;
        let Ok(queue::store::Body::Memory(body)) = world.store.body(leased[0].id).await else { panic!() };
        let (head, envelope) = (String::from_utf8_lossy(&body).into_owned(), &leased[0].envelope.client);
        assert!(head.contains("\t(Authenticated sender: ana)\r\n"), "{head}");
        assert!(head.contains(" with ESMTPA id "), "{head}");
        assert_eq!((envelope.sasl_method.as_str(), envelope.sasl_username.as_str()), ("PLAIN", "ana"));
    });
}

#[test]
fn a_dovecot_that_is_away_is_a_matter_of_time() {
    let place = Place::new("away");
    real(async {
        let world = place.world("");
        let text = format!("EHLO pc\r\n{GOOD}{MAIL}QUIT\r\n");
        let (replies, log) = world.say(STRANGER, &text).await;
        assert_eq!(codes(&replies), ["250", "454", "250", "454", "221"], "{replies:?}");
        assert!(
            log.iter().any(|l| l.starts_with("warning: SASL: Connect to Dovecot auth socket")),
            "{log:?}"
        );
        assert!(log.contains(&"warning: no SASL authentication mechanisms".to_string()), "{log:?}");
        pass_over_the_pause().await;
        // It is said once.
        let (_, log) = world.say(STRANGER, "EHLO pc\r\nQUIT\r\n").await;
        assert!(!log.iter().any(|l| l.starts_with("warning:")), "{log:?}");
        pass_over_the_pause().await;
        place.dovecot();
        let (replies, log) = world.say(STRANGER, &text).await;
        assert_eq!(codes(&replies), ["250", "235", "250", "250", "221"], "{replies:?} {log:?}");
    });
}

#[test]
fn what_is_offered() {
    let place = Place::new("offered");
    real(async {
        place.dovecot();
        let offered = async |more: &str| {
            let world = place.world(more);
            let (mut client, session) = world.connect(STRANGER);
            let talk = async move {
                client.write_all(b"EHLO a\r\nQUIT\r\n").await.unwrap();
                let mut out = String::new();
                client.read_to_string(&mut out).await.unwrap();
                out
            };
            let (out, ()) = tokio::join!(talk, session);
            out.lines().filter(|l| l.contains("AUTH")).collect::<Vec<_>>().join("|")
        };
        assert_eq!(offered("").await, "250-AUTH PLAIN");
        assert_eq!(offered("smtpd_sasl_security_options =\n").await, "250-AUTH PLAIN ANONYMOUS");
        assert_eq!(offered("smtpd_sasl_mechanism_filter = static:rest\n").await, "250-AUTH PLAIN EXTERNAL");
        assert_eq!(offered("smtpd_sasl_mechanism_filter = !plain, static:rest\n").await, "250-AUTH EXTERNAL");
        assert_eq!(offered("broken_sasl_auth_clients = yes\n").await, "250-AUTH PLAIN|250-AUTH=PLAIN");
        for more in [
            "smtpd_tls_auth_only = yes\n",
            "smtpd_tls_security_level = encrypt\n",
            "smtpd_sasl_exceptions_networks = 192.0.2.0/24\n",
            "smtpd_sasl_security_options = noplaintext, mutual_auth\n",
            "smtpd_sasl_type = nonsense\n",
        ] {
            assert_eq!(offered(more).await, "", "{more}");
        }
    });
}

#[test]
fn guessing_has_its_limits() {
    let place = Place::new("limits");
    real(async {
        place.dovecot();
        let world = place.world("smtpd_client_auth_rate_limit = 2\n");
        let text = format!("EHLO pc\r\n{BAD}{BAD}{GOOD}QUIT\r\n");
        let (replies, log) = world.say(STRANGER, &text).await;
        assert_eq!(codes(&replies), ["250", "535", "535", "450", "221"]);
        assert_eq!(replies[3], "450 4.7.1 Error: too many AUTH commands from 192.0.2.9");
        let limit = "warning: AUTH command rate limit exceeded: 3 from unknown[192.0.2.9] for service smtp";
        assert!(log.contains(&limit.to_string()), "{log:?}");

        let world = place.world("valija_login_failures_by_address = 2\n");
        let (replies, _) = world.say(STRANGER, &text).await;
        assert_eq!(codes(&replies), ["250", "535", "535", "454", "221"]);
        let (replies, _) = world.say([192, 0, 2, 10], &format!("EHLO pc\r\n{GOOD}QUIT\r\n")).await;
        assert_eq!(codes(&replies), ["250", "235", "221"], "others are not limited");
    });
}

/// fail2ban's own filter finds who guesses.
#[test]
fn fail2ban_sees_it() {
    let program = "/usr/bin/fail2ban-regex";
    if !std::path::Path::new(program).exists() {
        return;
    }
    let place = Place::new("fail2ban");
    let log = real(async {
        place.dovecot();
        let text = format!("EHLO pc\r\n{BAD}AUTH PLAIN x\r\nQUIT\r\n");
        place.world("").say(STRANGER, &text).await.1
    });
    let lines: Vec<&String> = log.iter().filter(|l| l.contains("SASL")).collect();
    assert_eq!(lines.len(), 2, "{log:?}");
    let file = place.0.join("log");
    let text: String =
        lines.iter().map(|l| format!("Nov 21 16:00:00 mx postfix/submission/smtpd[7]: {l}\n")).collect();
    std::fs::write(&file, text).unwrap();
    let run = std::process::Command::new(program).arg(&file).arg("postfix[mode=auth]").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("2 lines, 0 ignored, 2 matched, 0 missed"), "{said}");
}

#[test]
fn the_headers_of_who_logged_in_are_completed() {
    let place = Place::new("rewrite");
    let message = "MAIL FROM:<a@b.example>\r\nRCPT TO:<usuario@example.org>\r\nDATA\r\nFrom: ana\r\n\r\nx\r\n.\r\nQUIT\r\n";
    let world = place.world(
        "local_header_rewrite_clients = permit_sasl_authenticated\n\
         smtpd_relay_restrictions = permit_sasl_authenticated, permit_auth_destination, reject\n",
    );
    real(async {
        place.dovecot();
        for (text, from) in [
            (format!("EHLO pc\r\n{message}"), "From: ana\r\n"),
            (format!("EHLO pc\r\n{GOOD}{message}"), "From: ana@example.org\r\n"),
        ] {
            let (replies, log) = world.say(STRANGER, &text).await;
            let leased = world.store.lease(10).await;
            assert_eq!(leased.len(), 1, "{replies:?} {log:?}");
            let Ok(queue::store::Body::Memory(body)) = world.store.body(leased[0].id).await else { panic!() };
            let content = String::from_utf8_lossy(&body).into_owned();
            assert!(content.contains(from), "{content}");
        }
    });
}
