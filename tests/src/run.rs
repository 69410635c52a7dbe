//! Runs a scenario in a world, gathers what came out as named texts, and compares them with what is expected.

use crate::dialogue;
use crate::log::Line;
use crate::normal::{Normal, canonical};
use crate::reload;
use crate::scenario::{Placed, Scenario, Step, Written, collect};
use crate::site::Site;
use crate::world::{PATIENCE, Product, SYSLOG, World};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Texts by name: dialogues as `<name>.smtp`, outputs of commands, files by path, `log`, and `queue` when it is not empty.
pub type Results = BTreeMap<String, String>;

/// What came of a scenario.
pub struct Outcome {
    /// What is compared.
    pub results: Results,
    /// The whole log as it came, of all hosts.
    pub log: String,
}

/// Runs all steps in a new world; the calling thread stays in that world.
pub fn run(product: Product, scenario: &Scenario, tree: Option<&Path>) -> Result<Outcome, String> {
    let site = Site::enter(product, scenario, tree)?;
    let mut raw = Results::new();
    let done = steps(&site, scenario, &mut raw);
    let logs = || -> String {
        let mut text = shown(&site.world.log.lines());
        for (name, peer) in &site.peers {
            let lines = peer.call(|world| Ok(world.log.lines())).unwrap_or_default();
            text.push_str(&format!("\n-- on {name}:\n{}", shown(&lines)));
        }
        text
    };
    if std::env::var_os("VALIJA_TEST_LOG").is_some() {
        eprintln!("--- {} on {product:?}\n{}", scenario.name, logs());
    }
    done.map_err(|error| format!("{error}{LOG}{}", logs()))?;
    let whole = logs();
    let lines = site.world.log.lines();
    let mut further = Vec::new();
    for (name, peer) in &site.peers {
        let placed = scenario.peers.get(name).map(|host| host.files.clone()).unwrap_or_default();
        let (lines, found) = peer.call(move |world| Ok((world.log.lines(), files(&placed)?)))?;
        further.push((format!("peer/{name}/"), lines, found));
    }
    let logs: Vec<&[Line]> = std::iter::once(lines.as_slice())
        .chain(further.iter().map(|(_, lines, _): &(String, Vec<Line>, _)| lines.as_slice()))
        .collect();
    let normal = Normal::new(&logs);
    let mut results: Results = raw.into_iter().map(|(name, text)| (name, normal.text(&text))).collect();
    let own = (String::new(), lines.clone(), files(&scenario.host.files)?);
    for (prefix, lines, found) in std::iter::once(own).chain(further.iter().cloned()) {
        for (path, content) in named(found, &normal) {
            results.insert(format!("{prefix}{path}"), content);
        }
        let mut log = normal.log(&lines);
        if scenario.distinct {
            log = distinct(&log);
        }
        if !scenario.unheard {
            results.insert(format!("{prefix}log"), if scenario.counted { count(&log) } else { log });
        }
    }
    Ok(Outcome { results, log: format!("{LOG}{whole}\n") })
}

/// What stands before the log in the report of a failure.
pub const LOG: &str = "\nthe whole log:\n";

fn shown(lines: &[Line]) -> String {
    lines.iter().map(Line::shown).collect::<Vec<_>>().join("\n")
}

fn steps(site: &Site, scenario: &Scenario, results: &mut Results) -> Result<(), String> {
    site.start(scenario).map_err(|error| format!("the mail systems did not start: {error}"))?;
    for written in &scenario.steps {
        step(site, scenario, &written.step, results).map_err(|error| format!("{written}: {error}"))?;
    }
    if scenario.host.starts
        && let Some(queue) = remaining(&site.world, scenario.expect.contains_key("queue"))?
    {
        results.insert("queue".into(), queue);
    }
    for (name, peer) in &site.peers {
        if scenario.peers.get(name).is_some_and(|host| host.starts) {
            let key = format!("peer/{name}/queue");
            let expected = scenario.expect.contains_key(&key);
            if let Some(queue) = peer.call(move |world| remaining(world, expected))? {
                results.insert(key, queue);
            }
        }
    }
    let volatile = [
        (r"(?m)^(C[:+] MAIL FROM:.*) SIZE=\d+", "$1 SIZE=<SIZE>"),
        (r"(?m)^(C[:+] XFORWARD .*)PORT=\d+", "${1}PORT=<PORT>"),
    ];
    for (name, mut text) in site.seen() {
        for (rule, replacement) in volatile {
            let rule = Regex::new(rule).map_err(|error| error.to_string())?;
            text = rule.replace_all(&text, replacement).into_owned();
        }
        results.insert(name, text);
    }
    site.rest()?;
    site.world.log.drain(SYSLOG)
}

