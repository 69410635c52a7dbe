//! `valija lab`: a small Internet on one machine, in namespaces of the kernel: a name server, two mail servers, a relay
//! host, a satellite, a local network with its server and a client, and a stranger. Each host runs valija or the Postfix
//! that is installed. A person enters the hosts and types; `valija lab case N` plays one of the five cases by itself and
//! shows the dialogue beside the logs.
//!
//! In reading order: `plan` (hosts, addresses, zone), `host.sh` (how a host is built), `build` (namespaces and devices),
//! `roles` (log, name server and typist inside the hosts), `watch` (logs), `cases`. The programs `unshare`, `nsenter` and
//! `ip` are started here, by root at root's wish; the mail system itself never starts any.

mod build;
mod cases;
mod plan;
mod roles;
mod watch;

use build::{Found, Lab, Purpose};
use cases::{CASES, Case, Step};
use plan::{HOSTS, Product};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use watch::{Line, Logs, beside};

const USAGE: &str = "usage:
  valija lab [--mail1 valija|postfix] [--mail2 valija|postfix]
                                  build the lab; it lives until this ends (Enter, Ctrl-C)
  valija lab hosts                its hosts
  valija lab enter HOST [USER] [-- COMMAND …]
                                  a shell, or a command, on a host
  valija lab talk HOST[:PORT]     on a host: type a dialogue with a server
  valija lab log [HOST …]         follow the logs
  valija lab case N|all [--mail1 …] [--mail2 …] [--width COLUMNS]
                                  play a case (1 to 5) in the running lab, or in one of its own
--mail1 is what runs where mail begins (mail1, horus, maquina, avatar), --mail2 where it arrives
(mail2, smarthost); valija unless told otherwise. It needs root.
";

/// How long a case waits for a line of a log.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["--help" | "-h", ..] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        ["hosts"] => hosts(),
        ["enter", host, rest @ ..] => enter(host, rest),
        ["log", names @ ..] => log(names),
        ["case", number, rest @ ..] => Options::read(rest).and_then(|options| case(number, &options)),
        ["talk", target] => roles::talk(target, None).map(|()| ExitCode::SUCCESS),
        ["talk", target, script] => roles::talk(target, Some(script)).map(|()| ExitCode::SUCCESS),
        ["syslog", name] => roles::syslog(name).map(|()| ExitCode::SUCCESS),
        ["names"] => roles::names().map(|()| ExitCode::SUCCESS),
        flags => Options::read(flags).and_then(|options| open(&options)),
    };
    done.unwrap_or_else(|what| {
        eprintln!("valija lab: {what}");
        ExitCode::FAILURE
    })
}

/// What the flags say.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    first: Option<Product>,
    second: Option<Product>,
    width: Option<usize>,
}

impl Options {
    fn read(words: &[&str]) -> Result<Options, String> {
        let mut options = Options { first: None, second: None, width: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, inline) =
                word.split_once('=').map_or((*word, None), |(flag, value)| (flag, Some(value)));
            let mut value =
                || inline.or_else(|| words.next().copied()).ok_or(format!("{flag} needs a value"));
            match flag {
                "--mail1" => options.first = Some(product(value()?)?),
                "--mail2" => options.second = Some(product(value()?)?),
                "--width" => {
                    let text = value()?;
                    let number = text.parse().map_err(|_| format!("--width: {text:?} is no number"))?;
                    options.width = Some(number);
                }
                _ => return Err(format!("what is {word:?}?\n{USAGE}")),
            }
        }
        Ok(options)
    }

    fn products(&self) -> (Product, Product) {
        (self.first.unwrap_or(Product::Valija), self.second.unwrap_or(Product::Valija))
    }
}

fn product(text: &str) -> Result<Product, String> {
    match text {
        "valija" => Ok(Product::Valija),
        "postfix" => Ok(Product::Postfix),
        _ => Err(format!("{text:?} is neither valija nor postfix")),
    }
}

