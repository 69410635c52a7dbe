//! State logs: all that was written is found, and damage leads nowhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<u8>, usize)| {
    let (payloads, tail, flip) = input;
    queue::fuzz::state_log(&payloads, &tail, flip);
});
