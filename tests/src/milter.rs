//! Scripted milters: mail filters that do what a file of the scenario tells them to, and write down all that the mail
//! system said to them, byte by byte.
//!
//! ```text
//! listen = 10.77.4.30:8891 /srv/milter        where it is reached, as for scripted servers
//! agree = 6 0x1ff 0x0 rcpt=i,{rcpt_addr}      version, actions and steps of its answer to the offer; macros it asks for
//! start = down                                nobody listens before the step `server NAME up`
//! log = short                                 macros are not shown
//! rcpt <uno@x.org> = reject // continue       what it does at events that begin so, the first time and then
//! eom = insert 0 X-Seen yes | continue        several actions for one event
//! ```
//! Events: `optneg connect helo mail rcpt data header eoh body eom unknown abort quit`. Actions: `continue accept reject
//! tempfail discard skip shutdown connfail progress`, `reply TEXT`, `hold TEXT`, `add NAME VALUE`, `insert N NAME VALUE`,
//! `change N NAME VALUE` (without a value: deleted), `from TEXT`, `rcpt TEXT`, `rcptpar TEXT` (with `\0` before further
//! words), `unrcpt TEXT`, `body TEXT`, `packet L TEXT` (any letter), `raw BYTES`, `pause MILLISECONDS`, `many N ACTION`,
//! `close`, `silence`, `nothing`. Texts may hold the escapes of dialogues.

use crate::dialogue::unescape;
use crate::remote::{Listener, Place, Stream, place_of};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a milter does, and where.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Where it listens.
    pub listen: Vec<Place>,
    /// Whether it listens from the beginning.
    pub up: bool,
    short: bool,
    agreed: Vec<u8>,
    steps: u32,
    rules: Vec<(String, Vec<Vec<Action>>)>,
}

#[derive(Clone, Debug)]
enum Action {
    Bytes(String, Vec<u8>),
    Pause(u64),
    Close,
    Silence,
}

const EVENTS: [(u8, &str); 13] = [
    (b'O', "optneg"),
    (b'D', "macros"),
    (b'C', "connect"),
    (b'H', "helo"),
    (b'M', "mail"),
    (b'R', "rcpt"),
    (b'T', "data"),
    (b'L', "header"),
    (b'N', "eoh"),
    (b'B', "body"),
    (b'E', "eom"),
    (b'U', "unknown"),
    (b'A', "abort"),
];

/// Bits of the steps that say "I do not answer this".
const SILENT: [(u32, &str); 8] = [
    (0x80, "header"),
    (0x1000, "connect"),
    (0x2000, "helo"),
    (0x4000, "mail"),
    (0x8000, "rcpt"),
    (0x10000, "data"),
    (0x20000, "unknown"),
    (0x40000, "eoh"),
];

impl Script {
    /// Reads a file; an error is the line that cannot be read.
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script { up: true, ..Script::default() };
        script.agree("6 0x1ff 0x0").ok_or("agree")?;
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once(" =").ok_or(line)?;
            let (key, value) = (key.trim(), value.trim());
            match (key, value) {
                ("listen", places) => {
                    for place in places.split_whitespace() {
                        script.listen.push(place_of(place).ok_or(line)?);
                    }
                }
                ("start", "down") => script.up = false,
                ("log", "short") => script.short = true,
                ("agree", value) => script.agree(value).ok_or(line)?,
                _ => {
                    let turns = value.split(" // ").map(|turn| turn.split(" | ").map(action).collect());
                    let turns = turns.collect::<Option<Vec<Vec<Action>>>>().ok_or(line)?;
                    script.rules.push((key.to_string(), turns));
                }
            }
        }
        Ok(script)
    }

    fn agree(&mut self, text: &str) -> Option<()> {
        let mut words = text.split_whitespace();
        let mut number = || {
            let word = words.next()?;
            match word.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => word.parse().ok(),
            }
        };
        let (version, actions, steps) = (number()?, number()?, number()?);
        let mut payload = Vec::new();
        for value in [version, actions, steps] {
            payload.extend(value.to_be_bytes());
        }
        for word in words {
            let (stage, macros) = word.split_once('=')?;
            let stages = ["connect", "helo", "mail", "rcpt", "data", "eom", "eoh"];
            let place = stages.iter().position(|name| *name == stage)?;
            payload.extend((place as u32).to_be_bytes());
            payload.extend(macros.replace(',', " ").bytes().chain([0]));
        }
        (self.agreed, self.steps) = (packet(b'O', &payload), steps);
        Some(())
    }

    fn rule(&self, shown: &str) -> Option<usize> {
        (0..self.rules.len())
            .filter(|number| shown.starts_with(&self.rules[*number].0))
            .max_by_key(|number| self.rules[*number].0.len())
    }
}