/// Builds the whole lab and keeps it until somebody ends it.
fn open(options: &Options) -> Result<ExitCode, String> {
    let (first, second) = options.products();
    build::requirements(&[first, second])?;
    if let Some(other) = build::running().iter().find(|host| host.open) {
        return Err(format!("a lab runs already (its process is {}); end it there, or kill that", other.lab));
    }
    println!("Building {} hosts …", HOSTS.len());
    let names: Vec<&str> = HOSTS.iter().map(|host| host.name).collect();
    let mut lab = Lab::build(&names, Purpose::Open, (first, second))?;
    println!("{}", listing(&own(lab.number)));
    println!(
        "In another terminal, as root:\n    valija lab enter HOST [USER]     a shell there\n    valija lab log                   all logs as they grow\n    valija lab case 3                play a case, with the logs beside it\n"
    );
    println!("{}", cases::guide());
    println!("Enter (or Ctrl-C) ends the lab, and everything in it.");
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        // Without anybody who could press Enter it lives until it is killed.
        Ok(0) | Err(_) if !std::io::stdin().is_terminal() => {
            while lab.lives() {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn own(number: u32) -> Vec<Found> {
    let mut found: Vec<Found> = build::running().into_iter().filter(|host| host.lab == number).collect();
    found.sort_by_key(|found| HOSTS.iter().position(|host| host.name == found.name));
    found
}

/// The hosts of the lab that runs.
fn current() -> Result<Vec<Found>, String> {
    if sys::users::identities().euid != 0 {
        return Err("only root may look into the lab's hosts: sudo valija lab …".into());
    }
    match build::running().iter().find(|host| host.open) {
        Some(host) => Ok(own(host.lab)),
        None => Err("no lab runs; start one in another terminal: valija lab".into()),
    }
}

fn find<'a>(hosts: &'a [Found], name: &str) -> Result<&'a Found, String> {
    hosts.iter().find(|host| host.name == name).ok_or_else(|| {
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        format!("there is no host {name:?}; there are {}", names.join(", "))
    })
}

fn hosts() -> Result<ExitCode, String> {
    print!("{}", listing(&current()?));
    Ok(ExitCode::SUCCESS)
}

fn listing(found: &[Found]) -> String {
    let mut text = String::new();
    for host in found {
        let planned = plan::host(&host.name).unwrap_or(&plan::NAMES);
        let addresses: Vec<&str> = planned.addresses.iter().filter_map(|a| a.split('/').next()).collect();
        text.push_str(&format!(
            "{:<10} {:<29} {:<28} {}\n",
            host.name,
            planned.fqdn,
            addresses.join(" "),
            planned.what
        ));
    }
    text
}

/// A shell on a host, or a command.
fn enter(name: &str, rest: &[&str]) -> Result<ExitCode, String> {
    let (user, command) = match rest {
        [] => ("root", &[][..]),
        ["--", command @ ..] => ("root", command),
        [user] => (*user, &[][..]),
        [user, "--", command @ ..] => (*user, command),
        _ => return Err(format!("write valija lab enter HOST [USER] [-- COMMAND …]\n{USAGE}")),
    };
    let hosts = current()?;
    let host = find(&hosts, name)?;
    let known = |line: &str| line.split(':').next() == Some(user);
    if user != "root" && !plan::USERS.lines().any(known) {
        return Err(format!("there is no user {user:?} in the lab"));
    }
    let mut process = build::inside(host.process, user);
    match command {
        [] => process.args(["sh", "-c", "cd && exec bash -i"]),
        command => process.args(["sh", "-c", "cd && exec \"$@\"", "sh"]).args(command),
    };
    Err(format!("nsenter: {}", process.exec()))
}

fn log(names: &[&str]) -> Result<ExitCode, String> {
    let all = current()?;
    let lab = all.first().map_or(0, |host| host.lab);
    let mut chosen = Vec::new();
    for name in names {
        chosen.push(find(&all, name)?.clone());
    }
    let logs = Logs::of(if names.is_empty() { all } else { chosen });
    watch::follow(logs, || own(lab).is_empty());
    Ok(ExitCode::SUCCESS)
}

/// Plays a case, or all.
fn case(number: &str, options: &Options) -> Result<ExitCode, String> {
    let chosen: Vec<&Case> = match number {
        "all" => CASES.iter().collect(),
        number => vec![cases::case(number).ok_or("the cases are numbered 1 to 5")?],
    };
    let (first, second) = options.products();
    build::requirements(&[first, second])?;
    let fresh = options.first.is_some() || options.second.is_some();
    let present = if fresh { None } else { build::running().into_iter().find(|host| host.open) };
    let mut built = None;
    let hosts = match present {
        Some(host) => own(host.lab),
        None => {
            let mut names: Vec<&str> = chosen.iter().flat_map(|case| case.hosts).copied().collect();
            names.sort_unstable();
            names.dedup();
            let lab = built.insert(Lab::build(&names, Purpose::Case, (first, second))?);
            own(lab.number)
        }
    };
    let width = options.width.unwrap_or_else(terminal_width);
    let mut outcome = Ok(ExitCode::SUCCESS);
    for case in chosen {
        println!("\n===== Case {}: {} =====", case.number, case.title);
        let mut stage =
            Stage { hosts: &hosts, logs: Logs::of(hosts.clone()), seen: Vec::new(), from: 0, width };
        stage.seen.extend(stage.logs.new_lines());
        stage.from = stage.seen.len();
        outcome = stage.play(case).map(|()| ExitCode::SUCCESS);
        if let Err(what) = outcome {
            outcome = Err(format!("case {}: {what}", case.number));
            break;
        }
        println!("----- Case {}: everything arrived -----", case.number);
    }
    drop(built);
    outcome
}

/// Columns of the terminal; a wide one where there is none.
fn terminal_width() -> usize {
    const WIDE: usize = 160;
    let output = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|columns| columns.parse().ok()).filter(|w| *w > 0).unwrap_or(WIDE)
}

