//! The mailbox writer and the readers of .forward and alias texts.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    local::fuzz::mbox(bytes, usize::from(step));
    local::fuzz::tokens(bytes);
});
