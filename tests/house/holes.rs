//! `docs/known-holes.md` names what shows each of its claims: it must exist.

use crate::root;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The words between backquotes in the last column of each row, with the row's line.
fn named(text: &str) -> Vec<(usize, Vec<&str>)> {
    let rows =
        text.lines().enumerate().filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| hole "));
    let cells = rows.map(|(number, line)| {
        let last = line.trim_end().trim_end_matches('|').rsplit(" | ").next().unwrap_or_default();
        (number + 1, last.split('`').skip(1).step_by(2).collect())
    });
    cells.collect()
}

/// `crate::name` of each test in this text.
fn tests_of(owner: &str, text: &str, found: &mut HashSet<String>) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        if !line.starts_with("#[test") && !line.starts_with("#[tokio::test") {
            continue;
        }
        let after = lines.iter().skip(at + 1).find(|l| l.contains("fn "));
        let name = after.and_then(|l| l.split("fn ").nth(1)).and_then(|l| l.split(['(', '<']).next());
        found.extend(name.map(|name| format!("{owner}::{name}")));
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" && entry.file_name() != "scenarios" {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// All tests: those of a crate under its name, those of `tests/X` under X.
fn all_tests() -> HashSet<String> {
    let mut found = HashSet::new();
    for top in ["crates", "tests"] {
        let top = root().join(top);
        let mut files = Vec::new();
        sources(&top, &mut files);
        for path in files {
            let owner = path.strip_prefix(&top).ok().and_then(|p| p.components().next());
            let owner = owner.map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
            tests_of(&owner, &fs::read_to_string(&path).unwrap(), &mut found);
        }
    }
    found
}

fn exists(name: &str, tests: &HashSet<String>) -> bool {
    match name.split_once('/') {
        _ if name.contains("::") => tests.contains(name),
        Some(("fuzz", target)) => root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists(),
        Some(_) => root().join("tests/scenarios").join(name).join("steps").exists(),
        None => false,
    }
}

#[test]
fn each_known_hole_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/known-holes.md")).unwrap();
    let tests = all_tests();
    let rows = named(&text);
    assert!(rows.len() > 40, "the rows were not found");
    let mut faults = Vec::new();
    for (line, names) in rows {
        if names.is_empty() {
            faults.push(format!("docs/known-holes.md, line {line}: no test is named"));
        }
        for name in names.into_iter().filter(|name| !exists(name, &tests)) {
            faults.push(format!("docs/known-holes.md, line {line}: there is no {name}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_does_not_exist_is_found_missing() {
    let rows = named(
        "| hole | answer | shown by |\n| a `x` | b | `smtpd/smuggling` `proto::no_such` |\n| c | d | e |\n",
    );
    assert_eq!(rows, [(2, vec!["smtpd/smuggling", "proto::no_such"]), (3, vec![])]);
    let mut found = HashSet::new();
    tests_of(
        "x",
        "#[test]\n#[ignore]\nfn one() {}\nfn two() {}\n#[tokio::test(start_paused = true)]\nasync fn three() {}",
        &mut found,
    );
    assert_eq!(found, ["x::one", "x::three"].map(String::from).into());
    assert!(exists("smtpd/smuggling", &found) && exists("x::one", &found));
    assert!(!exists("smtpd/none", &found) && !exists("x::two", &found) && !exists("fuzz/none", &found));
}

/// What is never unpacked cannot explode: none of the libraries that do so is linked, not even by way of another one.
#[test]
fn nothing_is_decompressed() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages: HashSet<&str> = lock.lines().filter_map(|l| l.strip_prefix("name = ")).collect();
    assert!(packages.contains("\"rustls\""));
    for name in
        ["flate2", "miniz_oxide", "zstd", "brotli", "bzip2", "lz4", "xz2", "zip", "libz-sys", "zlib-rs"]
    {
        assert!(!packages.contains(format!("{name:?}").as_str()), "{name} is linked");
    }
}
