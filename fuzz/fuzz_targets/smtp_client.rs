//! The SMTP client's machines: no panic on any server, each recipient ends with a result, and nobody's
//! content is altered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::Address;
use proto::smtp::client::{Fate, Features, Keywords, Mail, Rcpt, Replies, Stuffer, Transaction, Want};

fuzz_target!(|input: (u8, bool, bool, &[u8], &[u8])| {
    let (cut, pipelining, lmtp, said, content) = input;
    let cut = usize::from(cut).max(1);
    let rcpts: Vec<Rcpt> =
        ["a@x", "b@x"].map(|a| Rcpt { address: Address::from_internal(a), ..Rcpt::default() }).to_vec();
    let features = Features { pipelining, ..Features::default() };
    let mut transaction = Transaction::new(&Mail::default(), &rcpts, &features, lmtp);
    let (mut replies, mut out) = (Replies::default(), Vec::new());
    for piece in said.chunks(cut) {
        replies.receive(piece);
        while let Ok(Some(answer)) = replies.next_answer(pipelining, true) {
            let _ = Features::extended(&answer, &Keywords::default());
            match transaction.next(&mut out) {
                Want::Content => transaction.content_ends(),
                Want::Done => break,
                Want::Answer(_) => {}
            }
            transaction.answer(answer, &mut out);
        }
    }
    if transaction.next(&mut out) == Want::Done {
        assert!(transaction.fates().iter().all(|f| matches!(f, Fate::Sent(_) | Fate::Refused(..))));
    }
    let write = |cut: usize| {
        let (mut stuffer, mut wire) = (Stuffer::new(20), Vec::new());
        for piece in content.chunks(cut) {
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
});
