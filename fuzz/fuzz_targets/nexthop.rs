//! Next hops as administrators write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::route::{Protocol, list, parse};

fuzz_target!(|text: &str| {
    for one in list(text) {
        let _ = parse(one, Protocol::Smtp, 25);
        let _ = parse(one, Protocol::Lmtp, 24);
    }
});
