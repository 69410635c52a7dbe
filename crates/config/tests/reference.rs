//! `docs/parameters.md` says what is declared: `VALIJA_WRITE_DOCS=1 cargo test -p config --test reference` writes it, and
//! without that variable the test holds that it is up to date.

use config::params::GROUPS;
use std::path::Path;

fn cell(text: &str) -> String {
    text.trim().replace('\n', " ").replace("  ", " ").replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { "(empty)".to_string() } else { format!("`{}`", text.replace('|', "\\|")) }
}

fn reference() -> String {
    let mut declared: Vec<_> = GROUPS.iter().flat_map(|group| group.iter()).collect();
    declared.sort_by_key(|parameter| parameter.name);
    let mut out = String::from(
        "# Parameters\n\nGenerated from the declarations in `crates/config/src/params/` by\n\
         `VALIJA_WRITE_DOCS=1 cargo test -p config --test reference`; do not edit.\n\n\
         Names and defaults are those of Postfix 3.7. `postconf NAME` shows a value, `postconf -d NAME` its default here,\n\
         `valija check` what a configuration means for valija.\n\n## Obeyed\n\n\
         | parameter | type | default | what it says |\n|---|---|---|---|\n",
    );
    for p in &declared {
        out.push_str(&format!("| `{}` | {} | {} | {} |\n", p.name, p.kind, code(p.default), cell(p.doc)));
    }
    out.push_str(
        "\n## Known, not obeyed\n\nThese print, expand and load; `valija check` names those that are set.\n\n\
         | parameter | type | default | verdict | remark |\n|---|---|---|---|---|\n",
    );
    for entry in catalogue_lines() {
        let [name, kind, default, verdict, remark] = entry;
        out.push_str(&format!(
            "| `{name}` | {kind} | {} | {verdict} | {} |\n",
            code(&default),
            cell(&remark)
        ));
    }
    out
}

/// The catalogue's own text, of which the crate shows what a name needs.
fn catalogue_lines() -> Vec<[String; 5]> {
    include_str!("../src/catalogue.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let mut cells = line.split('\t').map(str::to_string);
            std::array::from_fn(|_| cells.next().unwrap_or_default())
        })
        .collect()
}

#[test]
fn the_reference_of_parameters_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/parameters.md");
    let fresh = reference();
    assert!(fresh.contains("| `myhostname` | text |") && fresh.lines().count() > 500);
    if std::env::var_os("VALIJA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let old: Vec<&str> = committed.lines().collect();
    let stale: Vec<&str> = fresh.lines().filter(|line| !old.contains(line)).take(5).collect();
    assert!(
        committed == fresh,
        "docs/parameters.md is out of date, for example:\n{}\nwrite it anew: VALIJA_WRITE_DOCS=1 cargo test -p config --test reference",
        stale.join("\n")
    );
}
