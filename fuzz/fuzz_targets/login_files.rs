//! See `login_files` in `fuzz/targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::run("login_files", bytes));
