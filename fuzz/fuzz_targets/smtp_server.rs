//! The SMTP server machine: no panic on any bytes, and output does not depend on how they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::smtp::reply::Reply;
use proto::smtp::server::{Auth, Decision, Event, Session, Settings};

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<u8>, String) {
    let auth = Auth { offered: "PLAIN".into(), old_syntax: false, response_limit: 100 };
    let settings = Settings {
        xclient: true,
        xforward: true,
        hard_error_limit: 1000,
        auth: Some(auth),
        ..Settings::default()
    };
    let mut session = Session::new(settings);
    let mut content = Vec::new();
    for piece in pieces {
        session.receive(piece);
        loop {
            let decision = match session.next_event() {
                None => break,
                Some(Event::Content(bytes)) => {
                    content.extend_from_slice(bytes);
                    continue;
                }
                Some(Event::Rcpt(r)) if r.recipient.local().len() > 5 => {
                    Decision::Reply(Reply::new(550, "5.1.1 no"))
                }
                Some(Event::Auth { initial: None, .. }) => Decision::Reply(Reply::new(334, "")),
                Some(Event::AuthResponse(text)) if text.len() % 3 == 0 => Decision::Reply(Reply::new(334, "")),
                Some(event) if event.wants_answer() => Decision::Accept,
                Some(_) => continue,
            };
            session.answer(decision);
        }
    }
    (session.output().to_vec(), content, session.counts())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = run(std::iter::once(bytes));
    assert_eq!(run(bytes.chunks(usize::from(step).max(1))), whole);
});
