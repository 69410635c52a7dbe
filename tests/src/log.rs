//! What the programs of a world say on its `/dev/log`: collected, waited for, and asked whether all mail is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One line: the tag without its process id, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Such as `postfix/smtpd`.
    pub tag: String,
    /// What follows the tag.
    pub text: String,
    /// syslog's facility and severity; mail.info is 22.
    pub priority: u8,
}

/// The log of a world.
#[derive(Clone)]
pub struct Log {
    shared: Arc<(Mutex<Vec<Line>>, Condvar)>,
}

/// What is said of a recipient that is tried again later.
pub const WAITS: [&str; 2] = [", status=deferred", ", status=SOFTBOUNCE"];

const MARK: &str = "valija-tests-mark";

impl Log {
    /// Binds the socket and reads it from a thread of its own, which ends with the world's mark "end".
    pub fn listen(path: &str) -> std::io::Result<Log> {
        let socket = UnixDatagram::bind(path)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let log = Log { shared: Arc::default() };
        let shared = Arc::clone(&log.shared);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut buffer) {
                let Some(line) = parse(&String::from_utf8_lossy(&buffer[..length])) else { continue };
                let end = line.tag == MARK && line.text == "end";
                lock(&shared.0).push(line);
                shared.1.notify_all();
                if end {
                    break;
                }
            }
        });
        Ok(log)
    }

    /// All lines so far that the mail system wrote.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.shared.0).iter().filter(|line| line.tag != MARK).cloned().collect()
    }

    /// Waits until `done` holds of the lines.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&[Line]) -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + limit;
        let mut lines = lock(&self.shared.0);
        while !done(&lines) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let tail: Vec<String> = lines.iter().rev().take(15).rev().map(Line::shown).collect();
                return Err(format!(
                    "waited {limit:?} in vain for {what}; the log ends:\n{}",
                    tail.join("\n")
                ));
            }
            lines = match self.shared.1.wait_timeout(lines, left) {
                Ok((lines, _)) => lines,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        Ok(())
    }

    /// Waits until everything that was sent before now has been read.
    pub fn drain(&self, path: &str) -> Result<(), String> {
        let mark = format!("{:?}", Instant::now());
        self.mark(path, &mark)?;
        self.wait("its own mark", crate::world::PATIENCE, |lines| {
            lines.iter().any(|line| line.tag == MARK && line.text == mark)
        })
    }

    /// Ends the reading thread.
    pub fn end(&self, path: &str) {
        let _ = self.mark(path, "end");
    }

    fn mark(&self, path: &str, text: &str) -> Result<(), String> {
        let sender = UnixDatagram::unbound().map_err(|error| error.to_string())?;
        sender
            .send_to(format!("<22>Jan  1 00:00:00 {MARK}[1]: {text}").as_bytes(), path)
            .map(drop)
            .map_err(|error| format!("{path}: {error}"))
    }
}

impl Line {
    /// As in the expected logs. A severity that does not fit the words is shown, so that nobody expects it.
    pub fn shown(&self) -> String {
        const MAIL: u8 = 16;
        let severity = match self.text.split(": ").next() {
            Some("warning") => 4,
            Some("error") => 3,
            Some("fatal" | "panic") => 2,
            _ => 6,
        };
        if self.priority == MAIL + severity {
            return format!("{}: {}", self.tag, self.text);
        }
        format!("{}: {} [priority {}]", self.tag, self.text, self.priority)
    }

    /// The queue id at the start of the text.
    pub fn queue_id(&self) -> Option<&str> {
        let (id, _) = self.text.split_once(": ")?;
        is_queue_id(id).then_some(id)
    }
}

/// Whether this can be a queue id, short or long form.
pub fn is_queue_id(id: &str) -> bool {
    let short = id.len() >= 6 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let long = id.len() >= 12
        && id.bytes().any(|byte| byte.is_ascii_digit())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() && !b"AEIOUaeiou".contains(&byte));
    short || long
}

/// The messages that are neither gone, nor held, nor waiting for a later try; and whether the scheduler saw them. One that
/// it never saw may have been given up before it was complete, which is not always logged.
pub fn unsettled(lines: &[Line]) -> BTreeMap<String, bool> {
    #[derive(Default)]
    struct Seen {
        done: bool,
        active: bool,
        wanted: usize,
        answered: BTreeSet<String>,
    }
    let mut messages: BTreeMap<String, Seen> = BTreeMap::new();
    for line in lines {
        let Some(id) = line.queue_id() else { continue };
        let text = &line.text[id.len() + 2..];
        if text.starts_with("message-id=") && line.tag.ends_with("/cleanup") {
            messages.entry(id.to_string()).or_default();
        }
        let Some(message) = messages.get_mut(id) else { continue };
        if text == "removed"
            || text.starts_with("hold: ")
            || text.starts_with("milter-reject")
            || text.starts_with("milter-discard: END")
            || text.starts_with("reject: ")
        {
            message.done = true;
        } else if let Some((_, count)) =
            text.strip_suffix(" (queue active)").and_then(|text| text.rsplit_once(" nrcpt="))
        {
            *message = Seen { active: true, wanted: count.parse().unwrap_or(1), ..Seen::default() };
        } else if text.starts_with("to=<") && WAITS.iter().any(|status| text.contains(status)) {
            let to = text.split(", relay=").next().unwrap_or(text);
            message.answered.insert(to.to_string());
        } else if text.starts_with("to=<") {
            message.wanted = message.wanted.saturating_sub(1);
        }
    }
    messages
        .into_iter()
        .filter(|(_, seen)| {
            let waits = seen.active && !seen.answered.is_empty() && seen.answered.len() >= seen.wanted;
            !seen.done && !waits
        })
        .map(|(id, seen)| (id, seen.active))
        .collect()
}

fn parse(datagram: &str) -> Option<Line> {
    let (priority, rest) = datagram.strip_prefix('<')?.split_once('>')?;
    let rest = rest.get(16..)?;
    let (head, text) = rest.split_once(": ")?;
    let tag = head.split('[').next().unwrap_or(head).to_string();
    Some(Line {
        tag,
        text: text.trim_end_matches(['\n', '\0']).to_string(),
        priority: priority.parse().ok()?,
    })
}

fn lock(lines: &Mutex<Vec<Line>>) -> MutexGuard<'_, Vec<Line>> {
    lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts.iter().filter_map(|text| parse(&format!("<22>Nov 20 15:18:56 {text}"))).collect()
    }

    #[test]
    fn a_message_is_settled_when_removed_or_deferred() {
        let mut log = vec!["postfix/cleanup[7]: DE3232C16A: message-id=<a@b>"];
        assert_eq!(unsettled(&lines(&log)).len(), 1);
        log.push("postfix/qmgr[8]: DE3232C16A: from=<a@b>, size=3, nrcpt=2 (queue active)");
        log.push("postfix/local[9]: DE3232C16A: to=<c@b>, relay=local, dsn=2.0.0, status=sent (delivered to mailbox)");
        assert_eq!(unsettled(&lines(&log)).len(), 1);
        log.push("postfix/local[9]: DE3232C16A: to=<d@b>, relay=local, dsn=4.2.0, status=deferred (no)");
        assert_eq!(unsettled(&lines(&log)).len(), 0);
        log.push("postfix/qmgr[8]: DE3232C16A: from=<a@b>, size=3, nrcpt=1 (queue active)");
        assert_eq!(unsettled(&lines(&log)).len(), 1);
        log.push("postfix/qmgr[8]: DE3232C16A: removed");
        assert_eq!(unsettled(&lines(&log)).len(), 0);
    }
}
