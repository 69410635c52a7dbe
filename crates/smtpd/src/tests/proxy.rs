//! A filter before the queue that does not keep to the protocol, and clients that would speak to it.

use super::*;
use std::sync::Mutex;
use tokio::net::TcpListener;

/// A filter that answers each line by what `answer` says, and its greeting before; it takes CR for the end of a line, too.
async fn filter(answer: fn(&str) -> &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = heard.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 filter\r\n").await.unwrap();
        let mut text = Vec::new();
        while stream.read_buf(&mut text).await.is_ok_and(|n| n > 0) {
            while let Some(end) = text.iter().position(|b| b"\r\n".contains(b)) {
                let line = String::from_utf8_lossy(&text[..end]).into_owned();
                text.drain(..=end);
                if !line.is_empty() {
                    let _ = stream.write_all(answer(&line).as_bytes()).await;
                    lines.lock().unwrap().push(line);
                }
            }
        }
    });
    (port, heard)
}

fn talk(answer: fn(&str) -> &'static str, text: &str) -> (Vec<String>, Vec<String>) {
    run_blocking(async {
        let (port, heard) = filter(answer).await;
        let world = world(&format!("smtpd_proxy_filter = 127.0.0.1:{port}\n"));
        let (replies, _) = world.say(HERE, text).await;
        let heard = heard.lock().unwrap().clone();
        (replies, heard)
    })
}

#[test]
fn an_answer_to_something_else_is_no_yes() {
    // One reply too many: each answer after it belongs to the command before.
    let answer = |line: &str| match line.get(..4) {
        Some("RCPT") => "250 ok\r\n250 ok\r\n",
        Some("DATA") => "354 go on\r\n",
        Some("EHLO" | "MAIL") => "250 ok\r\n",
        _ => "",
    };
    let text = "EHLO pc\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<usuario@example.org>\r\nDATA\r\n";
    let (replies, heard) = talk(answer, text);
    assert_eq!(replies.last().map(|r| &r[..3]), Some("451"), "{replies:?} {heard:?}");
}

#[test]
fn the_last_word_is_yes_or_no() {
    let answer = |line: &str| match line {
        "DATA" | "." => "354 go on\r\n",
        line if ["EHLO", "MAIL", "RCPT"].iter().any(|verb| line.starts_with(verb)) => "250 ok\r\n",
        _ => "",
    };
    let text = "EHLO pc\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<usuario@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n";
    let (replies, heard) = talk(answer, text);
    assert_eq!(replies.last().map(|r| &r[..3]), Some("451"), "{replies:?} {heard:?}");
}

#[test]
fn nobody_else_speaks_to_the_filter() {
    let answer = |line: &str| if line.starts_with("DATA") { "354 go on\r\n" } else { "250 ok\r\n" };
    let text = "EHLO pc\r\nMAIL FROM:<\"a\rRCPT TO:<x@evil.org>\r\"@b.org>\r\nRCPT TO:<jose@example.org>\r\n\
                RSET\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<usuario@example.org>\r\nQUIT\r\n";
    let (replies, heard) = talk(answer, text);
    assert!(!heard.iter().any(|line| line.starts_with("RCPT TO:<x@evil.org>")), "{replies:?} {heard:?}");
}
