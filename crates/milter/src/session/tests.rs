//! Filters at the other end of a socket: good ones, and such as break off, lie, or never end.

use super::*;
use crate::plan::Manner;
use config::Config;
use proto::milter::Decoder;
use proto::smtp::reply::Reply;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// What a filter answers to the so many-th event, and whether it then closes.
#[derive(Clone)]
enum Say {
    Bytes(Vec<u8>),
    Endless(Vec<u8>),
    Close,
    Nothing,
}

fn packet(letter: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put(&mut out, letter, &[data]);
    out
}

fn agree() -> Say {
    Say::Bytes(packet(b'O', &[6, 0x1ff, 0].map(u32::to_be_bytes).concat()))
}

fn go_on() -> Say {
    Say::Bytes(packet(b'c', b""))
}

/// Serves one connection; the letters that came are the result.
async fn serve(listener: UnixListener, mut script: Vec<Say>) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    script.reverse();
    let (mut decoder, mut seen, mut bytes) = (Decoder::default(), String::new(), vec![0; 70_000]);
    loop {
        while let Some(packet) = decoder.next_packet().unwrap() {
            seen.push(packet.letter as char);
            if b"DAQ".contains(&packet.letter) {
                continue;
            }
            match script.pop().unwrap_or_else(go_on) {
                Say::Bytes(bytes) => stream.write_all(&bytes).await.unwrap_or(()),
                Say::Endless(bytes) => while stream.write_all(&bytes.repeat(1000)).await.is_ok() {},
                Say::Close => return seen,
                Say::Nothing => {}
            }
        }
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return seen,
            Ok(n) => decoder.feed(&bytes[..n]),
        }
    }
}

struct Letter {
    content: Content,
    edits: Vec<Edit>,
    good: Vec<bool>,
}

impl Letter {
    fn new() -> Letter {
        let mut content = Content::new(&std::env::temp_dir());
        content.feed(b"Subject: x\r\nTo: y\r\n\r\n");
        content.feed(&b"0123456789abcde\r\n".repeat(10_000));
        content.finish();
        Letter { content, edits: Vec::new(), good: Vec::new() }
    }
}

impl Subject for Letter {
    fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    fn edit(&mut self, edit: Edit, _: bool) -> Result<(), &'static str> {
        self.edits.push(edit);
        Ok(())
    }

    fn settle(&mut self, good: bool) {
        self.good.push(good);
    }
}

fn place() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("valija-milter-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(name)
}

fn session(path: &Path, action: &str) -> Session {
    let text = format!("queue_directory = /\nmilter_default_action = {action}\nmilter_data_macros = i j\n");
    let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
    let manner = Arc::new(Manner::load(&config).unwrap());
    let plan = Plan::read_row(&format!("unix:{}", path.display()), &manner).unwrap().unwrap();
    Session::new(Arc::new(plan))
}

/// A whole session with a filter that follows `script`: what each step came to, what the filter saw, the log.
fn whole(action: &str, script: Vec<Say>) -> (Vec<Option<Word>>, Found, Letter, String, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let log = events::memory();
    let say = Source::new("postfix", "smtpd", 1);
    let path = place();
    let (words, found, letter, seen) = runtime.block_on(async {
        let listener = UnixListener::bind(&path).unwrap();
        let filter = tokio::spawn(serve(listener, script));
        let mut session = session(&path, action);
        session.macros.set("i", Some("A1".into()));
        let client = Client { name: "pc", ip: Some(IpAddr::from([192, 0, 2, 1])), port: 7 };
        let mut words = vec![session.connect(client, &say).await];
        words.push(session.helo("pc", &say).await);
        words.push(session.mail(&["<a@b>".into(), "SIZE=1".into()], &say).await);
        words.push(session.rcpt(&["<c@d>".into()], &say).await);
        words.push(session.data(&say).await);
        let mut letter = Letter::new();
        let found = session.content(&mut letter, &say).await;
        session.abort().await;
        session.quit().await;
        (words, found, letter, filter.await.unwrap())
    });
    let _ = std::fs::remove_file(&path);
    (words, found, letter, seen, log.take())
}

