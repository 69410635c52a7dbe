//! Plays `dialogues/*.smtp` against the pure SMTP server machine: `C:` lines are sent, `S:` lines
//! expected; `S: 250*` stands for any lines of one reply. A last line `# ehlo=1 … commands=5` are
//! the expected counts. Unknown users are those named `nobody`.

use proto::smtp::reply::Reply;
use proto::smtp::server::{Decision, Event, Session, Settings};
use std::path::Path;

fn drive(session: &mut Session) {
    loop {
        let unknown = |name: String| {
            Decision::Reply(Reply::new(
                550,
                format!("5.1.1 <{name}>: Recipient address rejected: User unknown"),
            ))
        };
        let decision = match session.next_event() {
            None => return,
            Some(Event::Rcpt(r)) if r.recipient.local() == "nobody" => unknown(r.recipient.internal()),
            Some(Event::Vrfy(_, a)) if a.local() == "nobody" => unknown(a.internal()),
            Some(Event::EndOfMessage { chunked, size }) => {
                let bytes = if chunked { format!(" {size} bytes") } else { String::new() };
                Decision::Reply(Reply::new(250, format!("2.0.0 Ok:{bytes} queued as 1")))
            }
            Some(Event::Etrn(d)) => Decision::Reply(Reply::new(459, format!("<{d}>: service unavailable"))),
            Some(event) if event.wants_answer() => Decision::Accept,
            Some(_) => continue,
        };
        session.answer(decision);
    }
}

fn play(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let settings =
        Settings { hostname: "mx.example.org".into(), xclient: true, xforward: true, ..Settings::default() };
    let mut session = Session::new(settings);
    session.greet(&Reply::new(220, "mx.example.org ESMTP"));
    let mut heard: Vec<String> = Vec::new();
    let mut at = 0;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), number + 1);
        let output = String::from_utf8(session.output().to_vec()).unwrap();
        heard.extend(output.lines().map(str::to_string));
        session.sent();
        if let Some(say) = line.strip_prefix("C: ").or(line.strip_prefix("C:")) {
            assert_eq!(heard.get(at), None, "{place}: not expected");
            session.receive(format!("{say}\r\n").as_bytes());
            drive(&mut session);
        } else if let Some(code) = line.strip_prefix("S: ").and_then(|l| l.strip_suffix('*')) {
            assert!(heard.get(at).is_some_and(|l| l.starts_with(code)), "{place}");
            at = heard.len();
        } else if let Some(expected) = line.strip_prefix("S: ") {
            assert_eq!(heard.get(at).map(String::as_str), Some(expected), "{place}");
            at += 1;
        } else if let Some(counts) = line.strip_prefix("# ").filter(|l| l.contains(" commands=")) {
            assert_eq!(session.counts(), counts, "{place}");
        } else {
            assert!(line.starts_with('#') || line.is_empty(), "{place}: {line:?}");
        }
    }
    assert!(session.output().is_empty() && heard.len() == at, "{}: more was said", file.display());
}

#[test]
fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6);
    files.iter().for_each(|file| play(file));
}
