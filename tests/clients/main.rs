//! Real mail programs send through the mail host: with login and TLS on 587 and on 465, and what they sent is read back.
//!
//! Each program sends the same letter: text outside of ASCII, lines that begin with dots, an attachment. All of this runs
//! on a real Postfix with a real Dovecot, on valija with Dovecot, and on valija with users of its own. The desktop clients
//! (`desktop`) take longer and run when asked for: `cargo test -p valija-tests --test clients -- --ignored`.
//!
//! Needs root and the packages of `./test`. Without them the tests say so and pass; with `VALIJA_TEST_MUST_RUN=1` they fail.

mod desktop;
mod fail2ban;
mod host;
#[path = "../runner/install.rs"]
mod install;
mod letter;
mod programs;

use host::Logins;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use valija_tests::scenario::Placed;
use valija_tests::world::{Product, World};

#[test]
fn programs_send_through_postfix_with_dovecot() {
    programs(Product::Postfix, Logins::Dovecot);
}

#[test]
fn programs_send_through_valija_with_dovecot() {
    programs(Product::Valija, Logins::Dovecot);
}

#[test]
fn programs_send_through_valija_alone() {
    programs(Product::Valija, Logins::Own);
}

#[test]
fn fail2ban_finds_guessers_at_postfix_with_dovecot() {
    guessers(Product::Postfix, Logins::Dovecot);
}

#[test]
fn fail2ban_finds_guessers_at_valija_with_dovecot() {
    guessers(Product::Valija, Logins::Dovecot);
}

#[test]
fn fail2ban_finds_guessers_at_valija_alone() {
    guessers(Product::Valija, Logins::Own);
}

#[test]
#[ignore = "needs a desktop: ./test all"]
fn thunderbird_sends_through_postfix_with_dovecot() {
    desktop(Product::Postfix, Logins::Dovecot, &desktop::THUNDERBIRD);
}

#[test]
#[ignore = "needs a desktop: ./test all"]
fn thunderbird_sends_through_valija_with_dovecot() {
    desktop(Product::Valija, Logins::Dovecot, &desktop::THUNDERBIRD);
}

#[test]
#[ignore = "needs a desktop: ./test all"]
fn thunderbird_sends_through_valija_alone() {
    desktop(Product::Valija, Logins::Own, &desktop::THUNDERBIRD);
}

#[test]
#[ignore = "needs a desktop: ./test all"]
fn evolution_sends_through_postfix_with_dovecot() {
    desktop(Product::Postfix, Logins::Dovecot, &desktop::EVOLUTION);
}

#[test]
#[ignore = "needs a desktop: ./test all"]
fn evolution_sends_through_valija_with_dovecot() {
    desktop(Product::Valija, Logins::Dovecot, &desktop::EVOLUTION);
}

#[test]
#[ignore = "needs a desktop: ./test all"]
fn evolution_sends_through_valija_alone() {
    desktop(Product::Valija, Logins::Own, &desktop::EVOLUTION);
}

fn programs(product: Product, logins: Logins) {
    if can_run(&programs::NEEDED) {
        in_world(product, logins, programs::files(), move |world| programs::all(world, logins))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

fn guessers(product: Product, logins: Logins) {
    if can_run(&fail2ban::NEEDED) {
        in_world(product, logins, Vec::new(), move |world| fail2ban::finds(world, logins))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The pictures of the screen are kept in `$OUT`, or else in `target/tmp/clients`.
fn desktop(product: Product, logins: Logins, client: &'static desktop::Client) {
    if !can_run(client.needed) {
        return;
    }
    let (pictures, result) = in_world(product, logins, desktop::files(), move |world| {
        let mut pictures = Vec::new();
        let result = desktop::sends(world, logins, client, &mut pictures);
        Ok((pictures, result))
    })
    .unwrap_or_else(|error| (Vec::new(), Err(error)));
    let folder = match std::env::var_os("OUT") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients"),
    };
    for (name, content) in pictures {
        let path = folder.join(format!("{product:?}-{logins:?}-{name}").to_lowercase());
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, content)).unwrap();
        println!("{}", path.display());
    }
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn can_run(needed: &[&str]) -> bool {
    let missing = host::missing(needed);
    if missing.is_empty() {
        return true;
    }
    let what = missing.join("; ");
    assert!(std::env::var_os("VALIJA_TEST_MUST_RUN").is_none(), "{what}");
    eprintln!("THE CLIENTS DID NOT RUN: {what}");
    false
}

/// Runs a test in a world, on a thread that ends with it.
fn in_world<T: Send + 'static>(
    product: Product,
    logins: Logins,
    files: Vec<Placed>,
    test: impl FnOnce(&World) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let tree = (product == Product::Valija).then(tree);
    let thread = std::thread::spawn(move || {
        let world = host::start(product, logins, tree, files)?;
        if let Ok(command) = std::env::var("VALIJA_TEST_COMMAND") {
            return Err(world.run_within("root", &command, Duration::from_secs(3600))?.text);
        }
        let result = test(&world);
        if std::env::var_os("VALIJA_TEST_LOG").is_some() {
            for line in world.log.lines() {
                eprintln!("{}", line.shown());
            }
        }
        result
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
