//! The record stream of postdrop and pickup: any bytes, cut anywhere, mean the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::record::{Decoder, Item, Walker};

fn walk(bytes: &[u8], step: usize) -> (Vec<String>, bool) {
    let (mut decoder, mut walker) = (Decoder::default(), Walker::new(true));
    let mut seen = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        decoder.feed(piece);
        while !walker.done() {
            match decoder.next_record() {
                Ok(None) => break,
                Err(fault) => {
                    seen.push(fault.to_string());
                    return (seen, false);
                }
                Ok(Some((kind, data))) => match walker.take(kind, data) {
                    Ok(Item::Text(text, ended)) => seen.push(format!("{} {ended}", text.len())),
                    Ok(item) => seen.push(format!("{item:?}")),
                    Err(fault) => {
                        seen.push(fault.to_string());
                        return (seen, false);
                    }
                },
            }
        }
    }
    (seen, walker.complete())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    assert_eq!(walk(bytes, usize::from(step)), walk(bytes, bytes.len()));
});
