//! What is told of scenarios that failed: a summary at once, the whole report, and the summaries again as the last
//! thing, where an excerpt of a long log ends. `./test` shows the file `target/scenarios-failed` after everything else.

use std::path::PathBuf;
use valija_tests::run::LOG;

/// How many lines of each report are in the summary, and how long they are.
const LINES: usize = 24;
const LENGTH: usize = 240;

/// A scenario that failed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// What was wrong, product by product, each with the whole log.
    pub reports: Vec<String>,
}

impl Failure {
    /// What was wrong, in few lines and without the log.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        for report in &self.reports {
            let told = report.split(LOG).next().unwrap_or(report);
            let mut lines = told.lines();
            for line in lines.by_ref().take(LINES) {
                let cut: String = line.chars().take(LENGTH).collect();
                out.push_str(&format!("    {cut}{}\n", if cut.len() < line.len() { "…" } else { "" }));
            }
            match lines.count() {
                0 => {}
                more => out.push_str(&format!("    … and {more} lines more\n")),
            }
        }
        out
    }
}

/// Prints everything, and leaves the summaries in the file for `./test`.
pub fn tell(failures: &[Failure]) {
    let mut short = String::new();
    for failure in failures {
        short.push_str(&format!("{} FAILED\n{}", failure.name, failure.summary()));
    }
    if let Some(path) = file() {
        let kept = match failures.is_empty() {
            true => std::fs::remove_file(&path).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            false => std::fs::write(&path, &short),
        };
        if let Err(error) = kept {
            eprintln!("{}: {error}", path.display());
        }
    }
    if failures.is_empty() {
        return;
    }
    println!("\nfailures:\n");
    for Failure { name, reports } in failures {
        println!("---- {name} ----\n{}", reports.join("\n"));
    }
    println!("failures, in short:\n\n{short}");
}

/// In cargo's target folder: this program is target/debug/deps/scenarios-….
fn file() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.ancestors().nth(3)?.join("scenarios-failed"))
}
