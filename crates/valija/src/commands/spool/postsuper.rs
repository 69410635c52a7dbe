//! postsuper: hold, release, requeue, delete and expire messages. postsuper(1)
//!
//! `-s`, `-S` and `-p` repaired Postfix's queue files; this queue repairs itself at each start, so
//! they are accepted and do nothing.

use super::Command;
use proto::control::{Action, Queue};
use std::io::BufRead;
use std::process::ExitCode;

const USAGE: &str = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] \
    [-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] \
    [-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] \
    [-S (redundant structure fix)][-v (verbose)] [queue...]";

/// What was asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    directory: Option<String>,
    actions: Vec<(Action, String)>,
    queues: Vec<String>,
}

/// Runs the command.
pub fn run(name: &str, args: &[String]) -> ExitCode {
    let wishes = match options(args) {
        Ok(wishes) => wishes,
        Err(text) => {
            if let Some(text) = text {
                eprintln!("{name}: {text}");
            }
            eprintln!("{name}: fatal: {USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let command = match Command::new(name, wishes.directory.as_deref()) {
        Ok(command) => command,
        Err(why) => {
            eprintln!("{name}: fatal: {why}");
            return ExitCode::FAILURE;
        }
    };
    if !command.privileged() {
        command.fatal("use of this command is reserved for the superuser".into());
        return ExitCode::FAILURE;
    }
    match work(&command, wishes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            command.fatal(why);
            ExitCode::FAILURE
        }
    }
}

fn work(command: &Command, wishes: Wishes) -> Result<(), String> {
    let mut queues = Vec::new();
    for name in &wishes.queues {
        match name.as_str() {
            // Places where Postfix keeps files about messages, or that hold no message here.
            "maildrop" | "corrupt" | "defer" | "bounce" | "trace" | "flush" => {
                command.warn(format!("queue {name} holds no messages that this command can change"));
            }
            name => queues.push(Queue::parse(name).ok_or(format!("invalid directory name: {name}"))?),
        }
    }
    if !wishes.queues.is_empty() && queues.is_empty() {
        return Ok(());
    }
    // What is asked of the same action is done and counted together, as in Postfix.
    let mut done: Vec<Action> = Vec::new();
    for (action, _) in &wishes.actions {
        if done.contains(action) {
            continue;
        }
        done.push(*action);
        let (mut ids, mut all) = (Vec::new(), false);
        for (_, which) in wishes.actions.iter().filter(|(a, _)| a == action) {
            match which.as_str() {
                "ALL" => all = true,
                "-" => {
                    for line in std::io::stdin().lock().lines() {
                        let line = line.map_err(|e| format!("standard input: {e}"))?;
                        ids.extend(valid(command, line.trim()));
                    }
                }
                id => ids.extend(valid(command, id)),
            }
        }
        // In a queue that is named, `ALL` means that queue.
        let mut count = 0;
        if all {
            count += command.control(*action, &[], &queues)?.len();
        } else {
            for part in ids.chunks(10_000) {
                let touched = command.control(*action, part, &queues)?;
                for id in &touched {
                    command.tell(format!("{id}: {}", done_to(*action)));
                }
                count += touched.len();
            }
        }
        let plural = if count == 1 { "" } else { "s" };
        command.tell(format!("{}: {count} message{plural}", summary(*action)));
    }
    Ok(())
}

/// A queue id as it is written, in either style; what is none is warned about.
fn valid(command: &Command, id: &str) -> Option<String> {
    if id.is_empty() {
        return None;
    }
    if id.len() > 100 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        command.warn(format!("invalid mail queue id: {id}"));
        return None;
    }
    Some(id.to_string())
}

/// What is said of one message that was named.
fn done_to(action: Action) -> &'static str {
    match action {
        Action::Hold => "placed on hold",
        Action::Release => "released from hold",
        Action::Requeue => "requeued",
        Action::Delete => "removed",
        Action::Expire => "expired",
        Action::ExpireRelease => "expired and released from hold",
    }
}

fn summary(action: Action) -> &'static str {
    match action {
        Action::Hold => "Placed on hold",
        Action::Release => "Released from hold",
        Action::Requeue => "Requeued",
        Action::Delete => "Deleted",
        Action::Expire | Action::ExpireRelease => "Force-expired",
    }
}

/// `Err` holds what is wrong beside the usage.
fn options(args: &[String]) -> Result<Wishes, Option<String>> {
    let mut wishes = Wishes::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            wishes.queues.extend(words.by_ref().cloned());
            break;
        }
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            wishes.queues.push(word.clone());
            wishes.queues.extend(words.by_ref().cloned());
            break;
        };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let action = match letter {
                'v' | 'p' | 's' | 'S' => continue,
                'c' => None,
                'd' => Some(Action::Delete),
                'e' => Some(Action::Expire),
                'f' => Some(Action::ExpireRelease),
                'h' => Some(Action::Hold),
                'H' => Some(Action::Release),
                'r' => Some(Action::Requeue),
                other => return Err(Some(format!("invalid option -- '{other}'"))),
            };
            let joined: String = rest.by_ref().collect();
            let argument = if joined.is_empty() { words.next().cloned() } else { Some(joined) };
            let argument = argument.ok_or(Some(format!("option requires an argument -- '{letter}'")))?;
            match action {
                Some(action) => wishes.actions.push((action, argument)),
                None => wishes.directory = Some(argument),
            }
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_as_postfix_takes_them() {
        let read = |words: &str| {
            let args: Vec<String> = words.split_whitespace().map(str::to_string).collect();
            options(&args)
        };
        let w = read("-c /x -vd ABC -h ALL -r- deferred hold").unwrap();
        assert_eq!(w.directory.as_deref(), Some("/x"));
        assert_eq!(
            w.actions,
            [(Action::Delete, "ABC".into()), (Action::Hold, "ALL".into()), (Action::Requeue, "-".into())]
        );
        assert_eq!(w.queues, ["deferred", "hold"]);
        assert_eq!(read("-ps").unwrap(), Wishes::default());
        assert_eq!(read("-x"), Err(Some("invalid option -- 'x'".into())));
        assert_eq!(read("-h"), Err(Some("option requires an argument -- 'h'".into())));
    }
}
