//! The machines of SMTP and LMTP, without a network below them.

use crate::{first, pieces, text, two};
use proto::Address;
use proto::smtp::chunk::{Chunks, arguments};
use proto::smtp::client::{
    Fate, Features, Handshake, Keywords, Mail, Manner, Rcpt, Replies, Step as Said, Stuffer, Transaction,
    Want,
};
use proto::smtp::data::{BareNewline, Receiver, Step};
use proto::smtp::reply::Reply;
use proto::smtp::server::{Auth, Decision, Event, Session, Settings};

/// What a session came to.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    output: Vec<u8>,
    content: Vec<u8>,
    counts: String,
    messages: u32,
}

fn session<'a>(pieces: impl Iterator<Item = &'a [u8]>, kind: u8) -> Came {
    let auth = Auth { offered: "PLAIN".into(), old_syntax: kind & 1 != 0, response_limit: 100 };
    let settings = Settings {
        xclient: kind & 2 != 0,
        xforward: kind & 2 != 0,
        auth: Some(auth),
        helo_required: kind & 4 != 0,
        strict_rfc821_envelopes: kind & 4 != 0,
        size_limit: if kind & 8 != 0 { 50 } else { 10_240_000 },
        recipient_limit: if kind & 8 != 0 { 2 } else { 1000 },
        recipient_overshoot_limit: if kind & 8 != 0 { 1 } else { 1000 },
        bare_newline: if kind & 16 != 0 { BareNewline::Reject } else { BareNewline::Normalize },
        line_limit: if kind & 32 != 0 { 40 } else { 2048 },
        smtputf8: kind & 64 == 0,
        disable_vrfy: kind & 64 != 0,
        hard_error_limit: if kind & 128 != 0 { 3 } else { 1000 },
        ..Settings::default()
    };
    let (size_limit, recipient_limit) = (settings.size_limit, settings.recipient_limit);
    let mut greeted = !settings.helo_required;
    let (mut mailed, mut began, mut closed) = (false, 0, false);
    let mut session = Session::new(settings);
    let (mut content, mut accepted, mut messages) = (Vec::new(), 0, 0);
    for piece in pieces {
        session.receive(piece);
        loop {
            let decision = match session.next_event() {
                None => break,
                Some(Event::Content(bytes)) => {
                    content.extend_from_slice(bytes);
                    continue;
                }
                Some(Event::Helo { .. }) => {
                    greeted = true;
                    Decision::Accept
                }
                Some(Event::Rcpt(r)) if r.recipient.local().len() > 5 => {
                    assert!(mailed && !closed, "a recipient without a sender");
                    Decision::Reply(Reply::new(550, "5.1.1 no"))
                }
                Some(Event::Auth { initial: None, .. }) => Decision::Reply(Reply::new(334, "")),
                Some(Event::AuthResponse(text)) if text.len() % 3 == 0 => {
                    Decision::Reply(Reply::new(334, ""))
                }
                Some(Event::Rcpt(_)) => {
                    assert!(mailed && !closed, "a recipient without a sender");
                    accepted += 1;
                    assert!(accepted <= recipient_limit, "more recipients than may be");
                    Decision::Accept
                }
                Some(Event::Mail(mail)) => {
                    assert!(greeted && !mailed && !closed, "a sender where none may be");
                    assert!(!mail.sender.to_string().contains(['\r', '\n', '\0']), "{}", mail.sender);
                    (accepted, mailed) = (0, true);
                    Decision::Accept
                }
                Some(Event::Data { .. }) => {
                    assert!(mailed && accepted > 0 && !closed, "content of nothing, or for nobody");
                    began = content.len();
                    Decision::Accept
                }
                Some(Event::EndOfMessage { size, .. }) => {
                    assert!(accepted > 0 && mailed, "a message without a recipient");
                    assert!(size <= size_limit, "longer than may be");
                    assert_eq!(size, (content.len() - began) as u64, "not all of it was told");
                    (accepted, messages, mailed) = (0, messages + 1, false);
                    Decision::Accept
                }
                Some(Event::Abort) => {
                    (accepted, mailed) = (0, false);
                    continue;
                }
                Some(Event::Close(_)) => {
                    closed = true;
                    continue;
                }
                Some(event) if event.wants_answer() => Decision::Accept,
                Some(_) => continue,
            };
            session.answer(decision);
        }
    }
    let output = session.output().to_vec();
    for line in output.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
        assert!(line.ends_with(b"\r\n") && line.len() >= 5, "{}", text(line));
        assert!(line[..3].iter().all(u8::is_ascii_digit) && b" -\r".contains(&line[3]), "{}", text(line));
        assert!(line.len() <= 4096 && !line[..line.len() - 2].contains(&b'\r'), "{}", text(line));
    }
    Came { output, content, counts: session.counts(), messages }
}

/// A client: the same comes of what it says however it arrives, and every reply is one.
pub fn server(bytes: &[u8]) {
    let (kind, rest) = first(bytes);
    let (step, said) = first(rest);
    let whole = session(std::iter::once(said), kind);
    assert_eq!(session(pieces(said, step.max(1)), kind), whole);
}

/// Content of DATA: nothing but CRLF.CRLF ends it, and every LF that comes out follows a CR.
pub fn data(input: &[u8]) {
    let mut receiver = Receiver::data(BareNewline::Normalize);
    let (mut at, mut out) = (0, Vec::new());
    let end = loop {
        let (used, step) = receiver.next(&input[at..]);
        at += used;
        match step {
            Step::Text(text) => out.extend_from_slice(text),
            Step::Added(text) => out.extend_from_slice(text),
            Step::End => break Some(at),
            Step::More => break None,
        }
    };
    let whole = [b"\r\n", input].concat();
    let expected = whole.windows(5).position(|w| w == b"\r\n.\r\n").map(|at| at + 3);
    assert_eq!(end, expected);
    assert!(out.iter().enumerate().all(|(i, b)| *b != b'\n' || (i > 0 && out[i - 1] == b'\r')));
}

