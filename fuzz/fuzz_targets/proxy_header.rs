//! PROXY protocol headers: any bytes come to an end, within the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::proxy::{Families, Step, read};

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (v4, v6, bytes) = input;
    let mut taken = 0;
    while let Step::More(more) = read(&bytes[..taken], Families { v4, v6 }) {
        assert!(more > 0 && taken + more <= 600);
        taken += more;
        if taken > bytes.len() {
            break;
        }
    }
});