fn packet(letter: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(letter);
    bytes.extend(payload);
    bytes
}

fn action(text: &str) -> Option<Action> {
    let text = text.trim();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let with_nul = |text: &str| {
        unescape(text).map(|mut bytes| {
            bytes.push(0);
            bytes
        })
    };
    let header = |rest: &str| {
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        Some([with_nul(name)?, with_nul(value)?].concat())
    };
    let numbered = |rest: &str| {
        let (number, rest) = rest.split_once(' ')?;
        Some([number.parse::<u32>().ok()?.to_be_bytes().to_vec(), header(rest)?].concat())
    };
    let bytes = match word {
        "continue" => packet(b'c', b""),
        "accept" => packet(b'a', b""),
        "reject" => packet(b'r', b""),
        "tempfail" => packet(b't', b""),
        "discard" => packet(b'd', b""),
        "skip" => packet(b's', b""),
        "shutdown" => packet(b'4', b""),
        "connfail" => packet(b'f', b""),
        "progress" => packet(b'p', b""),
        "reply" => packet(b'y', &with_nul(rest)?),
        "hold" => packet(b'q', &with_nul(rest)?),
        "add" => packet(b'h', &header(rest)?),
        "insert" => packet(b'i', &numbered(rest)?),
        "change" => packet(b'm', &numbered(rest)?),
        "from" => packet(b'e', &with_nul(rest)?),
        "rcpt" => packet(b'+', &with_nul(rest)?),
        "rcptpar" => packet(b'2', &with_nul(rest)?),
        "unrcpt" => packet(b'-', &with_nul(rest)?),
        "body" => packet(b'b', &unescape(rest)?),
        "packet" => {
            let (letter, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            packet(*unescape(letter)?.first()?, &unescape(rest)?)
        }
        "raw" => unescape(rest)?,
        "many" => {
            let (count, rest) = rest.split_once(' ')?;
            let Action::Bytes(_, bytes) = action(rest)? else { return None };
            bytes.repeat(count.parse().ok()?)
        }
        "nothing" => Vec::new(),
        "pause" => return Some(Action::Pause(rest.parse().ok()?)),
        "close" => return Some(Action::Close),
        "silence" => return Some(Action::Silence),
        _ => return None,
    };
    Some(Action::Bytes(text.to_string(), bytes))
}

/// A milter in the network of a world.
#[derive(Clone)]
pub struct Milter {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    script: Script,
    used: HashMap<usize, usize>,
    sessions: Vec<(String, bool)>,
    listeners: Vec<Listener>,
}

/// How long the end of the sessions is awaited before what was said is shown.
const FAREWELL: Duration = Duration::from_secs(12);
const SILENCE: Duration = Duration::from_secs(60);

impl Milter {
    /// A milter that does not listen yet.
    pub fn new(script: Script) -> Milter {
        Milter { shared: Arc::new((Mutex::new(State { script, ..State::default() }), Condvar::new())) }
    }

    /// Listens, in the namespaces of the calling thread, with threads of its own.
    pub fn up(&self) -> Result<(), String> {
        let mut state = lock(&self.shared.0);
        for place in state.script.listen.clone() {
            let failed = |error: std::io::Error| format!("{place:?}: {error}");
            let listener = Listener::bind(&place).map_err(failed)?;
            state.listeners.push(listener.again().map_err(failed)?);
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    let mut state = lock(&shared.0);
                    let number = state.sessions.len();
                    state.sessions.push((String::new(), false));
                    drop(state);
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        let mut talk = Talk { stream, shared, number };
                        if talk.whole().is_none() {
                            talk.note("# connection ended\n");
                        }
                        lock(&talk.shared.0).sessions[number].1 = true;
                        talk.shared.1.notify_all();
                    });
                }
            });
        }
        Ok(())
    }

    /// Refuses connections from now on; those that are open stay.
    pub fn down(&self) {
        lock(&self.shared.0).listeners.drain(..).for_each(|listener| listener.shut());
    }

    /// Does from now on what another script tells.
    pub fn replace(&self, script: &Script) {
        let mut state = lock(&self.shared.0);
        state.script.rules.clone_from(&script.rules);
        state.script.agreed.clone_from(&script.agreed);
        state.script.steps = script.steps;
        state.used.clear();
    }

    /// Waits until all sessions are over, and shows them.
    pub fn text(&self) -> String {
        let end = Instant::now() + FAREWELL;
        let mut state = lock(&self.shared.0);
        while state.sessions.iter().any(|session| !session.1) && Instant::now() < end {
            state = match self.shared.1.wait_timeout(state, Duration::from_millis(100)) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let shown = state.sessions.iter().enumerate().map(|(number, (text, ended))| {
            let open = if *ended { "" } else { "# still open\n" };
            format!("# session {}\n{text}{open}", number + 1)
        });
        shown.collect()
    }
}

