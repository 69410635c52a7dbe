//! All targets in one program, which is linked once: the variable VALIJA_FUZZ names the one that runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static NAME: LazyLock<String> =
    LazyLock::new(|| std::env::var("VALIJA_FUZZ").expect("VALIJA_FUZZ names a target: smtp_server, …"));

fuzz_target!(|bytes: &[u8]| fuzz_targets::run(&NAME, bytes));
