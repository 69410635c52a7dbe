//! Content of DATA: nothing but CRLF.CRLF ends it, and every LF that comes out follows a CR.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::smtp::data::{BareNewline, Receiver, Step};

fuzz_target!(|input: &[u8]| {
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
});