/// BDAT: a chunk is as long as it says, and content comes out the same however it is cut.
pub fn chunks(bytes: &[u8]) {
    let (size, rest) = first(bytes);
    let (step, input) = first(rest);
    let _ = arguments(&text(input));
    let run = |step: u8| {
        let mut chunks = Chunks::new(BareNewline::Normalize);
        let mut out = Vec::new();
        for chunk in input.chunks(usize::from(size).max(1)) {
            chunks.begin(chunk.len() as u64);
            let mut ended = false;
            for piece in pieces(chunk, step) {
                let mut at = 0;
                loop {
                    let (used, step) = chunks.next(&piece[at..]);
                    at += used;
                    match step {
                        Step::Text(text) => out.extend_from_slice(text),
                        Step::Added(text) => out.extend_from_slice(text),
                        Step::End => {
                            ended = true;
                            break;
                        }
                        Step::More => break,
                    }
                }
                assert_eq!(at, piece.len(), "a chunk ended early");
            }
            assert!(ended, "a chunk did not end");
        }
        out.extend_from_slice(chunks.finish());
        (out, chunks.size())
    };
    let (out, size) = run(0);
    assert_eq!(size, out.len() as u64);
    assert!(out.iter().enumerate().all(|(i, b)| *b != b'\n' || (i > 0 && out[i - 1] == b'\r')));
    assert_eq!(run(step).0, out);
}

/// A server, of SMTP or LMTP: each recipient ends with one result, and nobody's content is altered.
pub fn client(bytes: &[u8]) {
    let (kind, rest) = first(bytes);
    let (cut, rest) = first(rest);
    let (said, content) = two(rest);
    let (pipelining, lmtp) = (kind & 1 != 0, kind & 2 != 0);
    handshake(said, cut);
    let rcpts: Vec<Rcpt> =
        ["a@x", "b@x"].map(|a| Rcpt { address: Address::from_internal(a), ..Rcpt::default() }).to_vec();
    let features = Features { pipelining, ..Features::default() };
    let mut transaction = Transaction::new(&Mail::default(), &rcpts, &features, lmtp);
    let (mut replies, mut out) = (Replies::default(), Vec::new());
    let (mut answers, mut contents) = (0, 0);
    'all: for piece in pieces(said, cut) {
        replies.receive(piece);
        loop {
            let answer = match replies.next_answer(pipelining, true) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(_) => break 'all,
            };
            assert!(answer.code <= 999, "{}", answer.code);
            let _ = Features::extended(&answer, &Keywords::default());
            answers += 1;
            loop {
                match transaction.next(&mut out) {
                    Want::Content => {
                        contents += 1;
                        transaction.content_ends();
                    }
                    Want::Done => break 'all,
                    Want::Answer(_) => break,
                }
            }
            transaction.answer(answer, &mut out);
        }
    }
    assert!(contents <= 1, "content was sent twice");
    if transaction.next(&mut out) == Want::Done {
        let fates = transaction.fates();
        assert!(fates.iter().all(|f| matches!(f, Fate::Sent(_) | Fate::Refused(..))));
        assert!(contents == 1 || !fates.iter().any(|f| matches!(f, Fate::Sent(_))), "sent, without content");
    }
    // Commands are bounded by what was asked, whatever is answered.
    assert!(out.len() < 2000 && answers <= said.len());
    stuffing(content, cut);
}

fn handshake(said: &[u8], cut: u8) {
    let mut handshake = Handshake::new(Manner::default());
    let mut replies = Replies::default();
    let mut lines = 0;
    for piece in pieces(said, cut) {
        replies.receive(piece);
        while let Ok(Some(answer)) = replies.next_answer(false, true) {
            match handshake.answer(answer) {
                Said::Say(line) => {
                    lines += 1;
                    assert!(lines <= 3 && line.ends_with("\r\n") && line.matches('\n').count() == 1);
                }
                Said::Ready(_) | Said::Refused(_) => return,
            }
        }
    }
}

fn stuffing(content: &[u8], cut: u8) {
    let write = |cut: u8| {
        let (mut stuffer, mut wire) = (Stuffer::new(20), Vec::new());
        for piece in pieces(content, cut) {
            let mut parts = Vec::new();
            stuffer.feed(piece, &mut parts);
            wire.extend(parts.concat());
        }
        let mut parts = Vec::new();
        stuffer.finish(&mut parts);
        wire.extend(parts.concat());
        wire
    };
    let wire = write(cut);
    let end = wire.windows(5).position(|w| w == b"\r\n.\r\n");
    assert!(wire == b".\r\n" || end == Some(wire.len() - 5), "an early end, or none");
    // Of what is in lines already nothing is lost on the way: the server reads what was sent.
    let lines = content.split_inclusive(|b| *b == b'\n');
    if lines.clone().all(|l| l.len() <= 20 && l.ends_with(b"\r\n") && !l[..l.len() - 2].contains(&b'\r')) {
        let mut receiver = Receiver::data(BareNewline::Normalize);
        let (mut at, mut read) = (0, Vec::new());
        loop {
            let (used, step) = receiver.next(&wire[at..]);
            at += used;
            match step {
                Step::Text(text) => read.extend_from_slice(text),
                Step::Added(text) => read.extend_from_slice(text),
                Step::End => break,
                Step::More => panic!("no end"),
            }
        }
        assert_eq!((at, text(&read)), (wire.len(), text(content)));
    }
}