fn step(site: &Site, scenario: &Scenario, step: &Step, results: &mut Results) -> Result<(), String> {
    match step {
        Step::Settle => site.settle()?,
        Step::Zone(_) | Step::Server(..) => site.change(step, scenario)?,
        Step::Smtp { name, from, to, port, tls } => {
            let script = scenario.dialogues.get(name).ok_or("no such dialogue")?;
            let before = departures(&site.world.log.lines());
            let stream = site.world.connect(from, to.as_deref(), *port)?;
            let transcript = dialogue::play(script, stream, tls.as_ref(), || site.settle())?;
            results.insert(format!("{name}.smtp"), transcript);
            if to.is_none() {
                site.world
                    .log
                    .wait("the client's departure", PATIENCE, |lines| departures(lines) > before)?;
            }
        }
        Step::On(host, step) => {
            let step = step.as_ref().clone();
            let peer = site.peers.get(host).ok_or("no such host")?;
            if let Some((name, text)) = peer.call(move |world| on(world, &step))? {
                results.insert(format!("peer/{host}/{name}"), text);
            }
        }
        step => results.extend(on(&site.world, step)?),
    }
    Ok(())
}

/// The queue, unless it is empty. One that must be has a moment: the log tells of a delivery before the queue forgets it.
fn remaining(world: &World, expected: bool) -> Result<Option<String>, String> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let queue = world.run("root", "postqueue -p")?.text;
        if queue == "Mail queue is empty\n" {
            return Ok(None);
        }
        if expected || Instant::now() > end {
            return Ok(Some(queue));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Does a step that one host does alone; a named output comes back.
fn on(world: &World, step: &Step) -> Result<Option<(String, String)>, String> {
    match step {
        Step::Start => world.start()?,
        Step::Stop => world.expect_success("root", "postfix stop")?,
        Step::Dovecot(true) => crate::dovecot::up(world)?,
        Step::Dovecot(false) => crate::dovecot::down(world)?,
        Step::Settle => world.settle()?,
        Step::Empty => world.empty()?,
        Step::Wait(count, text) => world.log.wait(&format!("{text:?}"), PATIENCE, |lines| {
            lines.iter().filter(|line| line.shown().contains(text.as_str())).count() >= *count
        })?,
        Step::Until(command) => world.until(command)?,
        Step::Command { user, name: None, command } => {
            let reload = reload::Before::of(world, command);
            world.expect_success(user, command)?;
            reload.map_or(Ok(()), |before| before.over(world))?;
        }
        Step::Command { user, name: Some(name), command } => {
            let reload = reload::Before::of(world, command);
            let output = world.run(user, command)?;
            reload.map_or(Ok(()), |before| before.over(world))?;
            let ended =
                if output.status == 0 { String::new() } else { format!("[exit {}]\n", output.status) };
            return Ok(Some((name.clone(), output.text + &ended)));
        }
        other => return Err(format!("{other:?} cannot be done on one host alone")),
    }
    Ok(None)
}

fn departures(lines: &[Line]) -> usize {
    lines
        .iter()
        .filter(|line| line.tag.ends_with("/smtpd") && line.text.starts_with("disconnect from "))
        .count()
}

/// A log without lines that repeat the one before, and with each warning that is of no message once: how many processes
/// of Postfix read a table, and say what is wrong with it, is a matter of the moment.
fn distinct(log: &str) -> String {
    let mut lines: Vec<&str> = log.lines().collect();
    let mut warned = BTreeSet::new();
    let of_none = |line: &str| line.contains(": warning: ") && !line.contains("<QID");
    lines.retain(|line| !of_none(line) || warned.insert(*line));
    lines.dedup();
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// How often each line stands in a log, whatever the message.
fn count(log: &str) -> String {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    if let Ok(id) = Regex::new(r"<QID\d+>") {
        for line in log.lines() {
            *lines.entry(id.replace_all(line, "<QID>").into_owned()).or_default() += 1;
        }
    }
    lines.into_iter().map(|(line, count)| format!("{count} {line}\n")).collect()
}

/// The mailboxes and other files that were not there before.
fn files(placed: &[Placed]) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let placed: BTreeSet<&PathBuf> = placed.iter().map(|file| &file.path).collect();
    let mut found = Vec::new();
    for root in ["/var/mail", "/home", "/srv"] {
        collect(Path::new(root), &mut |path, content, _| {
            let path = Path::new(root).join(path);
            if !placed.contains(&path) {
                found.push((path, content));
            }
        })
        .map_err(|error| format!("{root}: {error}"))?;
    }
    Ok(found)
}

/// Files by their path and text, without what changes.
fn named(found: Vec<(PathBuf, Vec<u8>)>, normal: &Normal) -> Results {
    let mut maildir = 0;
    let mut results = Results::new();
    for (path, content) in found {
        let mut shown = normal.text(&path.to_string_lossy());
        if shown.contains("<UNIQUE>") {
            maildir += 1;
            shown = shown.replace("<UNIQUE>", &format!("MESSAGE{maildir}"));
        }
        let text = normal.text(&String::from_utf8_lossy(&content));
        results.insert(shown.trim_start_matches('/').to_string(), text);
    }
    results
}

/// What is expected of a product.
pub fn expected(product: Product, scenario: &Scenario) -> Results {
    let mut expected = Results::new();
    let played: BTreeSet<String> = scenario
        .steps
        .iter()
        .filter_map(|written| match &written.step {
            Step::Smtp { name, .. } => Some(format!("{name}.smtp")),
            _ => None,
        })
        .collect();
    for (name, text) in &scenario.dialogues {
        expected.insert(format!("{name}.smtp"), text.clone());
    }
    expected.retain(|name, _| played.contains(name));
    for (name, text) in &scenario.expect {
        if !name.ends_with(".valija") {
            expected.insert(name.clone(), text.clone());
        }
    }
    if product == Product::Valija {
        for (name, text) in &scenario.expect {
            if let Some(name) = name.strip_suffix(".valija") {
                expected.insert(name.to_string(), text.clone());
            }
        }
    }
    for (_, log) in expected.iter_mut().filter(|(name, _)| is_log(name) && !scenario.counted) {
        *log = canonical(log);
        if scenario.distinct {
            *log = distinct(log);
        }
    }
    expected
}

fn is_log(name: &str) -> bool {
    name == "log" || (name.starts_with("peer/") && name.split('/').skip(2).eq(["log"]))
}

/// The differences between what is expected and what came out, readable; empty when there are none. What steps show
/// stands first, in their order: there lies the cause of what else differs.
pub fn differences(expected: &Results, actual: &Results, steps: &[Written]) -> String {
    let mut report = String::new();
    let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    let shows =
        |name: &str| steps.iter().position(|written| shown_by(&written.step).is_some_and(|own| own == name));
    let mut names: Vec<(usize, bool, &String)> =
        names.into_iter().map(|name| (shows(name).unwrap_or(usize::MAX), is_log(name), name)).collect();
    names.sort();
    for (place, _, name) in names {
        let by = steps.get(place).map_or(String::new(), |written| format!(" of the {written}"));
        match (expected.get(name), actual.get(name)) {
            (Some(expected), Some(actual)) if expected == actual => {}
            (Some(_), None) => report.push_str(&format!("  {name}{by}: expected, but it is not there\n")),
            (expected, Some(actual)) => {
                report.push_str(&format!("  {name}{by}: (- expected, + came out)\n"));
                report.push_str(&diff(expected.map_or("", String::as_str), actual));
            }
            (None, None) => {}
        }
    }
    report
}

/// The text that a step adds to the results.
fn shown_by(step: &Step) -> Option<String> {
    match step {
        Step::Smtp { name, .. } => Some(format!("{name}.smtp")),
        Step::Command { name, .. } => name.clone(),
        Step::On(host, step) => Some(format!("peer/{host}/{}", shown_by(step)?)),
        _ => None,
    }
}

/// A line by line comparison; of what is alike, the line before each difference.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out, mut alike) = (0, 0, String::new(), None);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            alike = Some(old[i]);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        if let Some(line) = alike.take() {
            out.push_str(&format!("      {line}\n"));
        }
        if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push_str(&format!("    - {}\n", old[i]));
            i += 1;
        } else {
            out.push_str(&format!("    + {}\n", new[j]));
            j += 1;
        }
    }
    if out.is_empty() {
        out.push_str("    (they differ in the end of the last line)\n");
    }
    out
}

