//! What a step waits for that tells the mail system to read its configuration again: `postfix reload` ends before
//! anybody has. The supervisor says when it has; Postfix's daemons of before leave when they next look up, and until then
//! one of them may take the next client. Which of them is quicker is nothing that a scenario shows.

use crate::log::Line;
use crate::processes::{Process, children, processes};
use crate::world::{PATIENCE, Product, SYSLOG, World};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long daemons of before may take to leave: one that serves somebody stays for as long as that takes.
const LEAVING: Duration = Duration::from_secs(2);

/// How a world was before a command that may reload.
pub struct Before {
    asked: usize,
    done: usize,
    daemons: BTreeSet<u32>,
}

impl Before {
    /// To be called before a command; none if it has nothing to do with reloading.
    pub fn of(world: &World, command: &str) -> Option<Before> {
        if !command.contains("reload") {
            return None;
        }
        let lines = world.log.lines();
        let daemons = match world.product {
            Product::Postfix => children("/var/spool/postfix/pid/master.pid"),
            Product::Valija => BTreeSet::new(),
        };
        Some(Before { asked: asked(&lines), done: done(&lines), daemons })
    }

    /// To be called when the command is done: if it asked for it, waits until the reload is over.
    pub fn over(self, world: &World) -> Result<(), String> {
        world.log.drain(SYSLOG)?;
        let asked = asked(&world.log.lines()) - self.asked;
        if asked == 0 {
            return Ok(());
        }
        world.log.wait("the supervisor to say that it reloaded", PATIENCE, |lines| {
            done(lines) >= self.done + asked
        })?;
        // Postfix's command leaves a look at the queue behind in the background.
        let remains = |process: &Process| self.daemons.contains(&process.id) || process.name == "postsuper";
        let end = Instant::now() + LEAVING;
        while world.product == Product::Postfix && Instant::now() < end && processes().iter().any(remains) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn asked(lines: &[Line]) -> usize {
    let asks = |line: &&Line| line.text == "refreshing the Postfix mail system";
    lines.iter().filter(asks).count()
}

/// Refusals count: the configuration of before stays.
fn done(lines: &[Line]) -> usize {
    let says = |line: &&Line| {
        let words = ["reload -- version ", "reload refused, "];
        line.tag.ends_with("/master") && words.iter().any(|words| line.text.starts_with(words))
    };
    lines.iter().filter(says).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reload_is_over_too() {
        let line = |tag: &str, text: &str| Line { tag: tag.into(), text: text.into(), priority: 22 };
        let log = [
            line("postfix/postfix-script", "refreshing the Postfix mail system"),
            line("postfix/master", "reload -- version 3.7.11, configuration /etc/postfix"),
            line("postfix/postfix-script", "refreshing the Postfix mail system"),
            line("postfix/master", "reload refused, the running configuration stays in force: x"),
            line("postfix/smtpd", "reload -- version"),
        ];
        assert_eq!((asked(&log), done(&log)), (2, 2));
    }
}
