//! What changes from run to run becomes a placeholder, so that texts can be compared: queue ids (numbered in the order in
//! which the log names them first), dates, sizes, delays. A value that has not the form it should have stays as it is,
//! and so makes the comparison fail.

use crate::log::{Line, is_queue_id};
use regex::{Captures, Regex};
use std::collections::HashMap;

/// The placeholders of one run.
pub struct Normal {
    ids: HashMap<String, String>,
    rules: Vec<(Regex, &'static str)>,
    listed: Regex,
}

const DAY: &str = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
const MONTH: &str = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)";

impl Normal {
    /// Numbers the queue ids of the logs of one or more hosts: host by host in the order in which its log names its own
    /// messages first, and then what other servers say they call theirs.
    pub fn new(logs: &[&[Line]]) -> Normal {
        let mut ids = HashMap::new();
        // Only what stands where queue ids stand: at the start, or after the words that introduce one.
        for introductions in
            [&["notification: ", "forwarded as ", "delay notification: "][..], &["queued as "]]
        {
            for lines in logs {
                for line in lines.iter().filter(|line| !is_abandoned(line, lines)) {
                    let words = line.text.split(|c: char| !c.is_ascii_alphanumeric());
                    for id in words.filter(|word| is_queue_id(word)) {
                        let introduced =
                            introductions.iter().any(|words| line.text.contains(&format!("{words}{id}")));
                        if line.queue_id() == Some(id) || introduced {
                            let number = ids.len() + 1;
                            ids.entry(id.to_string()).or_insert_with(|| format!("<QID{number}>"));
                        }
                    }
                }
            }
        }
        let rules = [
            // The name that Dovecot gives a session.
            (r"(<[^<> ]*> )[A-Za-z0-9+/]{22}((?::[A-Z0-9]+)*) Saved".to_string(), "$1<SESSION>$2 Saved"),
            // amavis names a message by its own process and count.
            (r"\bid=[0-9]{5,}-[0-9]{2}\b".to_string(), "id=<SESSION>"),
            (r"(with LMTPS?\n\tid )[A-Za-z0-9+/]{22}((?::[A-Z0-9]+)*)\n".to_string(), "$1<SESSION>$2\n"),
            (r"\b\d{14}\.(<QID\d+>)".to_string(), "<STAMP>.$1"),
            (r"(<QID\d+>)\.\d{9,10}/".to_string(), "$1.<EPOCH>/"),
            (format!(r"{DAY}, [ \d]\d {MONTH} \d{{4}} \d\d:\d\d:\d\d [+-]\d{{4}} \([A-Z]+\)"), "<DATE>"),
            (format!(r"{DAY} {MONTH} [ \d]\d \d\d:\d\d:\d\d \d{{4}}"), "<CTIME>"),
            (r"size=\d+, nrcpt".to_string(), "size=<SIZE>, nrcpt"),
            (
                r"delay=(?:\d\d+|\d|\d\.\d|0\.\d\d?), delays=(?:\d\d+|\d|\d\.\d|0\.\d\d?)(?:/(?:\d\d+|\d|\d\.\d|0\.\d\d?)){3},".to_string(),
                "delay=N, delays=N/N/N/N,",
            ),
            (format!(r"(?m)^([> ][NUR ] +\d+ .{{18}}) {DAY} {MONTH} [ \d]\d \d\d:\d\d +(\d+)/\d+ "), "$1 <TIME> $2/<BYTES> "),
            (r#""arrival_time": \d{9,10}"#.to_string(), "\"arrival_time\": 0"),
            (r#""message_size": \d+"#.to_string(), "\"message_size\": 0"),
            // As long as the queue ids in the header.
            (r"message size \d+ exceeds".to_string(), "message size <SIZE> exceeds"),
            (r"\{client_port\}=\(\d+\)".to_string(), "{client_port}=(<PORT>)"),
            (r"\bpid[ =]\d+".to_string(), "pid <PID>"),
            (r"process id \d+".to_string(), "process id <PID>"),
            (r"\bmaildrop/[0-9A-F]{6,}:".to_string(), "maildrop/<FILE>:"),
            (r"\bid [0-9A-F]{6,}\b".to_string(), "id <QID?>"),
            (r"\b\d{9,10}\.V[0-9a-f]+I[0-9a-f]+M\d+\.".to_string(), "<UNIQUE>."),
            (r"\b\d{9,10}\.P\d+\.".to_string(), "<UNIQUE>."),
            // What clients wrote, not the mail system: a date without its zone's name, and mutt's message id.
            (format!(r"{DAY}, [ \d]?\d {MONTH} \d{{4}} \d\d:\d\d:\d\d [+-]\d{{4}}\n"), "<CLIENT-DATE>\n"),
            (r"<[A-Za-z0-9+/_-]{16}@".to_string(), "<MUTT@"),
        ];
        let rules = rules
            .into_iter()
            .filter_map(|(rule, text)| Regex::new(&rule).ok().map(|rule| (rule, text)))
            .collect();
        let listed =
            format!(r"(?m)^([0-9A-Za-z]+[*!#]?) *( *\d+) {DAY} {MONTH} [ \d]\d \d\d:\d\d:\d\d  (\S+)$");
        Normal { ids, rules, listed: Regex::new(&listed).unwrap_or_else(|error| panic!("{error}")) }
    }

    /// The text with its placeholders.
    pub fn text(&self, text: &str) -> String {
        let text = self.listed.replace_all(text, |found: &Captures<'_>| {
            // id left-justified in 11, a space, size right-justified in 7, a space
            let id = &found[1];
            let size = found[2].trim();
            if !found[0].starts_with(&format!("{id:<11} {size:>7} ")) {
                return found[0].to_string();
            }
            format!("{id} <SIZE> <TIME>  {}", &found[3])
        });
        let mut out = String::with_capacity(text.len());
        let mut word = String::new();
        for c in text.chars().chain(['\0']) {
            if c.is_ascii_alphanumeric() {
                word.push(c);
                continue;
            }
            match self.ids.get(&word) {
                Some(placeholder) => out.push_str(placeholder),
                None => out.push_str(&word),
            }
            word.clear();
            out.push(c);
        }
        out.pop();
        for (rule, replacement) in &self.rules {
            out = rule.replace_all(&out, *replacement).into_owned();
        }
        listing(&out)
    }

    /// The log in its canonical order; see [`canonical`].
    pub fn log(&self, lines: &[Line]) -> String {
        let shown: Vec<String> = lines
            .iter()
            .filter(|line| compared(line) && !is_abandoned(line, lines))
            .map(|line| self.text(&line.shown()))
            .collect();
        canonical(&shown.join("\n"))
    }
}

/// Whether a line names a message id and nothing else is known of the message: a notice that Postfix began and gave up,
/// since nobody wanted it.
fn is_abandoned(line: &Line, lines: &[Line]) -> bool {
    let Some(id) = line.queue_id().filter(|_| line.tag.ends_with("/cleanup")) else { return false };
    lines.iter().all(|other| other == line || !other.text.contains(id))
}

/// A queue listing with its entries in the order of their ids: Postfix lists them as they lie in its folders.
fn listing(text: &str) -> String {
    let key = |entry: &str| {
        let number =
            entry.split_once("<QID").and_then(|(_, rest)| rest.split('>').next()?.parse::<u32>().ok());
        number.unwrap_or(u32::MAX)
    };
    let sorted = |mut entries: Vec<&str>| {
        entries.sort_by_key(|entry| key(entry));
        entries.concat()
    };
    if let Some((head, entries)) = text.split_once("-Sender/Recipient-------\n") {
        let entries: Vec<&str> = entries.split_inclusive("\n\n").collect();
        return format!("{head}-Sender/Recipient-------\n{}", sorted(entries));
    }
    if text.starts_with("{\"queue_name\"") {
        return sorted(text.split_inclusive('\n').collect());
    }
    text.to_string()
}

/// Whether a line belongs to what is compared: all but the supervisor's daily business, statistics, and what tells of the
/// machine's clock, of a reload, or of a delay too short to be counted in hours.
fn compared(line: &Line) -> bool {
    let circumstance = [
        "file system clock",
        "problem talking to service",
        "resetting file time stamps",
        "[built-in]: zero result",
        "please reduce time unit",
        "for instructions see the bounce(5)",
    ];
    if circumstance.iter().any(|words| line.text.contains(words)) {
        return false;
    }
    let alarming = ["warning:", "error:", "fatal:", "panic:"].iter().any(|word| line.text.starts_with(word));
    match line.tag.rsplit('/').next().unwrap_or_default() {
        "master" | "postfix-script" | "mail" | "deliver" => alarming,
        "anvil" | "scache" => alarming,
        _ => line.tag.contains("postfix"),
    }
}

/// Lines in an order of their own: by daemon, in it by queue id, in that as they came, results of delivery by recipient.
pub fn canonical(log: &str) -> String {
    let key = |line: &&str| {
        let (tag, text) = line.split_once(": ").unwrap_or((line, ""));
        let rank =
            ["smtpd", "pickup", "cleanup", "qmgr"].iter().position(|name| tag.ends_with(name)).unwrap_or(9);
        let id = text.strip_prefix("<QID").and_then(|rest| rest.split_once(">: "));
        let number = id.and_then(|(number, _)| number.parse::<u32>().ok()).unwrap_or(0);
        let recipient = id
            .filter(|(_, rest)| rest.starts_with("to=<"))
            .map_or("", |(_, rest)| rest.split(", relay=").next().unwrap_or(rest));
        (rank, tag.to_string(), number, recipient.to_string())
    };
    let mut lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_by_key(key);
    end_sessions_first(&mut lines);
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// A client that has read the reply to QUIT may connect again before the server has said that the session ended: of two
/// sessions of the same client the end of the first goes before the start of the second.
fn end_sessions_first(lines: &mut [&str]) {
    fn client(line: &str) -> Option<(&str, &str)> {
        let (tag, text) = line.split_once(": ")?;
        let (what, client) = text.split_once("connect from ")?;
        tag.ends_with("smtpd").then_some((what, client.split(' ').next()?))
    }
    for at in 1..lines.len() {
        let (Some(("", from)), Some(("dis", of))) = (client(lines[at - 1]), client(lines[at])) else {
            continue;
        };
        let before = lines[..at - 1].iter().filter_map(|line| client(line)).filter(|(_, who)| *who == of);
        let open = before.fold(0i32, |open, (what, _)| open + if what.is_empty() { 1 } else { -1 });
        if from == of && open > 0 {
            lines.swap(at - 1, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tag: &str, text: &str) -> Line {
        Line { tag: tag.into(), text: text.into(), priority: 22 }
    }

    #[test]
    fn ids_dates_and_delays_become_placeholders() {
        let lines = [line("postfix/qmgr", "DE3232C16A: from=<a@b>, size=300, nrcpt=1 (queue active)")];
        let normal = Normal::new(&[&lines]);
        for (given, expected) in [
            ("id DE3232C16A; Fri, 20 Nov 2026 15:18:56 +0000 (UTC)", "id <QID1>; <DATE>"),
            ("From a@b  Fri Nov 20 15:18:56 2026", "From a@b  <CTIME>"),
            ("<20261120151856.DE3232C16A@h>", "<<STAMP>.<QID1>@h>"),
            ("delay=0.05, delays=0.04/0.01/0/0.01, dsn", "delay=N, delays=N/N/N/N, dsn"),
            ("delay=75, delays=74/0/0/1, dsn", "delay=N, delays=N/N/N/N, dsn"),
            ("delay=0.055, delays=74/0/0/1, dsn", "delay=0.055, delays=74/0/0/1, dsn"),
            ("DE3232C16A*     300 Fri Nov 20 15:18:56  a@b", "<QID1>* <SIZE> <TIME>  a@b"),
            ("DE3232C16A*    300 Fri Nov 20 15:18:56  a@b", "<QID1>*    300 Fri Nov 20 15:18:56  a@b"),
            (
                ">N  1 jose@josedomingo.  Fri Nov 20 15:18   15/702   Prueba",
                ">N  1 jose@josedomingo.  <TIME> 15/<BYTES>   Prueba",
            ),
            ("Fri, 1 Nov 2026 15:18:56 +0000", "Fri, 1 Nov 2026 15:18:56 +0000"),
        ] {
            assert_eq!(normal.text(given), expected);
        }
    }

    #[test]
    fn a_log_has_one_order() {
        let one = "b/qmgr: <QID1>: x\na/smtpd: <QID1>: y\na/local: <QID1>: to=<z>, relay=1\na/local: <QID1>: to=<b>, relay=2\n";
        let two = "a/local: <QID1>: to=<b>, relay=2\na/local: <QID1>: to=<z>, relay=1\na/smtpd: <QID1>: y\nb/qmgr: <QID1>: x\n";
        assert_eq!(canonical(one), canonical(two));
        assert_ne!(
            canonical("a/qmgr: <QID1>: x\na/qmgr: <QID1>: y\n"),
            canonical("a/qmgr: <QID1>: y\na/qmgr: <QID1>: x\n")
        );
    }

    #[test]
    fn the_end_of_a_session_may_be_logged_late() {
        let (start, end) = ("a/smtpd: connect from h[::1]\n", "a/smtpd: disconnect from h[::1] quit=1\n");
        let other = "a/smtpd: connect from x[::2]\n";
        let in_turn = [start, end, start, end].concat();
        assert_eq!(canonical(&[start, start, end, end].concat()), in_turn);
        for log in [in_turn, [start, other, end].concat(), [start, end, end].concat()] {
            assert_eq!(canonical(&log), log);
        }
    }
}
