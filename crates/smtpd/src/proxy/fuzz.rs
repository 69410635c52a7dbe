//! A filter before the queue that says anything, as the fuzz targets have it.

use super::conversation::{Conversation, No, reply, shown};
use super::{Settings, Stuffer};
use net::Endpoint;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What it says is passed on as one reply; it hears no command that the client did not give, and one end.
pub(crate) fn filter(said: &[u8], command: &str, content: &[u8]) {
    let endpoint = Endpoint::parse("unix:/x", Path::new("/"), false).expect("an endpoint");
    let settings = Settings {
        endpoint,
        ehlo: "me.test".into(),
        timeout: Duration::from_secs(5),
        spool: None,
        myhostname: "me.test".into(),
        mail_name: "Postfix".into(),
    };
    let source = events::Source::new("fuzz", "smtpd", 1);
    let _quiet = events::memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (answer, heard) = runtime.expect("a runtime").block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (mut reading, mut writing) = theirs.into_split();
        let talk = async {
            let attributes = [("NAME", command.to_string()), ("HELO", "x".into())];
            let mail = format!("MAIL FROM:<{command}>");
            let opened = Conversation::over(ours.into(), &settings, &attributes, &mail, &source);
            let mut filter = opened.await?;
            filter.command(&format!("RCPT TO:<{command}>"), &source).await?;
            filter.data(&source).await?;
            let mut stuffer = Stuffer::new(0);
            filter.content(content, &mut stuffer, &source).await?;
            filter.end(stuffer, &source).await
        };
        let say = async move {
            let _ = writing.write_all(said).await;
            let _ = writing.shutdown().await;
        };
        let mut heard = Vec::new();
        let (answer, (), _) = tokio::join!(talk, say, reading.read_to_end(&mut heard));
        (answer, heard)
    });
    let ends = heard.windows(5).filter(|w| w == b"\r\n.\r\n").count();
    assert!(ends <= 1);
    let head = heard.windows(6).position(|w| w == b"DATA\r\n").unwrap_or(heard.len());
    let lines = heard[..head].split(|b| *b == b'\n').filter(|l| !l.is_empty());
    for line in lines {
        let known = [&b"EHLO "[..], b"XFORWARD ", b"MAIL ", b"RCPT ", b"QUIT"];
        assert!(known.iter().any(|verb| line.starts_with(verb)), "{}", String::from_utf8_lossy(line));
        assert!(!line[..line.len() - 1].contains(&b'\r'), "{}", String::from_utf8_lossy(line));
    }
    match answer {
        Ok(answer) => {
            assert!(ends == 1, "it said yes to what was not sent");
            let mut wire = Vec::new();
            reply(&answer).render(&mut wire);
            one_reply(&wire);
            assert!(!shown(&answer).contains('\n'));
        }
        Err(No::Refused(reply)) => {
            let mut wire = Vec::new();
            reply.render(&mut wire);
            one_reply(&wire);
        }
        Err(No::Broken | No::Unwilling) => {}
    }
}

/// Each line but the last goes on, and all have one code.
fn one_reply(wire: &[u8]) {
    let shown = String::from_utf8_lossy(wire);
    assert!(wire.ends_with(b"\r\n"), "{shown}");
    let lines: Vec<&[u8]> = wire[..wire.len() - 2].split(|b| *b == b'\n').collect();
    for (n, line) in lines.iter().enumerate() {
        let last = n + 1 == lines.len();
        assert!(line.len() >= 4 && line[..3] == wire[..3] && (line[3] == b'-') != last, "{shown}");
    }
}
