//! `docs/events.md` lists what the log can say: `VALIJA_WRITE_DOCS=1 cargo test -p valija-tests --test house` writes it,
//! and without that variable the test holds that it is up to date.

use crate::{Source, root, rust};
use regex::Regex;

/// An event: its crate, name, words and documentation.
fn declared(file: &Source) -> Vec<[String; 4]> {
    let pattern = r#"(?m)((?:^\s*///.*\n)+)\s*([A-Z]\w*) \{[^}]*\}\s+(Info|Warning|Error|Fatal|Panic)\s+"((?:[^"\\]|\\.)*)""#;
    let event = Regex::new(pattern).expect("a pattern");
    let krate = file.path.split('/').nth(1).unwrap_or_default();
    // What tests say is not in any log.
    let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let Some(at) = text.find("events! {") else { return Vec::new() };
    event
        .captures_iter(&text[at..])
        .map(|found| {
            let doc: Vec<&str> =
                found[1].lines().map(|line| line.trim().trim_start_matches("///").trim()).collect();
            let word = match &found[3] {
                "Info" => String::new(),
                level => format!("{}: ", level.to_lowercase()),
            };
            let text = format!("{word}{}", found[4].replace("\\\"", "\""));
            [krate.to_string(), found[2].to_string(), text, doc.join(" ")]
        })
        .collect()
}

fn reference(files: &[Source]) -> String {
    let mut events: Vec<[String; 4]> =
        files.iter().filter(|file| file.path.starts_with("crates/")).flat_map(declared).collect();
    events.sort();
    let mut out = String::from(
        "# What the log says\n\nGenerated from the declarations (`events! { … }`) by\n\
         `VALIJA_WRITE_DOCS=1 cargo test -p valija-tests --test house`; do not edit.\n\n\
         A line begins with `syslog_name/daemon[number]:` and, where a message is meant, its queue id. Names in braces stand\n\
         for what changes.\n",
    );
    let mut part = String::new();
    for [krate, name, text, doc] in &events {
        if *krate != part {
            out.push_str(&format!("\n## {krate}\n\n| event | line | meaning |\n|---|---|---|\n"));
            part.clone_from(krate);
        }
        let cell = |text: &str| text.replace('|', "\\|");
        out.push_str(&format!("| {name} | `{}` | {} |\n", cell(text), cell(doc)));
    }
    out
}

#[test]
fn the_reference_of_events_is_up_to_date() {
    let sample = Source {
        path: "crates/x/src/events.rs".into(),
        text: "events::events! {\n    /// A.\n    /// B.\n    Hello { who: String, n: u8 } Warning \"hello {who} \\\"x\\\"\"\n}\n".into(),
    };
    assert_eq!(declared(&sample), [["x", "Hello", "warning: hello {who} \"x\"", "A. B."].map(String::from)]);
    let fresh = reference(&rust());
    assert!(fresh.lines().count() > 100, "only {} lines", fresh.lines().count());
    let path = root().join("docs/events.md");
    if std::env::var_os("VALIJA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &fresh).expect("docs/events.md is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "docs/events.md is out of date; write it anew: VALIJA_WRITE_DOCS=1 cargo test -p valija-tests --test house"
    );
}
