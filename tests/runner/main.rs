//! Runs the scenarios: each on a real Postfix and on valija, side by side. Understands the options of a libtest binary
//! that people use (a filter, `--list`, `--exact`, `--skip`, `--test-threads`), and closes with cargo's own line.
//!
//! `VALIJA_TEST_WORLDS=postfix` (or `valija`) runs one side alone; `VALIJA_TEST_RECORD=1` writes what Postfix shows as
//! what is expected; `VALIJA_TEST_LOG=1` prints the logs, `VALIJA_TEST_TIMES=1` how long each took; `VALIJA_TEST_MUST_RUN=1` makes a missing requirement fail.

mod install;
mod report;

use report::Failure;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use valija_tests::run::{Outcome, differences, expected, record, record_differences, run};
use valija_tests::scenario::{self, Scenario};
use valija_tests::world::Product;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = match scenario::all(&root) {
        Ok(scenarios) => chosen(scenarios, &arguments),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.iter().any(|argument| argument == "--list") {
        for scenario in &scenarios {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let missing = missing();
    if !missing.is_empty() {
        let must = std::env::var_os("VALIJA_TEST_MUST_RUN").is_some();
        println!("\nrunning {} tests", scenarios.len());
        for scenario in &scenarios {
            println!("test {} ... {}", scenario.name, if must { "FAILED" } else { "ignored" });
        }
        println!("\nTHE SCENARIOS DID NOT RUN: {}", missing.join("; "));
        let (word, failed, ignored) =
            if must { ("FAILED", scenarios.len(), 0) } else { ("ok", 0, scenarios.len()) };
        println!(
            "\ntest result: {word}. 0 passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
        );
        return if must { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    play(&scenarios, &arguments)
}

fn play(scenarios: &[Scenario], arguments: &[String]) -> ExitCode {
    let worlds = worlds();
    let tree = if worlds.contains(&Product::Valija) {
        match install::tree() {
            Ok(tree) => Some(tree),
            Err(error) => {
                eprintln!("valija could not be laid out for the scenarios: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        None
    };
    println!("\nrunning {} tests", scenarios.len());
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let threads =
        value_of(arguments, "--test-threads").and_then(|text| text.parse().ok()).unwrap_or(3usize).max(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let started = Instant::now();
                    let (reports, again) = both(scenario, &worlds, tree.as_deref());
                    let taken = match std::env::var_os("VALIJA_TEST_TIMES") {
                        Some(_) => format!(" ({:.1} s)", started.elapsed().as_secs_f64()),
                        None => String::new(),
                    };
                    let name = &scenario.name;
                    if reports.is_empty() {
                        let how = if again.is_empty() { "" } else { " (Postfix at a further attempt)" };
                        println!("test {name} ... ok{taken}{how}");
                    } else {
                        let failure = Failure { name: name.clone(), reports };
                        println!("test {name} ... FAILED{taken}\n{}", failure.summary());
                        failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(failure);
                    }
                    if !again.is_empty() {
                        eprintln!("---- {name}, what Postfix showed before ----\n{again}");
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failures.sort();
    report::tell(&failures);
    let (failed, passed) = (failures.len(), scenarios.len() - failures.len());
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        began.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario in the worlds at once; what differs, and what differed when Postfix alone had to show it again.
///
/// What Postfix shows keeps our expectations true; which of its processes comes first is not ours to mend, and among
/// some hundred scenarios one such race is likely: it has three attempts, valija one.
fn both(scenario: &Scenario, worlds: &[Product], tree: Option<&Path>) -> (Vec<String>, String) {
    let mut reports = attempt(scenario, worlds, tree);
    let mut again = String::new();
    if let Some((_, report)) = reports.iter_mut().find(|(product, _)| *product == Product::Postfix)
        && std::env::var_os("VALIJA_TEST_RECORD").is_none()
    {
        for _ in 1..3 {
            if !report.is_empty()
                && let Some((_, next)) = attempt(scenario, &[Product::Postfix], None).pop()
            {
                again.push_str(&std::mem::replace(report, next));
            }
        }
    }
    let mut failed: Vec<String> = reports
        .iter()
        .filter(|(_, shown)| !shown.is_empty())
        .map(|(product, shown)| format!("on {product:?}: {}\n", shown.trim()))
        .collect();
    if scenario.differs.is_none() && scenario.expect.keys().any(|name| name.ends_with(".valija")) {
        failed.push(
            "there are expectations of valija alone, but no file `differs` that gives the reason\n".into(),
        );
    }
    (failed, again)
}

/// What differs in each world; each has a thread of its own, which moves into it and ends there.
fn attempt(scenario: &Scenario, worlds: &[Product], tree: Option<&Path>) -> Vec<(Product, String)> {
    let recording = std::env::var_os("VALIJA_TEST_RECORD").is_some();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = worlds
            .iter()
            .map(|product| {
                let tree = tree.filter(|_| *product == Product::Valija);
                (*product, scope.spawn(move || run(*product, scenario, tree)))
            })
            .collect();
        threads
            .into_iter()
            .map(|(product, thread)| {
                (product, thread.join().unwrap_or_else(|_| Err("the runner panicked".into())))
            })
            .collect()
    });
    let shown = |(product, outcome)| match outcome {
        Err(error) => error,
        Ok(Outcome { results, .. }) if recording && product == Product::Postfix => {
            record(scenario, &results).err().map(|error| error.to_string()).unwrap_or_default()
        }
        Ok(Outcome { results, .. }) if recording && scenario.differs.is_some() => {
            record_differences(scenario, &results).err().map(|error| error.to_string()).unwrap_or_default()
        }
        Ok(Outcome { results, log }) => {
            let report = differences(&expected(product, scenario), &results, &scenario.steps);
            if report.is_empty() { report } else { report + &log }
        }
    };
    outcomes.into_iter().map(|(product, outcome)| (product, shown((product, outcome)))).collect()
}

fn worlds() -> Vec<Product> {
    let recording = std::env::var_os("VALIJA_TEST_RECORD").is_some();
    match std::env::var("VALIJA_TEST_WORLDS").as_deref() {
        Ok("valija") => vec![Product::Valija],
        Ok("postfix") => vec![Product::Postfix],
        _ if recording => vec![Product::Postfix],
        _ => vec![Product::Postfix, Product::Valija],
    }
}

/// What the scenarios need and this machine has not.
fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root {
        missing.push("only root can build namespaces and users".to_string());
    }
    for (program, package) in [
        ("/usr/lib/postfix/sbin/master", "postfix"),
        ("/usr/bin/procmail", "procmail"),
        ("/usr/bin/bsd-mailx", "bsd-mailx"),
        ("/usr/bin/mutt", "mutt"),
        ("/usr/bin/swaks", "swaks"),
        ("/usr/bin/telnet", "telnet"),
        ("/bin/nc", "netcat-openbsd"),
        ("/usr/bin/python3", "python3"),
        ("/usr/sbin/dovecot", "dovecot-core"),
        ("/usr/lib/dovecot/imap", "dovecot-imapd"),
        ("/usr/lib/dovecot/lmtp", "dovecot-lmtpd"),
        ("/usr/sbin/saslauthd", "sasl2-bin"),
        ("/usr/bin/msmtp", "msmtp"),
        ("/usr/sbin/ip", "iproute2"),
        ("/usr/bin/unshare", "util-linux"),
        ("/etc/ssl/private/ssl-cert-snakeoil.key", "ssl-cert"),
    ] {
        if root && !Path::new(program).exists() {
            missing.push(format!("{program} is missing (apt-get install {package})"));
        }
    }
    missing
}

fn chosen(scenarios: Vec<Scenario>, arguments: &[String]) -> Vec<Scenario> {
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let mut filters = Vec::new();
    let mut skips = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--skip" => skips.extend(words.next()),
            "--test-threads" | "--format" | "--color" => drop(words.next()),
            word if word.starts_with('-') => {}
            _ => filters.push(word),
        }
    }
    let matches = |name: &str, filter: &str| if exact { name == filter } else { name.contains(filter) };
    scenarios
        .into_iter()
        .filter(|scenario| filters.is_empty() || filters.iter().any(|filter| matches(&scenario.name, filter)))
        .filter(|scenario| !skips.iter().any(|skip| matches(&scenario.name, skip)))
        .collect()
}

fn value_of<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|argument| argument.split('=').next() == Some(name))?;
    match arguments[place].split_once('=') {
        Some((_, value)) => Some(value),
        None => arguments.get(place + 1).map(String::as_str),
    }
}

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
