//! The rules of the house, held by tests: who may use whom, where unsafe code may stand, how files look, what is declared
//! and used. Each rule is a function from texts to complaints, tried on a text that breaks it before the repository is
//! looked at: a rule that cannot fail is none.

mod files;
mod graph;
mod holes;
mod params;
mod reference;
mod rfc;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// A file of the repository.
struct Source {
    path: String,
    text: String,
}

/// All text files that git knows or would take up.
fn sources() -> Vec<Source> {
    let list = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .expect("git lists the files");
    assert!(list.status.success(), "git ls-files: {}", String::from_utf8_lossy(&list.stderr));
    String::from_utf8_lossy(&list.stdout)
        .split('\0')
        .filter(|path| !path.is_empty())
        .filter_map(|path| {
            let text = std::fs::read(root().join(path)).ok()?;
            Some(Source { path: path.to_string(), text: String::from_utf8(text).ok()? })
        })
        .collect()
}

/// The Rust files among them.
fn rust() -> Vec<Source> {
    let found: Vec<Source> = sources().into_iter().filter(|source| source.path.ends_with(".rs")).collect();
    assert!(found.len() > 50, "only {} Rust files were found", found.len());
    found
}

/// Fails with all complaints.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The code of a line: without its comment and without the contents of its strings.
fn code(line: &str) -> String {
    let mut out = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = characters.next() {
        match c {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            c if !in_string => out.push(c),
            _ => {}
        }
    }
    out
}

/// Whether `word` stands in `text` as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !part_of_word(text[..at].chars().next_back()) && !part_of_word(text[at + word.len()..].chars().next())
    })
}

#[test]
fn code_is_told_from_comments_and_strings() {
    assert_eq!(code(r#"let a = "x // \" y"; // unsafe"#), "let a = ; ");
    assert!(has_word("a unsafe {", "unsafe"));
    assert!(!has_word("unsafe_code", "unsafe"));
}
