//! Tests of `bdb`.

use super::*;
use proptest::prelude::*;

const HASH: &[u8] = include_bytes!("../../tests/fixtures/hash.db");
const BTREE: &[u8] = include_bytes!("../../tests/fixtures/btree.db");

fn expect(bytes: &[u8]) {
    let rows = rows(bytes).unwrap();
    assert_eq!(rows.len(), 62);
    let find = |key: &[u8]| {
        let end = |b: &[u8]| b.strip_suffix(b"\0").unwrap_or(b).to_vec();
        rows.iter().find(|(k, _)| end(k) == key).map(|(_, v)| end(v)).unwrap()
    };
    assert_eq!(find(b"key7@example.org"), b"value7");
    assert_eq!(find(b"big"), vec![b'x'; 9000]);
    assert_eq!(find(&[b'k'; 5000]), b"bigkey");
}

#[test]
fn files_made_by_postmap_with_long_rows() {
    expect(HASH);
    expect(BTREE);
}

/// The same btree as a machine of the other byte order writes it.
#[test]
fn the_other_byte_order() {
    let page = u32::from_le_bytes(BTREE[20..24].try_into().unwrap()) as usize;
    let mut bytes = BTREE.to_vec();
    let swap = |b: &mut [u8], at: usize, n: usize| b[at..at + n].reverse();
    for at in (8..24).step_by(4) {
        swap(&mut bytes, at, 4);
    }
    for start in (page..BTREE.len()).step_by(page) {
        let (old, new) = (&BTREE[start..start + page], &mut bytes[start..start + page]);
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([old[at], old[at + 1]]));
        for at in [8, 12, 16] {
            swap(new, at, 4);
        }
        swap(new, 20, 2);
        swap(new, 22, 2);
        if old[25] == 5 {
            for i in 0..u16_at(20) {
                let item = u16_at(26 + 2 * i);
                swap(new, 26 + 2 * i, 2);
                match old[item + 2] {
                    3 => [4, 8].iter().for_each(|n| swap(new, item + n, 4)),
                    _ => swap(new, item, 2),
                }
            }
        }
    }
    expect(&bytes);
}

#[test]
fn what_is_no_such_file_is_refused() {
    for bytes in [&b""[..], b"text\n", &[0; 4096], &HASH[..100], &HASH[..HASH.len() - 1]] {
        assert!(rows(bytes).is_err() || bytes.len() == 100);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = rows(&bytes);
    }

    #[test]
    fn damaged_files_do_no_harm(
        hash in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = if hash { HASH } else { BTREE }.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = rows(&bytes);
    }

    #[test]
    fn damaged_headers_do_no_harm(at in 0usize..100, byte in any::<u8>(), page in 0usize..8, near in 0usize..64) {
        let mut bytes = BTREE.to_vec();
        bytes[at] = byte;
        let item = page * 4096 + near;
        if item < bytes.len() {
            bytes[item] = byte;
        }
        let _ = rows(&bytes);
    }
}
