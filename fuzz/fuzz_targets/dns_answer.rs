//! Answers of name servers and questions to ours: whatever comes, nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::dns::{Kind, Zone, meaning_of};

fuzz_target!(|input: (&str, &[u8])| {
    let (zone, bytes) = input;
    for kind in [Kind::A, Kind::Mx, Kind::Txt, Kind::Ptr, Kind::Tlsa] {
        meaning_of(bytes, "mail.example.org", kind);
    }
    if let Ok(zone) = Zone::parse(zone)
        && let Some(answer) = zone.respond(bytes, false)
    {
        assert!(answer.len() <= 4096);
    }
});
