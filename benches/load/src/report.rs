//! What a run leaves: on the terminal as it comes, and as markdown.

use crate::options::Options;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Collects what was found.
#[derive(Debug)]
pub struct Report {
    heading: String,
    details: String,
}

impl Report {
    /// Begins, now.
    pub fn new(options: &Options) -> Report {
        Report { heading: heading(options), details: String::new() }
    }

    /// A table, or a paragraph: shown at once, and kept.
    pub fn detail(&mut self, text: &str) {
        println!("\n{text}");
        self.details.push_str(text.trim_end());
        self.details.push_str("\n\n");
    }

    /// The whole as markdown: what it ran on, the summary, everything else.
    pub fn markdown(&self, summary: &str) -> String {
        format!("{}\n{}\n\n{}", self.heading, summary.trim(), self.details)
    }
}

/// Date, machine and versions.
fn heading(options: &Options) -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let cpu = field("/proc/cpuinfo", "model name", ':');
    let memory = field("/proc/meminfo", "MemTotal", ':');
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = field("/etc/os-release", "PRETTY_NAME", '=');
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let disk = said("findmnt", &["-no", "FSTYPE,SOURCE", "-T", &options.folder.display().to_string()]);
    let commit = said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let postfix = said("/usr/sbin/postconf", &["-d", "-h", "mail_version"]);
    format!(
        "## {}\n\n`cargo run --release -p load -- {}`\n\n{processors} processors ({cpu}), {memory}, Linux {}, {release}; {} on {disk}. \
         Postfix {postfix}; valija of commit {commit}.\n",
        said("date", &["-u", "+%Y-%m-%d, %H:%M UTC"]),
        words.join(" "),
        kernel.trim(),
        options.folder.display(),
    )
}

fn field(file: &str, name: &str, separator: char) -> String {
    let text = fs::read_to_string(Path::new(file)).unwrap_or_default();
    let value = text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(separator));
    value.map_or("?".into(), |(_, v)| v.trim().trim_matches('"').to_string())
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();
    if text.is_empty() { "?".into() } else { text.split_whitespace().collect::<Vec<_>>().join(" ") }
}
