//! Envelopes, states and heads of the queue: any bytes; what can be read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| queue::fuzz::records(bytes));
