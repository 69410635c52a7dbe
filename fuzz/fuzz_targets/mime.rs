//! The MIME scanner and the conversion to seven bits: no panic, the same for any cut, and a conversion
//! that leaves nothing more to convert.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::mime::Limits;
use proto::mime::downgrade::{Downgrade, whole};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let limits = Limits { nesting: 4, boundary: 8, header: 200 };
    let (mut downgrade, mut pieces) = (Downgrade::new(limits), Vec::new());
    for piece in bytes.chunks(usize::from(step).max(1)) {
        downgrade.feed(piece, &mut pieces);
    }
    let ended = downgrade.finish(&mut pieces);
    match whole(bytes, limits) {
        Ok(out) => assert_eq!((ended, &out), (Ok(()), &pieces)),
        Err(fault) => assert_eq!(ended, Err(fault)),
    }
});
