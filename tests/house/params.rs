//! Parameters: each is declared once, known in one place, and asked for by whoever obeys it.

use crate::{Source, has_word, none, rust, sources};
use regex::Regex;
use std::collections::BTreeSet;

/// A declaration: the accessor's name, and Postfix's if it differs.
fn declared(file: &Source) -> Vec<(String, String)> {
    let line = Regex::new(r#"(?m)^\s+([a-z0-9_]+)(?: as "([a-z0-9_]+)")?\s*:\s*[A-Za-z:<>]+\s*=\s*"#)
        .expect("a pattern");
    let groups = file.text.split("params! {").skip(1);
    groups
        .map(|body| body.split("\n}\n").next().unwrap_or(body))
        .flat_map(|body| line.captures_iter(body))
        .map(|found| {
            let accessor = found[1].to_string();
            let public = found.get(2).map_or_else(|| accessor.clone(), |name| name.as_str().to_string());
            (accessor, public)
        })
        .collect()
}

fn is_declaration(file: &Source) -> bool {
    file.path.starts_with("crates/config/src/params/") && !file.path.ends_with("/mod.rs")
}

fn unused(declarations: &[(String, String)], users: &[&Source]) -> Vec<String> {
    let asked = |accessor: &str| {
        users.iter().any(|file| {
            let call = format!("{accessor}()");
            file.text.contains(&format!(".{call}"))
                || has_word(&file.text, accessor) && file.text.contains(&format!("::{accessor}"))
                // A macro that reads the same fields of two groups, a line for each:
                // `limit = smtp_starttls_timeout,` or `smtp_sasl_type,`.
                || file.text.lines().any(|l| {
                    let word = l.trim().trim_end_matches(',');
                    word.rsplit(" = ").next() == Some(accessor)
                })
                // `Config::of_transport` asks for `<transport>_suffix` and falls back to `default_suffix`.
                || file.text.contains(&format!("\"{}\"", accessor.strip_prefix("default_").unwrap_or(accessor)))
        })
    };
    let unasked = declarations.iter().filter(|(accessor, _)| !asked(accessor));
    unasked
        .map(|(_, public)| format!("{public} is declared, but nothing outside crates/config asks for it"))
        .collect()
}

fn repeated(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(name.clone())).map(|name| format!("{name} stands twice")).collect()
}

#[test]
fn each_parameter_is_obeyed_by_someone() {
    let sample = Source {
        path: "crates/config/src/params/x.rs".into(),
        text: "params! {\n    /// X.\n    X {\n        /// A.\n        some_limit: Count = \"1\", min 1;\n        /// B.\n        double as \"2double\": Text = \"\";\n    }\n}\n".into(),
    };
    let found = declared(&sample);
    assert_eq!(found, [("some_limit".into(), "some_limit".into()), ("double".into(), "2double".into())]);
    let twice = Source { path: sample.path.clone(), text: sample.text.repeat(2) };
    assert_eq!(declared(&twice).len(), 4);
    let user = Source { path: "crates/qmgr/src/a.rs".into(), text: "p.some_limit()".into() };
    assert_eq!(unused(&found, &[&user]).len(), 1);

    let files = rust();
    let declarations: Vec<(String, String)> =
        files.iter().filter(|file| is_declaration(file)).flat_map(declared).collect();
    assert!(declarations.len() > 100, "only {} declarations were found", declarations.len());
    let users: Vec<&Source> = files
        .iter()
        .filter(|file| file.path.starts_with("crates/") && !file.path.starts_with("crates/config/"))
        .collect();
    none(unused(&declarations, &users));
}

#[test]
fn each_parameter_is_known_in_one_place() {
    assert_eq!(repeated(["a", "b", "a"].iter().map(ToString::to_string)).len(), 1);
    let catalogue = sources();
    let catalogue =
        catalogue.iter().find(|file| file.path == "crates/config/src/catalogue.tsv").expect("the catalogue");
    let known = catalogue
        .text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').next());
    let files = rust();
    let all: Vec<String> = files
        .iter()
        .filter(|file| is_declaration(file))
        .flat_map(declared)
        .map(|(_, public)| public)
        .collect();
    assert!(!all.is_empty());
    none(repeated(all.into_iter().chain(known.map(str::to_string))));
}
