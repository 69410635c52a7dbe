//! Real mail programs send through the mail host: with login and TLS on 587 and on 465, and what they sent is read back.
//!
//! Each program sends the same letter: text outside of ASCII, lines that begin with dots, an attachment. All of this runs
//! on a real Postfix with a real Dovecot, on valija with Dovecot, and on valija with users of its own. The desktop clients
//! (`desktop`) take longer and run when asked for: `cargo test -p valija-tests --test clients -- --ignored`.
//!
//! Needs root and the packages of `./test`. Without them the tests say so and pass; with `VALIJA_TEST_MUST_RUN=1` they fail.

mod host;
#[path = "../runner/install.rs"]
mod install;
mod letter;
mod programs;

use host::Logins;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use valija_tests::scenario::Placed;
use valija_tests::world::{Product, World};

#[test]
fn programs_send_through_postfix_with_dovecot() {
    in_world(Product::Postfix, Logins::Dovecot, &programs::NEEDED, programs::files(), programs::all);
}

#[test]
fn programs_send_through_valija_with_dovecot() {
    in_world(Product::Valija, Logins::Dovecot, &programs::NEEDED, programs::files(), programs::all);
}

#[test]
fn programs_send_through_valija_alone() {
    in_world(Product::Valija, Logins::Own, &programs::NEEDED, programs::files(), programs::all);
}

/// Runs a test in a world, on a thread that ends with it.
fn in_world(
    product: Product,
    logins: Logins,
    needed: &[&str],
    files: Vec<Placed>,
    test: impl FnOnce(&World, Logins) -> Result<(), String> + Send + 'static,
) {
    let missing = host::missing(needed);
    if !missing.is_empty() {
        let what = missing.join("; ");
        assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "{what}");
        return eprintln!("THE CLIENTS DID NOT RUN: {what}");
    }
    let tree = (product == Product::Valija).then(tree);
    let thread = std::thread::spawn(move || {
        let world = host::start(product, logins, tree, files)?;
        if let Ok(command) = std::env::var("VALIJA_TEST_COMMAND") {
            println!("{}", world.run_within("root", &command, std::time::Duration::from_secs(3600))?.text);
            return Ok(());
        }
        let result = test(&world, logins);
        if result.is_err() || std::env::var_os("VALIJA_TEST_LOG").is_some() {
            for line in world.log.lines() {
                eprintln!("{}", line.shown());
            }
        }
        result
    });
    match thread.join() {
        Ok(result) => result.unwrap_or_else(|error| panic!("{error}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// valija laid out as installed, once for all tests.
fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        install::tree().unwrap_or_else(|error| panic!("valija could not be laid out: {error}"))
    })
}

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