/// What a case is played on.
struct Stage<'a> {
    hosts: &'a [Found],
    logs: Logs,
    seen: Vec<Line>,
    /// Lines before this one were there before the step.
    from: usize,
    width: usize,
}

/// A shell without `mail` does with sendmail what `mail -s SUBJECT ADDRESS` does.
const MAIL: &str = r#"command -v mail >/dev/null || mail() {
    { printf 'To: %s\nSubject: %s\nMIME-Version: 1.0\nContent-Type: text/plain; charset="UTF-8"\nContent-Transfer-Encoding: 8bit\n\n' "$3" "$2"; cat; } | sendmail -t
}
"#;

impl Stage<'_> {
    fn play(&mut self, case: &Case) -> Result<(), String> {
        let mut left: Vec<String> = Vec::new();
        let mut shown = self.from;
        let mut awaited = self.from;
        for step in case.steps {
            // What a line of the log is awaited for belongs beside what caused it.
            let waits = matches!(step, Step::Logged { .. });
            if !waits && !left.is_empty() {
                self.show(&mut left, &mut shown);
            }
            match step {
                Step::Say(text) => left.extend([String::new(), (*text).to_string()]),
                Step::Type { on, user, line } => {
                    awaited = self.mark();
                    let prompt = if *user == "root" { '#' } else { '$' };
                    left.push(format!("{user}@{on}:~{prompt} {line}"));
                    let (text, ended) = self.typed(on, user, &format!("cd && {MAIL}{line}"))?;
                    left.extend(text.lines().map(String::from));
                    if !ended {
                        self.show(&mut left, &mut shown);
                        return Err(format!("`{line}` failed on {on}"));
                    }
                }
                Step::Talk { on, to, script } => {
                    awaited = self.mark();
                    left.push(format!("root@{on}:~# valija lab talk {to}"));
                    let (text, ended) = self.talked(on, to, script)?;
                    left.extend(text.lines().map(String::from));
                    if !ended {
                        self.show(&mut left, &mut shown);
                        return Err(format!("the dialogue between {on} and {to} did not go as expected"));
                    }
                }
                Step::Logged { on, words } => {
                    let done = self.logs.wait(on, words, &mut self.seen, awaited, PATIENCE);
                    if done.is_err() {
                        self.show(&mut left, &mut shown);
                    }
                    done?;
                }
                Step::Mailbox { on, user, contains } => {
                    let text = self.mailbox(on, user, contains)?;
                    left.push(format!("root@{on}:~# tail /var/mail/{user}"));
                    left.extend(text.lines().map(String::from));
                }
            }
        }
        self.show(&mut left, &mut shown);
        Ok(())
    }

    fn mark(&mut self) -> usize {
        let new = self.logs.new_lines();
        self.seen.extend(new);
        self.seen.len()
    }

    /// Prints what was said, with what the logs said meanwhile.
    fn show(&mut self, left: &mut Vec<String>, shown: &mut usize) {
        self.mark();
        let right: Vec<String> = self
            .seen
            .iter()
            .skip(*shown)
            .map(|line| format!("{} {} {}", line.host, line.clock(), line.text))
            .collect();
        *shown = self.seen.len();
        print!("{}", beside(left, &right, self.width));
        let _ = std::io::stdout().flush();
        left.clear();
    }

    /// What a shell line on a host says, and whether it ended well.
    fn typed(&self, on: &str, user: &str, line: &str) -> Result<(String, bool), String> {
        let host = find(self.hosts, on)?;
        let output = build::inside(host.process, user)
            .args(["bash", "-c", line])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("nsenter: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Ok((text.into_owned(), output.status.success()))
    }

    fn talked(&self, on: &str, to: &str, script: &str) -> Result<(String, bool), String> {
        let host = find(self.hosts, on)?;
        let output = build::inside(host.process, "root")
            .args(["/mnt/valija/sbin/valija", "lab", "talk", to, script])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("nsenter: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Ok((text.into_owned(), output.status.success()))
    }

    /// The last message of a mailbox, once it is the awaited one.
    fn mailbox(&self, on: &str, user: &str, contains: &str) -> Result<String, String> {
        let path = format!("/proc/{}/root/var/mail/{user}", find(self.hosts, on)?.process);
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let last = text.rfind("\n\nFrom ").map_or(&*text, |place| &text[place + 2..]);
            if last.contains(contains) {
                return Ok(last.trim_end().to_string());
            }
            if std::time::Instant::now() > end {
                return Err(format!("no message with {contains:?} came into the mailbox of {user} on {on}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let options = Options::read(&["--mail1", "postfix", "--width=120"]).unwrap();
        assert_eq!(options.products(), (Product::Postfix, Product::Valija));
        assert_eq!(options.width, Some(120));
        assert!(Options::read(&["--mail2", "exim"]).unwrap_err().contains("neither"));
        assert!(Options::read(&["--mail2"]).unwrap_err().contains("needs a value"));
        assert!(Options::read(&["cases"]).unwrap_err().contains("usage"));
    }
}