/// Answers of a filter to everything before the end of the message: offer, five commands, two headers, end of
/// header, three pieces of body.
fn until_end() -> Vec<Say> {
    let mut script = vec![agree()];
    script.extend(std::iter::repeat_with(go_on).take(11));
    script
}

fn tempfail() -> Option<Word> {
    Some(Word::Reply(Reply::new(451, "4.7.1 Service unavailable - try again later")))
}

#[test]
fn a_session_with_a_filter_that_only_changes_a_header() {
    let mut script = until_end();
    script.push(Say::Bytes([packet(b'h', b"X\0y\0"), packet(b'p', b""), packet(b'c', b"")].concat()));
    let (words, found, letter, seen, log) = whole("tempfail", script);
    assert!(words.iter().all(Option::is_none) && found == Found::default() && log.is_empty(), "{log:?}");
    assert_eq!(letter.edits, [Edit::Add { name: b"X".to_vec(), value: b"y".to_vec() }]);
    assert_eq!(letter.good, [true]);
    assert_eq!(seen, "ODCDHDMDRDTDLDLDNDBDBDBDEAQ");
}

#[test]
fn absent_filters() {
    for (action, expected) in [("accept", None), ("tempfail", tempfail()), ("quarantine", Some(Word::Hold))] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (log, say) = (events::memory(), Source::new("postfix", "smtpd", 1));
        let mut session = session(Path::new("/nowhere/at/all"), action);
        let client = Client { name: "pc", ip: None, port: 0 };
        assert_eq!(runtime.block_on(session.connect(client, &say)), expected, "{action}");
        assert_eq!(runtime.block_on(session.helo("pc", &say)), expected, "{action}");
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("connect to Milter service unix:/nowhere/at/all: No such file"),
            "{lines:?}"
        );
    }
}

#[test]
fn silence_is_awaited_for_a_time() {
    let (words, found, letter, _, log) = whole("tempfail", vec![agree(), go_on(), Say::Nothing]);
    assert_eq!((words[0].clone(), words[1].clone(), words[4].clone()), (None, tempfail(), tempfail()));
    assert!(log[0].contains("can't read SMFIC_HELO reply packet header: Connection timed out"), "{log:?}");
    assert_eq!((log.len(), found, letter.good.len()), (1, Found::default(), 1));
    let (words, _, _, _, log) = whole("accept", vec![Say::Nothing]);
    assert!(words.iter().all(Option::is_none));
    assert!(log[0].contains("can't read SMFIC_OPTNEG reply"), "{log:?}");
}

#[test]
fn one_that_dies_at_the_end_leaves_a_word() {
    let mut script = until_end();
    script.push(Say::Close);
    let (_, found, letter, _, log) = whole("tempfail", script);
    assert_eq!((found.word, letter.good), (tempfail(), vec![false]));
    assert!(log[0].contains("can't read SMFIC_BODYEOB reply packet header: Application error"), "{log:?}");
}

#[test]
fn what_never_ends_is_ended() {
    for (endless, what) in [
        (packet(b'p', b""), "too many requests for more time"),
        (packet(b'h', b"X\0y\0"), "too many changes"),
        (b"\xff\xff\xff\xffc".to_vec(), "unreasonable packet length"),
        (b"\0\0\0\0".to_vec(), "bad packet length: 0"),
    ] {
        let mut script = until_end();
        script.push(Say::Endless(endless));
        let (_, found, letter, _, log) = whole("tempfail", script);
        assert_eq!(found.word, tempfail(), "{what}");
        assert!(letter.edits.len() <= 50_000 && log.iter().any(|l| l.contains(what)), "{what}: {log:?}");
    }
}

#[test]
fn what_is_refused_is_not_told_any_more() {
    let refuse = || Say::Bytes(packet(b'y', b"554 5.7.1 Go\0"));
    let (words, _, _, seen, _) = whole("tempfail", vec![agree(), go_on(), go_on(), refuse()]);
    let word = Some(Word::Reply(Reply::new(554, "5.7.1 Go")));
    assert_eq!(words, [None, None, word.clone(), word.clone(), word]);
    assert_eq!(seen, "ODCDHDMAQ");
    let (words, _, _, seen, _) = whole("tempfail", vec![agree(), refuse()]);
    assert_eq!((words.iter().flatten().count(), seen.as_str()), (5, "ODC"));
}
