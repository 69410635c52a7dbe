//! Every target on its seeds and on what was once found, so that `cargo test` proves that they run and that what was
//! mended stays so. A finding is a file in `fuzz/seeds/TARGET/` named `found-…`.

use fuzz_targets::{TARGETS, Target};
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(directory: &Path, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name"));
    names.filter_map(|name| name.strip_suffix(ending).map(String::from)).collect()
}

#[test]
fn each_target_has_a_program_and_seeds() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(known.len(), TARGETS.len(), "a name stands twice");
    let mut programs = names(&fuzz().join("fuzz_targets"), ".rs");
    assert!(programs.remove("any"), "the program with all targets");
    assert_eq!(programs, known, "fuzz/fuzz_targets");
    assert_eq!(names(&fuzz().join("seeds"), ""), known, "fuzz/seeds");
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    for name in &known {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not in fuzz/Cargo.toml");
        let program = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{name}.rs")));
        let program = program.expect("a program");
        assert!(program.contains(&format!("\"{name}\"")), "{name}: runs another target");
        assert!(!names(&fuzz().join("seeds").join(name), "").is_empty(), "{name} has no seed");
    }
}

#[test]
fn seeds_and_findings() {
    let (mut ran, mut failed) = (0, Vec::new());
    for (name, target) in TARGETS {
        let directory = fuzz().join("seeds").join(name);
        for file in names(&directory, "") {
            let bytes = fs::read(directory.join(&file)).expect("a seed");
            assert!(bytes.len() <= 64 << 10, "{name}/{file}: seeds are small");
            if catch_unwind(|| all_of_it(*target, &bytes)).is_err() {
                failed.push(format!("{name}/{file}"));
            }
            ran += 1;
        }
        target(b"");
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert!(ran >= 2 * TARGETS.len(), "too few seeds: {ran}");
}

/// The seed, and what damage makes of it: cut short, a bit flipped here and there, doubled.
fn all_of_it(target: Target, bytes: &[u8]) {
    target(bytes);
    for part in 1..8 {
        target(&bytes[..bytes.len() * part / 8]);
        let mut damaged = bytes.to_vec();
        if let Some(byte) = damaged.get_mut(bytes.len() * part / 8) {
            *byte ^= 1 << part;
        }
        target(&damaged);
    }
    target(&[bytes, bytes].concat());
}
