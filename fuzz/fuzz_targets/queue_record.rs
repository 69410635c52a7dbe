//! See `queue_record` in `fuzz/targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("queue_record", bytes));
