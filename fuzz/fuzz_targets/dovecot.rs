//! What a Dovecot says of logins: no panic on any bytes, and the same lines however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use login::dovecot::wire::{Lines, read};

fn lines(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    let (mut lines, mut all) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.add(&piece);
        while let Ok(Some(line)) = lines.next_line() {
            all.push(format!("{:?}", read(&line)));
        }
    }
    all
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = lines(std::iter::once(bytes.to_vec()));
    let cut = lines(bytes.chunks(usize::from(step).max(1)).map(<[u8]>::to_vec));
    // A line that is too long ends the connection; where, depends on the cut.
    if bytes.len() <= login::dovecot::wire::LONGEST {
        assert_eq!(whole, cut);
    }
});