/// Writes what a real Postfix showed as what is expected.
pub fn record(scenario: &Scenario, actual: &Results) -> std::io::Result<()> {
    for (name, text) in actual {
        let path = if name.ends_with(".smtp") {
            scenario.folder.join(name)
        } else {
            scenario.folder.join("expect").join(name)
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)?;
    }
    for name in
        scenario.expect.keys().filter(|name| !name.ends_with(".valija") && !actual.contains_key(*name))
    {
        std::fs::remove_file(scenario.folder.join("expect").join(name))?;
    }
    Ok(())
}

/// Writes what valija shows where it differs on purpose.
pub fn record_differences(scenario: &Scenario, actual: &Results) -> std::io::Result<()> {
    let mut plain = scenario.clone();
    plain.expect.retain(|name, _| !name.ends_with(".valija"));
    let expected = expected(Product::Valija, &plain);
    for (name, text) in actual.iter().filter(|(name, text)| expected.get(*name) != Some(*text)) {
        let path = scenario.folder.join("expect").join(format!("{name}.valija"));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_no_message_counts_once() {
        let log = "p/a: warning: x\np/a: y\np/a: warning: x\np/a: y\np/a: y\np/a: warning: <QID1>: z\np/a: y\n\
                   p/a: warning: <QID1>: z\n";
        let expected = "p/a: warning: x\np/a: y\np/a: warning: <QID1>: z\np/a: y\np/a: warning: <QID1>: z\n";
        assert_eq!(distinct(log), expected);
        assert_ne!(distinct("p/a: warning: x\n"), distinct("p/a: warning: other\n"));
    }

    #[test]
    fn differences_are_found_and_shown() {
        let text = |text: &str| Results::from([("log".to_string(), text.to_string())]);
        assert_eq!(differences(&text("a\nb\n"), &text("a\nb\n"), &[]), "");
        assert_eq!(
            differences(&text("x\na\nb\nd\n"), &text("x\na\nc\nd\n"), &[]),
            "  log: (- expected, + came out)\n      a\n    - b\n    + c\n"
        );
        assert!(differences(&Results::new(), &text("a\n"), &[]).contains("+ a"));
        assert!(differences(&text("a\n"), &Results::new(), &[]).contains("not there"));
    }

    #[test]
    fn what_steps_show_stands_before_what_came_of_it() {
        let step = |line, name: &str| Written {
            line,
            text: format!("root {name}: true"),
            step: Step::Command { user: "root".into(), name: Some(name.into()), command: "true".into() },
        };
        let names = ["a", "log", "var/mail/jose", "z"];
        let all = |text: &str| names.map(|name| (name.to_string(), text.to_string())).into();
        let report = differences(&all("x\n"), &all("y\n"), &[step(1, "z"), step(3, "a")]);
        let heads: Vec<&str> = report.lines().filter(|line| line.ends_with("came out)")).collect();
        assert_eq!(
            heads,
            [
                "  z of the step in line 1 `root z: true`: (- expected, + came out)",
                "  a of the step in line 3 `root a: true`: (- expected, + came out)",
                "  var/mail/jose: (- expected, + came out)",
                "  log: (- expected, + came out)",
            ]
        );
    }
}
