//! The short form of the drills, for `./test`: the same program, with fewer kills and cuts. The long forms are
//! `cargo run --release -p drill -- kill` and `… -- cut`.

use std::process::Command;

/// Runs the drill; its output is shown when it fails.
fn drill(words: &[&str]) -> String {
    let folder = std::env::temp_dir().join(format!("valija-drill-{}-{}", words[0], std::process::id()));
    let mut command = Command::new("timeout");
    command
        .args(["-k", "10", "600"])
        .arg(env!("CARGO_BIN_EXE_drill"))
        .args(words)
        .arg("--folder")
        .arg(&folder);
    let output = command.output().expect("the program runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "drill {}: {}\n{said}", words.join(" "), output.status);
    let _ = std::fs::remove_dir_all(&folder);
    eprintln!("{said}");
    said
}

fn can(what: &str) -> bool {
    let missing = if !nix::unistd::geteuid().is_root() {
        "root"
    } else if !std::path::Path::new("/usr/share/postfix/master.cf.dist").exists() {
        "Debian's package postfix"
    } else if what != "kill" && !std::path::Path::new("/dev/fuse").exists() {
        "/dev/fuse"
    } else if what != "kill" && !std::path::Path::new("/dev/loop-control").exists() {
        "loop devices"
    } else {
        return true;
    };
    assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "drill {what} needs {missing}");
    eprintln!("\n*** NOT RUN, it needs {missing}: drill {what} ***\n");
    false
}

#[test]
fn what_got_250_arrives_whoever_is_killed() {
    if can("kill") {
        // The long form is strict. Unoptimized and beside other tests a process gets its turn late.
        let few = ["--rounds", "20", "--only", "valija", "--clients", "8", "--tolerate", "300"];
        let said = drill(&[&["kill"][..], &few].concat());
        assert!(said.contains("| rounds | "), "{said}");
    }
}

#[test]
fn what_got_250_arrives_after_any_power_cut() {
    if can("cut") {
        let said = drill(&["cut", "--cuts", "5", "--clients", "8"]);
        assert!(said.contains("| power cuts under load | 5 |"), "{said}");
    }
}

#[test]
fn what_is_not_synced_is_lost_on_the_disk_that_is_cut() {
    if can("teeth") {
        let said = drill(&["teeth", "--clients", "8"]);
        assert!(said.contains("valija on a disk that only pretends to sync"), "{said}");
    }
}
