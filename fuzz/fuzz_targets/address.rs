//! Addresses as clients write them: what is read and shown reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::address::parse::{Rules, envelope};

fuzz_target!(|input: (bool, bool, &str)| {
    let (strict, utf8, text) = input;
    if let Ok(address) = envelope(text, Rules { strict, utf8 }) {
        assert_eq!(envelope(&format!("<{address}>"), Rules { strict: false, utf8 }), Ok(address));
    }
});
