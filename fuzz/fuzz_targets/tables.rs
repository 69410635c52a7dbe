//! Compiled tables and the texts of tables: any bytes are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tables::{Grammar, bdb, cdb, text};

fuzz_target!(|bytes: &[u8]| {
    let _ = bdb::rows(bytes);
    if cdb::is_sound(bytes) {
        let _ = cdb::records(bytes).count();
    }
    let _ = cdb::get(bytes, b"key");
    for grammar in [Grammar::Map, Grammar::Alias, Grammar::Auto] {
        let _ = text::parse(bytes, grammar);
    }
});
