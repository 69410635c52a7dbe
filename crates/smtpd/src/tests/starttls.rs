//! STARTTLS over a pipe, with a certificate made for the test.

use super::*;
use net::tls::client::{Authorities, Connector, Wish};
use queue::Store;
use std::path::PathBuf;

struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let directory = std::env::temp_dir().join(format!("valija-starttls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_string()]).unwrap();
        std::fs::write(directory.join("cert"), made.cert.pem()).unwrap();
        std::fs::write(directory.join("key"), made.signing_key.serialize_pem()).unwrap();
        Files(directory)
    }

    fn settings(&self, more: &str) -> String {
        let d = self.0.display();
        format!(
            "smtpd_tls_cert_file = {d}/cert\nsmtpd_tls_key_file = {d}/key\nsmtpd_tls_loglevel = 2\n\
             smtpd_tls_security_level = may\nsmtpd_tls_received_header = yes\n{more}"
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LINE: &str = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 \
                    server-signature ECDSA (prime256v1) server-digest SHA256";

/// Runs on real time: a handshake is no matter of a paused clock.
fn real<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut got = String::new();
    while !got.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        got.push(char::from(byte[0]));
    }
    got
}

#[test]
fn a_session_begins_anew_encrypted() {
    let files = Files::new("anew");
    real(async {
        let log = events::memory();
        let world = world(&files.settings("smtpd_recipient_restrictions = reject_plaintext_session\n"));
        let (mut client, session) = world.connect(HERE);
        let talk = async move {
            client.write_all(b"EHLO a\r\nMAIL FROM:<jose@example.org>\r\n").await.unwrap();
            let said = until(&mut client, "2.1.0 Ok\r\n").await;
            assert!(said.contains("250-STARTTLS\r\n"));
            client.write_all(b"RCPT TO:<usuario@example.org>\r\nSTARTTLS\r\n").await.unwrap();
            let said = until(&mut client, "Ready to start TLS\r\n").await;
            assert!(said.contains("Session encryption is required\r\n220 2.0.0 "), "{said}");
            let wish = Wish::new("test", Duration::from_secs(20));
            let connector = Connector::new(Authorities::default());
            let mut tls = connector.connect(client, &wish).await.unwrap().stream;
            let text = "RCPT TO:<usuario@example.org>\r\nEHLO b\r\nMAIL FROM:<jose@example.org>\r\n\
                        RCPT TO:<usuario@example.org>\r\nDATA\r\n";
            tls.write_all(text.as_bytes()).await.unwrap();
            let said = until(&mut tls, "<CR><LF>.<CR><LF>\r\n").await;
            assert!(said.starts_with("503 5.5.1 Error: need MAIL command\r\n250-"), "{said}");
            assert!(!said.contains("STARTTLS"));
            tls.write_all(b"Subject: x\r\n\r\n.\r\nQUIT\r\n").await.unwrap();
            until(&mut tls, "221 2.0.0 Bye\r\n").await;
        };
        let ((), ()) = tokio::join!(talk, session);
        let lines = log.take();
        let has = |text: &str| lines.iter().any(|l| l.ends_with(text));
        assert!(has("setting up TLS connection from unknown[127.0.0.1]"), "{lines:#?}");
        assert!(has(&format!("Anonymous TLS connection established from unknown[127.0.0.1]: {LINE}")));
        assert!(has("ehlo=2 starttls=1 mail=2 rcpt=1/3 data=1 quit=1 commands=8/10"), "{lines:#?}");
        let leased = world.store.lease(10).await;
        let Ok(queue::store::Body::Memory(body)) = world.store.body(leased[0].id).await else { panic!() };
        let text = String::from_utf8_lossy(&body).into_owned();
        let received = "Received: from b (unknown [127.0.0.1])\r\n\
            \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\
            \t key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256)\r\n\
            \t(No client certificate requested)\r\n\tby mx.example.org (Postfix) with ESMTPS id ";
        assert!(text.starts_with(received), "{text}");
    });
}

#[test]
fn what_comes_before_the_handshake_is_not_heard() {
    let files = Files::new("injection");
    real(async {
        let log = events::memory();
        let world = world(&files.settings(""));
        let (mut client, session) = world.connect(STRANGER);
        let talk = async move {
            client.write_all(b"STARTTLS\r\nMAIL FROM:<jose@example.org>\r\nQUIT\r\n").await.unwrap();
            let said = until(&mut client, "Ready to start TLS\r\n").await;
            assert_eq!(said.lines().count(), 2);
            client.write_all(b"RSET\r\n").await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert!(!rest.starts_with(b"2"), "an alert at most");
        };
        let ((), ()) = tokio::join!(talk, session);
        let lines = log.take().join("\n");
        assert!(lines.contains("SSL_accept error from unknown[192.0.2.9]: -1\n"), "{lines}");
        assert!(lines.contains("warning: TLS library problem: "), "{lines}");
        assert!(lines.contains("lost connection after STARTTLS from unknown[192.0.2.9]\n"), "{lines}");
        assert!(lines.ends_with("starttls=0/1 commands=0/1"), "{lines}");
    });
}

#[test]
fn without_a_usable_certificate_the_server_runs() {
    let (replies, log) = run(world("smtpd_tls_cert_file = /nonexistent/c\nsmtpd_tls_security_level = may\n")
        .say(STRANGER, "EHLO x\r\nSTARTTLS\r\nQUIT\r\n"));
    let refusal = "454 4.7.0 TLS not available due to local problem";
    assert_eq!(replies, ["250 CHUNKING", refusal, "221 2.0.0 Bye"]);
    let why = "warning: cannot get RSA certificate from file \"/nonexistent/c\": disabling TLS support";
    assert_eq!(log[0], why);
    assert_eq!(log[1], "warning: TLS library problem: No such file or directory");
    let (replies, _) = run(world("smtpd_enforce_tls = yes\n").say(STRANGER, "EHLO x\r\nMAIL FROM:<>\r\n"));
    assert_eq!(replies[1], "530 5.7.0 Must issue a STARTTLS command first");
    let (replies, log) = run(world("").say(STRANGER, "STARTTLS\r\n"));
    assert_eq!(replies, ["502 5.5.1 Error: command not implemented"]);
    assert!(!log.iter().any(|l| l.starts_with("warning")));
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_its_place() {
    let files = Files::new("deaf");
    real(async {
        let world = world(&files.settings("smtpd_timeout = 1s\n"));
        let (mut client, session) = world.connect(STRANGER);
        let (over, mut wait) = tokio::sync::oneshot::channel::<()>();
        let talk = async move {
            client.write_all(b"EHLO a\r\nSTARTTLS\r\n").await.unwrap();
            until(&mut client, "Ready to start TLS\r\n").await;
            let wish = Wish::new("test", Duration::from_secs(20));
            let connected = Connector::new(Authorities::default()).connect(client, &wish).await;
            let mut tls = connected.unwrap().stream;
            let asking = async { while tls.write_all(b"EHLO a\r\n").await.is_ok() {} };
            let _ = tokio::time::timeout(Duration::from_secs(1), asking).await;
            let _ = (&mut wait).await;
        };
        let session = async {
            let ended = tokio::time::timeout(Duration::from_secs(15), session).await;
            drop(over);
            ended
        };
        let ((), ended) = tokio::join!(talk, session);
        assert!(ended.is_ok(), "the session never ends");
    });
}

#[test]
fn certificates_that_anybody_can_have_open_no_relay() {
    let settings = |append: &str| {
        format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes\ntls_append_default_CA = {append}\n\
             smtpd_relay_restrictions = permit_tls_all_clientcerts, reject_unauth_destination\n"
        )
    };
    assert_eq!(world(&settings("no")).service.relays_for_strangers(), None);
    let why = world(&settings("yes")).service.relays_for_strangers().unwrap();
    assert!(why.contains("permit_tls_all_clientcerts"), "{why}");
}
