//! `valija lab` plays the five cases in its three pairings, shows what it should, and leaves nothing behind.
//!
//! Needs root, and a Postfix for two of the pairings. Without them the tests say so and pass; with `VALIJA_TEST_MUST_RUN=1`
//! they fail.

#[path = "../runner/install.rs"]
mod install;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// valija laid out as installed, once for all tests.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let tree = install::tree().unwrap_or_else(|error| panic!("valija could not be laid out: {error}"));
        tree.join("usr/sbin/valija")
    })
}

fn can_run(needs_postfix: bool) -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let postfix = !needs_postfix || Path::new("/usr/lib/postfix/sbin/master").exists();
    let ip = ["/usr/sbin/ip", "/sbin/ip"].iter().any(|path| Path::new(path).exists());
    if root && postfix && ip {
        return true;
    }
    let what = "the lab needs root, iproute2 and for this pairing the package postfix";
    assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "{what}");
    eprintln!("THE LAB DID NOT RUN: {what}");
    false
}

fn lab(words: &[&str]) -> Output {
    let mut all = vec!["lab"];
    all.extend(words);
    Command::new("timeout").arg("-k5").arg("240").arg(program()).args(all).output().unwrap()
}

fn all_cases(mail1: &str, mail2: &str) {
    let output = lab(&["case", "all", "--mail1", mail1, "--mail2", mail2, "--width", "160"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mail1} to {mail2}: {errors}\n{text}");
    for number in 1..=5 {
        assert!(text.contains(&format!("----- Case {number}: everything arrived -----")), "{text}");
    }
    // The dialogue stands beside the log.
    let row = text.lines().find(|line| line.starts_with("S: 220 avatar.doesntexist.org ESMTP"));
    assert!(row.is_some_and(|row| row.contains("| avatar ")), "{text}");
}

#[test]
fn five_cases_from_valija_to_postfix() {
    if can_run(true) {
        all_cases("valija", "postfix");
    }
}

#[test]
fn five_cases_from_postfix_to_valija() {
    if can_run(true) {
        all_cases("postfix", "valija");
    }
}

#[test]
fn five_cases_from_valija_to_valija() {
    if can_run(false) {
        all_cases("valija", "valija");
    }
}

/// Processes of a lab that hang on this one.
fn processes(lab: u32) -> usize {
    let mark = format!("\0{lab}\0");
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    lines
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains("valija-lab-host") && line.ends_with(&mark))
        .count()
}

#[test]
fn a_killed_lab_leaves_nothing() {
    if !can_run(false) {
        return;
    }
    let before = std::fs::read_to_string("/proc/mounts").unwrap();
    let mut child = Command::new(program())
        .args(["lab"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let number = child.id();
    let end = Instant::now() + Duration::from_secs(60);
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let answers = || {
        let line =
            lab(&["enter", "mail1", "jose", "--", "sh", "-c", "hostname; id -un; pwd; ip -br address"]);
        let text = String::from_utf8_lossy(&line.stdout).into_owned();
        text.contains("mail1\njose\n/home/jose\n") && text.contains("10.77.1.10/16")
    };
    wait("nobody can enter the lab", &answers);
    child.kill().unwrap();
    child.wait().unwrap();
    wait("hosts outlive their lab", &|| processes(number) == 0);
    assert_eq!(before, std::fs::read_to_string("/proc/mounts").unwrap());
    let gone = lab(&["hosts"]);
    assert!(!gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("no lab runs"));
}

#[test]
fn who_is_not_root_is_told() {
    if !can_run(false) {
        return;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program())
        .args(["lab", "case", "1"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && (errors.contains("root") || errors.contains("Permission")),
        "{errors}"
    );
}

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
