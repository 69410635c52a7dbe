//! How files look: `unsafe` in one crate only, size, the first line, no unfinished work, nothing of the workshop.

use crate::{Source, code, has_word, none, rust, sources};

fn unsafe_elsewhere(file: &Source) -> Vec<String> {
    if file.path.starts_with("crates/sys/") {
        return Vec::new();
    }
    complaints(file, "unsafe code belongs into crates/sys", |line| has_word(&code(line), "unsafe"))
}

fn unsafe_without_reason(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = code(line);
        let block =
            has_word(&code, "unsafe") && !code.contains("unsafe fn") && !code.contains("unsafe extern");
        let before = &lines[number.saturating_sub(6)..=number];
        if block && !before.iter().any(|line| line.contains("// SAFETY:")) {
            found.push(format!("{}:{}: unsafe without `// SAFETY:`", file.path, number + 1));
        }
    }
    found
}

fn too_long(file: &Source) -> Vec<String> {
    let length = file.text.lines().count();
    if length < 800 {
        Vec::new()
    } else {
        vec![format!("{}: {length} lines; split it before 800", file.path)]
    }
}

fn without_introduction(file: &Source) -> Vec<String> {
    let first = file.text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}: begins with {first:?} instead of `//!` and what the file holds", file.path)]
}

fn unfinished(file: &Source) -> Vec<String> {
    complaints(file, "unfinished work", |line| {
        let macros = ["todo!", "unimplemented!"].iter().any(|word| code(line).contains(word));
        let marks = ["TODO", "FIXME", "XXX", "HACK"].iter().any(|word| has_word(line, word));
        macros || marks
    })
}

/// Names of the machine on which the project was written. They are put together here, so that this file has none.
fn of_the_workshop(file: &Source) -> Vec<String> {
    let forbidden = [
        ["/wo", "rk/"].concat(),
        ["/var/tmp/", "vd"].concat(),
        ["/wo", "rk\""].concat(),
        ["/wo", "rk`"].concat(),
    ];
    complaints(file, "names a place of the workshop", |line| {
        forbidden.iter().any(|word| {
            line.match_indices(word.as_str()).any(|(at, _)| {
                // A path that only contains such a folder is another one.
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~$}".contains(c))
            })
        })
    })
}

fn complaints(file: &Source, what: &str, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| wrong(line));
    lines.map(|(number, line)| format!("{}:{}: {what}: {}", file.path, number + 1, line.trim())).collect()
}

fn sample(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

#[test]
fn only_sys_has_unsafe_code() {
    assert_eq!(unsafe_elsewhere(&sample("crates/queue/src/a.rs", "//! a\nunsafe { b() }\n")).len(), 1);
    assert_eq!(
        unsafe_elsewhere(&sample("crates/queue/src/a.rs", "//! unsafe\n#![forbid(unsafe_code)]\n")).len(),
        0
    );
    none(rust().iter().flat_map(unsafe_elsewhere).collect());
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    assert_eq!(unsafe_without_reason(&sample("a.rs", "//! a\nunsafe { b() }\n")).len(), 1);
    assert_eq!(
        unsafe_without_reason(&sample("a.rs", "// SAFETY: b needs nothing.\nunsafe { b() }\n")).len(),
        0
    );
    none(rust().iter().flat_map(unsafe_without_reason).collect());
}

#[test]
fn files_stay_below_800_lines() {
    assert_eq!(too_long(&sample("a.rs", &"x\n".repeat(800))).len(), 1);
    none(rust().iter().flat_map(too_long).collect());
}

#[test]
fn files_begin_with_what_they_hold() {
    assert_eq!(without_introduction(&sample("a.rs", "use std::fs;\n")).len(), 1);
    none(rust().iter().flat_map(without_introduction).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    for bad in ["// TODO: later", "    unimplemented!()", "todo!(\"x\")"] {
        assert_eq!(unfinished(&sample("a.rs", bad)).len(), 1, "{bad}");
    }
    none(rust().iter().filter(|file| !file.path.starts_with("tests/house/")).flat_map(unfinished).collect());
}

#[test]
fn nothing_names_the_workshop() {
    let bad = ["see /wo", "rk/shared"].concat();
    assert_eq!(of_the_workshop(&sample("a.rs", &bad)).len(), 1);
    assert_eq!(of_the_workshop(&sample("a.rs", "target/work/x /srv/work/y")).len(), 0);
    none(sources().iter().flat_map(of_the_workshop).collect());
}

fn half_merged(file: &Source) -> Vec<String> {
    complaints(file, "two versions stand side by side", |line| {
        line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ")
    })
}

#[test]
fn no_merge_is_half_done() {
    for (bad, faults) in [("a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> 1234 (why)\n", 2), ("a <<<<<<< b\n", 0)] {
        assert_eq!(half_merged(&sample("a.md", bad)).len(), faults);
    }
    none(
        sources()
            .iter()
            .filter(|file| !file.path.starts_with("tests/house/"))
            .flat_map(half_merged)
            .collect(),
    );
}
