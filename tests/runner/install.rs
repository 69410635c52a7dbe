//! Lays valija out as a package would, for the worlds to mount: `make install` of the programs as cargo builds them.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// The folder with `usr/sbin` and so on, made anew.
pub fn tree() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/debug/deps/scenarios-…
    let target = program.ancestors().nth(3).ok_or("this test does not lie in cargo's target folder")?;
    let tree = target.join("tests-root");
    // Another run from the same folder would take this one's programs away: it waits until this process ends.
    let lock = File::create(target.join("tests-root.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    std::mem::forget(lock);
    if tree.exists() {
        std::fs::remove_dir_all(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
    }
    let output = Command::new("make")
        .current_dir(super::repository())
        .args(["--silent", "install", "PROFILE=dev"])
        .arg(format!("DESTDIR={}", tree.display()))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .map_err(|error| format!("make: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "make install: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(tree)
}