struct Talk {
    stream: Box<dyn Stream>,
    shared: Arc<(Mutex<State>, Condvar)>,
    number: usize,
}

impl Talk {
    /// `None` when the connection broke off, or was ended from here.
    fn whole(&mut self) -> Option<()> {
        self.stream.patience(SILENCE);
        loop {
            let length = self.bytes(4)?;
            let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
            let packet = self.bytes(length)?;
            let (letter, payload) = packet.split_first()?;
            let name = EVENTS.iter().find(|(code, _)| code == letter).map_or("other", |(_, name)| name);
            let shown = shown(*letter, name, payload);
            let short = lock(&self.shared.0).script.short;
            if !(short && *letter == b'D') {
                self.note(&format!("{shown}\n"));
            }
            match letter {
                b'D' => continue,
                b'Q' => return Some(()),
                _ => self.act(name, &shown)?,
            }
        }
    }

    fn act(&mut self, name: &str, shown: &str) -> Option<()> {
        let turn = {
            let mut state = lock(&self.shared.0);
            match state.script.rule(shown) {
                Some(rule) => {
                    let used = state.used.entry(rule).or_default();
                    *used += 1;
                    let used = *used;
                    let turns = &state.script.rules[rule].1;
                    turns[(used - 1).min(turns.len() - 1)].clone()
                }
                None => {
                    let silent =
                        SILENT.iter().any(|(bit, event)| state.script.steps & bit != 0 && *event == name);
                    let body = name == "body" && state.script.steps & 0x80000 != 0;
                    let bytes = match name {
                        "optneg" => state.script.agreed.clone(),
                        "abort" => Vec::new(),
                        _ if silent || body => Vec::new(),
                        _ => packet(b'c', b""),
                    };
                    vec![Action::Bytes(String::new(), bytes)]
                }
            }
        };
        for action in turn {
            match action {
                Action::Bytes(text, bytes) => {
                    if !text.is_empty() {
                        self.note(&format!("    -> {text}\n"));
                    }
                    self.stream.write_all(&bytes).ok()?;
                }
                Action::Pause(time) => std::thread::sleep(Duration::from_millis(time)),
                Action::Close => {
                    self.stream.end();
                    return None;
                }
                Action::Silence => {
                    let mut sink = [0; 4096];
                    while matches!(self.stream.read(&mut sink), Ok(1..)) {}
                    return None;
                }
            }
        }
        Some(())
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn note(&self, text: &str) {
        lock(&self.shared.0).sessions[self.number].0.push_str(text);
    }
}

/// A packet as the transcript shows it.
fn shown(letter: u8, name: &str, payload: &[u8]) -> String {
    let escaped = |bytes: &[u8]| {
        let mut out = String::new();
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\0' => out.push_str("\\0"),
                    '\r' => out.push_str("\\r"),
                    '\n' => out.push_str("\\n"),
                    '\t' => out.push_str("\\t"),
                    '\\' => out.push_str("\\\\"),
                    c => out.push(c),
                }
            }
            out.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
        }
        out
    };
    let fields = |payload: &[u8]| {
        let whole = payload.strip_suffix(b"\0").unwrap_or(payload);
        let missing = if payload.ends_with(b"\0") { "" } else { " (no end)" };
        let fields: Vec<String> = whole.split(|b| *b == 0).map(escaped).collect();
        fields.join(" | ") + missing
    };
    match (letter, payload) {
        (b'O', payload) => {
            let numbers = payload.chunks(4).map(|word| {
                let word: [u8; 4] = word.try_into().unwrap_or_default();
                format!(" {:#x}", u32::from_be_bytes(word))
            });
            format!("optneg{}", numbers.collect::<String>())
        }
        (b'D', [stage, macros @ ..]) => {
            let stage = EVENTS.iter().find(|(code, _)| code == stage).map_or("?", |(_, name)| name);
            let whole = macros.strip_suffix(b"\0").unwrap_or(macros);
            let words: Vec<String> = whole.split(|b| *b == 0).map(escaped).collect();
            let pairs =
                words.chunks(2).map(|pair| format!(" {}=({})", pair[0], pair.get(1).map_or("", |v| v)));
            let pairs: String = if macros.is_empty() { String::new() } else { pairs.collect() };
            format!("macros of {stage}:{pairs}")
        }
        (b'C', payload) => {
            let end = payload.iter().position(|b| *b == 0).unwrap_or(payload.len());
            let rest = payload.get(end + 1..).unwrap_or_default();
            let family = rest.first().map_or('?', |b| *b as char);
            let port = rest.get(1..3).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            let port = if port > 1024 { "<PORT>".to_string() } else { port.to_string() };
            let address = fields(rest.get(3..).unwrap_or_default());
            format!("connect {} family {family} port {port} address {address}", escaped(&payload[..end]))
        }
        (b'B', payload) if payload.len() > 2000 => format!("body {} bytes", payload.len()),
        (b'B', payload) => format!("body {}", escaped(payload)),
        (b'E', payload) if !payload.is_empty() => format!("eom with {}", escaped(payload)),
        (b'Q', _) => "quit".to_string(),
        (_, []) => name.to_string(),
        _ if name == "other" => format!("other {:?} {}", letter as char, fields(payload)),
        _ => format!("{name} {}", fields(payload)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_shown_and_made() {
        assert_eq!(
            shown(b'C', "connect", b"mx\x004\x30\x39127.0.0.1\0"),
            "connect mx family 4 port <PORT> address 127.0.0.1"
        );
        assert_eq!(
            shown(b'D', "macros", b"Ri\0A1\0{rcpt_addr}\0a b\0"),
            "macros of rcpt: i=(A1) {rcpt_addr}=(a b)"
        );
        assert_eq!(shown(b'L', "header", b"A\0 b\n\tc\0"), "header A |  b\\n\\tc");
        assert_eq!(shown(b'O', "optneg", b"\0\0\0\x06\0\0\x01\xff\0\0\0\0"), "optneg 0x6 0x1ff 0x0");
        let script =
            Script::parse("rcpt <a@b> = reject // reply 550 5.1.1 no | nothing\neom = insert 0 X a\\nb")
                .unwrap();
        assert_eq!(
            (script.rule("rcpt <a@b> | X=1"), script.rule("eom"), script.rule("data")),
            (Some(0), Some(1), None)
        );
        let Action::Bytes(_, bytes) = &script.rules[1].1[0][0] else { panic!() };
        assert_eq!(bytes, b"\0\0\0\x0bi\0\0\0\0X\0a\nb\0");
        assert!(Script::parse("eom = dance").is_err());
    }
}
