//! Who may use whom: the table of ARCHITECTURE.md against the manifests, and what the privileged programs link.

use crate::{none, root};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Our crates and those of ours that each may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("proto", &[]),
    ("config", &["sys"]),
    ("events", &["sys"]),
    ("tables", &["config", "sys"]),
    ("pcre", &["tables", "config"]),
    ("queue", &["proto", "config", "events", "sys"]),
    ("rewrite", &["proto", "config", "tables"]),
    ("net", &["proto", "config", "events", "tables", "sys"]),
    ("sasl", &[]),
    ("login", &["sys", "proto", "config", "events", "tables", "net", "sasl"]),
    ("milter", &["sys", "proto", "config", "events", "net"]),
    ("cleanup", &["sys", "proto", "config", "events", "tables", "queue", "rewrite", "milter"]),
    (
        "smtpd",
        &[
            "sys", "proto", "config", "events", "tables", "queue", "rewrite", "net", "sasl", "login",
            "milter", "cleanup",
        ],
    ),
    ("qmgr", &["sys", "proto", "config", "events", "tables", "queue", "rewrite", "cleanup"]),
    (
        "smtp",
        &["sys", "proto", "config", "events", "tables", "queue", "rewrite", "net", "sasl", "cleanup", "qmgr"],
    ),
    ("local", &["proto", "config", "events", "tables", "sys"]),
    (
        "valija",
        &[
            "sys", "proto", "config", "events", "tables", "pcre", "queue", "rewrite", "cleanup", "smtpd",
            "qmgr", "net", "sasl", "login", "milter", "smtp",
        ],
    ),
    ("master", &["local", "tables", "config", "events", "proto", "sys"]),
    ("postdrop", &["proto", "config", "events", "sys"]),
];

/// What the programs with privilege must not link, besides what the table forbids.
const NEVER_PRIVILEGED: &[&str] = &[
    "tokio",
    "mio",
    "pcre2",
    "pcre2-sys",
    "rustls",
    "openssl",
    "openssl-sys",
    "hickory-proto",
    "hickory-resolver",
];

/// The names below `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = matches!(line.trim(), "[dependencies]" | "[build-dependencies]")
                || line.starts_with("[target.") && line.contains("dependencies]") && !line.contains("dev-");
        } else if inside
            && let Some(name) = line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty())
        {
            found.insert(name.trim_matches('"').to_string());
        }
    }
    found
}

fn forbidden_edges(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut complaints = Vec::new();
    for (name, manifest) in manifests {
        let Some(allowed) = table.get(name.as_str()) else {
            complaints.push(format!("crates/{name} is not in the table of crates"));
            continue;
        };
        for used in dependencies(manifest) {
            if table.contains_key(used.as_str()) && !allowed.contains(&used.as_str()) {
                complaints.push(format!("crates/{name} must not use {used}"));
            }
            if matches!(used.as_str(), "tokio")
                && !["net", "login", "milter", "cleanup", "smtpd", "qmgr", "smtp", "valija"]
                    .contains(&name.as_str())
            {
                complaints.push(format!("crates/{name} is below the floors that may use {used}"));
            }
        }
    }
    for name in table.keys() {
        if !manifests.contains_key(*name) {
            complaints.push(format!("the table names crates/{name}, which does not exist"));
        }
    }
    complaints
}

fn linked_too_much(program: &str, tree: &str) -> Vec<String> {
    let allowed = MAY_USE.iter().find(|(name, _)| *name == program).map_or(&[][..], |(_, allowed)| allowed);
    let mut complaints = Vec::new();
    for name in tree.lines().filter_map(|line| line.split_whitespace().next()) {
        let ours = MAY_USE.iter().any(|(crate_name, _)| *crate_name == name);
        if NEVER_PRIVILEGED.contains(&name) || (ours && name != program && !allowed.contains(&name)) {
            complaints.push(format!("{program} links {name}"));
        }
    }
    complaints
}

fn cargo_tree(package: &str) -> String {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .current_dir(root())
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package])
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tree.starts_with(package), "cargo tree printed {tree:?}");
    tree
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let broken =
        BTreeMap::from([("proto".to_string(), "[dependencies]\nsys.workspace = true\n".to_string())]);
    assert!(forbidden_edges(&broken).contains(&"crates/proto must not use sys".to_string()));
    let manifests: BTreeMap<String, String> = std::fs::read_dir(root().join("crates"))
        .expect("crates/")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let manifest = std::fs::read_to_string(path.join("Cargo.toml")).ok()?;
            Some((path.file_name()?.to_string_lossy().into_owned(), manifest))
        })
        .collect();
    none(forbidden_edges(&manifests));
}

#[test]
fn privileged_programs_link_little() {
    assert_eq!(
        linked_too_much("master", "master v0.1.0\nsys v0.1.0 (…)\ntokio v1.0.0\nsmtpd v0.1.0\n").len(),
        2
    );
    for program in ["master", "postdrop"] {
        none(linked_too_much(program, &cargo_tree(program)));
    }
}

#[test]
fn dependencies_of_tests_do_not_count() {
    let manifest = "[dependencies]\nlibc = \"0.2\"\n[dev-dependencies]\nproptest.workspace = true\n[lints]\nworkspace = true\n";
    assert_eq!(dependencies(manifest), BTreeSet::from(["libc".to_string()]));
}
