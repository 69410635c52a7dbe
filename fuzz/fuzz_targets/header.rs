//! The header scanner: no panic, nothing of the body lost, no field beyond its limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::header::{Part, Scanner};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let mut scanner = Scanner::new(100);
    let mut ended = 0;
    let mut tell = |part: Part<'_>| match part {
        Part::Field(field) => assert!(field.raw().len() <= 100),
        Part::EndOfHeader { .. } => ended += 1,
        Part::Body(_) => {}
    };
    for piece in bytes.chunks(usize::from(step).max(1)) {
        scanner.feed(piece, &mut tell);
    }
    scanner.finish(&mut tell);
    assert_eq!(ended, 1);
});
